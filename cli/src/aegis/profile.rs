//! `aegis profile`: prints the results of the crate `aegis-profile`.

use aegis_profile::{
    Diagnostic, Error, Files, Loaded, Profile, Program, Variable, builtin, schema,
};
use aegis_runtime::plan;
use clap::{Args, Subcommand, ValueHint};
use serde_json::json;

use super::check::{self, Format};
use super::export;
use super::{CommandResult, answer, one_stdin, print_bytes, print_json};
use crate::names;
use crate::text::page::table;

/// Subcommands of `aegis profile`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Checks profiles, and says how to fix them
    #[command(after_help = "\
Examples:
  aegis profile check skill.yaml
  aegis profile check --json skills/*/skill.yaml
  generate | aegis profile check -")]
    Check {
        /// Files, `-`, or names of built-in profiles
        #[arg(required = true, value_name = "PROFILE", value_hint = ValueHint::FilePath, add = names::profiles())]
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
        #[arg(value_name = "PROFILE", value_hint = ValueHint::FilePath, add = names::profiles())]
        reference: String,
        #[command(flatten)]
        sets: Sets,
        /// Shows where each line was declared
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
        /// The first profile
        #[arg(value_name = "A", value_hint = ValueHint::FilePath, add = names::profiles())]
        a: String,
        /// The second profile
        #[arg(value_name = "B", value_hint = ValueHint::FilePath, add = names::profiles())]
        b: String,
        #[command(flatten)]
        sets: Sets,
        /// Prints JSON: what only A may do, and what only B may
        #[arg(long)]
        json: bool,
    },
    /// Writes what a profile grants for another enforcer: container engines, AppArmor, systemd, bubblewrap
    #[command(after_help = export::HELP)]
    Export(export::Options),
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

/// `--set`, as in `aegis-run`.
#[derive(Debug, Args)]
pub(super) struct Sets {
    /// Adds to the profile (of two: to both), as in limits.memory=1G; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", add = names::sets())]
    pub(super) sets: Vec<String>,
}

impl Sets {
    fn load(&self, reference: &str) -> Result<Profile, aegis_profile::Error> {
        Ok(self.loaded(reference)?.profile)
    }

    fn loaded(&self, reference: &str) -> Result<Loaded, aegis_profile::Error> {
        aegis_profile::load_with(reference, &self.sets, &Files)
    }
}

impl Action {
    pub(super) fn run(self) -> CommandResult {
        match self {
            Self::Check {
                references,
                sets,
                json,
            } => {
                let format = (!json).then_some(Format::Text);
                check::check("profile", &references, format, |reference| {
                    let Loaded { profile, skill_dir } = sets.loaded(reference)?;
                    enforceable(reference, &profile)?;
                    let mut warnings = without_effect(&profile);
                    let baseline = aegis_launch::baseline(&profile, skill_dir.as_deref());
                    warnings.extend(baseline.err().map(|missing| *missing));
                    Ok(check::Valid {
                        name: profile.name.clone(),
                        hash: profile.hash(),
                        warnings,
                    })
                })
            }
            Self::Show {
                reference,
                sets,
                origins,
                json,
            } => show(&sets.load(&reference)?, origins, json),
            Self::Diff { a, b, sets, json } => {
                one_stdin([&*a, &*b])?;
                let difference = aegis_profile::diff(&sets.load(&a)?, &sets.load(&b)?);
                answer(json, &difference, || difference.render(&a, &b))?;
                Ok(difference.is_empty())
            }
            Self::Export(options) => options.run(),
            Self::List { json } => list(json),
            Self::Schema => {
                print_bytes(schema::json_text().as_bytes())?;
                Ok(true)
            }
        }
    }
}

/// Refuses what no run could enforce.
fn enforceable(reference: &str, profile: &Profile) -> Result<(), Error> {
    plan::check(profile).map_err(|error| {
        let text = error.to_string();
        let (message, help) = match text.split_once("\n  help: ") {
            Some((message, help)) => (message, Some(help.to_owned())),
            None => (&*text, None),
        };
        let mut wrong = Diagnostic::of_file(reference, message);
        wrong.maybe_help(help);
        wrong.into()
    })
}

/// What is declared to no effect.
fn without_effect(profile: &Profile) -> Vec<Diagnostic> {
    let capabilities = &profile.capabilities;
    let files = capabilities
        .files_read
        .iter()
        .chain(&capabilities.files_write)
        .chain(&capabilities.files_overlay);
    let mut warnings = Vec::new();
    for item in files
        .clone()
        .filter(|item| item.value.base == Some(Variable::Tmp))
    {
        let message = format!(
            "`{}` has no effect: `$TMP` is the sandbox's own, empty and writable",
            item.value
        );
        let warning = Diagnostic::at(item.origin.clone(), message);
        warnings.push(warning.with_help("remove it, or name the file where the host has it"));
    }
    let programs = capabilities
        .shell_exec
        .iter()
        .filter_map(|item| match &item.value {
            Program::Path(spec) => Some((spec, &item.origin)),
            Program::Name { .. } => None,
        });
    let paths = files
        .map(|item| (&item.value, &item.origin))
        .chain(programs);
    let texts = paths.map(|(spec, origin)| (spec.rest.as_str(), origin));
    let set = profile.environment.set.values();
    let texts = texts.chain(set.map(|set| (set.value.as_str(), &set.origin)));
    for (text, origin) in texts {
        if let Some(name) = variable(text) {
            let message = format!(
                "`{name}` is taken as it is written: a variable stands at the beginning of a path, and is one of $SKILL, $WORK, $HOME and $TMP"
            );
            let warning = Diagnostic::at(origin.clone(), message);
            warnings.push(warning.with_help("write what it stands for"));
        }
    }
    warnings
}

/// What looks like a variable in a text.
fn variable(text: &str) -> Option<&str> {
    let at = text.find('$')?;
    let named = &text[at + 1..];
    let inner = named.strip_prefix('{').unwrap_or(named);
    let length = inner
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'_')
        .count();
    let first = inner
        .bytes()
        .next()
        .filter(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    first.map(|_| &text[at..at + 1 + (named.len() - inner.len()) + length])
}

fn show(profile: &Profile, origins: bool, json: bool) -> CommandResult {
    if json {
        // The hash is computed from the canonical form.
        let canonical: serde_json::Value = serde_json::from_str(&profile.canonical_json())?;
        print_json(&json!({"profile": canonical, "hash": profile.hash()}))?;
    } else {
        print_bytes(aegis_profile::show(profile, origins).as_bytes())?;
    }
    Ok(true)
}

fn list(json: bool) -> CommandResult {
    let mut rows = Vec::new();
    for name in builtin::names() {
        let profile = aegis_profile::load(name, &Files)?.profile;
        let description = profile.description.unwrap_or_default();
        rows.push([name.to_owned(), description]);
    }
    let row = |[name, description]: &[String; 2]| json!({"name": name, "description": description});
    let value: Vec<_> = rows.iter().map(row).collect();
    answer(json, &value, || table(None, rows))?;
    Ok(true)
}
