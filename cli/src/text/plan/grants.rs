//! Grants grouped: by the line that declares them, and by directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aegis_profile::Origin;
use aegis_runtime::plan::Grant;
use aegis_runtime::types::GrantOrigin;

use crate::text::page::{Row, path, shown};

/// The origin of a grant; if it is a line of a built-in profile, with the line apart.
pub(super) fn place(from: &GrantOrigin) -> (String, Option<u32>) {
    match from {
        GrantOrigin::Declared(origin) => declared(origin),
        other => (other.to_string(), None),
    }
}

/// The origin of a declaration, in the same form.
pub(super) fn declared(Origin { file, line, .. }: &Origin) -> (String, Option<u32>) {
    match &**file {
        file if file.starts_with("builtin:") => (file.into(), Some(*line)),
        // These, and the default grant, have no line.
        file if file == "--set" || file.contains(" (") => (file.into(), None),
        file => (format!("{file}:{line}"), None),
    }
}

/// Grants by origin, in the order in which the origins first appear.
pub(super) fn grouped<'a>(grants: impl Iterator<Item = &'a Grant>) -> Vec<Row> {
    let mut groups: Vec<(String, BTreeSet<u32>, BTreeSet<&Path>)> = Vec::new();
    for grant in grants {
        let (from, line) = place(&grant.from);
        let index = match groups.iter().position(|(known, ..)| *known == from) {
            Some(index) => index,
            None => {
                groups.push((from, BTreeSet::new(), BTreeSet::new()));
                groups.len() - 1
            }
        };
        groups[index].1.extend(line);
        groups[index].2.extend(grant.path());
    }
    let rows = groups.into_iter().map(|(from, lines, paths)| {
        let from = match (lines.first(), lines.last()) {
            (Some(first), Some(last)) if first == last => format!("{from}:{first}"),
            (Some(first), Some(last)) => format!("{from}:{first}-{last}"),
            _ => from,
        };
        by_directory(from, &paths)
    });
    rows.flatten().collect()
}

/// Three or more files of one directory in one row, each of the others in its own; only the first row has the
/// origin.
pub(super) fn by_directory(mut from: String, paths: &BTreeSet<&Path>) -> Vec<Row> {
    let mut directories: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for path in paths {
        let parent = path.parent().unwrap_or(path);
        directories.entry(parent).or_default().push(path);
    }
    let mut rows = Vec::new();
    for (directory, members) in directories {
        if members.len() < 3 || directory.parent().is_none() {
            let alone = |member: &&Path| Row::whole(std::mem::take(&mut from), path(member));
            rows.extend(members.iter().map(alone));
            continue;
        }
        let head = format!("{}:", path(directory));
        let names = members.iter().filter_map(|member| member.file_name());
        let words = std::iter::once(head).chain(names.map(shown));
        rows.push(Row::words(std::mem::take(&mut from), words));
    }
    rows
}
