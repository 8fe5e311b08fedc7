//! Destinations, and hosts of secrets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::explore;
use super::{Patterns, Seeds, Tried};
use crate::model::{Budget, EgressRule, Scheme};
use crate::request::{Context, Destination, What};

/// For each name in a pattern and for each name above it: itself, one below it, and all below it. Other names
/// behave like the one that no pattern has.
pub(super) fn hosts(patterns: &BTreeSet<&str>) -> Vec<String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut addresses = Vec::new();
    for pattern in patterns.iter().filter(|pattern| **pattern != "*") {
        let name = pattern.strip_prefix("*.").unwrap_or(pattern);
        if name.parse::<IpAddr>().is_ok() {
            addresses.push(name.to_owned());
            continue;
        }
        let mut rest = name;
        loop {
            names.insert(rest);
            match rest.split_once('.') {
                Some((_, above)) => rest = above,
                None => break,
            }
        }
    }
    let mut hosts: Vec<String> = Vec::new();
    let stranger = ["host.example", "host.invalid", "host.test"]
        .into_iter()
        .find(|host| names.iter().all(|name| !host.ends_with(name)));
    hosts.extend(stranger.map(ToOwned::to_owned));
    hosts.extend(["192.0.2.1".to_owned(), "8.8.8.8".to_owned()]);
    hosts.extend(addresses);
    for name in names {
        let label = ["www", "x", "y"]
            .into_iter()
            .find(|label| !patterns.contains(&*format!("{label}.{name}")));
        hosts.push(name.to_owned());
        hosts.extend(label.map(|label| format!("{label}.{name}")));
        hosts.push(format!("*.{name}"));
    }
    hosts
}

/// Whether a pattern of hosts may overlap a host.
fn relates(pattern: &str, host: &str) -> bool {
    let below = |name: &str, above: &str| {
        name.strip_suffix(above)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let (name, host) = (
        pattern.strip_prefix("*.").unwrap_or(pattern),
        host.strip_prefix("*.").unwrap_or(host),
    );
    pattern == "*" || below(name, host) || below(host, name)
}

pub(super) fn destinations(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    tried.next_action();
    let patterns: BTreeSet<&str> = (seeds.egress.iter())
        .flat_map(|rule| rule.hosts.iter().map(String::as_str))
        .chain(seeds.hosts.iter().copied())
        .collect();
    // A rule that names an address also applies to names that stand for it.
    let mut addresses: BTreeSet<Option<IpAddr>> = (patterns.iter())
        .filter_map(|pattern| pattern.parse().ok())
        .map(Some)
        .collect();
    addresses.extend([None, Some(IpAddr::from([10, 0, 0, 1]))]);
    for host in hosts(&patterns) {
        for address in &addresses {
            // Only these rules can distinguish requests to this host.
            let speaks = |pattern: &String| {
                relates(pattern, &host) || (address.is_some() && *address == pattern.parse().ok())
            };
            let rules: Vec<&EgressRule> = (seeds.egress.iter().copied())
                .filter(|rule| rule.hosts.iter().any(speaks))
                .collect();
            let to = Destination {
                address: *address,
                host: host.clone(),
                method: None,
                path: None,
                port: 0,
                request_size: None,
                requests_last_minute: None,
                response_size: None,
                scheme: Scheme::Tcp,
            };
            to_host(&to, &rules, seeds, context, tried);
        }
    }
}

/// Every request to a host, at an address, that these rules can distinguish.
fn to_host(
    to: &Destination,
    rules: &[&EgressRule],
    seeds: &Seeds<'_>,
    context: &Context,
    tried: &mut Tried<'_>,
) {
    let mut ports: BTreeSet<u16> = rules.iter().flat_map(|rule| rule.ports.clone()).collect();
    ports.extend(&seeds.ports);
    ports.remove(&0);
    let stranger = [443, 80, 22, 5432, 9999].into_iter().chain(1024..);
    ports.extend(stranger.into_iter().find(|port| !ports.contains(port)));
    let mut methods: BTreeSet<&str> = (rules.iter())
        .flat_map(|rule| rule.methods.iter().map(String::as_str))
        .collect();
    let shouted = |text: &&str| text.len() < 8 && text.bytes().all(|b| b.is_ascii_uppercase());
    methods.extend(seeds.texts.iter().copied().filter(shouted));
    let stranger = ["GET", "OPTIONS", "TRACE", "BREW", "PROPFIND"];
    methods.extend(
        stranger
            .into_iter()
            .find(|method| !methods.contains(method)),
    );
    let patterns: Vec<_> = (rules.iter())
        .flat_map(|rule| &rule.paths)
        .filter_map(|path| Some(explore::read(path, context)?.0))
        .collect();
    let paths = match patterns.is_empty() {
        true => vec!["/".to_owned()],
        false => {
            let mut paths = tried.paths(&Patterns::singly(patterns));
            // A path that a server may read differently.
            paths.push("/%2e".to_owned());
            paths
        }
    };
    let uses = uses(rules);
    for scheme in [Scheme::Https, Scheme::Http, Scheme::Tcp, Scheme::Udp] {
        for port in &ports {
            let mut to = Destination {
                port: *port,
                scheme,
                ..to.clone()
            };
            tried.ask(context, What::Net(to.clone()));
            if !scheme.has_requests() {
                continue;
            }
            for method in &methods {
                to.method = Some((*method).to_owned());
                for path in &paths {
                    to.path = Some(path.clone());
                    of_uses(&to, &uses, context, tried);
                }
            }
        }
    }
}

/// The values that a budget is compared with: for each of its bounds no value, and the values around it.
fn uses(rules: &[&EgressRule]) -> [BTreeSet<Option<u64>>; 3] {
    let bounds: [fn(&Budget) -> Option<u64>; 3] = [
        |budget| budget.request_size,
        |budget| budget.requests_per_minute,
        |budget| budget.response_size,
    ];
    bounds.map(|bound| {
        let limits = rules.iter().filter_map(|rule| bound(&rule.budget));
        let around = |limit: u64| [limit.saturating_sub(1), limit, limit.saturating_add(1)];
        let values = limits.flat_map(around).map(Some);
        values.chain([None]).collect()
    })
}

fn of_uses(
    to: &Destination,
    [sizes, rates, responses]: &[BTreeSet<Option<u64>>; 3],
    context: &Context,
    tried: &mut Tried<'_>,
) {
    for request_size in sizes {
        for requests_last_minute in rates {
            for response_size in responses {
                let to = Destination {
                    request_size: *request_size,
                    requests_last_minute: *requests_last_minute,
                    response_size: *response_size,
                    ..to.clone()
                };
                tried.ask(context, What::Net(to));
            }
        }
    }
}
