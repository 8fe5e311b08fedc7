//! The one walker of symbolic links: `path_resolution(7)`, component by component.
//!
//! [`walk`] knows how components, `..` and links follow one another. A [`Visit`] decides what is at a path, which
//! links are followed and what is recorded: by descriptor on the host, or from a made-up tree.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

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

/// Puts the components of a path before those in `ahead`, whose last element comes next.
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
