//! The part of a record that is the same in many runs. It is stored once, in a file beside the log, and records refer to it.
//!
//! A record whose member `rest` is a hash is *short*: the file `repeated/HASH.json` is a JSON object in canonical form, with
//! that SHA-256, whose members belong to the record too. Both have the same outer structure, and no value is in both. So
//! the whole record is a pure function of the two, and the chain, which has the hash, covers both.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use aegis_sys::files;
use serde::{Deserialize, Serialize};

use super::canonical;
use super::line::MAX_LINE;
use crate::archive;
use crate::event::{Degraded, Detail, Event, Grant, RunStart};
use aegis_policy::decision::{Decision, Opinion};
use aegis_policy::model::Verdict;
use aegis_policy::path::HostPath;
use aegis_policy::request::{Approval, Context, Request, What};
use aegis_profile::Hash;

/// Where the files are, below the directory of a log.
pub const DIRECTORY: &str = "repeated";

/// How much of them a reader keeps in memory.
const KEPT: usize = 64 << 20;

/// The two parts of an event: what its record has itself, and the rest.
pub(super) struct Parts<'a> {
    pub own: Own<'a>,
    pub rest: Option<Rest<'a>>,
}

/// What the record has itself.
pub(super) struct Own<'a> {
    pub decision: Option<OwnDecision<'a>>,
    pub detail: Option<OwnDetail<'a>>,
    pub policy: Option<Hash>,
    pub request: Option<OwnRequest<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum OwnDecision<'a> {
    Whole(&'a Decision),
    Short { input: Hash, verdict: Verdict },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum OwnDetail<'a> {
    Whole(&'a Detail),
    Start { argv: &'a [String], pid: u32 },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum OwnRequest<'a> {
    Whole(&'a Request),
    Tool {
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        approvals: &'a [Approval],
        what: OwnTool<'a>,
    },
    Approved {
        approvals: &'a [Approval],
    },
}

#[derive(Serialize)]
pub(super) struct OwnTool<'a> {
    command: &'a [HostPath],
}

/// What is in the file.
#[derive(Serialize)]
pub(super) struct Rest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<RestDecision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<RestDetail<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RestRequest<'a>>,
}

#[derive(Serialize)]
struct RestDecision<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    parts: &'a [Opinion],
    policy: Hash,
    reason: &'a str,
    rules: &'a [Arc<str>],
}

#[derive(Serialize)]
#[serde(untagged)]
enum RestDetail<'a> {
    Grant(&'a Grant),
    Start(RestStart<'a>),
}

#[derive(Serialize)]
struct RestStart<'a> {
    aegis: &'a str,
    degraded: &'a [Degraded],
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    keep_fds: &'a [i32],
    policy: &'a str,
    profile: &'a str,
    profile_hash: Hash,
    uid: u32,
}

#[derive(Serialize)]
struct RestRequest<'a> {
    context: &'a Context,
    what: RestWhat<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RestWhat<'a> {
    Tool {
        action: &'static str,
        grants: &'a [What],
    },
    Whole(&'a What),
}

impl<'a> Parts<'a> {
    /// Of the start of a run, the decision about a run, and that about one of its grants. Whatever else there is stays whole.
    pub fn of(event: &'a Event) -> Self {
        let mut own = Own {
            decision: event.decision.as_ref().map(OwnDecision::Whole),
            detail: event.detail.as_ref().map(OwnDetail::Whole),
            policy: (event.policy != Hash::default()).then_some(event.policy),
            request: event.request.as_ref().map(OwnRequest::Whole),
        };
        let mut rest = Rest {
            decision: None,
            detail: None,
            policy: own.policy,
            request: None,
        };
        let decided = event.request.as_ref().zip(event.decision.as_ref());
        match (&event.detail, decided) {
            (Some(Detail::RunStart(start)), None) => {
                own.detail = Some(OwnDetail::Start {
                    argv: &start.argv,
                    pid: start.pid,
                });
                rest.detail = Some(RestDetail::Start(RestStart::of(start)));
            }
            (Some(Detail::Grant(grant)), Some((request, decision))) => {
                own.detail = None;
                own.request = (!request.approvals.is_empty()).then_some(OwnRequest::Approved {
                    approvals: &request.approvals,
                });
                rest.detail = Some(RestDetail::Grant(grant));
                rest.request = Some(RestRequest {
                    context: &request.context,
                    what: RestWhat::Whole(&request.what),
                });
                (own.decision, rest.decision) = decision_parts(decision);
            }
            (_, Some((request, decision))) => {
                let What::Tool { command, grants } = &request.what else {
                    return Self { own, rest: None };
                };
                own.request = Some(OwnRequest::Tool {
                    approvals: &request.approvals,
                    what: OwnTool { command },
                });
                rest.request = Some(RestRequest {
                    context: &request.context,
                    what: RestWhat::Tool {
                        action: request.what.action(),
                        grants,
                    },
                });
                (own.decision, rest.decision) = decision_parts(decision);
            }
            _ => return Self { own, rest: None },
        }
        own.policy = None;
        Self {
            own,
            rest: Some(rest),
        }
    }
}

fn decision_parts(decision: &Decision) -> (Option<OwnDecision<'_>>, Option<RestDecision<'_>>) {
    let own = OwnDecision::Short {
        input: decision.input,
        verdict: decision.verdict,
    };
    let rest = RestDecision {
        parts: &decision.parts,
        policy: decision.policy,
        reason: &decision.reason,
        rules: &decision.rules,
    };
    (Some(own), Some(rest))
}

impl<'a> RestStart<'a> {
    fn of(start: &'a RunStart) -> Self {
        Self {
            aegis: &start.aegis,
            degraded: &start.degraded,
            file: start.file.as_deref(),
            keep_fds: &start.keep_fds,
            policy: &start.policy,
            profile: &start.profile,
            profile_hash: start.profile_hash,
            uid: start.uid,
        }
    }
}

/// The files beside a log, for its readers.
#[derive(Default)]
pub(super) struct Repeated {
    /// `None`: of a stream, where they can be among the lines.
    dir: Option<PathBuf>,
    known: RefCell<BTreeMap<Hash, Rc<[u8]>>>,
}

impl Repeated {
    /// Those beside the log in a directory.
    pub fn beside(log: Option<PathBuf>) -> Self {
        Self {
            dir: log.map(|log| log.join(DIRECTORY)),
            known: RefCell::default(),
        }
    }

    /// Whether there is a place to look.
    pub fn has_place(&self) -> bool {
        self.dir.is_some()
    }

    /// The contents of one. An error says in words why they cannot be had.
    pub fn get(&self, hash: Hash) -> Result<Rc<[u8]>, String> {
        if let Some(known) = self.known.borrow().get(&hash) {
            return Ok(known.clone());
        }
        let Some(dir) = &self.dir else {
            return Err(format!(
                "it refers to {DIRECTORY}/{hash}.json, which is beside the log and not in what is read; \
                 `aegis audit export` writes both"
            ));
        };
        let path = dir.join(archive::name(hash));
        let unusable = |why: String| {
            format!("it refers to {DIRECTORY}/{hash}.json, which cannot be used: {why}")
        };
        let mut bytes = Vec::new();
        files::open_regular(&path)
            .and_then(|file| file.take(MAX_LINE as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| unusable(error.to_string()))?;
        self.put(hash, bytes)
            .ok_or_else(|| unusable("its contents were changed: their hash is not the one in its name\n  help: put back an unchanged copy, or remove it: the next run that records the same writes it again".into()))
    }

    /// Keeps contents. `None`: the hash is another one.
    pub fn put(&self, hash: Hash, bytes: Vec<u8>) -> Option<Rc<[u8]>> {
        if Hash::of(&bytes) != hash {
            return None;
        }
        let bytes: Rc<[u8]> = bytes.into();
        let mut known = self.known.borrow_mut();
        // They can be read again, unless they came with the lines.
        let size: usize = known.values().map(|known| known.len()).sum();
        if size > KEPT && self.has_place() {
            known.clear();
        }
        known.insert(hash, bytes.clone());
        Some(bytes)
    }

    /// A whole record. An error says in words what is wrong.
    pub fn whole<'l>(&self, record: &'l [u8]) -> Result<Cow<'l, [u8]>, String> {
        match referred(record) {
            None => Ok(record.into()),
            Some(hash) => merged(record, &self.get(hash)?).map(Cow::Owned),
        }
    }
}

