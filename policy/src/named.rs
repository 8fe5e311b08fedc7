//! The places of the host that a policy's patterns name, so that other names of them can be looked up.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::decide::Base;
use crate::model::{Action, CapabilityRule, Documents, Verdict};
use crate::path::SYSTEM_PROGRAMS;
use crate::request::Context;

/// What the patterns of paths begin with, up to the first `*`, the directories that variables stand for, and where the
/// system may have the programs that are blocked, asked or warned about by name. They are absolute, in no order; one may be
/// there twice.
pub fn places(documents: &Documents, context: &Context) -> Vec<OsString> {
    let rules = || documents.iter().flat_map(|document| &document.capabilities);
    // A rule that allows a program lets it through by the name that a profile gives.
    let against = |rule: &&CapabilityRule| {
        rule.on.contains(&Action::ShellExec) && rule.verdict > Verdict::Allow
    };
    let names = (rules().filter(against))
        .flat_map(|rule| &rule.matches)
        .filter(|item| !item.contains(['/', '$', '*']));
    let programs = names.flat_map(|name| {
        SYSTEM_PROGRAMS.map(|directory| joined(directory.as_bytes(), name.as_bytes()))
    });
    let items = rules().flat_map(|rule| &rule.matches);
    // Others are no patterns of paths: what is wrong with them is not asked here.
    let paths = items.filter(|item| item.starts_with(['/', '$']));
    let named = paths.filter_map(|item| {
        let (base, rest) = Base::of(item).ok()?;
        let (place, _) = base.place(context)?;
        let fixed = rest.find('*').map_or(rest, |at| &rest[..at]);
        // What follows the last slash before a `*` is not a whole name.
        let fixed = match fixed.len() == rest.len() {
            true => fixed,
            false => &fixed[..fixed.rfind('/').unwrap_or(0)],
        };
        Some(joined(place, fixed.trim_matches('/').as_bytes()))
    });
    let variables = [
        Some(&context.home),
        Some(&context.work),
        context.skill.as_ref(),
    ];
    let variables = variables
        .into_iter()
        .flatten()
        .map(|place| place.as_bytes().to_vec());
    let all = named.chain(variables).chain(programs);
    let absolute = all.filter(|place| place.first() == Some(&b'/'));
    absolute.map(OsString::from_vec).collect()
}

/// A path below a directory, or that directory.
fn joined(directory: &[u8], below: &[u8]) -> Vec<u8> {
    let slash: &[u8] = match directory.ends_with(b"/") || below.is_empty() {
        true => b"",
        false => b"/",
    };
    [directory, slash, below].concat()
}
