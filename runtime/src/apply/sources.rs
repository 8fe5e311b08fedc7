//! The host side of the mounts, for a sandbox started by root: PID 1 will be another user, who
//! could not reach what root was granted, so the trees are taken here, as detached mounts.
//!
//! An ordinary user's PID 1 is the same user, and takes them itself.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crate::error::{Error, Failure};
use crate::facts::paths::HostPath;
use crate::plan::{Op, Plan};
use aegis_sys::{mount, namespaces};

use crate::types::Step;

/// Detached mounts by their index in [`Plan::root`]; paths that could not be id-mapped.
#[derive(Default)]
pub(super) struct Sources {
    pub trees: HashMap<usize, OwnedFd>,
    pub unmapped: Vec<PathBuf>,
}

pub(super) fn open(plan: &Plan) -> Result<Sources, Error> {
    let mut sources = Sources::default();
    if !plan.identity.switch {
        return Ok(sources);
    }
    let identity = (plan.identity.uid, plan.identity.gid);
    let mut maps: HashMap<(u32, u32), OwnedFd> = HashMap::new();
    for (index, operation) in plan.root.iter().enumerate() {
        let Op::Bind { source, .. } = &operation.op else {
            continue;
        };
        let fail = Failure::on(Step::Ids, &source.path);
        let tree = take(source)?;
        if let Some(owner) = &source.idmap {
            if !maps.contains_key(owner) {
                let namespace = namespaces::for_idmap(*owner, identity).map_err(fail)?;
                maps.insert(*owner, namespace);
            }
            match mount::set_idmap(tree.as_fd(), maps[owner].as_fd()) {
                Ok(()) => {}
                // The file system does not support it, or is id-mapped already. Without it the
                // command sees the files as another user's: less access, never more.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {
                    sources.unmapped.push(operation.at.clone());
                }
                Err(error) => return Err(fail(error).into()),
            }
        }
        sources.trees.insert(index, tree);
    }
    Ok(sources)
}

/// A detached copy of a host tree, which must still be the inode that was resolved.
pub(super) fn take(source: &HostPath) -> Result<OwnedFd, Failure> {
    let on = |step: Step| Failure::on(step, &source.path);
    // A link may be pinned by a mount of itself; a link in place of anything else is another inode.
    let location =
        mount::locate_itself(&source.path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP | libc::ENOENT | libc::ENOTDIR) => on(Step::Changed)(error),
            _ => on(Step::Mount)(error),
        })?;
    if source.ino != 0 {
        let found = rustix::fs::fstat(&location).map_err(|error| on(Step::Mount)(error.into()))?;
        if (found.st_dev, found.st_ino) != (source.dev, source.ino) {
            let error = io::Error::from_raw_os_error(libc::ESTALE);
            return Err(on(Step::Changed)(error));
        }
    }
    mount::clone_tree(location.as_fd()).map_err(on(Step::Mount))
}
