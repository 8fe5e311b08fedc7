//! A policy as people write it, and requests with the verdicts that they get.
#![allow(dead_code, reason = "each test uses its part")]

use aegis_policy::load::parse_str;
use aegis_policy::model::{Document, Inject, Scheme, Verdict};
use aegis_policy::request::{Approval, Destination};
use aegis_policy::{Context, Decision, Hash, Policy, Request, What, decide};

/// The rules of a policy, without its head.
pub fn document(name: &str, rules: &str) -> Document {
    let text = format!("aegis-policy: 1\nname: {name}\n{rules}");
    parse_str(&text, "policy.yaml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub fn policy(rules: &str) -> Policy {
    Policy::new(vec![document("p", rules)]).unwrap()
}

/// Ana's profile `report`, in her working directory.
pub fn context() -> Context {
    Context {
        aliases: Vec::new(),
        home: "/home/ana".into(),
        profile: "report".into(),
        profile_hash: Hash::of(b"report"),
        skill: Some("/home/ana/skills/report".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
    }
}

pub fn request(what: What) -> Request {
    Request {
        approvals: Vec::new(),
        context: context(),
        what,
    }
}

pub fn asked(policy: &Policy, what: What) -> Decision {
    decide(policy, &request(what))
}

/// Checks each thing: its verdict, and the rules that applied, in the order of their names.
#[track_caller]
pub fn table<const N: usize>(policy: &Policy, cases: [(What, Verdict, &[&str]); N]) {
    for (what, verdict, rules) in cases {
        let said = asked(policy, what.clone());
        let spoke: Vec<&str> = said.rules.iter().map(|rule| &**rule).collect();
        assert_eq!(
            (said.verdict, &*spoke),
            (verdict, rules),
            "{what}: {}",
            said.reason
        );
    }
}

pub fn read(path: &str) -> What {
    What::Read {
        except: Vec::new(),
        path: path.into(),
        tree: false,
    }
}

pub fn read_tree(path: &str) -> What {
    What::Read {
        except: Vec::new(),
        path: path.into(),
        tree: true,
    }
}

pub fn write(path: &str) -> What {
    What::Write {
        except: Vec::new(),
        path: path.into(),
        tree: false,
    }
}

/// A program that was named by its path.
pub fn exec(path: &str) -> What {
    What::Exec {
        except: Vec::new(),
        name: None,
        path: path.into(),
        tree: false,
    }
}

pub fn exec_tree(path: &str) -> What {
    What::Exec {
        except: Vec::new(),
        name: None,
        path: path.into(),
        tree: true,
    }
}

/// A program that was found by its name in a directory of the system's programs; `path` is its real path.
pub fn exec_named(name: &str, path: &str) -> What {
    What::Exec {
        except: Vec::new(),
        name: Some(name.into()),
        path: path.into(),
        tree: false,
    }
}

pub fn limit(limit: &str, value: Option<u64>) -> What {
    What::Limit {
        limit: limit.into(),
        value,
    }
}

pub fn run(grants: Vec<What>) -> What {
    What::Tool {
        command: vec!["report".into()],
        grants,
    }
}

/// `https://host:443`: the connection.
pub fn to(host: &str) -> Destination {
    Destination {
        address: None,
        host: host.into(),
        method: None,
        path: None,
        port: 443,
        request_size: None,
        requests_last_minute: None,
        response_size: None,
        scheme: Scheme::Https,
    }
}

pub fn connect(host: &str) -> What {
    What::Net(to(host))
}

/// A host with the address that its name stands for.
pub fn connect_at(host: &str, address: &str) -> What {
    What::Net(Destination {
        address: Some(address.parse().unwrap()),
        ..to(host)
    })
}

/// One request.
pub fn http(method: &str, host: &str, path: &str) -> What {
    What::Net(Destination {
        method: Some(method.into()),
        path: Some(path.into()),
        ..to(host)
    })
}

pub fn secret(alias: &str, host: &str, inject: Option<Inject>) -> What {
    What::Secret {
        alias: alias.into(),
        host: host.into(),
        inject,
    }
}

/// Ana's approval of the first of January 2026, for a day: under this policy, in a run of this command.
pub fn approval(policy: &Policy, run: &What, what: &What) -> Approval {
    Approval {
        at: 1_767_225_600,
        command: run.command_hash(),
        expires: 1_767_312_000,
        held_for: run.command_hash(),
        id: "approval-1".into(),
        policy: policy.hash(),
        profile_hash: context().profile_hash,
        skill: context().skill,
        what: what.hash(),
    }
}
