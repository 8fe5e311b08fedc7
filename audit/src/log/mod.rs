//! The audit log: what was asked, what was said of it, and what happened, in a form that holds up.
//!
//! A log is a directory of **segments**, `000001.jsonl`, `000002.jsonl` and so on, through which one **chain**
//! runs. A line is `{"hash":"...","record":{...}}`: a [`Record`](crate::event::Record) in canonical form
//! (RFC 8785) and the SHA-256 of its bytes. Each record has its place (`seq`, from 0, without gaps) and the
//! hash of the record before. The first one, every thousandth, the last one of a segment, and one at the end
//! of each run is a **checkpoint** ([`Checkpoint`]): signed with ed25519, and with it all before.
//!
//! [`Log`] appends; several processes may, one at a time, under a lock. [`Reader`] reads. [`verify`] gives
//! two answers: is it intact, is it complete. A torn end is what a crash leaves: it is quarantined and
//! noted. Damage before it is not, and stops appending.
//!
//! Segments are never renamed and never removed: to archive them is the operator's. All but the newest may
//! be moved away; the rest is verified from its own first record, or all of it from standard input.
//!
//! The log proves what was recorded to somebody who trusts the key. It does not protect against somebody
//! with the key, which is the user who writes it, and root; only a copy elsewhere does, or a
//! checkpoint that somebody else remembers. And what lies behind the newest checkpoint is chained, not signed:
//! until the next one, whoever can write the file can change it without the key.
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
mod reader;
mod recover;
mod tail;
mod verify;
mod writer;

pub use crate::event::{Checkpoint, PublicKey, Recovered, TornFile};
pub use error::Error;
pub use line::{Line, MAX_LINE, Place};
pub use reader::{Position, Reader};
pub use verify::{
    Answer, Expected, Finding, NotACheckpoint, OpenRun, Remembered, SetAside, Signed, Verified,
    verify,
};
pub use writer::{Log, Options, Receipt};
