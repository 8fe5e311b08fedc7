//! The environment of the command: what every sandbox has, what is passed on from the caller, and what
//! the profile sets; each overrides the one before.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aegis_profile::Profile;

use super::own_places::user_name;
use crate::facts::{self, Directories, HostFacts, TMP};
use crate::types::{Identity, Network, trust};

/// Strings by name.
type Variables = BTreeMap<OsString, OsString>;

/// The variables passed on, and those set over them: see the module's documentation.
pub(super) fn environment(
    profile: &Profile,
    facts: &HostFacts,
    identity: &Identity,
    network: Network,
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
    if network == Network::Brokered {
        let place = |name: &CStr| {
            let name = OsStr::from_bytes(name.to_bytes());
            OsString::from(Path::new(trust::DIRECTORY).join(name))
        };
        let bundle = trust::BUNDLE_VARIABLES.map(|name| (name, trust::BUNDLE));
        let all = bundle.into_iter();
        let all = all.chain([(trust::NODE_VARIABLE, trust::FOR_NODE)]);
        // Whom the caller's own file names is in the bundle.
        set.extend(all.map(|(name, file)| (name.into(), place(file))));
    }
    let directories = Directories {
        skill: facts.skill.as_deref(),
        work: &facts.work,
        home: &facts.host.caller.home,
    };
    for (name, value) in &profile.environment.set {
        set.insert(name.into(), directories.in_value(&value.value));
    }
    (facts.environment.clone(), set)
}
