//! The command line of `aegis-run`, read without clap: every page that is touched before the
//! command starts counts.
//!
//! The command begins at the first word that is not an option, as with `env` and `timeout`; `--` before
//! it is for a command that begins with a dash.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;

use lexopt::Arg;

/// What an option wants after its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A value, in the same word or the next.
    Value,
    /// A value in the same word, or none.
    Perhaps,
}

/// Every long option: the parser knows no other.
pub const OPTIONS: [(&str, Takes); 10] = [
    ("audit", Takes::Value),
    ("explain", Takes::Perhaps),
    ("help", Takes::Nothing),
    ("keep-fd", Takes::Value),
    ("policy", Takes::Value),
    ("profile", Takes::Value),
    ("quiet", Takes::Nothing),
    ("report", Takes::Value),
    ("set", Takes::Value),
    ("version", Takes::Nothing),
];

/// Options of the design that this version lacks, and what each would do. They are refused: a run that
/// is not observed must not look as if it were.
const WAITING: [(&str, &str); 1] = [("observe", "observing the command")];

/// How the plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// The command line, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// `--profile`: a file, `-`, or the name of a built-in one.
    pub profile: Option<String>,
    /// `--policy`: a file, a directory, `-`, or the name of a template; in place of the user's.
    pub policy: Option<String>,
    /// `--audit`: the directory of the log, or `none`.
    pub audit: Option<PathBuf>,
    /// `--report`.
    pub report: Option<PathBuf>,
    /// `--explain`: show the plan, start nothing.
    pub explain: Option<Explain>,
    /// `--set`, in order.
    pub set: Vec<String>,
    /// `--keep-fd`, in order.
    pub keep_fds: Vec<RawFd>,
    /// `--quiet`.
    pub quiet: bool,
    /// The command; empty: the profile's.
    pub command: Vec<OsString>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run the command, or explain.
    Run(Box<Args>),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Reads a command line, without the program's own name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut args = Args::default();
    while let Some(arg) = parser.next().map_err(told)? {
        let name = match arg {
            Arg::Long(name) => name.to_owned(),
            Arg::Short('h') => return Ok(Invocation::Help),
            Arg::Short('V') => return Ok(Invocation::Version),
            Arg::Short(letter) => {
                return Err(format!("there is no option -{letter}; --help lists all"));
            }
            Arg::Value(first) => {
                args.command.push(first);
                args.command.extend(parser.raw_args().map_err(told)?);
                break;
            }
        };
        let Some((name, takes)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(&name));
        };
        let value = match takes {
            Takes::Nothing => None,
            Takes::Value => Some(value(&mut parser, name)?),
            Takes::Perhaps => parser.optional_value(),
        };
        match (*name, value) {
            ("help", _) => return Ok(Invocation::Help),
            ("version", _) => return Ok(Invocation::Version),
            ("quiet", _) => args.quiet = true,
            ("explain", value) => once(name, &mut args.explain, explain(value.as_deref())?)?,
            ("profile", Some(value)) => once(name, &mut args.profile, text(name, value)?)?,
            ("policy", Some(value)) => once(name, &mut args.policy, text(name, value)?)?,
            ("audit", Some(value)) => once(name, &mut args.audit, place(name, value)?)?,
            ("report", Some(value)) => once(name, &mut args.report, place(name, value)?)?,
            ("set", Some(value)) => args.set.push(text(name, value)?),
            ("keep-fd", Some(value)) => args.keep_fds.push(descriptor(&value)?),
            (name, _) => unreachable!("--{name} is listed and not read"),
        }
    }
    if args.explain.is_some() && args.report.is_some() {
        return Err("--report needs a run, and --explain starts none: give one of them".into());
    }
    Ok(Invocation::Run(Box::new(args)))
}

/// A value in the same word, or the next one. That one must not look like an option: what was left
/// out would take the place of what comes after it.
fn value(parser: &mut lexopt::Parser, name: &str) -> Result<OsString, String> {
    if let Some(value) = parser.optional_value() {
        return Ok(value);
    }
    let value = parser.value().map_err(told)?;
    match value.as_encoded_bytes() {
        [b'-', _, ..] => Err(format!(
            "--{name} needs a value; one that begins with a dash is written --{name}=VALUE"
        )),
        _ => Ok(value),
    }
}

/// lexopt's errors, in the words used here.
fn told(error: lexopt::Error) -> String {
    match error {
        lexopt::Error::MissingValue {
            option: Some(option),
        } => format!("{option} needs a value"),
        lexopt::Error::UnexpectedValue { option, .. } => format!("{option} takes no value"),
        error => error.to_string(),
    }
}

