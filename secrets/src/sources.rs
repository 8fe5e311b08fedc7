//! `secrets.yaml`: where secrets come from that are not in the store, and how they are rotated.
//!
//! ```yaml
//! github: {sops: team/secrets.yaml, key: github.token}
//! stripe: {vault: "https://vault.example:8200", path: secret/my/app, field: stripe, rotate-every: 90d}
//! openai: {exec: [bw, get, password, openai], ttl: 10m}
//! npm: {rotate-every: 30d, on-rotate: [/usr/local/bin/new-npm-token]}
//! ```
//!
//! The last one is in the store.

mod texts;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_profile::syntax::{self, FileKind, Node, Reporter, Span};
use aegis_sys::private::Others;

use crate::error::Error;
use crate::identity::parts;
use crate::places::Places;
pub use texts::{Address, VaultPath};

/// How long a source may take, where nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How long what a command printed is used, where neither `ttl` nor the command says it.
pub const TTL: Duration = Duration::from_secs(300);

/// The longest that a source may be waited for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// As an error calls it.
const KIND: FileKind = FileKind {
    name: "list of sources",
    first_line: "alias: {exec: [program, argument]}",
    sections: || vec![("", KEYS.to_vec())],
};

const KEYS: [&str; 11] = [
    "exec",
    "field",
    "key",
    "on-rotate",
    "path",
    "rotate-every",
    "sops",
    "timeout",
    "token-file",
    "ttl",
    "vault",
];

/// The entries of `secrets.yaml`, by their aliases.
pub type Sources = BTreeMap<String, Entry>;

/// What `secrets.yaml` says of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it comes from. `None`: the store.
    pub source: Option<Source>,
    /// How old it may become.
    pub rotate_every: Option<Duration>,
    /// The program, with its arguments, that makes a new one.
    pub on_rotate: Option<Vec<String>>,
    /// How long its source, or the program that makes a new one, may take.
    pub timeout: Duration,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A value in a file that SOPS encrypted.
    Sops {
        /// The file.
        file: PathBuf,
        /// The keys that lead to the value.
        key: Vec<String>,
    },
    /// A field of a secret in Vault's key-value store, version 2.
    Vault {
        /// Where the server is.
        url: Address,
        /// Where the secret is in it.
        path: VaultPath,
        /// Which field of it.
        field: String,
        /// A file with the token.
        token: PathBuf,
    },
    /// What a program prints.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// How long what it prints is used.
        ttl: Option<Duration>,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Sops { file, key } => {
                format!("SOPS file {}, key {}", file.display(), key.join("."))
            }
            Self::Vault {
                url, path, field, ..
            } => format!("vault {url}, path {path}, field {field}"),
            // Its words may be nobody's business.
            Self::Exec { command, .. } => {
                let more = if command.len() > 1 { " \u{2026}" } else { "" };
                let program = command.first().map(|word| syntax::quote(word));
                format!("command {}{more}", program.unwrap_or_default())
            }
        };
        f.write_str(&syntax::escape(&text))
    }
}

/// Reads `secrets.yaml`, which others must not be able to write. Where there is none, there are no other sources.
pub fn read(places: &Places) -> Result<Sources, Error> {
    let Some((dir, name)) = parts(&places.sources)? else {
        return Ok(Sources::new());
    };
    dir.check(Others::MayRead)?;
    dir.check_above()?;
    let Some(bytes) = dir.read(&name, syntax::MAX_BYTES as u64 + 1, Others::MayRead)? else {
        return Ok(Sources::new());
    };
    Ok(parse(&places.sources, places.home.as_deref(), &bytes)?)
}

/// Parses its text. Paths that are not absolute are relative to its directory; `~/` is the home directory.
///
/// # Errors
///
/// Every mistake, with its place and the fix.
pub fn parse(
    file: &Path,
    home: Option<&Path>,
    bytes: &[u8],
) -> Result<Sources, aegis_profile::Error> {
    let beside = file.parent().unwrap_or(Path::new("/"));
    let name: Arc<str> = file.to_string_lossy().into();
    syntax::document(KIND, &name, bytes, |root, out| {
        let mut sources = Sources::new();
        let places = Relative { beside, home };
        for (alias, node) in out.map(root, "aliases with their sources")? {
            let known = out.accept(alias.span, &alias.text, syntax::alias(&alias.text));
            let entry = entry(out, places, alias.span, node);
            if let (Some(alias), Some(entry)) = (known, entry) {
                sources.insert(alias, entry);
            }
        }
        Some(sources)
    })
}

/// What paths are relative to.
#[derive(Clone, Copy)]
struct Relative<'p> {
    beside: &'p Path,
    home: Option<&'p Path>,
}

