//! Paths that are absolute and normal, like all paths in a plan.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A map keyed by normal paths, as text: the standard library compares paths component by component, which cost
/// a tenth of a millisecond at every start. In byte order, too, a directory comes before what it contains.
pub type PathMap<V> = BTreeMap<OsString, V>;

/// The value of the nearest directory strictly above a path that has one.
pub fn above<'m, V>(map: &'m PathMap<V>, path: &Path) -> Option<&'m V> {
    parents(path).find_map(|dir| map.get(dir.as_os_str()))
}

/// The directories above a normal path, nearest first, `/` last.
pub fn parents(path: &Path) -> impl Iterator<Item = &Path> {
    let mut rest = path.as_os_str().as_bytes();
    std::iter::from_fn(move || {
        if rest.len() <= 1 {
            return None;
        }
        let slash = rest.iter().rposition(|byte| *byte == b'/')?;
        rest = &rest[..slash.max(1)];
        Some(Path::new(OsStr::from_bytes(rest)))
    })
}

/// Whether a normal path is `tree` or lies below it.
pub fn is_below(path: &Path, tree: &Path) -> bool {
    let (path, tree) = (path.as_os_str().as_bytes(), tree.as_os_str().as_bytes());
    tree == b"/"
        || path
            .strip_prefix(tree)
            .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_and_containment_go_by_components() {
        let list: Vec<_> = parents(Path::new("/a/bc/d")).collect();
        assert_eq!(list, [Path::new("/a/bc"), Path::new("/a"), Path::new("/")]);
        assert_eq!(parents(Path::new("/")).count(), 0);
        assert!(is_below(Path::new("/a/bc"), Path::new("/a")));
        assert!(is_below(Path::new("/a"), Path::new("/a")));
        assert!(is_below(Path::new("/a"), Path::new("/")));
        assert!(!is_below(Path::new("/a/bc"), Path::new("/a/b")));
    }

    #[test]
    fn a_directory_comes_before_what_lies_in_it() {
        let map: PathMap<()> = ["/a/b", "/a-b", "/a", "/"]
            .map(|path| (path.into(), ()))
            .into();
        let order: Vec<_> = map.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(order, ["/", "/a", "/a-b", "/a/b"]);
    }
}
