//! A process by its directory in `/proc` (`proc(5)`), held open: whatever is read is of this process or, once it has
//! ended, an error; never of another one that has got its number since. No link of the process's making is followed and nothing is opened but
//! files of the kernel's own, so that reading waits for nobody inside a sandbox.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};

use super::files;
use super::status::{self, Stat};

/// Another process.
#[derive(Debug)]
pub struct Process {
    /// Its number in this process's pid namespace.
    pub pid: i32,
    dir: OwnedFd,
}

/// Descriptors that a process has open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptors {
    /// Their numbers, and what each leads to, in the kernel's words.
    pub listed: Vec<(u32, Vec<u8>)>,
    /// How many there are. `None`: a kernel before 6.2 does not tell, and not all were listed.
    pub count: Option<u64>,
}

impl Process {
    /// Holds the process that has this number now.
    pub fn open(pid: i32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { pid, dir })
    }

    fn open_at(&self, file: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, file, flags, Mode::empty())?)
    }

    /// The first bytes of a file in its directory, `most` of them, and whether that was all.
    pub fn read(&self, file: &str, most: usize) -> io::Result<(Vec<u8>, bool)> {
        let file = self.open_at(file, OFlags::NOFOLLOW)?;
        let mut bytes = Vec::with_capacity(most.clamp(64, 4096));
        loop {
            if bytes.len() == bytes.capacity() {
                bytes.reserve(bytes.len());
            }
            let whole = files::read_more(file.as_fd(), &mut bytes)? == 0;
            if whole || bytes.len() > most {
                bytes.truncate(most);
                return Ok((bytes, whole));
            }
        }
    }

    /// `stat`.
    pub fn stat(&self) -> io::Result<Stat> {
        let text = self.read("stat", 4096)?.0;
        Stat::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The numbers in a field of `status`; none where it has ended.
    pub fn numbers(&self, field: &str) -> Vec<u32> {
        let text = self.read("status", 1 << 16).unwrap_or_default().0;
        status::numbers_in(&String::from_utf8_lossy(&text), field)
    }

    /// The processes that it has made and that have not ended, whichever of its threads made them.
    pub fn children(&self) -> io::Result<Vec<i32>> {
        let mut all = Vec::new();
        for thread in self.names("task")? {
            let Ok((list, _)) = self.read(&format!("task/{}/children", thread?), usize::MAX) else {
                continue; // It has ended.
            };
            let list = String::from_utf8_lossy(&list);
            all.extend(
                list.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
        Ok(all)
    }

    /// Its open descriptors, of which `most` are listed.
    pub fn descriptors(&self, most: usize) -> io::Result<Descriptors> {
        let dir = self.open_at("fd", OFlags::DIRECTORY)?;
        let size = rustix::fs::fstat(&dir)?.st_size as u64;
        let mut names = numbers(Dir::read_from(&dir)?);
        let mut listed = Vec::new();
        while listed.len() < most
            && let Some(number) = names.next().transpose()?
        {
            // One that was closed meanwhile, or whose path is longer than a page, leads nowhere.
            let target = rustix::fs::readlinkat(&dir, number.to_string(), Vec::new());
            listed.extend(target.ok().map(|target| (number, target.into_bytes())));
        }
        let whole = || listed.len() < most;
        let count = Some(size)
            .filter(|size| *size > 0)
            .or_else(|| whole().then_some(listed.len() as u64));
        Ok(Descriptors { listed, count })
    }

    /// Bytes in a tmpfs that is at `name` directly below its root directory.
    pub fn tmpfs(&self, name: &str) -> io::Result<u64> {
        // `TMPFS_MAGIC` of linux/magic.h. No other file system is asked: it could take as long as it likes.
        const TMPFS: u64 = 0x0102_1994;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(&self.dir, "root", flags, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let found = rustix::fs::openat2(&root, name, flags, Mode::empty(), resolve)?;
        let found = rustix::fs::fstatfs(&found)?;
        match found.f_type as u64 {
            TMPFS => Ok((found.f_blocks - found.f_bfree) * found.f_bsize as u64),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn names(&self, directory: &str) -> io::Result<impl Iterator<Item = io::Result<u32>>> {
        let dir = self.open_at(directory, OFlags::DIRECTORY)?;
        Ok(numbers(Dir::read_from(&dir)?))
    }
}

/// The names in a directory that are numbers.
fn numbers(dir: Dir) -> impl Iterator<Item = io::Result<u32>> {
    dir.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str().ok()?.parse().ok().map(Ok),
        Err(error) => Some(Err(error.into())),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_read_until_it_ends_and_no_other_after_it() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        let process = Process::open(pid).unwrap();
        let own = Process::open(std::process::id() as i32).unwrap();
        assert!(own.children().unwrap().contains(&pid));
        assert_eq!(process.stat().unwrap().field(4), Some(std::process::id()));
        assert_eq!(process.numbers("Pid"), [child.id()]);
        let opened = own.descriptors(usize::MAX).unwrap();
        assert!(opened.listed.iter().any(|(number, _)| *number == 0));
        assert_eq!(own.descriptors(1).unwrap().listed.len(), 1);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(process.stat().is_err());
        assert!(process.read("cmdline", 10).is_err());
        assert!(process.children().is_err());
        assert!(process.descriptors(1).is_err());
        assert!(process.numbers("Pid").is_empty());
        assert!(Process::open(pid).is_err());
    }

    #[test]
    fn no_more_is_read_than_was_asked_for() {
        let own = Process::open(std::process::id() as i32).unwrap();
        let (some, whole) = own.read("status", 5).unwrap();
        assert_eq!((some.as_slice(), whole), (&b"Name:"[..], false));
        let (all, whole) = own.read("status", usize::MAX).unwrap();
        assert!(whole && all.len() > 100);
        // A link is not followed.
        assert!(own.read("exe", 10).is_err());
    }
}
