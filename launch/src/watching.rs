//! A run that is held against what is ordinary while it goes on: news of what it does come from whoever observes it, what is
//! out of the ordinary is decided by the policy, and reacted to at once.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aegis_audit::event::Reaction;
use aegis_learn::{Baseline, Variables, Watch};
use aegis_observation::Observation;
use aegis_observation::protocol::Guard;
use aegis_policy::model::{AnomalyKind, OnBlockedAnomaly};
use aegis_policy::{
    Context, Decision, Hash, HostPath, Policy, Request as Asked, Verdict, What, decide,
};
use aegis_profile::{BaselineFile, Declared, Diagnostic, Profile};
use aegis_sys::files;

/// What is held against what.
#[derive(Debug)]
pub(crate) struct Watching {
    watch: Watch,
    baseline: Option<Hash>,
    work: PathBuf,
    home: PathBuf,
    skill: Option<PathBuf>,
}

/// Something out of the ordinary, decided.
#[derive(Debug)]
pub(crate) struct Found {
    pub request: Asked,
    pub decision: Decision,
    /// Whether the kernel has refused it.
    refused: bool,
    /// Whether the policy wants what is blocked refused, and there are kernels that can.
    to_refuse: bool,
}

impl Found {
    /// What is to be done, where nobody has to be asked.
    pub fn reaction(&self) -> Option<Reaction> {
        match self.decision.verdict {
            Verdict::Allow => Some(Reaction::Recorded),
            Verdict::Warn => Some(Reaction::Warned),
            Verdict::Review => None,
            Verdict::Block if self.refused && self.to_refuse => Some(Reaction::Refused),
            Verdict::Block => Some(Reaction::Killed),
        }
    }

    /// What the policy wants instead of this reaction, where that was not possible.
    pub fn instead_of(&self, reaction: Reaction) -> Option<Reaction> {
        let missed = self.to_refuse
            && self.decision.verdict == Verdict::Block
            && reaction != Reaction::Refused;
        missed.then_some(Reaction::Refused)
    }
}

impl Watching {
    /// Reads the baseline that the profile names, if it names one. `home`: what `$HOME` of the profile stands for, which is not always
    /// that of the policy.
    ///
    /// # Errors
    ///
    /// It is not there, or not the one that is named.
    pub fn prepare(
        profile: &Profile,
        skill: Option<&Path>,
        home: PathBuf,
        context: &Context,
    ) -> Result<Self, String> {
        let baseline = baseline(profile, skill).map_err(|missing| {
            let (origin, help) = (&missing.origin, missing.help.unwrap_or_default());
            let place = format!("{}:{}", origin.file, origin.line);
            format!("{place}: {}\n  help: {help}", missing.message)
        })?;
        let (baseline, hash) = baseline.unzip();
        let path = |path: &HostPath| PathBuf::from(OsStr::from_bytes(path.as_bytes()));
        Ok(Self {
            watch: Watch::new(baseline).under(profile),
            baseline: hash,
            work: path(&context.work),
            home,
            skill: context.skill.as_ref().map(path),
        })
    }

    /// The hash of the baseline.
    pub fn baseline(&self) -> Option<Hash> {
        self.baseline
    }

    fn around(&self) -> Variables<'_> {
        Variables {
            work: &self.work,
            home: &self.home,
            skill: self.skill.as_deref(),
        }
    }

    /// What the kernel is to kill, or to refuse: where the policy blocks any of a kind.
    pub fn guard(&self, policy: &Policy, context: &Context) -> Guard {
        let blocks = |kind| verdict(policy, context, kind) == Verdict::Block;
        let (programs, addresses) = (blocks(AnomalyKind::Exec), blocks(AnomalyKind::Connect));
        Guard {
            refuses: refuses(policy),
            ..self.watch.guard(&self.around(), programs, addresses)
        }
    }

    /// What of the news is out of the ordinary, and what the policy says to it.
    pub fn look(&mut self, news: &Observation, policy: &Policy, context: &Context) -> Vec<Found> {
        let is_forbidden = |path: &Path| {
            let what = What::Read {
                except: Vec::new(),
                path: path.into(),
                tree: false,
            };
            let decision = decided(policy, context, what).decision;
            decision.verdict == Verdict::Block && !decision.rules.is_empty()
        };
        let is_asked = |kind| verdict(policy, context, kind) == Verdict::Review;
        let around = Variables {
            work: &self.work,
            home: &self.home,
            skill: self.skill.as_deref(),
        };
        let anomalies = self.watch.look(news, &around, &is_forbidden, &is_asked);
        let found = anomalies.into_iter().map(|anomaly| {
            let of = HostPath(anomaly.what.as_bytes().to_vec());
            let kind = anomaly.kind;
            Found {
                refused: anomaly.refused,
                to_refuse: kind.can_be_refused() && refuses(policy),
                ..decided(policy, context, What::Anomaly { kind, of })
            }
        });
        found.collect()
    }
}

fn decided(policy: &Policy, context: &Context, what: What) -> Found {
    let request = Asked {
        approvals: Vec::new(),
        context: context.clone(),
        what,
    };
    let decision = decide(policy, &request);
    Found {
        request,
        decision,
        refused: false,
        to_refuse: false,
    }
}

/// What the policy says to any anomaly of a kind.
fn verdict(policy: &Policy, context: &Context, kind: AnomalyKind) -> Verdict {
    let of = HostPath::default();
    let found = decided(policy, context, What::Anomaly { kind, of });
    found.decision.verdict
}

/// Whether the policy wants what it blocks refused.
fn refuses(policy: &Policy) -> bool {
    policy.documents().on_blocked_anomaly() == OnBlockedAnomaly::Refuse
}

/// The baseline that a profile names, if it names one. `skill`: as in [`Loaded`](aegis_profile::Loaded).
///
/// # Errors
///
/// It is not there, or not the one that is named: `--observe` does not start such a run.
pub fn baseline(
    profile: &Profile,
    skill: Option<&Path>,
) -> Result<Option<(Baseline, Hash)>, Box<Diagnostic>> {
    let named = profile.baseline.as_ref().map(|named| {
        let place = place_of(named, skill);
        read(&place, &named.value.hash).map_err(|error| {
            let message = format!("the baseline {}: {error}", place.display());
            Box::new(Diagnostic::at(named.origin.clone(), message).with_help(
                "learn it anew (aegis-learn), or take `baseline` out of the profile, and what the sandbox refuses is out of the ordinary",
            ))
        })
    });
    named.transpose()
}

/// Where a baseline is: beside the profile that names it.
pub(crate) fn place_of(named: &Declared<BaselineFile>, skill: Option<&Path>) -> PathBuf {
    let profile = Path::new(&*named.origin.file);
    let directory = profile.parent().filter(|_| profile.is_file());
    (directory.or(skill).unwrap_or(Path::new("."))).join(&named.value.file)
}

/// Reads a baseline, and compares it with its hash.
fn read(place: &Path, hash: &str) -> Result<(Baseline, Hash), String> {
    let file = files::open_regular(place).map_err(|error| error.to_string())?;
    let mut json = Vec::new();
    let read = file.take(aegis_learn::LONGEST + 1).read_to_end(&mut json);
    read.map_err(|error| error.to_string())?;
    if json.len() as u64 > aegis_learn::LONGEST {
        return Err("it is longer than 16 MiB".into());
    }
    let own = Hash::of(&json);
    if own.to_string() != hash {
        return Err(format!(
            "it is not the one that the profile names: its hash is {own}"
        ));
    }
    let baseline = Baseline::from_json(&json).map_err(|error| error.to_string())?;
    Ok((baseline, own))
}
