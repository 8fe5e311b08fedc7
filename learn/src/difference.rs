//! An older profile against what was seen: what it lacks, and what no run used.

use std::path::PathBuf;

use aegis_observation::Observation;
use aegis_profile::{Declared, Origin, Outbound, PathSpec, Profile, Program};

use crate::cover::{Cover, place};
use crate::evidence::Notes;
use crate::line::{Key, Line};
use crate::needs::Needs;
use crate::outside::{Outside, outside};
use crate::proposal::Proposal;
use crate::surroundings::{Access, Surroundings};

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
    let needs = Needs::of(&[&all], around, &mut Notes::default());
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
        unused: unused(&needs, &all, old, around),
        lacks,
    }
}

fn unused(
    needs: &Needs,
    seen: &Observation,
    old: &Profile,
    around: &Surroundings<'_>,
) -> Vec<Unused> {
    let mut found = Vec::new();
    let mut add = |key: Key, value: String, origin: &Origin| {
        if !origin.file.starts_with("builtin:") {
            found.push(Unused {
                key,
                value,
                origin: origin.clone(),
            });
        }
    };
    let granted = &old.capabilities;
    let reaches = |cover: &Cover, access: Access| match access {
        Access::Read => {
            let read = needs.read.keys().chain(needs.directories.keys());
            read.into_iter().any(|path| cover.has(Access::Read, path))
        }
        Access::Write => needs
            .write
            .keys()
            .any(|path| cover.has(Access::Write, path)),
        Access::Execute => needs.programs.keys().any(|ran| {
            cover.has(Access::Execute, &ran.asked) || cover.has(Access::Execute, &ran.path)
        }),
    };
    let alone = |access: Access, spec: &PathSpec| {
        let mut cover = Cover::default();
        let at: Option<PathBuf> = place(spec, around);
        at.into_iter().for_each(|at| cover.add(access, at, around));
        cover
    };
    let lists = [
        (Key::Read, Access::Read, &granted.files_read),
        (Key::Write, Access::Write, &granted.files_write),
    ];
    for (key, access, list) in lists {
        for Declared { value, origin } in list {
            if !reaches(&alone(access, value), access) {
                add(key, value.to_string(), origin);
            }
        }
    }
    for Declared { value, origin } in &granted.shell_exec {
        let mut cover = Cover::default();
        cover.program(value, around);
        let made =
            matches!(value, Program::Path(spec) if spec.base == Some(aegis_profile::Variable::Tmp));
        let ran_made = || {
            needs
                .programs
                .keys()
                .any(|ran| ran.asked.starts_with("/tmp"))
        };
        let used = reaches(&cover, Access::Execute) || (made && ran_made());
        if !used {
            add(Key::Execute, value.to_string(), origin);
        }
    }
    let addresses = |unix: bool| {
        let is_unix = |address: &aegis_observation::Address| {
            !matches!(address.of, aegis_observation::End::Internet(_))
        };
        seen.addresses
            .iter()
            .any(|address| is_unix(address) == unix)
    };
    if let Outbound::Host(origin) = &granted.net_outbound
        && !addresses(false)
    {
        add(Key::Outbound, "host".into(), origin);
    }
    if let Some(Declared { value, origin }) = &granted.sockets
        && *value == aegis_profile::Sockets::Private
        && !addresses(true)
    {
        add(Key::Sockets, value.to_string(), origin);
    }
    for Declared { value, origin } in &granted.devices {
        let used = |path: &PathBuf| crate::places::device(path).as_ref() == Some(value);
        if !needs.devices.keys().any(used) {
            add(Key::Devices, value.to_string(), origin);
        }
    }
    found
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
