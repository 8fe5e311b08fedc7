//! What was in a log and is not there any more: pruned, as the log itself says, or lost.

use std::cmp::Ordering;

use super::{Answer, Chain, Finding};
use crate::event::{Detail, LastSigned, Record};
use crate::log::line::{Line, Link};
use aegis_profile::hash::Hash;

/// A log that does not begin with its first record.
pub(super) struct Begins {
    /// What is wrong, unless it was pruned.
    pub finding: Finding,
    /// The record before.
    pub prev: Option<Hash>,
}

impl Chain<'_> {
    pub fn pruned(&mut self, line: &Line<'_>, link: &Link<'_>) {
        let record = serde_json::from_slice(line.record).ok();
        match record.and_then(|record: Record| record.detail()) {
            Some(Detail::Pruned(pruned)) => self.found.pruned = Some(pruned),
            _ => {
                let what = "this record of pruned records has an unknown form";
                self.find(Answer::Complete, Some(&line.place), Some(link.seq), what);
            }
        }
    }

    pub fn missing(&mut self, line: &Line<'_>, link: &Link<'_>) {
        let record = serde_json::from_slice(line.record).ok();
        let what = match record.and_then(|record: Record| record.detail()) {
            Some(Detail::Missing(missing)) => {
                if self.expected.moved.contains(&missing.signed.remembered()) {
                    return;
                }
                let LastSigned { number, hash, .. } = missing.signed;
                format!(
                    "before this, the log was found shorter than it had been signed: {missing} (where it was verified and \
                     moved away: --moved {number}:{hash})"
                )
            }
            _ => "this record of missing records has an unknown form".to_owned(),
        };
        self.find(Answer::Complete, Some(&line.place), Some(link.seq), what);
    }

    /// A log may begin later where it says that what was before was pruned.
    pub fn judge_beginning(&mut self) {
        let Some(Begins { finding, prev }) = self.begins.take() else {
            return;
        };
        let pruned = self.found.pruned.as_ref().zip(finding.seq);
        if !pruned.is_some_and(|(pruned, first)| pruned.explains(first, prev)) {
            self.deny(finding.against);
            self.found.findings.insert(0, finding);
        }
    }

    /// Why the log that was read does not reach what was signed last, in words.
    pub fn lacks(&self, signed: &LastSigned) -> Option<String> {
        let LastSigned {
            number, hash, log, ..
        } = signed;
        let last = self.found.last_checkpoint.as_ref();
        let found = match (last, &self.found.log) {
            (Some(last), Some(found)) if found == log => match last.number.cmp(number) {
                Ordering::Greater => return None,
                Ordering::Equal if last.hash == *hash => return None,
                _ => format!("{} is the last one", last.remembered()),
            },
            (_, Some(found)) => format!("this is the log {found}"),
            _ => "there is none".to_owned(),
        };
        Some(format!(
            "checkpoint {number}:{hash} of log {log} was the last that was signed here, and {found}: the log was cut back, \
             emptied or replaced, or lost its end in a power failure"
        ))
    }
}
