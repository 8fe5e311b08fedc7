//! Which lists of operations make a root: each is made once, in a place that is there, on what it can stand on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{MASKED_DIRECTORY, MASKED_FILE, Op, Operation};
use crate::facts::paths::Kind;
use crate::types::paths::parents;

/// Why operations do not make a valid root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation {number} of the root, on {}: {reason}", .at.display())]
pub struct Invalid {
    /// Which operation, from 1.
    pub number: usize,
    /// Its path.
    pub at: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why an operation is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// `..`, `.`, `//`, a slash at the end, or relative.
    #[error("the path is not absolute and normal")]
    NotNormal,
    /// In a path, a link's text or a host path.
    #[error("a NUL byte is in it")]
    Nul,
    /// There is no tmpfs to make anything in.
    #[error("the first operation must be the tmpfs of the root, and no other may mount one there")]
    NoRoot,
    /// Parents come first.
    #[error("its parent directory was not made before it")]
    NoParent,
    /// A symbolic link, a file or a mount point.
    #[error("its parent is not a directory")]
    ParentIsNoDirectory,
    /// Nothing can be made in what belongs to the host.
    #[error("it lies in a mount, and nothing can be made there")]
    InMount,
    /// Made or mounted before.
    #[error("it was made or mounted before")]
    Twice,
    /// No directory or mount point was made there, and no mount above may show one.
    #[error("there is nothing to mount on")]
    NoMountPoint,
    /// A directory on a file, or the reverse.
    #[error("a directory must be mounted on a directory, anything else on a mount point")]
    OtherKind,
    /// The private directory is not in a tmpfs of the sandbox.
    #[error("only a directory that was made can be private")]
    NotMade,
    /// Anything else of the host must be a bind, which a policy is asked for like a file.
    #[error("a device is a path in /dev")]
    NotADevice,
    /// An overlay is a directory's, and what is written to it does not reach the host.
    #[error("only a directory can have a layer over it, and then is not written itself")]
    Overlay,
    /// Only a mount can be remounted.
    #[error("nothing is mounted there")]
    NotMounted,
    /// [`MASKED_FILE`] and [`MASKED_DIRECTORY`] were not made.
    #[error("a mask needs {MASKED_FILE} and {MASKED_DIRECTORY} to be made before")]
    NoMasks,
    /// Only the type and permission bits without set-user-id and set-group-id.
    #[error("the mode has bits that are not permissions")]
    Mode,
}

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeKind {
    /// Made: a directory of a tmpfs of the sandbox's own, or the top of one.
    Directory,
    /// Made: a file or a symbolic link, which nothing is mounted on.
    Leaf,
    /// Made: an empty file.
    MountPoint,
    /// Mounted, and its own: masks, terminals.
    Closed,
    /// Mounted, showing directories that were not made here.
    Foreign,
}

/// What was made so far, and whether each is a mount.
#[derive(Default)]
pub(super) struct KnownNodes<'a>(BTreeMap<&'a [u8], (NodeKind, bool)>);

