//! How the command gets the caller's 0, 1 and 2.

use serde::Serialize;

use crate::facts::standard::{Kind, Standard};
use crate::types::StdioMode;

/// What the command has in place of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// The caller's own.
    #[default]
    Own,
    /// A pipe, of which the supervisor has the other end.
    Pipe,
    /// A pseudo-terminal, of which the supervisor has the other end. It is the controlling one of the command's session.
    Terminal,
}

/// How the supervisor sees what is written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Errors {
    /// Not at all: it is closed.
    #[default]
    Unseen,
    /// It is a file, whose end is read when the run has ended.
    File,
    /// It passes it on.
    Relayed,
    /// Each call that writes is looked at: the command has the caller's own, which is a terminal mostly.
    Watched,
}

/// How the command gets the caller's 0, 1 and 2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stdio {
    /// What it has as each.
    pub given: [Given; 3],
    /// Whether 1 and 2 are one pipe, which keeps the order of what is written.
    pub joined: bool,
    /// How the supervisor sees what is written to 2.
    pub errors: Errors,
}

impl Stdio {
    /// `counted`: what is written to 1 and 2 is limited.
    ///
    /// A file that may only be appended to is always relayed: the command could clear `O_APPEND`, and write anywhere in it.
    pub fn of(mode: StdioMode, standard: &Standard, counted: bool) -> Self {
        let [input, output, error] = standard.kinds;
        let joined = standard.joined;
        let relayed = |kind, relayed: bool| match relayed && kind != Kind::Closed {
            true => Given::Pipe,
            false => Given::Own,
        };
        let given = match mode {
            StdioMode::Relay => {
                let terminal = input == Kind::Terminal && output == Kind::Terminal;
                standard.kinds.map(|kind| match kind {
                    Kind::Terminal if terminal => Given::Terminal,
                    kind => relayed(kind, true),
                })
            }
            StdioMode::Inherit => {
                let appends = output == Kind::Appended;
                let seen = match error {
                    Kind::Pipe | Kind::Null | Kind::Appended => true,
                    // The command may expect to find the one socket there.
                    Kind::Socket => !joined,
                    _ => false,
                };
                let with_error = joined && matches!(error, Kind::Pipe | Kind::Appended);
                [
                    Given::Own,
                    relayed(output, counted || appends || with_error),
                    relayed(error, counted || seen || appends && joined),
                ]
            }
        };
        Self {
            given,
            joined: joined && given[1] == Given::Pipe && given[2] == Given::Pipe,
            errors: match (given[2], error) {
                (Given::Pipe | Given::Terminal, _) => Errors::Relayed,
                (_, Kind::Closed) => Errors::Unseen,
                (_, Kind::File) => Errors::File,
                _ => Errors::Watched,
            },
        }
    }

    /// Whether the command has a pseudo-terminal of the run's own.
    pub fn has_terminal(&self) -> bool {
        self.given.contains(&Given::Terminal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(mode: StdioMode, kinds: [Kind; 3], joined: bool) -> (String, Errors) {
        let stdio = Stdio::of(mode, &Standard { kinds, joined }, false);
        let letter = |given: &Given| match given {
            Given::Own => 'o',
            Given::Pipe => 'p',
            Given::Terminal => 't',
        };
        let letters: String = stdio.given.iter().map(letter).collect();
        let joined = if stdio.joined { "=" } else { "" };
        (letters + joined, stdio.errors)
    }

    #[test]
    fn descriptors_are_passed_on_where_that_is_asked_for_or_needed() {
        use Errors::{File as Read, Relayed, Unseen, Watched};
        use Kind::{Appended, Closed, File, Null, Pipe, Socket, Terminal};
        use StdioMode::{Inherit, Relay};
        for (mode, kinds, joined, expected, errors) in [
            (Inherit, [Terminal; 3], true, "ooo", Watched),
            (Inherit, [Terminal, Pipe, Terminal], false, "ooo", Watched),
            (Inherit, [Pipe; 3], false, "oop", Relayed),
            (Inherit, [File, Pipe, Pipe], true, "opp=", Relayed),
            (Inherit, [File; 3], true, "ooo", Read),
            (Inherit, [Null; 3], true, "oop", Relayed),
            (Inherit, [Null, Socket, Socket], true, "ooo", Watched),
            (Inherit, [Null, Socket, Socket], false, "oop", Relayed),
            (Inherit, [File, Appended, Appended], true, "opp=", Relayed),
            (Inherit, [File, Appended, Terminal], false, "opo", Watched),
            (Inherit, [File, File, Appended], false, "oop", Relayed),
            (Inherit, [Terminal, File, Closed], false, "ooo", Unseen),
            (Relay, [Terminal; 3], true, "ttt", Relayed),
            (Relay, [Terminal, Terminal, File], false, "ttp", Relayed),
            (Relay, [Terminal, Pipe, Terminal], false, "ppp", Relayed),
            (Relay, [Pipe, Terminal, Terminal], true, "ppp=", Relayed),
            (Relay, [Null, File, Closed], false, "ppo", Unseen),
        ] {
            let found = given(mode, kinds, joined);
            assert_eq!(
                found,
                (expected.to_owned(), errors),
                "{mode:?} {kinds:?} {joined}"
            );
        }
    }

    #[test]
    fn what_is_counted_is_passed_on() {
        let kinds = [Kind::Terminal; 3];
        let standard = Standard {
            kinds,
            joined: true,
        };
        let stdio = Stdio::of(StdioMode::Inherit, &standard, true);
        assert_eq!(stdio.given, [Given::Own, Given::Pipe, Given::Pipe]);
        assert!(stdio.joined);
    }
}
