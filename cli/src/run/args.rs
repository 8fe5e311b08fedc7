//! The command line of `aegis-run`, read without clap: each page of memory touched before the
//! command starts costs time.
//!
//! The command begins at the first word that is not an option, as with `env` and `timeout`; `--` before
//! it allows a command that begins with a dash.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::path::PathBuf;

use aegis_launch::{Declaration, Launch, ObserveBy, Reference};
use aegis_runtime::types::StdioMode;
use lexopt::Arg;

use super::{HELP, VERSION};
use crate::terminal::log_is_locked;

/// How the plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explain {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    /// The run to launch.
    pub launch: Launch,
    /// `--explain`: show the plan, start nothing.
    pub explain: Option<Explain>,
    /// `--quiet`.
    pub quiet: bool,
}

/// What to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run the command, or explain.
    Run(Box<Args>),
    /// Print the help, or the version.
    Print(&'static str),
}

/// Parses a command line, without the program's own name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let (mut profile, mut policy, mut audit, mut report) = (None, None, None, None);
    let (mut set, mut keep_fds, mut command) = (Vec::new(), Vec::new(), Vec::new());
    let (mut explain, mut record, mut stdio) = (None, None, None);
    let (mut observe, mut observe_by, mut quiet) = (None, None, false);
    while let Some(arg) = parser.next().map_err(told)? {
        let name = match arg {
            Arg::Long(name) => name.to_owned(),
            Arg::Short('h') => return Ok(Invocation::Print(HELP)),
            Arg::Short('V') => return Ok(Invocation::Print(VERSION)),
            Arg::Short(letter) => {
                return Err(format!(
                    "there is no option -{letter}: they are words, such as --profile; --help lists all"
                ));
            }
            Arg::Value(first) => {
                command.push(first);
                command.extend(parser.raw_args().map_err(told)?);
                break;
            }
        };
        let name = &*name;
        match name {
            "audit" => once(name, &mut audit, place(name, &mut parser)?)?,
            "explain" => once(name, &mut explain, format(parser.optional_value())?)?,
            "help" => return Ok(Invocation::Print(HELP)),
            "keep-fd" => keep_fds.push(descriptor(&value(name, &mut parser)?)?),
            "observe-by" => once(name, &mut observe_by, tier(&text(name, &mut parser)?)?)?,
            "observe" => once(name, &mut observe, ())?,
            "policy" => once(name, &mut policy, text(name, &mut parser)?)?,
            "profile" => once(name, &mut profile, text(name, &mut parser)?)?,
            "quiet" => quiet = true,
            "record" => once(name, &mut record, place(name, &mut parser)?)?,
            "report" => once(name, &mut report, place(name, &mut parser)?)?,
            "stdio" => once(name, &mut stdio, mode(&text(name, &mut parser)?)?)?,
            "set" => set.push(text(name, &mut parser)?),
            "version" => return Ok(Invocation::Print(VERSION)),
            _ => return Err(unknown(name)),
        }
    }
    if explain.is_some() && record.is_some() {
        return Err("--record needs a run, and --explain starts none: give one of them".into());
    }
    if explain.is_some() && observe.is_some() {
        return Err("--observe needs a run, and --explain starts none: give one of them".into());
    }
    if explain.is_some() && report.is_some() {
        return Err("--report needs a run, and --explain starts none: give one of them".into());
    }
    if observe_by.is_some() && record.is_none() && observe.is_none() {
        return Err(
            "--observe-by: say what it is observed for, too: --record FILE, or --observe".into(),
        );
    }
    let asked = Declaration::Profile {
        reference: profile.map_or(Reference::Default, Reference::Named),
        set,
        command,
        stdio: stdio.unwrap_or_default(),
        keep_fds,
    };
    let launch = Launch {
        policy,
        audit,
        report,
        observation: record,
        observe_by: observe_by.unwrap_or_default(),
        observe: observe.is_some(),
        log_is_locked: Some(log_is_locked),
        own_process: true,
        ..Launch::new(asked)
    };
    Ok(Invocation::Run(Box::new(Args {
        launch,
        explain,
        quiet,
    })))
}

/// A value in the same word, or the next word. The next word must not look like an option: if the value
/// was left out, the option after it would be taken for the value.
fn value(name: &str, parser: &mut lexopt::Parser) -> Result<OsString, String> {
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

/// lexopt's errors, in our own words.
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
    let letter = |c: char| c.is_ascii_lowercase() || c == '-';
    let near = (HELP.split(|c| !letter(c)))
        .filter_map(|word| word.strip_prefix("--"))
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
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
        Some(_) if name == "profile" => Err(
            "--profile is given twice: one profile extends others, as in `extends: [python, git]`"
                .into(),
        ),
        Some(_) => Err(format!("--{name} is given twice")),
    }
}

