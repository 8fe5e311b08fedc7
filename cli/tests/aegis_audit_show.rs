//! `aegis audit show`: a line for each record, as a person reads it.

use aegis_audit::event::{Cause, Degraded, Denial, Event, Evidence, Refused, RunEnd, RunStart};
use aegis_policy::{Context, Hash, What};
use serde_json::{Value, json};

use crate::aegis_audit::{Scene, start};

#[test]
fn show_prints_a_line_for_each_record() {
    let scene = Scene::new();
    let (status, out, err) = scene.aegis(&["show", "audit"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6, "{out}");
    assert!(
        lines[0].contains("checkpoint") && lines[0].contains("number 0"),
        "{out}"
    );
    assert!(
        lines[2].contains("run-1  block   files.read /root/.ssh/id: keys stay out"),
        "{out}"
    );
    assert!(
        lines[1].contains("\\u{1B}[2J") && !out.contains('\x1b'),
        "nothing steers the terminal: {out}"
    );
}

#[test]
fn show_counts_what_the_host_lacked_and_json_has_it_whole() {
    let scene = Scene::new();
    let less = |layer: &str| Degraded {
        layer: layer.into(),
        fix: "a newer kernel".into(),
        what: "no such file".into(),
    };
    let start = |degraded: Vec<Degraded>| {
        start(
            "run-3",
            RunStart {
                argv: vec!["make".into(), "-j".into()],
                degraded,
                profile: "build".into(),
                ..RunStart::default()
            },
        )
    };
    scene
        .log()
        .append(&[
            start(vec![less("cpu"), less("memory")]),
            start(vec![less("cpu")]),
            start(vec![]),
        ])
        .expect("appended");
    let (status, out, _) = scene.aegis(&["show", "audit", "--run", "run-3"]);
    assert_eq!(status, 0);
    let lines: Vec<&str> = out.lines().collect();
    for (line, told) in lines.iter().zip([
        "uid 0, 2 layers degraded: make -j",
        "uid 0, 1 layer degraded: make -j",
        "uid 0: make -j",
    ]) {
        assert!(line.ends_with(told), "{line}");
        assert!(line.contains("  profile build, policy "), "{line}");
    }
    assert_eq!(lines.len(), 3);
    let (_, out, _) = scene.aegis(&["show", "audit", "--run", "run-3", "--json"]);
    let first: Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        first["detail"]["degraded"][1],
        json!({"layer": "memory", "mend": "a newer kernel", "what": "no such file"})
    );
}

/// A person need not know what the fields are called.
#[test]
fn show_says_what_happened_to_a_run() {
    let scene = Scene::new();
    let template = aegis_policy::templates::find("standard").expect("a template");
    let policy = aegis_policy::Policy::new(vec![template.document()]).expect("a policy");
    let refused = |what: &str, asked: Option<What>, evidence| {
        let denial = Denial {
            allow: None,
            asked,
            evidence,
            layer: "Landlock".into(),
            outcome: Refused::Refused,
            times: 3,
            what: what.into(),
        };
        Event::denied("run-3", &policy, &Context::default(), denial)
    };
    let shadow = What::Read {
        except: Vec::new(),
        path: "/etc/shadow".into(),
        tree: false,
    };
    let end = RunEnd {
        limits_met: vec!["memory".into()],
        planted: vec!["/w/.envrc".into()],
        denials: 2,
        traffic: Vec::new(),
        wall_us: Some(1_234_567),
        ..RunEnd::not_started(
            Cause::Killed,
            Some("it failed\n  help: mend it".into()),
            137,
        )
    };
    scene
        .log()
        .append(&[
            refused("reading /etc/shadow", Some(shadow), Evidence::ErrorMessage),
            refused("the call bpf", None, Evidence::Kernel),
            Event::run_end("run-3", Hash::default(), end),
        ])
        .expect("appended");
    let (_, out, _) = scene.aegis(&["show", "audit", "--run", "run-3"]);
    let told: Vec<&str> = out
        .lines()
        .filter_map(|line| line.split_once("run-3  "))
        .map(|(_, told)| told)
        .collect();
    assert_eq!(
        told,
        [
            "refused by Landlock: reading /etc/shadow (the command's error message names it); the policy: blocked by rule `system-secrets`: the system's own secrets",
            "refused by Landlock: the call bpf (3 times)",
            "killed, status 137, after 1.23s, 2 refused, limits met: memory, planted: /w/.envrc: it failed; help: mend it",
        ],
        "{out}"
    );
}

#[test]
fn show_takes_what_was_asked_for() {
    let scene = Scene::new();
    for (words, lines) in [
        (&["--run", "run-1"][..], 3),
        (&["--run", "run-"], 4),
        (&["--type", "run.start"], 2),
        (&["--type", "run.start", "--type", "run.end"], 3),
        (&["--type", "run.start", "--run", "run-2"], 1),
        (&["--since", "1h"], 6),
        (&["--since", "2000-01-01"], 6),
        (&["--since", "2999-12-31T00:00:00Z"], 0),
    ] {
        let (status, out, _) = scene.aegis(&[&["show", "audit"], words].concat());
        assert_eq!(
            (status, out.lines().count()),
            (0, lines),
            "{words:?}: {out}"
        );
    }
    let (_, out, _) = scene.aegis(&["show", "audit", "--json", "--type", "policy.violation"]);
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["decision"]["verdict"], "block");
    for words in [&["--type", "nonsense"][..], &["--since", "yesterday"]] {
        assert_eq!(
            scene.aegis(&[&["show", "audit"], words].concat()).0,
            2,
            "{words:?}"
        );
    }
}
