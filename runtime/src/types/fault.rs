//! Why a path cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why a path could not be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing is there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// A component on the path is not a directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Not a regular file, or one without execute permission.
    #[error("{} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    /// The caller may not search a directory on the path.
    #[error("{} may not be searched by this user", .0.display())]
    Denied(PathBuf),
    /// A link that the sandbox could have planted leads out of its tree.
    #[error("the symbolic link {} leads out of {}, to {}", .at.display(), .zone.display(), .to.display())]
    LinkLeaves {
        /// The link.
        at: PathBuf,
        /// The tree that it lies in.
        zone: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// A link made by another user in a directory that everybody may write.
    #[error("the symbolic link {} belongs to another user (uid {owner})", .at.display())]
    ForeignLink {
        /// The link.
        at: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Too many links, most likely a loop.
    #[error("too many symbolic links in {}", .0.display())]
    Loop(PathBuf),
    /// Anything else, by its `errno`.
    #[error("{}: {}", .path.display(), io::Error::from_raw_os_error(*.errno))]
    Other {
        /// Where.
        path: PathBuf,
        /// `errno`.
        errno: i32,
    },
}

impl Fault {
    /// The fault of `path` when a system call on it failed with `error`.
    pub(crate) fn at(path: &Path, error: &io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing(path),
            Some(libc::ENOTDIR) => Self::NotADirectory(path),
            Some(libc::EACCES) => Self::Denied(path),
            errno => Self::Other {
                path,
                errno: errno.unwrap_or(libc::EIO),
            },
        }
    }
}