fn format(value: Option<OsString>) -> Result<Explain, String> {
    match value.as_deref().map(OsStr::as_encoded_bytes) {
        None | Some(b"text") => Ok(Explain::Text),
        Some(b"json") => Ok(Explain::Json),
        Some(_) => Err("--explain: the formats are `text` and `json`".into()),
    }
}

fn tier(value: &str) -> Result<ObserveBy, String> {
    match value {
        "auto" => Ok(ObserveBy::Auto),
        "probes" => Ok(ObserveBy::Probes),
        "listener" => Ok(ObserveBy::Listener),
        _ => Err("--observe-by: `auto`, `probes` or `listener`".into()),
    }
}

fn mode(value: &str) -> Result<StdioMode, String> {
    match value {
        "inherit" => Ok(StdioMode::Inherit),
        "relay" => Ok(StdioMode::Relay),
        _ => Err("--stdio: the modes are `inherit` and `relay`".into()),
    }
}

fn text(name: &str, parser: &mut lexopt::Parser) -> Result<String, String> {
    (value(name, parser)?.into_string())
        .map_err(|value| format!("--{name}: {} is not UTF-8", value.display()))
}

fn place(name: &str, parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    let value = value(name, parser)?;
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

    fn read(words: &[impl AsRef<OsStr>]) -> Result<Args, String> {
        match parse(words.iter().map(OsString::from))? {
            Invocation::Run(args) => Ok(*args),
            other => panic!("{other:?}"),
        }
    }

    fn command(words: &[impl AsRef<OsStr>]) -> Vec<OsString> {
        match read(words).unwrap().launch.asked {
            Declaration::Profile { command, .. } => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_begins_at_the_first_word_that_is_no_option() {
        let words = ["--quiet", "ls", "--profile", "-x", "--"];
        assert!(read(&words).unwrap().quiet);
        assert_eq!(command(&words), ["ls", "--profile", "-x", "--"]);
    }

    #[test]
    fn a_double_dash_before_the_command_is_not_part_of_it() {
        assert_eq!(command(&["--", "--odd", "--"]), ["--odd", "--"]);
        assert_eq!(command(&["--profile=a", "--", "x"]), ["x"]);
        assert!(command(&["--"]).is_empty());
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
        assert_eq!(args.launch.report, Some("-".into()));
        let Declaration::Profile {
            reference,
            set,
            keep_fds,
            ..
        } = args.launch.asked
        else {
            unreachable!("no operations can be named");
        };
        assert!(matches!(reference, Reference::Named(name) if name == "p.yaml"));
        assert_eq!(set, ["a=b=c", "d="]);
        assert_eq!(keep_fds, [7, 8]);
    }

    #[test]
    fn the_format_of_explain_is_in_the_same_word() {
        assert_eq!(
            read(&["--explain", "json"]).unwrap().explain,
            Some(Explain::Text)
        );
        assert_eq!(command(&["--explain", "json"]), ["json"]);
        assert_eq!(
            read(&["--explain=json"]).unwrap().explain,
            Some(Explain::Json)
        );
    }

    #[test]
    fn arguments_need_not_be_utf8() {
        let odd = OsString::from_vec(vec![0xff]);
        assert_eq!(command(&["echo".into(), odd.clone()]), ["echo".into(), odd]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, says) in [
            (&["--profil", "x"][..], "did you mean --profile?"),
            (
                &["--frobnicate"],
                "there is no option --frobnicate; --help lists all",
            ),
            (&["-x"], "there is no option -x: they are words"),
            (&["--policy"], "--policy needs a value"),
            (&["--audit="], "--audit: the name is empty"),
            (&["--policy", "a", "--policy=b"], "--policy is given twice"),
            (&["--explain", "--observe", "x"], "give one of them"),
            (&["--profile"], "--profile needs a value"),
            (
                &["--profile", "a", "--profile", "b"],
                "--profile is given twice: one profile extends others",
            ),
            (&["--quiet=yes", "ls"], "--quiet takes no value"),
            (&["--observe-by", "listener"], "--record FILE"),
            (
                &["--record", "x", "--observe-by=strace"],
                "`auto`, `probes` or `listener`",
            ),
            (&["--stdio", "pipe"], "`inherit` and `relay`"),
            (
                &["--stdio=relay", "--stdio=relay"],
                "--stdio is given twice",
            ),
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
