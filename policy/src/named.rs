//! The places of the host that a policy's patterns name, so that other names of them can be looked up.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::decide::Base;
use crate::model::Documents;
use crate::request::Context;

/// What the patterns of paths begin with, up to the first `*`, and the directories that variables stand for.
pub fn places(documents: &Documents, context: &Context) -> BTreeSet<OsString> {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let rules = documents.iter().flat_map(|document| &document.capabilities);
    let items = rules.flat_map(|rule| &rule.matches);
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
    let all = named.chain(variables).filter(|place| place.is_absolute());
    all.map(|place| place.components().collect::<PathBuf>().into())
        .collect()
}
