//! Speed of the audit log: `cargo bench -p aegis-audit --bench log [RECORDS] [DIRECTORY]`. Prints a line of JSON
//! for each figure. The directory chooses the disk; the default is the directory of temporary files.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Expected, Log, Reader, verify};
use aegis_policy::{Context, Decision, Hash, Request, Verdict, What};

/// Set for processes that append at the same time as others.
const WRITER: &str = "AEGIS_BENCH_WRITER";

fn main() {
    if let Some(root) = std::env::var_os(WRITER) {
        return writer(Path::new(&root));
    }
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let records = words
        .iter()
        .find_map(|word| word.parse().ok())
        .unwrap_or(200_000);
    let place = words.iter().find(|word| word.contains('/'));
    let root = match place {
        Some(place) => tempfile::tempdir_in(place),
        None => tempfile::tempdir(),
    };
    let root = root.expect("a directory");
    let scene = |name: &str| (root.path().join(name), root.path().join("keys"));

    let (dir, keys) = scene("single");
    let mut log = Log::open(&dir, &keys).expect("the log");
    tell(
        "append one, not waiting",
        records,
        per(records, 1, |events| append(&mut log, events)),
    );
    log.checkpoint().expect("signed");

    let expected = Expected {
        keys: vec![log.key()],
        ..Expected::default()
    };
    let start = Instant::now();
    let verified = verify(Reader::open(&dir).expect("the log"), &expected).expect("read");
    let took = start.elapsed();
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
    tell("verify", verified.records, took);

    let start = Instant::now();
    let read = Reader::open(&dir)
        .expect("the log")
        .filter(Result::is_ok)
        .count();
    tell("read as records", read as u64, start.elapsed());

    let times = 1000;
    let start = Instant::now();
    for _ in 0..times {
        drop(Log::open(&dir, &keys).expect("the log"));
    }
    tell("open", times, start.elapsed());
    let start = Instant::now();
    for _ in 0..times {
        let mut log = Log::open(&dir, &keys).expect("the log");
        append(&mut log, &[event(false), event(false)]);
        append(&mut log, &[event(false)]);
        log.checkpoint().expect("signed");
    }
    tell(
        "open, append 2, append 1, sign: as a run does",
        times,
        start.elapsed(),
    );

    for group in [1, 16, 128] {
        let (dir, keys) = scene(&format!("group{group}"));
        let mut log = Log::open(&dir, &keys).expect("the log");
        let groups = 200_u64;
        let took = per(groups * group, group, |events| {
            append(&mut log, &[events, &[event(true)]].concat());
        });
        tell(
            &format!("append {} at once, on the disk", group + 1),
            groups * (group + 1),
            took,
        );
    }

    for writers in [1, 2, 8] {
        let (dir, keys) = scene(&format!("writers{writers}"));
        drop(Log::open(&dir, &keys).expect("the log"));
        let start = Instant::now();
        let children: Vec<_> = (0..writers)
            .map(|_| {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command
                    .env(WRITER, &dir)
                    .stdin(Stdio::null())
                    .spawn()
                    .expect("started")
            })
            .collect();
        for mut child in children {
            assert!(child.wait().expect("ended").success());
        }
        let name = format!("append one, on the disk, {writers} processes");
        tell(&name, writers * EACH, start.elapsed());
    }
}

const EACH: u64 = 200;

fn writer(dir: &Path) {
    let mut log = Log::open(dir, &dir.with_file_name("keys")).expect("the log");
    for _ in 0..EACH {
        append(&mut log, &[event(true)]);
    }
}

fn per(records: u64, at_once: u64, mut action: impl FnMut(&[Event])) -> Duration {
    let events: Vec<Event> = (0..at_once).map(|_| event(false)).collect();
    let start = Instant::now();
    for _ in 0..records / at_once {
        action(&events);
    }
    start.elapsed()
}

fn append(log: &mut Log, events: &[Event]) {
    log.append(events).expect("appended");
}

fn tell(name: &str, records: u64, took: Duration) {
    let each = took.as_nanos() / u128::from(records.max(1));
    let rate = 1_000_000_000 / each.max(1);
    println!(
        "{{\"bench\":\"log\",\"name\":\"{name}\",\"records\":{records},\"ns\":{each},\"per_second\":{rate}}}"
    );
}

fn event(refused: bool) -> Event {
    let what = What::Read {
        except: Vec::new(),
        path: "/home/someone/work/project/src/main.rs".into(),
        tree: false,
    };
    let request = Request {
        approvals: Vec::new(),
        context: Context {
            home: "/home/someone".into(),
            profile: "pr-review".into(),
            skill: Some("/home/someone/skills/pr-review".into()),
            uid: 1000,
            work: "/home/someone/work/project".into(),
            ..Context::default()
        },
        what,
    };
    let decision = Decision {
        input: request.hash(),
        parts: Vec::new(),
        policy: Hash::default(),
        reason: "the rule `work` says so".into(),
        rules: vec!["work".into()],
        verdict: if refused {
            Verdict::Block
        } else {
            Verdict::Allow
        },
    };
    Event::new(
        EventType::FileAccess,
        "20260102T030405-17f3",
        Hash::default(),
    )
    .decided(request, decision)
}
