//! The audit log: requests, the decisions about them, and what happened, in a form that shows tampering.
//!
//! A log is a directory of **segments**, `000001.jsonl`, `000002.jsonl` and so on, through which one **chain**
//! runs. A line is `{"hash":"...","record":{...}}`: a [`Record`](crate::event::Record) in canonical form
//! (RFC 8785) and the SHA-256 of its bytes. Each record has its number (`seq`, from 0, without gaps) and the
//! hash of the record before. The first record, every thousandth, the last one of a segment, and one at the end
//! of each run is a **checkpoint** ([`Checkpoint`]): its ed25519 signature covers it and everything before it.
//!
//! What is the same in many runs is not in the lines but in `repeated/HASH.json`, which a line refers to by its hash.
//!
//! [`Log`] appends; several processes may, one at a time, under a lock. [`Reader`] reads. [`verify`] gives
//! two answers: is it intact, is it complete. A crash leaves a torn end: it is quarantined and
//! recorded. Damage before the end is not repaired, and stops appending.
//!
//! Segments are never renamed, and removed by [`Log::prune`] alone, which records it. Archiving them is up to the operator: all
//! but the newest may be moved away; the rest is verified from its own first record, or all of it from standard input.
//!
//! To somebody who trusts the key, the log proves what was recorded. It does not protect against somebody
//! who has the key, that is, the user who writes it, and root; only a copy elsewhere does, or a remembered
//! checkpoint. Records after the newest checkpoint are chained, not signed: until the next checkpoint,
//! whoever can write the file can change them without the key.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a log is files with the time in them; no decision depends on it"
)]

pub mod canonical;
mod checkpoint;
mod error;
mod files;
mod keys;
mod line;
mod prune;
mod reader;
mod recover;
mod rest;
mod signed;
mod tail;
mod verify;
mod writer;

pub use crate::event::{Checkpoint, LastSigned, Missing, Pruned, PublicKey, Recovered, TornFile};
pub use error::Error;
pub use line::{Line, MAX_LINE, Place};
pub use prune::Keep;
pub use reader::{Position, Reader};
pub use rest::DIRECTORY as REPEATED;
pub use verify::{
    Answer, Expected, Finding, NotACheckpoint, OpenRun, Remembered, SetAside, Signed, Verified,
    verify, verify_telling,
};
pub use writer::{Log, Options, Receipt};
