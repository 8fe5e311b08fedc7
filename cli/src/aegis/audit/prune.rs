//! `aegis audit prune`: makes a log shorter.

use std::time::{Duration, SystemTime};

use aegis_audit::event::Pruned;
use aegis_audit::log::{Expected, Keep, Remembered, verify};
use aegis_profile::syntax;
use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;

use super::verify::own_key;
use super::{CommandResult, LogArg, failed, open, state};
use crate::aegis::answer;
use crate::terminal::open_log;

/// The command line.
#[derive(Debug, Args)]
pub(in crate::aegis) struct Options {
    #[command(flatten)]
    log: LogArg,
    /// Keeps what is younger (90d, 12h)
    #[arg(long, value_name = "TIME", value_parser = duration, required_unless_present = "max")]
    keep: Option<Duration>,
    /// Keeps at most so much of the newest (1G, 500M), with what it refers to
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max: Option<u64>,
    /// The last checkpoint of a log that was here before, and was verified and moved away; may be repeated
    #[arg(long, value_name = "N:HASH")]
    moved: Vec<Remembered>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    match syntax::time(text) {
        Ok(ms) => Ok(Duration::from_millis(ms)),
        Err(_) => Err("expected a time, such as 90d or 12h".into()),
    }
}

fn size(text: &str) -> Result<u64, String> {
    syntax::size(text).map_err(|_| "expected a size, such as 1G or 500M".into())
}

impl Options {
    pub fn run(self) -> CommandResult {
        let path = self.log.resolve()?;
        ensure!(
            path.is_dir(),
            "{} is not the directory of a log",
            path.display()
        );
        let (keys, signed) = own_key(&path)?;
        let reader = open(&path)?;
        let expected = Expected {
            keys,
            signed,
            ..Expected::default()
        };
        let verified = verify(reader, &expected).map_err(|error| failed(&path, &error))?;
        ensure!(
            verified.records > 0,
            "{} holds no audit log: there is nothing to prune",
            path.display()
        );
        if !verified.intact {
            bail!(
                "the log is not intact, and is left as it is, as evidence: see `aegis audit verify {}`",
                path.display()
            );
        }
        let keep = Keep {
            since: self
                .keep
                .and_then(|keep| SystemTime::now().checked_sub(keep)),
            bytes: self.max,
            moved: self.moved,
        };
        let pruned = open_log(&path, &state()?.keys)?.prune(&keep)?;
        let value = json!({ "pruned": pruned });
        answer(self.json, &value, || text(pruned.as_ref()))?;
        Ok(true)
    }
}

fn text(pruned: Option<&Pruned>) -> String {
    match pruned {
        None => "nothing was pruned: all of it is to be kept\n".into(),
        Some(pruned) => format!("pruned: {pruned}\n"),
    }
}
