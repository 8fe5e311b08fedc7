//! Asks the person at the terminal where the policy requires it.
//!
//! The question goes to `/dev/tty` and the answer comes from there: standard input belongs to the command,
//! which has not been started. The profile may be hostile, so `text` prevents everything it contains
//! from looking like the question; input typed before the question is discarded, and every answer
//! that is not clearly a yes is a no (`terminal`). If nobody can be asked, the run is refused.

mod terminal;
mod text;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use aegis_audit::approvals::{LASTS, LONGEST};
use aegis_audit::places::State;
use aegis_launch::{Answer, Question, WantedPassphrase};
use aegis_profile::syntax;
use aegis_sys::private::{self, Dir, Others};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use terminal::{Echo, Terminal};

/// After so many invalid answers, the answer is no.
const PATIENCE: usize = 5;

/// Waits until no other run of this user asks on this terminal: its answer must not be taken for ours. Nothing: there is no
/// terminal, and so no question.
pub fn turn() -> Result<Vec<OwnedFd>, String> {
    let told = |error| format!("it cannot be seen who else asks: {error}");
    // From here on nobody lends the terminal to a command, which would read the answer.
    let waiting = lock("waiting", File::lock_shared).map_err(told)?;
    let asking = lock("question", File::lock).map_err(told)?;
    Ok(waiting.into_iter().chain(asking).collect())
}

/// Waits until no other run of this user asks on this terminal, or waits to. Where that cannot be seen, nobody else asks.
pub fn lend() -> Option<OwnedFd> {
    lock("waiting", File::lock).ok().flatten()
}

/// Locks a file for this terminal. `None`: there is no terminal.
fn lock(name: &str, how: fn(&File) -> io::Result<()>) -> Result<Option<OwnedFd>, private::Error> {
    let (Some(number), Some(state)) = (terminal::number(), State::here()) else {
        return Ok(None);
    };
    // Out of every sandbox's reach, which a terminal is not.
    let dir = Dir::create(&state.dir)?;
    dir.check(Others::MayNothing)?;
    let name = format!("{name}-{number}.lock");
    let lock = dir.existing(&name, OFlags::RDWR | OFlags::CREATE, Others::MayNothing)?;
    how(&lock).map_err(|error| private::Error::io("locking", &dir.join(&name), error))?;
    Ok(Some(lock.into()))
}

/// Asks in the name of `program`, and waits for as long as it takes. An error says why nobody can be asked.
pub fn ask(question: &Question<'_>, program: &str) -> Result<Answer, String> {
    let mut terminal = Terminal::open(Echo::On)?;
    let show = |terminal: &Terminal, all: bool| {
        text::question(
            question,
            program,
            terminal.columns(),
            terminal.colour(),
            all,
        )
    };
    let text::Page {
        mut text, mut cut, ..
    } = show(&terminal, false);
    for _ in 0..PATIENCE {
        let prompt = text::prompt(terminal.colour(), cut, question.is_running);
        let Some(line) = (terminal.answer(&text, &prompt)).map_err(terminal::broken)? else {
            return Ok(Answer::No);
        };
        match typed(&String::from_utf8_lossy(&line), cut, question.is_running) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => text::Page { text, cut, .. } = show(&terminal, true),
            Err(unclear) => text = format!("  {unclear}\n"),
        }
    }
    Ok(Answer::No)
}

/// Asks for a policy's passphrase. `None`: the person has none.
pub fn passphrase(wanted: &WantedPassphrase<'_>) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let wrong = match wanted.wrong {
        true => "  That is not it.\n",
        false => "",
    };
    secret(wrong, &text::passphrase(wanted.policy))
}

/// Asks for a line that is not shown. `None`: it is empty, or the person has none.
pub fn secret(before: &str, prompt: &str) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let mut terminal = Terminal::open(Echo::Off)?;
    let line = terminal.answer(before, prompt).map_err(terminal::broken)?;
    Ok(line.and_then(|mut line| {
        line.pop();
        (!line.is_empty()).then_some(line)
    }))
}

/// Asks on the terminal what a yes, and nothing else, agrees to.
pub fn agreed(before: &str, prompt: &str) -> Result<bool, String> {
    let mut terminal = Terminal::open(Echo::On)?;
    let line = terminal.answer(before, prompt).map_err(terminal::broken)?;
    let is_yes = |line: &[u8]| {
        let word = line.trim_ascii();
        word.eq_ignore_ascii_case(b"y") || word.eq_ignore_ascii_case(b"yes")
    };
    Ok(line.is_some_and(|line| is_yes(&line)))
}

/// The meaning of a line: an answer, or (`None`) a wish to see everything, or why it is neither. If the
/// question was `cut`, a yes is invalid: nobody approves what was not shown. `once`: a yes can be for this once alone.
fn typed(line: &str, cut: bool, once: bool) -> Result<Option<Answer>, String> {
    let line = line.trim().to_lowercase();
    let mut words = line.split_whitespace();
    let (word, term, more) = (words.next(), words.next(), words.next());
    let answer = match (word, term) {
        (_, Some(_)) if more.is_some() => None,
        (None, _) | (Some("n" | "no"), None) => Some(Answer::No),
        (Some("y" | "yes"), None) => Some(Answer::Once),
        (Some("a" | "always"), None) => Some(Answer::Always { lasts: LASTS }),
        (Some("a" | "always"), Some(term)) => match syntax::time(term) {
            Ok(ms) if (1..=LONGEST).contains(&(ms / 1000)) => {
                Some(Answer::Always { lasts: ms / 1000 })
            }
            _ => {
                let days = LONGEST / 86_400;
                return Err(format!(
                    "how long? Write `a 12h` or `a 7d`; at most `a {days}d`"
                ));
            }
        },
        (Some("l" | "list"), None) => return Ok(None),
        _ => None,
    };
    match answer {
        Some(Answer::Once | Answer::Always { .. }) if cut => {
            Err("not all of it has been shown: write l to see it, or n".into())
        }
        Some(Answer::Always { .. }) if once => {
            Err("it can be allowed this once alone: write y or n".into())
        }
        Some(answer) => Ok(Some(answer)),
        None if once && !cut => Err("write y or n".into()),
        None if cut => Err("write l or n".into()),
        None => Err("write y, a or n".into()),
    }
}

#[cfg(test)]
mod tests;
