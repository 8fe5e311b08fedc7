//! Looking at the system's own files for the sake of an error message.
//!
//! What a message says is the command's word: a name that is looked at could be read by a file system that another
//! program serves, hang, or tell what exists where the command may not look. So only `/usr` is looked at, by descriptor and
//! without leaving its file system. The command can list it whole; nobody but root makes files or links there.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use aegis_sys::{mount, walk};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// A file of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemFile {
    /// Its path, free of links.
    pub real: PathBuf,
    /// Whether it is a regular file with permission to be executed.
    pub program: bool,
}

/// Where links of the system lead through, beside `/usr`.
const ALTERNATIVES: &str = "/etc/alternatives";

/// Looks at a path in `/usr`. `None`: it is not there, or leads elsewhere.
pub fn find(path: &Path) -> Option<SystemFile> {
    let mut looking = Looking {
        here: mount::root().ok()?,
        found: None,
    };
    let below = path.strip_prefix("/").ok()?;
    let real = walk::walk(Path::new("/"), below, &mut looking).ok()?;
    let mode = looking.found?.st_mode;
    let program = FileType::from_raw_mode(mode) == FileType::RegularFile && mode & 0o111 != 0;
    real.starts_with("/usr")
        .then_some(SystemFile { real, program })
}

struct Looking {
    here: OwnedFd,
    found: Option<Stat>,
}

impl walk::Visit for Looking {
    type Error = Errno;

    fn visit(&mut self, step: walk::Step<'_>) -> Result<Option<PathBuf>, Errno> {
        let path = step.path;
        if step.name == "/" {
            self.here = mount::root().map_err(|_| Errno::IO)?;
            return Ok(None);
        }
        let top = [OsStr::new("usr"), OsStr::new("etc")].contains(&step.name)
            && path.parent() == Some(Path::new("/"));
        let ours = path.starts_with("/usr") || Path::new(ALTERNATIVES).starts_with(path);
        let linked = path.parent() == Some(Path::new(ALTERNATIVES));
        if !top && !ours && !linked {
            return Err(Errno::XDEV);
        }
        // `/usr` may be a file system of its own; what is mounted below it is somebody else's.
        let resolve = match top {
            true => ResolveFlags::NO_MAGICLINKS,
            false => ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = rustix::fs::openat2(&self.here, step.name, flags, Mode::empty(), resolve)?;
        let found = rustix::fs::fstat(&next)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            let target = rustix::fs::readlinkat(&next, c"", Vec::new())?;
            return Ok(Some(OsString::from_vec(target.into_bytes()).into()));
        }
        (self.here, self.found) = (next, Some(found));
        Ok(None)
    }

    fn too_many_links(&mut self, _: &Path) -> Result<(), Errno> {
        Err(Errno::LOOP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_in_usr_leads_to_is_found_and_nothing_else() {
        let env = find(Path::new("/usr/bin/env")).expect("every system has it");
        assert!(env.program && env.real.starts_with("/usr"));
        for path in [
            "/usr/bin/there-is-no-such-program",
            "/usr/../etc/passwd",
            "/etc/passwd",
            "/etc/alternatives/../passwd",
            "/proc/self/exe",
            "/tmp",
            "/",
            "usr/bin/env",
        ] {
            assert_eq!(find(Path::new(path)), None, "{path}");
        }
    }
}
