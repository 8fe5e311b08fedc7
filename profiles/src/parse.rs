//! From the node tree to typed values. Strict: what is not understood is an error with its fix.
//!
//! Everything that is wrong in a file is reported, not only the first mistake; a value that is wrong
//! is left out and the rest goes on. Only the text is looked at here: whether a path exists or a
//! system call is known is for the runtime to say.

mod net;
mod paths;
mod sections;
mod tree;

pub use net::host;
pub(crate) use tree::{Overlay, overlay};

use std::sync::Arc;

use crate::error::{Diagnostic, Error, Reporter};
use crate::model::Profile;
use crate::yaml;

/// One file, parsed and not yet merged with what it extends.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) profile: Profile,
    /// `net.outbound: none` was written, which closes what an extended profile opened. An absent key
    /// looks the same in [`Profile`] and closes nothing.
    pub(crate) closes_outbound: bool,
}

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
    parse_layer(text, &Arc::from(file_name)).map(|layer| layer.profile)
}

pub(crate) fn parse_layer(text: &str, file: &Arc<str>) -> Result<Layer, Error> {
    let mut out = Reporter::new(file.clone(), text);
    let layer = match yaml::parse(text, &mut out) {
        Some(root) => {
            let mut parser = tree::Tree::new(&mut out);
            sections::file(&mut parser, &root)
        }
        None => None,
    };
    out.finish(layer)
}

/// As [`parse_layer`], from bytes as they were read.
pub(crate) fn parse_bytes(bytes: &[u8], file: &Arc<str>) -> Result<Layer, Error> {
    let mut out = Reporter::new(file.clone(), "");
    match yaml::decode(bytes, &mut out) {
        Some(text) => parse_layer(text, file),
        None => out.finish(None),
    }
}

/// The error of a file that is no profile at all.
pub(crate) fn file_error(file: &str, message: impl Into<String>, help: impl Into<String>) -> Error {
    Diagnostic::of_file(file, message).with_help(help).into()
}
