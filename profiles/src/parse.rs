//! From the node tree to typed values. Strict: unknown keys and values are errors with their fix.
//!
//! Everything that is wrong in a file is reported, not only the first mistake; a value that is wrong
//! is left out and the rest goes on. Only the text is looked at here: whether a path exists or a
//! system call is known is for the runtime to say.

pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod paths;
pub(crate) mod tree;

pub use net::host;
pub(crate) use tree::overlay;

use std::sync::Arc;

use crate::error::{Diagnostic, Error, Reporter};
use crate::format::{Keyed, Profile};
use crate::yaml::{self, Node, Value};
use tree::Tree;

/// Parses one file's text, pure: what it `extends` is kept as written and not looked up.
///
/// `file_name` is used in origins and error messages, and its stem is the name of a profile that
/// gives none.
///
/// ```
/// let profile = aegis_profile::parse_str("aegis: 1\nlimits: {time: 5m}\n", "skill.yaml").unwrap();
/// assert_eq!(profile.name, "skill");
/// assert_eq!(profile.limits.value(aegis_profile::LimitKey::Time), Some(300_000));
///
/// let error = aegis_profile::parse_str("aegis: 1\nlimits: {time: 300}\n", "skill.yaml").unwrap_err();
/// assert_eq!(error.diagnostics()[0].help.as_deref(), Some("write `300s` for seconds"));
/// ```
pub fn parse_str(text: &str, file_name: &str) -> Result<Profile, Error> {
    parse_text(text, &Arc::from(file_name))
}

pub(crate) fn parse_text(text: &str, file: &Arc<str>) -> Result<Profile, Error> {
    let mut out = Reporter::new(file.clone(), text);
    let profile = yaml::parse(text, &mut out).map(|root| read(&root, &mut out));
    out.finish(profile)
}

/// As [`parse_text`], from bytes as they were read.
pub(crate) fn parse_bytes(bytes: &[u8], file: &Arc<str>) -> Result<Profile, Error> {
    let mut out = Reporter::new(file.clone(), "");
    match yaml::decode(bytes, &mut out) {
        Some(text) => parse_text(text, file),
        None => out.finish(None),
    }
}

fn read(root: &Node, out: &mut Reporter<'_>) -> Profile {
    if let Value::Map(entries) = &root.value
        && entries.first().is_none_or(|(key, _)| key.text != "aegis")
    {
        out.report(root.span, "a profile begins with its version")
            .help("make `aegis: 1` the first line");
    }
    let mut profile = Profile::read(&mut Tree { out }, root);
    if profile.name.is_empty() {
        profile.name = stem(&out.file);
    }
    profile.sources.insert(out.file.clone());
    profile
}

/// The name of a profile without the key `name`: the stem of its file.
fn stem(file: &str) -> String {
    let name = file.strip_prefix("builtin:").unwrap_or(file);
    let name = name.rsplit('/').next().unwrap_or(name);
    let stem = (name.strip_suffix(".yaml"))
        .or_else(|| name.strip_suffix(".yml"))
        .unwrap_or(name);
    match stem {
        "" | "-" => "stdin".to_owned(),
        stem => crate::error::escape(stem),
    }
}

/// The error of a file that is no profile at all.
pub(crate) fn file_error(file: &str, message: impl Into<String>, help: impl Into<String>) -> Error {
    Diagnostic::of_file(file, message).with_help(help).into()
}
