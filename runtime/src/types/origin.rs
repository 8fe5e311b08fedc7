//! Where a grant comes from.

use std::fmt;
use std::path::PathBuf;

use aegis_profile::Origin;
use serde::{Serialize, Serializer};

/// Where a grant comes from. Printed and serialised as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOrigin {
    /// A line of a profile.
    Declared(Origin),
    /// The command itself needs it.
    Command,
    /// The first line (`#!`) of this file names it.
    FirstLine(PathBuf),
    /// The host's network needs it.
    HostNetwork,
    /// A front end asked for it in the plan without naming a grant.
    Plan,
}

impl fmt::Display for GrantOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(origin) => origin.fmt(f),
            Self::Command => f.write_str("the command"),
            Self::FirstLine(file) => write!(f, "the first line of {}", file.display()),
            Self::HostNetwork => f.write_str("net.outbound: host"),
            Self::Plan => f.write_str("the plan"),
        }
    }
}

impl Serialize for GrantOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<&Origin> for GrantOrigin {
    fn from(origin: &Origin) -> Self {
        Self::Declared(origin.clone())
    }
}
