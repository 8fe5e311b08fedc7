//! Several processes and one log; processes that are killed at any moment; full disks. The other
//! processes run this test's own program.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Error, Expected, Log, Options, Reader};
use aegis_policy::Hash;

use crate::log_support;
use log_support::{Scene, event, refusal};

const ROOT: &str = "AEGIS_TEST_LOG";
const NAME: &str = "AEGIS_TEST_NAME";
const ROUNDS: &str = "AEGIS_TEST_ROUNDS";

/// Small segments and many checkpoints: many moments to be killed in.
fn options() -> Options {
    Options {
        checkpoint_every: 40,
        segment_bytes: 100_000,
        ..Options::default()
    }
}

fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut n = seed << 32;
    move |below| {
        n += 1;
        let hash = Hash::of(&n.to_le_bytes()).0;
        u64::from_le_bytes(hash[..8].try_into().expect("eight")) % below
    }
}

/// Not a test: the process that the tests start. Appends, and prints every receipt: `SEQ... durable|written`.
#[test]
#[ignore = "started by others"]
fn child_that_appends() {
    let root = std::env::var(ROOT).expect("started by another test");
    let name = std::env::var(NAME).expect("a name");
    let rounds: u64 = std::env::var(ROUNDS)
        .expect("rounds")
        .parse()
        .expect("a number");
    let root = Path::new(&root);
    let mut log =
        Log::open_with(&root.join("audit"), &root.join("keys"), options()).expect("it opens");
    let mut random = random(u64::from(std::process::id()));
    for round in 0..rounds {
        let size = [1, 1, 1, 1, 2, 2, 5, 130][random(8) as usize];
        let mut events: Vec<Event> = (0..size).map(event).collect();
        if random(8) == 0 {
            events.push(refusal(round));
        }
        for (n, event) in events.iter_mut().enumerate() {
            event.run = format!("{name}/{round}/{n}");
        }
        let receipt = log.append(&events).expect("appended");
        let mut told = format!("{round}");
        for seq in receipt.seqs {
            told += &format!(" {seq}");
        }
        // One write: no receipt is half printed.
        told += if receipt.durable {
            " durable\n"
        } else {
            " written\n"
        };
        std::io::stdout().write_all(told.as_bytes()).expect("told");
    }
    log.checkpoint().expect("signed");
}

