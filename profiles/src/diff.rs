//! What one profile may do that another may not: by meaning, not by lines.
//!
//! A directory covers what is below it, writing covers reading, executing covers reading, a higher or
//! absent limit is more, what is denied is less, `tcp` to a port covers what runs over it. Whether an entry is optional, its
//! order, its place, and `name`, `description` and `run` make no difference. What cannot be compared
//! without a host (`$HOME` and an absolute path, a program's name and a path) counts as different.

use std::fmt;

use serde::Serialize;

use crate::format::forms::Item as Entry;
use crate::format::{Profile, SecretUse, Syscalls};
use crate::model::{
    Declared, Denied, Destination, Origin, Outbound, PathSpec, Program, Sockets, SyscallBase,
    Variable,
};
use crate::units;

/// One thing that one profile may do and the other may not.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// The key that grants it, as in `files.read` or `limits.memory`.
    pub key: String,
    /// What is granted, as written in a profile.
    pub value: String,
    /// What the other profile has in its place, where there is one such thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<String>,
    /// Where it was declared; an absent limit was declared nowhere.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

// Two items are equal when they grant the same, wherever they are declared.
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.value, &self.instead_of) == (&other.key, &other.value, &other.instead_of)
    }
}
impl Eq for Item {}

fn as_text<S: serde::Serializer>(origin: &Option<Origin>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&origin.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// The difference of two profiles, `a` and `b`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What `a` may do and `b` may not.
    pub only_a: Vec<Item>,
    /// What `b` may do and `a` may not.
    pub only_b: Vec<Item>,
}

impl Diff {
    /// Whether both may do the same.
    pub fn is_empty(&self) -> bool {
        self.only_a.is_empty() && self.only_b.is_empty()
    }

    /// For people, with the names of the two profiles.
    pub fn render(&self, a: &str, b: &str) -> String {
        if self.is_empty() {
            return format!("{a} and {b} may do the same\n");
        }
        let mut out = String::new();
        for (name, other, sign, items) in [(a, b, '-', &self.only_a), (b, a, '+', &self.only_b)] {
            if items.is_empty() {
                out.push_str(&format!("{name} may do nothing that {other} may not\n"));
                continue;
            }
            out.push_str(&format!("only {name} may:\n"));
            let width = items.iter().map(|item| item.key.len()).max().unwrap_or(0);
            for item in items {
                let instead = match &item.instead_of {
                    Some(instead) => format!("  ({other}: {instead})"),
                    None => String::new(),
                };
                out.push_str(&format!(
                    "{sign} {:width$}  {}{instead}\n",
                    item.key, item.value
                ));
            }
        }
        out
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render("a", "b"))
    }
}

/// Compares what two merged profiles may do.
///
/// ```
/// # use aegis_profile::{diff, parse_str};
/// let a = parse_str("aegis: 1\ncapabilities: {files.write: [$WORK]}", "a.yaml").unwrap();
/// let b = parse_str("aegis: 1\ncapabilities: {files.read: [$WORK/out, /srv]}", "b.yaml").unwrap();
/// let difference = diff(&a, &b);
/// assert_eq!(difference.only_a[0].value, "$WORK");
/// assert_eq!(difference.only_b.len(), 1, "reading $WORK/out is covered by writing $WORK");
/// ```
pub fn diff(a: &Profile, b: &Profile) -> Diff {
    Diff {
        only_a: beyond(a, b),
        only_b: beyond(b, a),
    }
}

/// What `more` may do that `less` may not.
fn beyond(more: &Profile, less: &Profile) -> Vec<Item> {
    let mut found = Excess(Vec::new());
    files(&mut found, more, less);
    not_denied(&mut found, more, less);
    programs(&mut found, more, less);
    network(&mut found, more, less);
    let (mine, theirs) = (&more.capabilities, &less.capabilities);
    found.absent("net.listen", &mine.net_listen, &theirs.net_listen);
    if let Some(sockets) = private_sockets(more)
        && private_sockets(less).is_none()
    {
        let value = sockets.value.to_string();
        found.add("sockets", value, None, Some(&sockets.origin));
    }
    for (alias, secret) in &mine.secrets_use {
        let shown = |s: &SecretUse| {
            let mut text = format!("{alias} to {}", s.to);
            text.extend(s.header.iter().map(|header| format!(", header `{header}`")));
            text.extend(s.query.iter().map(|query| format!(", query {query}")));
            text.extend(s.env.iter().map(|env| format!(", env {env}")));
            text.extend(s.like.iter().map(|like| format!(" like `{like}`")));
            let ttl = s.ttl.as_ref().map(|ttl| units::show_time(ttl.value));
            text.extend(ttl.map(|ttl| format!(", for {ttl}")));
            text
        };
        let other = theirs.secrets_use.get(alias);
        if other != Some(secret) {
            let (value, instead) = (shown(&secret.value), other.map(|o| shown(&o.value)));
            found.add("secrets.use", value, instead, Some(&secret.origin));
        }
    }
    found.absent("devices", &mine.devices, &theirs.devices);
    environment(&mut found, more, less);
    for (key, theirs) in less.limits.iter() {
        let name = format!("limits.{key}");
        let instead = Some(key.show(theirs.value));
        match more.limits.get(key) {
            None => found.add(&name, "not limited".to_owned(), instead, None),
            Some(mine) if mine.value > theirs.value => {
                found.add(&name, key.show(mine.value), instead, Some(&mine.origin));
            }
            Some(_) => {}
        }
    }
    for limit in less.limits.must_hold() {
        let insists = more.limits.must_hold().contains(limit);
        // What is not limited at all has been listed.
        if !insists && more.limits.get(limit.value).is_some() {
            let instead = Some(limit.value.to_string());
            found.add("limits.must-hold", "need not hold".into(), instead, None);
        }
    }
    syscalls(&mut found, &more.syscalls, &less.syscalls);
    found.0
}

