//! `aegis ps`: the sandboxes that run now.

use aegis_launch::registry::{self, Running, Usage};
use aegis_runtime::supervise::report;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;

use super::{CommandResult, answer};
use crate::terminal::{complain, harmless};
use crate::text::page::{seconds, shortened, size, span, table};

/// The command line.
#[derive(Debug, Args)]
#[command(after_help = "\
NETWORK is the sandbox's own, where nothing is but itself, or the host's. DENIED counts the different things that were denied
up to now; of denied files most become known at the end (aegis show).

A sandbox that has ended without having been taken off the list, as when aegis-run was killed, is
listed once more, as gone.

Examples:
  aegis ps
  sudo aegis ps --all
  aegis ps --json | jq -r '.[] | select(.profile == \"pr-review\") | .pid'")]
pub(super) struct Options {
    /// Lists those of all users; for root only
    #[arg(long)]
    all: bool,
    /// Prints JSON: also hashes, policy, user and control group
    #[arg(long)]
    json: bool,
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let (running, complete) = running(self.all)?;
        let shown: Vec<Shown> = (running.into_iter())
            .map(|run| Shown {
                usage: (!run.stale).then(|| run.usage()).flatten(),
                run,
            })
            .collect();
        answer(self.json, &shown, || text(&shown, report::now()))?;
        Ok(complete)
    }
}

/// A run, and what it takes now.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    run: Running,
    usage: Option<Usage>,
}

/// The running sandboxes: this user's, or everybody's. `false`: not all of them could be read, which was said.
pub(super) fn running(all: bool) -> anyhow::Result<(Vec<Running>, bool)> {
    let (running, errors) = listed(all)?;
    for error in &errors {
        complain(&harmless(&format!("aegis: {error}\n")));
    }
    Ok((running, errors.is_empty()))
}

/// The same, with what could not be read.
pub(super) fn listed(all: bool) -> anyhow::Result<(Vec<Running>, Vec<String>)> {
    let directories = match all {
        true => {
            let root = rustix::process::geteuid().is_root();
            ensure!(root, "--all: only root can see the sandboxes of all users");
            registry::directories()
        }
        false => vec![registry::directory().context(
            "there is no $XDG_RUNTIME_DIR and no $HOME to look for running sandboxes in",
        )?],
    };
    let (mut running, mut errors) = (Vec::new(), Vec::new());
    for directory in directories {
        match registry::list(&directory) {
            Ok(found) => running.extend(found),
            Err(error) => {
                errors.push(format!("{} cannot be read: {error}", directory.display()));
            }
        }
    }
    Ok((running, errors))
}

/// The one that a word on the command line means: by its id or the beginning of that, or by its profile's name. `None`: there
/// is none.
///
/// # Errors
///
/// It could be several.
pub(super) fn one<'r>(running: &'r [Running], word: &str) -> anyhow::Result<Option<&'r Running>> {
    let is_meant =
        |run: &&Running| !word.is_empty() && (run.id.starts_with(word) || run.profile == word);
    let mut found = running.iter().filter(is_meant);
    let Some(run) = found.next() else {
        return Ok(None);
    };
    match running.iter().find(|run| run.id == word) {
        Some(exact) => Ok(Some(exact)),
        None if found.next().is_none() => Ok(Some(run)),
        None => bail!("{word}: several sandboxes are meant by that\n  help: aegis ps lists them"),
    }
}

fn text(running: &[Shown], now_us: u64) -> String {
    let row = |Shown { run, usage }: &Shown| {
        let of = |text: &dyn Fn(&Usage) -> String| usage.as_ref().map_or_else(String::new, text);
        let age = now_us.saturating_sub(run.started_us) / 1_000_000;
        [
            run.id.clone(),
            if run.stale {
                "gone".into()
            } else {
                run.pid.to_string()
            },
            run.uid.to_string(),
            run.profile.clone(),
            span(age),
            of(&|usage| seconds(usage.cpu_us)),
            of(&|usage| size(usage.memory)),
            of(&|usage| usage.processes.to_string()),
            run.network.clone(),
            run.denials.to_string(),
            shortened(&run.command.join(" "), 60),
        ]
    };
    let head = [
        "ID",
        "PID",
        "UID",
        "PROFILE",
        "AGE",
        "TIME",
        "MEMORY",
        "PROCESSES",
        "NETWORK",
        "DENIED",
        "COMMAND",
    ];
    table(Some(head), running.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_a_line_for_each_whatever_is_in_it() {
        let run = Running {
            id: "20260102T030405-17f3".into(),
            pid: 41,
            init_pid: 42,
            uid: 1000,
            profile: "report".into(),
            command: vec!["tar".into(), "a\nb\u{1b}".into()],
            network: "own".into(),
            started_us: 1_000_000,
            denials: 2,
            ..Running::default()
        };
        let gone = Shown {
            run: Running {
                stale: true,
                ..run.clone()
            },
            usage: None,
        };
        let usage = Some(Usage {
            processes: 3,
            threads: 5,
            cpu_us: 61_230_000,
            memory: (20 << 20) + 1,
        });
        assert_eq!(
            text(&[Shown { run, usage }, gone], 7_201_000_000),
            "\
ID                    PID   UID   PROFILE  AGE      TIME   MEMORY  PROCESSES  NETWORK  DENIED  COMMAND
20260102T030405-17f3  41    1000  report   2 hours  61.2s  21M     3          own      2       tar a\\nb\\u{1B}
20260102T030405-17f3  gone  1000  report   2 hours                            own      2       tar a\\nb\\u{1B}
"
        );
        assert_eq!(text(&[], 0), "");
    }
}
