//! What a command is shown while it is observed for the first time, and no profile says yet what it needs: all of the host that
//! the policy lets a profile have. It is confined all the same: what it writes in the working directory and the home
//! directory goes to overlays, and the rest is read-only.

mod viewer;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aegis_observation::Observation;
use aegis_policy::{Policy, Request, Verdict, decide};
use aegis_profile::{Loaded, Program};
use aegis_runtime::plan::access::Access;

use viewer::declared;
pub use viewer::view;

/// What a learning run is asked for.
#[derive(Clone, Debug, Default)]
pub struct Learning {
    /// The policy, as in [`Launch::policy`](crate::Launch::policy).
    pub policy: Option<String>,
    /// The log's directory, as in [`Launch::audit`](crate::Launch::audit).
    pub audit: Option<PathBuf>,
    /// `$SKILL`: the directory of the profile that is to be written.
    pub skill: Option<PathBuf>,
    /// Places that are shown even if the policy wants them reviewed: a person is then asked when the run starts.
    pub show: Vec<PathBuf>,
    /// The host's network.
    pub network: bool,
    /// Whether what is written in the working directory is kept, and so reaches the host.
    pub keep: bool,
    /// Variables that are passed on beside those of `base`.
    pub pass: Vec<String>,
}

/// What is shown, as a profile, and what is not.
pub struct View {
    /// The profile of the learning run.
    pub profile: Loaded,
    /// Places that are kept from the command.
    pub hidden: Vec<Hidden>,
    /// `$WORK`, free of links.
    pub work: PathBuf,
    /// What `$HOME` of a profile stands for (`home` of [`aegis_runtime::facts::Caller`]): what later runs are held against, too.
    pub home: PathBuf,
    policy: Policy,
    request: Request,
    own: Vec<PathBuf>,
}

impl View {
    /// Whether a program of the host may be executed.
    pub fn may_execute(&self, program: &Path) -> bool {
        let Ok(program) = fs::canonicalize(program) else {
            return false;
        };
        let executable = &self.profile.profile.capabilities.shell_exec;
        executable.iter().any(|item| match &item.value {
            Program::Path(spec) => program.starts_with(Path::new("/").join(&spec.rest)),
            Program::Name { .. } => false,
        })
    }

    /// Places that are kept from the command, and that it asked for.
    pub fn missed(&self, seen: &[Observation]) -> Vec<Hidden> {
        let failed = (seen.iter().flat_map(|seen| &seen.named))
            .filter(|named| named.error.is_some())
            .map(|named| named.path.as_path());
        let asked: BTreeSet<&Path> = failed.collect();
        let hidden = |path: &Path| {
            let above = (self.hidden.iter()).find(|hidden| path.starts_with(&hidden.path))?;
            fs::symlink_metadata(path).ok()?;
            Some(Hidden {
                path: path.to_owned(),
                ..above.clone()
            })
        };
        asked.into_iter().filter_map(hidden).collect()
    }

    /// Passes on a variable more.
    pub fn pass(&mut self, name: &str) {
        let pass = &mut self.profile.profile.environment.pass;
        pass.push(declared(name.to_owned()));
    }

    /// Why the policy never lets a profile have this. What it would ask a person about is not refused.
    pub fn refused(&self, access: Access, path: &Path) -> Option<String> {
        if let Some(own) = self
            .own
            .iter()
            .find(|own| own.starts_with(path) || path.starts_with(own))
        {
            return Some(format!("{} is Aegis's own", own.display()));
        }
        let mut request = self.request.clone();
        let tree = fs::metadata(path).is_ok_and(|found| found.is_dir());
        request.what = access.what(path, tree, None);
        let decision = decide(&self.policy, &request);
        (decision.verdict == Verdict::Block).then(|| decision.reason.to_string())
    }
}

/// A place that a learning run is not shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Which, and all below it that is not shown for another reason.
    pub path: PathBuf,
    /// Why, in words.
    pub reason: String,
    /// Whether no profile can have it, whatever a person says: the policy blocks it, or it is Aegis's own.
    pub is_blocked: bool,
}
