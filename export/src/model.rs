//! What is exported, and what of it is lost.

use std::fmt;

use aegis_policy::Verdict;
use aegis_profile::Profile;
use aegis_runtime::plan::Plan;
use aegis_runtime::seccomp::{self, Filter};
use aegis_runtime::types::Network;
use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::host::Host;
use crate::keys::{self, Key};

/// What no other enforcer has.
const BY_NAME: &str = "hosts by name need the egress broker of aegis-run, which lets through those and no others: with no network none of them is reached";

/// Ports of a private network.
const PUBLISHED: &str = "ports are published by the egress broker of aegis-run: what listens inside is reached by nobody outside";

/// How an export differs from the profile in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Permits more than the profile.
    Wider,
    /// Permits less than the profile: something may not work.
    Narrower,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wider => "wider",
            Self::Narrower => "narrower",
        })
    }
}

/// Something that a format cannot express.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What of the profile.
    #[serde(serialize_with = "as_text")]
    pub key: Key,
    /// Whether more or less is permitted.
    pub effect: Effect,
    /// What, and what can be done about it.
    pub what: String,
}

fn as_text<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// As a person reads it, on one line.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, effect, what } = self;
        write!(f, "{effect}: {key}: {what}")
    }
}

/// A profile that was compiled, to be exported.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    /// The profile, its limits lowered to the policy's ceilings.
    pub profile: &'a Profile,
    /// Its plan.
    pub plan: &'a Plan,
    /// The host that the plan is for.
    pub host: &'a Host,
}

impl Compiled<'_> {
    /// The filter of a sandbox without a supervisor, which none of the other enforcers has.
    pub(crate) fn filter(&self) -> Result<Filter, Error> {
        seccomp::filter_for(&self.plan.syscalls.unattended())
            .map_err(|error| Error::Filter(error.to_string()))
    }

    /// What nobody does for a command that has no supervisor.
    pub(crate) fn unattended(&self) -> &'static str {
        match self.plan.has_private_sockets() {
            true => {
                "nobody binds and connects private sockets for the command, or makes pairs for datagrams: those calls are refused"
            }
            false => "nobody makes pairs of Unix sockets for datagrams: they are refused",
        }
    }

    /// What a format loses, as `held` says for each key.
    pub(crate) fn losses(&self, held: impl Fn(Key, &mut dyn FnMut(Effect, String))) -> Vec<Loss> {
        let mut losses = Vec::new();
        if let Some(policy) = self
            .plan
            .policy
            .as_ref()
            .filter(|policy| policy.verdict == Verdict::Review)
        {
            losses.push(Loss {
                key: Key::Sandbox,
                effect: Effect::Wider,
                what: format!(
                    "the policy {} wants a person to review each run: nobody is asked",
                    policy.name
                ),
            });
        }
        for key in keys::of(self.profile) {
            if key == Key::Outbound && self.plan.network == Network::Brokered {
                losses.push(Loss {
                    key,
                    effect: Effect::Narrower,
                    what: BY_NAME.into(),
                });
            }
            if key == Key::Listen && !self.plan.published.is_empty() {
                losses.push(Loss {
                    key,
                    effect: Effect::Narrower,
                    what: PUBLISHED.into(),
                });
            }
            held(key, &mut |effect, what| {
                losses.push(Loss { key, effect, what })
            });
        }
        losses
    }
}
