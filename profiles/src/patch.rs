//! Adding grants to a profile's text, in place: everything else, its comments too, stays as it is.

use std::fmt;
use std::sync::Arc;

use crate::diff::diff;
use crate::error::FileKind;
use crate::form::scalar;
use crate::parse::parse_str;
use crate::yaml::{self, Node, Value};

/// One thing that a key is to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addition {
    /// The section, such as `capabilities`.
    pub section: String,
    /// The key below it, such as `files.read`.
    pub key: String,
    /// An entry of the key's list, or its value.
    pub value: String,
    /// Whether the key has a list.
    pub listed: bool,
}

/// As a line for a profile that has nothing of it.
impl fmt::Display for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { section, key, .. } = self;
        write!(f, "{section}: {{{key}: {}}}", self.written())
    }
}

impl Addition {
    /// What a line adds, as [`Display`](fmt::Display) writes it. Empty where it is of another form.
    pub fn of_line(line: &str) -> Vec<Self> {
        let Some(root) = parsed(line) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (section, below) in root.entries() {
            for (key, node) in below.entries() {
                let mut add = |text: &str, listed: bool| {
                    all.push(Self {
                        section: section.text.clone(),
                        key: key.text.clone(),
                        value: text.to_owned(),
                        listed,
                    });
                };
                match &node.value {
                    Value::Scalar { text, .. } => add(text, false),
                    Value::List(items) => items
                        .iter()
                        .filter_map(Node::text)
                        .for_each(|text| add(text, true)),
                    Value::Map(_) | Value::Refused => {}
                }
            }
        }
        all
    }

    /// The value of a key that has nothing else.
    fn written(&self) -> String {
        match self.listed {
            true => format!("[{}]", scalar(&self.value)),
            false => scalar(&self.value),
        }
    }
}

/// A text with what was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// All of it.
    pub text: String,
    /// What was added. What the profile has already is not in it.
    pub added: Vec<Addition>,
}

/// Adds to a profile's own text. `None`: its form leaves no place for it, and a person has to write it.
pub fn patch(text: &str, file_name: &str, additions: &[Addition]) -> Option<Patched> {
    let before = parse_str(text, file_name).ok()?;
    let mut patched = Patched {
        text: text.to_owned(),
        added: Vec::new(),
    };
    for addition in additions {
        let root = parsed(&patched.text)?;
        if !has(&root, addition) {
            patched.text = add(&patched.text, &root, addition)?;
            patched.added.push(addition.clone());
        }
    }
    // It grants no less than before, and more of these keys alone.
    let after = parse_str(&patched.text, file_name).ok()?;
    let difference = diff(&after, &before);
    let meant = |key: &str| patched.added.iter().any(|added| key.contains(&added.key));
    let right = difference.only_b.is_empty()
        && difference.only_a.iter().all(|item| meant(&item.key))
        && parsed(&patched.text)
            .is_some_and(|root| additions.iter().all(|added| has(&root, added)));
    right.then_some(patched)
}

fn parsed(text: &str) -> Option<Node> {
    let file: Arc<str> = "profile".into();
    let root = |root: &Node, _: &mut crate::error::Reporter<'_>| Some(root.clone());
    yaml::document(FileKind::PROFILE, &file, text.as_bytes(), root).ok()
}

fn has(root: &Node, addition: &Addition) -> bool {
    let below = root.entry(&addition.section);
    let Some((_, node)) = below.and_then(|(_, below)| below.entry(&addition.key)) else {
        return false;
    };
    let optional = |text: &str| text.strip_prefix('-') == Some(&addition.value);
    let is_it = |text: &str| text == addition.value || addition.listed && optional(text);
    node.text().is_some_and(is_it) || node.items().iter().filter_map(Node::text).any(is_it)
}

/// What follows a key: where, and of which form.
enum After {
    /// The inside of brackets on the same line, from this byte on.
    Flow(usize),
    /// The lines below.
    Block,
    /// A scalar.
    Scalar,
}

fn add(text: &str, root: &Node, addition: &Addition) -> Option<String> {
    let Addition {
        section,
        key,
        value,
        listed,
    } = addition;
    let Some((section_key, below)) = root.entry(section) else {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        return Some(format!(
            "{text}{end}{section}:\n  {key}: {}\n",
            addition.written()
        ));
    };
    let Some((found, node)) = below.entry(key) else {
        let written = addition.written();
        return match (after(text, section_key)?, below.entries().first()) {
            (After::Flow(at), first) => {
                let comma = if first.is_some() { ", " } else { "" };
                Some(insert(text, at, &format!("{key}: {written}{comma}")))
            }
            (After::Block, Some((first, _))) => {
                let indent = " ".repeat(first.span.column as usize - 1);
                let at = line_start(text, first.span.line)?;
                Some(insert(text, at, &format!("{indent}{key}: {written}\n")))
            }
            _ => None,
        };
    };
    // Another value is not replaced.
    listed.then_some(())?;
    match (after(text, found)?, node.items()) {
        (After::Flow(at), items) => {
            let comma = if items.is_empty() { "" } else { ", " };
            Some(insert(text, at, &format!("{}{comma}", scalar(value))))
        }
        (After::Block, [.., last]) => {
            let line = text.lines().nth(last.span.line as usize - 1)?;
            let dash = line.find('-').filter(|at| line[..*at].trim().is_empty())?;
            let at = line_start(text, last.span.line + 1).unwrap_or(text.len());
            let broken = if text[..at].ends_with('\n') { "" } else { "\n" };
            let indent = &line[..dash];
            Some(insert(
                text,
                at,
                &format!("{broken}{indent}- {}\n", scalar(value)),
            ))
        }
        _ => None,
    }
}

