//! The details of the start and the end of a run.

use aegis_policy::request::Traffic;
use aegis_profile::Hash;
use serde::{Deserialize, Serialize};

/// The detail of `run.start`. The decision is in the `tool.exec` that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStart {
    /// The version of Aegis.
    pub aegis: String,
    /// The command; bytes that are not UTF-8 are replaced.
    pub argv: Vec<String>,
    /// What this host lacks.
    pub degraded: Vec<Degraded>,
    /// The profile's file, as it was named.
    pub file: Option<String>,
    /// Descriptors passed on beside 0, 1 and 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_fds: Vec<i32>,
    /// The pid of the supervisor.
    pub pid: u32,
    /// The names of the policies in force.
    pub policy: String,
    /// The profile's name.
    pub profile: String,
    /// The profile's hash.
    pub profile_hash: Hash,
    /// The user for whom the command runs.
    pub uid: u32,
}

/// A layer that this host lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Degraded {
    /// The layer.
    pub layer: String,
    /// How to fix it.
    #[serde(rename = "mend")]
    pub fix: String,
    /// What is missing, and what stands in for it.
    pub what: String,
}

/// The detail of `run.end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    /// What ended the run.
    pub cause: Cause,
    /// Why the run failed or was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit status of the front end.
    pub exit_status: u8,
    /// The keys of the limits that were met.
    pub limits_met: Vec<String>,
    /// The maximum resident memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rss_kib: Option<u64>,
    /// The hash of the plan. `None`, written as an empty string: no plan was carried out.
    #[serde(with = "or_empty")]
    pub plan_hash: Option<Hash>,
    /// Files made by the run that programs of the host act upon.
    pub planted: Vec<String>,
    /// How many denials were recorded before.
    #[serde(rename = "refused")]
    pub denials: u64,
    /// What was exchanged with the hosts that it reached by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// How long the run took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_us: Option<u64>,
}

impl RunEnd {
    /// The end of a run that was never started.
    pub fn not_started(cause: Cause, error: Option<String>, exit_status: u8) -> Self {
        Self {
            cause,
            error,
            exit_status,
            limits_met: Vec::new(),
            max_rss_kib: None,
            plan_hash: None,
            planted: Vec::new(),
            denials: 0,
            traffic: Vec::new(),
            wall_us: None,
        }
    }
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It did something out of the ordinary, and the policy, or a person, says that it ends with that.
    Anomaly,
    /// The command exited.
    Exited,
    /// Aegis failed: see [`RunEnd::error`].
    Failed,
    /// The limit `file-size`.
    FileSizeLimit,
    /// A signal ended the command.
    Killed,
    /// The limit `memory`.
    MemoryLimit,
    /// The limit `output`.
    OutputLimit,
    /// What the command wrote could not all be passed on.
    OutputLost,
    /// The policy did not let it start.
    Policy,
    /// The profile asks for what cannot be granted.
    Refused,
    /// The limit `time`.
    TimeLimit,
}

mod or_empty {
    use aegis_profile::Hash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub fn serialize<S: Serializer>(hash: &Option<Hash>, to: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => hash.serialize(to),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Hash>, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(de::Error::custom),
        }
    }
}
