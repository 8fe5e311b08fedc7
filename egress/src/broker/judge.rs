//! What may be connected to: the profile's destinations, and what the policy says of each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegis_policy::decide::{BadPolicy, about_requests, embedded_v4};
use aegis_policy::explain::suggestion;
use aegis_policy::model::{Budget, Inject, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Decision, Hash, Policy, Request, What, decide};
use serde::Serialize;

use crate::broker::names::{in_block, is_or_is_below};
use crate::protocol::{Grant, LONGEST, Setup, asked, encode, granting, url};

/// Addresses at which clouds tell a machine its secrets. Whoever is meant to reach one is granted the address itself: a name
/// never leads there, whatever the policy says of its addresses.
const METADATA: [&str; 7] = [
    // Azure's, which is public by its registration.
    "168.63.129.16",
    // Alibaba's.
    "100.100.100.200",
    // Oracle's older one.
    "192.0.0.192",
    // Amazon's: of machines, and of pods.
    "fd00:ec2::254",
    "fd00:ec2::23",
    // Google's.
    "fd20:ce::254",
    // Scaleway's.
    "fd00:42::42",
];

/// The name of the host's loopback.
pub(crate) const LOCALHOST: &str = "localhost";

/// The longest decision as it is sent, in bytes: half of what a message to the launcher holds. A path and a line have the rest.
const LONGEST_DECISION: usize = LONGEST / 2;

/// Whether metadata services are at an address. All of 169.254/16 and fe80::/10 counts: nothing else is there.
fn is_metadata(address: IpAddr) -> bool {
    match embedded_v4(address) {
        IpAddr::V4(v4) if v4.is_link_local() => true,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
        plain => METADATA.iter().any(|known| known.parse() == Ok(plain)),
    }
}

/// Whether somebody may be told how to ask for a destination: not where nothing but credentials is, nor for an address that stands for a
/// name.
fn may_be_suggested(to: &Destination) -> bool {
    let addresses = [to.address, to.host.parse().ok()];
    (addresses.into_iter().flatten()).all(|address| !is_metadata(address) && !in_block(address))
}

/// Why a connection or a request is refused: what the sandbox is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The line that would allow it, in the profile or in the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,
    /// What the launcher alone is told.
    #[serde(skip)]
    pub detail: Option<String>,
    /// In words.
    pub reason: String,
    /// The rules of the policy that refuse it.
    pub rules: Vec<Arc<str>>,
    /// As a status of HTTP.
    #[serde(skip)]
    pub status: u16,
}

impl Refusal {
    /// By the broker itself.
    pub fn of_broker(reason: impl Into<String>) -> Self {
        Self::with_status(403, reason)
    }

    /// Because it cannot be done.
    pub fn with_status(status: u16, reason: impl Into<String>) -> Self {
        Self {
            allow: None,
            detail: None,
            reason: reason.into(),
            rules: Vec::new(),
            status,
        }
    }

