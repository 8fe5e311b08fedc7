//! Approvals by persons, so that they are not asked again; and the records about them.
//!
//! An [`Entry`] is a yes to one exact thing, for one command of one skill under one profile, as one policy
//! asked for it, in the same [`Surroundings`], for one user, until a given time.
//! The [`Store`] keeps those that outlast a run. It does not judge what counts as approved:
//! [`aegis_policy::decide()`] takes the entries' [`Approval`]s as facts of the request, and lifts `review` with those
//! that are bound to it. This module does not ask anybody either: the caller gets the question from [`to_review`]
//! and records the answer with [`answered`].
//!
//! Time is passed in: seconds since 1970.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::event::{Answer, Answered, ApprovalRef, Event, Person, Revoked};
use aegis_policy::decide::{Policy, decide};
use aegis_policy::decision::{Decision, Opinion};
use aegis_policy::model::Verdict;
use aegis_policy::path::HostPath;
use aegis_policy::request::{Approval, Request, What};
use aegis_profile::Hash;

pub use store::{Error, FILE, MAX_BYTES, MAX_ENTRIES, Store, Which};

const DAY: u64 = 24 * 60 * 60;

/// How long an approval holds by default, in seconds.
pub const LASTS: u64 = 30 * DAY;

/// How long it can hold at most, in seconds.
pub const LONGEST: u64 = 366 * DAY;

/// So many characters of a command are stored for lists.
const SHOWN: usize = 200;

/// One thing that needs a person's yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The policy's opinion on it: `review`, and why.
    pub opinion: Opinion,
    /// The thing.
    pub what: What,
}

/// What an approval is bound to beside the request: it is for a command that does the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Hashes of the contents of the files that the command names, by their paths.
    pub files: BTreeMap<HostPath, Hash>,
    /// Values of the variables that a person is asked about; `None`: it is not set.
    pub variables: BTreeMap<String, Option<HostPath>>,
    /// The working directory.
    pub work: HostPath,
}

impl Surroundings {
    /// SHA-256 of its canonical form. A variable's value cannot be read from it, but guessed.
    pub fn hash(&self) -> Hash {
        let files: Vec<_> = self.files.iter().collect();
        Hash::of(&serde_json::to_vec(&(files, &self.variables, &self.work)).unwrap_or_default())
    }
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Who said it.
    pub by: Person,
    /// The command, shortened for lists: only the hash counts.
    pub command: String,
    /// [`What::command_hash`] of that run.
    pub command_hash: Hash,
    /// When it ends.
    pub expires: u64,
    /// When it was said.
    pub granted: u64,
    /// 12 hex digits.
    pub id: String,
    /// The policies whose passphrase was given with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passphrases: Vec<String>,
    /// The policy that asked for it.
    pub policy: Hash,
    /// The profile's name.
    pub profile: String,
    /// The profile's hash.
    pub profile_hash: Hash,
    /// The ids of the rules that asked for it.
    pub rules: Vec<String>,
    /// `$SKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<HostPath>,
    /// [`Surroundings::hash`] of that run.
    pub surroundings: Hash,
    /// The user whose runs it is for.
    pub uid: u32,
    /// What it is for.
    pub what: What,
    /// [`What::hash`] of `what`.
    pub what_hash: Hash,
}

impl Entry {
    /// `by` approves `asked` for a `term`, for runs like `request` in these `surroundings`, as `policy` asks for it. Fails
    /// only if the kernel has no random numbers for its id.
    pub fn new(
        asked: &Asked,
        request: &Request,
        policy: Hash,
        by: &Person,
        surroundings: Hash,
        term: Range<u64>,
    ) -> io::Result<Self> {
        let context = &request.context;
        Ok(Self {
            by: by.clone(),
            command: shown(request.what.command()),
            command_hash: request.what.command_hash(),
            expires: term.end,
            granted: term.start,
            id: store::new_id()?,
            passphrases: Vec::new(),
            policy,
            profile: context.profile.clone(),
            profile_hash: context.profile_hash,
            rules: asked.opinion.rules.iter().map(|r| r.to_string()).collect(),
            skill: context.skill.clone(),
            surroundings,
            uid: context.uid,
            what: asked.what.clone(),
            what_hash: asked.what.hash(),
        })
    }

    /// Whether it holds at `now`. One from the future does not: the clock went back by an unknown amount.
    pub fn holds(&self, now: u64) -> bool {
        self.granted <= now && now < self.expires
    }

