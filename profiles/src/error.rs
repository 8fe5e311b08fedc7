//! Mistakes in a profile, reported as a compiler does: the place, the line, what was
//! expected there, and what to write instead.
//!
//! There is one error type, [`Error`]: one or more [`Diagnostic`]s, because a person who fixes a file
//! wants to see all of its mistakes at once. Whatever is quoted from the input is escaped first, so
//! that a hostile profile cannot write to the terminal or reorder what is read there.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::Serialize;
use serde::ser::SerializeStruct;

use crate::model::Origin;

/// How many errors of one file are kept; the rest is only counted.
pub(crate) const MAX_DIAGNOSTICS: usize = 20;

/// Characters of a source line that are shown around the mistake.
const MAX_SHOWN_LINE: usize = 160;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    /// In characters, on this line.
    pub len: u32,
}

impl Span {
    pub(crate) fn new(line: u32, column: u32, len: u32) -> Self {
        Self { line, column, len }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where. Line 0 means the file as a whole (it cannot be read, it is empty).
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// What was expected in this place: shown beside the carets.
    pub expected: Option<String>,
    /// How to put it right: the fix, or the nearest spelling.
    pub help: Option<String>,
    /// The text of the line, escaped, when there is one.
    pub source_line: Option<String>,
    /// How many characters of the line the mistake spans.
    pub span_len: u32,
    /// The column within `source_line`, which may be a part of a very long line.
    caret: u32,
}

impl Diagnostic {
    /// A mistake that belongs to a whole file.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        let (line, column) = (0, 0);
        let file = file.into();
        Self::at(Origin { file, line, column }, message)
    }

    /// A mistake at a place, without the source line.
    pub fn at(origin: Origin, message: impl Into<String>) -> Self {
        Self {
            origin,
            message: message.into(),
            expected: None,
            help: None,
            source_line: None,
            span_len: 0,
            caret: 0,
        }
    }

    /// Says what was expected here.
    pub fn expected(&mut self, text: impl Into<String>) -> &mut Self {
        self.expected = Some(text.into());
        self
    }

    /// Says how to fix it.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.maybe_help(Some(text.into()))
    }

    /// Says how to fix it, if there is a fix.
    pub fn maybe_help(&mut self, text: Option<String>) -> &mut Self {
        self.help = text;
        self
    }

    /// Adds the fix.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn render_into(&self, out: &mut String, colour: bool) {
        let [red, blue, bold, off] = if colour { COLOURS } else { [""; 4] };
        let _ = writeln!(out, "{red}error{off}{bold}: {}{off}", self.message);
        let number = self.origin.line.to_string();
        let gutter = " ".repeat(number.len());
        let Origin { file, line, column } = &self.origin;
        let file = escape(file);
        let _ = match line {
            0 => writeln!(out, "{blue}  -->{off} {file}"),
            _ => writeln!(out, "{gutter}{blue} -->{off} {file}:{line}:{column}"),
        };
        if let Some(line) = &self.source_line {
            let pad = " ".repeat(self.caret.saturating_sub(1) as usize);
            let carets = "^".repeat(self.span_len.max(1) as usize);
            let _ = writeln!(out, " {gutter}{blue} |{off}");
            let _ = writeln!(out, " {blue}{number} |{off} {line}");
            let _ = write!(out, " {gutter}{blue} |{off} {pad}{red}{carets}");
            if let Some(expected) = &self.expected {
                let _ = write!(out, " {expected}");
            }
            let _ = writeln!(out, "{off}");
        } else if let Some(expected) = &self.expected {
            let _ = writeln!(
                out,
                " {gutter}{blue} ={off} {bold}expected{off}: {expected}"
            );
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, " {gutter}{blue} ={off} {bold}help{off}: {help}");
        }
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = |n: u32| (n != 0).then_some(n);
        let mut out = serializer.serialize_struct("Diagnostic", 6)?;
        out.serialize_field("file", &*self.origin.file)?;
        out.serialize_field("line", &place(self.origin.line))?;
        out.serialize_field("column", &place(self.origin.column))?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("expected", &self.expected)?;
        out.serialize_field("help", &self.help)?;
        out.end()
    }
}

/// Red, blue, bold, and the end of each.
const COLOURS: [&str; 4] = ["\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"];

/// Why a profile was refused. Never empty.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    diagnostics: Vec<Diagnostic>,
    /// How many further mistakes were found, but not kept.
    omitted: usize,
}

impl Error {
    /// The mistakes, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// A mistake that belongs to a whole file, and its fix.
    pub fn of_file(file: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Diagnostic::of_file(file, message).with_help(help).into()
    }

    /// How many mistakes were found beyond those in [`Error::diagnostics`].
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The mistakes of both, for several files.
    pub fn and(mut self, other: Self) -> Self {
        let room = MAX_DIAGNOSTICS.saturating_sub(self.diagnostics.len());
        self.omitted += other.omitted + other.diagnostics.len().saturating_sub(room);
        self.diagnostics
            .extend(other.diagnostics.into_iter().take(room));
        self
    }

    /// As [`Display`](fmt::Display), with colour for a terminal when wanted.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (i, diagnostic) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                out.push('\n');
            }
            diagnostic.render_into(&mut out, colour);
        }
        if self.omitted > 0 {
            let _ = writeln!(out, "\n... and {} more", self.omitted);
        }
        out
    }
}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            diagnostics: vec![diagnostic],
            omitted: 0,
        }
    }
}

