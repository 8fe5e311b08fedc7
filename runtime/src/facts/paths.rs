//! Resolves declared paths on the host, component by component and by descriptor, as
//! `path_resolution(7)` describes, except for symbolic links that somebody inside a sandbox could have
//! planted: those may not lead out of the tree they lie in.

mod trust;

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use aegis_sys::{mount, walk};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use trust::Confined;
pub use trust::{Directories, Trust};

use crate::types::paths::{is_below, parents};
use crate::types::{Fault, Identity, bytes};

/// What a path refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A Unix socket, a pipe or a device node.
    Special,
}

/// A symbolic link met on the path: where it lies (itself resolved), and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its own path, free of links.
    pub at: PathBuf,
    /// Its text.
    pub target: PathBuf,
}

/// A host path, free of links. Applying fails if it is no longer this inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostPath {
    /// The path.
    #[serde(serialize_with = "bytes::one")]
    pub path: PathBuf,
    /// Device number.
    pub dev: u64,
    /// Inode number. 0: a directory on the path to a protected file, which was not looked up itself.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// On-disk ids that appear as the sandbox's own, through an id-mapped mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idmap: Option<(u32, u32)>,
}

/// Where root keeps the system.
const SYSTEM: [&str; 2] = ["/usr", "/etc"];

/// Where root installs software, and may keep a project of its own.
const INSTALLED: [&str; 9] = [
    "/bin", "/gnu", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/sbin",
];

/// A path that was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The path, free of symbolic links.
    pub real: PathBuf,
    /// The links followed to get there, in order.
    pub links: Vec<Link>,
    /// Device number of the file.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: Kind,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Resolved {
    /// The path to bind into the root of a command with this identity. Files of another user are id-mapped to
    /// the command's. The system's directories are not: what is open to everybody there is open to the command, and
    /// root's own files are not. `own`: where software is installed, this is what the run is about, or may write.
    pub fn host_path(&self, identity: &Identity, own: bool) -> HostPath {
        let lies_in = |tree: &&str| is_below(&self.real, Path::new(*tree));
        let system = SYSTEM.iter().any(lies_in) || (!own && INSTALLED.iter().any(lies_in));
        let mapped = identity.switch
            && !system
            && self.uid != identity.uid
            && matches!(self.kind, Kind::Directory | Kind::File);
        HostPath {
            path: self.real.clone(),
            dev: self.dev,
            ino: self.ino,
            kind: self.kind,
            idmap: mapped.then_some((self.uid, self.gid)),
        }
    }
}

/// Resolves an absolute path.
pub fn resolve(path: &Path, trust: &Trust) -> Result<Resolved, Fault> {
    if path.components().any(|part| part == Component::ParentDir) {
        // Where `..` leads is known only after every link before it was followed.
        return follow(path, trust);
    }
    match hop(normal(path).into_owned(), trust) {
        Some(result) => result,
        None => follow(path, trust),
    }
}

/// Most paths have no link except at their end, or one of [`Trust::root_links`] at their
/// beginning: one call for each hop resolves those. `None`: this path needs a walk.
fn hop(mut path: PathBuf, trust: &Trust) -> Option<Result<Resolved, Fault>> {
    let mut links = Vec::new();
    let mut confined = Confined::default();
    for _ in 0..walk::MAX_LINKS {
        if let Some((link, rest)) = trust.root_link(&path) {
            let mut next = Path::new("/").join(&link.target);
            if !rest.as_os_str().is_empty() {
                next.push(rest);
            }
            path = next;
            links.push(link.clone());
            continue;
        }
        match trust.directories.look(&path) {
            Some(Ok(found)) if found.st_mode & libc::S_IFMT != libc::S_IFLNK => {
                let result = Resolved::new(path, links, found);
                return Some(confined.check(result, trust));
            }
            Some(Err(Errno::NOENT)) => {
                return Some(Err(Fault::Missing(path)));
            }
            // A link's text is read from the very link that was looked at.
            _ => {}
        }
        let fd = match mount::locate_itself(&path) {
            Ok(fd) => fd,
            // No link was met on the path to where it ends.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Some(Err(Fault::Missing(path)));
            }
            Err(_) => return None,
        };
        let found = rustix::fs::fstat(&fd).ok()?;
        if found.st_mode & libc::S_IFMT != libc::S_IFLNK {
            let result = Resolved::new(path, links, found);
            return Some(confined.check(result, trust));
        }
        if found.st_uid != 0 && found.st_uid != trust.uid {
            return None; // Its directory decides whether it is trusted.
        }
        let target = read_link(&fd, &path).ok()?;
        if target.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        confined.note(&path, trust);
        let next = normal(&path.parent()?.join(&target)).into_owned();
        links.push(Link { at: path, target });
        path = next;
    }
    None
}

