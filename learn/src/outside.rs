//! What was seen that a profile does not grant.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use aegis_observation::{End, How, Observation, Text};
use aegis_profile::{Destination, Device, Outbound, Profile, Sockets, SyscallBase};

use crate::calls;
use crate::cover::Cover;
use crate::evidence::{Did, Evidence, Notes};
use crate::forms::{has_names, is_brokers};
use crate::line::Key;
use crate::needs::Needs;
use crate::surroundings::{Access, Standing, Surroundings};
use crate::{network, places, writes};

/// One thing that a profile does not grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The key that would grant it.
    pub key: Key,
    /// The path, address or system call, for people.
    pub what: Text,
    /// What was seen.
    pub evidence: Evidence,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did: Vec<&str> = self.evidence.done.keys().map(|did| did.word()).collect();
        write!(f, "{} {}", did.join(", "), self.what)
    }
}

/// What was seen and is not covered by a profile that is merged with what it extends. What failed is not in it.
pub fn outside(seen: &Observation, profile: &Profile, around: &Surroundings<'_>) -> Vec<Outside> {
    let around = &around.checked();
    let needs = Needs::of(&[seen], around, &mut Notes::default());
    let cover = Cover::of(profile, around);
    let mut found = Vec::new();
    let mut add = |key: Key, what: &Path, evidence: &Evidence| {
        let what = Text::from(what.as_os_str());
        found.push(Outside {
            key,
            what,
            evidence: evidence.clone(),
        });
    };
    let leads_to_a_program =
        |link: &Path| (around.real(link)).is_some_and(|real| cover.has(Access::Execute, &real));
    for (ran, evidence) in &needs.programs {
        let interpreter =
            ran.asked != ran.path && around.real(&ran.asked).as_ref() != Some(&ran.path);
        if !(cover.has(Access::Execute, &ran.asked) || leads_to_a_program(&ran.asked)) {
            add(Key::Execute, &ran.asked, evidence);
        }
        if interpreter && !cover.has(Access::Execute, &ran.path) {
            add(Key::Execute, &ran.path, evidence);
        }
    }
    for (path, evidence) in &needs.read {
        let looked_up = evidence.is_only(Did::LookedAt) && around.is_program(path);
        let own = needs.is_own_cache(path, around.home);
        if !(cover.has(Access::Read, path) || looked_up || own) {
            add(Key::Read, path, evidence);
        }
    }
    for (path, evidence) in &needs.directories {
        // A directory is there where it is on the way; what is in it is another matter.
        let there = cover.is_on_the_way(path) || places::broad(path, around.home);
        let known = !evidence.has(Did::Listed) || path == around.work || there;
        let cache = places::cache(path, around.home).is_some();
        if !(cover.has(Access::Read, path) || known || cache) {
            add(Key::Read, path, evidence);
        }
    }
    for (path, evidence) in &needs.write {
        let own = places::byte_code(path) || writes::is_private(around, path, evidence);
        if !(cover.has(Access::Write, path) || own) {
            add(Key::Write, path, evidence);
        }
    }
    for (path, evidence) in &needs.devices {
        let listed = &profile.capabilities.devices;
        let device = Device::of_node(path);
        if !listed
            .iter()
            .any(|item| Some(&item.value) == device.as_ref())
        {
            add(Key::Devices, path, evidence);
        }
    }
    for (key, what) in beside_files(seen, profile, around) {
        let of = Path::new(&what);
        add(key, of, &Evidence::of(Did::Used, of, 0));
    }
    found
}

/// What was seen and is covered neither by a profile nor by what was seen when it was learnt: what was tried in vain then, and is again,
/// is nothing new.
pub fn outside_beyond(
    seen: &Observation,
    before: &Observation,
    profile: &Profile,
    around: &Surroundings<'_>,
) -> Vec<Outside> {
    let mut found = outside(seen, profile, around);
    if !found.is_empty() {
        let known = outside(before, profile, around);
        let known: BTreeSet<(Key, &Text)> =
            known.iter().map(|known| (known.key, &known.what)).collect();
        found.retain(|found| !known.contains(&(found.key, &found.what)));
    }
    found
}

/// Addresses, sockets and calls.
fn beside_files(
    seen: &Observation,
    profile: &Profile,
    around: &Surroundings<'_>,
) -> BTreeSet<(Key, String)> {
    let granted = &profile.capabilities;
    let is_granted = |end: SocketAddr| match &granted.net_outbound {
        Outbound::Host(_) => true,
        Outbound::Named(list) => {
            let is_listed = |to: &Destination| {
                let ip = to.host.parse().map(|ip: IpAddr| ip.to_canonical());
                ip == Ok(end.ip().to_canonical()) && to.port == end.port()
            };
            has_names(profile) && is_brokers(end) || list.iter().any(|item| is_listed(&item.value))
        }
        Outbound::None(_) => false,
    };
    let private = granted
        .sockets
        .as_ref()
        .is_some_and(|sockets| sockets.value == Sockets::Private);
    let mut found = BTreeSet::new();
    for address in &seen.addresses {
        let reaches = matches!(address.how, How::Connect | How::Send);
        let missing = match &address.of {
            End::Internet(end) => {
                (reaches && !is_granted(*end) && !end.ip().is_loopback()).then_some(Key::Outbound)
            }
            End::Abstract(_) => (!private).then_some(Key::Sockets),
            End::Path(path) => (!private && !network::is_tried(path)).then_some(Key::Sockets),
        };
        found.extend(missing.map(|key| (key, address.of.to_string())));
    }
    let calls = &profile.syscalls;
    let allowed = |call: &String| calls.allow.iter().any(|item| item.value == *call);
    let denied = |call: &String| calls.deny.iter().any(|item| item.value == *call);
    let base = calls
        .base
        .as_ref()
        .map_or(SyscallBase::Default, |base| base.value);
    let refused: BTreeSet<&String> = seen
        .refused_calls
        .iter()
        .map(|refused| &refused.call)
        .collect();
    for call in calls::made(&[seen]) {
        let in_base = match around.host.standing(&call) {
            Some(Standing::Start) => true,
            Some(Standing::Granted) => base != SyscallBase::Learned,
            _ => false,
        };
        if denied(&call) || !(in_base || allowed(&call) || refused.contains(&call)) {
            found.insert((Key::Calls, call));
        }
    }
    found
}
