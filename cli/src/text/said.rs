//! The policy's opinion on a plan, as a person reads it.

use std::cmp::Reverse;
use std::fmt::Write as _;

use aegis_launch::Refusal;
use aegis_policy::{Opinion, Verdict};
use aegis_runtime::plan::{Grant, Plan};

use crate::terminal::harmless;

/// At most so many grants that prevent a run are shown; `--explain` has all.
const MOST: usize = 12;

/// The grants that the policy was asked about, with its opinion on each.
fn told(plan: &Plan) -> impl Iterator<Item = (&Grant, &Opinion)> {
    let grants = plan.grants.iter();
    grants.filter_map(|grant| Some((grant, grant.decision.as_ref()?)))
}

/// Why the command was not started.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    let Refusal {
        plan,
        decision,
        unanswered,
    } = refusal;
    let name = plan.policy.as_ref().map_or("", |policy| &*policy.name);
    let mut out = match decision.verdict {
        Verdict::Block => format!("the policy {name} blocks this run"),
        _ => format!("the policy {name} wants a person to review this run"),
    };
    if let Some(why) = unanswered {
        let _ = write!(out, ", and {why}");
    }
    let mut stopped: Vec<_> =
        (told(plan).filter(|(_, said)| !said.verdict.lets_through())).collect();
    stopped.sort_by_key(|(_, said)| Reverse(said.verdict));
    for (grant, said) in stopped.iter().take(MOST) {
        let _ = write!(
            out,
            "\n  {:<6}  {}  ({})\n          {}",
            said.verdict,
            harmless(&grant.what.to_string()),
            harmless(&grant.from.to_string()),
            said.reason,
        );
    }
    if stopped.is_empty() {
        let _ = write!(out, "\n  {}", decision.reason);
    } else if stopped.len() > MOST {
        let more = stopped.len() - MOST;
        let _ = write!(out, "\n  ... and {more} more: --explain lists all");
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

/// What is let through with a warning, a line each.
pub(crate) fn warnings(plan: &Plan) -> String {
    let mut out = String::new();
    for (grant, said) in told(plan).filter(|(_, said)| said.verdict == Verdict::Warn) {
        let _ = writeln!(
            out,
            "aegis-run: warning: policy: {} ({}): {}",
            harmless(&grant.what.to_string()),
            harmless(&grant.from.to_string()),
            said.reason
        );
    }
    out
}
