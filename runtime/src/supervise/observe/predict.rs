//! What will come of a call: of what the listener lets go on it sees no result. Permissions, mounts and Landlock are asked as
//! the kernel will; what else can fail is not known.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aegis_sys::files::{self, READ, SEARCH, WRITE};
use aegis_sys::landlock::fs;
use aegis_sys::notify::Call;
use rustix::fs::{FileType, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

use super::lookup::{Found, Lead, Root};
use crate::facts::{self, SCRIPT};
use crate::plan::Landlock;

/// Interpreters of interpreters that the kernel takes: `exec_binprm` of `fs/exec.c`.
const MOST_INTERPRETERS: usize = 5;

/// An opened file.
pub struct Opens {
    pub path: PathBuf,
    pub kind: FileType,
    pub deleted: bool,
}

/// What a call does with what it names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Looks at it.
    Look,
    /// Asks whether it may be used so (`access(2)`).
    Ask(i32),
    /// Reads it, which must be a link.
    ReadLink,
    /// Makes it the working directory.
    Enter,
    /// Makes it; `LANDLOCK_ACCESS_FS_*`.
    Make(u64),
    /// Makes it, or puts it in the place of what is there.
    Replace,
    /// Removes it; `LANDLOCK_ACCESS_FS_*`.
    Remove(u64),
    /// Changes its inode.
    Change,
    /// Cuts it off.
    Truncate,
}

impl Effect {
    /// Of a call; `second`: of its second path.
    pub fn of(name: &str, second: bool, call: &Call) -> Self {
        let argument = |number: usize| call.data.args[number] as u32;
        match name {
            "access" => Self::Ask(argument(1) as i32),
            "faccessat" | "faccessat2" => Self::Ask(argument(2) as i32),
            "readlink" | "readlinkat" => Self::ReadLink,
            "chdir" | "chroot" => Self::Enter,
            "truncate" => Self::Truncate,
            "mkdir" | "mkdirat" => Self::Make(fs::MAKE_DIR),
            "symlink" | "symlinkat" => Self::Make(fs::MAKE_SYM),
            "mknod" => Self::Make(node(argument(1))),
            "mknodat" => Self::Make(node(argument(2))),
            "link" | "linkat" if second => Self::Make(0),
            "rename" | "renameat" | "renameat2" if second => Self::Replace,
            "rename" | "renameat" | "renameat2" => Self::Remove(0),
            "rmdir" => Self::Remove(fs::REMOVE_DIR),
            "unlinkat" if argument(2) & libc::AT_REMOVEDIR as u32 != 0 => {
                Self::Remove(fs::REMOVE_DIR)
            }
            "unlink" | "unlinkat" => Self::Remove(fs::REMOVE_FILE),
            "chmod" | "fchmodat" | "fchmodat2" | "chown" | "lchown" | "fchownat" | "utime"
            | "utimes" | "futimesat" | "utimensat" | "setxattr" | "lsetxattr" | "removexattr"
            | "lremovexattr" => Self::Change,
            _ => Self::Look,
        }
    }

    /// Whether a link at the end of the path is followed.
    pub fn follows(self, name: &str, flags: u64) -> bool {
        match name {
            "linkat" | "name_to_handle_at" => flags & libc::AT_SYMLINK_FOLLOW as u64 != 0,
            "link" => false,
            _ if name.starts_with('l') => false,
            _ if flags & libc::AT_SYMLINK_NOFOLLOW as u64 != 0 => false,
            _ => !matches!(
                self,
                Self::ReadLink | Self::Make(_) | Self::Replace | Self::Remove(_)
            ),
        }
    }
}

/// The right to make a node of this mode.
fn node(mode: u32) -> u64 {
    match mode & libc::S_IFMT {
        libc::S_IFIFO => fs::MAKE_FIFO,
        libc::S_IFSOCK => fs::MAKE_SOCK,
        _ => fs::MAKE_REG,
    }
}

/// Landlock's rules.
pub struct Rules {
    handled: u64,
    paths: HashMap<PathBuf, u64>,
}

