//! The patterns of rules, and how they relate to what is asked for.
//!
//! A request may be for one thing or for many: a tree of files, all hosts below a name. So a pattern does
//! not simply match. It **contains** a request when everything asked for is in it, and **overlaps** it when
//! something asked for is in it. A rule lets through only what it contains; it can block all that it overlaps.

use std::net::IpAddr;

use aegis_profile::syntax::{Wrong, quote};
use serde::Serialize;

use crate::model::Verdict;
use crate::request::Context;

/// How a pattern or a rule relates to a request; see [`crate::decide()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// They have nothing in common.
    Disjoint,
    /// Some of what is asked for is in the pattern.
    Overlaps,
    /// All of what is asked for is in the pattern.
    Contains,
}

impl Relation {
    /// As in a sentence, after the name of a rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disjoint => "disjoint",
            Self::Overlaps => "overlaps",
            Self::Contains => "contains",
        }
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
    /// The base that a text begins with, and the rest.
    pub(crate) fn of(text: &str) -> Result<(Self, &str), Wrong> {
        let Some(variable) = text.strip_prefix('$') else {
            return match text.starts_with('/') {
                true => Ok((Self::Root, text)),
                false => Wrong::new(
                    "a pattern of paths begins with `/` or a variable",
                    "begin it with `/`, `$WORK`, `$SKILL` or `$HOME`",
                ),
            };
        };
        let (name, rest) = variable.split_at(variable.find('/').unwrap_or(variable.len()));
        let base = match name {
            "HOME" => Self::Home,
            "SKILL" => Self::Skill,
            "WORK" => Self::Work,
            "TMP" => {
                return Wrong::new(
                    "`$TMP` is the sandbox's own, and is no place for a rule",
                    "remove it; a profile that executes files there is asked about `/tmp/**`",
                );
            }
            other => {
                return Wrong::new(
                    format!("unknown variable `${}`", quote(other)),
                    "the variables are $WORK, $SKILL and $HOME",
                );
            }
        };
        Ok((base, rest))
    }

    /// Its path, and the closest relation that a pattern from there may have to a request. `None`: this run
    /// does not have it.
    ///
    /// A variable that stands for `/` would turn a rule about one place into one about every place. Such
    /// a rule still blocks, and lets nothing through: it only overlaps.
    pub(crate) fn place(self, context: &Context) -> Option<(&[u8], Relation)> {
        let path = match self {
            Self::Root => return Some((b"/", Relation::Contains)),
            Self::Home => &context.home,
            Self::Skill => context.skill.as_ref()?,
            Self::Work => &context.work,
        };
        let closest = match path.components().next() {
            Some(_) => Relation::Contains,
            None => Relation::Overlaps,
        };
        (!path.as_bytes().is_empty()).then_some((path.as_bytes(), closest))
    }
}

/// One component of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part<'t> {
    /// This very name.
    Name(&'t str),
    /// A name with `*` in it, each of which stands for any characters, or none.
    Glob(&'t str),
    /// `**`: any number of components, none included.
    Any,
}

/// More than anybody writes; patterns stay small.
const MAX_PARTS: usize = 60;

/// Reads a pattern of paths, `$WORK/**`, `/usr/lib/*/libc.so.6`: adds its parts, and returns what they start from.
pub(super) fn path<'t>(text: &'t str, parts: &mut Vec<Part<'t>>) -> Result<Base, Wrong> {
    let (base, rest) = Base::of(text)?;
    let from = parts.len();
    for component in rest.split('/').skip(1) {
        let part = match component {
            "" if rest == "/" && base == Base::Root => break,
            "" => return Wrong::new("an empty component", "write one slash, and none at the end"),
            "." | ".." => {
                return Wrong::new(
                    format!("`{component}` in a pattern"),
                    "write the path that it leads to",
                );
            }
            "**" => Part::Any,
            name => Part::of(name)?,
        };
        match (part, component.as_bytes()) {
            (Part::Any, _) if parts.len() > from && parts.last() == Some(&Part::Any) => {}
            (Part::Glob(name), bytes) if bytes.windows(2).any(|two| two == b"**") => {
                return Wrong::new(
                    format!("`**` beside other characters in `{name}`"),
                    "`**` is a component of its own, any number of directories; `*` is any part of a name",
                );
            }
            _ => parts.push(part),
        }
    }
    if parts.len() - from > MAX_PARTS {
        return Wrong::new(
            format!("a pattern of more than {MAX_PARTS} components"),
            "write a shorter one, with `**` for the components that do not matter",
        );
    }
    Ok(base)
}

