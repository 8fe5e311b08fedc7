//! The acceptance criteria of the policy layer that no other test covers as such. docs/policy.md lists all
//! criteria with the tests that show each.

use std::net::{IpAddr, Ipv4Addr};

use aegis_policy::load::parse_str;
use aegis_policy::model::{Inject, Scheme, Verdict};
use aegis_policy::request::Destination;
use aegis_policy::{Policy, Request, What, ask, decide, schema, templates};
use serde_json::json;

fn policy(text: &str) -> Policy {
    Policy::new(vec![parse_str(text, "policy.yaml").unwrap()]).unwrap()
}

fn request(what: What) -> Request {
    Request {
        approvals: Vec::new(),
        context: ask::somebody(),
        what,
    }
}

/// One request of every kind.
fn one_of_each() -> Vec<Request> {
    let lines = [
        "files.read $WORK/a",
        "files.write $WORK/out/**",
        "shell.exec git",
        "net.listen 8080",
        "net.host host",
        "net.outbound GET https://api.github.com/user",
        "secrets.use github to api.github.com in header",
        "environment.pass LANG",
        "devices gpu",
        "syscalls.allow ptrace",
    ];
    let context = ask::somebody();
    let mut whats: Vec<What> = (lines.iter())
        .map(|line| {
            ask::line(line, &context).unwrap_or_else(|wrong| panic!("{line}: {}", wrong.message))
        })
        .collect();
    whats.push(What::Tool {
        command: vec!["git".into()],
        grants: whats.clone(),
    });
    whats.into_iter().map(request).collect()
}

#[test]
fn every_decision_names_the_policy_and_the_input_by_hash() {
    for template in templates::ALL {
        let policy = Policy::new(vec![template.document()]).unwrap();
        for request in one_of_each() {
            let decision = decide(&policy, &request);
            assert_eq!(decision.policy, policy.hash());
            assert_eq!(decision.input, request.hash());
            let written = serde_json::to_value(&decision).unwrap();
            assert_eq!(written["policy"], policy.hash().to_string());
            assert!(!decision.reason.is_empty());
        }
    }
}

#[test]
fn an_unknown_capability_or_egress_rule_is_no_policy_and_no_request() {
    for rules in [
        "capabilities:\n  - {id: a, on: files.raed, match: /**, verdict: allow}\n",
        "capabilities:\n  - {id: a, on: everything, match: \"*\", verdict: allow}\n",
        "capabilities:\n  - {id: a, on: files.read, match: /**, verdict: alow}\n",
        "capabilities:\n  - {id: a, on: files.read, match: /**, verdict: allow, unless: root}\n",
        "network-egress:\n  - {id: a, hosts: \"*\", verdict: allow}\n",
        "network-egress:\n  - {id: a, hosts: example.org, schemes: gopher, verdict: allow}\n",
        "network-egress:\n  - {id: a, hosts: example.org, port: 443, verdict: allow}\n",
        "network-egress:\n  - {id: a, verdict: allow}\n",
        "egress:\n  - {id: a, hosts: example.org, verdict: allow}\n",
    ] {
        let text = format!("aegis-policy: 1\n{rules}");
        assert!(parse_str(&text, "policy.yaml").is_err(), "{text}");
    }
    for what in [
        json!({"action": "everything"}),
        json!({"action": "files.read", "path": "/a", "tree": false, "also": "/b"}),
        json!({"action": "net.outbound", "host": "example.org", "port": 1, "scheme": "gopher"}),
    ] {
        assert!(
            serde_json::from_value::<What>(what.clone()).is_err(),
            "{what}"
        );
    }
}

