//! An explanation agrees with the decision, and its suggestions work.

use aegis_policy::ask::{somebody, what};
use aegis_policy::explain::{Explanation, Relation, explain, suggestion};
use aegis_policy::load::parse_str;
use aegis_policy::{Document, Policy, Request, Verdict, What, decide};
use proptest::prelude::*;

use crate::support::arbitrary;

const POLICY: &str = "
aegis-policy: 1
name: workshop
capabilities:
  - {id: home,  on: files.read, match: [\"$HOME/**\"], verdict: allow}
  - {id: keys,  on: files.read, match: [\"$HOME/.ssh/**\"], verdict: block, reason: keys stay out}
  - {id: new,   on: files.read, match: [\"$HOME/new/**\"], verdict: block, mode: warn}
  - {id: rest,  on: files.read, match: [\"/**\"], verdict: review, otherwise: true}
network-egress:
  - {id: github, hosts: [api.github.com], ports: [443], methods: [GET], verdict: allow}
  - {id: small,  hosts: [up.example], budget: {request-size: 1K}, verdict: allow}
secrets-boundary:
  - {id: gh, alias: github, to: api.github.com, inject: header, verdict: allow}
limits: {memory: 1G}
";

fn explained(action: &str, words: &str) -> (Policy, Request, Explanation) {
    let document = parse_str(POLICY, "workshop.yaml").expect("a policy");
    let policy = Policy::new(vec![document]).expect("a policy");
    let context = somebody();
    let request = Request {
        approvals: Vec::new(),
        what: what(action, words, &context).expect("a request"),
        context,
    };
    let explanation = explain(&policy, &request);
    (policy, request, explanation)
}

/// For each rule: its relation, its verdict, the note.
fn notes(explanation: &Explanation) -> Vec<(&str, Relation, Option<Verdict>, &str)> {
    (explanation.parts[0].documents[0].rules.iter())
        .map(|rule| (rule.id.as_str(), rule.stands, rule.says, rule.note.as_str()))
        .collect()
}

fn needs(explanation: &Explanation) -> String {
    explanation.parts[0].documents[0].needs.join("\n")
}

#[test]
fn each_rule_of_the_action_says_how_it_stands_and_whether_it_speaks() {
    let (_, _, explanation) = explained("files.read", "$HOME/**");
    let all = "all of what is asked for is in it";
    let some = "some of what is asked for is in it, or may be";
    let softened = format!(
        "{some}; in mode warn, where it says at worst `warn` and lets nothing through by itself"
    );
    assert_eq!(
        notes(&explanation),
        [
            ("home", Relation::Contains, Some(Verdict::Allow), all),
            ("keys", Relation::Overlaps, Some(Verdict::Block), some),
            ("new", Relation::Overlaps, Some(Verdict::Warn), &softened),
            (
                "rest",
                Relation::Contains,
                None,
                "it speaks only where no other rule covers the request, and `home` does"
            ),
        ]
    );
    assert_eq!(
        needs(&explanation),
        "ask for less, without what is in `$HOME/.ssh/**`; or change `keys`, which blocks that"
    );
}

#[test]
fn what_stands_in_the_way_is_named_with_what_would_help() {
    for (action, words, help) in [
        (
            "files.read",
            "/srv/data",
            "a person approves it, as `rest` wants",
        ),
        (
            "files.write",
            "$WORK/**",
            "a rule that covers it: `capabilities: [",
        ),
        (
            "net.outbound",
            "PUT https://api.github.com/x",
            "a rule that covers it: `network-egress: [",
        ),
        (
            "net.outbound",
            "GET https://up.example/x",
            "keep within the budget of `small`",
        ),
        (
            "secrets.use",
            "github to evil.example in header",
            "a rule that covers it: `secrets-boundary: [",
        ),
        (
            "limits.memory",
            "2G",
            "ask for at most 1073741824, or raise `limits.memory`",
        ),
    ] {
        let (_, _, explanation) = explained(action, words);
        let told = needs(&explanation);
        assert!(told.starts_with(help), "{action} {words}: {told}");
    }
}

#[test]
fn what_keeps_a_destination_apart_from_a_rule_is_named() {
    let apart = |words: &str| {
        let (_, _, explanation) = explained("net.outbound", words);
        notes(&explanation)[0].3.to_owned()
    };
    assert_eq!(apart("GET https://example.org/"), "its hosts do not match");
    assert_eq!(
        apart("GET https://api.github.com:8443/"),
        "its ports do not match"
    );
    assert_eq!(
        apart("PUT https://api.github.com/"),
        "its methods do not match"
    );
    assert_eq!(
        apart("https://api.github.com"),
        "it is about single requests: the connection may be opened, each request on it is decided by itself"
    );
}

#[test]
fn an_address_that_is_not_public_is_told_from_a_missing_rule() {
    let (policy, mut request, _) = explained("net.outbound", "GET https://api.github.com/x");
    if let What::Net(to) = &mut request.what {
        to.address = Some([10, 0, 0, 1].into());
    }
    let told = needs(&explain(&policy, &request));
    assert_eq!(
        told,
        "another `github`: it stands for an address that is not public, and no rule that covers it has `private-addresses`"
    );
}

#[test]
fn of_a_run_each_grant_is_explained_and_the_run_itself() {
    let (policy, mut request, _) = explained("files.read", "$HOME/.ssh/id_rsa");
    request.what = What::Tool {
        command: vec!["/usr/bin/cat".into()],
        grants: vec![
            request.what.clone(),
            what("files.read", "/etc/x", &somebody()).unwrap(),
        ],
    };
    let explanation = explain(&policy, &request);
    let verdicts: Vec<Verdict> = (explanation.parts.iter())
        .map(|p| p.opinion.verdict)
        .collect();
    assert_eq!(verdicts, [Verdict::Block, Verdict::Review, Verdict::Allow]);
    assert_eq!(explanation.parts[2].what, request.what);
    assert_eq!(explanation.decision, decide(&policy, &request));
}

#[test]
fn a_suggested_rule_is_yaml_that_can_be_pasted() {
    for (action, words, section) in [
        ("files.read", "/srv/data/**", "capabilities"),
        ("shell.exec", "jq", "capabilities"),
        (
            "net.outbound",
            "POST https://example.org/x",
            "network-egress",
        ),
        ("net.outbound", "tcp://10.0.0.1:22", "network-egress"),
        (
            "secrets.use",
            "gh to example.org in query",
            "secrets-boundary",
        ),
    ] {
        let (_, request, _) = explained(action, words);
        let rule = suggestion(&request).expect("a rule");
        let text = format!("aegis-policy: 1\nname: added\n{section}: {rule}\n");
        let document = parse_str(&text, "added.yaml").unwrap_or_else(|e| panic!("{text}{e:?}"));
        let policy = Policy::new(vec![document]).expect("a policy");
        assert_eq!(decide(&policy, &request).verdict, Verdict::Allow, "{text}");
    }
}

proptest! {
    #[test]
    fn the_rules_that_speak_are_those_that_the_decision_names(
        document in arbitrary::document(),
        request in arbitrary::request(),
    ) {
        let policy = Policy::new(vec![document]).unwrap();
        let request = arbitrary::approved_by(&policy, &request);
        let explanation = explain(&policy, &request);
        prop_assert_eq!(&explanation.decision, &decide(&policy, &request));
        for part in &explanation.parts {
            let said = &part.documents[0];
            prop_assert_eq!(said.needs.is_empty(), said.opinion.verdict.lets_through());
            // A refusal because of the request itself names no rules.
            if said.opinion.rules.is_empty() || matches!(part.what, What::Limit { .. }) {
                continue;
            }
            let speak: Vec<&str> = (said.rules.iter())
                .filter(|rule| rule.says.is_some())
                .map(|rule| rule.id.as_str())
                .collect();
            let named: Vec<&str> = said.opinion.rules.iter().map(|id| &**id).collect();
            prop_assert_eq!(speak, named, "{} {:#?}", part.what, said);
        }
    }

    #[test]
    fn a_suggested_rule_lets_through_what_nothing_blocks(
        document in arbitrary::document(),
        request in arbitrary::request(),
    ) {
        let Some(rule) = suggestion(&request) else {
            return Ok(());
        };
        let section = match request.what {
            What::Net(_) => "network-egress",
            What::Secret { .. } => "secrets-boundary",
            _ => "capabilities",
        };
        let text = format!("aegis-policy: 1\nname: added\n{section}: {rule}\n");
        let mut added = parse_str(&text, "added.yaml").unwrap();
        let policy = Policy::new(vec![document.clone()]).unwrap();
        let before = &explain(&policy, &request).parts[0].documents[0];
        let worst = before.rules.iter().filter_map(|rule| rule.says).max();
        added.capabilities.extend(document.capabilities);
        added.network_egress.extend(document.network_egress);
        added.secrets_boundary.extend(document.secrets_boundary);
        let policy = Policy::new(vec![Document { name: "both".into(), ..added }]).unwrap();
        let after = decide(&policy, &request);
        // Rules marked `otherwise` may be silenced.
        prop_assert!(after.verdict <= worst.unwrap_or(Verdict::Allow), "{:?}", after);
    }
}
