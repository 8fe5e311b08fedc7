//! Which grants of a profile a run used, and for what.

use aegis_observation::{Address, End, Observation};
use aegis_profile::{
    Declared, Device, Origin, Outbound, PathSpec, Profile, Program, Sockets, Variable,
};

use crate::cover::{Cover, place};
use crate::evidence::{Did, Evidence, Notes};
use crate::line::Key;
use crate::needs::{Needs, Paths};
use crate::surroundings::{Access, Surroundings};

/// A grant, and what was done by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The key that it is below.
    pub key: Key,
    /// As it is written.
    pub value: String,
    /// Where.
    pub origin: Origin,
    /// What was done. Where that is nothing, the grant was not used.
    pub evidence: Evidence,
}

/// The grants of a profile, merged with what it extends, each with what was seen of its use: files, programs, devices, network
/// and sockets. What several grants reach is told of each. A port to listen at, a variable, a system call and a limit are not among
/// them: their use is not seen, or has no path.
pub fn uses(seen: &Observation, profile: &Profile, around: &Surroundings<'_>) -> Vec<Use> {
    let needs = Needs::of(&[seen], around, &mut Notes::default());
    let granted = &profile.capabilities;
    let mut uses = Vec::new();
    let mut add = |key: Key, value: String, origin: &Origin, evidence: Evidence| {
        uses.push(Use {
            key,
            value,
            origin: origin.clone(),
            evidence,
        });
    };
    for Declared { value, origin } in &granted.files_read {
        let cover = alone(Access::Read, value, around);
        let evidence = within(&cover, Access::Read, [&needs.read, &needs.directories]);
        add(Key::Read, value.to_string(), origin, evidence);
    }
    for Declared { value, origin } in &granted.files_write {
        let cover = alone(Access::Write, value, around);
        let evidence = within(&cover, Access::Write, [&needs.write]);
        add(Key::Write, value.to_string(), origin, evidence);
    }
    for Declared { value, origin } in &granted.shell_exec {
        let mut cover = Cover::default();
        cover.program(value, around);
        let made = matches!(value, Program::Path(spec) if spec.base == Some(Variable::Tmp));
        let mut evidence = Evidence::default();
        for (ran, of_it) in &needs.programs {
            let reached = cover.has(Access::Execute, &ran.asked)
                || cover.has(Access::Execute, &ran.path)
                || made && ran.asked.starts_with("/tmp");
            if reached {
                evidence.add(of_it.clone());
            }
        }
        add(Key::Execute, value.to_string(), origin, evidence);
    }
    if let Outbound::Host(origin) = &granted.net_outbound {
        add(Key::Outbound, "host".into(), origin, addresses(seen, false));
    }
    if let Some(Declared { value, origin }) = &granted.sockets
        && *value == Sockets::Private
    {
        add(
            Key::Sockets,
            value.to_string(),
            origin,
            addresses(seen, true),
        );
    }
    for Declared { value, origin } in &granted.devices {
        let mut evidence = Evidence::default();
        for (path, of_it) in &needs.devices {
            if Device::of_node(path).as_ref() == Some(value) {
                evidence.add(of_it.clone());
            }
        }
        add(Key::Devices, value.to_string(), origin, evidence);
    }
    uses
}

/// What one line reaches.
fn alone(access: Access, spec: &PathSpec, around: &Surroundings<'_>) -> Cover {
    let mut cover = Cover::default();
    if let Some(at) = place(spec, around) {
        cover.add(access, at, around);
    }
    cover
}

fn within<const N: usize>(cover: &Cover, access: Access, seen: [&Paths; N]) -> Evidence {
    let mut evidence = Evidence::default();
    for (path, of_it) in seen.into_iter().flatten() {
        if cover.has(access, path) {
            evidence.add(of_it.clone());
        }
    }
    evidence
}

fn addresses(seen: &Observation, unix: bool) -> Evidence {
    let mut evidence = Evidence::default();
    for Address { of, .. } in &seen.addresses {
        if unix != matches!(of, End::Internet(_)) {
            evidence.add(Evidence::of(Did::Used, of.to_string().as_ref(), 0));
        }
    }
    evidence
}
