//! From the node tree to typed values. Strict: unknown keys and values are errors with their fix.
//!
//! All mistakes in a file are reported, not only the first: a wrong value is left out, and reading goes on.
//! Only the text is checked here; the runtime checks whether a path exists or a system call is known.

use std::sync::Arc;

use crate::error::{Error, FileKind, Reporter, Span};
use crate::form::Keyed;
use crate::format::Profile;
use crate::yaml::{self, Key, Node, Value};

/// Parses one file's text. Pure: what it `extends` is kept as written and not looked up.
///
/// `file_name` is used in origins and error messages, and its stem is the name of a profile without one.
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
    parse(text.as_bytes(), &Arc::from(file_name))
}

const PROFILE: FileKind = FileKind {
    sections: || {
        let top = [("", Profile::SECTION)];
        let sections = Profile::SECTION.sections().chain(top);
        let names = sections.map(|(name, section)| (name, section.names().collect()));
        names.collect()
    },
    ..FileKind::PROFILE
};

pub(crate) fn parse(bytes: &[u8], file: &Arc<str>) -> Result<Profile, Error> {
    yaml::document(PROFILE, file, bytes, |root, out| Some(read(root, out)))
}

fn read(root: &Node, out: &mut Reporter<'_>) -> Profile {
    if let Value::Map(entries) = &root.value
        && entries.first().is_none_or(|(key, _)| key.text != "aegis")
    {
        out.report(root.span, "a profile begins with its version")
            .help("make `aegis: 1` the first line");
    }
    let mut profile = Profile::read(out, root);
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

/// Parses `KEY=VALUE` of `--set`: a dotted key as in `limits.memory`, a value as in the file.
pub(crate) fn overlay(text: &str) -> Result<Profile, Error> {
    let mut out = Reporter::new(PROFILE, Arc::from("--set"), text);
    let profile = parse_overlay(text, &mut out);
    out.finish(profile)
}

fn parse_overlay(text: &str, out: &mut Reporter<'_>) -> Option<Profile> {
    let whole = Span::new(1, 1, u32::try_from(text.chars().count()).unwrap_or(1));
    let Some((path, value)) = text.split_once('=') else {
        out.report(whole, "`--set` needs KEY=VALUE")
            .help("such as `--set limits.memory=1G`");
        return None;
    };
    let key_span = Span::new(1, 1, u32::try_from(path.chars().count()).unwrap_or(1));
    let keys = key_path(path);
    if matches!(keys[0], "aegis" | "extends") {
        out.report(
            key_span,
            format!("`{}` cannot be set from the command line", keys[0]),
        )
        .help("write a profile file that says so");
        return None;
    }
    // Blanks in place of the key keep the columns of the value. Not where indentation counts.
    let blanks = if value.contains('\n') {
        0
    } else {
        path.chars().count() + 1
    };
    let mut node = yaml::parse(&format!("{:blanks$}{value}", ""), out)?;
    for key in keys.iter().rev() {
        let key = Key {
            text: (*key).to_owned(),
            span: key_span,
        };
        node = Node {
            span: node.span,
            value: Value::Map(vec![(key, node)]),
        };
    }
    let mut profile = Profile::read(out, &node);
    profile.sources.insert(out.file.clone());
    Some(profile)
}

/// Splits `capabilities.files.read` and `environment.set.TZ` into the levels of the file: a key such as
/// `files.read` keeps its dots.
fn key_path(path: &str) -> Vec<&str> {
    let Some((section, rest)) = path.split_once('.') else {
        return vec![path];
    };
    let Some((_, known)) = Profile::SECTION
        .sections()
        .find(|(name, _)| *name == section)
    else {
        return vec![path];
    };
    let below = |name: &str| rest.strip_prefix(name)?.strip_prefix('.');
    let mut keys = vec![section];
    match known
        .keys
        .iter()
        .find_map(|key| Some((key, below(key.name)?)))
    {
        None => keys.push(rest),
        Some((key, below)) => {
            keys.push(key.name);
            // The keys of a secret stand below its alias.
            let levels = if (key.section)().is_some() { 2 } else { 1 };
            keys.extend(below.splitn(levels, '.'));
        }
    }
    keys
}
