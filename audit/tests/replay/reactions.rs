//! What was done about an anomaly, held against what the policy asks for.

use std::sync::Arc;

use aegis_audit::event::{Anomaly, Event, Reaction};
use aegis_audit::replay::{Found, Outcome};
use aegis_policy::model::{Action, AnomalyKind, CapabilityRule, OnBlockedAnomaly};
use aegis_policy::{Document, Policy, Request, Verdict, What, decide};

use super::{again, line, request};

/// What was done about an anomaly follows from the verdict and from what the policy wants of what it blocks.
#[test]
fn a_reaction_that_the_policy_does_not_ask_for_differs() {
    use AnomalyKind::{Connect, Exec, Read};
    use Reaction::{Continued, Killed, Recorded as Noted, Refused, Warned};
    let follows = |verdict, blocked_anomaly, kind, reaction, instead_of| {
        let rule = CapabilityRule {
            id: "odd".into(),
            matches: ["*".to_owned()].into(),
            on: [Action::Anomaly].into(),
            verdict,
            ..CapabilityRule::default()
        };
        let document = Document {
            blocked_anomaly,
            capabilities: vec![rule],
            ..Document::default()
        };
        let policy = Arc::new(Policy::new(vec![document]).expect("a policy"));
        let request = Request {
            what: What::Anomaly {
                kind,
                of: "/usr/bin/dash".into(),
            },
            ..request(1)
        };
        let decision = decide(&policy, &request);
        let done = Anomaly {
            baseline: None,
            instead_of,
            reaction,
        };
        let event = Event::anomaly("run", request, decision, done);
        match again(&line(event), &Found::Same(policy)) {
            Outcome::Same => true,
            Outcome::Differs { differences } => {
                assert_eq!(differences[0].what, "what was done");
                false
            }
            other => panic!("{other:?}"),
        }
    };
    let (kill, refuse) = (OnBlockedAnomaly::Kill, OnBlockedAnomaly::Refuse);
    let missed = Some(Refused);
    for (is_asked_for, verdict, blocked, kind, reaction, instead_of) in [
        (true, Verdict::Allow, kill, Exec, Noted, None),
        (true, Verdict::Warn, refuse, Exec, Warned, None),
        (true, Verdict::Review, refuse, Exec, Continued, None),
        (true, Verdict::Review, kill, Exec, Killed, None),
        (true, Verdict::Block, kill, Exec, Killed, None),
        (true, Verdict::Block, refuse, Exec, Refused, None),
        (true, Verdict::Block, refuse, Connect, Killed, missed),
        (true, Verdict::Block, refuse, Read, Killed, None),
        (false, Verdict::Allow, kill, Exec, Killed, None),
        (false, Verdict::Warn, refuse, Exec, Refused, None),
        (false, Verdict::Block, kill, Exec, Refused, None),
        (false, Verdict::Block, kill, Exec, Killed, missed),
        (false, Verdict::Block, refuse, Exec, Killed, None),
        (false, Verdict::Block, refuse, Read, Refused, None),
        (false, Verdict::Block, refuse, Exec, Warned, None),
    ] {
        assert_eq!(
            follows(verdict, blocked, kind, reaction, instead_of),
            is_asked_for,
            "{verdict:?} {blocked:?} {kind:?} {reaction:?}"
        );
    }
}
