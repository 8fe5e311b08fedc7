//! `aegis policy eval` and `explain`: a policy's decision on one request; why, rule by rule, and what would
//! have let it through.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_policy::explain::{self, Explanation, OfDocument, Part, Relation, RuleNote};
use aegis_policy::{Policy, Verdict, What, decide};

use super::asked::RequestArgs;
use super::joined;
use crate::aegis::{CommandResult, answer, print, print_bytes};

pub(super) fn eval(asked: &RequestArgs, json: bool) -> CommandResult {
    let (policy, request) = asked.read()?;
    let decision = decide(&policy, &request);
    let said = |what: &What, verdict: Verdict, reason: &str, rules: &[Arc<str>]| {
        let rules = joined(rules, "none");
        format!("{what}: {verdict}\n  reason  {reason}\n  rules   {rules}\n")
    };
    if json {
        // In the form that is recorded and compared.
        let text = serde_json::to_string(&decision)? + "\n";
        print_bytes(text.as_bytes())?;
    } else {
        let mut text = String::new();
        if let What::Tool { grants, .. } = &request.what {
            for (grant, part) in grants.iter().zip(&decision.parts) {
                text += &said(grant, part.verdict, &part.reason, &part.rules);
            }
        }
        text += &said(
            &request.what,
            decision.verdict,
            &decision.reason,
            &decision.rules,
        );
        text += &passphrases(&policy, decision.verdict);
        print(&text)?;
    }
    Ok(decision.verdict.lets_through())
}

pub(super) fn explain(asked: &RequestArgs, json: bool) -> CommandResult {
    let (policy, request) = asked.read()?;
    let explanation = explain::explain(&policy, &request);
    let verdict = explanation.decision.verdict;
    answer(json, &explanation, || {
        text(&explanation) + &passphrases(&policy, verdict)
    })?;
    Ok(verdict.lets_through())
}

/// What a yes needs beside.
fn passphrases(policy: &Policy, verdict: Verdict) -> String {
    let wanted: Vec<&str> = match verdict {
        Verdict::Review => policy
            .documents()
            .passphrases()
            .map(|(name, _)| name)
            .collect(),
        _ => Vec::new(),
    };
    match &*wanted {
        [] => String::new(),
        wanted => format!(
            "  a yes counts with the passphrase of {}\n",
            wanted.join(" and of ")
        ),
    }
}

/// An explanation for people.
pub(in crate::aegis) fn text(explanation: &Explanation) -> String {
    let parts: Vec<String> = explanation.parts.iter().map(of_part).collect();
    parts.join("\n")
}

fn of_part(part: &Part) -> String {
    let mut text = format!(
        "{}: {}\n  {}\n",
        part.what, part.opinion.verdict, part.opinion.reason
    );
    for document in &part.documents {
        text += &of_document(document, part.documents.len() > 1);
    }
    text
}

fn of_document(document: &OfDocument, one_of_several: bool) -> String {
    let mut text = String::new();
    if one_of_several {
        text += &format!("  policy {}: {}\n", document.name, document.opinion.verdict);
    }
    let (disjoint, mut rules): (Vec<&RuleNote>, Vec<&RuleNote>) =
        (document.rules.iter()).partition(|rule| rule.stands == Relation::Disjoint);
    // Rules that speak come first.
    rules.sort_by_key(|rule| rule.says.is_none());
    let width = rules.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
    for rule in rules {
        let says = rule.says.map_or("-", |verdict| verdict.name());
        let pattern = (rule.patterns.iter())
            .find(|pattern| pattern.stands != Relation::Disjoint)
            .map(|pattern| format!("{}: ", pattern.pattern))
            .unwrap_or_default();
        text += &format!(
            "    {:width$}  {:8}  {says:6}  {pattern}{}\n",
            rule.id,
            rule.stands.name(),
            rule.note
        );
    }
    // Mostly there are many, for the same reason.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in disjoint {
        reasons.entry(&rule.note).or_default().push(&rule.id);
    }
    for (note, ids) in reasons {
        text += &format!("    disjoint, {note}: {}\n", ids.join(", "));
    }
    match &*document.needs {
        [] => {}
        [need] => text += &format!("  to let it through: {need}\n"),
        needs => {
            text += "  to let it through, all of these:\n";
            for need in needs {
                text += &format!("    {need}\n");
            }
        }
    }
    text
}