fn unknown(name: &str) -> String {
    if let Some((_, what)) = WAITING.iter().find(|(waiting, _)| *waiting == name) {
        return format!("--{name}: {what} is not part of this version");
    }
    let near = OPTIONS
        .iter()
        .map(|(known, _)| (strsim::damerau_levenshtein(known, name), known))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    match near {
        Some((_, near)) => format!("there is no option --{name}; did you mean --{near}?"),
        None => format!("there is no option --{name}; --help lists all"),
    }
}

fn once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("--{name} is given twice")),
    }
}

fn explain(value: Option<&OsStr>) -> Result<Explain, String> {
    match value.map(OsStr::as_encoded_bytes) {
        None | Some(b"text") => Ok(Explain::Text),
        Some(b"json") => Ok(Explain::Json),
        Some(_) => Err("--explain: the formats are `text` and `json`".into()),
    }
}

fn text(name: &str, value: OsString) -> Result<String, String> {
    value
        .into_string()
        .map_err(|value| format!("--{name}: {} is not UTF-8", value.display()))
}

fn place(name: &str, value: OsString) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err(format!("--{name}: the name is empty"));
    }
    Ok(value.into())
}

fn descriptor(value: &OsStr) -> Result<RawFd, String> {
    // No sign: `parse` alone would take `+3`.
    value
        .to_str()
        .filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| format!("--keep-fd: {} is not a file descriptor", value.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read(words: &[&str]) -> Result<Args, String> {
        match parse(words.iter().map(OsString::from))? {
            Invocation::Run(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_begins_at_the_first_word_that_is_no_option() {
        let args = read(&["--quiet", "ls", "--profile", "-x", "--"]).unwrap();
        assert!(args.quiet && args.profile.is_none());
        assert_eq!(args.command, ["ls", "--profile", "-x", "--"]);
    }

    #[test]
    fn a_double_dash_before_the_command_is_not_part_of_it() {
        assert_eq!(
            read(&["--", "--odd", "--"]).unwrap().command,
            ["--odd", "--"]
        );
        assert_eq!(read(&["--profile=a", "--", "x"]).unwrap().command, ["x"]);
        assert!(read(&["--"]).unwrap().command.is_empty());
    }

    #[test]
    fn values_are_taken_from_the_same_word_or_the_next() {
        let args = read(&[
            "--profile",
            "p.yaml",
            "--report=-",
            "--set",
            "a=b=c",
            "--set=d=",
            "--keep-fd",
            "7",
            "--keep-fd=8",
        ])
        .unwrap();
        assert_eq!(args.profile.as_deref(), Some("p.yaml"));
        assert_eq!(args.report, Some("-".into()));
        assert_eq!(args.set, ["a=b=c", "d="]);
        assert_eq!(args.keep_fds, [7, 8]);
    }

    #[test]
    fn the_format_of_explain_is_in_the_same_word() {
        assert_eq!(
            read(&["--explain", "json"]).unwrap().explain,
            Some(Explain::Text)
        );
        assert_eq!(read(&["--explain", "json"]).unwrap().command, ["json"]);
        assert_eq!(
            read(&["--explain=json"]).unwrap().explain,
            Some(Explain::Json)
        );
    }

    #[test]
    fn arguments_need_not_be_utf8() {
        let odd = OsString::from_vec(vec![0xff]);
        let parsed = parse([OsString::from("echo"), odd.clone()]).unwrap();
        assert_eq!(
            parsed,
            Invocation::Run(Box::new(Args {
                command: vec!["echo".into(), odd],
                ..Args::default()
            }))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, says) in [
            (&["--profil", "x"][..], "did you mean --profile?"),
            (
                &["--frobnicate"],
                "there is no option --frobnicate; --help lists all",
            ),
            (&["-x"], "there is no option -x"),
            (&["--policy"], "--policy needs a value"),
            (&["--audit="], "--audit: the name is empty"),
            (&["--policy", "a", "--policy=b"], "--policy is given twice"),
            (
                &["--observe"],
                "observing the command is not part of this version",
            ),
            (&["--profile"], "--profile needs a value"),
            (
                &["--profile", "a", "--profile", "b"],
                "--profile is given twice",
            ),
            (&["--quiet=yes", "ls"], "--quiet takes no value"),
            (&["--explain=xml"], "`text` and `json`"),
            (&["--keep-fd", "+3"], "is not a file descriptor"),
            (&["--keep-fd=-1"], "is not a file descriptor"),
            (&["--keep-fd", "99999999999"], "is not a file descriptor"),
            (&["--report="], "--report: the name is empty"),
            (&["--explain", "--report", "x"], "give one of them"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
