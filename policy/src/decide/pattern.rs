//! The patterns of rules, and how they stand to what is asked for.
//!
//! A request may be for one thing or for many: a tree of files, all hosts below a name. So a pattern does
//! not simply match. It **covers** a request when everything asked for is in it, and **touches** it when
//! something is. A rule lets through only what it covers; it stands in the way of all that it touches.

use std::fmt;

use crate::path::HostPath;
use crate::request::Context;

/// How a pattern stands to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// They have nothing in common.
    Apart,
    /// Some of what is asked for is in the pattern.
    Touches,
    /// All of it is.
    Covers,
}

impl Relation {
    /// Of a request for one thing.
    pub(crate) fn of_one(matches: bool) -> Self {
        if matches { Self::Covers } else { Self::Apart }
    }
}

/// What a pattern of paths starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    Root,
    Home,
    Skill,
    Work,
}

impl Base {
    /// Where it is. `None`: nowhere, in this run. A variable that stands for `/` would turn a rule about
    /// one place into one about every place, and stands for nothing.
    pub(crate) fn path(self, context: &Context) -> Option<&[u8]> {
        let variable = |path: &'_ HostPath| path.is_plain() && path.components().next().is_some();
        let path = match self {
            Self::Root => return Some(b"/"),
            Self::Home => Some(&context.home),
            Self::Skill => context.skill.as_ref(),
            Self::Work => Some(&context.work),
        };
        path.filter(|path| variable(path)).map(HostPath::as_bytes)
    }
}

/// One component of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// This very name.
    Name(Box<str>),
    /// A name with `*` in it.
    Glob(Glob),
    /// `**`: any number of components, none included.
    Any,
}

/// `$WORK/**`, `/usr/lib/*/libc.so.6`, `/srv/data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathPattern {
    pub(crate) base: Base,
    pub(crate) parts: Vec<Part>,
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.message, self.help)
    }
}

pub(crate) fn bad<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, BadPattern> {
    Err(BadPattern {
        message: message.into(),
        help: help.into(),
    })
}

impl PathPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let (base, rest) = match text.strip_prefix('$') {
            None if text.starts_with('/') => (Base::Root, text),
            None => {
                return bad(
                    "a pattern of paths begins with `/` or a variable",
                    "begin it with `/`, `$WORK`, `$SKILL` or `$HOME`",
                );
            }
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let base = match &rest[..end] {
                    "HOME" => Base::Home,
                    "SKILL" => Base::Skill,
                    "WORK" => Base::Work,
                    "TMP" => {
                        return bad(
                            "`$TMP` is the sandbox's own, and needs no rule",
                            "remove it",
                        );
                    }
                    other => {
                        return bad(
                            format!("unknown variable `${other}`"),
                            "the variables are $WORK, $SKILL and $HOME",
                        );
                    }
                };
                (base, &rest[end..])
            }
        };
        let mut parts = Vec::new();
        for component in rest.split('/').skip(1) {
            parts.push(match component {
                "" if rest == "/" && base == Base::Root => break,
                "" => return bad("an empty component", "write one slash, and none at the end"),
                "." | ".." => {
                    return bad(
                        format!("`{component}` in a pattern"),
                        "write the path that it leads to",
                    );
                }
                "**" => Part::Any,
                name if name.contains("**") => {
                    return bad(
                        format!("`**` beside other characters in `{name}`"),
                        "`**` is a component of its own, any number of directories; `*` is any part of a name",
                    );
                }
                name => match Glob::parse(name)? {
                    Ok(glob) => Part::Glob(glob),
                    Err(name) => Part::Name(name.into()),
                },
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Self { base, parts })
    }

    /// How it stands to a path, or to a whole tree of them.
    pub(crate) fn relation(&self, context: &Context, path: &HostPath, tree: bool) -> Relation {
        let Some(base) = self.base.path(context) else {
            return Relation::Apart;
        };
        let mut below = path.components();
        for component in components(base) {
            match below.next() {
                Some(found) if found == component => {}
                Some(_) => return Relation::Apart,
                // The tree holds the base, and so something of all that begins there.
                None if tree => return Relation::Touches,
                None => return Relation::Apart,
            }
        }
        relation(&self.parts, below, tree)
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/').filter(|c| !c.is_empty())
}

/// `parts` against the components of a path, all of its states at once.
pub(crate) fn relation<'p>(
    parts: &[Part],
    path: impl Iterator<Item = &'p [u8]>,
    tree: bool,
) -> Relation {
    // Positions in `parts` that the components so far may have led to.
    let mut states = vec![false; parts.len() + 1];
    states[0] = true;
    skip_any(parts, &mut states);
    for component in path {
        let mut next = vec![false; parts.len() + 1];
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| states[*at]) {
            match part {
                Part::Any => next[at] = true,
                Part::Name(name) => next[at + 1] |= name.as_bytes() == component,
                Part::Glob(glob) => next[at + 1] |= glob.matches(component),
            }
        }
        skip_any(parts, &mut next);
        states = next;
        if !states.contains(&true) {
            return Relation::Apart;
        }
    }
    let whole = match parts.last() {
        // What follows is in it as well.
        Some(Part::Any) => states[parts.len() - 1],
        _ => states[parts.len()] && !tree,
    };
    match whole {
        true => Relation::Covers,
        false if tree => Relation::Touches,
        false => Relation::Apart,
    }
}