fn insert(text: &str, at: usize, what: &str) -> String {
    format!("{}{what}{}", &text[..at], &text[at..])
}

/// Where a line begins, counted from 1. `None`: there are not so many.
fn line_start(text: &str, line: u32) -> Option<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).nth(line as usize - 1)
}

fn after(text: &str, key: &yaml::Key) -> Option<After> {
    let start = line_start(text, key.span.line)?;
    let line = text[start..].lines().next()?;
    let end = key.span.column + key.span.len - 1;
    let key_ends = line.char_indices().nth(end as usize).map(|(at, _)| at)?;
    let colon = key_ends + line[key_ends..].find(':')?;
    let rest = &line[colon + 1..];
    let value = rest.trim_start();
    Some(match value.chars().next() {
        None | Some('#') => After::Block,
        Some('[' | '{') => After::Flow(start + line.len() - value.len() + 1),
        Some(_) => After::Scalar,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Addition {
        let all = Addition::of_line(text);
        assert_eq!(all.len(), 1, "{text}");
        assert_eq!(all[0].to_string(), text);
        all[0].clone()
    }

    fn patched(text: &str, lines: &[&str]) -> Option<String> {
        let additions: Vec<Addition> = lines.iter().map(|text| line(text)).collect();
        patch(text, "p.yaml", &additions).map(|patched| patched.text)
    }

    #[test]
    fn what_is_added_is_beside_what_is_there_and_comments_stay() {
        let read = "capabilities: {files.read: [/srv/data]}";
        for (before, after) in [
            (
                "aegis: 1 # one\n",
                "aegis: 1 # one\ncapabilities:\n  files.read: [/srv/data]\n",
            ),
            (
                "aegis: 1\ncapabilities: {net.outbound: host} # why\n",
                "aegis: 1\ncapabilities: {files.read: [/srv/data], net.outbound: host} # why\n",
            ),
            (
                "aegis: 1\ncapabilities:\n  # programs\n  shell.exec: [sh]\n",
                "aegis: 1\ncapabilities:\n  # programs\n  files.read: [/srv/data]\n  shell.exec: [sh]\n",
            ),
            (
                "aegis: 1\ncapabilities:\n  files.read: [ $WORK ]  # all\n",
                "aegis: 1\ncapabilities:\n  files.read: [/srv/data,  $WORK ]  # all\n",
            ),
            (
                "aegis: 1\ncapabilities:\n  files.read:\n  - $WORK # here\n  # end\nlimits: {time: 5m}",
                "aegis: 1\ncapabilities:\n  files.read:\n  - $WORK # here\n  - /srv/data\n  # end\nlimits: {time: 5m}",
            ),
            (
                "aegis: 1\ncapabilities:\n  files.read:\n    - $WORK",
                "aegis: 1\ncapabilities:\n  files.read:\n    - $WORK\n    - /srv/data\n",
            ),
            (
                "aegis: 1\ncapabilities: {}\n",
                "aegis: 1\ncapabilities: {files.read: [/srv/data]}\n",
            ),
        ] {
            assert_eq!(patched(before, &[read]).as_deref(), Some(after), "{before}");
            // Added once only.
            assert_eq!(patched(after, &[read]).as_deref(), Some(after), "{before}");
        }
    }

    #[test]
    fn several_are_added_together_and_odd_names_are_quoted() {
        let odd = Addition {
            section: "capabilities".into(),
            key: "files.read".into(),
            value: "/srv/a: b # c".into(),
            listed: true,
        };
        let host = line("capabilities: {net.outbound: host}");
        let text = "aegis: 1\ncapabilities:\n  files.read:\n    - $WORK\n";
        let all = [odd, host, line("capabilities: {shell.exec: [git]}")];
        let patched = patch(text, "p.yaml", &all).unwrap();
        assert_eq!(
            patched.text,
            "aegis: 1\ncapabilities:\n  shell.exec: [git]\n  net.outbound: host\n  files.read:\n    - $WORK\n    - \"/srv/a: b # c\"\n"
        );
        assert_eq!(patched.added, all);
    }

    #[test]
    fn what_has_no_place_is_left_to_a_person() {
        let host = "capabilities: {net.outbound: host}";
        // Another value; a list over several lines that begins on the next; a profile that is none.
        for text in [
            "aegis: 1\ncapabilities: {net.outbound: none}\n",
            "aegis: 1\ncapabilities:\n  {shell.exec: [sh]}\n",
            "capabilities: [\n",
        ] {
            assert_eq!(patched(text, &[host]), None, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_none_adds_nothing() {
        for text in [
            "",
            "x",
            "[",
            "capabilities",
            "capabilities: {a: {b: c}}",
            "a: b",
        ] {
            assert_eq!(Addition::of_line(text), [], "{text}");
        }
    }
}
