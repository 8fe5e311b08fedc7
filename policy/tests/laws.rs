//! The laws of decisions, for random policies and requests.

use crate::support::arbitrary;

use aegis_policy::Hash;
use aegis_policy::model::{AnomalyKind, Budget, Document, Mode, Verdict};
use aegis_policy::path::HostPath;
use aegis_policy::request::{Alias, Approval, Destination};
use aegis_policy::{Context, Decision, Policy, Request, What};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Decides, with the request's approvals bound to this policy.
fn decide(policy: &Policy, request: &Request) -> Decision {
    aegis_policy::decide(policy, &arbitrary::approved_by(policy, request))
}

fn decided(documents: &[&Document], request: &Request) -> Decision {
    let documents = documents.iter().map(|d| (*d).clone()).collect();
    decide(&Policy::new(documents).unwrap(), request)
}

/// The rules without the other rule, and with it in the given verdict and mode.
fn with_the_other(
    aimed: &arbitrary::Aimed,
    verdict: Option<Verdict>,
    mode: Mode,
) -> (Policy, Policy) {
    let mut with = aimed.rules.clone();
    for mut rule in aimed.other.capabilities.clone() {
        rule.id = "new".into();
        (rule.mode, rule.verdict) = (mode, verdict.unwrap_or(rule.verdict));
        with.capabilities.push(rule);
    }
    for mut rule in aimed.other.network_egress.clone() {
        rule.id = "new".into();
        (rule.mode, rule.verdict) = (mode, verdict.unwrap_or(rule.verdict));
        if verdict == Some(Verdict::Allow) {
            // A rule with a budget also blocks what is over the budget.
            rule.budget = Budget::default();
        }
        with.network_egress.push(rule);
    }
    for mut rule in aimed.other.secrets_boundary.clone() {
        rule.id = "new".into();
        (rule.mode, rule.verdict) = (mode, verdict.unwrap_or(rule.verdict));
        with.secrets_boundary.push(rule);
    }
    let without = vec![aimed.rules.clone()];
    (
        Policy::new(without).unwrap(),
        Policy::new(vec![with]).unwrap(),
    )
}

/// Several requests for each policy, since compiling takes long.
fn requests() -> impl Strategy<Value = Vec<Request>> {
    vec(arbitrary::request(), 24)
}

