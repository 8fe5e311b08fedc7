//! The names that a sandbox has looked up, and the address that stands for each until the run ends.
//!
//! **The block.** Guards against SSRF in agents and libraries refuse private, loopback, carrier, benchmarking and
//! documentation addresses before they connect, and so the block has to be one that they class as public. Nobody should want to
//! reach a real address in it either. 25.0.0.0/8 is both: it is allocated to the British Ministry of Defence and not announced
//! on the Internet. Unlike 11/8 or 30/8 it is not in common use within companies. The broker takes a 1,024th of it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aegis_profile::syntax;
use aegis_sys::netlink;

use crate::broker::limits::Limits;

/// The block's first address, which stands for all names beyond [`Limits::names`].
pub const FIRST: Ipv4Addr = netlink::NAMES;

/// The length of the block's prefix.
pub const PREFIX: u32 = netlink::NAMES_PREFIX;

/// Addresses in the block.
const SIZE: u32 = 1 << (32 - PREFIX);

/// Whether an address is one that stands for a name.
pub(crate) fn in_block(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(v4) if v4.to_bits().wrapping_sub(FIRST.to_bits()) < SIZE)
}

/// A host name in the one spelling in which hosts are compared: lower case, no trailing dot. `None`: this is no name. What
/// `inet_aton(3)` would read as an address is none, nor is one beyond ASCII, which DNS and TLS write as `xn--`.
#[must_use]
pub fn normal(text: &str) -> Option<String> {
    spelled(text).filter(|host| host.parse::<IpAddr>().is_err())
}

/// The same, or an IPv4 address, or an IPv6 address in brackets, which are lost.
#[must_use]
pub fn spelled(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    syntax::host(&text.to_ascii_lowercase(), false).ok()
}

/// Whether a name is another one, or below it.
pub(crate) fn is_or_is_below(name: &str, above: &str) -> bool {
    let rest = name.strip_suffix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What an address stands for, that a connection was made to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(Arc<str>),
    /// Itself: no name was looked up.
    Address(IpAddr),
    /// One of the names for which there was no address left.
    TooMany,
    /// Nothing: it is in the block, but no name has it.
    Nothing,
}

/// The names and their addresses.
#[derive(Debug)]
pub struct Names {
    most: usize,
    most_others: usize,
    /// The name of each address, by its distance to [`FIRST`] less one.
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
    others: usize,
}

impl Names {
    /// None yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            most: limits.names.min(SIZE as usize - 2),
            most_others: limits.other_names,
            names: Vec::new(),
            places: HashMap::new(),
            others: 0,
        }
    }

    /// The address of a [normal] name: a new one at its first lookup. `asked_for`: by the profile.
    pub fn address(&mut self, name: &str, asked_for: bool) -> Ipv4Addr {
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.names.len() >= self.most => 0,
            None if !asked_for && self.others >= self.most_others => 0,
            None => {
                let name: Arc<str> = name.into();
                self.others += usize::from(!asked_for);
                self.names.push(name.clone());
                let place = self.names.len() as u32;
                self.places.insert(name, place);
                place
            }
        };
        Ipv4Addr::from_bits(FIRST.to_bits() + place)
    }

    /// What an address stands for.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Host {
        let IpAddr::V4(v4) = address.to_canonical() else {
            return Host::Address(address);
        };
        match v4.to_bits().wrapping_sub(FIRST.to_bits()) {
            0 => Host::TooMany,
            SIZE.. => Host::Address(v4.into()),
            place => match self.names.get(place as usize - 1) {
                Some(name) => Host::Name(name.clone()),
                None => Host::Nothing,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(most: usize, others: usize) -> Names {
        let limits = Limits {
            names: most,
            other_names: others,
            ..Limits::default()
        };
        Names::new(&limits)
    }

    #[test]
    fn a_name_keeps_its_address_and_the_address_its_name() {
        let mut names = names(10, 10);
        let a = names.address("a.example", true);
        let b = names.address("b.example", false);
        assert_ne!(a, b);
        assert_eq!(names.address("a.example", false), a);
        assert_eq!(names.at(b.into()), Host::Name("b.example".into()));
        let mapped = IpAddr::V6(b.to_ipv6_mapped());
        assert_eq!(names.at(mapped), Host::Name("b.example".into()));
    }

    #[test]
    fn addresses_outside_of_the_block_stand_for_themselves_and_unused_ones_for_nothing() {
        let names = names(10, 10);
        for literal in [
            "1.1.1.1",
            "127.0.0.1",
            "25.239.255.255",
            "25.240.64.0",
            "::1",
        ] {
            let literal: IpAddr = literal.parse().unwrap();
            assert_eq!(names.at(literal), Host::Address(literal));
        }
        let mapped = "::ffff:169.254.169.254".parse().unwrap();
        let plain = "169.254.169.254".parse().unwrap();
        assert_eq!(names.at(mapped), Host::Address(plain));
        assert_eq!(names.at("25.240.0.1".parse().unwrap()), Host::Nothing);
    }

    #[test]
    fn a_hundred_thousand_names_leave_those_that_are_asked_for_room() {
        let mut names = Names::new(&Limits::default());
        let before = names.address("before.example", false);
        for n in 0..100_000 {
            names.address(&format!("{n}.example"), false);
        }
        assert_eq!(names.names.len(), Limits::default().other_names);
        let one_more = names.address("one-more.example", false);
        assert_eq!(names.at(one_more.into()), Host::TooMany);
        assert_eq!(names.at(before.into()), Host::Name("before.example".into()));
        let late = names.address("late.example", true);
        assert_eq!(names.at(late.into()), Host::Name("late.example".into()));
        for n in 0..100_000 {
            names.address(&format!("{n}.asked.example"), true);
        }
        assert_eq!(names.names.len(), Limits::default().names);
    }

    #[test]
    fn a_name_has_one_spelling_and_addresses_in_any_spelling_are_none() {
        assert_eq!(normal("API.GitHub.com.").as_deref(), Some("api.github.com"));
        assert_eq!(
            normal("xn--bcher-kva.example").as_deref(),
            Some("xn--bcher-kva.example")
        );
        assert_eq!(normal("localhost").as_deref(), Some("localhost"));
        let long = format!("{}.example", "a".repeat(63));
        assert_eq!(normal(&long), Some(long.clone()));
        for wrong in [
            "",
            ".",
            "a..b",
            "a.example..",
            "a\0.example",
            "a b.example",
            "*.example",
            "bücher.example",
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "::1",
            "[::1]",
            "a.0x7f",
            &format!("{}.example", "a".repeat(64)),
            &["a"; 200].join("."),
        ] {
            assert_eq!(normal(wrong), None, "{wrong:?}");
        }
    }
}
