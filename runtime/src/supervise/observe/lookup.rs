//! Where a path leads in a sandbox, looked up from outside as the kernel would for the caller: in the sandbox's root, links
//! followed, `/proc/self` being the caller's. Nothing is opened but by `O_PATH`.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use aegis_observation::absolute;
use aegis_sys::{status, walk};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// What procfs appends to the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// Of a path that has none but the last.
const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS;

/// The root of a sandbox.
pub struct Root(OwnedFd);

/// A file.
pub struct Found {
    /// Opened with `O_PATH`.
    pub fd: OwnedFd,
    /// Its path, free of links.
    pub path: PathBuf,
    /// Its inode.
    pub stat: Stat,
}

impl Found {
    /// Its type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Where a path leads.
pub enum Lead {
    /// To a file.
    Found(Found),
    /// To a place in this directory where there is nothing.
    Missing {
        /// The directory.
        parent: Found,
        /// The name in it.
        name: OsString,
    },
    /// By a link of procfs to what has no name, or none any more.
    Nameless {
        /// What the link says.
        path: PathBuf,
        /// Whether it had a name.
        deleted: bool,
    },
}

impl Root {
    /// The root that a thread has.
    pub fn of(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())?;
        Ok(Self(root))
    }

    fn open(&self, path: &Path, flags: OFlags, links: ResolveFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | links;
        let mut opened = Err(Errno::AGAIN);
        // Somebody renames or mounts meanwhile.
        for _ in 0..4 {
            opened = rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve);
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
        }
        opened
    }

    fn found(&self, path: &Path, flags: OFlags) -> Result<Found, Errno> {
        // Most paths have no links, and then are known without asking.
        let (fd, path) = match self.open(path, flags, ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => {
                let fd = self.open(path, flags, ResolveFlags::NO_MAGICLINKS)?;
                let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let path = rustix::fs::readlink(link, Vec::new())?;
                (fd, OsString::from_vec(path.into_bytes()).into())
            }
            opened => (opened?, absolute(Path::new("/"), path)),
        };
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Found { fd, path, stat })
    }

    /// Where `path`, from the root, leads a thread; the last link is followed only if `follow`.
    pub fn lookup(&self, path: &Path, follow: bool, caller: u32) -> Result<Lead, Errno> {
        let last = match follow {
            true => OFlags::empty(),
            false => OFlags::NOFOLLOW,
        };
        match self.found(path, last) {
            Ok(found) => return Ok(Lead::Found(found)),
            // Nothing there; or procfs, in which `self` is not us.
            Err(Errno::NOENT | Errno::LOOP) => {}
            Err(error) => return Err(error),
        }
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(parent) = self.found(parent, OFlags::DIRECTORY)
        {
            let there = rustix::fs::statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW);
            if let Err(Errno::NOENT) = there {
                let name = name.to_owned();
                return Ok(Lead::Missing { parent, name });
            }
        }
        self.walk(path, follow, caller)
    }

    /// The same, component by component.
    fn walk(&self, path: &Path, follow: bool, caller: u32) -> Result<Lead, Errno> {
        let mut walker = Walker {
            root: self,
            caller,
            follow,
        };
        match walk::walk(Path::new("/"), path, &mut walker) {
            Ok(reached) => Ok(Lead::Found(self.found(&reached, OFlags::NOFOLLOW)?)),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Nameless { path, deleted }) => Ok(Lead::Nameless { path, deleted }),
            Err(Stop::Missing(path)) => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(Errno::NOENT);
                };
                Ok(Lead::Missing {
                    parent: self.found(parent, OFlags::DIRECTORY | OFlags::NOFOLLOW)?,
                    name: name.to_owned(),
                })
            }
        }
    }
}

struct Walker<'w> {
    root: &'w Root,
    caller: u32,
    follow: bool,
}

/// Why a walk ends before its end.
enum Stop {
    Failed(Errno),
    Missing(PathBuf),
    Nameless { path: PathBuf, deleted: bool },
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Failed(error)
    }
}

impl walk::Visit for Walker<'_> {
    type Error = Stop;

    fn visit(&mut self, step: walk::Step<'_>) -> Result<Option<PathBuf>, Stop> {
        let fd = match self.root.open(step.path, OFlags::NOFOLLOW, NO_LINKS) {
            Err(Errno::NOENT) if step.last => return Err(Stop::Missing(step.path.to_owned())),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !is_link || (step.last && !self.follow) {
            return Ok(None);
        }
        if let Some(own) = own(step.path, self.caller) {
            return Ok(Some(own));
        }
        let text = rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
        let path = |text: &[u8]| PathBuf::from(OsString::from_vec(text.to_vec()));
        let target = path(&text);
        if !is_magic(step.path) {
            return Ok(Some(target));
        }
        let deleted = text.strip_suffix(DELETED);
        match deleted {
            _ if target.is_relative() => Err(Stop::Nameless {
                path: step.path.to_owned(),
                deleted: false,
            }),
            Some(name) if self.root.open(&target, OFlags::NOFOLLOW, NO_LINKS).is_err() => {
                Err(Stop::Nameless {
                    path: path(name),
                    deleted: true,
                })
            }
            _ => Ok(Some(target)),
        }
    }

    fn too_many_links(&mut self, _: &Path) -> Result<(), Stop> {
        Err(Errno::LOOP.into())
    }
}

/// What `/proc/self` and `/proc/thread-self` are to the caller.
fn own(link: &Path, caller: u32) -> Option<PathBuf> {
    let inside = |field| {
        let numbers = status::numbers(Some(caller as i32), field).ok()?;
        numbers.last().copied()
    };
    match link.as_os_str().as_bytes() {
        b"/proc/self" => Some(inside("NStgid")?.to_string().into()),
        b"/proc/thread-self" => {
            let (process, thread) = (inside("NStgid")?, inside("NSpid")?);
            Some(format!("{process}/task/{thread}").into())
        }
        _ => None,
    }
}

/// Whether a link says what something is called, and leads there by itself: those of processes in procfs.
fn is_magic(link: &Path) -> bool {
    let mut parts = link.components().skip(1).map(Component::as_os_str);
    let number = |part: &std::ffi::OsStr| part.as_bytes().iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(|part| part == "proc")
        && parts.next().is_some_and(number)
        && parts.next().is_some()
}