fn assert_canonical<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let ours = serde_json::to_string(value).unwrap();
    assert_eq!(ours, serde_json_canonicalizer::to_string(value).unwrap());
    assert_eq!(serde_json::from_str::<T>(&ours).unwrap(), *value);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn adding_a_rule_that_blocks_never_allows_more(aimed in arbitrary::aimed()) {
        let (without, with) = with_the_other(&aimed, Some(Verdict::Block), Mode::Enforce);
        for request in &aimed.requests {
            let (before, after) = (decide(&without, request), decide(&with, request));
            prop_assert!(after.verdict >= before.verdict, "{request:?}\n{before:?}\n{after:?}");
        }
    }

    #[test]
    fn removing_a_rule_that_allows_never_allows_more(aimed in arbitrary::aimed()) {
        let (without, with) = with_the_other(&aimed, Some(Verdict::Allow), Mode::Enforce);
        for request in &aimed.requests {
            let (before, after) = (decide(&with, request), decide(&without, request));
            prop_assert!(after.verdict >= before.verdict, "{request:?}\n{before:?}\n{after:?}");
        }
    }

    /// Except `warn` in place of `allow`.
    #[test]
    fn a_rule_in_mode_warn_changes_nothing_of_what_is_let_through(aimed in arbitrary::aimed()) {
        let (without, with) = with_the_other(&aimed, None, Mode::Warn);
        for request in &aimed.requests {
            let (before, after) = (decide(&without, request), decide(&with, request));
            let warned = before.verdict == Verdict::Allow && after.verdict == Verdict::Warn;
            prop_assert!(warned || after.verdict == before.verdict, "{request:?}\n{before:?}\n{after:?}");
        }
    }

    #[test]
    fn a_second_policy_never_allows_more(
        (one, mut other) in (arbitrary::document(), arbitrary::document()),
        requests in requests(),
    ) {
        other.name = "q".into();
        for request in requests {
            let both = decided(&[&one, &other], &request);
            let worst = decided(&[&one], &request).verdict.max(decided(&[&other], &request).verdict);
            prop_assert!(both.verdict >= worst, "{request:?}\n{both:?}");
        }
    }

    #[test]
    fn the_order_of_rules_means_nothing(document in arbitrary::document(), turn in 0..40usize, requests in requests()) {
        let mut turned = document.clone();
        turned.capabilities.reverse();
        let middle = turn.min(turned.capabilities.len());
        turned.capabilities.rotate_left(middle);
        turned.network_egress.reverse();
        turned.secrets_boundary.reverse();
        for request in requests {
            prop_assert_eq!(decided(&[&turned], &request), decided(&[&document], &request));
        }
    }

    /// Except limits, which grant nothing: `thing()` has none.
    #[test]
    fn an_empty_policy_allows_nothing(request in arbitrary::request()) {
        let decision = decided(&[&Document::default()], &request);
        prop_assert_eq!(decision.verdict, Verdict::Block);
        prop_assert!(decision.rules.is_empty());
        prop_assert_eq!(decided(&[], &request).verdict, Verdict::Block);
    }

    /// Otherwise one could ask for a tree instead of what is blocked in it. What is hidden is not in it.
    #[test]
    fn a_tree_is_let_through_only_with_all_that_is_in_it(
        document in prop_oneof![arbitrary::document(), arbitrary::aimed().prop_map(|aimed| aimed.rules)],
        context in arbitrary::context(),
        (hidden, tree, _) in arbitrary::place(),
        below in vec(arbitrary::path(), 12),
    ) {
        let policy = Policy::new(vec![document]).unwrap();
        let lies_in = |path: &HostPath, dir: &HostPath| {
            let mut path = path.components();
            dir.components().all(|name| path.next() == Some(name))
        };
        let asked = |what: &dyn Fn(Vec<HostPath>, HostPath, bool) -> What, path: &HostPath, tree| {
            let except = hidden.iter().filter(|hidden| tree && lies_in(hidden, path));
            let what = what(except.cloned().collect(), path.clone(), tree);
            decide(&policy, &Request { approvals: vec![], context: context.clone(), what }).verdict
        };
        let reading = |except, path, tree| What::Read { except, path, tree };
        let executing = |except, path, tree| What::Exec { except, name: None, path, tree };
        for what in [&reading as &dyn Fn(Vec<HostPath>, HostPath, bool) -> What, &executing] {
            let whole = asked(what, &tree, true);
            for below in &below {
                let path = format!("{tree}{below}");
                let path = path.trim_end_matches('/').replace("//", "/");
                let path = HostPath::from(if path.is_empty() { "/" } else { &path });
                if hidden.iter().any(|hidden| lies_in(&path, hidden)) {
                    continue;
                }
                prop_assert!(whole >= asked(what, &path, false), "{tree:?} {path:?}");
                prop_assert!(whole >= asked(what, &path, true), "{tree:?} {path:?}");
            }
        }
    }

    #[test]
    fn hosts_below_a_name_are_let_through_only_with_each_of_them(
        document in arbitrary::aimed().prop_map(|aimed| aimed.rules),
        to in arbitrary::destination(),
        label in proptest::sample::select(&["a", "b", "b.a", "c"][..]),
    ) {
        prop_assume!(to.host.parse::<std::net::IpAddr>().is_err());
        let name = to.host.trim_start_matches("*.").to_owned();
        let policy = Policy::new(vec![document]).unwrap();
        let asked = |host: String| {
            let what = What::Net(Destination { host, ..to.clone() });
            decide(&policy, &Request { approvals: vec![], context: Context::default(), what }).verdict
        };
        let all = asked(format!("*.{name}"));
        let (one, some) = (format!("{label}.{name}"), format!("*.{label}.{name}"));
        prop_assert!(all >= asked(one), "{:?}", to);
        prop_assert!(all >= asked(some), "{:?}", to);
    }

    #[test]
    fn an_approval_answers_review_and_nothing_else(
        (document, requests) in prop_oneof![
            (arbitrary::document(), requests()),
            arbitrary::aimed().prop_map(|aimed| (aimed.rules, aimed.requests)),
        ],
    ) {
        let policy = Policy::new(vec![document]).unwrap();
        for request in requests {
            let bare = Request { approvals: vec![], ..request.clone() };
            let (with, without) = (decide(&policy, &request), decide(&policy, &bare));
            let answered = matches!(request.what, What::Tool { .. })
                || without.verdict == Verdict::Review && with.verdict.lets_through();
            prop_assert!(answered || with.verdict == without.verdict);
            prop_assert!(without.verdict != Verdict::Block || with.verdict == Verdict::Block);
        }
    }

    #[test]
    fn every_request_has_an_answer(request in anything(), document in arbitrary::document()) {
        let policy = Policy::new(vec![document]).unwrap();
        let decision = aegis_policy::decide(&policy, &request);
        let path = match &request.what {
            What::Read { path, .. } | What::Write { path, .. } | What::Exec { path, .. } => Some(path),
            _ => None,
        };
        if path.is_some_and(|path| !path.is_plain()) {
            prop_assert_eq!(decision.verdict, Verdict::Block);
        }
        prop_assert_eq!(decision.input, request.hash());
    }

    #[test]
    fn what_is_written_is_canonical_and_reads_as_it_was(
        request in prop_oneof![arbitrary::request(), anything()],
        document in arbitrary::document(),
    ) {
        // Other numbers have no canonical form; such a request is refused.
        prop_assume!(has_plain_numbers(&request));
        assert_canonical(&request);
        prop_assert_eq!(request.hash(), Hash::of_canonical(&request));
        prop_assert_eq!(request.what.hash(), Hash::of_canonical(&request.what));
        let command = serde_json::to_value(&request.what).unwrap()["command"].take();
        let command = command.as_array().cloned().unwrap_or_default();
        prop_assert_eq!(request.what.command_hash(), Hash::of_canonical(&command));
        assert_canonical(&decided(&[&document], &request));
        assert_canonical(&document);
    }
}

