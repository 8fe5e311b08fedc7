//! What is out of the ordinary in made-up runs, held against made-up baselines.

use std::path::Path;

use aegis_learn::{Anomaly, Baseline, Variables, Watch};
use aegis_observation::{Address, Counts, End, Executed, How, Observation, Refused, Text};
use aegis_policy::model::AnomalyKind;

use crate::host::Seen;

fn counted(counts: Counts) -> Observation {
    Observation {
        counts,
        ..Observation::default()
    }
}

/// What is flagged in the second run by a baseline of the first.
fn flagged(learnt: &[Observation], now: &Observation) -> Vec<Anomaly> {
    let mut watch = Watch::new(Some(Baseline::of(learnt, &around())));
    watch.look(now, &around(), &|_| false, &|_| false)
}

fn around() -> Variables<'static> {
    Variables {
        work: Path::new("/work"),
        home: Path::new("/home/ada"),
        skill: None,
    }
}

fn whats(found: Vec<Anomaly>) -> Vec<String> {
    found
        .into_iter()
        .map(|anomaly| anomaly.what.to_string())
        .collect()
}

/// A run of ten minutes that makes a process now and then, on a machine that does little in a second.
const SLOW: Counts = Counts {
    executions: 1,
    forks: 4000,
    most_tasks: 4,
    sent: Some(1 << 20),
    opened_in_a_second: Some(20),
    forks_in_a_second: Some(10),
    sent_in_a_second: Some(4000),
};

#[test]
fn a_burst_is_flagged_within_a_total_and_a_total_without_a_burst() {
    let learnt = [counted(SLOW)];
    // No more in all, and all of it at once.
    let burst = Counts {
        opened_in_a_second: Some(5000),
        forks_in_a_second: Some(4000),
        sent_in_a_second: Some(1 << 20),
        ..SLOW
    };
    assert_eq!(
        whats(flagged(&learnt, &counted(burst))),
        [
            "bytes sent in a second: 1048576, and never more than 528384",
            "files opened in a second: 5000, and never more than 2576",
            "processes and threads made in a second: 4000, and never more than 1296",
        ]
    );
    // No quicker, and much more of it.
    let more = Counts {
        forks: 16_017,
        sent: Some(5 << 20),
        ..SLOW
    };
    assert_eq!(
        whats(flagged(&learnt, &counted(more))),
        [
            "bytes sent: 5242880, and never more than 4210688",
            "processes and threads made: 16017, and never more than 16016",
        ]
    );
}

/// The same run on a machine that does in a second what took the other thirty-two, with four times the input.
#[test]
fn a_quicker_machine_is_not_flagged() {
    let quick = Counts {
        forks: 16_000,
        sent: Some(4 << 20),
        opened_in_a_second: Some(20 * 128),
        forks_in_a_second: Some(10 * 128),
        sent_in_a_second: Some(4000 * 128),
        ..SLOW
    };
    assert_eq!(flagged(&[counted(SLOW)], &counted(quick)), []);
    // Where next to nothing was done, a little more is nothing.
    let none = Counts {
        sent: Some(0),
        opened_in_a_second: Some(0),
        forks_in_a_second: Some(0),
        sent_in_a_second: Some(0),
        ..Counts::default()
    };
    let little = Counts {
        sent: Some(16 << 10),
        opened_in_a_second: Some(16),
        forks_in_a_second: Some(16),
        sent_in_a_second: Some(16 << 10),
        ..Counts::default()
    };
    assert_eq!(flagged(&[counted(none)], &counted(little)), []);
}

/// By the listener, or by probes of an older kernel.
#[test]
fn what_was_not_counted_is_compared_with_nothing() {
    let uncounted = Counts {
        sent: None,
        opened_in_a_second: None,
        forks_in_a_second: None,
        sent_in_a_second: None,
        ..SLOW
    };
    let counted_now = Counts {
        sent: Some(u64::MAX),
        sent_in_a_second: Some(u64::MAX),
        opened_in_a_second: Some(u64::MAX),
        forks_in_a_second: Some(u64::MAX),
        ..SLOW
    };
    assert_eq!(flagged(&[counted(uncounted)], &counted(counted_now)), []);
    assert_eq!(flagged(&[counted(SLOW)], &counted(uncounted)), []);
    // A baseline of an older version has none of them either.
    let old = br#"{"aegis-baseline": 1, "runs": 1, "done": {}, "most": {"executions": 20, "files": 16, "processes": 4000, "tasks": 20, "lost": 0}}"#;
    let mut watch = Watch::new(Some(Baseline::from_json(old).unwrap()));
    assert_eq!(
        watch.look(&counted(counted_now), &around(), &|_| false, &|_| false),
        []
    );
}