fn key(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Absolute, without `.`, `..`, empty components and a slash at its end.
fn is_normal(path: &[u8]) -> bool {
    path == b"/"
        || path.strip_prefix(b"/").is_some_and(|rest| {
            (rest.split(|byte| *byte == b'/')).all(|part| !matches!(part, b"" | b"." | b".."))
        })
}

impl<'a> KnownNodes<'a> {
    fn get(&self, path: &Path) -> Option<(NodeKind, bool)> {
        self.0.get(key(path)).copied()
    }

    /// Notes an operation. Returns whether nothing of the host is on the path to it.
    pub fn add(&mut self, operation: &'a Operation) -> Result<bool, Reason> {
        let Operation { op, at } = operation;
        if !is_normal(key(at)) {
            return Err(Reason::NotNormal);
        }
        let other = match op {
            Op::Symlink { target, .. } => target.as_os_str(),
            Op::Bind { source, .. }
            | Op::Trust {
                host: Some(source), ..
            } => source.path.as_os_str(),
            Op::Device { path, .. } => path.as_os_str(),
            _ => OsStr::new(""),
        };
        if key(at).contains(&0) || other.as_bytes().contains(&0) {
            return Err(Reason::Nul);
        }
        if let Op::Bind { source, .. }
        | Op::Trust {
            host: Some(source), ..
        } = op
            && !is_normal(key(&source.path))
        {
            return Err(Reason::NotNormal);
        }
        if let Op::Device { path, .. } = op
            && !(is_normal(key(path)) && path.starts_with("/dev") && path != Path::new("/dev"))
        {
            return Err(Reason::NotADevice);
        }
        if let Op::Tmpfs { mode, .. } | Op::Directory { mode, .. } | Op::File { mode, .. } = op
            && mode & !0o1777 != 0
        {
            return Err(Reason::Mode);
        }
        let first = matches!(op, Op::Tmpfs { .. }) && at == Path::new("/");
        if first != self.0.is_empty() {
            return Err(Reason::NoRoot);
        }
        if first {
            self.0.insert(key(at), (NodeKind::Directory, true));
            return Ok(true);
        }
        match op {
            Op::Directory { .. } => self.make(at, NodeKind::Directory),
            Op::Symlink { .. } | Op::File { .. } => self.make(at, NodeKind::Leaf),
            Op::MountPoint => self.make(at, NodeKind::MountPoint),
            Op::Tmpfs { .. } => self.mount(at, Some(true), NodeKind::Directory),
            Op::Private { .. } | Op::Way if self.get(at) != Some((NodeKind::Directory, false)) => {
                Err(Reason::NotMade)
            }
            Op::Private { .. } | Op::Way => self.mount(at, Some(true), NodeKind::Directory),
            Op::Bind {
                source,
                write,
                overlay: true,
                ..
            } if *write || source.kind != Kind::Directory => Err(Reason::Overlay),
            Op::Bind { source, .. } => {
                let directory = source.kind == Kind::Directory;
                self.mount(at, Some(directory), NodeKind::Foreign)
            }
            Op::Device { .. } => self.mount(at, None, NodeKind::Foreign),
            Op::Proc | Op::Trust { .. } => self.mount(at, Some(true), NodeKind::Foreign),
            Op::Pseudoterminals => self.mount(at, Some(true), NodeKind::Closed),
            Op::Mask | Op::Hide { .. } => {
                let masks = [MASKED_FILE, MASKED_DIRECTORY].map(|mask| self.get(Path::new(mask)));
                let made =
                    [NodeKind::MountPoint, NodeKind::Directory].map(|node| Some((node, false)));
                if masks != made {
                    return Err(Reason::NoMasks);
                }
                self.mount(at, None, NodeKind::Closed)
            }
            Op::Remount { .. } => match self.get(at) {
                Some((_, true)) => Ok(self.is_own(at)),
                _ => Err(Reason::NotMounted),
            },
        }
    }

    /// Whether no directory above shows the host.
    fn is_own(&self, at: &Path) -> bool {
        parents(at).all(|dir| {
            !matches!(
                self.get(dir),
                Some((NodeKind::Foreign | NodeKind::Closed, _))
            )
        })
    }

    fn make(&mut self, at: &'a Path, node: NodeKind) -> Result<bool, Reason> {
        if self.get(at).is_some() {
            return Err(Reason::Twice);
        }
        if !self.is_own(at) {
            return Err(Reason::InMount);
        }
        match parents(at).next().and_then(|dir| self.get(dir)) {
            Some((NodeKind::Directory, _)) => {}
            None => return Err(Reason::NoParent),
            Some(_) => return Err(Reason::ParentIsNoDirectory),
        }
        self.0.insert(key(at), (node, false));
        Ok(true)
    }

    /// `directory`: whether what is mounted is a directory, if that is known.
    fn mount(
        &mut self,
        at: &'a Path,
        directory: Option<bool>,
        node: NodeKind,
    ) -> Result<bool, Reason> {
        let own = self.is_own(at);
        match self.get(at) {
            Some((_, true)) => return Err(Reason::Twice),
            // What the host has below one of its mounts is not known here.
            _ if !own => {}
            Some((NodeKind::Directory, _)) if directory != Some(false) => {}
            Some((NodeKind::MountPoint, _)) if directory != Some(true) => {}
            Some((NodeKind::Directory | NodeKind::MountPoint, _)) => return Err(Reason::OtherKind),
            _ => return Err(Reason::NoMountPoint),
        }
        self.0.insert(key(at), (node, true));
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::paths::HostPath;
    use crate::plan::Operations;

    fn tmpfs(at: &str) -> Operation {
        Op::Tmpfs {
            size: 1 << 20,
            mode: 0o755,
        }
        .at(at)
    }

    fn directory(at: &str) -> Operation {
        Op::Directory { mode: 0o755 }.at(at)
    }

    fn device(path: &str) -> Operation {
        let path = path.into();
        Op::Device { path, name: None }.at("/a")
    }

    fn symlink(at: &str) -> Operation {
        Op::Symlink {
            target: "/elsewhere".into(),
        }
        .at(at)
    }

    fn mount_point(at: &str) -> Operation {
        Op::MountPoint.at(at)
    }

    fn bind(at: &str, kind: Kind) -> Operation {
        Op::Bind {
            source: HostPath {
                path: "/srv".into(),
                dev: 1,
                ino: 2,
                kind,
                idmap: None,
            },
            write: false,
            exec: false,
            overlay: false,
        }
        .at(at)
    }

    fn private(at: &str) -> Operation {
        Op::Private { exec: false }.at(at)
    }

    fn mask(at: &str) -> Operation {
        Op::Mask.at(at)
    }

    fn remount(at: &str) -> Operation {
        Op::Remount {
            read_only: true,
            noexec: false,
        }
        .at(at)
    }

    /// With the root's tmpfs before them.
    fn of(rest: impl IntoIterator<Item = Operation>) -> Result<Operations, Reason> {
        let list = [tmpfs("/")].into_iter().chain(rest).collect();
        Operations::new(list).map_err(|invalid| invalid.reason)
    }

    #[test]
    fn a_root_of_every_kind_of_operation_is_valid() {
        let root = of([
            directory("/run"),
            directory(MASKED_DIRECTORY),
            mount_point(MASKED_FILE),
            directory("/proc"),
            Op::Proc.at("/proc"),
            mask("/proc/kcore"),
            directory("/a"),
            mount_point("/a/file"),
            bind("/a/file", Kind::File),
            directory("/a/tree"),
            bind("/a/tree", Kind::Directory),
            bind("/a/tree/below", Kind::File),
            directory("/tmp"),
            private("/tmp"),
            directory("/tmp/made"),
            directory("/big"),
            tmpfs("/big"),
            directory("/big/sub"),
            bind("/big/sub", Kind::Directory),
            symlink("/link"),
            remount("/big"),
            remount("/"),
        ])
        .expect("it is valid");
        let foreign = |at: &str| {
            let placed = root.placed().find(|(made, _)| made.at == Path::new(at));
            placed.is_some_and(|(_, own)| !own)
        };
        assert!(foreign("/a/tree/below") && foreign("/proc/kcore"));
        assert!(!foreign("/a/tree") && !foreign("/big/sub"));
        let shown = root.mount_of(Path::new("/a/tree/x"));
        assert!(matches!(shown.expect("a mount").op, Op::Bind { .. }));
    }

    #[test]
    fn what_makes_no_root_is_refused_with_its_reason() {
        for (rest, reason) in [
            (vec![directory("a")], Reason::NotNormal),
            (vec![directory("/a/../b")], Reason::NotNormal),
            (vec![directory("/a/")], Reason::NotNormal),
            (vec![directory("//a")], Reason::NotNormal),
            (vec![directory("/a\0b")], Reason::Nul),
            (vec![tmpfs("/")], Reason::NoRoot),
            (vec![directory("/a/b")], Reason::NoParent),
            (vec![directory("/a"), directory("/a")], Reason::Twice),
            (
                vec![symlink("/a"), directory("/a/b")],
                Reason::ParentIsNoDirectory,
            ),
            (
                vec![mount_point("/a"), directory("/a/b")],
                Reason::ParentIsNoDirectory,
            ),
            (
                vec![symlink("/a"), bind("/a", Kind::File)],
                Reason::NoMountPoint,
            ),
            (vec![bind("/a", Kind::Directory)], Reason::NoMountPoint),
            (vec![bind("/a/b", Kind::Directory)], Reason::NoMountPoint),
            (
                vec![mount_point("/a"), bind("/a", Kind::Directory)],
                Reason::OtherKind,
            ),
            (
                vec![directory("/a"), bind("/a", Kind::File)],
                Reason::OtherKind,
            ),
            (
                vec![
                    directory("/a"),
                    bind("/a", Kind::Directory),
                    directory("/a/b"),
                ],
                Reason::InMount,
            ),
            (
                vec![
                    directory("/a"),
                    bind("/a", Kind::Directory),
                    bind("/a", Kind::Directory),
                ],
                Reason::Twice,
            ),
            (vec![private("/a")], Reason::NotMade),
            (
                vec![directory("/a"), tmpfs("/a"), private("/a")],
                Reason::NotMade,
            ),
            (
                vec![mount_point("/a"), device("/etc/passwd")],
                Reason::NotADevice,
            ),
            (
                vec![mount_point("/a"), device("/dev/../etc/passwd")],
                Reason::NotADevice,
            ),
            (vec![directory("/a"), remount("/a")], Reason::NotMounted),
            (vec![directory("/a"), mask("/a")], Reason::NoMasks),
            (vec![Op::Directory { mode: 0o4755 }.at("/a")], Reason::Mode),
        ] {
            assert_eq!(of(rest.clone()).err(), Some(reason), "{rest:?}");
        }
        let no_root = Operations::new(vec![directory("/a")]).unwrap_err();
        assert_eq!(no_root.reason, Reason::NoRoot);
        assert_eq!(
            Operations::new(Vec::new()).unwrap_err().reason,
            Reason::NoRoot
        );
    }
}
