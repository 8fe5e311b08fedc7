//! The hosts of many rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::super::pattern::{HostPattern, Relation};
use super::{Hits, Rule};

/// Hosts and `*.` hosts, by name from its last label on: what is below a name lies behind it.
#[derive(Debug)]
pub(in super::super) struct HostRules {
    names: Vec<(Key, OfName)>,
    addresses: Vec<(IpAddr, Vec<Rule>)>,
    any: Vec<Rule>,
}

/// A name from its last label on.
type Key = SmallVec<[u8; 64]>;

#[derive(Debug, Default)]
struct OfName {
    /// Rules about this host.
    itself: Vec<Rule>,
    /// Rules about those below it.
    below: Vec<Rule>,
}

impl HostRules {
    pub fn new<'p>(patterns: impl IntoIterator<Item = (&'p HostPattern, Rule)>) -> Self {
        let mut names: BTreeMap<Key, OfName> = BTreeMap::new();
        let mut addresses: BTreeMap<IpAddr, Vec<Rule>> = BTreeMap::new();
        let mut any = Vec::new();
        for (pattern, rule) in patterns {
            let (name, below) = match pattern {
                HostPattern::Any => {
                    any.push(rule);
                    continue;
                }
                HostPattern::Below(name) => (name, true),
                HostPattern::One(name) => (name, false),
            };
            let of = names.entry(from_the_last(name)).or_default();
            match below {
                true => of.below.push(rule),
                false => of.itself.push(rule),
            }
            if let Some(address) = pattern.address() {
                addresses.entry(address).or_default().push(rule);
            }
        }
        Self {
            names: names.into_iter().collect(),
            addresses: addresses.into_iter().collect(),
            any,
        }
    }

    /// How the rules stand to a host, or with `*.` to all hosts below a name.
    pub fn ask(&self, host: &str, hits: &mut Hits) {
        hits.add_all(&self.any, Relation::Covers);
        if self.names.is_empty() {
            return;
        }
        let (name, many) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        let key = from_the_last(name);
        for (at, _) in key.iter().enumerate().filter(|(_, byte)| **byte == b'.') {
            let parent = key.get(..=at).unwrap_or_default();
            let Ok(found) = self.names.binary_search_by(|(own, _)| (**own).cmp(parent)) else {
                continue;
            };
            let Some((_, of)) = self.names.get(found) else {
                continue;
            };
            let is_itself = parent.len() == key.len();
            if many || !is_itself {
                hits.add_all(&of.below, Relation::Covers);
            } else {
                hits.add_all(&of.itself, Relation::Covers);
            }
        }
        if many {
            let from = self.names.partition_point(|(own, _)| *own <= key);
            let behind = self.names.iter().skip(from);
            for (_, of) in behind.take_while(|(own, _)| own.starts_with(&key)) {
                hits.add_all(&of.itself, Relation::Touches);
                hits.add_all(&of.below, Relation::Touches);
            }
        }
    }

    /// The rules about an address that a name stands for: what is said against the address is said
    /// against the name, but a name is let through by its own rules.
    pub fn ask_address(&self, address: IpAddr, hits: &mut Hits) {
        let address = address.to_canonical();
        let found = self
            .addresses
            .binary_search_by(|(own, _)| own.cmp(&address));
        if let Some((_, rules)) = found.ok().and_then(|at| self.addresses.get(at)) {
            hits.add_all(rules, Relation::Touches);
        }
    }
}

/// `api.github.com` as `com.github.api.`: every label ends with a dot, so that no label is the beginning
/// of another.
fn from_the_last(name: &str) -> Key {
    let mut key = Key::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        key.extend_from_slice(label.as_bytes());
        key.push(b'.');
    }
    key
}
