//! Who may change a configured policy: a policy binds only users who can neither write any of its files nor
//! replace one.

use std::io;
use std::path::{Path, PathBuf};

use aegis_profile::Diagnostic;
use aegis_profile::syntax::quote;
use aegis_sys::walk;

use super::Source;

const STICKY: u32 = 0o1000;

/// Why a file may not be part of a policy.
fn untrusted(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Box<Diagnostic> {
    Box::new(Diagnostic::of_file(&path.to_string_lossy(), message).with_help(help))
}

fn unread(path: &Path, error: &io::Error) -> Box<Diagnostic> {
    let message = format!("the policy cannot be read: {error}");
    untrusted(path, message, "check the file and its permissions")
}

/// A configuration directory, and who may own its files.
#[derive(Clone, Copy)]
pub(super) struct Ownership<'a> {
    pub config: &'a Path,
    pub owners: &'a [u32],
}

impl Ownership<'_> {
    /// Checks that one of the owners owns what is at `path`, and nobody else may write it. Follows links.
    pub fn check(&self, path: &Path, source: &dyn Source) -> Result<(), Box<Diagnostic>> {
        self.found(path, false, source)
    }

    /// Checks the same for a file at or below the configuration, and for everything on its path from there:
    /// directories, links, and where links lead.
    pub fn check_path(&self, file: &Path, source: &dyn Source) -> Result<(), Box<Diagnostic>> {
        let config = self.config;
        let from = config.parent().unwrap_or(config);
        let below = file.strip_prefix(from).unwrap_or(file);
        let mut checked = OwnershipVisitor {
            ownership: self,
            source,
        };
        walk::walk(from, below, &mut checked).map(drop)
    }

    /// `is_directory`: only its entries matter, and in a sticky directory nobody else can replace them.
    fn found(
        &self,
        path: &Path,
        is_directory: bool,
        source: &dyn Source,
    ) -> Result<(), Box<Diagnostic>> {
        let found = source.look(path).map_err(|error| unread(path, &error))?;
        if !self.owners.contains(&found.uid) {
            return Err(self.not_theirs(path, found.uid));
        }
        // Only root is in root's own group; any other group may have members.
        let by_group = found.mode & 0o020 != 0 && found.gid != 0 && self.owners == [0];
        let sticky = is_directory && found.mode & STICKY != 0;
        if (found.mode & 0o002 != 0 || by_group) && !sticky {
            let message = "others may write it, and so change the policy that binds them";
            let help = format!("`chmod go-w {}`", quote(&path.to_string_lossy()));
            return Err(untrusted(path, message, help));
        }
        Ok(())
    }

    fn not_theirs(&self, path: &Path, uid: u32) -> Box<Diagnostic> {
        let quoted = quote(&path.to_string_lossy());
        let (owner, help) = match self.owners {
            [0] => ("root", format!("`chown root {quoted}`, or remove it")),
            _ => (
                "you or to root",
                format!("`chown` {quoted}, or name a policy with --policy"),
            ),
        };
        let message = format!("a policy has to belong to {owner}, and this belongs to user {uid}");
        untrusted(path, message, help)
    }
}

/// Checks everything that a walk passes.
struct OwnershipVisitor<'a> {
    ownership: &'a Ownership<'a>,
    source: &'a dyn Source,
}

impl walk::Visit for OwnershipVisitor<'_> {
    type Error = Box<Diagnostic>;

    fn visit(&mut self, step: walk::Step<'_>) -> Result<Option<PathBuf>, Box<Diagnostic>> {
        let link = self.source.link(step.path);
        match link.map_err(|error| unread(step.path, &error))? {
            None => {
                self.ownership.found(step.path, !step.last, self.source)?;
                Ok(None)
            }
            Some((_, uid)) if !self.ownership.owners.contains(&uid) => {
                Err(self.ownership.not_theirs(step.path, uid))
            }
            Some((target, _)) => Ok(Some(target)),
        }
    }

    fn too_many_links(&mut self, link: &Path) -> Result<(), Box<Diagnostic>> {
        let help = "put the file itself there";
        Err(untrusted(link, "links that lead to links", help))
    }
}
