//! The index gives what asking each pattern in turn gives.

#[path = "../../tests/support/arbitrary.rs"]
mod arbitrary;
mod reference;

use arbitrary::{approved_by, document, request};
use proptest::prelude::*;

use super::{Asked, Policy, decide};
use crate::model::Verdict;
use crate::request::{Request, What};

/// Checks that each document gives the same opinion as asking every pattern.
fn answers_as_the_reference(policy: &Policy, request: &Request) {
    let asked = Asked::new(policy, request);
    let (context, parts) = (&request.context, request.what.parts());
    for what in parts.filter(|what| asked.fault(what).is_none()) {
        let approval = asked.approval(what);
        for layer in &policy.layers {
            assert_eq!(
                layer.opinion(context, what, 1, approval),
                reference::opinion(layer, context, what, approval),
                "{request:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_as_if_every_pattern_were_asked(
        documents in prop::collection::vec(document(), 1..3),
        requests in prop::collection::vec(request(), 32),
    ) {
        let policy = Policy::new(documents).unwrap();
        for request in requests {
            let request = approved_by(&policy, &request);
            answers_as_the_reference(&policy, &request);
        }
    }
}

proptest! {
    #[test]
    fn the_index_answers_so_where_many_rules_speak(aimed in arbitrary::aimed()) {
        let policy = Policy::new(vec![aimed.rules]).unwrap();
        for request in aimed.requests {
            let request = approved_by(&policy, &request);
            answers_as_the_reference(&policy, &request);
        }
    }
}

/// The property is not vacuous: requests meet rules of every kind.
#[test]
fn generated_requests_meet_generated_rules() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut verdicts = std::collections::BTreeMap::new();
    for _ in 0..100 {
        let policy =
            Policy::new(vec![document().new_tree(&mut runner).unwrap().current()]).unwrap();
        for _ in 0..60 {
            let request = request().new_tree(&mut runner).unwrap().current();
            let request = approved_by(&policy, &request);
            let decision = decide(&policy, &request);
            let key = (request.what.action(), decision.verdict);
            *verdicts.entry(key).or_insert(0) += usize::from(!decision.rules.is_empty());
        }
    }
    for action in [
        "files.read",
        "shell.exec",
        "net.outbound",
        "secrets.use",
        "tool.exec",
        "devices",
    ] {
        for verdict in Verdict::ALL {
            assert!(
                verdicts.get(&(action, verdict)).is_some_and(|n| *n > 0),
                "{action} {verdict}: {verdicts:?}"
            );
        }
    }
}

proptest! {
    /// Where a connection is let through, and nothing is about requests, no request on it is refused.
    #[test]
    fn what_passes_unseen_could_not_be_refused_if_it_were_seen(
        aimed in arbitrary::aimed(),
        method in prop::sample::select(vec!["GET", "POST", "DELETE"]),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/repos/x"]),
    ) {
        let policy = Policy::new(vec![aimed.rules]).unwrap();
        for mut request in aimed.requests {
            request.approvals.clear();
            let What::Net(to) = &mut request.what else { continue };
            (to.method, to.path) = (None, None);
            let has_requests = to.scheme.has_requests();
            let passes = decide(&policy, &request).verdict.lets_through()
                && super::about_requests(&policy, &request).is_empty();
            let What::Net(to) = &mut request.what else { continue };
            (to.method, to.path) = (Some(method.to_owned()), Some(path.to_owned()));
            if passes && has_requests {
                prop_assert!(decide(&policy, &request).verdict.lets_through(), "{request:?}");
            }
        }
    }
}
