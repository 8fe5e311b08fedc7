//! Policies by their hash: from the copies beside a log, else the policy in force or a template.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_audit::archive::{self, archived_policy};
use aegis_audit::replay::Found;
use aegis_policy::decide::ENGINE;
use aegis_policy::templates::{self, Template};
use aegis_policy::{Hash, Policy};

use super::Options;

/// Where policies are looked up.
pub(super) struct Known {
    copies: Option<PathBuf>,
    /// The policy in force, and templates: for hashes without a copy.
    others: OnceCell<Vec<Arc<Policy>>>,
}

impl Known {
    pub fn new(options: &Options) -> anyhow::Result<Self> {
        let log = &*options.log.resolve()?;
        let beside = match log.is_dir() {
            true => Some(log),
            false => log.parent().filter(|_| log != Path::new("-")),
        };
        let beside = beside.map(|dir| dir.join(archive::DIRECTORY));
        Ok(Self {
            copies: options.policies.clone().or(beside),
            others: OnceCell::new(),
        })
    }

    /// The policy with a hash.
    pub fn find(&self, hash: Hash) -> Found {
        let kept = match &self.copies {
            Some(copies) => archived_policy(copies, hash),
            None => Ok(None),
        };
        match kept {
            Ok(Some(kept)) => return of_copy(kept, hash),
            // A changed copy points at whoever could change it.
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

    fn others(&self) -> &[Arc<Policy>] {
        self.others.get_or_init(|| {
            let template = |template: &Template| Policy::new(vec![template.document()]).ok();
            let templates = templates::ALL.iter().filter_map(template);
            let in_force = aegis_launch::in_force(None).map(|(policy, _)| policy);
            let all = in_force.into_iter().chain(templates);
            all.map(Arc::new).collect()
        })
    }
}

fn of_copy(copy: archive::Archived, hash: Hash) -> Found {
    let engine = copy.engine.clone();
    match Policy::new(copy.documents) {
        Ok(policy) if policy.hash() == hash => Found::Same(Arc::new(policy)),
        Ok(policy) => Found::OtherEngine(Arc::new(policy), engine.to_string()),
        Err(_) if engine != ENGINE => Found::No(format!(
            "its copy is of {engine}, and no policy to this version"
        )),
        Err(error) => Found::No(format!("its copy is not a policy: {error}")),
    }
}
