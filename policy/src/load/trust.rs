//! Who may change a configured policy: a policy binds only where those that it binds cannot write it, in any
//! of its files, nor put another one in a file's place.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use aegis_profile::Error;
use aegis_profile::syntax::quote;

use super::{Source, of_file};

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;

/// What keeps a file from being part of a policy.
pub(super) struct Untrusted {
    path: PathBuf,
    pub message: String,
    pub help: String,
}

impl Untrusted {
    fn new(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            help: help.into(),
        }
    }

    fn unread(path: &Path, error: &io::Error) -> Self {
        let message = format!("the policy cannot be read: {error}");
        Self::new(path, message, "check the file and its permissions")
    }

    /// The path at fault, as it is shown.
    pub fn place(&self) -> String {
        quote(&self.path.to_string_lossy())
    }
}

impl From<Untrusted> for Error {
    fn from(what: Untrusted) -> Self {
        of_file(&what.path.to_string_lossy(), what.message, what.help)
    }
}

/// A directory of configuration, and whose its files have to be.
#[derive(Clone, Copy)]
pub(super) struct Trust<'a> {
    pub config: &'a Path,
    pub owners: &'a [u32],
}

impl Trust<'_> {
    /// Whether what is at `path` belongs to one of the owners and nobody else may write it. Links are
    /// followed.
    pub fn check(&self, path: &Path, source: &dyn Source) -> Result<(), Untrusted> {
        self.found(path, false, source)
    }

    /// The same of a file at or below the configuration, and of all that is passed on its path from there:
    /// directories, links, and where links lead.
    pub fn check_path(&self, file: &Path, source: &dyn Source) -> Result<(), Untrusted> {
        let config = self.config;
        let from = config.parent().unwrap_or(config);
        let mut to_come = parts(file.strip_prefix(from).unwrap_or(file));
        let mut here = from.to_path_buf();
        let mut links = 0;
        while let Some(part) = to_come.pop() {
            // `..` is left to the kernel: it leads out of a directory, whatever that was called.
            let next = here.join(&part);
            let link = source
                .link(&next)
                .map_err(|error| Untrusted::unread(&next, &error))?;
            match link {
                None => {
                    self.found(&next, !to_come.is_empty(), source)?;
                    here = next;
                }
                Some((_, uid)) if !self.owners.contains(&uid) => {
                    return Err(self.not_theirs(&next, uid));
                }
                Some(_) if links == MAX_LINKS => {
                    let help = "put the file itself there";
                    return Err(Untrusted::new(&next, "links that lead to links", help));
                }
                Some((target, _)) => {
                    links += 1;
                    to_come.extend(parts(&target));
                }
            }
        }
        Ok(())
    }

    /// `is_directory`: only what is named in it counts, and where its mode is sticky nobody else changes that.
    fn found(&self, path: &Path, is_directory: bool, source: &dyn Source) -> Result<(), Untrusted> {
        let found = source
            .look(path)
            .map_err(|error| Untrusted::unread(path, &error))?;
        if !self.owners.contains(&found.uid) {
            return Err(self.not_theirs(path, found.uid));
        }
        // A group of root's own is root; any other may have members.
        let by_group = found.mode & 0o020 != 0 && found.gid != 0 && self.owners == [0];
        let sticky = is_directory && found.mode & STICKY != 0;
        if (found.mode & 0o002 != 0 || by_group) && !sticky {
            let message = "others may write it, and so say what binds them";
            let help = format!("`chmod go-w {}`", quote(&path.to_string_lossy()));
            return Err(Untrusted::new(path, message, help));
        }
        Ok(())
    }

    fn not_theirs(&self, path: &Path, uid: u32) -> Untrusted {
        let quoted = quote(&path.to_string_lossy());
        let (owner, help) = match self.owners {
            [0] => ("root", format!("`chown root {quoted}`, or remove it")),
            _ => (
                "you or to root",
                format!("`chown` {quoted}, or name a policy with --policy"),
            ),
        };
        let message = format!("a policy has to belong to {owner}, and this belongs to user {uid}");
        Untrusted::new(path, message, help)
    }
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| part.as_os_str().to_owned();
    path.components().rev().map(part).collect()
}
