//! `aegis suggest`: what a profile lacks, by what was denied in a run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use aegis_audit::event::Evidence;
use aegis_policy::Verdict;
use aegis_profile::syntax::escape;
use aegis_profile::{Addition, Files, Named, Patched, Source, patch};
use anyhow::{anyhow, bail, ensure};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::audit::show::in_words;
use super::in_place::Locked;
use super::policy::as_text;
use super::show::record::{self, Denied, Recorded};
use super::show::used;
use super::{CommandResult, audit, print_bytes, print_json, ps};
use crate::names;
use crate::run::ask::agreed;
use crate::terminal::{colour, harmless};
use crate::text::page::painted;

/// The command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line comes with why it is there, what it lets the command do, and what the policy said to it. What only the command's own
error messages name can be made up by the command. --apply changes the profile's file after a yes on the terminal: the lines are
added, and all else in it stays, comments too. What the policy blocks is told, and not added.

Examples:
  aegis suggest 7104-19c0d3e7a51
  aegis suggest 7104 --apply
  aegis suggest 7104 --json | jq -r '.suggestions[] | select(.proven) | .line'")]
pub(super) struct Options {
    /// The id of a run that has ended, or enough of its beginning to tell it from others
    #[arg(value_name = "RUN", add = names::runs())]
    run: String,
    /// The profile to add to, where its file is elsewhere than the record says
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    profile: Option<PathBuf>,
    /// The audit log: its directory, or a segment; without it, this user's
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    log: Option<PathBuf>,
    /// Adds the lines to the profile, after a yes
    #[arg(long, conflicts_with = "json")]
    apply: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// What is suggested.
#[derive(Debug, Serialize)]
struct Suggested {
    run: String,
    /// The file to add to. `None`: the run had no profile of its own.
    file: Option<String>,
    suggestions: Vec<Suggestion>,
    /// Lines that would change nothing: the policy blocks them.
    blocked: Vec<Suggestion>,
    /// What was denied and no line would allow.
    never: Vec<String>,
}

/// A line that the profile lacks.
#[derive(Debug, Serialize)]
struct Suggestion {
    /// For a profile that has nothing of it.
    line: String,
    #[serde(skip)]
    addition: Addition,
    /// What was denied, in words.
    denied: Vec<String>,
    /// Whether the kernel has told it, and not the command alone.
    proven: bool,
    /// What the line lets the command do.
    risk: &'static str,
    /// What the policy said to it.
    verdict: Option<Verdict>,
    /// Why.
    reason: Option<String>,
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        ensure!(!self.run.is_empty(), "an id must not be empty");
        let (running, _) = ps::listed(false)?;
        if running.iter().any(|run| !run.stale && run.id == self.run) {
            bail!(
                "{} goes on: what was denied is recorded when it has ended",
                self.run
            );
        }
        let log = match &self.log {
            Some(log) => log.clone(),
            None => audit::state()?.audit,
        };
        let Some(record) = record::find(&log, &self.run)? else {
            bail!(
                "{}: the audit log has no run whose id begins so\n  help: aegis audit runs lists them; --log names another log",
                self.run
            );
        };
        if let Some(profile) = &self.profile {
            let shown = profile.display();
            ensure!(
                profile.as_os_str() != "-",
                "standard input cannot be added to: name the file"
            );
            as_text(Files.read(profile)).map_err(|why| anyhow!("{shown} cannot be read: {why}"))?;
        }
        let (blocked, suggestions) = suggestions(&record.denials)
            .into_iter()
            .partition(|suggestion| suggestion.verdict == Some(Verdict::Block));
        let suggested = Suggested {
            file: self.file(&record),
            suggestions,
            blocked,
            never: never(&record.denials),
            run: record.run,
        };
        let text = text(&suggested, colour(&io::stdout()));
        match (self.apply, self.json) {
            (true, _) => return apply(&suggested, &text),
            (false, true) => print_json(&suggested)?,
            (false, false) => print_bytes(text.as_bytes())?,
        }
        Ok(true)
    }

    /// The file of the profile that the run had.
    fn file(&self, record: &Recorded) -> Option<String> {
        if let Some(file) = &self.profile {
            return Some(file.to_string_lossy().into_owned());
        }
        let name = record.start.as_ref()?.file.as_deref()?;
        Named::is_file(name).then(|| used::place(name, Some(record)))
    }
}

/// Each line once, with all that it would have allowed.
fn suggestions(denials: &[Denied]) -> Vec<Suggestion> {
    let mut found: BTreeMap<Addition, Suggestion> = BTreeMap::new();
    for Denied {
        denial,
        verdict,
        reason,
    } in denials
    {
        for addition in Addition::of_line(denial.allow.as_deref().unwrap_or_default()) {
            let suggestion = found
                .entry(addition)
                .or_insert_with_key(|addition| Suggestion {
                    line: addition.to_string(),
                    addition: addition.clone(),
                    denied: Vec::new(),
                    proven: false,
                    risk: risk(addition),
                    verdict: None,
                    reason: None,
                });
            let words = format!("{}: {}", denial.layer, in_words(denial));
            suggestion.denied.push(words);
            suggestion.proven |= denial.evidence != Evidence::ErrorMessage;
            // Of several the strictest counts.
            if *verdict > suggestion.verdict {
                suggestion.verdict = *verdict;
                suggestion.reason.clone_from(reason);
            }
        }
    }
    found.into_values().collect()
}

