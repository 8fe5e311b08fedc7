//! `aegis approvals`: lists and revokes what persons have approved.

use std::path::PathBuf;

use aegis_audit::approvals::{Entry, Store, Which, revoked};
use aegis_audit::event::{Event, Person};
use aegis_audit::places::State;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::CommandResult;
use crate::names;
use crate::terminal::open_log;
use crate::text::page::{shortened, span, table};

/// Subcommands of `aegis approvals`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Lists the approvals that hold now
    #[command(after_help = "\
An approval is for one exact thing, of one command of one skill, under one profile and one policy as
they were. It is given on the terminal, when aegis-run asks.

Examples:
  aegis approvals list
  aegis approvals list --json | jq -r '.[] | select(.what.action == \"net.host\") | .id'")]
    List {
        /// Also lists those that have expired
        #[arg(long)]
        all: bool,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Revokes approvals; status 1 when none match
    #[command(after_help = "\
Running commands are not stopped. Each revocation is recorded in the audit log.

Examples:
  aegis approvals revoke 3f9a01
  aegis approvals revoke --profile pr-review
  aegis approvals revoke --all")]
    Revoke {
        #[command(flatten)]
        which: Named,
        /// The directory of the audit log; without it, the default one
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        audit: Option<PathBuf>,
        /// Prints JSON: what was revoked
        #[arg(long)]
        json: bool,
    },
}

/// Which approvals to revoke.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Named {
    /// Their ids, or as much of each as no other begins with
    #[arg(value_name = "ID", add = names::approvals())]
    ids: Vec<String>,
    /// Every one
    #[arg(long)]
    all: bool,
    /// Those for profiles of this name
    #[arg(long, value_name = "NAME", add = names::approved_profiles())]
    profile: Option<String>,
}

impl Action {
    pub(super) fn run(self) -> CommandResult {
        let state = State::here()
            .context("there is no home directory to look for approvals in: set HOME")?;
        let store = Store::open(&state.dir);
        match self {
            Self::List { all, json } => {
                let now = now();
                let mut entries = store.list()?;
                entries.retain(|entry| all || entry.holds(now));
                tell(&entries, now, json)?;
                Ok(true)
            }
            Self::Revoke { which, audit, json } => {
                let which = match which.profile {
                    Some(name) => Which::Profile(name),
                    None if which.all => Which::All,
                    None => Which::Ids(which.ids),
                };
                let gone = revoke(&store, &which, json)?;
                // Revoked first, then recorded: a log that cannot be written must not keep an approval alive.
                let (run, by) = (aegis_runtime::supervise::run_id(), caller());
                let events: Vec<Event> =
                    gone.iter().map(|entry| revoked(&run, entry, &by)).collect();
                open_log(&audit.unwrap_or(state.audit), &state.keys)
                    .and_then(|mut log| log.append_and_sign(&events))
                    .map_err(|error| {
                        let count = gone.len();
                        anyhow::anyhow!(
                            "revoked ({count}), but that is not recorded in the audit log: {error}"
                        )
                    })?;
                Ok(true)
            }
        }
    }
}

/// Revokes approvals, and prints them.
fn revoke(store: &Store, which: &Which, json: bool) -> anyhow::Result<Vec<Entry>> {
    let gone = store.revoke(which)?;
    tell(&gone, now(), json)?;
    match which {
        _ if !gone.is_empty() => Ok(gone),
        Which::Profile(name) => {
            bail!("there is no approval for a profile `{name}`: see `aegis approvals list --all`")
        }
        _ => bail!("there are no approvals"),
    }
}

/// Prints approvals.
fn tell(entries: &[Entry], now: u64, json: bool) -> anyhow::Result<()> {
    /// An approval, as printed.
    #[derive(Serialize)]
    struct Told<'a> {
        #[serde(flatten)]
        entry: &'a Entry,
        holds: bool,
    }
    let told = |entry| Told {
        entry,
        holds: entry.holds(now),
    };
    let told: Vec<Told<'_>> = entries.iter().map(told).collect();
    super::answer(json, &told, || text(entries, now))
}

fn text(entries: &[Entry], now: u64) -> String {
    let head = [
        "ID",
        "PROFILE",
        "EXPIRES",
        "RULE",
        "PASSPHRASE",
        "COMMAND",
        "WHAT",
    ];
    let row = |entry: &Entry| {
        [
            entry.id.clone(),
            entry.profile.clone(),
            ending(entry, now),
            entry.rules.join(", "),
            entry.passphrases.join(", "),
            shortened(&entry.command, 40),
            entry.what.to_string(),
        ]
    };
    table(Some(head), entries.iter().map(row))
}

/// When it ends, in words.
fn ending(entry: &Entry, now: u64) -> String {
    if now < entry.granted {
        return "not yet begun".into();
    }
    let Some(left) = entry.expires.checked_sub(now).filter(|left| *left > 0) else {
        return "has expired".into();
    };
    format!("in {}", span(left))
}

/// The person whose approvals they are, and who revokes them.
fn caller() -> Person {
    let uid = rustix::process::geteuid().as_raw();
    let name = aegis_sys::accounts::user(uid).and_then(|account| account.name);
    Person { name, uid }
}

/// Seconds since 1970.
fn now() -> u64 {
    aegis_runtime::supervise::report::now() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(expires: u64) -> Entry {
        let what = aegis_policy::What::Environment {
            name: "A\nB\u{1b}".into(),
        };
        Entry {
            by: Person { name: None, uid: 7 },
            command: "tar c".into(),
            command_hash: Default::default(),
            expires,
            granted: 1000,
            id: "3f9a01c2d4e5".into(),
            passphrases: Vec::new(),
            policy: Default::default(),
            profile: "report".into(),
            profile_hash: Default::default(),
            rules: vec!["one".into(), "two".into()],
            skill: None,
            surroundings: Default::default(),
            uid: 7,
            what_hash: what.hash(),
            what,
        }
    }

    #[test]
    fn when_an_approval_ends_is_told_in_words() {
        for (left, words) in [
            (30 * 86_400, "in 30 days"),
            (2 * 86_400, "in 2 days"),
            (2 * 86_400 - 1, "in 48 hours"),
            (7 * 86_400 - 100, "in 7 days"),
            (7_170, "in 120 minutes"),
            (119, "in 119 seconds"),
            (1, "in 1 second"),
            (0, "has expired"),
        ] {
            assert_eq!(ending(&entry(2000 + left), 2000), words);
        }
        assert_eq!(ending(&entry(2000), 3000), "has expired");
        assert_eq!(ending(&entry(2000), 999), "not yet begun");
    }

    #[test]
    fn the_list_is_a_line_for_each_whatever_is_in_it() {
        assert_eq!(
            text(&[entry(2000 + 7_200), entry(1500)], 2000),
            "\
ID            PROFILE  EXPIRES      RULE      PASSPHRASE  COMMAND  WHAT
3f9a01c2d4e5  report   in 2 hours   one, two              tar c    environment.pass A\\nB\\u{1B}
3f9a01c2d4e5  report   has expired  one, two              tar c    environment.pass A\\nB\\u{1B}
"
        );
        assert_eq!(text(&[], 2000), "");
    }
}
