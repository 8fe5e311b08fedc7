//! One of everything that a log can have: requests of every action, details of every type.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use aegis_audit::approvals::{Asked, Entry, answered, revoked};
use aegis_audit::event::{
    Anomaly, Answer, Cause, Degraded, Denial, Detail, EventType, Evidence, Grant, NoPlan, Person,
    Reaction, Refused, RunEnd, RunStart,
};
use aegis_policy::model::{AnomalyKind, Inject, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Hash, HostPath, Opinion, Verdict, What};

use crate::log_support::decided;

/// Every kind of request.
pub fn whats() -> Vec<What> {
    let path = || HostPath::from("/srv/ü");
    let net = |address: Option<&str>, method: Option<&str>| {
        What::Net(Destination {
            address: address.map(|a| a.parse().expect("an address")),
            host: "example.org".into(),
            method: method.map(Into::into),
            path: method.map(|_| "/a?b".into()),
            port: 443,
            request_size: Some((1 << 53) - 1),
            requests_last_minute: None,
            response_size: Some(0),
            scheme: Scheme::Https,
        })
    };
    let mut all = vec![
        What::Device {
            device: "gpu".into(),
        },
        What::Environment {
            name: "LANG".into(),
        },
        What::Read {
            except: Vec::new(),
            path: path(),
            tree: true,
        },
        What::Write {
            except: Vec::new(),
            path: HostPath(b"/srv/\xff".to_vec()),
            tree: false,
        },
        What::Limit {
            limit: "memory".into(),
            value: Some(1),
        },
        What::Limit {
            limit: "memory".into(),
            value: None,
        },
        What::NetHost {},
        What::Listen { port: 65535 },
        net(None, None),
        net(Some("192.0.2.1"), Some("GET")),
        net(Some("2001:db8::1"), None),
        What::Secret {
            alias: "a".into(),
            host: "b".into(),
            inject: Some(Inject::Query),
        },
        What::Secret {
            alias: "a".into(),
            host: "b".into(),
            inject: None,
        },
        What::Exec {
            except: Vec::new(),
            name: Some("git".into()),
            path: path(),
            tree: false,
        },
        What::Exec {
            except: Vec::new(),
            name: None,
            path: path(),
            tree: true,
        },
        What::Anomaly {
            kind: AnomalyKind::Exec,
            of: path(),
        },
        What::Sockets {
            name: "private".into(),
        },
        What::Syscall {
            name: "ptrace".into(),
        },
    ];
    let command = vec!["./a".into(), HostPath(b"\xff".to_vec())];
    all.push(What::Tool {
        command,
        grants: all.clone(),
    });
    all
}

/// Every form of detail, with the types that have it.
pub fn details() -> Vec<(&'static [EventType], Detail)> {
    let hash = Hash::of(b"x");
    let by = Person {
        name: Some("ana".into()),
        uid: 1000,
    };
    let (request, decision) = decided(whats().remove(0), Verdict::Review);
    let asked = Asked {
        opinion: Opinion {
            reason: "r".into(),
            rules: vec![],
            verdict: Verdict::Review,
        },
        what: request.what.clone(),
    };
    let entry = Entry::new(&asked, &request, hash, &by, hash, 1..2).expect("an entry");
    let answer = |answer, why, entries: &[Entry]| {
        let event = answered("run", &request, &decision, answer, why, entries, &by);
        event.detail.expect("it has one")
    };
    let with = Entry {
        passphrases: vec!["site".into()],
        ..entry.clone()
    };
    let entries = [entry];
    let mut all: Vec<(&[EventType], Detail)> = [
        answer(Answer::No, None, &[]),
        answer(Answer::Once, None, &entries),
        answer(Answer::Always, None, &entries),
        answer(Answer::Always, None, &[with]),
        answer(
            Answer::Wrong,
            Some("wrong passphrase of site, number 1 of 3"),
            &[],
        ),
        answer(Answer::Unasked, Some("no terminal"), &[]),
        answer(Answer::Void, Some("the script was changed"), &[]),
        (revoked("run", &entries[0], &by).detail).expect("it has one"),
    ]
    .into_iter()
    .map(|detail| (&[EventType::Approval][..], detail))
    .collect();
    let not_started = RunEnd::not_started(Cause::Refused, Some("e".into()), 125);
    let ended = RunEnd {
        cause: Cause::FileSizeLimit,
        error: None,
        exit_status: 0,
        limits_met: vec!["time".into()],
        max_rss_kib: Some(1),
        plan_hash: Some(hash),
        planted: vec!["a/Makefile".into()],
        denials: 0,
        traffic: vec![aegis_policy::request::Traffic {
            error: Some("93.184.215.14 port 443: Connection refused".into()),
            failed: 1,
            received: 2,
            sent: 1,
            times: 1,
            to: "https://api.test".into(),
        }],
        wall_us: Some(1),
    };
    let started = RunStart {
        aegis: "0.1.0".into(),
        argv: vec!["a".into()],
        degraded: vec![Degraded {
            layer: "l".into(),
            fix: "m".into(),
            what: "w".into(),
        }],
        file: None,
        keep_fds: vec![3],
        pid: 1,
        policy: "p".into(),
        profile: "p".into(),
        profile_hash: hash,
        uid: 0,
    };
    let denial = Denial {
        allow: None,
        asked: Some(request.what),
        evidence: Evidence::ErrorMessage,
        layer: "landlock".into(),
        outcome: Refused::Refused,
        times: 1,
        what: "w".into(),
    };
    let no_plan = NoPlan {
        context: Some(request.context),
        error: "e".into(),
        file: Some("skill.yaml".into()),
        outcome: Refused::Refused,
    };
    let grant = Grant {
        from: "skill.yaml:1:2".into(),
    };
    let anomaly = |baseline, reaction| {
        Detail::Anomaly(Anomaly {
            baseline,
            instead_of: None,
            reaction,
        })
    };
    let instead = Anomaly {
        baseline: None,
        instead_of: Some(Reaction::Refused),
        reaction: Reaction::Killed,
    };
    for detail in [
        anomaly(Some(hash), Reaction::Killed),
        anomaly(None, Reaction::Continued),
        anomaly(None, Reaction::Recorded),
        anomaly(None, Reaction::Refused),
        Detail::Anomaly(instead),
        anomaly(None, Reaction::Warned),
    ] {
        all.push((&[EventType::Anomaly], detail));
    }
    all.push((&[EventType::RunEnd], Detail::RunEnd(ended)));
    all.push((&[EventType::RunEnd], Detail::RunEnd(not_started)));
    all.push((&[EventType::RunStart], Detail::RunStart(Box::new(started))));
    let at_run_time = &[
        EventType::FileAccess,
        EventType::NetReq,
        EventType::PolicyViolation,
        EventType::ToolExec,
    ];
    all.push((at_run_time, Detail::Denial(denial)));
    let violation = &[EventType::PolicyViolation];
    all.push((violation, Detail::Grant(grant)));
    all.push((violation, Detail::NoPlan(no_plan)));
    all
}
