//! Rules in Rego, for what native rules cannot say. Not for files: paths are left to native rules.
//!
//! A module is `package aegis` or `package aegis.NAME`. It gives verdicts as members of the sets `allow`,
//! `warn`, `review` and `block`: a rule's id, or `{"id": ..., "reason": ...}`.
//!
//! ```rego
//! package aegis
//!
//! block contains "late-model" if {
//!     input.what.action == "net.outbound"
//!     not input.what.host in {"api.github.com", "example.org"}
//! }
//! ```
//!
//! **When it is asked.** About `shell.exec`, `net.outbound`, `net.host`, `net.listen`, `secrets.use`, and about
//! a run as a whole (`tool.exec`), after the native rules. `input` is the canonical form of the request's
//! `context` and `what`: no approvals, no time, no data documents.
//!
//! **What it does.** Each member is a rule that applies, with the id `rego:ID`, or `rego:NAME.ID` for a package
//! `aegis.NAME`. `allow` counts as a rule that covers the request. The others can only make a verdict worse:
//! they let nothing through, and do not silence rules marked `otherwise`. An id in two sets has the worse
//! verdict. An error, conflicting rules, an invalid member, or an exceeded limit blocks, as the rule `rego`.
//!
//! **What a module may be.** A subset, checked when it is loaded, so that an answer depends on the input
//! alone and comes in bounded time and memory, without a clock:
//!
//! - functions from a fixed list: none of time, randomness, network, environment; those whose result or
//!   effort could grow are ours, and bounded;
//! - no `with`, no `else`, no recursion, no `data`, no imports except keywords;
//! - statements in an order in which each variable has a value when it is used, no iteration within `not`;
//! - whole numbers only, no division, multiplication only by a literal number;
//! - collections that can be shown to stay small, so that no step takes long; and
//! - thirty thousand steps of an evaluation, which the interpreter counts. All that a run asks for shares
//!   six hundred thousand, in equal parts.

#[cfg(feature = "rego")]
mod bound;
#[cfg(feature = "rego")]
mod builtins;
#[cfg(feature = "rego")]
mod check;
#[cfg(feature = "rego")]
mod engine;
#[cfg(feature = "rego")]
mod input;
#[cfg(feature = "rego")]
mod load;
#[cfg(feature = "rego")]
mod parts;
#[cfg(feature = "rego")]
mod scan;
#[cfg(feature = "rego")]
mod shape;
#[cfg(feature = "rego")]
mod walk;

#[cfg(not(feature = "rego"))]
mod absent;

#[cfg(not(feature = "rego"))]
pub(crate) use absent::Rego;
#[cfg(feature = "rego")]
pub(crate) use engine::Rego;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aegis_profile::Origin;
use aegis_profile::syntax::Wrong;

use crate::model::{Head, Mode, RegoModule, Verdict};
use crate::request::What;

/// The features of Rego that affect decisions: part of the policy's hash.
pub const FEATURES: &[Cow<'static, str>] = if cfg!(feature = "rego") {
    &[Cow::Borrowed("regorus 0.14.1 interpreter: arc, net, std")]
} else {
    &[]
};

/// The limits of modules and their evaluation. They are part of what a policy means: changing one requires a
/// new version of this crate.
#[cfg(feature = "rego")]
mod limits {
    /// Bytes of all modules of a document together: a thousand lines.
    pub const TEXT: usize = 32 * 1024;
    /// Brackets within brackets. The parser tries several readings of each, and can afford this many.
    pub const BRACKETS: usize = 8;
    /// Operators, references and calls of one expression.
    pub const OPERATORS: usize = 64;
    /// Expressions within expressions.
    pub const DEPTH: usize = 24;
    /// Rules of a document.
    pub const RULES: usize = 256;
    /// Statements of one body.
    pub const STATEMENTS: usize = 64;
    /// Iterations within iterations.
    pub const LOOPS: usize = 6;
    /// Rules that need rules that need rules.
    pub const CHAIN: usize = 12;
    /// Steps of the interpreter: expressions, statements, iterations. A policy of thirty lines takes some
    /// hundreds; a rule that goes through all grants of a run takes a dozen for each.
    pub const STEPS: u32 = 30_000;
    /// The fewest steps in which one member of a comprehension is found.
    pub const STEPS_PER_MEMBER: u32 = 4;
    /// Values within a value, itself included.
    pub const NODES: u64 = 16_384;
    /// Words of a command, and of any other list of texts in the input.
    pub const WORDS: usize = 2_048;
    /// Grants of a run.
    pub const GRANTS: usize = 1_024;
    /// Bytes of all texts of an input.
    pub const INPUT_TEXT: usize = 64 * 1024;
    /// Bytes of a text that a function makes.
    pub const MADE_TEXT: usize = 4_096;
    /// Different patterns of a module.
    pub const PATTERNS: usize = 32;
    /// Bytes of a compiled pattern.
    pub const PATTERN_BYTES: usize = 256 * 1024;
    /// Groups within groups of a pattern.
    pub const PATTERN_DEPTH: u32 = 32;
    /// Pieces of what `split` divides.
    pub const PIECES: usize = 256;
    /// What functions may spend in one evaluation: bytes of text; a byte matched with a pattern counts once for
    /// each state of the pattern.
    pub const EFFORT: u64 = 20_000_000;
    /// Steps for all that a run asks for, each thing an equal share; not counted is the run itself, which is asked about
    /// once.
    pub const RUN_STEPS: u32 = 600_000;
    /// What functions may spend for all of that.
    pub const RUN_EFFORT: u64 = 100_000_000;
}

/// What the ids of rules in Rego begin with, as no other rule's can.
const PREFIX: &str = "rego:";

/// Whether a rule is one in Rego, by its id.
pub(crate) fn has(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Whether Rego is asked about a request.
pub(crate) fn is_asked(what: &What) -> bool {
    match what {
        What::Exec { .. }
        | What::Listen { .. }
        | What::Net(_)
        | What::NetHost {}
        | What::Secret { .. }
        | What::Tool { .. } => true,
        What::Anomaly { .. }
        | What::Device { .. }
        | What::Environment { .. }
        | What::Limit { .. }
        | What::Read { .. }
        | What::Sockets { .. }
        | What::Syscall { .. }
        | What::Write { .. } => false,
    }
}

/// Why a text is not a valid module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadModule {
    /// Where. Line 0: the file as a whole.
    pub at: Origin,
    /// What is wrong.
    pub wrong: Wrong,
}

impl BadModule {
    fn new(
        file: &str,
        (line, column): (u32, u32),
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let file = file.into();
        Self {
            at: Origin { file, line, column },
            wrong: Wrong::of(message, help),
        }
    }

    /// A mistake of a file as a whole.
    fn of_file(module: &RegoModule, message: impl Into<String>, help: &str) -> Self {
        Self::new(&module.name, (0, 0), message, help)
    }
}

impl fmt::Display for BadModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Origin { file, line: 0, .. } => f.write_str(file)?,
            at => at.fmt(f)?,
        }
        write!(f, ": {}", self.wrong.message)
    }
}

/// The outcome of one rule in Rego.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegoOutcome {
    /// The rule's id, with its prefix.
    pub id: Arc<str>,
    /// The verdict.
    pub verdict: Verdict,
    /// In words.
    pub reason: Option<Arc<str>>,
}

impl RegoOutcome {
    /// The same as a native rule that is in force.
    pub fn head(&self) -> Head<'_> {
        Head {
            id: &self.id,
            mode: Mode::Enforce,
            otherwise: false,
            reason: self.reason.as_deref(),
            verdict: self.verdict,
        }
    }
}