fn never(denials: &[Denied]) -> Vec<String> {
    let no_line = denials
        .iter()
        .filter(|denied| denied.denial.allow.is_none());
    no_line
        .map(|Denied { denial, .. }| format!("{}: {}", denial.layer, denial.what))
        .collect()
}

/// What a line lets the command do.
fn risk(addition: &Addition) -> &'static str {
    match addition.key.as_str() {
        "files.read" => "it can read what is there, and all that is below it",
        "files.write" => {
            "it can change and remove what is there, and all that is below it; programs of the host may act upon that"
        }
        "shell.exec" => {
            "it can execute that with any arguments; an interpreter executes whatever it is given"
        }
        "net.outbound" => {
            "it can send all that it can read anywhere, and reaches the services of this host"
        }
        "net.listen" => "others can connect to it",
        "sockets" => "it can talk over Unix sockets in the sandbox's own places",
        "devices" => "it can use the device, and with it a driver of the kernel",
        "allow" => "it reaches more of the kernel",
        _ => "it can do more than before",
    }
}

/// For a person: nothing in it steers a terminal but colours.
fn text(suggested: &Suggested, colour: bool) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out += text;
        out.push('\n');
    };
    if suggested.suggestions.is_empty() {
        line(&format!(
            "{}: nothing was denied that a line of a profile would allow",
            escape(&suggested.run)
        ));
    } else {
        let to = suggested.file.as_deref().unwrap_or("a profile of its own");
        let head = format!(
            "{} was denied what these lines would allow, added to {to}:",
            suggested.run
        );
        line(&escape(&head));
    }
    let policy = |suggestion: &Suggestion| {
        let reason = suggestion.reason.as_deref().unwrap_or_default();
        let verdict = suggestion.verdict?;
        Some(format!("    policy  {verdict}: {}", escape(reason)))
    };
    for suggestion in &suggested.suggestions {
        line("");
        line(&format!(
            "  {}",
            painted(colour, "1", &escape(&suggestion.line))
        ));
        for denied in &suggestion.denied {
            line(&format!("    denied  {}", escape(denied)));
        }
        line(&format!("    risk    {}", suggestion.risk));
        policy(suggestion).iter().for_each(|text| line(text));
    }
    if !suggested.blocked.is_empty() {
        line("\nThe policy blocks, whatever a profile says:");
    }
    for suggestion in &suggested.blocked {
        for denied in &suggestion.denied {
            line(&format!("  {}", escape(denied)));
        }
        policy(suggestion).iter().for_each(|text| line(text));
    }
    if !suggested.never.is_empty() {
        line("\nNo line of a profile would allow:");
        for never in &suggested.never {
            line(&format!("  {}", escape(never)));
        }
    }
    out
}

fn apply(suggested: &Suggested, text: &str) -> CommandResult {
    let additions: Vec<Addition> = (suggested.suggestions.iter())
        .map(|suggestion| suggestion.addition.clone())
        .collect();
    if additions.is_empty() {
        print_bytes(text.as_bytes())?;
        super::print("Nothing is to be added.\n")?;
        return Ok(true);
    }
    let Some(file) = &suggested.file else {
        bail!(
            "the run had no profile that can be added to\n  help: write one that extends it, and name it with --profile"
        );
    };
    let Some(patched) = patched(file, &additions)? else {
        bail!(
            "{file} has no place for these lines that this program would find: add them by hand\n  help: aegis suggest without --apply prints them"
        );
    };
    if patched.added.is_empty() {
        super::print(&format!("{file} has all of them already.\n"))?;
        return Ok(true);
    }
    let prompt = format!("\nAdd {} to {file}? y or N: ", counted(patched.added.len()));
    let unasked = |why: String| {
        anyhow!(
            "{file} stays as it is: {why}\n  help: run this on a terminal, or add the lines by hand: aegis suggest without --apply prints them"
        )
    };
    if !agreed(text, &harmless(&prompt)).map_err(unasked)? {
        super::print("It stays as it is.\n")?;
        return Ok(false);
    }
    let unchanged = |why: String| anyhow!("{file} cannot be changed, and is as it was: {why}");
    // What is read now is what is replaced.
    let locked = Locked::new(Path::new(file)).map_err(unchanged)?;
    let again = patch(&locked.text().map_err(unchanged)?, file, &additions);
    let again = again.ok_or_else(|| unchanged("somebody else has changed it meanwhile".into()))?;
    locked.write(&again.text).map_err(unchanged)?;
    super::print(&format!("{file}: {} added\n", counted(again.added.len())))?;
    Ok(true)
}

fn counted(lines: usize) -> String {
    match lines {
        1 => "1 line".into(),
        n => format!("{n} lines"),
    }
}

fn patched(file: &str, additions: &[Addition]) -> anyhow::Result<Option<Patched>> {
    let text = as_text(Files.read(Path::new(file)));
    let text = text.map_err(|why| anyhow!("{file} cannot be read: {why}"))?;
    Ok(patch(&text, file, additions))
}
