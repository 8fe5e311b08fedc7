//! What of the host the other formats need beside the plan: the only part of this crate that looks at it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegis_runtime::facts::paths::Link;
use aegis_runtime::plan::{Op, Plan};

use crate::error::Error;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The links on the paths to what is granted.
    pub links: Vec<Link>,
    /// What is hidden, and whether it is a directory.
    pub hidden: BTreeMap<PathBuf, bool>,
}

impl Host {
    /// Looks at what a plan hides.
    ///
    /// # Errors
    /// Something that is to be hidden is not there any more.
    pub fn of(plan: &Plan, links: Vec<Link>) -> Result<Self, Error> {
        let mut hidden = BTreeMap::new();
        // What is masked in /proc is there or not as the kernel is built; each format says what it does about it.
        for made in plan
            .root
            .iter()
            .filter(|made| made.op.is_mask() && !made.at.starts_with("/proc"))
        {
            match std::fs::symlink_metadata(&made.at) {
                Ok(found) => hidden.insert(made.at.clone(), found.is_dir()),
                Err(_) if made.op == Op::Mask => None,
                Err(cause) => {
                    let path = made.at.clone();
                    return Err(Error::Hidden { path, cause });
                }
            };
        }
        Ok(Self { links, hidden })
    }
}