fn private_sockets(profile: &Profile) -> Option<&Declared<Sockets>> {
    let sockets = profile.capabilities.sockets.as_ref();
    sockets.filter(|sockets| sockets.value == Sockets::Private)
}

struct Excess(Vec<Item>);

impl Excess {
    fn add(
        &mut self,
        key: &str,
        value: String,
        instead_of: Option<String>,
        origin: Option<&Origin>,
    ) {
        self.0.push(Item {
            key: key.to_owned(),
            value,
            instead_of,
            origin: origin.cloned(),
        });
    }

    /// Adds what is in `mine` and not in `theirs`.
    fn absent<T: Entry>(&mut self, key: &str, mine: &[Declared<T>], theirs: &[Declared<T>]) {
        self.uncovered(key, mine, |item| lists(theirs, item), T::eq);
    }

    /// Adds each of `mine` that is not `covered` by the other profile, unless another of `mine` is wider, or an
    /// earlier one equal.
    fn uncovered<T: Entry>(
        &mut self,
        key: &str,
        mine: &[Declared<T>],
        covered: impl Fn(&T) -> bool,
        wider: impl Fn(&T, &T) -> bool,
    ) {
        for (i, item) in mine.iter().enumerate() {
            let said = mine.iter().enumerate().any(|(j, other)| {
                i != j
                    && wider(&other.value, &item.value)
                    && (j < i || !wider(&item.value, &other.value))
            });
            if !said && !covered(&item.value) {
                let value = item.value.required().to_string();
                self.add(key, value, None, Some(&item.origin));
            }
        }
    }
}

/// Whether `wide` is `narrow`, or a directory above it.
fn contains(wide: &PathSpec, narrow: &PathSpec) -> bool {
    wide.base == narrow.base
        && (wide.rest.is_empty()
            || narrow
                .rest
                .strip_prefix(&wide.rest)
                .is_some_and(|below| below.is_empty() || below.starts_with('/')))
}

fn lists<T: PartialEq>(list: &[Declared<T>], value: &T) -> bool {
    list.iter().any(|item| item.value == *value)
}

fn among(list: &[Declared<PathSpec>], path: &PathSpec) -> bool {
    list.iter().any(|item| contains(&item.value, path))
}

fn executes(profile: &Profile, path: &PathSpec) -> bool {
    let programs = &profile.capabilities.shell_exec;
    (programs.iter())
        .any(|item| matches!(&item.value, Program::Path(program) if contains(program, path)))
}

fn files(found: &mut Excess, more: &Profile, less: &Profile) {
    let (mine, theirs) = (&more.capabilities, &less.capabilities);
    // Every sandbox may write its private temporary directory.
    let always = |path: &PathSpec| path.base == Some(Variable::Tmp);
    let readable = |path: &PathSpec| {
        always(path)
            || among(&theirs.files_read, path)
            || among(&theirs.files_write, path)
            || among(&theirs.files_overlay, path)
            || executes(less, path)
            // Listed already, under the key that grants more.
            || among(&mine.files_write, path)
            || executes(more, path)
    };
    found.uncovered("files.read", &mine.files_read, readable, contains);
    // What is written there reaches nothing: it grants reading.
    found.uncovered("files.overlay", &mine.files_overlay, readable, contains);
    let writable = |path: &PathSpec| always(path) || among(&theirs.files_write, path);
    found.uncovered("files.write", &mine.files_write, writable, contains);
}

/// What the other profile denies of what this one grants.
fn not_denied(found: &mut Excess, more: &Profile, less: &Profile) {
    let mine = &more.capabilities;
    let programs = mine.shell_exec.iter().filter_map(|item| match &item.value {
        Program::Path(path) => Some(path),
        Program::Name { .. } => None,
    });
    let files = (mine.files_read.iter())
        .chain(&mine.files_write)
        .chain(&mine.files_overlay);
    let granted: Vec<&PathSpec> = files.map(|item| &item.value).chain(programs).collect();
    let meets = |path: &PathSpec| {
        let meets = |other: &&PathSpec| contains(other, path) || contains(path, other);
        granted.iter().any(meets)
    };
    for item in &less.capabilities.files_deny {
        let matters = match &item.value {
            Denied::Path(path)
            | Denied::Named {
                below: Some(path), ..
            } => meets(path),
            Denied::Named { below: None, .. } => !granted.is_empty(),
        };
        if matters && !(mine.files_deny.iter()).any(|other| denies(&other.value, &item.value)) {
            let instead = Some(item.value.to_string());
            found.add("files.deny", "not denied".to_owned(), instead, None);
        }
    }
}