/// What a short record refers to. `None`: it is whole.
pub(super) fn referred(record: &[u8]) -> Option<Hash> {
    #[derive(Deserialize)]
    struct Short {
        rest: Option<Hash>,
    }
    serde_json::from_slice::<Short>(record).ok()?.rest
}

/// Puts a short record and its rest together, in canonical form.
fn merged(record: &[u8], rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut whole = Vec::with_capacity(record.len() + rest.len());
    let mut own = members(record)?;
    own.retain(|(name, _)| *name != b"rest");
    merge(own, members(rest)?, &mut whole)?;
    Ok(whole)
}

type Members<'a> = Vec<(&'a [u8], &'a [u8])>;

fn members(object: &[u8]) -> Result<Members<'_>, String> {
    let mut members = Vec::new();
    canonical::members(object, |name, value| members.push((name, value)))
        .map_err(|fault| format!("it is not in canonical form: {fault}"))?;
    Ok(members)
}

fn merge(one: Members<'_>, other: Members<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let (mut one, mut other) = (one.into_iter().peekable(), other.into_iter().peekable());
    out.push(b'{');
    let mut first = true;
    loop {
        // The names of records are ASCII, so that their order is that of their bytes.
        let (name, own, rest) = match (one.peek().copied(), other.peek().copied()) {
            (None, None) => break,
            (Some((name, own)), None) => (name, Some(own), None),
            (None, Some((name, rest))) => (name, None, Some(rest)),
            (Some((name, own)), Some((same, rest))) => match name.cmp(same) {
                std::cmp::Ordering::Less => (name, Some(own), None),
                std::cmp::Ordering::Greater => (same, None, Some(rest)),
                std::cmp::Ordering::Equal => (name, Some(own), Some(rest)),
            },
        };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name);
        out.extend_from_slice(b"\":");
        match (own, rest) {
            (Some(own), Some(rest)) if own.starts_with(b"{") && rest.starts_with(b"{") => {
                merge(members(own)?, members(rest)?, out)?;
            }
            (Some(_), Some(_)) => {
                let name = String::from_utf8_lossy(name);
                return Err(format!(
                    "the record and what it refers to both have `{name}`"
                ));
            }
            (value, None) | (None, value) => out.extend_from_slice(value.unwrap_or_default()),
        }
        if own.is_some() {
            one.next();
        }
        if rest.is_some() {
            other.next();
        }
    }
    out.push(b'}');
    Ok(())
}
