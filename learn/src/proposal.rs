//! The proposal: a profile with its evidence, as a value.

use std::collections::BTreeSet;

use aegis_observation::Tier;
use aegis_profile::BaselineFile;

use crate::evidence::{About, Note};
use crate::extends::Extended;
use crate::headroom::Limit;
use crate::line::Line;
use crate::rules::Rule;

/// What the profile was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Today, as it was given.
    pub date: String,
    /// The command lines, each once, for people.
    pub commands: BTreeSet<String>,
    /// How many runs there were.
    pub runs: usize,
    /// Who saw them.
    pub tiers: BTreeSet<Tier>,
    /// The kernels.
    pub kernels: BTreeSet<String>,
    /// How much was seen and lost.
    pub lost: u64,
    /// When and how the command ran under the profile, where it did as before.
    pub verified: Option<String>,
}

/// A profile with why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// What it was made of.
    pub head: Head,
    /// Its name.
    pub name: Option<String>,
    /// The built-in profiles that it extends.
    pub extends: Vec<Extended>,
    /// The command.
    pub run: Vec<String>,
    /// What it grants beside them, by key.
    pub lines: Vec<Line>,
    /// Whether `syscalls.base` is `learned`.
    pub tight: bool,
    /// System calls that were tried and refused, and that a person could add.
    pub possible_calls: BTreeSet<String>,
    /// Limits.
    pub limits: Vec<Limit>,
    /// What no line says.
    pub notes: Vec<Note>,
    /// How many observations it was made of: evidence counts them.
    pub observations: usize,
    /// The file that has what the runs did, for later ones to be compared with.
    pub baseline: Option<BaselineFile>,
}

impl Proposal {
    /// The rules that made lines of it.
    pub fn rules(&self) -> BTreeSet<Rule> {
        let mut rules: BTreeSet<Rule> = self.lines.iter().map(|line| line.rule).collect();
        if self
            .lines
            .iter()
            .any(|line| line.value.starts_with(['$']) || line.value.starts_with("-$"))
        {
            rules.insert(Rule::Variables);
        }
        rules.extend((!self.limits.is_empty()).then_some(Rule::Headroom));
        rules.insert(Rule::BuiltIn);
        rules
    }

    /// Whether all was seen that the runs did, to their end: no note says that something is [missing](About::Incomplete).
    pub fn is_complete(&self) -> bool {
        !self
            .notes
            .iter()
            .any(|note| note.about == About::Incomplete)
    }
}
