//! `aegis approvals`: what persons have approved, listed and taken back.

use std::path::PathBuf;
use std::time::SystemTime;

use aegis_audit::approvals::{Entry, Store, Which, revoked};
use aegis_audit::event::{Event, Person};
use aegis_audit::places::State;
use aegis_profile::syntax::escape;
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;

use super::{Answer, Failure, print_json};
use crate::terminal::{open_log, print};

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
    /// Takes approvals back; status 1 when there are no such
    #[command(after_help = "\
What runs already is not stopped. Each revocation is recorded in the audit log.

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

/// Which to revoke.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Named {
    /// Their ids, or as much of each as no other begins with
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Every one
    #[arg(long)]
    all: bool,
    /// Those for profiles of this name
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Named {
    fn which(&self) -> Which {
        match &self.profile {
            Some(name) => Which::Profile(name.clone()),
            None if self.all => Which::All,
            None => Which::Ids(self.ids.clone()),
        }
    }
}

pub(super) fn approvals(action: &Action) -> Answer {
    let Some(state) = State::of(uid(), &|name| std::env::var_os(name)) else {
        let text = "there is no home directory to look for approvals in: set HOME";
        return Err(Failure::Other(text.into()));
    };
    let store = Store::open(&state.dir);
    match action {
        Action::List { all, json } => list(&store, *all, *json),
        Action::Revoke { which, audit, json } => {
            revoke(&store, &state, &which.which(), audit.as_ref(), *json)
        }
    }
}

/// An approval, as it is told.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    entry: &'a Entry,
    holds: bool,
}

fn list(store: &Store, all: bool, json: bool) -> Answer {
    let now = now();
    let mut entries = store.list().map_err(other)?;
    if !all {
        entries.retain(|entry| entry.holds(now));
    }
    tell(&entries, now, json)?;
    Ok(true)
}

fn revoke(
    store: &Store,
    state: &State,
    which: &Which,
    audit: Option<&PathBuf>,
    json: bool,
) -> Answer {
    let gone = store.revoke(which).map_err(other)?;
    tell(&gone, now(), json)?;
    if gone.is_empty() {
        return match which {
            Which::Profile(name) => Err(Failure::Other(format!(
                "there is no approval for a profile `{name}`: see `aegis approvals list --all`"
            ))),
            _ => Err(Failure::Other("there are no approvals".into())),
        };
    }
    // First revoked, then recorded: a log that cannot be written must not keep an approval alive.
    let (run, by) = (aegis_runtime::supervise::run_id(), caller());
    let events: Vec<Event> = gone.iter().map(|entry| revoked(&run, entry, &by)).collect();
    let dir = audit.unwrap_or(&state.audit);
    open_log("aegis", dir, &state.keys)
        .and_then(|mut log| log.append(&events))
        .map_err(|error| {
            let count = gone.len();
            Failure::Other(format!(
                "revoked ({count}), but that is not recorded in the audit log: {error}"
            ))
        })?;
    Ok(true)
}

/// Prints approvals.
fn tell(entries: &[Entry], now: u64, json: bool) -> Result<(), Failure> {
    if json {
        let told: Vec<Told<'_>> = entries
            .iter()
            .map(|entry| Told {
                entry,
                holds: entry.holds(now),
            })
            .collect();
        return print_json(&told);
    }
    let rows: Vec<[String; 6]> = entries.iter().map(|entry| row(entry, now)).collect();
    Ok(print(table(&rows).as_bytes())?)
}

fn row(entry: &Entry, now: u64) -> [String; 6] {
    const MOST: usize = 40;
    let mut command = escape(&entry.command);
    if let Some((end, _)) = command.char_indices().nth(MOST) {
        command.truncate(end);
        command.push_str("...");
    }
    [
        entry.id.clone(),
        escape(&entry.profile),
        ending(entry, now),
        escape(&entry.rules.join(", ")),
        command,
        escape(&entry.what.to_string()),
    ]
}

/// What holds no approval is empty.
fn table(rows: &[[String; 6]]) -> String {
    const HEAD: [&str; 6] = ["ID", "PROFILE", "EXPIRES", "RULE", "COMMAND", "WHAT"];
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEAD[column].len()]).max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    let line = |cells: [&str; 6]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    };
    let mut out = line(HEAD);
    for row in rows {
        out.push_str(&line(row.each_ref().map(String::as_str)));
    }
    out
}

/// When it ends, in words.
fn ending(entry: &Entry, now: u64) -> String {
    if now < entry.granted {
        return "not yet begun".into();
    }
    let Some(left) = entry.expires.checked_sub(now).filter(|left| *left > 0) else {
        return "has expired".into();
    };
    let units = [
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    // Of two days and more in days, and so on: as exactly as it matters.
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| left >= 2 * unit)
        .unwrap_or((1, "second"));
    match (left + unit / 2) / unit {
        1 => format!("in 1 {name}"),
        n => format!("in {n} {name}s"),
    }
}

/// Whose approvals they are, and who revokes them.
fn caller() -> Person {
    let uid = uid();
    let accounts = std::fs::read("/etc/passwd").unwrap_or_default();
    let name = String::from_utf8_lossy(&accounts).lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Person { name, uid }
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
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
            policy: Default::default(),
            profile: "report".into(),
            profile_hash: Default::default(),
            rules: vec!["one".into(), "two".into()],
            skill: None,
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
        let rows = [row(&entry(2000 + 7_200), 2000), row(&entry(1500), 2000)];
        assert_eq!(
            table(&rows),
            "\
ID            PROFILE  EXPIRES      RULE      COMMAND  WHAT
3f9a01c2d4e5  report   in 2 hours   one, two  tar c    environment.pass A\\nB\\u{1B}
3f9a01c2d4e5  report   has expired  one, two  tar c    environment.pass A\\nB\\u{1B}
"
        );
        assert_eq!(table(&[]), "");
    }
}
