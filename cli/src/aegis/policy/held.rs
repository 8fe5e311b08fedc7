//! The policy in force: `aegis policy show` without a name, and what `aegis doctor` says of it.

use aegis_policy::load::{self, Held, HeldAs};
use aegis_policy::model::Documents;
use aegis_policy::{Hash, Policy, show as canonical};
use aegis_profile::Error;
use serde::Serialize;
use serde_json::{Value, json};

use super::compiled;
use crate::aegis::{CommandResult, answer};

/// The documents that a run of this caller would be held against.
#[derive(Serialize)]
pub(in crate::aegis) struct InForce {
    documents: Vec<Shown>,
    /// Of all documents together.
    hash: Hash,
    /// Their names.
    name: String,
}

/// One of them.
#[derive(Serialize)]
struct Shown {
    files: Vec<String>,
    hash: Hash,
    #[serde(rename = "as")]
    held_as: HeldAs,
    name: String,
    place: String,
    policy: Value,
    #[serde(skip)]
    asks_for_passphrase: bool,
    #[serde(skip)]
    yaml: String,
}

/// Reads what is in force here.
pub(in crate::aegis) fn in_force() -> Result<InForce, Error> {
    let held = aegis_launch::held(None)?;
    let all = held.iter().map(|held| held.document.clone()).collect();
    let policy = load::compile(Documents::new(all))?;
    let documents = held.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(InForce {
        documents,
        hash: policy.hash(),
        name: policy.name(),
    })
}

/// What is in force here, as a run of this caller is asked about.
pub(super) fn policy() -> Result<Policy, Error> {
    let held = aegis_launch::held(None)?.into_iter();
    load::compile(Documents::new(held.map(|held| held.document).collect()))
}

fn shown(held: Held) -> Result<Shown, Error> {
    let Held {
        document,
        held_as,
        place,
        files,
    } = held;
    Ok(Shown {
        files: (files.iter())
            .map(|file| file.display().to_string())
            .collect(),
        hash: compiled(document.clone())?.hash(),
        held_as,
        name: document.name.clone(),
        place,
        policy: json!(document),
        asks_for_passphrase: document.approval_passphrase.is_some(),
        yaml: canonical::show(&document),
    })
}

impl InForce {
    /// A line for each document, and one for each of its files.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for shown in &self.documents {
            let hash: String = shown.hash.to_string().chars().take(8).collect();
            let whose = match shown.held_as {
                HeldAs::Default => "no policy is configured, so this template".to_owned(),
                HeldAs::Named => shown.place.clone(),
                HeldAs::System => format!("the system's, {}", shown.place),
                HeldAs::User => format!("your own, {}", shown.place),
            };
            lines.push(format!("{} ({hash}): {whose}", shown.name));
            if shown.asks_for_passphrase {
                lines.push("  a yes counts only with its passphrase".to_owned());
            }
            lines.extend(shown.files.iter().map(|file| format!("  {file}")));
        }
        lines
    }
}

pub(super) fn show(json: bool) -> CommandResult {
    let all = in_force()?;
    answer(json, &all, || {
        let mut text = format!("# In force here, with the hash {}:\n", all.hash);
        for line in all.lines() {
            text += &format!("#   {line}\n");
        }
        for shown in &all.documents {
            text += &format!("---\n{}", shown.yaml);
        }
        text
    })?;
    Ok(true)
}
