//! What would have to be otherwise for a document to let something through.

use std::collections::BTreeSet;

use super::Stands;
use super::alone::Heard;
use crate::decide::{self, Policy};
use crate::decision::Opinion;
use crate::model::{
    Action, CapabilityRule, Document, EgressRule, Inject, Mode, SecretRule, Verdict,
};
use crate::path::HostPath;
use crate::request::{Request, What};

/// A rule that could be added.
pub(super) enum Rule {
    Capability(CapabilityRule),
    Egress(EgressRule),
    Secret(SecretRule),
}

/// All that is needed, each in a sentence.
pub(super) fn needs(
    document: &Document,
    request: &Request,
    opinion: &Opinion,
    rules: &[Heard],
) -> Vec<String> {
    if let What::Limit { limit, .. } = &request.what {
        let ceiling = document.limits.get(limit);
        return ceiling
            .map(|ceiling| {
                format!("ask for at most {ceiling}, or raise `limits.{limit}` of the policy")
            })
            .into_iter()
            .collect();
    }
    let mut needs = Vec::new();
    for rule in rules
        .iter()
        .filter(|rule| rule.note.says == Some(Verdict::Block))
    {
        needs.push(against(rule));
    }
    let reviewed: Vec<String> = rules
        .iter()
        .filter(|rule| rule.note.says == Some(Verdict::Review))
        .map(|rule| format!("`{}`", rule.note.id))
        .collect();
    if !reviewed.is_empty() {
        needs.push(format!(
            "a person approves it, as {} wants; `aegis-run` asks on the terminal",
            reviewed.join(" and ")
        ));
    }
    let covered = rules.iter().any(|rule| {
        rule.note.stands == Stands::Covers
            && !rule.on_trial
            && rule.note.says.is_some_and(|says| says < Verdict::Block)
    });
    let run = matches!(request.what, What::Tool { .. });
    let held_back: Vec<String> = rules
        .iter()
        .filter_map(|rule| Some(format!("`{}`: {}", rule.note.id, rule.held_back.as_ref()?)))
        .collect();
    if covered || run {
        // Nothing has to be added.
    } else if !held_back.is_empty() {
        needs.push(format!("another {}", held_back.join("; or another ")));
    } else if let Some(rule) = rule(request) {
        let mut need = format!(
            "a rule that covers it: `{}: {}`",
            rule.section(),
            rule.yaml()
        );
        for near in rules.iter().filter(|rule| {
            rule.note.stands == Stands::Touches
                && !rule.note.patterns.is_empty()
                && rule.note.verdict < Verdict::Block
        }) {
            let id = &near.note.id;
            need += &format!("; or ask for no more than what `{id}` covers");
        }
        needs.push(need);
    }
    // What no rule was the reason for: a request that is not well-formed.
    if needs.is_empty() {
        needs.push(format!("a request of another form: {}", opinion.reason));
    }
    needs
}

/// What to do about a rule that blocks.
fn against(rule: &Heard) -> String {
    let id = &rule.note.id;
    if rule.over_budget {
        return format!("keep within the budget of `{id}`");
    }
    let closest = rule.note.patterns.first();
    match (rule.note.stands, closest) {
        (_, None) => format!("change the module in Rego that says `{id}`"),
        (Stands::Touches, Some(part)) => format!(
            "ask for less, without what is in `{}`; or change `{id}`, which blocks that",
            part.pattern
        ),
        _ => format!("change `{id}`, which blocks it: take it out, narrow it, or `mode: warn`"),
    }
}

/// A rule that lets this very thing through, where a rule can.
pub(super) fn rule(request: &Request) -> Option<Rule> {
    let path = |path: &HostPath, tree: bool| {
        // A pattern is text, and knows no way to write a `*` that is one.
        let text = std::str::from_utf8(path.as_bytes()).ok()?;
        let whole = text.trim_end_matches('/');
        Some(match tree {
            true => format!("{whole}/**"),
            false if whole.is_empty() => "/".into(),
            false => whole.to_owned(),
        })
    };
    let (action, pattern) = match &request.what {
        What::Device { device } => (Action::Devices, device.clone()),
        What::Environment { name } => (Action::EnvironmentPass, name.clone()),
        What::Read { path: at, tree } => (Action::FilesRead, path(at, *tree)?),
        What::Write { path: at, tree } => (Action::FilesWrite, path(at, *tree)?),
        What::NetHost {} => (Action::NetHost, "host".into()),
        What::Listen { port } => (Action::NetListen, port.to_string()),
        What::Exec {
            name: Some(name), ..
        } => (Action::ShellExec, name.clone()),
        What::Exec { path: at, tree, .. } => (Action::ShellExec, path(at, *tree)?),
        What::Syscall { name } => (Action::SyscallsAllow, name.clone()),
        What::Net(to) => {
            let rule = Rule::Egress(EgressRule {
                budget: Default::default(),
                hosts: [to.host.clone()].into(),
                id: "new".into(),
                methods: to.method.iter().cloned().collect(),
                mode: Mode::Enforce,
                otherwise: false,
                paths: BTreeSet::new(),
                ports: [to.port].into(),
                private_addresses: false,
                reason: None,
                schemes: [to.scheme].into(),
                verdict: Verdict::Allow,
            });
            return rule.checked(request);
        }
        What::Secret {
            alias,
            host,
            inject,
        } => {
            let rule = Rule::Secret(SecretRule {
                alias: alias.clone(),
                id: "new".into(),
                inject: [inject.unwrap_or(Inject::Header)].into(),
                mode: Mode::Enforce,
                otherwise: false,
                reason: None,
                to: [host.clone()].into(),
                verdict: Verdict::Allow,
            });
            return rule.checked(request);
        }
        What::Limit { .. } | What::Tool { .. } => return None,
    };
    let rule = Rule::Capability(CapabilityRule {
        id: "new".into(),
        matches: [pattern].into(),
        mode: Mode::Enforce,
        on: [action].into(),
        otherwise: false,
        reason: None,
        verdict: Verdict::Allow,
    });
    rule.checked(request)
}

impl Rule {
    /// Itself, if it does what it is there for; for an address that is not public it has to say so.
    fn checked(mut self, request: &Request) -> Option<Self> {
        if self.lets_through(request) {
            return Some(self);
        }
        match &mut self {
            Self::Egress(rule) => rule.private_addresses = true,
            Self::Capability(_) | Self::Secret(_) => return None,
        }
        self.lets_through(request).then_some(self)
    }

    fn lets_through(&self, request: &Request) -> bool {
        let mut document = Document::default();
        match self {
            Self::Capability(rule) => document.capabilities.push(rule.clone()),
            Self::Egress(rule) => document.network_egress.push(rule.clone()),
            Self::Secret(rule) => document.secrets_boundary.push(rule.clone()),
        }
        Policy::new(vec![document])
            .is_ok_and(|policy| decide::opinion(&policy, request).verdict == Verdict::Allow)
    }

    /// The contract that it belongs to.
    pub fn section(&self) -> &'static str {
        match self {
            Self::Capability(_) => "capabilities",
            Self::Egress(_) => "network-egress",
            Self::Secret(_) => "secrets-boundary",
        }
    }

    /// As a list of one, in YAML's flow form, which JSON is.
    pub fn yaml(&self) -> String {
        let text = match self {
            Self::Capability(rule) => serde_json::to_string(rule),
            Self::Egress(rule) => serde_json::to_string(rule),
            Self::Secret(rule) => serde_json::to_string(rule),
        };
        format!("[{}]", text.unwrap_or_default())
    }
}
