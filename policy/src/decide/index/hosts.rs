//! The hosts of many rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::address::embedded_v4;
use super::super::pattern::{HostPattern, Part, Relation, address};
use super::names::{Pool, Table};
use super::{Claim, Collect, Hits};

/// Hosts, `*.` hosts, and addresses.
#[derive(Debug)]
pub(in super::super) struct HostRules {
    pool: Pool,
    names: Table,
    of: Vec<OfName>,
    /// With the labels reversed: what is below a name follows it.
    reversed: Vec<(Vec<u8>, Box<str>)>,
    addresses: Vec<(IpAddr, Vec<Claim>)>,
    any: Vec<Claim>,
}

#[derive(Debug, Default)]
struct OfName {
    /// Rules about this host.
    itself: Vec<Claim>,
    /// Rules about all hosts below it.
    below: Vec<Claim>,
}

impl HostRules {
    pub fn new<'p>(patterns: impl IntoIterator<Item = (&'p HostPattern, Claim)>) -> Self {
        let mut names: BTreeMap<Box<str>, OfName> = BTreeMap::new();
        let mut addresses: BTreeMap<IpAddr, Vec<Claim>> = BTreeMap::new();
        let mut any = Vec::new();
        for (pattern, claim) in patterns {
            match pattern {
                HostPattern::Any => any.push(claim),
                HostPattern::Below(name) => {
                    names.entry(name.clone()).or_default().below.push(claim);
                }
                HostPattern::One(name) => {
                    names.entry(name.clone()).or_default().itself.push(claim);
                }
            }
            if let Some(address) = pattern.address() {
                addresses.entry(address).or_default().push(claim);
            }
        }
        let reversed = names.keys().map(|name| (from_the_last(name), name.clone()));
        let mut reversed: Vec<_> = reversed.collect();
        reversed.sort_unstable();
        let parts = names.keys().map(|name| Part::Name(name)).zip(0..);
        let mut pool = Pool::default();
        Self {
            names: pool.table(&parts.collect::<Vec<_>>()),
            pool,
            of: names.into_values().collect(),
            reversed,
            addresses: addresses.into_iter().collect(),
            any,
        }
    }

    fn of(&self, name: &[u8]) -> Option<&OfName> {
        let mut found = None;
        (self.pool).find(&self.names, name, |at| found = self.of.get(at as usize));
        found
    }

    /// How the rules relate to a host, or with `*.` to all hosts below a name.
    pub fn ask(&self, host: &str, hits: &mut Hits<impl Collect>) {
        hits.add_all(&self.any, Relation::Contains);
        let (name, many) = match host.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (host, false),
        };
        if let Some(of) = self.of(name.as_bytes()) {
            let rules = if many { &of.below } else { &of.itself };
            hits.add_all(rules, Relation::Contains);
        }
        let mut left = name.as_bytes();
        while let Some(dot) = left.iter().position(|byte| *byte == b'.') {
            left = left.get(dot + 1..).unwrap_or_default();
            if let Some(of) = self.of(left) {
                hits.add_all(&of.below, Relation::Contains);
            }
        }
        if many {
            self.ask_below(name, hits);
        }
        if let Some(address) = address(host) {
            self.ask_embedded(address, hits);
        }
    }

    /// The rules about hosts that are below a name.
    fn ask_below(&self, name: &str, hits: &mut Hits<impl Collect>) {
        let key = from_the_last(name);
        let from = self.reversed.partition_point(|(own, _)| *own <= key);
        let behind = self.reversed.iter().skip(from);
        for (_, name) in behind.take_while(|(own, _)| own.starts_with(&key)) {
            if let Some(of) = self.of(name.as_bytes()) {
                hits.add_all(&of.itself, Relation::Overlaps);
                hits.add_all(&of.below, Relation::Overlaps);
            }
        }
    }

    /// The rules about an address that a name stands for: a rule against the address applies to the name, but
    /// only its own rules let a name through.
    pub fn ask_address(&self, address: IpAddr, hits: &mut Hits<impl Collect>) {
        self.ask_exactly(address.to_canonical(), hits);
        self.ask_embedded(address, hits);
    }

    /// The rules about the IPv4 address that an IPv6 address leads to: whatever it is called, it is the same machine.
    fn ask_embedded(&self, address: IpAddr, hits: &mut Hits<impl Collect>) {
        let embedded = embedded_v4(address);
        if embedded != address.to_canonical() {
            self.ask_exactly(embedded, hits);
        }
    }

    fn ask_exactly(&self, address: IpAddr, hits: &mut Hits<impl Collect>) {
        let found = self
            .addresses
            .binary_search_by(|(own, _)| own.cmp(&address));
        if let Some((_, rules)) = found.ok().and_then(|at| self.addresses.get(at)) {
            hits.add_all(rules, Relation::Overlaps);
        }
    }
}

/// `api.github.com` as `com.github.api.`: every label ends with a dot, so that no label is a prefix of another.
fn from_the_last(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        key.extend_from_slice(label.as_bytes());
        key.push(b'.');
    }
    key
}
