//! The authority of a profile, written for other enforcers: a seccomp profile for container engines, an AppArmor profile, a
//! service of systemd, a script that starts bubblewrap.
//!
//! ```text
//! Profile, Plan, Host --export--> Export { text, losses }
//! ```
//!
//! None of these formats can say all that a profile says. What one of them cannot is in [`Export::losses`], never silently left out: [`Key`]
//! names everything that there is to hold, and each format answers for each of it. Text that a format cannot carry is refused, not
//! changed: a name must never become another directive, or code of a shell.
//!
//! What is written is the plan of this host and this moment: paths free of links, programs as they were found. A profile that cannot be
//! compiled here is not exported.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod apparmor;
mod bwrap;
mod cubes;
mod error;
mod host;
mod keys;
mod model;
mod oci;
mod quote;
mod systemd;
mod view;

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

pub use error::Error;
pub use host::Host;
pub use keys::Key;
pub use model::{Compiled, Effect, Loss};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JSON for container engines: `linux.seccomp` of the OCI runtime specification, `--security-opt seccomp=` of docker and podman.
    OciSeccomp,
    /// A profile of AppArmor 3 or later.
    Apparmor,
    /// Directives of a service of systemd.
    Systemd,
    /// A script for `sh` that starts bubblewrap.
    Bwrap,
}

impl Format {
    /// All.
    pub const ALL: [Self; 4] = [Self::OciSeccomp, Self::Apparmor, Self::Systemd, Self::Bwrap];
}

/// A profile in another format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Which.
    pub format: Format,
    /// The file. Those whose format has comments list the losses too.
    #[serde(serialize_with = "aegis_runtime::types::bytes::one")]
    pub text: OsString,
    /// What it cannot express.
    pub losses: Vec<Loss>,
}

/// Writes a compiled profile in another format. `program`: where [`program`] was stored, for [`Format::Bwrap`].
///
/// # Errors
/// Something cannot be written in that format.
pub fn export(
    format: Format,
    compiled: &Compiled<'_>,
    program: Option<&Path>,
) -> Result<Export, Error> {
    let (text, losses) = match format {
        Format::OciSeccomp => oci::export(compiled),
        Format::Apparmor => apparmor::export(compiled),
        Format::Systemd => systemd::export(compiled),
        Format::Bwrap => bwrap::export(compiled, program),
    }?;
    Ok(Export {
        format,
        text,
        losses,
    })
}

/// The filter as the kernel takes it, an array of `struct sock_filter`: for `bwrap --seccomp`.
///
/// # Errors
/// There is no such filter.
pub fn program(compiled: &Compiled<'_>) -> Result<Vec<u8>, Error> {
    let program = compiled
        .filter()?
        .compile()
        .map_err(|error| Error::Filter(error.to_string()))?;
    let bytes = program.iter().flat_map(|step| {
        let code = step.code.to_ne_bytes();
        let k = step.k.to_ne_bytes();
        [code[0], code[1], step.jt, step.jf, k[0], k[1], k[2], k[3]]
    });
    Ok(bytes.collect())
}