/// The directory that keeps its owner, the caller, from looking at a path: who may write there could open it again.
pub(super) fn shut(path: &Path, caller: u32) -> Option<PathBuf> {
    let known = |dir: &Path| Some((dir.to_path_buf(), itself(dir)?));
    let (dir, found) = parents(path).find_map(known)?;
    (found.uid == caller).then_some(dir)
}

/// What is at a path that no link leads to; a link at its very end is itself described, as
/// [`Kind::Special`].
pub(super) fn itself(path: &Path) -> Option<Resolved> {
    let fd = mount::locate_itself(path).ok()?;
    let found = rustix::fs::fstat(&fd).ok()?;
    Some(Resolved::new(path.to_path_buf(), Vec::new(), found))
}

fn read_link(fd: &OwnedFd, path: &Path) -> Result<PathBuf, Fault> {
    let target = rustix::fs::readlinkat(fd, c"", Vec::new())
        .map_err(|error| Fault::at(path, &error.into()))?;
    Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
}

impl Resolved {
    fn new(real: PathBuf, links: Vec<Link>, found: Stat) -> Self {
        Self {
            kind: match found.st_mode & libc::S_IFMT {
                libc::S_IFDIR => Kind::Directory,
                libc::S_IFREG => Kind::File,
                _ => Kind::Special,
            },
            real,
            links,
            dev: found.st_dev,
            ino: found.st_ino,
            mode: found.st_mode,
            uid: found.st_uid,
            gid: found.st_gid,
        }
    }
}

/// The path without repeated slashes and `.` components.
pub(super) fn normal(path: &Path) -> Cow<'_, Path> {
    let bytes = path.as_os_str().as_bytes();
    let odd = |part: &[u8]| part.is_empty() || part == b".";
    // Nearly all are normal already, and splitting a path is not cheap.
    if bytes.len() > 1 && !bytes[1..].split(|byte| *byte == b'/').any(odd) {
        return path.into();
    }
    path.components().collect::<PathBuf>().into()
}

/// Walks a path by descriptor, as far as its links are trusted.
struct Resolving<'a> {
    asked: &'a Path,
    trust: &'a Trust,
    here: OwnedFd,
    found: Stat,
    links: Vec<Link>,
    confined: Confined,
}

/// Resolves a path with `..` in it, or with links anywhere.
fn follow(path: &Path, trust: &Trust) -> Result<Resolved, Fault> {
    let (here, found) = root()?;
    let mut resolving = Resolving {
        asked: path,
        trust,
        here,
        found,
        links: Vec::new(),
        confined: Confined::default(),
    };
    let top = Path::new("/");
    let below = path.strip_prefix(top).unwrap_or(path);
    let real = walk::walk(top, below, &mut resolving)?;
    let found = Resolved::new(real, resolving.links, resolving.found);
    resolving.confined.check(found, trust)
}

