//! The profile as a person reads it.

use aegis_learn::{About, HEADROOM, Options, Rule, Usage};
use aegis_observation::Tier;

use crate::host::{Made, Seen, text};

#[test]
fn a_profile_says_why() {
    let made = Made::new()
        .directory("/home/ada/work/out")
        .file("/srv/data/a.csv");
    let mut seen = Seen::new()
        .exec_as("/usr/bin/python3", "/usr/bin/python3.11")
        .read("/usr/lib/python3.11/json/__init__.py")
        .read("/srv/data/a.csv")
        .write("/home/ada/work/out/r.json")
        .named("openat", "/home/ada/.ssh/id_ed25519", Some("ENOENT"))
        .0;
    seen.runs[0].command = vec![text("python3"), text("main.py"), text("a b")];
    let mut again = seen.clone();
    again
        .opened
        .retain(|opened| opened.path.as_bytes() != b"/srv/data/a.csv");
    again.runs[0].id = "2".into();
    let usage = Usage {
        memory: Some(41 << 20),
        tasks: Some(2),
        time: Some(1530),
        interrupted: false,
    };
    let options = Options {
        date: "2026-01-31".into(),
        name: Some("report".into()),
        pass: vec!["LANG".into(), "REPORT_DIR".into()],
        ..Options::default()
    };
    let proposal = made.learn_with(&[seen, again], Some(&usage), &options);
    let expected = "\
aegis: 1
# Written by aegis-learn on 2026-01-31, from 2 runs of:
#   python3 main.py 'a b'
# Seen by probes in the kernel on Linux 6.12.
# Nothing that was seen was lost.
# Rules: variables, single-files, written, built-in, headroom.

name: report
extends:
  - python  # executed: python3; read: __init__.py
run: [python3, main.py, a b]
capabilities:
  files.read:
    - -/srv/data/a.csv  # read; in 1 of 2 runs
  files.write:
    - $WORK/out  # written: r.json
environment:
  pass: [REPORT_DIR]
limits:
  time: 30s     # took 1.530 s
  memory: 256M  # used 41.0M
  pids: 64      # 2 at one time

# Secrets asked for:
#   /home/ada/.ssh/id_ed25519 (private keys)

# Granted beyond what was seen:
#   python: 1 program not executed: env
";
    assert_eq!(proposal.to_yaml(), expected);
}

#[test]
fn what_was_lost_is_said_first() {
    let mut seen = Seen::new().0;
    seen.losses.dropped = 3;
    seen.losses
        .unobserved
        .insert("checks of capabilities".into());
    let proposal = Made::new().learn(&seen);
    assert!(!proposal.is_complete());
    let page = proposal.to_yaml();
    assert!(
        page.contains("# INCOMPLETE: 3 things were seen and lost."),
        "{page}"
    );
    assert!(
        page.contains("#   not observed: checks of capabilities"),
        "{page}"
    );
}

/// All that it did was seen.
#[test]
fn a_run_that_failed_is_seen_in_whole() {
    let mut seen = Seen::new().0;
    seen.runs[0].exit_status = Some(2);
    let proposal = Made::new().learn(&seen);
    assert!(proposal.is_complete());
    let page = proposal.to_yaml();
    assert!(page.contains("# Nothing that was seen was lost."), "{page}");
    assert!(
        page.contains("# How it ended:\n#   with status 2: what the run did not come to"),
        "{page}"
    );
}

#[test]
fn a_command_that_would_mean_something_else_is_not_written() {
    let options = Options {
        ..Options::default()
    };
    for word in [text("$HOME/x"), text("a\u{202e}b")] {
        let mut seen = Seen::new().0;
        seen.runs[0].command.push(word);
        let proposal = Made::new().learn_with(&[seen], None, &options);
        assert!(proposal.run.is_empty());
        assert_eq!(proposal.notes.len(), 1);
    }
}

#[test]
fn what_the_command_names_of_the_skill_is_named_so_that_it_can_be_started_anywhere() {
    let script = "/srv/skill/my report.py";
    let used = |word: &str| {
        let mut seen = Seen::new().exec_as("/usr/bin/python3", "/usr/bin/python3.11");
        if word.contains("report") {
            seen = seen.read(script);
        }
        seen.0.runs[0].command = vec![text("python3"), text(word)];
        let made = Made::new().file(script).file("/home/ada/work/data");
        made.with_skill().learn(&seen.0).run
    };
    for (word, said) in [
        ("../../../srv/skill/my report.py", "$SKILL/my report.py"),
        ("/srv/skill/my report.py", "$SKILL/my report.py"),
        // What lies in the working directory, is nowhere, or was not used.
        ("data", "data"),
        ("../nowhere", "../nowhere"),
        ("/srv/skill", "/srv/skill"),
        ("--help", "--help"),
    ] {
        assert_eq!(used(word), ["python3", said]);
    }
}

#[test]
fn where_nothing_in_the_working_directory_is_granted_it_is_told_where_the_command_begins() {
    let told = |seen: &Seen| {
        let made = Made::new().file("/home/ada/work/data");
        let notes = made.learn(&seen.0).notes;
        notes.iter().any(|note| note.about == About::Place)
    };
    let asks = |seen: Seen| seen.calls(&["getcwd"]);
    assert!(told(&asks(Seen::new())));
    assert!(!told(&Seen::new()), "nobody asks for it");
    assert!(!told(&asks(Seen::new().read("/home/ada/work/data"))));
    let mut seen = Seen::new();
    seen.0.runs[0].tier = Tier::Listener;
    assert!(told(&seen), "it does not see who asks");
}

#[test]
fn each_rule_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<&str> =
        Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    assert_eq!(HEADROOM.len(), 3);
}
