//! Real observations, with a few files of each directory: what is proposed for them, line by line.

use aegis_learn::{Key, Options, outside};
use aegis_observation::Observation;

use crate::host::{Made, values};

fn seen(json: &str) -> Observation {
    Observation::from_json(json.as_bytes()).unwrap()
}

/// Whatever is proposed for it covers it, and as tightly once more.
fn covers(seen: &Observation) {
    let made = Made::like(seen);
    for tight in [false, true] {
        let options = Options {
            tight,
            ..Options::default()
        };
        let proposal = made.learn_with(std::slice::from_ref(seen), None, &options);
        assert_eq!(
            outside(seen, &proposal.profile().unwrap(), &made.around()),
            []
        );
    }
}

#[test]
fn scripts_of_a_shell_and_of_python() {
    let seen = seen(include_str!("seen/script.json"));
    covers(&seen);
    let proposal = Made::like(&seen).learn(&seen);
    let extends: Vec<&str> = proposal
        .extends
        .iter()
        .map(|extended| extended.name.as_str())
        .collect();
    assert_eq!(extends, ["python"]);
    assert_eq!(
        values(&proposal, Key::Execute),
        ["-$WORK/r", "-$WORK/s.py", "bash", "dash"]
    );
    assert_eq!(proposal.lines.len(), 4);
}

#[test]
fn a_build_in_c() {
    let seen = seen(include_str!("seen/make.json"));
    covers(&seen);
    let proposal = Made::like(&seen).learn(&seen);
    assert_eq!(values(&proposal, Key::Write), ["$WORK"]);
    assert_eq!(
        values(&proposal, Key::Execute),
        ["$WORK", "-/usr/lib/gcc", "as", "bash", "cc", "ld", "make"]
    );
    assert_eq!(values(&proposal, Key::Read), ["-/usr/include"]);
}

#[test]
fn a_server_in_node() {
    let seen = seen(include_str!("seen/node.json"));
    covers(&seen);
    let proposal = Made::like(&seen).learn(&seen);
    let lines: Vec<&str> = proposal
        .lines
        .iter()
        .map(|line| line.value.as_str())
        .collect();
    assert_eq!(lines, ["$WORK"], "listening inside needs nothing");
}