fn root() -> Result<(OwnedFd, Stat), Fault> {
    let fault = |error| Fault::at(Path::new("/"), &error);
    let root = mount::root().map_err(fault)?;
    let found = rustix::fs::fstat(&root).map_err(|error| fault(error.into()))?;
    Ok((root, found))
}

impl walk::Visit for Resolving<'_> {
    type Error = Fault;

    fn visit(&mut self, step: walk::Step<'_>) -> Result<Option<PathBuf>, Fault> {
        if step.name == "/" {
            (self.here, self.found) = root()?;
            return Ok(None);
        }
        let fault = |error: Errno| Fault::at(step.path, &error.into());
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.here, step.name, flags, Mode::empty()).map_err(fault)?;
        let found = rustix::fs::fstat(&fd).map_err(fault)?;
        if found.st_mode & libc::S_IFMT != libc::S_IFLNK {
            (self.here, self.found) = (fd, found);
            return Ok(None);
        }
        let foreign = found.st_uid != 0 && found.st_uid != self.trust.uid;
        // The case of `fs.protected_symlinks`: a directory that everybody may write, and whose owner is
        // not the link's.
        let shared = self.found.st_mode & 0o1002 == 0o1002 && self.found.st_uid != found.st_uid;
        if foreign && (self.trust.uid != 0 || shared) {
            return Err(Fault::ForeignLink {
                at: step.path.to_path_buf(),
                owner: found.st_uid,
            });
        }
        let target = read_link(&fd, step.path)?;
        self.confined.note(step.path, self.trust);
        self.links.push(Link {
            at: step.path.to_path_buf(),
            target: target.clone(),
        });
        Ok(Some(target))
    }

    fn too_many_links(&mut self, _: &Path) -> Result<(), Fault> {
        Err(Fault::Loop(self.asked.to_path_buf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    fn trust(zones: &[&Path]) -> Trust {
        Trust {
            zones: zones.iter().map(|zone| zone.to_path_buf()).collect(),
            uid: rustix::process::getuid().as_raw(),
            ..Trust::default()
        }
    }

    #[test]
    fn links_are_recorded_where_they_lie() {
        let (_keep, dir) = place();
        std::fs::create_dir_all(dir.join("real/sub")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        let found = resolve(&dir.join("link/sub"), &trust(&[])).unwrap();
        assert_eq!(found.real, dir.join("real/sub"));
        assert_eq!(found.links[0].at, dir.join("link"));
        assert_eq!(found.links[0].target, Path::new("real"));
    }

    #[test]
    fn a_link_may_not_leave_the_zone_it_lies_in() {
        let (_keep, dir) = place();
        std::fs::create_dir_all(dir.join("ws/inner")).unwrap();
        std::fs::create_dir_all(dir.join("outside")).unwrap();
        symlink("../outside", dir.join("ws/relative")).unwrap();
        symlink(dir.join("outside"), dir.join("ws/absolute")).unwrap();
        symlink("inner", dir.join("ws/fine")).unwrap();
        let ws = dir.join("ws");
        for name in ["relative", "absolute"] {
            let fault = resolve(&ws.join(name), &trust(&[&ws])).unwrap_err();
            assert!(matches!(fault, Fault::LinkLeaves { .. }), "{fault}");
            resolve(&ws.join(name), &trust(&[])).unwrap();
        }
        assert_eq!(
            resolve(&ws.join("fine"), &trust(&[&ws])).unwrap().real,
            ws.join("inner")
        );
    }

    #[test]
    fn a_loop_and_a_missing_part_are_named() {
        let (_keep, dir) = place();
        symlink("b", dir.join("a")).unwrap();
        symlink("a", dir.join("b")).unwrap();
        assert!(matches!(
            resolve(&dir.join("a"), &trust(&[])).unwrap_err(),
            Fault::Loop(_)
        ));
        assert_eq!(
            resolve(&dir.join("x/y"), &trust(&[])).unwrap_err(),
            Fault::Missing(dir.join("x/y"))
        );
    }
}
