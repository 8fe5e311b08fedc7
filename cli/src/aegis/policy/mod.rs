//! `aegis policy`: prints the results of the crate `aegis-policy`. The larger commands have a file each.

mod asked;
mod diff;
pub(super) mod explain;
pub(super) mod held;
mod passphrase;
mod promote;
mod test;

use std::io;
use std::path::{Path, PathBuf};

use aegis_policy::advice::{self, Advice};
use aegis_policy::{Document, Policy, load, schema, templates};
use aegis_profile::{Diagnostic, Error, Files, ReadError};
use aegis_runtime::seccomp::{Arch, is_in_default_set};
use aegis_sys::output::{self, Kind, NamedFile, Output};
use anyhow::{Context as _, anyhow};
use clap::{Subcommand, ValueHint};
use serde_json::json;

use super::check::{self, Format};
use super::{CommandResult, answer, print, print_bytes};
use crate::names;
use asked::{ContextArgs, RequestArgs};

/// Subcommands of `aegis policy`.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Checks policies, and says how to fix them
    #[command(after_help = "\
Examples:
  aegis policy check policy.yaml
  aegis policy check --json /etc/aegis/policy.d/
  aegis policy check --format github policies/*.yaml     annotations of a pull request")]
    Check {
        /// Files, directories, `-`, or names of templates
        #[arg(required = true, value_name = "POLICY", value_hint = ValueHint::AnyPath, add = names::policies())]
        references: Vec<String>,
        /// Prints JSON: for each policy its name, hash and mistakes
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// How mistakes are reported
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Prints a policy as canonical YAML; without a name the one that is in force here
    #[command(after_help = "\
Without a name: each document that a run of yours would be held against, the system's first, with the files
that it was read from.

Examples:
  aegis policy show
  aegis policy show standard
  aegis policy show --json policy.yaml | jq -r .hash")]
    Show {
        /// A file, a directory, `-`, or the name of a template
        #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath, add = names::policies())]
        reference: Option<String>,
        /// Prints JSON: the policy and its hash
        #[arg(long)]
        json: bool,
    },
    /// Prints a policy's hash: 64 hex digits
    #[command(after_help = "\
Two policies of the same hash decide alike: comments and the order of rules make no difference, a rule does.

Example:
  test \"$(aegis policy hash policy.yaml)\" = \"$(cat policy.sha256)\"")]
    Hash {
        /// A file, a directory, `-`, or the name of a template
        #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath, add = names::policies())]
        reference: String,
    },
    /// Writes a new policy, with comments, to start from
    #[command(after_help = "\
Templates: strict, standard, permissive. Beside a file its table of tests is written, which
`aegis policy test` runs: policy.test.yaml beside policy.yaml.

Examples:
  aegis policy new -o policy.yaml
  aegis policy new --template strict > policy.yaml")]
    New {
        /// The template to start from
        #[arg(long, value_name = "NAME", default_value = templates::DEFAULT, add = names::templates())]
        template: String,
        /// The file to write; it must not be there yet
        #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Asks for a passphrase, and prints its hash as a line for a policy
    #[command(after_help = "\
With that line in a policy, a yes on the terminal counts only with the passphrase: a program at the other end of a
pseudo-terminal that does not know it cannot say yes. The policy can be read by everybody, so let the passphrase
be several words.

Example:
  aegis policy passphrase >> policy.yaml")]
    Passphrase,
    /// Asks a policy about a table of requests, and says where its verdicts are not as expected
    #[command(after_help = "\
The table of policy.yaml is policy.test.yaml beside it, those of a directory are its *.test.yaml:

  aegis-policy-test: 1
  context: {home: /home/ana, work: /home/ana/work}
  cases:
    - {files.read: [$HOME/.ssh/id_rsa, $HOME/**], expect: block, by: keys}
    - {shell.exec: git, expect: allow}
    - {net.outbound: \"POST https://api.github.com/repos\", expect: review}

Status 1 says that a verdict is not as expected.

Examples:
  aegis policy test policy.yaml
  aegis policy test standard
  aegis policy test --json new.yaml old.test.yaml | jq '.tables[].cases[] | select(.ok | not)'")]
    Test {
        /// A file, a directory, `-`, or the name of a template
        #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath, add = names::policies())]
        reference: String,
        /// The table; without it, the tables beside the policy
        #[arg(value_name = "TABLE", value_hint = ValueHint::FilePath)]
        table: Option<String>,
        /// Prints JSON: each request with its verdict
        #[arg(long)]
        json: bool,
    },
    /// Puts a rule that only warned into force: takes `mode: warn` off it
    #[command(after_help = "\
Only that place of the file is changed, in one step; comments stay.

Examples:
  aegis policy promote policy.yaml github
  aegis policy promote --back /etc/aegis/policy.d/ github    it warns again")]
    Promote {
        /// A file or a directory
        #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath, add = names::policies())]
        reference: String,
        /// The rule's id
        #[arg(value_name = "RULE", add = names::rules())]
        rule: String,
        /// Puts `mode: warn` on it instead
        #[arg(long)]
        back: bool,
        /// Prints JSON: what was changed
        #[arg(long)]
        json: bool,
    },
    /// Says what a policy decides of one request; status 1 when that is `review` or `block`
    #[command(
        override_usage = "aegis policy eval [OPTIONS] [POLICY] <REQUEST>",
        after_help = "\
A request is a JSON file, `-`, or an action and words. Words mean what they would in a run here: links
are followed, and a directory stands for all below it, except what a profile hides in it. Without
POLICY what is in force here is asked.

Examples:
  aegis policy eval 'files.read=$HOME/.ssh/id_rsa'
  aegis policy eval policy.yaml 'files.write=$WORK/**' --work /srv/site
  aegis policy eval policy.yaml 'files.read=$WORK/** except $WORK/secrets'
  aegis policy eval policy.yaml shell.exec=git
  aegis policy eval policy.yaml 'net.outbound=GET https://api.github.com/repos'
  aegis policy eval --json policy.yaml request.json | jq -r .verdict"
    )]
    Eval {
        #[command(flatten)]
        asked: RequestArgs,
        /// Prints the decision in canonical JSON
        #[arg(long)]
        json: bool,
    },
    /// Says why, rule by rule, and what would let it through
    #[command(
        override_usage = "aegis policy explain [OPTIONS] [POLICY] <REQUEST>",
        after_help = "\
For each rule about such requests: whether it covers the request wholly (contains), partly
(overlaps) or not (disjoint), what it says (`-`: nothing), and why. Without POLICY what is in force here is asked.

Examples:
  aegis policy explain 'files.read=$HOME/**'
  aegis policy explain policy.yaml 'net.outbound=POST https://api.github.com/user'
  aegis policy explain --json policy.yaml request.json | jq '.parts[].documents[].needs'"
    )]
    Explain {
        #[command(flatten)]
        asked: RequestArgs,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists what one policy decides otherwise than another; status 1 when they differ
    #[command(after_help = "\
Both decide requests made from their patterns, one for every way in which a request can match
these. Each difference is listed with a request that shows it; first what B lets through
and A does not. Every listed difference is real. Missed may be differences between rules in
Rego, and those that need variables to stand for unusual places. Without --work, --home or --skill
several usual places are tried.

Examples:
  aegis policy diff old.yaml new.yaml
  aegis policy diff standard policy.yaml --all
  git show HEAD:policy.yaml | aegis policy diff - policy.yaml
  aegis policy diff --json old.yaml new.yaml | jq '.differences[] | select(.b.verdict == \"allow\")'")]
    Diff {
        /// The first policy
        #[arg(value_name = "A", value_hint = ValueHint::AnyPath, add = names::policies())]
        a: String,
        /// The second policy
        #[arg(value_name = "B", value_hint = ValueHint::AnyPath, add = names::policies())]
        b: String,
        #[command(flatten)]
        place: ContextArgs,
        /// Lists every difference, not only a few of each change
        #[arg(long, conflicts_with = "json")]
        all: bool,
        /// Prints JSON: each difference with an example request
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of policies
    #[command(after_help = "\
Example, for editors that check YAML against a schema:
  aegis policy schema > aegis-policy.schema.json")]
    Schema,
}

impl Action {
    pub(super) fn run(self) -> CommandResult {
        match self {
            Self::Check {
                references,
                json,
                format,
            } => check::check(
                "policy",
                &references,
                (!json).then_some(format),
                |reference| {
                    let document = document(reference)?;
                    let name = document.name.clone();
                    let policy = compiled(document)?;
                    let calls = Arch::ALL.into_iter().flat_map(Arch::syscalls);
                    let asked = calls.map(|(name, _)| *name);
                    let asked = asked.filter(|name| !is_in_default_set(name)).collect();
                    let advice = advice::of(&policy, &asked);
                    let warning = |advice: Advice| {
                        let message = format!("`{}`: {}", advice.about, advice.message);
                        Diagnostic::of_file(reference, message).with_help(advice.help)
                    };
                    Ok(check::Valid {
                        name,
                        hash: policy.hash(),
                        warnings: advice.into_iter().map(warning).collect(),
                    })
                },
            ),
            Self::Show {
                reference: None,
                json,
            } => held::show(json),
            Self::Show {
                reference: Some(reference),
                json,
            } => {
                let document = document(&reference)?;
                let hash = compiled(document.clone())?.hash();
                let value = json!({"hash": hash, "policy": document});
                answer(json, &value, || aegis_policy::show::show(&document))?;
                Ok(true)
            }
            Self::Hash { reference } => {
                let hash = compiled(document(&reference)?)?.hash();
                print(&format!("{hash}\n"))?;
                Ok(true)
            }
            Self::New { template, output } => new(&template, output.as_deref()),
            Self::Passphrase => passphrase::passphrase(),
            Self::Test {
                reference,
                table,
                json,
            } => test::test(&reference, table.as_deref(), json),
            Self::Promote {
                reference,
                rule,
                back,
                json,
            } => promote::promote(&reference, &rule, back, json),
            Self::Eval { asked, json } => explain::eval(&asked, json),
            Self::Explain { asked, json } => explain::explain(&asked, json),
            Self::Diff {
                a,
                b,
                place,
                all,
                json,
            } => diff::diff(&a, &b, &place, all, json),
            Self::Schema => {
                print_bytes(schema::text(&schema::bundled()).as_bytes())?;
                Ok(true)
            }
        }
    }
}

/// A template as a file to start from.
fn new(name: &str, output: Option<&Path>) -> CommandResult {
    let template = templates::find(name).with_context(|| {
        let known: Vec<_> = templates::ALL.iter().map(|t| t.name).collect();
        let known = known.join(", ");
        format!("there is no template `{name}`: the templates are {known}")
    })?;
    // The copy is the operator's own policy, and gets its name from the file.
    let own = output
        .and_then(|path| path.file_stem()?.to_str())
        .filter(|stem| stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .filter(|stem| stem.bytes().any(|b| b.is_ascii_alphabetic()) && !stem.starts_with('-'))
        .unwrap_or("my-policy");
    let file = output.map_or("FILE".into(), Path::to_string_lossy);
    let text = template
        .yaml
        .replacen(&format!("\nname: {name}\n"), &format!("\nname: {own}\n"), 1);
    let text = text.replacen(
        &format!("`aegis policy test {name}`"),
        &format!("`aegis policy test {file}`"),
        1,
    );
    let text = format!("# Made from the template `{name}`, of which it says:\n#\n{text}");
    let Some(path) = output else {
        print_bytes(text.as_bytes())?;
        return Ok(true);
    };
    let table = path.with_extension("test.yaml");
    let fail = |path: &Path, error: io::Error| {
        let help = match error.kind() {
            io::ErrorKind::AlreadyExists => ", and is left as it is\n  help: name another file",
            _ => "",
        };
        anyhow!("{} cannot be written: {error}{help}", path.display())
    };
    let kind = Kind::Document { replace: false };
    let output = Output::open(path, kind).map_err(|error| fail(path, error))?;
    let Some(file) = output.file() else {
        // There is no place for a table beside it.
        (output.write(text.as_bytes())).map_err(|error| fail(path, error))?;
        return Ok(true);
    };
    let of_table = NamedFile::open(&table, kind).map_err(|error| fail(&table, error))?;
    let both = [
        (file, text.as_bytes()),
        (&of_table, template.table.as_bytes()),
    ];
    output::write_all(&both).map_err(|(number, error)| fail([path, &table][number], error))?;
    print(&format!(
        "written: {0}, and a table of tests for it, {1}\nnext: change both, `aegis policy test {0}`, and for one run `aegis-run --policy {0} ...`\n",
        path.display(),
        table.display()
    ))?;
    Ok(true)
}

/// The document of a reference.
pub(super) fn document(reference: &str) -> Result<Document, Error> {
    load::load(reference, &Files)
}

/// A document, compiled.
pub(super) fn compiled(document: Document) -> Result<Policy, Error> {
    Policy::new(vec![document])
        .map_err(|bad| Diagnostic::of_file(&bad.document, bad.to_string()).into())
}

/// The rules that spoke, or `none` if there are none.
pub(super) fn joined(rules: &[impl AsRef<str>], none: &str) -> String {
    let rules: Vec<&str> = rules.iter().map(AsRef::as_ref).collect();
    match rules.is_empty() {
        true => none.to_owned(),
        false => rules.join(", "),
    }
}

/// The text that was read, or the error.
pub(super) fn as_text(bytes: Result<Vec<u8>, ReadError>) -> Result<String, String> {
    match bytes.map(String::from_utf8) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(_)) => Err("it is not UTF-8 text".into()),
        Err(error) => Err(error.to_string()),
    }
}