impl Rules {
    pub fn of(landlock: &Landlock) -> Self {
        let rules = landlock.paths.iter();
        Self {
            handled: landlock.handled_fs,
            paths: rules.map(|rule| (rule.path.clone(), rule.access)).collect(),
        }
    }

    fn allow(&self, path: &Path, access: u64) -> Result<(), Errno> {
        let above = path.ancestors().filter_map(|path| self.paths.get(path));
        match access & self.handled & !above.fold(0, |all, access| all | access) {
            0 => Ok(()),
            _ => Err(Errno::ACCESS),
        }
    }

    /// What opening this with these flags comes to.
    pub fn open(&self, lead: Lead, flags: OFlags) -> Result<Opens, Errno> {
        let mode = flags & OFlags::ACCMODE;
        let read = mode != OFlags::WRONLY;
        let write = mode != OFlags::RDONLY || flags.contains(OFlags::TRUNC);
        let wanted = |kind| {
            let mut access = 0;
            if read {
                access |= match kind {
                    FileType::Directory => fs::READ_DIR,
                    _ => fs::READ_FILE,
                };
            }
            if write {
                access |= fs::WRITE_FILE;
            }
            if flags.contains(OFlags::TRUNC) && kind == FileType::RegularFile {
                access |= fs::TRUNCATE;
            }
            access
        };
        let found = match lead {
            Lead::Nameless { path, deleted } => {
                let kind = match deleted {
                    true => FileType::RegularFile,
                    false => FileType::Unknown,
                };
                return Ok(Opens {
                    path,
                    kind,
                    deleted,
                });
            }
            Lead::Missing { parent, name } if flags.contains(OFlags::CREATE) => {
                may_change(&parent)?;
                let (path, kind) = (parent.path.join(name), FileType::RegularFile);
                self.allow(&parent.path, fs::MAKE_REG)?;
                self.allow(&path, wanted(kind) & !fs::TRUNCATE)?;
                let deleted = false;
                return Ok(Opens {
                    path,
                    kind,
                    deleted,
                });
            }
            Lead::Missing { .. } => return Err(Errno::NOENT),
            Lead::Found(found) => found,
        };
        let kind = found.kind();
        let unnamed = flags.contains(OFlags::TMPFILE);
        if flags.contains(OFlags::DIRECTORY) && kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        if !flags.contains(OFlags::PATH) {
            match kind {
                _ if flags.contains(OFlags::CREATE | OFlags::EXCL) => return Err(Errno::EXIST),
                FileType::Symlink => return Err(Errno::LOOP),
                FileType::Directory if unnamed => {
                    may_change(&found)?;
                    self.allow(&found.path, fs::MAKE_REG)?;
                }
                FileType::Directory if write || flags.contains(OFlags::CREATE) => {
                    return Err(Errno::ISDIR);
                }
                FileType::Socket => return Err(Errno::NXIO),
                _ => {
                    if flags.contains(OFlags::TRUNC) && kind == FileType::RegularFile {
                        writable(&found)?;
                    }
                    let mode = if read { READ } else { 0 } | if write { WRITE } else { 0 };
                    files::may(found.fd.as_fd(), mode)?;
                    self.allow(&found.path, wanted(kind))?;
                }
            }
        }
        Ok(Opens {
            path: found.path,
            kind: match unnamed {
                true => FileType::RegularFile,
                false => kind,
            },
            deleted: unnamed,
        })
    }

    /// The file that the kernel executes in the end: of a script its interpreter.
    pub fn execute(&self, root: &Root, lead: Lead, caller: u32) -> Result<PathBuf, Errno> {
        let mut lead = lead;
        for _ in 0..MOST_INTERPRETERS {
            let found = match lead {
                Lead::Nameless { path, .. } => return Ok(path),
                Lead::Missing { .. } => return Err(Errno::NOENT),
                Lead::Found(found) => found,
            };
            match found.kind() {
                FileType::RegularFile => {}
                FileType::Symlink => return Err(Errno::LOOP),
                _ => return Err(Errno::ACCESS),
            }
            files::may(found.fd.as_fd(), SEARCH)?;
            self.allow(&found.path, fs::EXECUTE)?;
            let Some(interpreter) = interpreter(&found) else {
                return Ok(found.path);
            };
            lead = root.lookup(&interpreter, true, caller)?;
        }
        Err(Errno::LOOP)
    }