    /// What the launcher is told.
    pub fn in_full(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// Who decides.
pub(crate) struct Judge {
    policy: Policy,
    /// The sizes of responses that rules speak of, the smallest first.
    response_limits: Vec<u64>,
    /// Whether any rule has a budget: how much requests use is told only then.
    pub has_budgets: bool,
    /// The request, but for what is asked.
    request: Mutex<Request>,
    grants: Vec<Grant>,
    /// Whether TLS may be opened.
    may_open: bool,
    /// The hosts that a secret is sent to, with their ports.
    secrets: BTreeSet<(String, u16)>,
}

impl Judge {
    /// # Errors
    ///
    /// The policy is none.
    pub fn new(setup: Setup) -> Result<Self, BadPolicy> {
        let nowhere = Destination::connection(Scheme::Tcp, "", 0);
        let request = asked(&setup.context, &setup.approvals, What::Net(nowhere));
        let rules = || (setup.policy.iter()).flat_map(|document| &document.network_egress);
        let has_budgets = rules().any(|rule| rule.budget != Budget::default());
        let mut response_limits: Vec<u64> = rules()
            .filter_map(|rule| rule.budget.response_size)
            .collect();
        response_limits.sort_unstable();
        Ok(Self {
            has_budgets,
            response_limits,
            policy: Policy::new(setup.policy)?,
            request: Mutex::new(request),
            grants: setup.destinations,
            may_open: setup.opens.is_some(),
            secrets: (setup.secrets.into_iter())
                .map(|secret| (secret.to, secret.port))
                .collect(),
        })
    }

    /// The names that the profile asks for, without those that stand for others below them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let hosts = self.grants.iter().map(|grant| &*grant.host);
        hosts.filter(|host| !host.starts_with("*.") && host.parse::<IpAddr>().is_err())
    }

    /// Whether the profile asks for a host, on any port.
    pub fn asks_for(&self, host: &str) -> bool {
        self.grants.iter().any(|grant| grant.covers(host))
    }

    /// How a host is spoken to at a port. Where the profile asks for several ways, the one that lets through least; where it
    /// asks for none, the port's own way, or the web's, so that a refusal can be told.
    pub fn scheme(&self, host: &str, port: u16) -> Option<Scheme> {
        let at_port = || self.grants.iter().filter(|grant| grant.port == port);
        let first_of = |schemes: [Scheme; 3], grants: &mut dyn Iterator<Item = &Grant>| {
            let granted: Vec<Scheme> = grants.map(|grant| grant.scheme).collect();
            schemes.into_iter().find(|scheme| granted.contains(scheme))
        };
        let (http, https, tcp) = (Scheme::Http, Scheme::Https, Scheme::Tcp);
        let asked = first_of(
            [https, http, tcp],
            &mut at_port().filter(|grant| grant.covers(host)),
        );
        let of_port = || first_of([http, https, tcp], &mut at_port());
        asked.or_else(of_port).or(match port {
            80 => Some(http),
            443 => Some(https),
            _ => None,
        })
    }

    /// Whether the profile asks for this.
    pub fn is_asked_for(&self, to: &Destination) -> Result<(), Refusal> {
        if self.grants.iter().any(|grant| grant.asks_for(to)) {
            return Ok(());
        }
        Err(Refusal {
            allow: may_be_suggested(to).then(|| granting(to)),
            ..Refusal::of_broker(format!("the profile does not ask for {}", url(to)))
        })
    }

    /// Whether TLS to a destination is opened.
    pub fn opens(&self, to: &Destination) -> bool {
        self.may_open
            && to.scheme == Scheme::Https
            && (self.secrets.contains(&(to.host.clone(), to.port))
                || !self.about_requests(to).is_empty())
    }

    /// The names at which TLS passes through, and below which nothing is opened.
    pub fn passing(&self) -> Vec<&str> {
        let mut opened: Vec<&str> = self.secrets.iter().map(|(host, _)| &**host).collect();
        let mut passing = Vec::new();
        for grant in self
            .grants
            .iter()
            .filter(|grant| grant.scheme == Scheme::Https)
        {
            let to = Destination::connection(Scheme::Https, &grant.host, grant.port);
            let name = grant.host.strip_prefix("*.").unwrap_or(&grant.host);
            match self.opens(&to) {
                true => opened.push(name),
                false => passing.push(name),
            }
        }
        passing.retain(|name| {
            let is_name = name.parse::<IpAddr>().is_err();
            is_name && !opened.iter().any(|opened| is_or_is_below(opened, name))
        });
        passing
    }

    /// Whether a connection may pass through unseen.
    pub fn may_pass(&self, to: &Destination) -> Result<(), Refusal> {
        let rules = self.about_requests(to);
        match rules.is_empty() {
            true => Ok(()),
            false => Err(Refusal {
                rules,
                ..Refusal::of_broker(format!(
                    "the policy tells requests to {} apart, by methods, paths or a budget, and what passes through as `{}` is not looked into",
                    to.host,
                    to.scheme.name(),
                ))
            }),
        }
    }

    /// The rules that tell requests on a connection apart.
    pub fn about_requests(&self, to: &Destination) -> Vec<Arc<str>> {
        about_requests(&self.policy, &self.request_of(to))
    }

    /// Whether an address of loopback stands for the host's at a port: the profile asks for that, and not for the address itself.
    pub fn is_localhost(&self, loopback: IpAddr, port: u16) -> bool {
        let mut at_port = self.grants.iter().filter(|grant| grant.port == port);
        let is_itself = |grant: &Grant| grant.host.parse() == Ok(loopback);
        at_port.clone().any(|grant| grant.host == LOCALHOST) && !at_port.any(is_itself)
    }

    /// The policy's hash.
    pub fn policy(&self) -> Hash {
        self.policy.hash()
    }

    /// What the policy says. An error where that could not be recorded.
    pub fn decide(&self, to: &Destination) -> Result<Decision, Refusal> {
        self.decide_about(What::Net(to.clone()))
    }

    /// What the policy says of the use of a secret.
    pub fn decide_secret(
        &self,
        alias: &str,
        host: &str,
        inject: Inject,
    ) -> Result<Decision, Refusal> {
        self.decide_about(What::Secret {
            alias: alias.to_owned(),
            host: host.to_owned(),
            inject: Some(inject),
        })
    }

    fn decide_about(&self, what: What) -> Result<Decision, Refusal> {
        let said = decide(&self.policy, &self.request_about(what));
        match encode(&said).len() > LONGEST_DECISION {
            true => Err(Refusal::with_status(
                500,
                "more rules apply to it than can be recorded",
            )),
            false => Ok(said),
        }
    }

    /// An address that the real name was resolved to: `Ok` with what the policy says of it.
    pub fn decide_address(&self, to: &Destination, address: IpAddr) -> Result<Decision, Refusal> {
        if is_metadata(address) && to.host.parse() != Ok(address) {
            let reason = format!(
                "{} stands for an address at which clouds keep a machine's credentials; only a profile that names that address reaches it",
                to.host
            );
            return Err(Refusal::of_broker(reason));
        }
        self.decide(&Destination {
            address: Some(address),
            ..to.clone()
        })
    }

    /// Why the policy refuses something, and what would have to be in it.
    pub fn refusal(&self, to: &Destination, decision: &Decision) -> Refusal {
        let rule = suggestion(&self.request_of(to)).filter(|_| may_be_suggested(to));
        let is_over_budget = self.is_over_budget(to);
        let rule = rule.filter(|_| !is_over_budget);
        Refusal {
            allow: rule.map(|rule| format!("network-egress: {rule}")),
            detail: None,
            reason: decision.reason.to_string(),
            rules: decision.rules.clone(),
            status: if is_over_budget { 429 } else { 403 },
        }
    }

    /// The longest response, in bytes, that the policy lets through.
    pub fn longest_response(&self, to: &Destination) -> u64 {
        let is_too_long = |most: &u64| {
            let longer = Destination {
                response_size: Some(most.saturating_add(1)),
                ..to.clone()
            };
            let decision = self.decide(&longer);
            decision.is_ok_and(|decision| !decision.verdict.lets_through())
        };
        self.response_limits
            .iter()
            .copied()
            .find(is_too_long)
            .unwrap_or(u64::MAX)
    }

    /// Whether what is refused would be let through if it, and those before it, had used less.
    fn is_over_budget(&self, to: &Destination) -> bool {
        let unused = Destination {
            request_size: Some(0),
            requests_last_minute: Some(0),
            response_size: None,
            ..to.clone()
        };
        self.has_budgets
            && to.method.is_some()
            && (self.decide(&unused)).is_ok_and(|decision| decision.verdict.lets_through())
    }

    /// The request about a destination, until another is asked about.
    fn request_of(&self, to: &Destination) -> MutexGuard<'_, Request> {
        self.request_about(What::Net(to.clone()))
    }

