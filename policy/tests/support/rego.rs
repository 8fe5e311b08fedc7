//! What tests of rules in Rego share.
#![allow(dead_code, reason = "each file uses what it needs")]

use std::sync::mpsc;
use std::time::Duration;

use aegis_policy::model::{Action, CapabilityRule, Document, RegoModule, Scheme, Verdict};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Decision, Hash, Policy, Request, What, decide};

/// Ends a test that hangs; a passing test takes far less.
const PATIENCE: Duration = Duration::from_secs(60);

/// As small as the smallest thread of the supervisor.
const STACK: usize = 2 * 1024 * 1024;

pub fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::Builder::new().stack_size(STACK);
    let worker = thread.spawn(move || drop(send.send(work()))).unwrap();
    let answer = receive.recv_timeout(PATIENCE);
    answer.unwrap_or_else(|error| {
        panic!(
            "no answer: {error}, the thread has {:?}",
            worker.is_finished()
        )
    })
}

pub fn load(text: &str) -> Result<Policy, String> {
    load_all(&[text])
}

pub fn load_all(texts: &[&str]) -> Result<Policy, String> {
    let document = document(texts);
    patiently(|| Policy::new(vec![document]).map_err(|error| error.to_string()))
}

pub fn document(modules: &[&str]) -> Document {
    let named = |(index, text): (usize, &&str)| RegoModule {
        name: format!("{index}.rego"),
        text: (*text).to_owned(),
    };
    Document {
        name: "test".into(),
        rego: modules.iter().enumerate().map(named).collect(),
        ..Document::default()
    }
}

pub fn policy(document: Document) -> Policy {
    Policy::new(vec![document]).unwrap_or_else(|error| panic!("{error}"))
}

pub fn context() -> Context {
    Context {
        aliases: Vec::new(),
        home: "/home/ana".into(),
        profile: "report".into(),
        profile_hash: Hash::of(b"profile"),
        skill: Some("/home/ana/skills/report".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
    }
}

pub fn ask(policy: &Policy, what: What) -> Decision {
    let request = Request {
        approvals: Vec::new(),
        context: context(),
        what,
    };
    decide(policy, &request)
}

pub fn https(host: &str) -> What {
    What::Net(Destination {
        address: None,
        host: host.into(),
        method: None,
        path: None,
        port: 443,
        request_size: None,
        requests_last_minute: None,
        response_size: None,
        scheme: Scheme::Https,
    })
}

pub fn exec(path: &str) -> What {
    What::Exec {
        except: Vec::new(),
        name: None,
        path: path.into(),
        tree: false,
    }
}

pub fn native(
    id: &str,
    on: Action,
    matches: &str,
    verdict: Verdict,
    otherwise: bool,
) -> CapabilityRule {
    CapabilityRule {
        id: id.into(),
        matches: [matches.to_owned()].into(),
        mode: Default::default(),
        on: [on].into(),
        otherwise,
        reason: None,
        verdict,
    }
}