impl Relative<'_> {
    fn path(self, out: &mut Reporter<'_>, node: &Node) -> Option<PathBuf> {
        let text = out.text(node, "a path")?;
        let path = match text.strip_prefix("~/") {
            Some(below) => match self.home {
                Some(home) => home.join(below),
                None => {
                    let report = out.report(node.span, "there is no home directory");
                    report.help("write an absolute path, or set HOME");
                    return None;
                }
            },
            None => self.beside.join(text),
        };
        if text.is_empty()
            || text.starts_with('~') && !text.starts_with("~/")
            || path.file_name().is_none()
        {
            let report = out.report(node.span, "this is not the path of a file");
            report.help(
                "write an absolute path, one that begins with `~/`, or one relative to this file",
            );
            return None;
        }
        Some(path)
    }
}

/// Which keys belong to which source, beside those of all.
fn keys_of(source: Option<&str>) -> &'static [&'static str] {
    match source {
        Some("sops") => &["key"],
        Some("vault") => &["path", "field", "token-file", "timeout"],
        Some("exec") => &["ttl", "timeout"],
        _ => &[],
    }
}

fn entry(out: &mut Reporter<'_>, places: Relative<'_>, alias: Span, node: &Node) -> Option<Entry> {
    let entries = out.known(node, "a source", &KEYS)?;
    let named = |name: &str| entries.iter().find(|(key, _)| key.text == name);
    let mut kinds = entries.iter().filter_map(|(key, node)| {
        let mut kinds = ["sops", "vault", "exec"].into_iter();
        let kind = kinds.find(|kind| key.text == *kind)?;
        Some((kind, (key, node)))
    });
    let kind = kinds.next();
    if let Some((second, (key, _))) = kinds.next() {
        let first = kind.map_or("", |(kind, _)| kind);
        let report = out.report(key.span, format!("`{first}` and `{second}` in one entry"));
        report.help("a secret has one source: remove one of them");
        return None;
    }
    let own = keys_of(kind.map(|(kind, _)| kind));
    let rotates = named("on-rotate").is_some();
    for (key, _) in entries {
        let name = key.text.as_str();
        let anywhere = ["sops", "vault", "exec", "rotate-every", "on-rotate"].contains(&name);
        if anywhere
            || own.contains(&name)
            || !KEYS.contains(&name)
            || (name == "timeout" && rotates)
        {
            continue;
        }
        let message = match kind {
            Some((kind, _)) => format!("`{name}` means nothing beside `{kind}`"),
            None => format!("`{name}` means nothing without a source"),
        };
        let report = out.report(key.span, message);
        report.help("remove it; a secret in the store has `rotate-every` and `on-rotate` alone");
    }
    let rotate_every = named("rotate-every").and_then(|(key, node)| {
        if matches!(kind, Some(("exec", _))) {
            let report = out.report(key.span, "`rotate-every` means nothing beside `exec`");
            report.help("a command does not say how old its value is: remove this line");
        }
        time(out, node)
    });
    let on_rotate =
        named("on-rotate").and_then(|(_, node)| command(out, places.home, node, "on-rotate"));
    let timeout =
        named("timeout").and_then(|(_, node)| time(out, node).map(|time| (time, node.span)));
    if let Some((_, span)) = timeout.filter(|(time, _)| *time > LONGEST_TIMEOUT) {
        let report = out.report(span, "this is longer than anybody waits");
        report.help("write `10m` at most");
    }
    if kind.is_none() && named("rotate-every").is_none() && !rotates {
        let report = out.report(alias, "this entry says nothing");
        report.help("name a source: `{exec: [program, argument]}`, `{sops: FILE, key: a.b}`, or `{vault: URL, path: P, field: F}`");
    }
    let source = match kind {
        Some((kind, (key, node))) => {
            let source = Reading {
                out,
                places,
                at: key.span,
                entries,
            };
            Some(source.source(kind, node)?)
        }
        None => None,
    };
    Some(Entry {
        source,
        rotate_every,
        on_rotate,
        timeout: timeout.map_or(TIMEOUT, |(time, _)| time),
    })
}

struct Reading<'r, 't, 'n> {
    out: &'r mut Reporter<'t>,
    places: Relative<'n>,
    at: Span,
    entries: &'n [(syntax::Key, Node)],
}

