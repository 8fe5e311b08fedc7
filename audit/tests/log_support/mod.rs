//! Logs to test with.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test uses some of it; the rules are for what decides"
)]

use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit::event::{Cause, Event, EventType, RunEnd, RunStart};
use aegis_audit::log::{Expected, Log, Options, PublicKey, Reader, Verified, verify};
use aegis_policy::{Context, Decision, Hash, HostPath, Request, Verdict, What};

/// A directory for a log and keys that do not exist yet.
pub struct Scene {
    pub root: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        Self { root }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("audit")
    }

    pub fn keys(&self) -> PathBuf {
        self.root.path().join("keys")
    }

    /// The file that remembers the last checkpoint.
    pub fn memory(&self) -> PathBuf {
        let names = fs::read_dir(self.keys()).expect("the keys");
        let mut paths = names.map(|entry| entry.expect("an entry").path());
        let is_memory = |path: &PathBuf| path.to_string_lossy().contains("/signed-");
        paths.find(is_memory).expect("something was signed")
    }

    /// Removes it, as whoever changes a log can do who may write there too.
    pub fn forget(&self) {
        fs::remove_file(self.memory()).expect("removed");
    }

    pub fn open(&self) -> Log {
        self.open_with(Options::default())
    }

    pub fn open_with(&self, options: Options) -> Log {
        Log::open_with(&self.dir(), &self.keys(), options).expect("the log opens")
    }

    pub fn segment(&self, number: u32) -> PathBuf {
        self.dir().join(format!("{number:06}.jsonl"))
    }

    /// A log with so many records in one segment and a checkpoint at the end.
    pub fn filled(&self, records: u64) -> Vec<u8> {
        let mut log = self.open();
        let mut n = 1;
        while n < records - 1 {
            let batch: Vec<Event> = (n..(n + 50).min(records - 1)).map(event).collect();
            let seqs = log.append(&batch).expect("appended").seqs;
            n = seqs.last().expect("a record") + 1;
        }
        log.checkpoint().expect("signed");
        fs::read(self.segment(1)).expect("the segment")
    }

    pub fn expected(&self) -> Expected {
        let key = PublicKey::in_directory(&self.keys()).expect("a key");
        Expected {
            keys: key.into_iter().collect(),
            ..Expected::default()
        }
    }

    pub fn verify(&self) -> Verified {
        verify_at(&self.dir(), &self.expected())
    }
}

pub fn verify_at(path: &Path, expected: &Expected) -> Verified {
    verify(Reader::open(path).expect("it can be read"), expected).expect("it is read")
}

pub fn verify_bytes(bytes: &[u8], expected: &Expected) -> Verified {
    let input = std::io::Cursor::new(bytes.to_vec());
    verify(Reader::stream("-", Box::new(input)), expected).expect("it is read")
}

/// The lines of a segment, each with its line feed.
pub fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// An event that is let through; its type depends on `n`.
pub fn event(n: u64) -> Event {
    let run = format!("run-{}", n / 10);
    let policy = Hash::of(b"policy");
    let end_of_run = n % 10 == 9;
    match n % 10 {
        0 => Event::run_start(
            &run,
            policy,
            RunStart {
                argv: vec!["a".into(), "ü".into()],
                ..RunStart::default()
            },
        ),
        _ if end_of_run => {
            Event::run_end(&run, policy, RunEnd::not_started(Cause::Exited, None, 0))
        }
        1..5 => {
            let path = HostPath::from(&*format!("/srv/data/{n}"));
            let (request, decision) = decided(
                What::Read {
                    except: Vec::new(),
                    path,
                    tree: false,
                },
                Verdict::Allow,
            );
            Event::new(EventType::FileAccess, &run, policy).decided(request, decision)
        }
        _ => {
            let path = HostPath::from("/usr/bin/git");
            let name = Some("git".into());
            let what = What::Exec {
                except: Vec::new(),
                name,
                path,
                tree: false,
            };
            let (request, decision) = decided(what, Verdict::Warn);
            Event::new(EventType::ToolExec, &run, policy).decided(request, decision)
        }
    }
}

/// An event that waits for the disk.
pub fn refusal(n: u64) -> Event {
    let path = HostPath::from(&*format!("/root/.ssh/{n}"));
    let (request, decision) = decided(
        What::Read {
            except: Vec::new(),
            path,
            tree: false,
        },
        Verdict::Block,
    );
    Event::new(EventType::PolicyViolation, "refused", Hash::default()).decided(request, decision)
}

pub fn decided(what: What, verdict: Verdict) -> (Request, Decision) {
    let request = Request {
        approvals: Vec::new(),
        context: Context {
            home: "/home/a".into(),
            profile: "test".into(),
            work: "/home/a/work".into(),
            ..Context::default()
        },
        what,
    };
    let decision = Decision {
        input: request.hash(),
        parts: Vec::new(),
        policy: Hash::of(b"policy"),
        reason: "the rule `work` says so".into(),
        rules: vec!["work".into()],
        verdict,
    };
    (request, decision)
}
