//! Names to complete on a command line, each from where the programs have it themselves. Nothing is changed by looking,
//! and nothing is opened but regular files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_audit::approvals::{Entry, Store};
use aegis_audit::log::Reader;
use aegis_audit::places::State;
use aegis_launch::registry;
use aegis_policy::{ask, load, places, templates};
use aegis_profile::{Files, LimitKey, Source, builtin};
use aegis_runtime::facts;
use aegis_secrets::places::Places;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde::Deserialize;

/// How much of the log is looked at for runs.
const END_OF_LOG: u64 = 256 << 10;

/// Those of these names that begin with what was typed.
pub fn of(names: fn() -> Vec<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let Some(typed) = typed.to_str() else {
            return Vec::new();
        };
        let names = names().into_iter().filter(|name| name.starts_with(typed));
        names.map(CompletionCandidate::new).collect::<Vec<_>>()
    })
}

/// The built-in profiles.
pub fn profiles() -> ArgValueCompleter {
    of(|| builtin::names().map(str::to_owned).collect())
}

/// What `--set` adds to.
pub fn sets() -> ArgValueCompleter {
    of(|| {
        let limits = LimitKey::NAMES.iter();
        limits.map(|limit| format!("limits.{limit}=")).collect()
    })
}

/// The templates of policies.
pub fn templates() -> ArgValueCompleter {
    of(template_names)
}

fn template_names() -> Vec<String> {
    let names = templates::ALL.iter().map(|template| template.name);
    names.map(str::to_owned).collect()
}

/// The templates, and where the policies of the system and of this user are.
pub fn policies() -> ArgValueCompleter {
    of(|| {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = facts::this_caller().home;
        let user = places::user_config(Some(&home), config.as_deref());
        let configured = user
            .into_iter()
            .chain([PathBuf::from(places::SYSTEM_CONFIG)])
            .flat_map(|place| [place.join("policy.yaml"), place.join("policy.d")])
            .filter(|place| place.exists())
            .filter_map(|place| place.into_os_string().into_string().ok());
        template_names().into_iter().chain(configured).collect()
    })
}

/// The rules of the policy that another word of the command line names.
pub fn rules() -> ArgValueCompleter {
    of(|| {
        let words = std::env::args_os().filter_map(|word| word.into_string().ok());
        let named = words.skip(1).filter(|word| load::is_path(word));
        named.flat_map(|word| rules_of(&word)).collect()
    })
}

fn rules_of(reference: &str) -> Vec<String> {
    let path = match (reference.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(reference),
    };
    let files = match path.is_dir() {
        true => load::files_of(&path, &Files).unwrap_or_default(),
        false => vec![path],
    };
    let read = |file: &PathBuf| {
        let text = String::from_utf8(Files.read(file).ok()?).ok()?;
        load::parse_str(&text, &file.to_string_lossy()).ok()
    };
    let documents = files.iter().filter_map(read);
    documents
        .flat_map(|document| document.ids().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What a request in words begins with.
pub fn actions() -> ArgValueCompleter {
    of(|| {
        let actions = ask::ACTIONS.iter();
        actions.map(|action| format!("{action}=")).collect()
    })
}

/// The ids of the sandboxes that run now, and the names of their profiles.
pub fn running() -> ArgValueCompleter {
    of(|| going_on().collect())
}

fn going_on() -> impl Iterator<Item = String> {
    let directory = registry::directory();
    let running = directory.and_then(|directory| registry::going_on(&directory).ok());
    let running = running.unwrap_or_default();
    let profiles: BTreeSet<String> = running.iter().map(|run| run.profile.clone()).collect();
    running.into_iter().map(|run| run.id).chain(profiles)
}

/// The same, and the ids of the last runs in this user's log.
pub fn shown() -> ArgValueCompleter {
    of(|| {
        let running: Vec<String> = going_on().collect();
        let ended = recent().into_iter().filter(|run| !running.contains(run));
        running.iter().cloned().chain(ended).collect()
    })
}

/// The ids of the last runs in this user's log.
pub fn runs() -> ArgValueCompleter {
    of(recent)
}

fn recent() -> Vec<String> {
    let log = State::here().map(|state| state.audit);
    log.map(|log| runs_of(&log)).unwrap_or_default()
}

fn runs_of(log: &Path) -> Vec<String> {
    /// As much of a record as is wanted.
    #[derive(Deserialize)]
    struct Of {
        run: String,
    }
    let Ok(mut reader) = Reader::of_end(log, END_OF_LOG) else {
        return Vec::new();
    };
    let mut runs: Vec<String> = Vec::new();
    while let Some(line) = reader.next_line() {
        let of = line
            .ok()
            .and_then(|line| serde_json::from_slice::<Of>(line.record).ok());
        // The log's own records belong to no run.
        let Some(run) = of.map(|of| of.run).filter(|run| run != "log") else {
            continue;
        };
        if runs.last() != Some(&run) {
            runs.retain(|other| *other != run);
            runs.push(run);
        }
    }
    // The last one first.
    runs.reverse();
    runs
}

/// The secrets in this user's store.
pub fn secrets() -> ArgValueCompleter {
    of(|| {
        let store = Places::here().and_then(|places| std::fs::read_dir(places.store).ok());
        let names = store.into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut aliases: Vec<String> = names
            .filter_map(|name| name.strip_suffix(".age").map(str::to_owned))
            .filter(|alias| aegis_profile::syntax::alias(alias).is_ok())
            .collect();
        aliases.sort();
        aliases
    })
}

/// The ids of this user's approvals.
pub fn approvals() -> ArgValueCompleter {
    of(|| approved(|entry| entry.id))
}

/// The profiles that this user's approvals are for.
pub fn approved_profiles() -> ArgValueCompleter {
    of(|| {
        let names: BTreeSet<String> = approved(|entry| entry.profile).into_iter().collect();
        names.into_iter().collect()
    })
}

fn approved(name: fn(Entry) -> String) -> Vec<String> {
    let store = State::here().map(|state| Store::open(&state.dir));
    let entries = store.and_then(|store| store.list().ok());
    entries.unwrap_or_default().into_iter().map(name).collect()
}
