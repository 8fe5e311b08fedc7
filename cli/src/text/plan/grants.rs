//! Grants taken together: by the line that declares them, and by directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegis_runtime::plan::Grant;

use crate::text::page::{Row, path, shown};

/// `skill.yaml:4:12` without the column; lines of a built-in profile together.
pub(super) fn place(from: &str) -> (String, Option<u32>) {
    let mut parts = from.rsplitn(3, ':');
    let (column, line, file) = (parts.next(), parts.next(), parts.next());
    let number = |part: Option<&str>| part.and_then(|text| text.parse::<u32>().ok());
    match (file, number(line), number(column)) {
        (Some("--set"), ..) => ("--set".into(), None),
        (Some(file), Some(line), Some(_)) if file.starts_with("builtin:") => {
            (file.into(), Some(line))
        }
        // Said of the default grant, which is on no line.
        (Some(file), Some(_), Some(_)) if file.contains(" (") => (file.into(), None),
        (Some(file), Some(line), Some(_)) => (format!("{file}:{line}"), None),
        _ => (from.into(), None),
    }
}

/// Grants by the place that they come from, in the order in which those were first met.
pub(super) fn grouped<'a>(grants: impl Iterator<Item = &'a Grant>) -> Vec<Row> {
    let mut groups: Vec<(String, BTreeSet<u32>, BTreeSet<&Path>)> = Vec::new();
    for grant in grants {
        let (from, line) = place(&grant.from.to_string());
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
    let mut rows = Vec::new();
    for (from, lines, paths) in groups {
        let mut from = match (lines.first(), lines.last()) {
            (Some(first), Some(last)) if first == last => format!("{from}:{first}"),
            (Some(first), Some(last)) => format!("{from}:{first}-{last}"),
            _ => from,
        };
        for words in by_directory(&paths) {
            rows.push(Row {
                from: std::mem::take(&mut from),
                words,
            });
        }
    }
    rows
}

/// Three or more files of one directory in one paragraph, each of the others alone.
pub(super) fn by_directory(paths: &BTreeSet<&Path>) -> Vec<Vec<String>> {
    let mut directories: BTreeMap<PathBuf, Vec<&Path>> = BTreeMap::new();
    for path in paths {
        let parent = path.parent().unwrap_or(path).to_path_buf();
        directories.entry(parent).or_default().push(path);
    }
    let mut lines = Vec::new();
    for (directory, members) in directories {
        if members.len() < 3 || directory.parent().is_none() {
            lines.extend(members.into_iter().map(|member| vec![path(member)]));
            continue;
        }
        let mut words = vec![format!("{}:", path(&directory))];
        words.extend(
            members
                .iter()
                .filter_map(|member| member.file_name())
                .map(shown),
        );
        lines.push(words);
    }
    lines
}