    fn request_about(&self, what: What) -> MutexGuard<'_, Request> {
        let request = self.request.lock();
        let mut request = request.unwrap_or_else(PoisonError::into_inner);
        request.what = what;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(grants: &[(Scheme, &str, u16)]) -> Judge {
        let destinations = grants.iter().map(|(scheme, host, port)| Grant {
            host: (*host).to_owned(),
            port: *port,
            scheme: *scheme,
        });
        Judge::new(Setup {
            destinations: destinations.collect(),
            ..Setup::default()
        })
        .unwrap()
    }

    #[test]
    fn a_wildcard_is_for_names_below_and_the_apex_is_another() {
        let judge = judge(&[
            (Scheme::Https, "*.a.example", 443),
            (Scheme::Http, "b.example", 80),
            (Scheme::Http, "*", 81),
        ]);
        let asks = |scheme, host, port| {
            judge
                .is_asked_for(&Destination::connection(scheme, host, port))
                .is_ok()
        };
        assert!(
            asks(Scheme::Https, "x.a.example", 443) && asks(Scheme::Https, "x.y.a.example", 443)
        );
        assert!(asks(Scheme::Http, "b.example", 80));
        for (scheme, host, port) in [
            (Scheme::Https, "a.example", 443),
            (Scheme::Https, ".a.example", 443),
            (Scheme::Https, "xa.example", 443),
            (Scheme::Https, "x.a.example.evil", 443),
            (Scheme::Https, "x.a.example", 8443),
            (Scheme::Http, "x.a.example", 443),
            (Scheme::Http, "x.b.example", 80),
            (Scheme::Http, "b.example", 81),
        ] {
            assert!(!asks(scheme, host, port), "{host} {port}");
        }
        let refusal = judge
            .is_asked_for(&Destination::connection(Scheme::Https, "a.example", 443))
            .unwrap_err();
        let line = "capabilities: {net.outbound: [\"https://a.example\"]}";
        assert_eq!(refusal.allow.as_deref(), Some(line));
        // The line is one that a profile may have.
        assert!(aegis_profile::parse_str(&format!("aegis: 1\n{line}"), "p.yaml").is_ok());
    }

