//! The places of the host that a policy's patterns name, so that other names of them can be looked up.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::decide::Base;
use crate::model::{Action, CapabilityRule, Documents, Verdict};
use crate::path::SYSTEM_PROGRAMS;
use crate::request::Context;

/// What the patterns of paths begin with, up to the first `*`, the directories that variables stand for, and where the
/// system may have the programs that are blocked, asked or warned about by name.
pub fn places(documents: &Documents, context: &Context) -> BTreeSet<OsString> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let rules = || documents.iter().flat_map(|document| &document.capabilities);
    // A rule that allows a program lets it through by the name that a profile gives.
    let against = |rule: &&CapabilityRule| {
        rule.on.contains(&Action::ShellExec) && rule.verdict > Verdict::Allow
    };
    let names = (rules().filter(against))
        .flat_map(|rule| &rule.matches)
        .filter(|item| !item.contains(['/', '$', '*']));
    let programs = names.flat_map(|name| {
        SYSTEM_PROGRAMS.map(|directory| PathBuf::from(format!("{directory}/{name}")))
    });
    let items = rules().flat_map(|rule| &rule.matches);
    let named = items.filter_map(|item| {
        let (base, rest) = Base::of(item).ok()?;
        let (place, _) = base.place(context)?;
        let fixed = rest.find('*').map_or(rest, |at| &rest[..at]);
        // What follows the last slash before a `*` is not a whole name.
        let fixed = match fixed.len() == rest.len() {
            true => fixed,
            false => &fixed[..fixed.rfind('/').unwrap_or(0)],
        };
        Some(path(
            &[place, b"/", fixed.trim_matches('/').as_bytes()].concat(),
        ))
    });
    let variables = [
        Some(&context.home),
        Some(&context.work),
        context.skill.as_ref(),
    ];
    let variables = variables.into_iter().flatten().map(|place| path(&place.0));
    let all = named
        .chain(variables)
        .chain(programs)
        .filter(|place| place.is_absolute());
    all.map(|place| place.components().collect::<PathBuf>().into())
        .collect()
}
