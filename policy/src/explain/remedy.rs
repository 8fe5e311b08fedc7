//! What would have to change for a document to let something through.

use super::RuleNote;
use crate::decide::{PatternNote, Policy, Relation, RuleTrace, Trace, decide};
use crate::model::{Action, CapabilityRule, EgressRule, Inject, Rule, SecretRule, Verdict};
use crate::path::HostPath;
use crate::request::{Request, What};

/// All that is needed, each in a sentence. `notes`: those of the trace's rules.
pub(super) fn needs(trace: &Trace<'_>, request: &Request, notes: &[RuleNote]) -> Vec<String> {
    if let What::Limit { limit, .. } = &request.what {
        let ceiling = trace.document.limits.get(limit).into_iter();
        let need =
            |ceiling| format!("ask for at most {ceiling}, or raise `limits.{limit}` of the policy");
        return ceiling.map(need).collect();
    }
    let rules = || trace.rules.iter().zip(notes);
    let say = |verdict| rules().filter(move |(_, note)| note.says == Some(verdict));
    let mut needs: Vec<String> = say(Verdict::Block).map(|(rule, _)| against(rule)).collect();
    let reviewed: Vec<String> =
        (say(Verdict::Review).map(|(rule, _)| format!("`{}`", rule.id))).collect();
    if !reviewed.is_empty() {
        needs.push(format!(
            "a person approves it, as {} wants; `aegis-run` asks on the terminal",
            reviewed.join(" and ")
        ));
    }
    let covered = rules().any(|(rule, note)| {
        rule.relation == Relation::Contains
            && !rule.on_trial
            && note.says.is_some_and(|says| says < Verdict::Block)
    });
    let run = matches!(request.what, What::Tool { .. });
    let held_back: Vec<String> = (trace.rules.iter())
        .filter_map(|rule| Some(format!("`{}`: {}", rule.id, rule.held_back?)))
        .collect();
    if covered || run {
        // No rule has to be added.
    } else if !held_back.is_empty() {
        needs.push(format!("another {}", held_back.join("; or another ")));
    } else if let Some((contract, yaml)) = rule(request) {
        let mut need = format!("a rule that covers it: `{contract}: {yaml}`");
        for near in trace.rules.iter().filter(|rule| {
            rule.relation == Relation::Overlaps
                && !rule.patterns.is_empty()
                && rule.verdict < Verdict::Block
        }) {
            need += &format!("; or ask for no more than what `{}` covers", near.id);
        }
        needs.push(need);
    }
    // Not blocked because of a rule: the request is not well-formed.
    if needs.is_empty() {
        needs.push(format!("a well-formed request: {}", trace.opinion.reason));
    }
    needs
}

/// What to do about a rule that blocks.
fn against(rule: &RuleTrace) -> String {
    let id = &rule.id;
    let closest = rule
        .patterns
        .iter()
        .find(|note| note.stands == Relation::Overlaps);
    match (rule.relation, closest) {
        _ if rule.over_budget => format!("keep within the budget of `{id}`"),
        _ if rule.patterns.is_empty() => format!("change the module in Rego that says `{id}`"),
        (Relation::Overlaps, Some(PatternNote { pattern, .. })) => format!(
            "ask for less, without what is in `{pattern}`; or change `{id}`, which blocks that"
        ),
        _ => format!("change `{id}`, which blocks it: take it out, narrow it, or `mode: warn`"),
    }
}

/// A rule that lets exactly this through, where a rule can: its contract, and its YAML.
pub(super) fn rule(request: &Request) -> Option<(&'static str, String)> {
    let path = |path: &HostPath, tree: bool| {
        // A pattern is text, and has no way to write a literal `*`.
        let text = std::str::from_utf8(path.as_bytes()).ok()?;
        let whole = text.trim_end_matches('/');
        Some(match tree {
            true => format!("{whole}/**"),
            false if whole.is_empty() => "/".into(),
            false => whole.to_owned(),
        })
    };
    let (id, verdict) = ("new".to_owned(), Verdict::Allow);
    let (action, pattern) = match &request.what {
        What::Anomaly { kind, .. } => (Action::Anomaly, kind.name().into()),
        What::Device { device } => (Action::Devices, device.clone()),
        What::Environment { name } => (Action::EnvironmentPass, name.clone()),
        What::Read { path: at, tree, .. } => (Action::FilesRead, path(at, *tree)?),
        What::Write { path: at, tree, .. } => (Action::FilesWrite, path(at, *tree)?),
        What::NetHost {} => (Action::NetHost, "host".into()),
        What::Listen { port } => (Action::NetListen, port.to_string()),
        What::Exec {
            name: Some(name), ..
        } => (Action::ShellExec, name.clone()),
        What::Exec { path: at, tree, .. } => (Action::ShellExec, path(at, *tree)?),
        What::Sockets { name } => (Action::Sockets, name.clone()),
        What::Syscall { name } => (Action::SyscallsAllow, name.clone()),
        What::Net(to) => {
            let rule = EgressRule {
                hosts: [to.host.clone()].into(),
                id,
                methods: to.method.iter().cloned().collect(),
                ports: [to.port].into(),
                schemes: [to.scheme].into(),
                verdict,
                ..EgressRule::default()
            };
            // An address that is not public needs `private-addresses`.
            return yaml(rule.clone(), request).or_else(|| {
                let private_addresses = true;
                yaml(
                    EgressRule {
                        private_addresses,
                        ..rule
                    },
                    request,
                )
            });
        }
        What::Secret {
            alias,
            host,
            inject,
        } => {
            let rule = SecretRule {
                alias: alias.clone(),
                id,
                inject: [inject.unwrap_or(Inject::Header)].into(),
                to: [host.clone()].into(),
                verdict,
                ..SecretRule::default()
            };
            return yaml(rule, request);
        }
        What::Limit { .. } | What::Tool { .. } => return None,
    };
    let rule = CapabilityRule {
        id,
        matches: [pattern].into(),
        on: [action].into(),
        verdict,
        ..CapabilityRule::default()
    };
    yaml(rule, request)
}

/// A list of the rule, if it allows the request: in YAML's flow style, which includes JSON.
fn yaml<R: Rule>(rule: R, request: &Request) -> Option<(&'static str, String)> {
    let text = serde_json::to_string(&[&rule]).ok()?;
    let policy = Policy::new(vec![rule.alone()]).ok()?;
    (decide(&policy, request).verdict == Verdict::Allow).then_some((R::CONTRACT, text))
}
