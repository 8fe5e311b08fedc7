//! Putting profiles together.
//!
//! Lists are unions: what came first keeps its place and its origin, and a required entry wins over
//! an optional one of the same meaning. Single values and the entries of maps are replaced by what
//! comes later. `net.outbound: none`, written out, closes what an extended profile opened.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::model::{Capabilities, Declared, Outbound, PathSpec, Profile, Program};
use crate::parse::Layer;

/// Adds `layer` to `base`: what an extended profile says first, what the extending one says after.
///
/// `name`, `description` and `extends` are about one file and are taken from `layer` alone.
pub(crate) fn merge(base: &mut Layer, layer: &Layer) {
    let said = &layer.profile;
    let into = &mut base.profile;
    into.name.clone_from(&said.name);
    into.description.clone_from(&said.description);
    into.extends.clone_from(&said.extends);
    authority(into, layer);
    base.closes_outbound |= layer.closes_outbound;
}

/// Adds what was said with `--set`, which may name a profile anew but says nothing of `extends`.
pub(crate) fn overlay(base: &mut Profile, layer: &Layer) {
    if !layer.profile.name.is_empty() {
        base.name.clone_from(&layer.profile.name);
    }
    if layer.profile.description.is_some() {
        base.description.clone_from(&layer.profile.description);
    }
    base.sources.insert("--set".into());
    authority(base, layer);
}

fn authority(into: &mut Profile, layer: &Layer) {
    let said = &layer.profile;
    if !said.run.is_empty() {
        into.run.clone_from(&said.run);
    }
    let (mine, theirs) = (&mut into.capabilities, &said.capabilities);
    union(&mut mine.files_read, &theirs.files_read);
    union(&mut mine.files_write, &theirs.files_write);
    union(&mut mine.shell_exec, &theirs.shell_exec);
    union(&mut mine.net_listen, &theirs.net_listen);
    union(&mut mine.devices, &theirs.devices);
    mine.secrets_use.extend(theirs.secrets_use.clone());
    outbound(
        &mut mine.net_outbound,
        &theirs.net_outbound,
        layer.closes_outbound,
    );
    settle_optional(mine);
    union(&mut into.environment.pass, &said.environment.pass);
    into.environment.set.extend(said.environment.set.clone());
    for (key, limit) in said.limits.iter() {
        into.limits.set(key, limit.clone());
    }
    if said.syscalls.base.is_some() {
        into.syscalls.base.clone_from(&said.syscalls.base);
    }
    union(&mut into.syscalls.allow, &said.syscalls.allow);
    union(&mut into.syscalls.deny, &said.syscalls.deny);
    into.sources.extend(said.sources.iter().cloned());
}

fn outbound(into: &mut Outbound, said: &Outbound, closes: bool) {
    match (&mut *into, said) {
        (_, Outbound::None) if closes => *into = Outbound::None,
        (_, Outbound::None) => {}
        (Outbound::Named(mine), Outbound::Named(theirs)) => union(mine, theirs),
        (_, said) => *into = said.clone(),
    }
}

/// Of entries that differ only in being optional, keeps the place of the first and the demand of the
/// strictest.
pub(crate) fn settle_optional(capabilities: &mut Capabilities) {
    let path = |p: &PathSpec| PathSpec {
        optional: false,
        ..p.clone()
    };
    settle(&mut capabilities.files_read, path, |p| p.optional);
    settle(&mut capabilities.files_write, path, |p| p.optional);
    let required = |program: &Program| match program {
        Program::Name { name, .. } => Program::Name {
            name: name.clone(),
            optional: false,
        },
        Program::Path(p) => Program::Path(path(p)),
    };
    settle(
        &mut capabilities.shell_exec,
        required,
        |program| match program {
            Program::Name { optional, .. } => *optional,
            Program::Path(p) => p.optional,
        },
    );
}

fn settle<T: Clone + Eq + Hash>(
    items: &mut Vec<Declared<T>>,
    required: impl Fn(&T) -> T,
    is_optional: impl Fn(&T) -> bool,
) {
    // Most lists have nothing to settle: no allocation for those.
    if !items.iter().any(|item| is_optional(&item.value)) {
        return;
    }
    let mut places: HashMap<T, usize> = HashMap::with_capacity(items.len());
    let mut kept: Vec<Declared<T>> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        match places.get(&required(&item.value)) {
            Some(&place) if is_optional(&kept[place].value) => kept[place] = item,
            Some(_) => {}
            None => {
                places.insert(required(&item.value), kept.len());
                kept.push(item);
            }
        }
    }
    *items = kept;
}

fn union<T: Clone + Eq + Hash>(into: &mut Vec<Declared<T>>, said: &[Declared<T>]) {
    if said.is_empty() {
        return;
    }
    if into.is_empty() {
        into.extend_from_slice(said);
        return;
    }
    let known: HashSet<T> = into.iter().map(|item| item.value.clone()).collect();
    into.extend(
        said.iter()
            .filter(|item| !known.contains(&item.value))
            .cloned(),
    );
}
