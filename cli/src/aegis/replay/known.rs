//! Policies by their hash: from the copies beside a log; else the one in force now, or a template.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_audit::archive::{self, archived_policy};
use aegis_audit::replay::Found;
use aegis_policy::{Hash, Policy, load, templates};
use aegis_profile::Files;

use super::Options;

/// Where policies are looked for.
pub(super) struct Known {
    copies: Option<PathBuf>,
    /// Made when a copy is missing.
    others: Option<Vec<Arc<Policy>>>,
    in_force: Option<Arc<Policy>>,
}

impl Known {
    pub fn new(options: &Options) -> Self {
        let beside = || {
            let log = &options.log;
            if log == Path::new("-") {
                return None;
            }
            match log.is_dir() {
                true => Some(log.join(archive::DIRECTORY)),
                false => Some(log.parent()?.join(archive::DIRECTORY)),
            }
        };
        Self {
            copies: options.policies.clone().or_else(beside),
            others: None,
            in_force: None,
        }
    }

    /// The policy with a hash.
    pub fn find(&mut self, hash: Hash) -> Found {
        let kept = match &self.copies {
            Some(copies) => archived_policy(copies, hash),
            None => Ok(None),
        };
        match kept {
            Ok(Some(kept)) => return of_copy(kept, hash),
            // A copy that was changed says something about whoever could change it.
            Err(error) => return Found::No(error.to_string()),
            Ok(None) => {}
        }
        match self.others().iter().find(|policy| policy.hash() == hash) {
            Some(policy) => Found::Same(policy.clone()),
            None => Found::No(match &self.copies {
                Some(copies) => format!("there is no copy of it in {}", copies.display()),
                None => "name the directory that has copies of policies: --policies".into(),
            }),
        }
    }

    /// The policy that a run would be held against now. `None`: none that could be read.
    pub fn in_force(&mut self) -> Option<Arc<Policy>> {
        self.others();
        self.in_force.clone()
    }

    fn others(&mut self) -> &[Arc<Policy>] {
        if self.others.is_none() {
            let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            let home = std::env::home_dir();
            let uid = rustix::process::geteuid().as_raw();
            let now = load::effective(None, uid, home.as_deref(), config.as_deref(), &Files);
            self.in_force = now.ok().map(Arc::new);
            let templates = templates::ALL
                .iter()
                .filter_map(|template| Policy::new(vec![template.document()]).ok())
                .map(Arc::new);
            self.others = Some(self.in_force.iter().cloned().chain(templates).collect());
        }
        self.others.as_deref().unwrap_or_default()
    }
}

fn of_copy(copy: archive::Archived, hash: Hash) -> Found {
    let engine = copy.engine.clone();
    match Policy::new(copy.documents) {
        Ok(policy) if policy.hash() == hash => Found::Same(Arc::new(policy)),
        Ok(policy) => Found::OtherEngine(Arc::new(policy), engine.to_string()),
        Err(_) if !engine.is_this() => Found::No(format!(
            "its copy is of {engine}, and no policy to this version"
        )),
        Err(error) => Found::No(format!("its copy is not a policy: {error}")),
    }
}