fn command(root: &Path, name: &str, rounds: u64) -> Command {
    // By this name it works even while the program is being rebuilt.
    let mut command = Command::new("/proc/self/exe");
    command
        .args([
            "--exact",
            "log_processes::child_that_appends",
            "--ignored",
            "--nocapture",
            "--quiet",
        ])
        .env(ROOT, root)
        .env(NAME, name)
        .env(ROUNDS, rounds.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(root: &Path, name: &str, rounds: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = command(root, name, rounds).spawn().expect("it starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, out)
}

/// Adds a receipt to `receipts`: what was appended, by record number. Returns whether the line was a receipt,
/// and not one of the test harness.
fn note(name: &str, line: &str, receipts: &mut BTreeMap<u64, String>) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [round, seqs @ .., "durable" | "written"] = words.as_slice() else {
        return false;
    };
    for (n, seq) in seqs.iter().enumerate() {
        let seq = seq.parse().expect("a place");
        let twice = receipts.insert(seq, format!("{name}/{round}/{n}"));
        assert_eq!(twice, None, "two records have the place {seq}");
    }
    true
}

#[track_caller]
fn check(scene: &Scene, receipts: &BTreeMap<u64, String>) {
    let reader = Reader::open(&scene.dir()).expect("the log");
    let records = reader.filter_map(|record| match record {
        Err(Error::Torn { .. }) => None,
        record => Some(record.expect("a record")),
    });
    let there: BTreeMap<u64, String> = records.map(|record| (record.seq, record.run)).collect();
    for (seq, run) in receipts {
        assert_eq!(there.get(seq), Some(run), "record {seq} was lost");
    }
    let gap = there.keys().enumerate().find(|(n, seq)| *n as u64 != **seq);
    assert_eq!(gap, None, "the places have no gaps");
}

#[test]
fn killed_at_any_moment_nothing_is_lost_and_the_log_still_opens() {
    let (mut torn, mut told) = (0, 0);
    let mut random = random(1);
    for log in 0..25 {
        let scene = Scene::new();
        let mut receipts = BTreeMap::new();
        for round in 0..10 {
            let name = format!("{log}.{round}");
            let (mut child, mut out) = start(scene.root.path(), &name, u64::MAX);
            let mut left = random(6);
            let mut line = String::new();
            while left > 0 && out.read_line(&mut line).expect("read") > 0 {
                left -= u64::from(note(&name, &line, &mut receipts));
                line.clear();
            }
            // During what it does next; or, without a receipt, while it starts and opens the log.
            let moment = Duration::from_micros(random(if line.is_empty() { 400 } else { 9000 }));
            let since = Instant::now();
            while since.elapsed() < moment {
                std::hint::spin_loop();
            }
            child.kill().expect("killed");
            child.wait().expect("ended");
            for line in out.lines() {
                note(&name, &line.expect("read"), &mut receipts);
            }
            if scene.segment(1).exists() {
                check(&scene, &receipts);
            }
        }
        scene.open().checkpoint().expect("signed");
        check(&scene, &receipts);
        let verified = scene.verify();
        assert!(
            verified.intact && verified.complete,
            "{:?}",
            verified.findings
        );
        let reader = Reader::open(&scene.dir()).expect("the log");
        let recovered = |kind| kind == EventType::LogRecovered;
        torn += reader
            .filter(|r| r.as_ref().is_ok_and(|r| recovered(r.kind)))
            .count();
        told += receipts.len();
    }
    assert!(told > 1000, "much was appended: {told}");
    println!("{torn} torn lines were set aside");
}

#[test]
fn several_processes_append_to_one_log_at_once() {
    let scene = Scene::new();
    let mut receipts = BTreeMap::new();
    let writers: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| (name, start(scene.root.path(), name, 50)))
        .into();
    for (name, (mut child, out)) in writers {
        for line in out.lines() {
            note(name, &line.expect("read"), &mut receipts);
        }
        assert!(child.wait().expect("ended").success());
    }
    check(&scene, &receipts);
    let verified = scene.verify();
    assert!(
        verified.intact && verified.complete,
        "{:?}",
        verified.findings
    );
    // Every record was reported, except the checkpoints.
    assert_eq!(
        verified.records,
        receipts.len() as u64 + verified.checkpoints
    );
}

#[test]
fn one_of_two_that_is_killed_does_not_hold_up_the_other() {
    for seed in 0..10 {
        let scene = Scene::new();
        let mut random = random(100 + seed);
        let mut receipts = BTreeMap::new();
        let (mut victim, mut out) = start(scene.root.path(), "victim", u64::MAX);
        let (mut other, others_out) = start(scene.root.path(), "other", 30);
        let mut line = String::new();
        let mut left = random(15) + 1;
        while left > 0 && out.read_line(&mut line).expect("read") > 0 {
            left -= u64::from(note("victim", &line, &mut receipts));
            line.clear();
        }
        victim.kill().expect("killed");
        victim.wait().expect("ended");
        for line in out.lines() {
            note("victim", &line.expect("read"), &mut receipts);
        }
        for line in others_out.lines() {
            note("other", &line.expect("read"), &mut receipts);
        }
        assert!(other.wait().expect("ended").success(), "the other goes on");
        check(&scene, &receipts);
        assert!(scene.verify().intact);
    }
}

/// Not a test: appends until that fails, then makes room and continues.
#[test]
#[ignore = "started by others"]
fn child_that_fills_the_disk() {
    let root = std::env::var(ROOT).expect("started by another test");
    let root = Path::new(&root);
    let filler = root.join("filler");
    let may_make_room = std::env::var(NAME).expect("a name") == "disk";
    if may_make_room {
        fs::write(&filler, vec![0; 128 << 10]).expect("there is room");
    }
    let dir = root.join("audit");
    let keys = root.join("keys");
    let mut log = Log::open(&dir, &keys).expect("it opens");
    let mut told = 0;
    let batch: Vec<Event> = (0..7).map(event).collect();
    let error = loop {
        match log.append(&batch) {
            Ok(receipt) => told += receipt.seqs.len() as u64,
            Err(error) => break error,
        }
    };
    let words = match may_make_room {
        true => "make room",
        false => "ulimit -f",
    };
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert!(error.to_string().contains(words), "{error}");
    let segment = dir.join("000001.jsonl");
    let length = fs::metadata(&segment).expect("the segment").len();
    let verify = || {
        let key = aegis_audit::log::PublicKey::in_directory(&keys).expect("a key");
        let expected = Expected {
            keys: key.into_iter().collect(),
            ..Expected::default()
        };
        log_support::verify_at(&dir, &expected)
    };
    let verified = verify();
    assert!(verified.intact, "{:?}", verified.findings);
    assert!(
        verified.findings.iter().all(|f| !f.what.contains("torn")),
        "{:?}",
        verified.findings
    );
    assert_eq!(
        verified.records,
        told + verified.checkpoints,
        "all of what was told of, and no more"
    );
    // It fails again in the same way, and leaves nothing.
    assert!(matches!(log.append(&batch), Err(Error::Write { .. })));
    assert_eq!(fs::metadata(&segment).expect("the segment").len(), length);
    if may_make_room {
        fs::remove_file(filler).expect("removed");
        log.append(&batch).expect("there is room again");
        log.checkpoint().expect("signed");
        assert!(verify().complete);
    }
    println!("the disk was full after {told} records");
}

fn full(script: &str, name: &str, program: &str) {
    let scene = Scene::new();
    let mut shell = Command::new(program);
    if program == "unshare" {
        // As root without a user namespace, as another user within one.
        let root = rustix::process::geteuid().is_root();
        shell.args(if root {
            &["--mount"][..]
        } else {
            &["--mount", "--map-root-user"]
        });
        shell.arg("sh");
    }
    let output = shell
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "log_processes::child_that_fills_the_disk",
            "--ignored",
            "--nocapture",
        ])
        .env(ROOT, scene.root.path())
        .env(NAME, name)
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complained}");
    assert!(
        told.contains("the disk was full after"),
        "{told}{complained}"
    );
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing_half_written() {
    let script = "mount -t tmpfs -o size=512k tmpfs \"$AEGIS_TEST_LOG\" && exec \"$@\"";
    full(script, "disk", "unshare");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_leaves_nothing_half_written() {
    full("trap '' XFSZ; ulimit -f 200 && exec \"$@\"", "limit", "sh");
}
