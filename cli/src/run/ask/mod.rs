//! Asks the person at the terminal for what the policy leaves to one.
//!
//! The question goes to `/dev/tty` and the answer comes from there: standard input belongs to the command,
//! which has not been started. What is shown comes from a profile that may be hostile, so `text` lets none
//! of it look like the question; what was typed before the question was there is thrown away, and everything
//! that is not clearly a yes is a no (`terminal`). Where nobody can be asked, the run is refused.

mod terminal;
mod text;

use aegis_audit::approvals::{LASTS, LONGEST};
use aegis_launch::{Answer, Question};
use aegis_profile::syntax;

use terminal::Terminal;

/// After so many answers that are none, the answer is no.
const PATIENCE: usize = 5;

/// Asks, and waits for as long as it takes. An error says why nobody can be asked.
pub fn ask(question: &Question<'_>) -> Result<Answer, String> {
    let mut terminal = Terminal::open()?;
    let show = |terminal: &Terminal, all: bool| {
        text::question(question, terminal.columns(), terminal.colour(), all)
    };
    let text::Page {
        mut text, mut cut, ..
    } = show(&terminal, false);
    for _ in 0..PATIENCE {
        let prompt = text::prompt(terminal.colour(), cut);
        let Some(line) = (terminal.answer(&text, &prompt)).map_err(terminal::broken)? else {
            return Ok(Answer::No);
        };
        match typed(&line, cut) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => text::Page { text, cut, .. } = show(&terminal, true),
            Err(unclear) => text = format!("  {unclear}\n"),
        }
    }
    Ok(Answer::No)
}

/// What a line means: an answer, or (`None`) that everything is to be shown, or why it is neither. Where the
/// question was `cut`, no yes: nobody approves what was not shown.
fn typed(line: &str, cut: bool) -> Result<Option<Answer>, String> {
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
        Some(answer) => Ok(Some(answer)),
        None if cut => Err("write l or n".into()),
        None => Err("write y, a or n".into()),
    }
}

#[cfg(test)]
mod tests;
