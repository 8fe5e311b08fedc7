//! Files in a writable tree that the host's own programs act upon later: shell start-up files, Git's
//! configuration and hooks, editors' and package managers' settings. A run that may write the tree
//! could leave a command there for the person to execute; see `docs/security.md`, "Planting".

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::paths::{self, Kind, Resolved, Trust};
use crate::error::Error;
use crate::types::Fault;
use crate::types::paths::{is_below, parents};
use aegis_sys::mount;

/// Their names, relative to a home or project directory.
const NAMES: [&str; 58] = [
    ".git",
    ".git/commondir",
    ".git/config",
    ".git/config.worktree",
    ".git/hooks",
    ".git/info/attributes",
    ".gitconfig",
    ".config/git",
    ".bashrc",
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".profile",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    ".inputrc",
    ".vimrc",
    ".tmux.conf",
    ".config/autostart",
    ".config/environment.d",
    ".config/fish",
    ".config/nvim",
    ".config/systemd",
    ".local/bin",
    ".ssh",
    ".netrc",
    ".npmrc",
    ".pnpmfile.cjs",
    ".yarnrc",
    ".yarnrc.yml",
    ".pypirc",
    ".pdbrc",
    ".gemrc",
    ".envrc",
    ".mise.toml",
    "mise.toml",
    ".cargo/config",
    ".cargo/config.toml",
    ".pre-commit-config.yaml",
    ".devcontainer",
    ".vscode",
    ".idea",
    ".claude",
    ".cursor",
    ".mcp.json",
    ".husky",
    ".venv/bin/activate",
    ".venv/bin/python",
    ".venv/pyvenv.cfg",
    "venv/bin/activate",
    "venv/bin/python",
    "venv/pyvenv.cfg",
    "env/bin/activate",
    "node_modules/.bin",
];

/// Such files in the writable trees of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plantable {
    /// Those that exist: what the names lead to, and the links among them.
    pub present: Vec<Resolved>,
    /// Those that did not exist before the run.
    pub absent: Vec<PathBuf>,
}

/// Looks for them in `trees` (free of links): at their top, in `projects` that lie in them, and
/// if a tree is itself part of such a name (`$WORK/.git`). `kept`: what else is present and must stay.
///
/// # Errors
///
/// The `caller` may not enter a directory of its own that they may be in: a command could make it one that can be entered.
pub fn look(
    trees: &[PathBuf],
    projects: &[&Path],
    kept: &[PathBuf],
    caller: u32,
) -> Result<Plantable, Error> {
    let mut plantable = Plantable::default();
    for tree in trees {
        let mut candidates = BTreeSet::new();
        let tops = projects
            .iter()
            .copied()
            .filter(|project| is_below(project, tree))
            .chain([tree.as_path()])
            .chain(parents(tree).take(2));
        for top in tops {
            candidates.extend(
                NAMES
                    .iter()
                    .map(|name| top.join(name))
                    .filter(|path| path != tree && is_below(path, tree)),
            );
        }
        for path in kept.iter().filter(|path| is_below(path, tree)) {
            plantable.present.extend(match paths::itself(path) {
                Some(link) if link.kind == Kind::Special => Some(link),
                _ => found(tree, path, caller)?,
            });
        }
        for path in candidates {
            let link = paths::itself(&path).filter(|found| found.kind == Kind::Special);
            let target = found(tree, &path, caller)?;
            if link.is_none() && target.is_none() && !appeared(&path) {
                plantable.absent.push(path);
            }
            // A link is protected too, so that no file can replace it.
            let held = link.into_iter().chain(target);
            plantable.present.extend(held);
        }
    }
    Ok(plantable)
}

/// Whether a path has one of these names.
pub fn is_name(path: &Path) -> bool {
    NAMES.iter().any(|name| path.ends_with(name))
}

/// Whether something is now where nothing was. No link is followed, which the run could have put there to have a place
/// looked at that is none of its business; a link on the path counts.
pub fn appeared(path: &Path) -> bool {
    match mount::locate_itself(path) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() == Some(libc::ELOOP),
    }
}

fn found(tree: &Path, path: &Path, caller: u32) -> Result<Option<Resolved>, Error> {
    let Ok(below) = path.strip_prefix(tree) else {
        return Ok(None);
    };
    // The name usually does not exist, which one call shows.
    let located = mount::locate(tree).and_then(|dir| mount::locate_beneath(dir.as_fd(), below));
    let target = match located {
        Err(error) if error.raw_os_error() != Some(libc::ELOOP) => Err(Fault::at(path, &error)),
        _ => paths::resolve(path, &Trust::default()),
    };
    let target = match target {
        Ok(target) => target,
        Err(Fault::Denied(at)) => match paths::shut(&at, caller) {
            Some(dir) => {
                return Err(Error::Shut {
                    dir,
                    path: path.into(),
                });
            }
            None => return Ok(None),
        },
        Err(_) => return Ok(None),
    };
    // A repository must stay writable; a file that says where the repository is must not.
    let repository = path.ends_with(".git") && target.kind == Kind::Directory;
    let holds = !repository && is_below(&target.real, tree) && target.real != tree;
    Ok(holds.then_some(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        for sub in [".git/hooks", "project/.git/hooks"] {
            std::fs::create_dir_all(path.join(sub)).unwrap();
        }
        for file in [".git/config", "project/.git/config", "dotfiles-bashrc"] {
            std::fs::write(path.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("dotfiles-bashrc", path.join(".bashrc")).unwrap();
        (dir, path)
    }

    fn names(plantable: &Plantable, root: &Path) -> Vec<String> {
        plantable
            .present
            .iter()
            .map(|found| found.real.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn they_are_found_at_the_top_in_projects_and_behind_links() {
        let (_keep, root) = tree();
        let project = root.join("project");
        let plantable = look(std::slice::from_ref(&root), &[&project], &[], 0).unwrap();
        assert_eq!(
            names(&plantable, &root),
            [
                ".bashrc",
                "dotfiles-bashrc",
                ".git/config",
                ".git/hooks",
                "project/.git/config",
                "project/.git/hooks"
            ]
        );
        assert!(plantable.absent.contains(&root.join(".git/commondir")));
    }

    #[test]
    fn a_tree_that_is_part_of_such_a_name_is_looked_at_too() {
        let (_keep, root) = tree();
        let git = root.join(".git");
        assert_eq!(
            names(&look(&[git], &[], &[], 0).unwrap(), &root),
            [".git/config", ".git/hooks"]
        );
    }

    #[test]
    fn what_has_appeared_is_seen_and_no_link_is_followed_to_see_it() {
        let (_keep, root) = tree();
        for (path, there) in [
            (".git/hooks", true),
            (".bashrc", true),
            ("none", false),
            ("none/x", false),
        ] {
            assert_eq!(appeared(&root.join(path)), there, "{path}");
        }
        std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
        assert!(appeared(&root.join("link")));
        assert!(
            appeared(&root.join("link/x")),
            "whether x is there is not looked at"
        );
    }

    #[test]
    fn a_file_that_says_where_the_repository_is_is_one_of_them() {
        let (_keep, root) = tree();
        let worktree = root.join("worktree");
        std::fs::create_dir(&worktree).unwrap();
        std::fs::write(worktree.join(".git"), "gitdir: ../.git").unwrap();
        assert_eq!(
            names(&look(&[worktree], &[], &[], 0).unwrap(), &root),
            ["worktree/.git"]
        );
    }
}