/// Longer than any file name (`NAME_MAX`), and short enough to match quickly.
const MAX_GLOB: usize = 256;

impl<'t> Part<'t> {
    /// A name, or one with `*`.
    pub(super) fn of(text: &'t str) -> Result<Self, Wrong> {
        let mut has_star = false;
        for byte in text.bytes() {
            match byte {
                b'*' => has_star = true,
                b'?' | b'[' | b']' | b'{' | b'}' | b'\\' => {
                    return Wrong::new(
                        format!("`{}` in a pattern", char::from(byte)),
                        "patterns know `*`, any part of a name, and `**`, any number of directories",
                    );
                }
                _ => {}
            }
        }
        if text.len() > MAX_GLOB && has_star {
            return Wrong::new(
                format!("a name with `*` of more than {MAX_GLOB} bytes"),
                "write a shorter one",
            );
        }
        Ok(match has_star {
            true => Self::Glob(text),
            false => Self::Name(text),
        })
    }

    /// A pattern of names.
    pub(super) fn of_names(text: &'t str) -> Result<Self, Wrong> {
        match text {
            "" => Wrong::new("an empty pattern", "write a name, or `*` for all"),
            text => Self::of(text),
        }
    }

    pub(super) fn text(self) -> &'t str {
        match self {
            Self::Name(text) | Self::Glob(text) => text,
            Self::Any => "**",
        }
    }
}

/// [`glob_matches`], of text.
pub(crate) fn name_matches(pattern: &str, name: &str) -> bool {
    glob_matches(pattern, name.as_bytes())
}

/// Whether a name is in a pattern of names.
pub(super) fn glob_matches(glob: &str, name: &[u8]) -> bool {
    let glob = glob.as_bytes();
    let star = |text: &[u8]| text.iter().position(|byte| *byte == b'*');
    let Some(first) = star(glob) else {
        return glob == name;
    };
    let (begin, mut glob) = glob.split_at(first);
    let Some(mut name) = name.strip_prefix(begin) else {
        return false;
    };
    // After a star: the leftmost match of the text up to the next star is never worse than a later one.
    while let Some((_, rest)) = glob.split_first() {
        let Some(next) = star(rest) else {
            return name.ends_with(rest);
        };
        let (piece, after) = rest.split_at(next);
        let found = match piece {
            [] => Some(0),
            piece => name.windows(piece.len()).position(|at| at == piece),
        };
        let Some(left) = found.and_then(|at| name.get(at + piece.len()..)) else {
            return false;
        };
        (name, glob) = (left, after);
    }
    true
}

/// `8080` or `8000-8999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    from: u16,
    to: u16,
}

impl Ports {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            let digits = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|n| digits && *n > 0)
        };
        match (port(from), port(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            _ => Wrong::new(
                format!("`{text}` is not a port"),
                "write a port from 1 to 65535, or a range such as `8000-8999`",
            ),
        }
    }

    pub(crate) fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

/// A host, all hosts below a name, or any host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostPattern {
    Any,
    /// Without `*.`.
    Below(Box<str>),
    One(Box<str>),
}

impl HostPattern {
    /// As a rule names it. `*` is any host: what may leave is listed by host, so such a rule may have any
    /// verdict but `allow`.
    pub(crate) fn of_rule(text: &str, verdict: Verdict) -> Result<Self, Wrong> {
        if text == "*" {
            return match verdict {
                Verdict::Allow => Wrong::new(
                    "`*` is every host, and a rule that allows names its hosts",
                    "name them, or let the rule say `warn`, `review` or `block`",
                ),
                _ => Ok(Self::Any),
            };
        }
        one_spelling(text)?;
        Ok(match text.strip_prefix("*.") {
            Some(name) => Self::Below(name.into()),
            None => Self::One(text.into()),
        })
    }

    /// The address, where it is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::One(name) => address(name),
            Self::Any | Self::Below(_) => None,
        }
    }
}

/// The address that a host is, where it is one.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    let may_be = host.contains(':') || host.bytes().all(|b| b == b'.' || b.is_ascii_digit());
    may_be.then(|| host.parse().ok()).flatten()
}

/// Whether this is a host, or `*.` and a host, in the one spelling in which hosts are compared.
pub(super) fn one_spelling(text: &str) -> Result<(), Wrong> {
    // An address needs no brackets here: no port follows.
    let valid = match address(text) {
        Some(IpAddr::V6(address)) => IpAddr::V6(address).to_canonical().to_string(),
        _ => aegis_profile::syntax::host(text, true)?,
    };
    match valid == text {
        true => Ok(()),
        false => Wrong::new(format!("`{text}` as a host"), format!("write `{valid}`")),
    }
}
