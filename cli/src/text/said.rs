//! What the policy says of a plan, and what a person is told or asked because of it.

use std::fmt::Write as _;

use aegis_launch::Refusal;
use aegis_policy::Verdict;
use aegis_runtime::plan::{Grant, Plan};

use crate::terminal::harmless;

/// Grants that stand in the way are told up to this many; `--explain` has all.
const MOST: usize = 12;

/// The grants of which the policy says just this.
pub(crate) fn of_verdict(plan: &Plan, verdict: Verdict) -> impl Iterator<Item = &Grant> {
    plan.grants.iter().filter(move |grant| {
        let said = grant.decision.as_ref();
        said.is_some_and(|said| said.verdict == verdict)
    })
}

/// Why the command was not started.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    let Refusal {
        plan,
        decision,
        unanswered,
    } = refusal;
    let name = plan
        .policy
        .as_ref()
        .map_or("", |policy| policy.name.as_str());
    let mut out = match decision.verdict {
        Verdict::Block => format!("the policy {name} blocks this run"),
        _ => format!("the policy {name} wants a person to review this run"),
    };
    if let Some(why) = unanswered {
        let _ = write!(out, ", and {why}");
    }
    let told = |grant: &&Grant| {
        let said = grant.decision.as_ref();
        said.is_some_and(|said| !said.verdict.lets_through())
    };
    let mut listed = 0;
    let total = plan.grants.iter().filter(told).count();
    for verdict in [Verdict::Block, Verdict::Review] {
        for grant in of_verdict(plan, verdict) {
            if listed == MOST {
                break;
            }
            listed += 1;
            let reason = grant.decision.as_ref().map_or("", |said| &said.reason);
            let _ = write!(
                out,
                "\n  {verdict:<6}  {}  ({})\n          {reason}",
                harmless(&grant.what.to_string()),
                harmless(&grant.from.to_string()),
            );
        }
    }
    if total > listed {
        let _ = write!(
            out,
            "\n  ... and {} more: --explain lists all",
            total - listed
        );
    }
    if total == 0 {
        let _ = write!(out, "\n  {}", decision.reason);
    }
    let help = match decision.verdict {
        Verdict::Block => {
            "ask for less in the profile, or have the policy permit it: `aegis policy explain` says what would"
        }
        _ => "run it on a terminal to be asked, or permit it in the policy",
    };
    let _ = write!(out, "\n  help: {help}");
    out
}

/// What is let through with a warning: a line each.
pub(crate) fn warnings(plan: &Plan) -> String {
    let mut out = String::new();
    for grant in of_verdict(plan, Verdict::Warn) {
        let reason = grant.decision.as_ref().map_or("", |said| &said.reason);
        let _ = writeln!(
            out,
            "aegis-run: warning: policy: {} ({}): {reason}",
            harmless(&grant.what.to_string()),
            harmless(&grant.from.to_string())
        );
    }
    out
}
