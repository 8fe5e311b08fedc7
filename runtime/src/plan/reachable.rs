//! What a plan lets the command reach: a policy is asked for all of it, even if the front end forgot some.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aegis_policy::What;
use aegis_policy::request::MAX_EXCEPT;
use aegis_sys::landlock::fs;

use super::access::{Access, WRITE_TREE, rights};
use super::model::Grant;
use super::ops::{Op, Operation, Operations};
use crate::facts::devices;
use crate::facts::paths::Kind;
use crate::seccomp::{self, SyscallSpec, UnixSockets};
use crate::types::paths::{is_below, parents};
use crate::types::{GrantOrigin, Network, PathMap};

/// What a plan makes reachable.
pub(super) struct Reachable<'a> {
    pub root: &'a Operations,
    /// Landlock's rules.
    pub rules: &'a PathMap<u64>,
    pub network: Network,
    pub listen: &'a [u16],
    pub passed: &'a BTreeMap<OsString, OsString>,
    pub syscalls: &'a SyscallSpec,
}

impl Reachable<'_> {
    /// Adds a grant for everything that no grant covers.
    pub fn add_missing(&self, grants: &mut Vec<Grant>) {
        let mut wanted = self.paths(grants);
        wanted.extend(self.beside_paths());
        for what in wanted {
            if grants.iter().all(|grant| grant.what != what) {
                grants.push(Grant::new(what, GrantOrigin::Plan));
            }
        }
    }

    /// Takes out of the grants what the root hides and nothing else shows: a policy is not asked about it. Nothing else is
    /// excepted, whatever a front end says.
    pub fn except_hidden(&self, grants: &mut [Grant]) {
        let mut binds: Vec<(&Path, &Path)> = Vec::new();
        let mut hidden: Vec<&Path> = Vec::new();
        for made in self.root.iter() {
            match &made.op {
                Op::Bind { source, .. } => binds.push((&made.at, &source.path)),
                Op::Hide { only: true, .. } => hidden.push(&made.at),
                _ => {}
            }
        }
        // Where a place of the host is shown under another name, its mask is not the one that is at its own.
        if binds.iter().any(|(at, source)| at != source) {
            hidden.clear();
        }
        hidden.retain(|path| !binds.iter().any(|(at, _)| is_below(at, path)));
        for grant in grants {
            if let Some((except, path, tree)) = grant.what.place_mut() {
                let tree_of = Path::new(OsStr::from_bytes(path.as_bytes()));
                let in_it = hidden
                    .iter()
                    .filter(|hidden| *tree && **hidden != tree_of && is_below(hidden, tree_of));
                *except = in_it
                    .take(MAX_EXCEPT)
                    .map(|hidden| (*hidden).into())
                    .collect();
            }
        }
    }

    fn beside_paths(&self) -> Vec<What> {
        let mut wanted = Vec::new();
        for operation in self.root.iter() {
            let device = match &operation.op {
                Op::Device { path, .. } if devices::is_always_there(path) => continue,
                Op::Device { path, name, .. } => {
                    (name.clone()).unwrap_or_else(|| path.to_string_lossy().into_owned())
                }
                Op::Pseudoterminals => "pty".into(),
                Op::Private { exec: true } => {
                    wanted.push(Access::Exec.what(&operation.at, true, None));
                    continue;
                }
                _ => continue,
            };
            wanted.push(What::Device { device });
        }
        if self.network == Network::Host {
            wanted.push(What::NetHost {});
        }
        wanted.extend(self.listen.iter().map(|port| What::Listen { port: *port }));
        let name = |name: &OsString| name.to_string_lossy().into_owned();
        let passed = self.passed.keys().map(name);
        wanted.extend(passed.map(|name| What::Environment { name }));
        let socket = match self.syscalls.unix_sockets {
            UnixSockets::None => None,
            UnixSockets::Private => {
                wanted.push(private_sockets());
                None
            }
            UnixSockets::Any => Some("socket".to_owned()),
        };
        let allowed = self.syscalls.allow.iter();
        let beyond = allowed.filter(|call| !seccomp::is_in_default_set(call));
        let calls = beyond.cloned().chain(socket);
        wanted.extend(calls.map(|name| What::Syscall { name }));
        wanted
    }

    /// Host paths that no grant covers, by the rights that rules and mounts together leave.
    fn paths(&self, grants: &[Grant]) -> Vec<What> {
        let granted = Granted::of(grants);
        // By path, so that what lies in a directory follows the directory.
        let mut places: Vec<(&Path, u64, Option<&Operation>)> = Vec::new();
        places.extend(
            self.rules
                .iter()
                .map(|(path, access)| (Path::new(path), *access, None)),
        );
        let binds = (self.root.iter()).filter(|made| matches!(made.op, Op::Bind { .. }));
        places.extend(binds.map(|bind| (&*bind.at, 0, Some(bind))));
        places.sort_by_key(|(path, ..)| path.as_os_str());
        let mut above: Vec<(&Path, u64, Option<&Operation>)> = Vec::new();
        let mut missing = Vec::new();
        for (path, access, bind) in places {
            while above.last().is_some_and(|(dir, ..)| !is_below(path, dir)) {
                above.pop();
            }
            let (all, shown) = (above.last()).map_or((0, None), |(_, all, shown)| (*all, *shown));
            let (access, bind) = (access | all, bind.or(shown));
            above.push((path, access, bind));
            if let Some(bind) = bind {
                missing.extend(wanted(bind, path, access, &granted));
            }
        }
        missing
    }
}