impl<'n> Reading<'_, '_, 'n> {
    fn source(mut self, kind: &str, node: &Node) -> Option<Source> {
        match kind {
            "sops" => {
                let file = self.places.path(self.out, node);
                let key = self.needed("key", "`key: a.b`, the keys that lead to the value");
                let key = key.and_then(|node| key_path(self.out, node));
                Some(Source::Sops {
                    file: file?,
                    key: key?,
                })
            }
            "vault" => {
                let url = self.parsed(node, "the address of a server", Address::parse);
                let path =
                    self.needed("path", "`path: secret/my/app`, the mount and what is in it");
                let path =
                    path.and_then(|node| self.parsed(node, "a path in Vault", VaultPath::parse));
                let field = self.needed("field", "`field: token`, the name of the value");
                let field =
                    field.and_then(|node| self.out.text(node, "a field").map(str::to_owned));
                let token = match self.entry("token-file") {
                    Some(node) => self.places.path(self.out, node),
                    None => match self.places.home {
                        Some(home) => Some(home.join(".vault-token")),
                        None => {
                            let report = self
                                .out
                                .report(self.at, "there is no home directory with a token");
                            report.help("name the file of the token: `token-file: /path`");
                            None
                        }
                    },
                };
                Some(Source::Vault {
                    url: url?,
                    path: path?,
                    field: field?,
                    token: token?,
                })
            }
            _ => {
                let ttl = self.entry("ttl").and_then(|node| time(self.out, node));
                Some(Source::Exec {
                    command: command(self.out, self.places.home, node, "exec")?,
                    ttl,
                })
            }
        }
    }

    fn entry(&self, name: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|(key, _)| key.text == name)
            .map(|(_, node)| node)
    }

    fn needed(&mut self, name: &str, fix: &str) -> Option<&'n Node> {
        let found = self.entry(name);
        if found.is_none() {
            let report = self.out.report(self.at, format!("`{name}` is missing"));
            report.help(format!("add {fix}"));
        }
        found
    }

    fn parsed<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: fn(&str) -> Result<T, syntax::Wrong>,
    ) -> Option<T> {
        let text = self.out.text(node, what)?;
        self.out.accept(node.span, text, parse(text))
    }
}

fn time(out: &mut Reporter<'_>, node: &Node) -> Option<Duration> {
    let text = out.scalar(node, "a time")?;
    out.accept(node.span, text, syntax::time(text))
        .map(Duration::from_millis)
}

/// A program and its arguments: no shell reads them.
fn command(
    out: &mut Reporter<'_>,
    home: Option<&Path>,
    node: &Node,
    key: &str,
) -> Option<Vec<String>> {
    let items = out.list(node, key);
    let words: Vec<_> = items
        .iter()
        .map_while(|item| out.scalar(item, "a word of a command"))
        .collect();
    if words.len() < items.len() {
        return None;
    }
    let Some(program) = words.first() else {
        if matches!(node.value, syntax::Value::List(_)) {
            let report = out.report(node.span, format!("`{key}` names no program"));
            report.help(format!("write `{key}: [program, argument]`"));
        }
        return None;
    };
    let at_home = (home.zip(program.strip_prefix("~/"))).map(|(home, below)| home.join(below));
    let first = match at_home {
        Some(path) => path.to_string_lossy().into_owned(),
        None if program.starts_with('/') || !program.is_empty() && !program.contains('/') => {
            (*program).to_owned()
        }
        None => {
            let report = out.report(items[0].span, "this is not a program");
            report.help(
                "write its name, to be found in PATH, or a path that is absolute or begins with `~/`",
            );
            return None;
        }
    };
    let further = words.iter().skip(1).map(|word| (*word).to_owned());
    Some(std::iter::once(first).chain(further).collect())
}

/// The keys that lead to a value: with dots between, or as a list where a key has a dot itself.
fn key_path(out: &mut Reporter<'_>, node: &Node) -> Option<Vec<String>> {
    let keys: Vec<String> = match &node.value {
        syntax::Value::List(items) => {
            let keys: Vec<_> = items
                .iter()
                .map_while(|item| out.scalar(item, "a key"))
                .collect();
            if keys.len() < items.len() {
                return None;
            }
            keys.into_iter().map(str::to_owned).collect()
        }
        _ => out
            .scalar(node, "a key")?
            .split('.')
            .map(str::to_owned)
            .collect(),
    };
    if keys.is_empty() || keys.iter().any(String::is_empty) {
        let report = out.report(node.span, "this leads to no value");
        report.help("write the keys that lead to it, as `a.b`, or as a list where a key has a dot: `[a, \"b.c\"]`");
        return None;
    }
    if keys[0] == "sops" {
        let report = out.report(
            node.span,
            "`sops` is how the file is encrypted, and not in it",
        );
        report.help("name the key of a value");
        return None;
    }
    Some(keys)
}