/// What the kernel has refused is told as that; where the same comes past it, that is told again.
#[test]
fn what_is_refused_is_told_apart_from_what_is_done() {
    let program = Executed {
        asked: Text::from("/bin/sh"),
        path: Text::from("/usr/bin/dash"),
    };
    let address = Address {
        how: How::Connect,
        of: End::Internet("192.0.2.1:443".parse().unwrap()),
        kind: 1,
    };
    let refused = Observation {
        refused: [
            Refused::Executed(program.clone()),
            Refused::Address(address),
        ]
        .into(),
        ..Observation::default()
    };
    let mut watch = Watch::new(Some(Baseline::of(&[Observation::default()], &around())));
    let mut look = |seen: &Observation| -> Vec<(AnomalyKind, String, bool)> {
        let found = watch
            .look(seen, &around(), &|_| false, &|_| false)
            .into_iter();
        found
            .map(|anomaly| (anomaly.kind, anomaly.what.to_string(), anomaly.refused))
            .collect()
    };
    let exec = |path: &str, refused| (AnomalyKind::Exec, path.to_owned(), refused);
    let found = look(&refused);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.contains(&exec("/usr/bin/dash", true)));
    assert!(found.contains(&(AnomalyKind::Connect, "192.0.2.1:443".into(), true)));
    assert_eq!(look(&refused), []);
    let executed = Observation {
        executed: [program].into(),
        ..Observation::default()
    };
    assert_eq!(
        look(&executed),
        [exec("/bin/sh", false), exec("/usr/bin/dash", false)]
    );
    // What was refused once is no part of what is ordinary by being refused.
    let ordinary = Baseline::of(std::slice::from_ref(&refused), &around());
    assert_eq!(
        Watch::new(Some(ordinary))
            .look(&executed, &around(), &|_| false, &|_| false)
            .len(),
        2
    );
}

/// A person who has said yes to one thing has not said it to the next of its form, nor to twice as much.
#[test]
fn what_a_person_is_asked_about_is_told_one_by_one() {
    let baseline = Baseline::of(&[Observation::default()], &around());
    let wrote = |path: &str| Seen::new().write(path).0;
    let told = |is_asked: bool| {
        let mut watch = Watch::new(Some(baseline.clone()));
        let mut tell =
            |seen: &Observation| watch.look(seen, &around(), &|_| false, &|_| is_asked).len();
        let mut lost = Observation::default();
        let mut lost_in_all = |count| {
            lost.losses.dropped = count;
            tell(&lost)
        };
        let counted = [lost_in_all(2), lost_in_all(3), lost_in_all(5)];
        let written = [
            tell(&wrote("/srv/17/a")),
            tell(&wrote("/srv/18/a")),
            tell(&wrote("/srv/18/a")),
        ];
        (counted, written)
    };
    assert_eq!(told(true), ([1, 0, 1], [1, 1, 0]));
    assert_eq!(told(false), ([1, 0, 0], [1, 0, 0]));
}

fn connected(how: How, to: &[&str]) -> Observation {
    let address = |end: &&str| Address {
        how,
        of: End::Internet(end.parse().unwrap()),
        kind: 1,
    };
    Observation {
        addresses: to.iter().map(address).collect(),
        ..Observation::default()
    }
}

/// Which address stands for which name is another matter in each run, and what is connected to is decided and recorded by name.
#[test]
fn a_baseline_does_not_speak_of_what_stands_for_names() {
    let learnt = connected(
        How::Connect,
        &["192.0.0.8:53", "25.240.0.1:443", "198.51.99.7:22"],
    );
    let baseline = Baseline::of(&[learnt], &around());
    let known: Vec<String> = (baseline.done[&AnomalyKind::Connect].iter())
        .map(ToString::to_string)
        .collect();
    assert_eq!(known, ["198.51.99.7:22"]);

    let mut now = connected(
        How::Connect,
        &["192.0.0.8:53", "25.240.0.2:443", "198.51.99.7:22"],
    );
    now.addresses
        .extend(connected(How::Send, &["25.240.0.3:443"]).addresses);
    let refused = (now.addresses.iter()).filter(|address| address.how == How::Send);
    now.refused = refused.cloned().map(Refused::Address).collect();
    let look = |watch: &mut Watch, now| watch.look(now, &around(), &|_| false, &|_| false);
    let under = |outbound: &str| {
        let text = format!("aegis: 1\ncapabilities: {{net.outbound: {outbound}}}\n");
        let profile = aegis_profile::parse_str(&text, "x.yaml").unwrap();
        Watch::new(Some(baseline.clone())).under(&profile)
    };
    let mut by_name = under("[\"https://example.org\"]");
    assert_eq!(look(&mut by_name, &now), []);
    // But of all others, and of listening there.
    let others = connected(How::Connect, &["203.0.113.7:443", "25.240.64.0:443"]);
    assert_eq!(look(&mut by_name, &others).len(), 2);
    let bound = connected(How::Bind, &["25.240.0.9:443"]);
    assert_eq!(look(&mut by_name, &bound).len(), 1);
    // The kernel, which knows single addresses, is not told to keep to those that are known.
    assert_eq!(by_name.guard(&around(), true, true).reached, None);

    // Where there is no broker, these are addresses as any.
    let mut watch = under("host");
    assert!(look(&mut watch, &now).len() >= 3);
    let reached = watch.guard(&around(), true, true).reached;
    assert_eq!(reached.map(|reached| reached.len()), Some(2));
    let host = Baseline::of(&[connected(How::Connect, &["25.240.0.1:443"])], &around());
    assert!(host.done.contains_key(&AnomalyKind::Connect));
}
