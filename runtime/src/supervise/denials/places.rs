//! Where a name in a message lies in the plan, and what may be done there. Nothing is looked at.

use std::path::{Component, Path, PathBuf};

use crate::plan::{Op, Plan};
use aegis_sys::landlock::fs;

/// The rights granted on a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// A private directory of the sandbox's own.
    pub own: bool,
    pub visible: bool,
    pub read: bool,
    pub write: bool,
    pub exec: bool,
}

/// Whether the plan shows all of `/usr`, so that the command can see what is there.
pub(super) fn shows_usr(plan: &Plan) -> bool {
    let shown = plan.root.mount_of(Path::new("/usr"));
    shown.is_some_and(|mount| mount.at == Path::new("/usr") && matches!(mount.op, Op::Bind { .. }))
}

/// Whether a path lies in a private directory of the sandbox's own.
pub(super) fn is_private(path: &Path, plan: &Plan) -> bool {
    let shown = plan.root.mount_of(path);
    shown.is_some_and(|mount| matches!(mount.op, Op::Private { .. }))
}

/// An absolute path without `.` and `..`, relative ones taken from the working directory.
pub(super) fn absolute(word: &str, plan: &Plan) -> PathBuf {
    normal(&plan.directory.join(word))
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// The path, with the links that the plan makes followed: /bin/ls is /usr/bin/ls.
pub(super) fn in_plan(path: &Path, plan: &Plan) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..8 {
        let links = plan.root.iter().filter_map(|made| match &made.op {
            Op::Symlink { target } => Some((&*made.at, target)),
            _ => None,
        });
        let mut on_path =
            links.filter_map(|(at, target)| Some((at, target, path.strip_prefix(at).ok()?)));
        let Some((at, target, below)) = on_path.next() else {
            break;
        };
        path = normal(&at.parent().unwrap_or(at).join(target).join(below));
    }
    path
}

pub(super) fn own_place(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev") || path.starts_with("/sys")
}

/// The rights that the plan grants on a path.
pub(super) fn rights(path: &Path, plan: &Plan) -> Rights {
    let access = plan
        .landlock
        .paths
        .iter()
        .filter(|rule| path.starts_with(&rule.path))
        .fold(0, |all, rule| all | rule.access);
    let shown = plan.root.mount_of(path);
    let (write, exec) = match shown.map(|mount| &mount.op) {
        Some(Op::Bind {
            write,
            exec,
            overlay,
            ..
        }) => (*write || *overlay, *exec),
        Some(Op::Tmpfs { .. } | Op::Way)
            if shown.is_some_and(|top| top.op == Op::Way || top.at.parent().is_none()) =>
        {
            let there = plan.root.contains(path);
            return Rights {
                visible: there,
                read: there,
                ..Rights::default()
            };
        }
        // The sandbox's own file in this place is not the one that the host has there.
        Some(Op::Private { .. } | Op::Tmpfs { .. }) => {
            return Rights {
                own: true,
                ..Rights::default()
            };
        }
        Some(Op::Device { .. } | Op::Pseudoterminals) => (true, false),
        _ => (false, false),
    };
    Rights {
        own: false,
        visible: true,
        read: access & fs::READ_FILE != 0,
        write: write && access & fs::WRITE_FILE != 0,
        exec: exec && access & fs::EXECUTE != 0,
    }
}

/// A path as a profile declares it.
pub(super) fn shorten(path: &Path, plan: &Plan) -> String {
    for (name, base) in &plan.variables {
        if let (true, Ok(rest)) = (base.parent().is_some(), path.strip_prefix(base)) {
            return if rest.as_os_str().is_empty() {
                name.clone()
            } else {
                format!("{name}/{}", rest.display())
            };
        }
    }
    path.display().to_string()
}