    /// The error that a call with this effect fails with.
    pub fn error(&self, root: &Root, lead: Lead, effect: Effect, caller: u32) -> Option<Errno> {
        self.check(root, lead, effect, caller).err()
    }

    fn check(&self, root: &Root, lead: Lead, effect: Effect, caller: u32) -> Result<(), Errno> {
        let in_parent = |parent: &Found, access| {
            may_change(parent)?;
            self.allow(&parent.path, access)
        };
        match (effect, lead) {
            (Effect::Make(access), Lead::Missing { parent, .. }) => in_parent(&parent, access),
            (Effect::Make(_), _) => Err(Errno::EXIST),
            (Effect::Replace, Lead::Missing { parent, .. }) => in_parent(&parent, 0),
            (Effect::Replace | Effect::Remove(_), Lead::Found(found)) => {
                let access = match effect {
                    Effect::Remove(access) => access,
                    _ => 0,
                };
                let Some(parent) = found.path.parent() else {
                    return Err(Errno::BUSY);
                };
                match root.lookup(parent, false, caller)? {
                    Lead::Found(parent) => in_parent(&parent, access)?,
                    _ => return Err(Errno::NOENT),
                }
                match (access, found.kind()) {
                    (fs::REMOVE_DIR, kind) if kind != FileType::Directory => Err(Errno::NOTDIR),
                    (fs::REMOVE_FILE, FileType::Directory) => Err(Errno::ISDIR),
                    _ => Ok(()),
                }
            }
            // That it may not be written is found first.
            (Effect::Remove(_), Lead::Missing { parent, .. }) => {
                writable(&parent)?;
                Err(Errno::NOENT)
            }
            (_, Lead::Missing { .. }) => Err(Errno::NOENT),
            (_, Lead::Nameless { .. }) => Ok(()),
            (Effect::Look, Lead::Found(_)) => Ok(()),
            (Effect::ReadLink, Lead::Found(found)) => match found.kind() {
                FileType::Symlink => Ok(()),
                _ => Err(Errno::INVAL),
            },
            (Effect::Ask(mode), Lead::Found(found)) => may(&found, mode),
            (Effect::Enter, Lead::Found(found)) => match found.kind() {
                FileType::Directory => may(&found, SEARCH),
                _ => Err(Errno::NOTDIR),
            },
            (Effect::Truncate, Lead::Found(found)) => match found.kind() {
                FileType::Directory => Err(Errno::ISDIR),
                _ => {
                    may(&found, WRITE)?;
                    self.allow(&found.path, fs::TRUNCATE)
                }
            },
            (Effect::Change, Lead::Found(found)) => writable(&found),
        }
    }
}

fn may(found: &Found, mode: i32) -> Result<(), Errno> {
    // Of a link itself nothing is asked.
    match found.kind() {
        FileType::Symlink => Ok(()),
        _ => files::may(found.fd.as_fd(), mode),
    }
}

/// Whether what is in a directory may be changed. That its mount is read-only is found first.
fn may_change(directory: &Found) -> Result<(), Errno> {
    writable(directory)?;
    files::may(directory.fd.as_fd(), WRITE | SEARCH)
}

/// Whether the mount is writable.
fn writable(found: &Found) -> Result<(), Errno> {
    let flags = rustix::fs::fstatvfs(&found.fd)?.f_flag;
    match flags.contains(StatVfsMountFlags::RDONLY) {
        true => Err(Errno::ROFS),
        false => Ok(()),
    }
}

/// The interpreter that the first line of a script names (`fs/binfmt_script.c`).
fn interpreter(script: &Found) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", script.fd.as_raw_fd());
    let file = files::open(link, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY).ok()?;
    let mut start = [0; SCRIPT];
    let got = files::read(file.as_fd(), &mut start).ok()?;
    let (word, _) = facts::interpreter(&start[..got])?;
    // A relative one is looked for in the working directory; nobody writes that.
    Some(Path::new("/").join(word))
}
