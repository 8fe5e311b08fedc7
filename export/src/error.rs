//! Why a profile cannot be exported.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path, an argument or a value holds something that the format cannot carry.
    #[error(
        "{what} {text:?} cannot be written for {format}, which takes {takes}\n  help: name it without, or use another format"
    )]
    Text {
        /// What it is.
        what: &'static str,
        /// It.
        text: OsString,
        /// The format.
        format: &'static str,
        /// What the format can carry.
        takes: &'static str,
    },
    /// What is to be hidden has gone.
    #[error("{} is to be hidden (files.deny), and cannot be looked at: {cause}\n  help: somebody is changing the files under a grant: export again when it is quiet", .path.display())]
    Hidden {
        /// The path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The filter cannot be made.
    #[error("no filter can be made: {0}")]
    Filter(String),
}
