//! Gets secrets: for a broker, with its socket as standard input; or for `aegis secrets`. [`aegis_secrets`] says how.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use aegis_secrets::fetch::Secrets;
use aegis_secrets::{Error, command, manage, provider};
use aegis_sys::process;
use serde::Serialize;

/// What a person is told who starts it.
const ABOUT: &str = "\
aegis-secrets gets secrets for one sandbox's broker: `aegis-run` starts it, with a socket as standard input.
It is also what `aegis secrets` has its work done by: use that.";

fn main() -> ExitCode {
    process::begin();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == command::APART) {
        let error = command::apart(&words[1..]);
        complain(&format!("it cannot be executed: {error}"));
        return ExitCode::from(127);
    }
    let texts: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    match texts.as_deref() {
        Some([]) => match provider::asker() {
            Some(socket) => served(provider::serve(socket, program())),
            None => by_hand(),
        },
        Some(["--help" | "-h"]) => said(ABOUT),
        Some(["--version" | "-V"]) => said(concat!("aegis-secrets ", env!("CARGO_PKG_VERSION"))),
        Some(words) => match managed(words) {
            Some(Ok(status)) => status,
            Some(Err(error)) => {
                // These begin with the word themselves.
                let word = match error {
                    Error::Sources(_) => "",
                    _ => "error: ",
                };
                complain(&format!("aegis: {word}{}", shown(&error)));
                ExitCode::FAILURE
            }
            None => by_hand(),
        },
        None => by_hand(),
    }
}

fn program() -> std::path::PathBuf {
    // Also where it was replaced or removed meanwhile.
    "/proc/self/exe".into()
}

/// Does what `aegis secrets` asks for. `None`: that is nothing of it.
fn managed(words: &[&str]) -> Option<Result<ExitCode, Error>> {
    let secrets = || Secrets::open(program());
    let done = |answer: Result<serde_json::Value, Error>| answer.map(|answer| print(&answer, true));
    Some(closed().and_then(|()| {
        match words {
            ["init"] => done(manage::init().map(json)),
            ["list"] => done(
                secrets()
                    .and_then(|secrets| manage::list(&secrets))
                    .map(json),
            ),
            ["set", alias] => done(
                secrets()
                    .and_then(|secrets| manage::set(&secrets, alias))
                    .map(json),
            ),
            ["rm", alias] => done(
                secrets()
                    .and_then(|secrets| manage::rm(&secrets, alias))
                    .map(json),
            ),
            ["rotate", alias] => done(
                secrets()
                    .and_then(|secrets| manage::rotate(&secrets, alias))
                    .map(json),
            ),
            ["check", aliases @ ..] => {
                let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
                let (checked, all) = manage::check(&secrets()?, aliases)?;
                Ok(print(&json(checked), all))
            }
            _ => Ok(by_hand()),
        }
    }))
}

fn closed() -> Result<(), Error> {
    let doing = "closing this process to others";
    provider::close_to_others().map_err(|source| Error::System { doing, source })
}

fn json(answer: impl Serialize) -> serde_json::Value {
    serde_json::to_value(answer).expect("texts and numbers")
}

fn print(answer: &serde_json::Value, yes: bool) -> ExitCode {
    let printed = writeln!(std::io::stdout(), "{answer}");
    match printed {
        Ok(()) => ExitCode::from(u8::from(!yes)),
        Err(error) => {
            complain(&format!(
                "aegis: error: standard output cannot be written: {error}"
            ));
            ExitCode::FAILURE
        }
    }
}

/// An error, without what steers a terminal.
fn shown(error: &Error) -> String {
    let lines: Vec<_> = error
        .to_string()
        .split('\n')
        .map(aegis_profile::syntax::escape)
        .collect();
    lines.join("\n")
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn said(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn served(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("aegis-secrets: error: {}", shown(&error)));
            ExitCode::FAILURE
        }
    }
}

fn by_hand() -> ExitCode {
    complain(ABOUT);
    ExitCode::from(125)
}
