//! What two policies name: all that can distinguish requests.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::Policy;
use crate::model::{Action, EgressRule, Verdict};

/// The patterns of both policies, together.
pub(super) struct Seeds<'p> {
    /// For each action its rules.
    pub actions: BTreeMap<Action, Vec<Patterned<'p>>>,
    pub aliases: BTreeSet<&'p str>,
    pub egress: Vec<&'p EgressRule>,
    pub has_rego: bool,
    /// Hosts that Rego modules name.
    pub hosts: BTreeSet<&'p str>,
    /// Ports that Rego modules name.
    pub ports: BTreeSet<u16>,
    pub secret_hosts: BTreeSet<&'p str>,
    /// Texts in Rego modules that are other names.
    pub texts: BTreeSet<&'p str>,
}

/// The patterns of one rule.
pub(super) struct Patterned<'p> {
    pub patterns: BTreeSet<&'p str>,
    /// Whether it also speaks of what lies below the paths that it names.
    pub reaches_below: bool,
}

impl<'p> Seeds<'p> {
    pub fn of(a: &'p Policy, b: &'p Policy) -> Self {
        let mut seeds = Self {
            actions: BTreeMap::new(),
            aliases: BTreeSet::new(),
            egress: Vec::new(),
            has_rego: false,
            hosts: BTreeSet::new(),
            ports: BTreeSet::new(),
            secret_hosts: BTreeSet::new(),
            texts: BTreeSet::new(),
        };
        for document in a.documents().iter().chain(b.documents().iter()) {
            for rule in &document.capabilities {
                for action in &rule.on {
                    let patterned = Patterned {
                        patterns: rule.matches.iter().map(String::as_str).collect(),
                        reaches_below: rule.verdict > Verdict::Allow,
                    };
                    seeds.actions.entry(*action).or_default().push(patterned);
                }
            }
            seeds.egress.extend(&document.network_egress);
            for rule in &document.secrets_boundary {
                seeds.aliases.insert(&rule.alias);
                seeds
                    .secret_hosts
                    .extend(rule.to.iter().map(String::as_str));
            }
            for module in &document.rego {
                seeds.has_rego = true;
                seeds.rego(&module.text);
            }
        }
        seeds
    }

    /// Adds what a module may compare with: its texts and numbers.
    fn rego(&mut self, text: &'p str) {
        for line in text.lines() {
            let mut quoted = false;
            for piece in line.split(['"', '`']) {
                if quoted {
                    self.text(piece);
                } else {
                    let numbers = piece.split(|c: char| !c.is_ascii_digit());
                    self.ports
                        .extend(numbers.filter_map(|n| n.parse::<u16>().ok()));
                }
                quoted = !quoted;
            }
        }
    }

    fn text(&mut self, text: &'p str) {
        if text.is_empty() || text.contains('*') {
            return;
        }
        let host = text.contains('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
        if host {
            let host = text.trim_matches('.');
            self.hosts.insert(host);
            self.secret_hosts.insert(host);
        }
        let is_name = !text.contains('/');
        if is_name {
            self.texts.insert(text);
            self.aliases.insert(text);
        }
        if is_name || text.starts_with('/') {
            let rules = self.actions.entry(Action::ShellExec).or_default();
            rules.push(Patterned {
                patterns: [text].into(),
                reaches_below: false,
            });
        }
    }

    /// The rules about an action.
    pub fn of_action(&self, action: Action) -> &[Patterned<'p>] {
        self.actions.get(&action).map_or(&[], Vec::as_slice)
    }
}
