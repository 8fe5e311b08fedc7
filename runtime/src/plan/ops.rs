//! The new root as an ordered list of operations. Any front end can make one; only [`Operations::new`]
//! validates it (`valid`), and `apply/root.rs` carries it out.
//!
//! The root's own tmpfs comes first. Directories, links, files and mount points are made in it, or in a later
//! [`Op::Tmpfs`]; mounts go onto what was made, or onto what a bind above them shows of the host.

mod valid;

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::facts::paths::HostPath;
use crate::types::bytes;
use crate::types::paths::is_below;

use valid::KnownNodes;
pub use valid::{Invalid, Reason};

/// The empty file and the empty directory that [`Op::Mask`] shows.
pub const MASKED_FILE: &str = "/run/masked-file";
/// See [`MASKED_FILE`].
pub const MASKED_DIRECTORY: &str = "/run/masked-directory";

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// What is done.
    #[serde(flatten)]
    pub op: Op,
    /// Where in the new root, absolute and normal.
    #[serde(serialize_with = "bytes::one")]
    pub at: PathBuf,
}

/// What an [`Operation`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum Op {
    /// Mounts a new tmpfs, writable.
    Tmpfs {
        /// Bytes that it may hold.
        size: u64,
        /// Permission bits of its top directory.
        mode: u32,
    },
    /// Makes a directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Its text.
        #[serde(serialize_with = "bytes::one")]
        target: PathBuf,
    },
    /// Makes a file.
    File {
        /// Its content.
        text: String,
        /// Permission bits.
        mode: u32,
    },
    /// Makes an empty file, to mount on.
    MountPoint,
    /// Mounts a file or a tree of the host.
    Bind {
        /// What.
        source: HostPath,
        /// May be written.
        write: bool,
        /// Files in it may be executed and mapped executable.
        exec: bool,
        /// What is written goes to a layer of the sandbox's own over it, and is gone afterwards (overlayfs).
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        overlay: bool,
    },
    /// Makes a directory of the root's own tmpfs writable: `/tmp`, `/dev/shm`, the home directory.
    Private {
        /// Files in it may be executed and mapped executable.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        exec: bool,
    },
    /// Makes a directory of the root's own tmpfs read-only again, in one that is [private](Op::Private): it is only the way to what
    /// is mounted below it, and what was written there would be lost.
    Way,
    /// Mounts a device node of the host, or a directory of such.
    Device {
        /// The node.
        #[serde(serialize_with = "bytes::one")]
        path: PathBuf,
        /// What a policy is asked for, where that is not the path: `gpu`.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Mounts a directory of the sandbox's own with what the host's has there: certificates, and links to them. The supervisor is handed
    /// files in it to write, before the command starts: [`trust`](crate::types::trust).
    Trust {
        /// The host's, where that is granted itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<HostPath>,
        /// Whether there is a file for Java.
        java: bool,
    },
    /// Mounts `proc(5)` of the sandbox's pid namespace, read-only.
    Proc,
    /// Mounts a `devpts` of the sandbox's own.
    Pseudoterminals,
    /// Covers a file or directory, if it is there, with [`MASKED_FILE`] or [`MASKED_DIRECTORY`].
    Mask,
    /// Covers a file or directory in the same way, which must be there, and be what was found.
    Hide {
        /// Device number.
        dev: u64,
        /// Inode number.
        ino: u64,
        /// Whether nothing else shows what is in it, for certain: then a policy is not asked about it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        only: bool,
    },
    /// Takes rights from the mount at a path, but not from those below it.
    Remount {
        /// Nothing may be written any more.
        read_only: bool,
        /// Nothing may be executed any more.
        noexec: bool,
    },
}

impl Op {
    /// This operation at a path.
    pub fn at(self, path: impl Into<PathBuf>) -> Operation {
        let at = path.into();
        Operation { op: self, at }
    }

    /// Whether what it makes or mounts is of the sandbox's own file system.
    pub fn is_own(&self) -> bool {
        match self {
            Self::Tmpfs { .. }
            | Self::Directory { .. }
            | Self::Symlink { .. }
            | Self::File { .. }
            | Self::MountPoint
            | Self::Private { .. }
            | Self::Way => true,
            Self::Bind { .. }
            | Self::Trust { .. }
            | Self::Device { .. }
            | Self::Proc
            | Self::Pseudoterminals
            | Self::Hide { .. }
            | Self::Mask
            | Self::Remount { .. } => false,
        }
    }

    /// Whether it covers something.
    pub fn is_mask(&self) -> bool {
        matches!(self, Self::Mask | Self::Hide { .. })
    }

    /// Whether it mounts something.
    pub fn is_mount(&self) -> bool {
        !matches!(
            self,
            Self::Directory { .. }
                | Self::Symlink { .. }
                | Self::File { .. }
                | Self::MountPoint
                | Self::Remount { .. }
        )
    }
}

/// Operations that make a valid root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    list: Vec<Operation>,
    /// For each operation: whether nothing of the host is on the path to it.
    own: Vec<bool>,
}

impl Serialize for Operations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl Operations {
    /// Validates operations.
    ///
    /// # Errors
    /// Which operation is invalid, and why.
    pub fn new(list: Vec<Operation>) -> Result<Self, Invalid> {
        let mut own = Vec::with_capacity(list.len());
        let mut known = KnownNodes::default();
        for (index, operation) in list.iter().enumerate() {
            own.push(known.add(operation).map_err(|reason| Invalid {
                number: index + 1,
                at: operation.at.clone(),
                reason,
            })?);
        }
        if list.is_empty() {
            return Err(Invalid {
                number: 1,
                at: "/".into(),
                reason: Reason::NoRoot,
            });
        }
        Ok(Self { list, own })
    }

    /// All, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Operation> {
        self.list.iter()
    }

    /// All, each with whether nothing of the host is on the path to it. If so, its name below the root is
    /// enough to find it, since nobody else can have changed that path.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (&Operation, bool)> {
        self.list.iter().zip(self.own.iter().copied())
    }

    /// Those that mount something.
    pub fn mounts(&self) -> impl Iterator<Item = &Operation> {
        self.list.iter().filter(|operation| operation.op.is_mount())
    }

    /// The mount that shows at a path: the nearest one above it, ignoring masks.
    pub fn mount_of(&self, path: &Path) -> Option<&Operation> {
        self.mounts()
            .filter(|mount| !mount.op.is_mask())
            .filter(|mount| is_below(path, &mount.at))
            .max_by_key(|mount| mount.at.as_os_str().len())
    }

    /// The host path that shows at a path below a bind.
    pub(crate) fn host_path(&self, path: &Path) -> Option<PathBuf> {
        let shown = self.mount_of(path.parent()?)?;
        match &shown.op {
            // What is shown by an overlay is not the host's own file.
            Op::Bind { overlay: true, .. } => None,
            Op::Bind { source, .. } => Some(source.path.join(path.strip_prefix(&shown.at).ok()?)),
            _ => None,
        }
    }

    /// Whether something is made or mounted at just this path.
    pub fn contains(&self, path: &Path) -> bool {
        self.list.iter().any(|operation| operation.at == path)
    }

    /// Bytes that the root's own tmpfs may hold.
    pub fn size(&self) -> u64 {
        match self.list.first().map(|first| &first.op) {
            Some(Op::Tmpfs { size, .. }) => *size,
            _ => 0,
        }
    }
}
