//! `aegis kill`: a signal for running sandboxes.

use aegis_launch::registry::Running;
use anyhow::Context as _;
use clap::Args;

use super::CommandResult;
use super::ps;
use crate::names;
use crate::terminal::{complain, harmless};

/// The command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --signal the command is asked to end (TERM); it is continued for that where it is stopped. KILL ends
everything inside at once; any other signal goes to aegis-run, which passes it on to the command.

Examples:
  aegis kill 7104-19c0d3e7a51
  aegis kill --signal KILL 7104
  aegis ps --json | jq -r '.[] | select(.profile == \"pr-review\") | .id' | xargs aegis kill")]
pub(super) struct Options {
    /// The id of a run, as `aegis ps` lists it, or enough of its beginning to tell it from others; or the name of a profile
    /// under which one sandbox runs
    #[arg(value_name = "RUN", required = true, add = names::running())]
    runs: Vec<String>,
    /// The signal, by name or number
    #[arg(long, short, default_value = "TERM", value_parser = signal, add = names::of(signals))]
    signal: i32,
    /// Looks for RUN among the sandboxes of all users; for root only
    #[arg(long)]
    all: bool,
}

/// Signals that aegis-run passes on, and SIGKILL.
const SIGNALS: [(&str, i32); 8] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
];

fn signals() -> Vec<String> {
    SIGNALS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

fn signal(word: &str) -> Result<i32, String> {
    let name = word.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let is = |(known, number): &&(&str, i32)| *known == name || number.to_string() == name;
    let found = SIGNALS.iter().find(is).map(|(_, number)| *number);
    found.ok_or_else(|| format!("it cannot be sent; these can: {}", signals().join(", ")))
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let (running, mut complete) = ps::running(self.all)?;
        let running: Vec<Running> = running.into_iter().filter(|run| !run.stale).collect();
        // All are found before any gets a signal.
        let chosen = (self.runs.iter())
            .map(|word| {
                ps::one(&running, word)?.with_context(|| {
                    format!("{word}: nothing runs under an id that begins so, or a profile of that name\n  help: aegis ps lists what runs")
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        for run in chosen {
            if let Err(error) = run.signal(self.signal) {
                complete = false;
                complain(&harmless(&format!("aegis: {}: {error}\n", run.id)));
            }
        }
        Ok(complete)
    }
}