    /// The fact for a request of the run whose [`What::command_hash`] is `command`, if it holds at `now`.
    pub fn approval(&self, command: Hash, now: u64) -> Option<Approval> {
        self.holds(now).then(|| Approval {
            at: now,
            command: self.command_hash,
            expires: self.expires,
            held_for: command,
            id: self.id.clone(),
            policy: self.policy,
            profile_hash: self.profile_hash,
            skill: self.skill.clone(),
            what: self.what_hash,
        })
    }

    /// The part that the log records.
    fn told(&self) -> ApprovalRef {
        ApprovalRef {
            expires: self.expires,
            id: self.id.clone(),
            what: self.what_hash,
        }
    }

    /// Whether it is for runs like this, by the hashes of the policy, the command and the surroundings, whatever it approves.
    fn is_for(&self, request: &Request, hashes: [Hash; 3]) -> bool {
        let context = &request.context;
        self.bound_to()
            == (
                context.uid,
                hashes,
                context.profile_hash,
                context.skill.as_ref(),
            )
    }

    fn bound_to(&self) -> (u32, [Hash; 3], Hash, Option<&HostPath>) {
        (
            self.uid,
            [self.policy, self.command_hash, self.surroundings],
            self.profile_hash,
            self.skill.as_ref(),
        )
    }

    /// Whether both approve the same thing.
    fn is_same_as(&self, other: &Self) -> bool {
        self.what_hash == other.what_hash && self.bound_to() == other.bound_to()
    }
}

/// The beginning of a command.
fn shown(command: &[HostPath]) -> String {
    let words: Vec<_> = (command.iter())
        .map(|word| String::from_utf8_lossy(word.as_bytes()))
        .collect();
    let text = words.join(" ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What in a request needs a person's yes, given the decision about it: nothing unless that is `review`. If
/// everything here is approved, the request is let through.
pub fn to_review(policy: &Policy, request: &Request, decision: &Decision) -> Vec<Asked> {
    if decision.verdict != Verdict::Review {
        return Vec::new();
    }
    let whole = |decision: Decision| Asked {
        opinion: decision.into(),
        what: request.what.clone(),
    };
    let What::Tool { grants, .. } = &request.what else {
        return vec![whole(decision.clone())];
    };
    let mut all: Vec<Asked> = Vec::new();
    // There may be thousands.
    let mut known = BTreeSet::new();
    for (grant, opinion) in grants.iter().zip(&decision.parts) {
        if opinion.verdict == Verdict::Review && known.insert(grant.hash()) {
            all.push(Asked {
                opinion: opinion.clone(),
                what: grant.clone(),
            });
        }
    }
    // The decision has the worst verdict of the grants and the run itself, not which one has it: with all grants
    // approved, the remaining verdict is that of the run.
    let mut rest = request.clone();
    let command = request.what.command_hash();
    rest.approvals
        .extend(known.into_iter().map(|what| Approval {
            at: 0,
            command,
            expires: 1,
            held_for: command,
            id: String::new(),
            policy: policy.hash(),
            profile_hash: request.context.profile_hash,
            skill: request.context.skill.clone(),
            what,
        }));
    let decision = decide(policy, &rest);
    if decision.verdict == Verdict::Review {
        all.push(whole(decision));
    }
    all
}

/// The event of a question and its answer: the request as shown, the decision that caused the
/// question, the answer, the reason if nobody was asked, and the entries made by the answer.
pub fn answered(
    run: &str,
    request: &Request,
    decision: &Decision,
    answer: Answer,
    reason: Option<&str>,
    entries: &[Entry],
    by: &Person,
) -> Event {
    let answered = Answered {
        answer,
        approvals: entries.iter().map(Entry::told).collect(),
        by: by.clone(),
        passphrases: (entries.first()).map_or_else(Vec::new, |entry| entry.passphrases.clone()),
        revoked: None,
        reason: reason.map(str::to_owned),
    };
    Event::approval(run, decision.policy, answered).decided(request.clone(), decision.clone())
}

/// The event of a revoked approval. No policy is in force at that time.
pub fn revoked(run: &str, entry: &Entry, by: &Person) -> Event {
    let answered = Answered {
        answer: Answer::Revoked,
        approvals: vec![entry.told()],
        by: by.clone(),
        passphrases: Vec::new(),
        revoked: Some(Revoked {
            policy: entry.policy,
            profile: entry.profile.clone(),
            profile_hash: entry.profile_hash,
            what: entry.what.clone(),
        }),
        reason: None,
    };
    Event::approval(run, Hash::default(), answered)
}
