//! What failed in a run under a profile, and did not in the runs that the profile was learnt from.

use std::collections::BTreeSet;

use aegis_observation::{Observation, Text};

use crate::evidence::Notes;
use crate::needs::Needs;
use crate::places;
use crate::surroundings::Surroundings;

/// A call that failed, and did not before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The call.
    pub call: String,
    /// The path that it named.
    pub path: Text,
    /// The error's name.
    pub error: String,
}

/// What of `now` failed and succeeded `before`. Not told is what the host does not have, which the runs make and remove themselves and not
/// always in the same order; nor what could be written in the home directory before, and was gone after the run then too, as are
/// caches that are written there; nor byte code, which Python does without.
pub fn missing(
    before: &Observation,
    now: &Observation,
    around: &Surroundings<'_>,
) -> BTreeSet<Missing> {
    let opened: BTreeSet<&Text> = before.opened.iter().map(|opened| &opened.asked).collect();
    let executed: BTreeSet<&Text> = (before.executed.iter())
        .map(|executed| &executed.asked)
        .collect();
    let named = |failed: bool| -> BTreeSet<(&str, &Text)> {
        (before.named.iter())
            .filter(|named| named.error.is_some() == failed)
            .map(|named| (&*named.call, &named.path))
            .collect()
    };
    let (named, failed_before) = (named(false), named(true));
    let succeeded = |call: &str, path: &Text| match call {
        "execve" | "execveat" => executed.contains(path),
        _ if call.starts_with("open") || call == "creat" => opened.contains(path),
        _ => named.contains(&(call, path)),
    };
    let needs = Needs::of(&[before], &around.checked(), &mut Notes::default());
    let refused = now.named.iter().filter_map(|named| {
        let error = named.error.as_deref();
        let error = error.filter(|error| named.is_refused() || *error == "ENOENT")?;
        let path = named.path.as_path();
        let at_home = || path.starts_with(around.home) && !path.starts_with(around.work);
        let is_expected = match error {
            "ENOENT" => needs.is_own_cache(path, around.home) || around.host.look(path).is_none(),
            "EROFS" => at_home() || places::byte_code(path),
            _ => false,
        };
        let before = (&*named.call, &named.path);
        let is_new = succeeded(before.0, before.1) && !failed_before.contains(&before);
        (is_new && !is_expected).then(|| Missing {
            call: named.call.clone(),
            path: named.path.clone(),
            error: error.to_owned(),
        })
    });
    refused.collect()
}