impl From<Box<Diagnostic>> for Error {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        (*diagnostic).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

// A test that fails on `unwrap` then shows what a user would see.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

impl std::error::Error for Error {}

/// The kind of a file, for messages.
#[derive(Clone, Copy)]
pub struct FileKind {
    /// As in "a profile".
    pub name: &'static str,
    /// What it begins with.
    pub first_line: &'static str,
    /// Its sections and their keys, to say where a misplaced key belongs; last, under "", the keys at the top.
    pub sections: fn() -> Vec<(&'static str, Vec<&'static str>)>,
}

impl FileKind {
    /// A profile.
    pub const PROFILE: Self = Self {
        name: "profile",
        first_line: "aegis: 1",
        sections: Vec::new,
    };
}

/// Collects the mistakes of one text.
pub struct Reporter<'t> {
    /// The file as the user named it.
    pub file: Arc<str>,
    kind: FileKind,
    text: &'t str,
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
    last_omitted: Option<Diagnostic>,
}

impl<'t> Reporter<'t> {
    /// A reporter without mistakes.
    pub fn new(kind: FileKind, file: Arc<str>, text: &'t str) -> Self {
        Self {
            file,
            kind,
            text,
            diagnostics: Vec::new(),
            omitted: 0,
            last_omitted: None,
        }
    }

    /// The origin of an item at `span`.
    pub fn origin(&self, span: Span) -> Origin {
        Origin {
            file: self.file.clone(),
            line: span.line,
            column: span.column,
        }
    }

    /// Records a mistake; the caller adds the expectation and the fix.
    pub fn report(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        let mistake = Diagnostic::at(self.origin(span), message);
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            self.omitted += 1;
            return self.last_omitted.insert(mistake);
        }
        let (source_line, caret, span_len) = self.excerpt(span);
        self.keep(Diagnostic {
            source_line,
            span_len,
            caret,
            ..mistake
        })
    }

    /// A mistake of the text as a whole.
    pub fn report_file(&mut self, message: impl Into<String>) -> &mut Diagnostic {
        self.keep(Diagnostic::of_file(&self.file, message))
    }

    fn keep(&mut self, mistake: Diagnostic) -> &mut Diagnostic {
        let at = self.diagnostics.len();
        self.diagnostics.push(mistake);
        &mut self.diagnostics[at]
    }

    /// What kind of file it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Whether nothing has been reported.
    pub fn is_clean(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The result: `value` when nothing was reported.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.diagnostics.is_empty() => Ok(value),
            _ => {
                if self.diagnostics.is_empty() {
                    self.report_file(format!("this {} cannot be read", self.kind.name));
                }
                self.diagnostics
                    .sort_by_key(|d| (d.origin.line, d.origin.column));
                Err(Error {
                    diagnostics: self.diagnostics,
                    omitted: self.omitted,
                })
            }
        }
    }

    /// The line of `span`, escaped and cut to what a person can read, with the place in it.
    fn excerpt(&self, span: Span) -> (Option<String>, u32, u32) {
        let index = span.line.saturating_sub(1) as usize;
        let Some(line) = self.text.split('\n').nth(index) else {
            return (None, 0, 0);
        };
        let line = line.strip_suffix('\r').unwrap_or(line);
        let at = span.column.saturating_sub(1) as usize;
        let from = if at > MAX_SHOWN_LINE - 40 { at - 40 } else { 0 };
        let mut shown = String::new();
        let (mut caret, mut len, mut width) = (0, 0, 0_u32);
        for (i, c) in line.chars().enumerate().skip(from).take(MAX_SHOWN_LINE) {
            let before = shown.len();
            escape_char(c, &mut shown);
            let step = shown[before..].chars().count() as u32;
            if i < at {
                caret += step;
            } else if i < at + span.len.max(1) as usize {
                len += step;
            }
            width += step;
        }
        let caret = caret.min(width);
        (Some(shown), caret + 1, len.max(1))
    }
}

/// Whether a character is refused in a profile, since it would mislead the reader of a message:
/// controls, and those that reorder, join or hide the text around them (Unicode TR 36, CVE-2021-42574).
pub fn is_deceptive(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c,
            '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}')
}

fn escape_char(c: char, out: &mut String) {
    match c {
        '\t' => out.push(' '),
        '\n' => out.push_str("\\n"),
        c if is_deceptive(c) => {
            let _ = write!(out, "\\u{{{:X}}}", u32::from(c));
        }
        c => out.push(c),
    }
}

/// Text from outside, made safe to print.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| escape_char(c, &mut out));
    out
}

/// Text from outside, to be quoted in a message: safe to print, and short.
pub fn quote(text: &str) -> String {
    const MAX: usize = 80;
    let mut out = escape(&text.chars().take(MAX).collect::<String>());
    if text.chars().nth(MAX).is_some() {
        out.push_str("...");
    }
    out
}

/// The candidate that `text` was most likely meant to be.
pub fn nearest<'c>(text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // Long words take long to compare, and are not typing errors.
    if text.len() > 64 {
        return None;
    }
    let folded = text.to_lowercase().replace(['_', ' '], "-");
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&folded, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= (c.len().max(folded.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// The fix for an unknown word: the nearest known one, or `otherwise`.
pub fn meant<'c>(
    text: &str,
    known: impl IntoIterator<Item = &'c str>,
    otherwise: impl Into<String>,
) -> String {
    match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => otherwise.into(),
    }
}
