//! `aegis secrets`: the secrets of a person. What opens them is another program, `aegis-secrets`: here are its words, and what people read.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use aegis_sys::process;
use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::{CommandResult, print, print_json};
use crate::names;
use crate::run::ask::secret;
use crate::text::page::{span, table};

/// The program that does it.
const PROGRAM: &str = "aegis-secrets";

/// Subcommands of `aegis secrets`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Makes the key of the store, where there is none
    #[command(after_help = "\
The key is an identity of age's, ~/.config/aegis/secrets.key: `age -d -i` opens the store with it. Who has a copy
of it and of the store has all that is in there; who loses it has lost that.

Examples:
  aegis secrets init")]
    Init {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Stores a secret, from standard input or a prompt
    #[command(after_help = "\
A secret is one line of text of up to 32 KiB; the end of the line is not part of it. One that was there is replaced.
Runs that use it have the new one with their next request.

Examples:
  aegis secrets set github
  pass show github/token | aegis secrets set github")]
    Set {
        /// Its name, as profiles have it
        #[arg(add = names::secrets())]
        alias: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists the secrets, where they come from, and which are due to be rotated
    #[command(after_help = "\
No source is asked: see `aegis secrets check`. No value is shown.

Examples:
  aegis secrets list
  aegis secrets list --json | jq -r '.[] | select(.due) | .alias'")]
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Removes a secret from the store
    #[command(after_help = "\
Examples:
  aegis secrets rm github")]
    Rm {
        /// Its name
        #[arg(add = names::secrets())]
        alias: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Has a new version of a secret made, by its `on-rotate`
    #[command(after_help = "\
The command has the present value as its standard input. What it prints is the new one; of a secret that is not in
the store, the source has to give a new one afterwards. Where it fails, all stays as it was.

Examples:
  aegis secrets rotate npm")]
    Rotate {
        /// Its name
        #[arg(add = names::secrets())]
        alias: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Asks the sources whether secrets can be had; status 1 when one cannot
    #[command(after_help = "\
Examples:
  aegis secrets check
  aegis secrets check github npm")]
    Check {
        /// Their names; without any, all are asked for
        #[arg(value_name = "ALIAS", add = names::secrets())]
        aliases: Vec<String>,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

impl Action {
    pub(super) fn run(self) -> CommandResult {
        match self {
            Self::Init { json } => done(&["init"], None, json, init),
            Self::Set { alias, json } => {
                let given = match std::io::stdin().is_terminal() {
                    true => Some(prompted(&alias)?),
                    false => None,
                };
                done(&["set", &alias], given, json, stored)
            }
            Self::List { json } => done(&["list"], None, json, list),
            Self::Rm { alias, json } => done(&["rm", &alias], None, json, removed),
            Self::Rotate { alias, json } => done(&["rotate", &alias], None, json, stored),
            Self::Check { aliases, json } => {
                let aliases = aliases.iter().map(String::as_str);
                let words: Vec<&str> = ["check"].into_iter().chain(aliases).collect();
                done(&words, None, json, check)
            }
        }
    }
}

/// Asks for a secret, which nobody sees.
fn prompted(alias: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    process::not_dumpable()?;
    let alias = crate::terminal::harmless(alias);
    let given = secret("", &format!("The secret {alias}: ")).map_err(|why| anyhow!("{why}"))?;
    given.context("no secret was given")
}

/// Has the program do something, and prints what it answers.
fn done<T: for<'de> Deserialize<'de>>(
    words: &[&str],
    given: Option<Zeroizing<Vec<u8>>>,
    json: bool,
    text: fn(T) -> String,
) -> CommandResult {
    let program = std::env::current_exe()?.with_file_name(PROGRAM);
    let shown = program.display().to_string();
    let mut command = Command::new(program);
    command.args(words).stdout(Stdio::piped());
    if given.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| {
        format!("{shown} cannot be started, which lies beside `aegis` and does this")
    })?;
    if let (Some(given), Some(mut input)) = (given, child.stdin.take()) {
        // Where it does not read, it says why.
        let _ = input.write_all(&given);
    }
    let output = child.wait_with_output()?;
    if output.stdout.is_empty() {
        // It has said why on standard error, but where it could not.
        ensure!(
            output.status.code() == Some(1),
            "{PROGRAM}: {}",
            output.status
        );
        return Ok(false);
    }
    let answer = serde_json::from_slice::<Json>(&output.stdout);
    let answer = answer.with_context(|| format!("{shown} is of another version"))?;
    match json {
        true => print_json(&answer)?,
        false => {
            let answer = serde_json::from_value(answer);
            print(&text(
                answer.with_context(|| format!("{shown} is of another version"))?,
            ))?;
        }
    }
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("{PROGRAM}: {}", output.status),
    }
}

#[derive(Deserialize)]
struct Key {
    key: String,
    new: bool,
    recipient: String,
}

fn init(key: Key) -> String {
    let Key {
        key,
        new,
        recipient,
    } = key;
    match new {
        true => format!(
            "A new key is in {key}: keep a copy of it where you keep such things.\nIts recipient is {recipient}\n"
        ),
        false => format!("There is a key in {key} already.\nIts recipient is {recipient}\n"),
    }
}

#[derive(Deserialize)]
struct Stored {
    alias: String,
    replaced: bool,
    source: String,
}

fn stored(stored: Stored) -> String {
    let Stored {
        alias,
        replaced,
        source,
    } = stored;
    match replaced {
        true => format!("The secret {alias} has a new version: {source}\n"),
        false => format!("The secret {alias} is stored: {source}\n"),
    }
}

#[derive(Deserialize)]
struct Removed {
    alias: String,
}

fn removed(removed: Removed) -> String {
    format!("The secret {} is removed.\n", removed.alias)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    alias: String,
    changed: Option<u64>,
    due: Option<bool>,
    rotate_every: Option<u64>,
    source: String,
}

fn list(listed: Vec<Listed>) -> String {
    if listed.is_empty() {
        return "There are no secrets: see `aegis secrets set --help`.\n".into();
    }
    let rows = listed.into_iter().map(|secret| {
        let rotation = match (secret.due, secret.rotate_every) {
            (Some(true), _) => "due".into(),
            (None, _) => "see `check`".into(),
            (Some(false), Some(every)) => format!("every {}", span(every)),
            (Some(false), None) => "-".into(),
        };
        [secret.alias, ago(secret.changed), rotation, secret.source]
    });
    table(Some(["ALIAS", "CHANGED", "ROTATION", "SOURCE"]), rows)
}

#[derive(Deserialize)]
struct Checked {
    alias: String,
    changed: Option<u64>,
    due: bool,
    expires: Option<u64>,
    ok: bool,
    said: Option<String>,
    source: String,
    why: Option<String>,
}

fn check(checked: Vec<Checked>) -> String {
    if checked.is_empty() {
        return "There are no secrets: see `aegis secrets set --help`.\n".into();
    }
    let mut why = String::new();
    let rows: Vec<_> = checked
        .into_iter()
        .map(|secret| {
            if let Some(reason) = &secret.why {
                why += &format!("\n{}: {reason}\n", secret.alias);
            }
            if let Some(said) = &secret.said {
                why += &format!("  it said: {said}\n");
            }
            let state = match (secret.ok, secret.due) {
                (false, _) => "failed",
                (true, true) => "due",
                (true, false) => "ok",
            };
            let expires = secret.expires.map_or("-".into(), |at| {
                let left = span(at.saturating_sub(now()));
                format!("in {left}")
            });
            let changed = ago(secret.changed);
            [secret.alias, state.into(), changed, expires, secret.source]
        })
        .collect();
    let head = ["ALIAS", "STATE", "CHANGED", "EXPIRES", "SOURCE"];
    format!("{}{why}", table(Some(head), rows))
}

/// Seconds since 1970.
fn now() -> u64 {
    aegis_runtime::supervise::report::now() / 1_000_000
}

fn ago(then: Option<u64>) -> String {
    then.map_or("-".into(), |then| {
        format!("{} ago", span(now().saturating_sub(then)))
    })
}
