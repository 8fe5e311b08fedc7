//! The list of `aegis top`, as lines: what is chosen, what is asked, what is shown of a window's size. Nothing here knows a
//! terminal.

use std::time::Duration;

use aegis_profile::syntax::escape;

use super::screen::Key;
use super::{Look, Row, Sort};
use crate::text::page::{seconds, size, span, table};

const HEAD: [&str; 10] = [
    "ID",
    "UID",
    "PROFILE",
    "AGE",
    "CPU",
    "TIME",
    "MEMORY",
    "PROCESSES",
    "DENIED",
    "COMMAND",
];

/// What a key does beyond this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    Nothing,
    Quit,
    Stop,
    LookAgain,
    Sort(Sort),
}

/// What is shown beside the list.
#[derive(Default)]
pub(super) struct Shown {
    /// The id of the chosen sandbox.
    chosen: Option<String>,
    /// The place of that in the list.
    place: usize,
    /// The id of a sandbox that is to be ended, if the answer is yes.
    asked: Option<String>,
    /// What came of the last key.
    said: String,
    /// How many sandboxes are above the window.
    above: usize,
}

fn rows(look: &Look) -> String {
    let row = |Row { run, usage, share }: &Row| {
        let age = look.time_us.saturating_sub(run.started_us) / 1_000_000;
        [
            run.id.clone(),
            run.uid.to_string(),
            run.profile.clone(),
            span(age),
            format!("{:.1}%", share * 100.0),
            seconds(usage.cpu_us),
            size(usage.memory),
            usage.processes.to_string(),
            run.denials.to_string(),
            run.command.join(" "),
        ]
    };
    table(Some(HEAD), look.runs.iter().map(row))
}

/// The list for batch mode.
pub(super) fn batch(look: &Look, apart: bool) -> String {
    let mut out = String::new();
    if apart {
        out.push('\n');
    }
    let time = format!("{}: ", clock(look.time_us));
    out += &time;
    out += &counted(look);
    out.push('\n');
    // What is cut off on a screen is whole here, but for very long commands.
    for line in rows(look).lines() {
        out += &line.chars().take(240).collect::<String>();
        out.push('\n');
    }
    for error in &look.errors {
        out += &format!("{}\n", escape(error));
    }
    out
}

/// The time of the day, UTC.
fn clock(us: u64) -> String {
    let seconds = us / 1_000_000 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02} UTC")
}

fn counted(look: &Look) -> String {
    match look.runs.len() {
        0 => "nothing runs".into(),
        1 => "1 sandbox".into(),
        n => format!("{n} sandboxes"),
    }
}

impl Shown {
    /// Keeps the chosen one chosen, or what is at its place now.
    pub fn keep_to(&mut self, look: &Look) {
        let chosen = self.chosen.as_ref();
        let found = chosen.and_then(|id| look.runs.iter().position(|row| row.run.id == *id));
        self.place = found
            .unwrap_or(self.place)
            .min(look.runs.len().saturating_sub(1));
        self.chosen = look.runs.get(self.place).map(|row| row.run.id.clone());
    }

    /// The lines of a window.
    pub fn text(
        &mut self,
        look: &Look,
        sort: Sort,
        delay: Duration,
        lines: usize,
        columns: usize,
    ) -> Vec<String> {
        let by = match sort {
            Sort::Processor => "processor",
            Sort::Memory => "memory",
        };
        let cut = |line: &str| line.chars().take(columns).collect::<String>();
        let mut text = vec![cut(&format!(
            "{}  {}, by {by}, every {}s   P M sort  arrows choose  k end  q quit",
            clock(look.time_us),
            counted(look),
            delay.as_secs_f64()
        ))];
        let asked = self.asked.as_ref().map(|id| {
            let run = look.runs.iter().find(|row| row.run.id == *id);
            let profile = run.map_or("", |row| &row.run.profile);
            format!("End {id} ({profile})? y or n")
        });
        let said = asked.unwrap_or_else(|| match look.errors.first() {
            Some(error) if self.said.is_empty() => error.clone(),
            _ => self.said.clone(),
        });
        text.push(cut(&escape(&said)));
        let room = lines.saturating_sub(3);
        // The chosen one is in the window.
        self.above = self.above.min(self.place);
        if self.place >= self.above + room.max(1) {
            self.above = self.place + 1 - room.max(1);
        }
        let all = rows(look);
        let mut all = all.lines();
        text.extend(all.next().map(|head| inverse(&cut(head), columns)));
        for (index, line) in all.enumerate().skip(self.above).take(room) {
            text.push(match index == self.place {
                true => inverse(&cut(line), columns),
                false => cut(line),
            });
        }
        text.truncate(lines.max(1));
        text
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key, look: &Look) -> Does {
        if let Some(id) = self.asked.take() {
            self.said = match key {
                Key::Char(b'y' | b'Y') => end(&id, look),
                _ => String::new(),
            };
            return Does::Nothing;
        }
        self.said.clear();
        match key {
            // Control-C and Control-\ too: the terminal makes no signals of them.
            Key::Char(b'q' | b'Q' | 0x03 | 0x1c) => Does::Quit,
            Key::Char(0x1a) => Does::Stop,
            Key::Char(b' ') => Does::LookAgain,
            Key::Char(b'P') => Does::Sort(Sort::Processor),
            Key::Char(b'M') => Does::Sort(Sort::Memory),
            Key::Char(b'k') => {
                self.asked.clone_from(&self.chosen);
                Does::Nothing
            }
            Key::Up => self.choose(self.place.saturating_sub(1), look),
            Key::Down => self.choose(self.place + 1, look),
            Key::Char(_) | Key::Escape => Does::Nothing,
        }
    }

