//! Speed of repeating recorded decisions: `cargo bench -p aegis-audit --bench replay [RECORDS]`.
//!
//! Prints a line of JSON for each kind of record, and one for the mixture that runs leave behind. Measures what
//! `aegis replay` does with each line of a log: finding it, checking its hash, reading it, deciding,
//! comparing.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use aegis_audit::event::{EventType, Record, VERSION};
use aegis_audit::log::Reader;
use aegis_audit::replay::{Found, Outcome, Recorded, Replayer};
use aegis_policy::model::{Action, CapabilityRule, EgressRule, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Document, Hash, Policy, Request, Verdict, What, decide};

fn main() {
    // Cargo adds `--bench`.
    let records = std::env::args().find_map(|word| word.parse().ok());
    let records: usize = records.unwrap_or(200_000);
    let policy = Arc::new(policy());
    let kinds = [
        ("files.read", vec![0]),
        ("shell.exec", vec![1]),
        ("net.outbound", vec![2]),
        ("tool.exec", vec![3]),
        (
            "mixture",
            vec![0, 0, 0, 0, 1, 2, 2, 2, 0, 0, 0, 0, 1, 2, 2, 3],
        ),
    ];
    for (kind, of) in kinds {
        let lines: Vec<Vec<u8>> = (0..4096)
            .map(|n| line(&policy, n, of[n % of.len()]))
            .collect();
        let bytes: usize = lines.iter().map(Vec::len).sum();
        let text: Vec<u8> = lines.concat();
        let mut replayer = Replayer::new(|_| Found::Same(policy.clone()), false);
        let mut done = 0;
        let start = Instant::now();
        while done < records {
            let mut reader =
                Reader::stream("bench", Box::new(Cursor::new(black_box(text.clone()))));
            while let Some(line) = reader.next_line() {
                let line = line.expect("a line");
                assert_eq!(Hash::of(line.record), line.hash);
                let record = Recorded::parse(line.record).expect("a record");
                assert_eq!(replayer.again(&record), Outcome::Same);
                done += 1;
            }
        }
        let records = done;
        let nanoseconds = start.elapsed().as_nanos() as u64;
        let per_second = records as u64 * 1_000_000_000 / nanoseconds.max(1);
        println!(
            "{{\"bench\":\"replay\",\"kind\":\"{kind}\",\"records\":{records},\"bytes\":{},\"ns\":{},\"per_second\":{per_second}}}",
            bytes / lines.len(),
            nanoseconds / records as u64,
        );
    }
}

/// Some forty rules, as an operator may have.
fn policy() -> Policy {
    let rule = |id: String, on: Action, matches: &[String], verdict| CapabilityRule {
        id,
        matches: matches.iter().cloned().collect(),
        mode: Default::default(),
        on: [on].into(),
        otherwise: false,
        reason: None,
        verdict,
    };
    let text = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
    let mut capabilities = vec![
        rule(
            "work".into(),
            Action::FilesRead,
            &text(&["$WORK/**", "$SKILL/**", "/usr/**", "/etc/ssl/**"]),
            Verdict::Allow,
        ),
        rule(
            "tools".into(),
            Action::ShellExec,
            &text(&["git", "python3*", "/usr/bin/env"]),
            Verdict::Allow,
        ),
        rule(
            "locale".into(),
            Action::EnvironmentPass,
            &text(&["LANG", "LC_*", "TERM"]),
            Verdict::Allow,
        ),
    ];
    for n in 0..32 {
        let pattern = format!("$HOME/.private{n}/**");
        capabilities.push(rule(
            format!("keep-{n}"),
            Action::FilesRead,
            &[pattern],
            Verdict::Block,
        ));
    }
    let egress = |id: &str, host: &str, verdict| EgressRule {
        budget: Default::default(),
        hosts: [host.to_owned()].into(),
        id: id.into(),
        methods: ["GET".to_owned()].into(),
        mode: Default::default(),
        otherwise: false,
        paths: ["/repos/**".to_owned()].into(),
        ports: [443].into(),
        private_addresses: false,
        reason: None,
        schemes: [Scheme::Https].into(),
        verdict,
    };
    let document = Document {
        capabilities,
        name: "bench".into(),
        network_egress: vec![
            egress("github", "api.github.com", Verdict::Allow),
            egress("raw", "*.githubusercontent.com", Verdict::Review),
        ],
        ..Document::default()
    };
    Policy::new(vec![document]).expect("a policy")
}

fn line(policy: &Policy, n: usize, kind: usize) -> Vec<u8> {
    let read = |path: String, tree| What::Read {
        except: Vec::new(),
        path: path.as_str().into(),
        tree,
    };
    let exec = |name: &str| What::Exec {
        except: Vec::new(),
        name: Some(name.into()),
        path: format!("/usr/bin/{name}").as_str().into(),
        tree: false,
    };
    let what = match kind {
        0 => read(format!("/home/ana/work/reports/2026/{n}.csv"), false),
        1 => exec("git"),
        2 => What::Net(Destination {
            address: Some([140, 82, 121, 6].into()),
            host: "api.github.com".into(),
            method: Some("GET".into()),
            path: Some(format!("/repos/example/report/issues/{n}")),
            port: 443,
            request_size: None,
            requests_last_minute: None,
            response_size: None,
            scheme: Scheme::Https,
        }),
        _ => What::Tool {
            command: vec!["/usr/bin/python3".into(), "report.py".into()],
            grants: vec![
                read("/home/ana/work".into(), true),
                read("/home/ana/skills/report".into(), true),
                read("/usr/lib/python3".into(), true),
                exec("git"),
                exec("python3"),
                What::Environment {
                    name: "LANG".into(),
                },
                What::Limit {
                    limit: "memory".into(),
                    value: Some(512 << 20),
                },
                What::Limit {
                    limit: "time".into(),
                    value: Some(30_000),
                },
            ],
        },
    };
    let request = Request {
        approvals: Vec::new(),
        context: Context {
            aliases: Vec::new(),
            home: "/home/ana".into(),
            profile: "report".into(),
            profile_hash: Hash::of(b"report"),
            skill: Some("/home/ana/skills/report".into()),
            uid: 1000,
            work: "/home/ana/work".into(),
        },
        what,
    };
    let record = Record {
        decision: Some(decide(policy, &request)),
        detail: None,
        policy: policy.hash(),
        prev: Hash::of(&n.to_le_bytes()),
        request: Some(request),
        run: "0197c1d2e3f4".into(),
        seq: n as u64,
        time: "2026-01-02T03:04:05.678901Z".into(),
        kind: EventType::FileAccess,
        v: VERSION,
    };
    let record = serde_json::to_string(&record).expect("a record");
    let hash = Hash::of(record.as_bytes());
    format!("{{\"hash\":\"{hash}\",\"record\":{record}}}\n").into_bytes()
}
