//! Rules in Rego never weaken what native rules guarantee.
#![cfg(feature = "rego")]

use crate::support::rego as support;

use aegis_policy::What;
use aegis_policy::model::{Action, CapabilityRule, Document, Verdict};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use support::{ask, document, exec, https, native, policy};

const CONDITIONS: [&str; 6] = [
    "true",
    "input.what.action == \"shell.exec\"",
    "input.what.action == \"net.outbound\"",
    "endswith(input.what.host, \".example.org\")",
    "input.what.port > 443",
    "startswith(input.what.path, \"/usr/bin\")",
];

fn rules(verdicts: &'static [Verdict]) -> impl Strategy<Value = String> {
    let rule = (select(verdicts), select(&CONDITIONS[..]), "[a-z]{1,3}");
    proptest::collection::vec(rule, 1..6).prop_map(|rules| {
        let rules = rules.iter().map(|(verdict, condition, id)| {
            format!("{verdict} contains \"{id}\" if {condition}\n")
        });
        format!("package aegis\n{}", rules.collect::<String>())
    })
}

fn natives() -> impl Strategy<Value = Vec<CapabilityRule>> {
    let mut all = Vec::new();
    for verdict in Verdict::ALL {
        for otherwise in [false, true] {
            for pattern in ["/usr/bin/git", "/usr/**", "git", "/**"] {
                let id = format!("n{}", all.len());
                all.push(native(&id, Action::ShellExec, pattern, verdict, otherwise));
            }
        }
    }
    subsequence(all, 0..5)
}

fn requests() -> impl Strategy<Value = What> {
    const HOSTS: [&str; 2] = ["a.example.org", "example.com"];
    const PATHS: [&str; 3] = ["/usr/bin/git", "/usr/bin/sh", "/opt/git"];
    prop_oneof![
        select(&HOSTS[..]).prop_map(https),
        select(&PATHS[..]).prop_map(exec)
    ]
}

proptest! {
    #[test]
    fn a_module_without_allow_never_allows_more(
        text in rules(&[Verdict::Warn, Verdict::Review, Verdict::Block]),
        capabilities in natives(),
        what in requests(),
    ) {
        let without = Document { capabilities, ..document(&[]) };
        let with = Document { rego: document(&[&text]).rego, ..without.clone() };
        let before = ask(&policy(without), what.clone()).verdict;
        let after = ask(&policy(with), what).verdict;
        prop_assert!(after >= before, "{before} became {after}: {text}");
    }

    #[test]
    fn no_module_takes_a_block_away(
        text in rules(&Verdict::ALL),
        mut capabilities in natives(),
        what in requests(),
    ) {
        capabilities.retain(|rule| !rule.otherwise);
        let without = Document { capabilities, ..document(&[]) };
        let with = Document { rego: document(&[&text]).rego, ..without.clone() };
        let before = ask(&policy(without), what.clone());
        let blocked = before.verdict == Verdict::Block && before.reason.starts_with("blocked by rule");
        let after = ask(&policy(with), what);
        prop_assert!(!blocked || after.verdict == Verdict::Block, "{text}");
    }
}