/// Whether `wide` denies all that `narrow` does.
fn denies(wide: &Denied, narrow: &Denied) -> bool {
    match (wide, narrow) {
        (
            Denied::Path(wide),
            Denied::Path(path)
            | Denied::Named {
                below: Some(path), ..
            },
        ) => contains(wide, path),
        (
            Denied::Named { below, name },
            Denied::Named {
                below: other,
                name: same,
            },
        ) => {
            let within =
                |below: &PathSpec| other.as_ref().is_some_and(|other| contains(below, other));
            name == same && below.as_ref().is_none_or(within)
        }
        _ => false,
    }
}

fn programs(found: &mut Excess, more: &Profile, less: &Profile) {
    let wider = |wide: &Program, narrow: &Program| match (wide, narrow) {
        (Program::Path(wide), Program::Path(narrow)) => contains(wide, narrow),
        (Program::Name { name: wide, .. }, Program::Name { name: narrow, .. }) => wide == narrow,
        _ => false,
    };
    let theirs = &less.capabilities.shell_exec;
    let covered = |program: &Program| theirs.iter().any(|item| wider(&item.value, program));
    found.uncovered("shell.exec", &more.capabilities.shell_exec, covered, wider);
}

/// Whether `wide` reaches all that `narrow` does.
fn reaches(wide: &Destination, narrow: &Destination) -> bool {
    let scheme = wide.scheme == narrow.scheme
        || (wide.scheme == "tcp" && matches!(narrow.scheme.as_str(), "http" | "https"));
    let host = wide.host == narrow.host
        || wide.host.strip_prefix('*').is_some_and(|suffix| {
            // `*.example.org` stands for all names below example.org, `*.a.example.org` for some of them.
            narrow.host.len() > suffix.len() && narrow.host.ends_with(suffix)
        });
    scheme && host && wide.port == narrow.port
}

fn network(found: &mut Excess, more: &Profile, less: &Profile) {
    let theirs = &less.capabilities.net_outbound;
    match (&more.capabilities.net_outbound, theirs) {
        (Outbound::None(_), _) | (_, Outbound::Host(_)) => {}
        (Outbound::Host(origin), _) => {
            found.add("net.outbound", "host".to_owned(), None, Some(origin));
        }
        (Outbound::Named(mine), theirs) => {
            let covered = |destination: &Destination| match theirs {
                Outbound::Named(theirs) => theirs.iter().any(|t| reaches(&t.value, destination)),
                _ => false,
            };
            found.uncovered("net.outbound", mine, covered, reaches);
        }
    }
}

fn environment(found: &mut Excess, more: &Profile, less: &Profile) {
    let (mine, theirs) = (&more.environment, &less.environment);
    let passes = |name: &String| {
        // A variable that is set is not passed.
        mine.set.contains_key(name) || (lists(&theirs.pass, name) && !theirs.set.contains_key(name))
    };
    found.uncovered("environment.pass", &mine.pass, passes, String::eq);
    for (name, value) in &mine.set {
        let other = theirs.set.get(name);
        if other != Some(value) {
            let shown = format!("{name}={}", value.value);
            let instead = other.map(|other| format!("{name}={}", other.value));
            found.add("environment.set", shown, instead, Some(&value.origin));
        }
    }
}

fn syscalls(found: &mut Excess, more: &Syscalls, less: &Syscalls) {
    let base = |s: &Syscalls| s.base.as_ref().map_or(SyscallBase::Default, |b| b.value);
    // Wider bases come first.
    if base(more) < base(less) {
        let origin = more.base.as_ref().map(|b| &b.origin);
        let (value, instead) = (base(more).to_string(), Some(base(less).to_string()));
        found.add("syscalls.base", value, instead, origin);
    }
    for Declared {
        value: name,
        origin,
    } in &more.allow
    {
        let theirs = lists(&less.allow, name) && !lists(&less.deny, name);
        if !lists(&more.deny, name) && !theirs {
            found.add("syscalls.allow", name.clone(), None, Some(origin));
        }
    }
    for Declared { value: name, .. } in &less.deny {
        // Only system calls that the base may hold: those that `allow` adds are listed above.
        let possible = base(more) != SyscallBase::Learned && !lists(&more.allow, name);
        if possible && !lists(&more.deny, name) {
            let instead = Some(format!("deny {name}"));
            found.add("syscalls.base", name.clone(), instead, None);
        }
    }
}
