//! Safe output to a terminal, and whether to use colour.

use std::io::{self, IsTerminal};
use std::path::Path;

use aegis_audit::log::{self, Log};
use aegis_profile::syntax::escape;
use aegis_sys::{files, process};

/// Whether a stream gets colour: it is a terminal that supports it, and `NO_COLOR` does not forbid it.
pub fn colour(stream: &impl IsTerminal) -> bool {
    let unset_or_empty = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    unset_or_empty
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        && stream.is_terminal()
}

/// `text` without characters that steer a terminal or reorder text: file names and a
/// command's own messages may contain them. Line feeds stay.
pub fn harmless(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

/// Writes to standard error in one piece. A failure has nowhere to be reported.
pub fn complain(text: &str) {
    if let Some(error) = files::inherited(2) {
        let _ = files::write_all(error, text.as_bytes());
    }
}

/// A profile's error in the form of `program`, for standard error.
pub fn profile_error(program: &str, error: &aegis_profile::Error) -> String {
    format!(
        "{program}: {}\n",
        error.render(colour(&io::stderr())).trim_end()
    )
}

/// Why a program has failed, for standard error: each cause once, with the place where it is a profile's or a policy's.
pub fn failure(program: &str, error: &anyhow::Error) -> String {
    let of_file = error.downcast_ref().or_else(|| match error.downcast_ref() {
        Some(aegis_launch::Error::Profile(error)) => Some(error),
        _ => None,
    });
    if let Some(of_file) = of_file {
        return profile_error(program, of_file);
    }
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Many errors say what caused them.
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    format!("{program}: error: {}\n", harmless(&said))
}

/// Reports that others have had an audit log locked for long.
pub fn log_is_locked(dir: &Path) {
    let dir = dir.display();
    let note = format!("aegis: note: waiting for the audit log {dir}, which others have locked\n");
    complain(&harmless(&note));
}

/// Opens an audit log to write it. Reports on standard error if others have it locked for long, and if a key
/// was made.
pub fn open_log(dir: &Path, keys: &Path) -> Result<Log, log::Error> {
    let options = log::Options {
        waiting: log_is_locked,
        ..log::Options::default()
    };
    let mut log = Log::open_with(dir, keys, options)?;
    if let Some(keys) = log.new_key() {
        let keys = keys.display();
        let note = format!("aegis: note: a new signing key was made in {keys}\n");
        complain(&harmless(&note));
    }
    if let Some(missing) = log.take_missing() {
        let warning = missing.warning(log.dir());
        complain(&harmless(&format!("aegis: warning: {warning}\n")));
    }
    Ok(log)
}

/// Writes to standard output. If the reader stops reading, that is not an error.
pub fn print(text: &[u8]) -> io::Result<()> {
    let out = files::inherited(1).filter(|_| !process::was_closed(1));
    let written = match out {
        Some(out) => files::write_all(out, text),
        None => Err(io::Error::from_raw_os_error(libc::EBADF)),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(unwritten),
    }
}

/// That standard output cannot be written.
pub fn unwritten(error: io::Error) -> io::Error {
    io::Error::other(format!("standard output cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(harmless("a\x1b[2Jb"), "a\\u{1B}[2Jb");
        assert_eq!(harmless("x\u{202e}y\u{9b}z\r"), "x\\u{202E}y\\u{9B}z\\u{D}");
        assert_eq!(harmless("zwei\nZeilen: größer"), "zwei\nZeilen: größer");
    }
}