    #[test]
    fn a_port_is_spoken_to_as_the_profile_says_for_the_host_and_else_so_that_refusals_are_told() {
        let judge = judge(&[
            (Scheme::Tcp, "a.example", 443),
            (Scheme::Https, "b.example", 443),
            (Scheme::Https, "c.example", 8080),
            (Scheme::Http, "*.d.example", 8080),
            (Scheme::Tcp, "b.example", 443),
        ]);
        assert_eq!(judge.scheme("a.example", 443), Some(Scheme::Tcp));
        // Asked for in two ways: the one in which the name is checked.
        assert_eq!(judge.scheme("b.example", 443), Some(Scheme::Https));
        assert_eq!(judge.scheme("x.example", 443), Some(Scheme::Https));
        assert_eq!(judge.scheme("c.example", 8080), Some(Scheme::Https));
        assert_eq!(judge.scheme("x.example", 8080), Some(Scheme::Http));
        assert_eq!(judge.scheme("x.example", 1), None);
    }

    #[test]
    fn metadata_services_are_known_in_every_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "64:ff9b::a83f:8110",
            "fd00:ec2::254",
            "fd00:42::42",
            "fe80::1",
        ] {
            assert!(is_metadata(text.parse().unwrap()), "{text}");
        }
        for text in ["168.63.129.17", "10.0.0.1", "93.184.215.14", "fd00::1"] {
            assert!(!is_metadata(text.parse().unwrap()), "{text}");
        }
    }
}