/// `**` may stand for nothing.
fn skip_any(parts: &[Part], states: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if states[at] && *part == Part::Any {
            states[at + 1] = true;
        }
    }
}

/// A name with `*`, each of which stands for any characters, or none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Glob {
    first: Box<str>,
    middle: Vec<Box<str>>,
    last: Box<str>,
}

impl Glob {
    /// `Err` has the text back when there is no `*` in it.
    pub(crate) fn parse(text: &str) -> Result<Result<Self, &str>, BadPattern> {
        if let Some(character) = text.chars().find(|c| "?[]{}\\".contains(*c)) {
            return bad(
                format!("`{character}` in a pattern"),
                "patterns know `*`, any part of a name, and `**`, any number of directories",
            );
        }
        let mut pieces = text.split('*');
        let first = pieces.next().unwrap_or_default();
        let mut middle: Vec<Box<str>> = pieces.map(Into::into).collect();
        let Some(last) = middle.pop() else {
            return Ok(Err(text));
        };
        middle.retain(|piece| !piece.is_empty());
        Ok(Ok(Self {
            first: first.into(),
            middle,
            last,
        }))
    }

    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let Some(rest) = name.strip_prefix(self.first.as_bytes()) else {
            return false;
        };
        let Some(mut rest) = rest.strip_suffix(self.last.as_bytes()) else {
            return false;
        };
        // The leftmost place for each is never worse than a later one.
        for piece in &self.middle {
            let piece = piece.as_bytes();
            match rest.windows(piece.len()).position(|at| at == piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }
}

/// A plain name, or one with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePattern {
    Name(Box<str>),
    Glob(Glob),
}

impl NamePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return bad("an empty pattern", "write a name, or `*` for all");
        }
        Ok(match Glob::parse(text)? {
            Ok(glob) => Self::Glob(glob),
            Err(name) => Self::Name(name.into()),
        })
    }

    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(own) => own.as_bytes() == name,
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

/// `8080` or `8000-8999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    from: u16,
    to: u16,
}

impl Ports {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| digits && *n > 0)
        };
        match (port(from), port(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => bad(
                format!("`{text}` is no port"),
                "write a port from 1 to 65535, or a range such as `8000-8999`",
            ),
        }
    }

    pub(crate) fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

/// A host, or all hosts below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPattern {
    /// Without `*.`.
    pub(crate) name: Box<str>,
    pub(crate) below: bool,
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let valid = aegis_profile::syntax::host(text, true).map_err(|wrong| BadPattern {
            message: wrong.message,
            help: wrong
                .help
                .unwrap_or_else(|| "write a host name, such as `api.github.com`".into()),
        })?;
        if valid != text {
            return bad(format!("`{text}` as a host"), format!("write `{valid}`"));
        }
        Ok(match text.strip_prefix("*.") {
            Some(name) => Self {
                name: name.into(),
                below: true,
            },
            None => Self {
                name: text.into(),
                below: false,
            },
        })
    }

    /// `host` is a name, or `*.` and a name.
    pub(crate) fn relation(&self, host: &str) -> Relation {
        let below = |name: &str, parent: &str| {
            name.strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
        };
        match (host.strip_prefix("*."), self.below) {
            (None, false) => Relation::of_one(*self.name == *host),
            (None, true) => Relation::of_one(below(host, &self.name)),
            (Some(host), true) if *self.name == *host || below(host, &self.name) => {
                Relation::Covers
            }
            (Some(host), _) if below(&self.name, host) => Relation::Touches,
            (Some(_), _) => Relation::Apart,
        }
    }
}
