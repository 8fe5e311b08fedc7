//! Comparing policies finds what they decide differently, and nothing else.

use aegis_policy::compare::{Diff, contexts, diff};
use aegis_policy::model::{Action, Budget, CapabilityRule, Document, EgressRule, Mode, Verdict};
use aegis_policy::{Policy, decide};

fn policy(document: Document) -> Policy {
    Policy::new(vec![document]).expect("a policy")
}

fn of(rules: Vec<CapabilityRule>) -> Policy {
    policy(Document {
        capabilities: rules,
        ..Document::default()
    })
}

fn rule(id: &str, on: &[Action], matches: &[&str], verdict: Verdict) -> CapabilityRule {
    CapabilityRule {
        id: id.into(),
        matches: matches.iter().map(|m| (*m).to_owned()).collect(),
        mode: Mode::Enforce,
        on: on.iter().copied().collect(),
        otherwise: false,
        reason: None,
        verdict,
    }
}

fn changes(diff: &Diff) -> Vec<(String, Verdict, Verdict)> {
    (diff.differences.iter())
        .map(|d| (d.example.what.to_string(), d.a.verdict, d.b.verdict))
        .collect()
}

#[test]
fn what_the_other_lets_through_comes_first_each_with_a_request_that_shows_it() {
    let a = of(vec![
        rule("work", &[Action::FilesRead], &["$WORK/**"], Verdict::Allow),
        rule("old", &[Action::FilesRead], &["/opt/old"], Verdict::Allow),
    ]);
    let b = of(vec![
        rule("work", &[Action::FilesRead], &["$WORK/**"], Verdict::Allow),
        rule(
            "data",
            &[Action::FilesRead],
            &["/srv/data/**"],
            Verdict::Allow,
        ),
    ]);
    let found = diff(&a, &b, &contexts()[..1]);
    assert!(found.complete);
    assert_eq!(
        changes(&found),
        [
            (
                "files.read /srv/data".to_owned(),
                Verdict::Block,
                Verdict::Allow
            ),
            (
                "files.read /opt/old".to_owned(),
                Verdict::Allow,
                Verdict::Block
            ),
        ]
    );
    assert!(found.differences[0].widens() && !found.differences[1].widens());
    for difference in &found.differences {
        let example = &difference.example;
        assert_eq!(decide(&a, example).verdict, difference.a.verdict);
        assert_eq!(decide(&b, example).verdict, difference.b.verdict);
    }
}

#[test]
fn rules_that_only_meet_in_one_place_are_found_there() {
    let keys = |verdict| {
        of(vec![
            rule("home", &[Action::FilesRead], &["$HOME/**"], Verdict::Allow),
            rule("keys", &[Action::FilesRead], &["/**/keys/*.pem"], verdict),
        ])
    };
    let found = diff(
        &keys(Verdict::Block),
        &keys(Verdict::Review),
        &contexts()[..1],
    );
    assert!(
        changes(&found).iter().any(|(what, ..)| {
            what.starts_with("files.read /home/user/") && what.contains("keys/")
        }),
        "{found:?}"
    );
}

#[test]
fn wording_order_and_rules_that_change_nothing_are_no_difference() {
    let one = rule("a", &[Action::FilesRead], &["/srv/**"], Verdict::Allow);
    let mut other = rule("b", &[Action::FilesRead], &["/srv/data/**"], Verdict::Allow);
    other.reason = Some("said twice".into());
    let found = diff(&of(vec![one.clone()]), &of(vec![other, one]), &contexts());
    assert!(found.is_empty(), "{:?}", found.differences);
    assert!(found.tried > 10);
}

#[test]
fn ceilings_budgets_and_settings_are_compared() {
    let with = |memory, size, missing: &[&str], insisted: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|l| (*l).to_owned()).collect();
        policy(Document {
            limits: [("memory".to_owned(), memory)].into(),
            may_be_missing: names(missing),
            must_hold: names(insisted),
            network_egress: vec![EgressRule {
                budget: Budget {
                    request_size: Some(size),
                    ..Budget::default()
                },
                hosts: ["api.example.com".to_owned()].into(),
                id: "api".into(),
                methods: Default::default(),
                mode: Mode::Enforce,
                otherwise: false,
                paths: Default::default(),
                ports: Default::default(),
                private_addresses: false,
                reason: None,
                schemes: Default::default(),
                verdict: Verdict::Allow,
            }],
            ..Document::default()
        })
    };
    let found = diff(
        &with(1 << 30, 10, &[], &["memory", "cpu"]),
        &with(512 << 20, 20, &["cgroup"], &["memory"]),
        &contexts(),
    );
    let actions: Vec<&str> = found.differences.iter().map(|d| d.action).collect();
    assert_eq!(actions, ["net.outbound"]);
    assert!(found.differences.iter().all(|d| d.widens()));
    // A ceiling refuses nothing: what a profile asks for is lowered to it.
    let settings: Vec<_> = (found.settings.iter())
        .map(|setting| [&*setting.name, &*setting.a, &*setting.b])
        .collect();
    assert_eq!(
        settings,
        [
            ["limits.memory", "1G", "512M"],
            ["may-be-missing", "", "cgroup"],
            ["limits.must-hold", "memory, cpu", "memory"]
        ]
    );
}
