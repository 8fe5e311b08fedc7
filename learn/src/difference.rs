//! An older profile against what was seen: what it lacks, and what no run used.

use aegis_observation::Observation;
use aegis_profile::{Origin, Outbound, Profile};

use crate::cover::Cover;
use crate::line::{Key, Line};
use crate::outside::{Outside, outside};
use crate::proposal::Proposal;
use crate::surroundings::{Access, Surroundings};
use crate::uses::{Use, uses};

/// A grant that no run used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The key that it is below.
    pub key: Key,
    /// As it is written.
    pub value: String,
    /// Where.
    pub origin: Origin,
}

/// What is between an older profile and what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What was seen and the older profile does not grant.
    pub lacks: Vec<Outside>,
    /// The lines that would grant it.
    pub lines: Vec<Line>,
    /// What the older profile grants itself, and no run used. What it extends is not in it.
    pub unused: Vec<Unused>,
}

/// Holds an older profile, merged with what it extends, against what was seen. Changes nothing.
pub fn difference(
    seen: &[Observation],
    proposal: &Proposal,
    old: &Profile,
    around: &Surroundings<'_>,
) -> Difference {
    let around = &around.checked();
    let mut all = Observation::default();
    seen.iter().for_each(|seen| all.merge(seen.clone()));
    let lacks = outside(&all, old, around);
    let cover = Cover::of(old, around);
    let is_new = |line: &&Line| match line.key {
        Key::Read => !cover.has(Access::Read, &line.place),
        Key::Write => !cover.has(Access::Write, &line.place),
        Key::Execute => match line.place.is_absolute() {
            true => !cover.has(Access::Execute, &line.place),
            false => lacks.iter().any(|lack| lack.key == Key::Execute),
        },
        key => lacks.iter().any(|lack| lack.key == key),
    };
    Difference {
        lines: proposal.lines.iter().filter(is_new).cloned().collect(),
        unused: unused(&all, old, around),
        lacks,
    }
}

fn unused(seen: &Observation, old: &Profile, around: &Surroundings<'_>) -> Vec<Unused> {
    let uses = uses(seen, old, around);
    let is_built_in = |used: &Use| used.origin.file.starts_with("builtin:");
    // A built-in profile itself, and not one that extends it.
    let itself = format!("builtin:{}", old.name);
    let is_itself = uses.iter().all(is_built_in);
    let is_own = |used: &Use| !is_built_in(used) || is_itself && *used.origin.file == *itself;
    uses.into_iter()
        .filter(|used| is_own(used) && used.evidence.done.is_empty())
        .map(|used| Unused {
            key: used.key,
            value: used.value,
            origin: used.origin,
        })
        .collect()
}

impl Difference {
    /// Whether the older profile grants what was seen, and nothing that was not used.
    pub fn is_empty(&self) -> bool {
        self.lacks.is_empty() && self.unused.is_empty()
    }

    /// The older profile, as its own file has it, without what no run used.
    pub fn trimmed(&self, old: &Profile) -> Profile {
        let mut trimmed = old.clone();
        let unused = |key: Key, value: String| {
            self.unused
                .iter()
                .any(|unused| unused.key == key && unused.value == value)
        };
        let granted = &mut trimmed.capabilities;
        granted
            .files_read
            .retain(|item| !unused(Key::Read, item.value.to_string()));
        granted
            .files_write
            .retain(|item| !unused(Key::Write, item.value.to_string()));
        granted
            .shell_exec
            .retain(|item| !unused(Key::Execute, item.value.to_string()));
        granted
            .devices
            .retain(|item| !unused(Key::Devices, item.value.to_string()));
        if granted
            .sockets
            .as_ref()
            .is_some_and(|item| unused(Key::Sockets, item.value.to_string()))
        {
            granted.sockets = None;
        }
        if matches!(granted.net_outbound, Outbound::Host(_)) && unused(Key::Outbound, "host".into())
        {
            granted.net_outbound = Outbound::default();
        }
        trimmed
    }
}
