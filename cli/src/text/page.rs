//! A page of sections: the origin of something on the left, the thing itself on the right.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

use aegis_profile::syntax::escape;

/// Columns of the page.
const WIDTH: usize = 96;

/// Maximum width of the left side; a longer origin has a line of its own.
const GUTTER: usize = 30;

/// A line of a section: an origin, and words between which the line may be broken.
pub(crate) struct Row {
    pub from: String,
    pub words: Vec<String>,
}

impl Row {
    pub fn new(from: impl Into<String>, text: &str) -> Self {
        Self::words(from, text.split(' ').map(str::to_owned))
    }

    pub fn whole(from: impl Into<String>, text: impl Into<String>) -> Self {
        Self::words(from, [text.into()])
    }

    pub fn words(from: impl Into<String>, words: impl IntoIterator<Item = String>) -> Self {
        Self {
            from: escape(&from.into()),
            words: words.into_iter().map(|word| escape(&word)).collect(),
        }
    }
}

/// A text in a colour, by its code (ECMA-48, "SGR").
pub(crate) fn painted(colour: bool, code: &str, text: &str) -> String {
    match colour && !text.is_empty() {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

#[derive(Default)]
pub(crate) struct Page {
    pub out: String,
    pub colour: bool,
}

impl Page {
    pub fn section(&mut self, title: &str, held_by: &str, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let title = painted(self.colour, "1", title);
        let _ = match held_by {
            "" => writeln!(self.out, "{title}"),
            layer => writeln!(self.out, "{title}  [{layer}]"),
        };
        let left = rows
            .iter()
            .map(|row| row.from.chars().count())
            .filter(|length| *length <= GUTTER)
            .max()
            .unwrap_or(0);
        for row in rows {
            self.row(row, left);
        }
    }

    fn row(&mut self, row: &Row, left: usize) {
        let length = row.from.chars().count();
        let from = painted(self.colour, "36", &row.from);
        let indent = if left == 0 { 2 } else { left + 4 };
        let mut line = match length {
            0 => " ".repeat(indent),
            _ if length <= left => format!("  {from}{}", " ".repeat(indent - 2 - length)),
            _ => {
                let _ = writeln!(self.out, "  {from}");
                " ".repeat(indent)
            }
        };
        let mut column = indent;
        for (index, word) in row.words.iter().enumerate() {
            let wide = word.chars().count();
            if index > 0 && column + 1 + wide > WIDTH {
                let _ = writeln!(self.out, "{}", line.trim_end());
                line = " ".repeat(indent);
                column = indent;
            } else if index > 0 {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += wide;
        }
        let _ = writeln!(self.out, "{}", line.trim_end());
    }
}

/// Rows in columns, below their heads if they have any. Nothing if there are no rows.
pub(crate) fn table<const N: usize>(
    head: Option<[&str; N]>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut rows: Vec<[String; N]> = rows
        .into_iter()
        .map(|row| row.map(|cell| escape(&cell)))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    if let Some(head) = head {
        rows.insert(0, head.map(str::to_owned));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A duration in words: two days and more in days, and so on, with a useful precision.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = unit.unwrap_or((1, "second"));
    match (seconds + unit / 2) / unit {
        1 => format!("1 {name}"),
        n => format!("{n} {name}s"),
    }
}

/// Processor time.
pub(crate) fn seconds(us: u64) -> String {
    format!("{:.1}s", us as f64 / 1e6)
}

/// Bytes, rounded up to a unit that leaves four digits at most.
pub(crate) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x9c_4000 => (1 << 10, 'K'),
        0x9c_4000..0x2_7100_0000 => (1 << 20, 'M'),
        _ => (1 << 30, 'G'),
    };
    format!("{}{name}", bytes.div_ceil(unit))
}

/// A text cut to a number of characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A name as it can be shown: quoted if it contains white space or anything that a terminal would act upon.
pub(super) fn shown(name: &OsStr) -> String {
    let quoted = format!("{name:?}");
    match name.to_str() {
        // Nothing was escaped.
        Some(text)
            if !text.is_empty()
                && text.len() + 2 == quoted.len()
                && !text.contains(char::is_whitespace) =>
        {
            text.to_owned()
        }
        _ => quoted,
    }
}

pub(super) fn path(path: &Path) -> String {
    shown(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn lines_are_wrapped_below_what_they_continue() {
        let words = (0..60).map(|n| format!("word{n}"));
        let mut page = Page::default();
        page.section("Title", "", &[Row::words("left", words)]);
        assert!(page.out.lines().all(|line| line.len() <= WIDTH));
        assert!(
            page.out
                .lines()
                .skip(2)
                .all(|line| line.starts_with("        word"))
        );
    }

    #[test]
    fn a_place_longer_than_the_left_side_has_its_own_line() {
        let from = "a/rather/long/way/to/a/profile.yaml:3";
        let mut page = Page::default();
        page.section(
            "Title",
            "",
            &[Row::new(from, "one"), Row::new("short", "two")],
        );
        assert_eq!(
            page.out,
            format!("Title\n  {from}\n         one\n  short  two\n")
        );
    }

    #[test]
    fn names_that_steer_a_terminal_are_quoted() {
        assert_eq!(path(Path::new("/a\x1b[2J")), "\"/a\\u{1b}[2J\"");
        assert_eq!(path(Path::new(OsStr::from_bytes(b"/a\xff"))), "\"/a\\xFF\"");
        assert_eq!(path(Path::new("/größe/it's")), "/größe/it's");
        assert_eq!(path(Path::new("/a b")), "\"/a b\"");
    }
}