/// As a policy is asked for the sandbox's own sockets.
pub(crate) fn private_sockets() -> What {
    What::Sockets {
        name: "private".into(),
    }
}

/// The part of the rights `access` on a path in a bind that is not granted.
fn wanted(bind: &Operation, path: &Path, access: u64, granted: &Granted) -> Vec<What> {
    let at = &bind.at;
    let Op::Bind {
        source,
        write,
        exec,
        overlay: _,
    } = &bind.op
    else {
        return Vec::new();
    };
    let top = path == at;
    let host = match path.strip_prefix(at) {
        Ok(rest) if !top => source.path.join(rest),
        _ => source.path.clone(),
    };
    let given = granted.on(&host);
    // Names alone may be listed everywhere.
    let may = |rights: u64| access & rights & !fs::READ_DIR != 0;
    let lacks = |rights: u64, right: u64| may(rights) && given & right == 0;
    let tree = !top || source.kind == Kind::Directory;
    let mut wanted = Vec::new();
    if *write && lacks(WRITE_TREE & !fs::READ_FILE, fs::WRITE_FILE) {
        wanted.push(Access::Write);
    }
    if *exec && lacks(fs::EXECUTE, fs::EXECUTE) {
        wanted.push(Access::Exec);
    }
    if wanted.is_empty() && lacks(fs::READ_FILE, fs::READ_FILE) {
        wanted.push(Access::Read);
    }
    let what = |access: Access| access.what(&host, tree, None);
    wanted.into_iter().map(what).collect()
}

/// Rights by granted host path: on the path itself, and on everything below it.
struct Granted(PathMap<(u64, u64)>);

impl Granted {
    fn of(grants: &[Grant]) -> Self {
        let mut map = PathMap::default();
        for grant in grants {
            let (tree, access) = match &grant.what {
                What::Read { tree, .. } => (*tree, rights(false, false, false)),
                What::Write { tree, .. } => (*tree, rights(false, true, false)),
                What::Exec { tree, .. } => (*tree, rights(false, false, true)),
                _ => continue,
            };
            let Some(path) = grant.path() else { continue };
            let (own, below): &mut (u64, u64) = map.entry(path.into()).or_default();
            *own |= access;
            *below |= if tree { access } else { 0 };
        }
        Self(map)
    }

    fn on(&self, path: &Path) -> u64 {
        let own = self.0.get(path.as_os_str()).map_or(0, |(own, _)| *own);
        let above = parents(path).filter_map(|dir| self.0.get(dir.as_os_str()));
        above.fold(own, |all, (_, below)| all | below)
    }
}
