//! The environment of the command: what every sandbox has, what is passed on from the caller, and what
//! the profile sets; each overrides the one before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use aegis_profile::Profile;

use super::own_places::{TMP, user_name};
use crate::facts::{self, HostFacts};
use crate::types::Identity;

/// Strings by name.
type Variables = BTreeMap<OsString, OsString>;

/// The variables passed on, and those set over them: see the module's documentation.
pub(super) fn environment(
    profile: &Profile,
    facts: &HostFacts,
    identity: &Identity,
) -> (Variables, Variables) {
    let user = user_name(facts, identity);
    let mut set = BTreeMap::from([
        ("PATH".into(), facts::DEFAULT_PATH.into()),
        ("HOME".into(), facts.host.caller.home.clone().into()),
        ("USER".into(), user.clone().into()),
        ("LOGNAME".into(), user.into()),
        ("TMPDIR".into(), TMP.into()),
    ]);
    set.retain(|name, _| !facts.environment.contains_key(name));
    for (name, value) in &profile.environment.set {
        set.insert(name.into(), expand_value(&value.value, facts));
    }
    (facts.environment.clone(), set)
}

/// Expands the four variables in a value of `environment.set`.
fn expand_value(value: &str, facts: &HostFacts) -> OsString {
    let mut out = OsString::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push(&rest[..at]);
        let tail = &rest[at + 1..];
        let length = tail
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(tail.len());
        let replacement = match &tail[..length] {
            "SKILL" => facts.skill.as_deref(),
            "WORK" => Some(facts.work.as_path()),
            "HOME" => Some(facts.host.caller.home.as_path()),
            "TMP" => Some(Path::new(TMP)),
            _ => None,
        };
        match replacement {
            Some(path) => out.push(path),
            None => {
                out.push("$");
                out.push(&tail[..length]);
            }
        }
        rest = &tail[length..];
    }
    out.push(rest);
    out
}
