//! `aegis profile`: what the crate `aegis-profile` has to say, printed.

use aegis_profile::{Files, Hash, Loaded, Profile, builtin, schema};
use clap::{Args, Subcommand, ValueHint};
use serde::Serialize;
use serde_json::json;

use super::{Answer, Failure, print_json};
use crate::terminal::{self, complain, print};

/// Subcommands of `aegis profile`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Says whether profiles are right, and how to mend them
    #[command(after_help = "\
Examples:
  aegis profile check skill.yaml
  aegis profile check --json skills/*/skill.yaml
  generate | aegis profile check -")]
    Check {
        /// Files, `-`, or names of built-in profiles
        #[arg(required = true, value_name = "PROFILE", value_hint = ValueHint::FilePath)]
        references: Vec<String>,
        #[command(flatten)]
        sets: Sets,
        /// Prints JSON: for each profile its name, hash and mistakes
        #[arg(long)]
        json: bool,
    },
    /// Prints a profile with everything that it extends, as canonical YAML
    #[command(after_help = "\
Examples:
  aegis profile show skill.yaml
  aegis profile show --origins python
  aegis profile show --json skill.yaml | jq -r .hash")]
    Show {
        /// A file, `-`, or the name of a built-in profile
        #[arg(value_name = "PROFILE", value_hint = ValueHint::FilePath)]
        reference: String,
        #[command(flatten)]
        sets: Sets,
        /// Says of each line where it was declared
        #[arg(long, conflicts_with = "json")]
        origins: bool,
        /// Prints JSON: the profile and its hash
        #[arg(long)]
        json: bool,
    },
    /// Lists what one profile may do that another may not; status 1 when they differ
    #[command(after_help = "\
Compared is what the profiles mean: the order of lines, comments and names make no difference.

Examples:
  aegis profile diff old.yaml new.yaml
  git show HEAD:skill.yaml | aegis profile diff - skill.yaml")]
    Diff {
        /// The one
        #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
        a: String,
        /// The other
        #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
        b: String,
        #[command(flatten)]
        sets: Sets,
        /// Prints JSON: what only A may do, and what only B may
        #[arg(long)]
        json: bool,
    },
    /// Lists the built-in profiles
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of profiles
    #[command(after_help = "\
Example, for editors that check YAML against a schema:
  aegis profile schema > aegis.schema.json")]
    Schema,
}

/// `--set`, as `aegis-run` has it.
#[derive(Debug, Args)]
pub(super) struct Sets {
    /// Adds to the profile (of two: to both), as in limits.memory=1G; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl Sets {
    fn load(&self, reference: &str) -> Result<Loaded, aegis_profile::Error> {
        aegis_profile::load_with(reference, &self.sets, &Files)
    }
}

pub(super) fn profile(action: &Action) -> Answer {
    match action {
        Action::Check {
            references,
            sets,
            json,
        } => check(references, sets, *json),
        Action::Show {
            reference,
            sets,
            origins,
            json,
        } => show(&sets.load(reference)?.profile, *origins, *json),
        Action::Diff { a, b, sets, json } => diff(a, b, sets, *json),
        Action::List { json } => list(*json),
        Action::Schema => {
            print(schema::json_text().as_bytes())?;
            Ok(true)
        }
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    profile: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(flatten)]
    error: Option<aegis_profile::Error>,
}

fn check(references: &[String], sets: &Sets, json: bool) -> Answer {
    if references
        .iter()
        .filter(|reference| *reference == "-")
        .count()
        > 1
    {
        return Err(Failure::Other(
            "standard input can be read once only".into(),
        ));
    }
    let mut results = Vec::new();
    for reference in references {
        let result = sets.load(reference);
        if !json {
            match &result {
                Ok(_) => print(format!("{}: ok\n", terminal::harmless(reference)).as_bytes())?,
                Err(error) => complain(&terminal::profile_error("aegis", error)),
            }
        }
        let (name, hash, error) = match result {
            Ok(loaded) => (
                Some(loaded.profile.name.clone()),
                Some(loaded.profile.hash()),
                None,
            ),
            Err(error) => (None, None, Some(error)),
        };
        results.push(Checked {
            profile: reference,
            ok: error.is_none(),
            name,
            hash,
            error,
        });
    }
    if json {
        print_json(&results)?;
    }
    Ok(results.iter().all(|result| result.ok))
}

fn show(profile: &Profile, origins: bool, json: bool) -> Answer {
    if json {
        // The canonical form is what the hash is made of.
        let canonical: serde_json::Value = serde_json::from_str(&profile.canonical_json())
            .map_err(|error| Failure::Other(format!("the profile has no JSON form: {error}")))?;
        print_json(&json!({"profile": canonical, "hash": profile.hash()}))?;
    } else {
        print(aegis_profile::show(profile, origins).as_bytes())?;
    }
    Ok(true)
}

fn diff(a: &str, b: &str, sets: &Sets, json: bool) -> Answer {
    if a == "-" && b == "-" {
        return Err(Failure::Other(
            "standard input can be read once only".into(),
        ));
    }
    let (one, other) = (sets.load(a)?.profile, sets.load(b)?.profile);
    let difference = aegis_profile::diff(&one, &other);
    if json {
        print_json(&difference)?;
    } else {
        print(terminal::harmless(&difference.render(a, b)).as_bytes())?;
    }
    Ok(difference.is_empty())
}

fn list(json: bool) -> Answer {
    let mut rows = Vec::new();
    for name in builtin::names() {
        let profile = aegis_profile::load(name, &Files)?.profile;
        rows.push((name, profile.description.unwrap_or_default()));
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, description)| json!({"name": name, "description": description}))
            .collect();
        print_json(&rows)?;
    } else {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let text: String = rows
            .iter()
            .map(|(name, description)| format!("{name:width$}  {description}\n"))
            .collect();
        print(text.as_bytes())?;
    }
    Ok(true)
}
