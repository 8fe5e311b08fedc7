//! What a word on a command line can become: asked by the scripts that `aegis completions` prints.
//!
//! Words, options and names are found here. Files are left to the shell, which lists them without opening any and
//! knows how to quote what they are called.

use std::ffi::{OsStr, OsString};

use clap::{Command, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use super::{CommandResult, command, print_bytes};
use crate::options::programs;
use crate::terminal::harmless;

/// The scripts, with `PROGRAM` for the program's name and `FUNCTION` for their functions'.
pub(super) const BASH: &str = include_str!("complete/script.bash");
pub(super) const FISH: &str = include_str!("complete/script.fish");
pub(super) const ZSH: &str = include_str!("complete/script.zsh");

/// What the shell adds.
const NOTHING: &str = "nothing";
const FILES: &str = "files";
const DIRECTORIES: &str = "directories";

/// Prints what the last of the words can become. `words` begin with the program's name. The first line says what the
/// shell adds: nothing, files, directories, or what the command that begins with that word knows. Each of the others
/// is a word; after a tab, what it is for.
pub(super) fn complete(words: Vec<OsString>) -> CommandResult {
    print_bytes(answer(words).as_bytes())?;
    Ok(true)
}

fn answer(words: Vec<OsString>) -> String {
    let name = words.first().and_then(|name| name.to_str());
    let program = programs()
        .into_iter()
        .find(|program| Some(program.get_name()) == name);
    if let Some(program) = &program
        && let Some(first) = command_begins(&words, program)
    {
        return format!("command {first}\n");
    }
    let command = program.unwrap_or_else(command);
    let last = words.len().saturating_sub(1);
    let dashed = (words.last()).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let mut command = leaving_files_to_the_shell(command);
    let found = clap_complete::engine::complete(&mut command, words, last, None);
    let mut rest = NOTHING;
    let mut lines = String::new();
    for candidate in found.unwrap_or_default() {
        match candidate.get_id().map(String::as_str) {
            Some(FILES) => rest = FILES,
            Some(DIRECTORIES) => rest = DIRECTORIES,
            // Options are offered to whoever has begun one.
            _ if dashed || !is_option(&candidate) => lines += &line(&candidate),
            _ => {}
        }
    }
    format!("{rest}\n{lines}")
}

fn is_option(candidate: &CompletionCandidate) -> bool {
    candidate.get_value().as_encoded_bytes().starts_with(b"-")
}

/// A candidate on a line. Names come from elsewhere: one that would steer a terminal is not offered.
fn line(candidate: &CompletionCandidate) -> String {
    let about = candidate.get_help().map(ToString::to_string);
    let about = about.as_deref().and_then(|about| about.lines().next());
    match candidate.get_value().to_str() {
        Some(word) if harmless(word) == word && !word.contains('\n') => match about {
            Some(about) => format!("{word}\t{}\n", harmless(about)),
            None => format!("{word}\n"),
        },
        _ => String::new(),
    }
}

/// In place of files, a candidate with an id that says which.
fn leaving_files_to_the_shell(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let which = match arg.get_value_hint() {
            ValueHint::AnyPath | ValueHint::FilePath => FILES,
            ValueHint::DirPath => DIRECTORIES,
            _ => return arg,
        };
        let names = arg.get::<ArgValueCompleter>().cloned();
        arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
            let names = names.as_ref().map(|names| names.complete(typed));
            let mut all = names.unwrap_or_default();
            all.push(CompletionCandidate::new("").id(Some(which.to_owned())));
            all
        }))
    });
    command.mut_subcommands(leaving_files_to_the_shell)
}

/// Where the command of `aegis-run` or `aegis-learn` begins, if it does so at the last word or before: see [`crate::run::args`].
fn command_begins(words: &[OsString], command: &Command) -> Option<usize> {
    let takes_the_next = |option: &str| {
        let is_it = |arg: &&clap::Arg| arg.get_long() == Some(option);
        (command.get_arguments().find(is_it))
            .is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
    };
    let takes_a_value = |short: &str| {
        let is_it = |arg: &&clap::Arg| short.chars().eq(arg.get_short());
        (command.get_arguments().find(is_it)).is_some_and(|arg| arg.get_action().takes_values())
    };
    let mut at = 1;
    while at < words.len() {
        let word = words[at].to_string_lossy();
        match word.strip_prefix('-') {
            Some(_) if at + 1 == words.len() => return None,
            Some("-") => return Some(at + 1),
            None | Some("") => return Some(at),
            Some(short) => {
                let takes = match short.strip_prefix('-') {
                    Some(option) => takes_the_next(option),
                    // `-o FILE`, and not `-oFILE`.
                    None => takes_a_value(short),
                };
                at += 1 + usize::from(takes);
            }
        }
    }
    None
}
