//! The one walker of symbolic links: `path_resolution(7)`, component by component.
//!
//! [`walk`] knows how components, `..` and links follow one another. A [`Visit`] decides what is at a path, which
//! links are followed and what is recorded: by descriptor on the host, or from a made-up tree.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Most links followed in one path, like the kernel's `MAXSYMLINKS`.
pub const MAX_LINKS: usize = 40;

/// A component that the walk reaches.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its path, free of links except for the component itself.
    pub path: &'a Path,
    /// Its name in the component before it: `/`, `..`, or a plain name.
    pub name: &'a OsStr,
    /// Whether it is the last component.
    pub last: bool,
}

/// What a walk calls at each component.
pub trait Visit {
    /// Why a walk ends early.
    type Error;

    /// Looks at a component, and enters it. Returns the text of a link that is to be followed instead.
    fn visit(&mut self, step: Step<'_>) -> Result<Option<PathBuf>, Self::Error>;

    /// There is one link too many: enters it without following it, or ends the walk.
    fn too_many_links(&mut self, link: &Path) -> Result<(), Self::Error>;
}

/// Walks `path`, relative to the directory `from`, which is free of links. Returns where it leads, free of links.
pub fn walk<V: Visit>(from: &Path, path: &Path, visit: &mut V) -> Result<PathBuf, V::Error> {
    let mut ahead = Vec::new();
    push(&mut ahead, path);
    let mut reached = from.to_path_buf();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        // What `..` leaves is free of links. The root replaces everything before it.
        let next = match name.as_encoded_bytes() {
            b".." => reached.parent().unwrap_or(&reached).to_path_buf(),
            _ => reached.join(&name),
        };
        let step = Step {
            path: &next,
            name: &name,
            last: ahead.is_empty(),
        };
        match visit.visit(step)? {
            Some(target) if links < MAX_LINKS => {
                links += 1;
                push(&mut ahead, &target);
                continue;
            }
            Some(_) => visit.too_many_links(&next)?,
            None => {}
        }
        reached = next;
    }
    Ok(reached)
}

/// Opens a directory on behalf of somebody, and makes it and those above it (0700) where `make` says so. Each component is
/// opened in the one before. A symbolic link is followed only where the system's administrator alone can have made it: the
/// link and its directory belong to root, nobody else may write the directory, and, for root, whose sandboxes may write in
/// root's name, it is `/`, `/usr`, `/var`, `/home`, `/srv` or `/mnt`.
///
/// # Errors
///
/// There is no such directory, or a link on the path that a program in a sandbox, or another user, could have made.
pub fn directory(path: &Path, make: bool) -> io::Result<OwnedFd> {
    let path = std::path::absolute(path)?;
    let root = rustix::fs::open("/", LOCATE, Mode::empty())?;
    let mut opened = Opened { at: root, make };
    walk(Path::new("/"), &path, &mut opened)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&opened.at, ".", flags, Mode::empty())?)
}

/// Where root's own links may lead elsewhere: `/bin`, `/var/run`, `/home/data` and the like.
const OF_THE_SYSTEM: [&str; 6] = ["/", "/var", "/usr", "/home", "/srv", "/mnt"];

const LOCATE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Whether only the system's administrator can have made a link of this owner in this directory; see [`directory`].
pub fn is_the_administrators(owner: u32, directory: &Stat, link: &Path) -> bool {
    let of_root = owner == 0 && directory.st_uid == 0 && directory.st_mode & 0o022 == 0;
    let in_system = || {
        let parent = link.parent().unwrap_or(link);
        OF_THE_SYSTEM.iter().any(|known| Path::new(known) == parent)
    };
    of_root && (!rustix::process::geteuid().is_root() || in_system())
}

/// How far a [`directory`] is opened.
struct Opened {
    at: OwnedFd,
    make: bool,
}

impl Opened {
    fn step(&self, step: Step<'_>) -> io::Result<OwnedFd> {
        let open = || rustix::fs::openat(&self.at, step.name, LOCATE, Mode::empty());
        match open() {
            Err(Errno::NOENT) if self.make => {
                match rustix::fs::mkdirat(&self.at, step.name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => Ok(open()?),
                    Err(error) => Err(error.into()),
                }
            }
            opened => Ok(opened?),
        }
    }