fn has_plain_numbers(request: &Request) -> bool {
    let plain = |number: u64| number < 1 << 53;
    let of = |what: &What| match what {
        What::Limit { value, .. } => value.is_none_or(plain),
        What::Net(to) => [to.request_size, to.requests_last_minute, to.response_size]
            .into_iter()
            .flatten()
            .all(plain),
        _ => true,
    };
    let parts = match &request.what {
        What::Tool { grants, .. } => grants.iter().all(of),
        what => of(what),
    };
    parts
        && request
            .approvals
            .iter()
            .all(|a| plain(a.at) && plain(a.expires))
}

prop_compose! {
    fn bytes()(bytes in prop_oneof![
        vec(any::<u8>(), 0..12),
        "(/|\\.|\\*|a|\\PC){0,8}".prop_map(String::into_bytes),
    ]) -> HostPath { HostPath(bytes) }
}

prop_compose! {
    fn any_hash()(bytes in any::<[u8; 32]>()) -> Hash { Hash(bytes) }
}

/// Whatever the types can hold.
fn anything() -> impl Strategy<Value = Request> {
    let text = || prop_oneof![any::<String>(), "[a-z.*:0-9/]{0,12}"];
    let number = || prop::option::of(prop_oneof![any::<u64>(), 0..5u64]);
    let destination = arbitrary::destination();
    let destination = (
        destination,
        text(),
        text(),
        any::<u16>(),
        number(),
        number(),
        any::<bool>(),
    );
    let thing =
        prop_oneof![
            (vec(bytes(), 0..3), bytes(), any::<bool>())
                .prop_map(|(except, path, tree)| What::Read { except, path, tree }),
            (vec(bytes(), 0..3), bytes(), any::<bool>())
                .prop_map(|(except, path, tree)| What::Write { except, path, tree }),
            (bytes(), any::<bool>(), prop::option::of(text())).prop_map(|(path, tree, name)| {
                What::Exec {
                    except: Vec::new(),
                    name,
                    path,
                    tree,
                }
            }),
            (text(), number()).prop_map(|(limit, value)| What::Limit { limit, value }),
            (select(AnomalyKind::ALL.to_vec()), bytes())
                .prop_map(|(kind, of)| What::Anomaly { kind, of }),
            text().prop_map(|device| What::Device { device }),
            text().prop_map(|name| What::Environment { name }),
            text().prop_map(|name| What::Sockets { name }),
            text().prop_map(|name| What::Syscall { name }),
            any::<u16>().prop_map(|port| What::Listen { port }),
            (text(), text()).prop_map(|(alias, host)| What::Secret {
                alias,
                host,
                inject: None
            }),
            destination.prop_map(|(mut to, host, text, port, size, rate, other_host)| {
                if other_host {
                    to.host = host;
                } else {
                    to.path = Some(text.clone());
                    to.method = Some(text);
                }
                (to.port, to.request_size, to.requests_last_minute) = (port, size, rate);
                What::Net(to)
            }),
        ];
    let run = (vec(bytes(), 0..3), vec(thing.clone(), 0..4))
        .prop_map(|(command, grants)| What::Tool { command, grants });
    let what = prop_oneof![4 => thing, 1 => run];
    let context = (
        bytes(),
        any::<String>(),
        any_hash(),
        prop::option::of(bytes()),
        any::<u32>(),
        bytes(),
        prop::collection::vec((bytes(), bytes(), any::<bool>()), 0..3),
    )
        .prop_map(
            |(home, profile, profile_hash, skill, uid, work, aliases)| Context {
                aliases: (aliases.into_iter())
                    .map(|(name, place, trusted)| Alias {
                        name,
                        place,
                        trusted,
                    })
                    .collect(),
                home,
                profile,
                profile_hash,
                skill,
                uid,
                work,
            },
        );
    let context = prop_oneof![context, arbitrary::context()];
    let approval = (
        any::<u64>(),
        any::<u64>(),
        any::<String>(),
        any_hash(),
        any_hash(),
    )
        .prop_map(|(at, expires, id, profile_hash, what)| Approval {
            at,
            command: Hash::of(&what.0),
            expires,
            held_for: Hash::of(&profile_hash.0),
            id,
            policy: Hash::of(b"policy"),
            profile_hash,
            skill: None,
            what,
        });
    (vec(approval, 0..2), context, what).prop_map(|(approvals, context, what)| Request {
        approvals,
        context,
        what,
    })
}
