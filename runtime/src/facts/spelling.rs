//! Directories that ignore case: a name in one of them has many spellings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat, statat};

/// What is at a path; a link at its end is itself described.
pub(super) fn stat(path: &Path) -> rustix::io::Result<Stat> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether the directory of a path, at which this was found, ignores case.
pub(super) fn ignores_case(path: &Path, found: &Stat) -> bool {
    let Some(name) = path.file_name() else {
        return false;
    };
    let mut changed = name.as_bytes().to_vec();
    for byte in &mut changed {
        *byte = match byte.is_ascii_lowercase() {
            true => byte.to_ascii_uppercase(),
            false => byte.to_ascii_lowercase(),
        };
    }
    let other = path.with_file_name(OsStr::from_bytes(&changed));
    let is_same = |other: Stat| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino);
    changed != name.as_bytes() && stat(&other).is_ok_and(is_same)
}

/// Other spellings of a path's last component that patterns may have, in a directory that ignores case.
pub(super) fn spelled(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let folded = |name: &OsStr| name.to_string_lossy().to_lowercase();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let on_disk = entries.map(|entry| entry.file_name());
    (on_disk.filter(|entry| folded(entry) == folded(name)))
        .chain([folded(name).into()])
        .map(|name| directory.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Where a directory ignores case, both spellings are one file: as hard links are elsewhere.
    #[test]
    fn spellings_of_one_file_are_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let [file, other, alone] = ["Key", "kEY", "Other"].map(|name| dir.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::write(&alone, "").unwrap();
        std::fs::write(dir.path().join("oTHER"), "").unwrap();
        let ignored = |path: &Path| ignores_case(path, &stat(path).unwrap());
        assert!(!ignored(&file), "there is no other");
        std::fs::hard_link(&file, &other).unwrap();
        assert!(ignored(&file));
        assert!(!ignored(&alone), "the other is another file");
        let spellings: BTreeSet<PathBuf> = spelled(&file).into_iter().collect();
        let expected = ["Key", "kEY", "key"].map(|name| dir.path().join(name));
        assert_eq!(spellings, expected.into());
    }
}
