//! What is mounted where: a granted tree shows what is mounted below it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use aegis_sys::files;

use crate::types::paths::is_below;

/// A mount, as `proc_pid_mountinfo(5)` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u32,
    /// The number of the mount that it is mounted in.
    pub parent: u32,
    /// Where it is.
    pub at: PathBuf,
    /// The device number of its file system, as text.
    pub device: String,
    /// What of its file system it shows.
    pub root: PathBuf,
    /// The type of its file system.
    pub kind: String,
}

/// File systems that show the kernel's state, or change it.
const OF_THE_KERNEL: [&str; 12] = [
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "efivarfs",
    "fusectl",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

impl Mount {
    /// Whether it shows the host's kernel, and not files.
    pub fn is_of_the_kernel(&self) -> bool {
        OF_THE_KERNEL.contains(&&*self.kind)
    }

    /// Where the same files are by another mount of their file system.
    pub fn elsewhere<'m>(&'m self, all: &'m [Self]) -> impl Iterator<Item = PathBuf> + 'm {
        let same = |other: &&Self| {
            other.device == self.device
                && is_below(&self.root, &other.root)
                && other.at.as_os_str() != self.at.as_os_str()
        };
        all.iter().filter(same).map(|other| {
            let rest = self.root.strip_prefix(&other.root);
            other.at.join(rest.unwrap_or(Path::new("")))
        })
    }
}

/// The mounts of this process, in the order of their making.
///
/// # Errors
///
/// They cannot be read: what is mounted below a grant is not known then.
pub fn read() -> io::Result<Vec<Mount>> {
    let text = files::read_file(Path::new("/proc/self/mountinfo"))?;
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(mount).collect())
}

/// The mount that a path lies in: from the root's on, the first on the way of those that are mounted in the one before. One
/// further down may be covered: what was mounted in `/a/b` is not there any more when something else is mounted on `/a`.
pub fn of<'m>(path: &Path, all: &'m [Mount]) -> Option<&'m Mount> {
    // Of several at one place, the last covers the others.
    let mut found = all.iter().rfind(|mount| mount.at.as_os_str() == "/")?;
    // None is on the way twice.
    for _ in all {
        let inner = all.iter().rev().filter(|mount| {
            mount.parent == found.id && mount.id != found.id && is_below(path, &mount.at)
        });
        match inner.min_by_key(|mount| mount.at.as_os_str().len()) {
            Some(inner) => found = inner,
            None => break,
        }
    }
    Some(found)
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let device = fields.next()?;
    let (root, at) = (fields.next()?, fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mount {
        id,
        parent,
        at: path(at),
        device: text(device),
        root: path(root),
        kind: text(kind),
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A path, in which blanks and backslashes are written as `\\040` and the like.
fn path(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).filter(|byte| byte.is_ascii_digit());
        rest = match (first, digit(0), digit(1), digit(2)) {
            (b'\\', Some(a), Some(b), Some(c)) => {
                let [a, b, c] = [a, b, c].map(|digit| digit & 7);
                bytes.push(a << 6 | b << 3 | c);
                &after[3..]
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_and_what_it_shows_is_found_elsewhere() {
        let read = |line: &str| mount(line.as_bytes()).expect("a mount");
        let all = [
            read("1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"),
            read("2 1 8:1 /home/ana /mnt/a\\040b rw master:1 propagate_from:2 - ext4 /dev/sda1 rw"),
            read("3 1 0:22 / /srv/root/proc rw - proc proc rw"),
        ];
        assert_eq!(all[1].at, Path::new("/mnt/a b"));
        let other: Vec<_> = all[1].elsewhere(&all).collect();
        assert_eq!(other, [Path::new("/home/ana")]);
        assert_eq!(all[0].elsewhere(&all).count(), 0);
        assert!(all[2].is_of_the_kernel() && !all[1].is_of_the_kernel());
        assert_eq!(of(Path::new("/mnt/a b/c"), &all), Some(&all[1]));
        assert_eq!(of(Path::new("/mnt/a"), &all), Some(&all[0]));
        assert!(mount(b"").is_none());
    }

    #[test]
    fn what_is_covered_is_not_the_mount_that_a_path_lies_in() {
        let read = |line: &str| mount(line.as_bytes()).expect("a mount");
        let all = [
            read("1 0 8:1 / / rw - ext4 a rw"),
            read("5 4 8:5 / /m/b/c rw - ext4 e rw"),
            read("2 1 8:2 / /m/b rw - ext4 b rw"),
            read("3 1 8:3 / /m rw - ext4 c rw"),
            read("4 3 8:4 / /m rw - ext4 d rw"),
        ];
        let lies_in = |path: &str| of(Path::new(path), &all).map(|mount| mount.id);
        assert_eq!(lies_in("/m/b/x"), Some(4));
        assert_eq!(lies_in("/m/b/c/x"), Some(5));
        assert_eq!(lies_in("/m"), Some(4));
        assert_eq!(lies_in("/mm"), Some(1));
        assert_eq!(of(Path::new("/x"), &[]), None);
    }
}