    fn choose(&mut self, place: usize, look: &Look) -> Does {
        if let Some(row) = look.runs.get(place) {
            self.place = place;
            self.chosen = Some(row.run.id.clone());
        }
        Does::Nothing
    }
}

/// Asks a sandbox to end, as `aegis kill` does.
fn end(id: &str, look: &Look) -> String {
    let Some(row) = look.runs.iter().find(|row| row.run.id == id) else {
        return format!("{id} has ended");
    };
    match row.run.signal(libc::SIGTERM) {
        Ok(()) => format!("{id} was asked to end"),
        Err(error) => format!("{id}: {error}").replace('\n', ";"),
    }
}

fn inverse(line: &str, columns: usize) -> String {
    format!("\x1b[7m{line:columns$}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use aegis_launch::registry::{Running, Usage};

    use super::*;

    fn look(names: &[(&str, f64, u64)]) -> Look {
        let row = |&(id, share, memory): &(&str, f64, u64)| Row {
            run: Running {
                id: id.into(),
                profile: "p\u{1b}[2J".into(),
                command: vec!["x\n".repeat(200)],
                ..Running::default()
            },
            usage: Usage {
                memory,
                ..Usage::default()
            },
            share,
        };
        Look {
            time_us: 0,
            runs: names.iter().map(row).collect(),
            errors: Vec::new(),
        }
    }

    fn text(shown: &mut Shown, look: &Look, lines: usize, columns: usize) -> Vec<String> {
        shown.keep_to(look);
        let second = Duration::from_secs(1);
        shown.text(look, Sort::Processor, second, lines, columns)
    }

    #[test]
    fn no_line_is_wider_than_the_window_and_none_steers_it() {
        let mut shown = Shown::default();
        let look = look(&[("1-a", 0.5, 1), ("2-b", 0.1, 2)]);
        for (lines, columns) in [(1, 1), (3, 10), (5, 80), (50, 400)] {
            let text = text(&mut shown, &look, lines, columns);
            assert!(text.len() <= lines, "{text:?}");
            for line in &text {
                let plain = line.replace("\x1b[7m", "").replace("\x1b[0m", "");
                assert!(plain.chars().count() <= columns, "{plain}");
                assert!(!plain.contains(['\x1b', '\n', '\r']), "{plain}");
            }
        }
    }

    #[test]
    fn the_chosen_one_stays_chosen_and_in_the_window() {
        let mut shown = Shown::default();
        let mut now = look(&[("1-a", 0.9, 1), ("2-b", 0.8, 2), ("3-c", 0.7, 3)]);
        shown.keep_to(&now);
        assert_eq!(shown.key(Key::Down, &now), Does::Nothing);
        now.sort(Sort::Memory);
        assert_eq!(now.runs[0].run.id, "3-c");
        let lines = text(&mut shown, &now, 4, 80);
        assert!(
            lines[3].contains("2-b") && lines[3].contains("\x1b[7m"),
            "{lines:?}"
        );
        // It has ended: what is at its place is chosen.
        now.runs.remove(1);
        let lines = text(&mut shown, &now, 4, 80);
        assert!(lines[3].contains("1-a"), "{lines:?}");
        for _ in 0..9 {
            shown.key(Key::Down, &now);
        }
        assert_eq!(shown.chosen.as_deref(), Some("1-a"));
    }

    #[test]
    fn nothing_is_ended_without_a_yes() {
        let mut shown = Shown::default();
        // Nothing of that pid is this user's: whoever is asked to end has ended.
        let look = look(&[("1-a", 0.9, 1)]);
        shown.keep_to(&look);
        for (key, says) in [
            (Key::Char(b'n'), ""),
            (Key::Escape, ""),
            (Key::Char(b'q'), ""),
            (Key::Char(b'y'), "1-a: the program that started it"),
        ] {
            assert_eq!(shown.key(Key::Char(b'k'), &look), Does::Nothing);
            assert!(text(&mut shown, &look, 9, 80)[1].starts_with("End 1-a"));
            assert_eq!(shown.key(key, &look), Does::Nothing);
            assert!(shown.said.starts_with(says), "{}", shown.said);
            assert_eq!(says.is_empty(), shown.said.is_empty());
        }
    }
}
