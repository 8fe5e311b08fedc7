//! `aegis audit verify`: the two answers, and the findings behind them.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use aegis_audit::log::{
    Answer as Which, Expected, LastSigned, PublicKey, Remembered, SetAside, Verified,
    verify_telling,
};
use clap::{Args, ValueHint};

use super::{CommandResult, LogArg, failed, state};
use crate::aegis::answer;
use crate::terminal::complain;

/// The command line.
#[derive(Debug, Args)]
pub(in crate::aegis) struct Options {
    #[command(flatten)]
    log: LogArg,
    /// Whose signature counts: a file such as audit.pub, or 64 hex digits; may be repeated; without
    /// it, the key that this user's logs are signed with
    #[arg(long = "key", value_name = "FILE|HEX", value_hint = ValueHint::FilePath)]
    keys: Vec<String>,
    /// A checkpoint that must be there; without its hash, this one or a later one
    #[arg(long, value_name = "N[:HASH]")]
    min_checkpoint: Option<Remembered>,
    /// The last checkpoint of a log that was here before, and was verified and moved away; may be repeated
    #[arg(long, value_name = "N:HASH")]
    moved: Vec<Remembered>,
    /// The first record, where all before were verified and archived
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    first: u64,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Options {
    pub fn run(self) -> CommandResult {
        let path = self.log.resolve()?;
        let (keys, signed) = match self.keys.is_empty() {
            true => own_key(&path)?,
            false => {
                let named = self.keys.iter().map(|key| named(key));
                (named.collect::<Result<_, _>>()?, None)
            }
        };
        let expected = Expected {
            keys,
            min_checkpoint: self.min_checkpoint,
            signed,
            moved: self.moved,
            first: self.first,
        };
        let reader = super::open(&path).map_err(|error| match &expected.signed {
            Some(LastSigned { number, hash, .. }) => error.context(format!(
                "checkpoint {number}:{hash} was the last that was signed in {}",
                path.display()
            )),
            None => error,
        })?;
        let is_watched = io::stderr().is_terminal();
        let tell = |read: u64| {
            if is_watched {
                complain(&format!("aegis: {read} records were read\n"));
            }
        };
        let verified = verify_telling(reader, &expected, TOLD, tell);
        let verified = verified.map_err(|error| failed(&path, &error))?;
        answer(self.json, &verified, || text(&verified, &expected))?;
        Ok(verified.intact && verified.complete)
    }
}

/// The key that this user signs with, if there is one, and what is remembered beside it of a log. That is read before the
/// log, which may grow.
pub(super) fn own_key(log: &Path) -> anyhow::Result<(Vec<PublicKey>, Option<LastSigned>)> {
    let Ok(state) = state() else {
        return Ok((Vec::new(), None));
    };
    let keys = PublicKey::in_directory(&state.keys)?.into_iter().collect();
    Ok((keys, LastSigned::in_directory(&state.keys, log)?))
}

fn named(key: &str) -> anyhow::Result<PublicKey> {
    match key.parse() {
        Ok(key) => Ok(key),
        Err(_) => Ok(PublicKey::in_file(Path::new(key))?),
    }
}

/// A person is told of so many records more: every few seconds.
const TOLD: u64 = 100_000;

/// As many runs are listed.
const LISTED: usize = 10;

fn text(verified: &Verified, expected: &Expected) -> String {
    let mut text = String::new();
    for (name, yes, which) in [
        ("intact", verified.intact, Which::Intact),
        ("complete", verified.complete, Which::Complete),
    ] {
        text += &format!("{name}: {}\n", if yes { "yes" } else { "no" });
        let findings = verified.findings.iter().filter(|f| f.against == which);
        for finding in findings {
            text += &format!("  {finding}\n");
        }
    }
    if verified.more_findings > 0 {
        text += &format!("and {} more findings\n", verified.more_findings);
    }
    if expected.keys.is_empty() {
        text += "there is no trusted key: name one with --key\n";
    }
    text += &format!(
        "{} records, {} checkpoints",
        verified.records, verified.checkpoints
    );
    if let Some(log) = &verified.log {
        text += &format!(" of log {log}");
    }
    for key in &verified.keys {
        text += &format!(", signed with {key}");
    }
    text.push('\n');
    if let Some(last) = &verified.last_checkpoint {
        text += &format!(
            "the last checkpoint is {} (record {}, {})\n",
            last.remembered(),
            last.seq,
            last.time
        );
    }
    if let Some(pruned) = &verified.pruned {
        text += &format!("pruned before: {pruned}\n");
    }
    for SetAside { place, seq, files } in &verified.set_aside {
        for file in files {
            text += &format!(
                "quarantined as torn, after a crash or a change of the end: {} bytes, in {} ({place}, record \
                 {seq})\n",
                file.bytes, file.name
            );
        }
    }
    if verified.more_set_aside > 0 {
        text += &format!("and {} times more\n", verified.more_set_aside);
    }
    if !verified.open_runs.is_empty() {
        let all = verified.open_runs.len();
        let last: Vec<&str> = (verified.open_runs.iter().rev().take(LISTED))
            .map(|run| &*run.run)
            .collect();
        let more = match all - last.len() {
            0 => String::new(),
            more => format!(" and {more} before (--json has all)"),
        };
        let last = last.join(", ");
        text += &format!("runs that have not ended, or were killed: {last}{more}\n");
    }
    text
}