#[test]
fn what_no_rule_speaks_of_is_blocked() {
    // A rule for each kind, none of which matches a request.
    let elsewhere = policy(
        "aegis-policy: 1
capabilities:
  - {id: files, on: [files.read, files.write, shell.exec], match: /nowhere/**, verdict: allow}
  - {id: ports, on: net.listen, match: 1, verdict: allow}
  - {id: names, on: [environment.pass, devices, syscalls.allow], match: nothing, verdict: allow}
network-egress:
  - {id: hosts, hosts: nowhere.example, verdict: allow}
secrets-boundary:
  - {id: secrets, alias: nothing, to: nowhere.example, inject: header, verdict: allow}
",
    );
    for request in one_of_each() {
        let decision = decide(&elsewhere, &request);
        assert_eq!(decision.verdict, Verdict::Block, "{}", request.what);
    }
}

#[test]
fn an_outbound_request_needs_a_rule_that_matches_all_of_it() {
    let github = policy(
        "aegis-policy: 1
network-egress:
  - {id: github, hosts: api.github.com, schemes: https, ports: 443, methods: GET, paths: /repos/**, verdict: allow}
",
    );
    let asked = Destination {
        address: Some(IpAddr::V4(Ipv4Addr::new(140, 82, 121, 6))),
        host: "api.github.com".into(),
        method: Some("GET".into()),
        path: Some("/repos/a/b".into()),
        port: 443,
        request_size: Some(0),
        requests_last_minute: Some(0),
        response_size: Some(0),
        scheme: Scheme::Https,
    };
    let verdict = |asked: Destination| decide(&github, &request(What::Net(asked))).verdict;
    assert_eq!(verdict(asked.clone()), Verdict::Allow);
    // A request that differs in a single point is not allowed.
    type Change = fn(&mut Destination);
    let changes: [(&str, Change); 6] = [
        ("host", |d| d.host = "github.com".into()),
        ("scheme", |d| d.scheme = Scheme::Http),
        ("port", |d| d.port = 8443),
        ("method", |d| d.method = Some("POST".into())),
        ("path", |d| d.path = Some("/user".into())),
        ("address", |d| {
            d.address = Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        }),
    ];
    for (what, change) in changes {
        let mut other = asked.clone();
        change(&mut other);
        assert_eq!(verdict(other), Verdict::Block, "{what}");
    }
    // An allow-list: no rule allows any host.
    let any = "aegis-policy: 1\nnetwork-egress:\n  - {id: any, hosts: \"*\", verdict: allow}\n";
    assert!(parse_str(any, "policy.yaml").is_err());
}

#[test]
fn no_contract_can_say_that_the_command_is_given_a_secret() {
    // All places: in the outgoing request, put there outside the sandbox. A third would have to be handled here.
    for inject in [Inject::Header, Inject::Query] {
        match inject {
            Inject::Header | Inject::Query => {}
        }
    }
    let rule = |more: &str| {
        format!(
            "aegis-policy: 1\nsecrets-boundary:\n  - {{id: a, alias: gh, to: a.example, verdict: allow, {more}}}\n"
        )
    };
    assert!(parse_str(&rule("inject: header"), "policy.yaml").is_ok());
    let schema = jsonschema::draft202012::new(&schema::bundled()).unwrap();
    let taken = |inject: &str| {
        let rule = json!({"id": "a", "alias": "gh", "to": "a.example", "verdict": "allow", "inject": inject});
        schema.is_valid(&json!({"aegis-policy": 1, "secrets-boundary": [rule]}))
    };
    assert!(taken("header"));
    for place in [
        "env",
        "environment",
        "file",
        "stdin",
        "argv",
        "body",
        "plaintext",
        "command",
    ] {
        assert!(
            parse_str(&rule(&format!("inject: {place}")), "policy.yaml").is_err(),
            "{place}"
        );
        assert!(!taken(place), "{place}");
    }
    for key in [
        "value: hunter2",
        "plaintext: true",
        "env: TOKEN",
        "file: /run/secret",
    ] {
        let text = rule(&format!("inject: header, {key}"));
        assert!(parse_str(&text, "policy.yaml").is_err(), "{key}");
    }
    // Neither a request nor a decision nor its record has a place for the value.
    let what =
        json!({"action": "secrets.use", "alias": "gh", "host": "a.example", "value": "hunter2"});
    assert!(serde_json::from_value::<What>(what).is_err());
}