    fn is_trusted(&self, owner: u32, link: &Path) -> io::Result<bool> {
        let directory = rustix::fs::fstat(&self.at)?;
        Ok(is_the_administrators(owner, &directory, link))
    }
}

impl Visit for Opened {
    type Error = io::Error;

    fn visit(&mut self, step: Step<'_>) -> io::Result<Option<PathBuf>> {
        if step.path == Path::new("/") {
            self.at = rustix::fs::open("/", LOCATE, Mode::empty())?;
            return Ok(None);
        }
        let next = self.step(step)?;
        let found = rustix::fs::fstat(&next)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            self.at = next;
            return Ok(None);
        }
        if !self.is_trusted(found.st_uid, step.path)? {
            return Err(io::Error::other(format!(
                "{} is a symbolic link that a program in a sandbox or another user could have made: name the path that it leads to",
                step.path.display()
            )));
        }
        let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }

    fn too_many_links(&mut self, _: &Path) -> io::Result<()> {
        Err(Errno::LOOP.into())
    }
}

/// Puts the components of a path before what is still ahead, of which the next one is last.
fn push(ahead: &mut Vec<OsString>, path: &Path) {
    let components = path.components().rev();
    let components = components.filter(|component| *component != Component::CurDir);
    ahead.extend(components.map(|component| component.as_os_str().to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Follows every link, and ends the walk at one too many.
    #[derive(Default)]
    struct Links(Vec<PathBuf>);

    impl Visit for Links {
        type Error = PathBuf;

        fn visit(&mut self, step: Step<'_>) -> Result<Option<PathBuf>, PathBuf> {
            let target = std::fs::read_link(step.path).ok();
            self.0
                .extend(target.is_some().then(|| step.path.to_owned()));
            Ok(target)
        }

        fn too_many_links(&mut self, link: &Path) -> Result<(), PathBuf> {
            Err(link.to_owned())
        }
    }

    #[test]
    fn a_directory_is_not_opened_by_way_of_a_link_that_a_sandbox_could_have_made() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("real/below")).unwrap();
        symlink("real", dir.join("link")).unwrap();
        let error = directory(&dir.join("link/below"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("link is a symbolic link"), "{error}");
        assert!(directory(&dir.join("real/below"), false).is_ok());
        assert!(directory(&dir.join("real/new/newer"), false).is_err());
        assert!(directory(&dir.join("real/new/newer"), true).is_ok());
        assert!(dir.join("real/new/newer").is_dir());
        // Root's, in a directory that only root fills.
        assert!(directory(Path::new("/proc/../var/run/.."), false).is_ok());
    }

    #[test]
    fn a_walk_meets_every_link_and_ends_where_the_kernel_says() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(dir.join("a/b")).unwrap();
        std::fs::write(dir.join("a/file"), "").unwrap();
        symlink("./../file", dir.join("a/b/up")).unwrap();
        symlink(dir.join("a/b"), dir.join("absolute")).unwrap();
        let (mut links, path) = (Links::default(), dir.join("absolute/up"));
        let end = walk(Path::new("/"), &path, &mut links).unwrap();
        assert_eq!(end, path.canonicalize().unwrap());
        assert_eq!(links.0, [dir.join("absolute"), dir.join("a/b/up")]);
    }

    #[test]
    fn a_loop_ends() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        symlink("b", dir.join("a")).unwrap();
        symlink("a", dir.join("b")).unwrap();
        let mut links = Links::default();
        walk(Path::new("/"), &dir.join("a"), &mut links).unwrap_err();
        assert_eq!(links.0.len(), MAX_LINKS + 1);
    }

    #[test]
    fn nothing_is_above_the_root() {
        let end = walk(
            Path::new("/"),
            Path::new("../../usr"),
            &mut Links::default(),
        );
        assert_eq!(end.unwrap(), Path::new("/usr"));
    }
}
