//! Rolling a rule out, and back: removes `mode: warn` from a rule in a policy's text, or adds it. Only that
//! place of the text changes; comments and order stay.

use std::ops::Range;
use std::sync::Arc;

use aegis_profile::Error;
use aegis_profile::syntax::{Key, Node, Reporter, Span, parse, quote};

use crate::load::KIND;
use crate::load::parse_str;
use crate::model::{Document, Mode};

/// The text with one rule changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// All of it.
    pub text: String,
    /// The line before the change; `None` where a line was inserted.
    pub before: Option<String>,
    /// The line after the change; `None` where the line was removed.
    pub after: Option<String>,
    /// Which line it is.
    pub line: u32,
}

/// Puts the rule `id` of the policy `text` into `mode`. `None`: it is in that mode already.
///
/// ```
/// use aegis_policy::{model::Mode, promote::set_mode};
/// let text = "aegis-policy: 1\ncapabilities:\n  - id: work\n    mode: warn # since May\n    on: files.read\n    \
///             match: $WORK/**\n    verdict: block\n";
/// let changed = set_mode(text, "policy.yaml", "work", Mode::Enforce).unwrap().unwrap();
/// assert!(changed.text.contains("    mode: enforce # since May\n"));
/// ```
pub fn set_mode(
    text: &str,
    file_name: &str,
    id: &str,
    mode: Mode,
) -> Result<Option<Changed>, Error> {
    let document = parse_str(text, file_name)?;
    let mut out = Reporter::new(KIND, Arc::from(file_name), text);
    let root = parse(text, &mut out);
    let Some(rule) = root.as_ref().and_then(|root| find(root, id)) else {
        out.report_file(format!("there is no rule `{}`", quote(id)))
            .maybe_help(near(&document, id));
        return out.finish(None);
    };
    let (now, place) = of(rule);
    if now == mode {
        return Ok(None);
    }
    let lines = Lines::of(text);
    let edited = match (mode, place) {
        (Mode::Warn, None) => put_on(&lines, rule),
        (Mode::Warn, Some((_, value))) => lines.word(value.span).map(|at| lines.with(at, "warn")),
        (Mode::Enforce, Some((key, value))) => take_off(&lines, key, value),
        // A rule without `mode` is enforced.
        (Mode::Enforce, None) => return Ok(None),
    };
    // The parser has the final say: the same policy, except for this mode.
    let right = edited.as_deref().filter(|edited| {
        parse_str(edited, file_name)
            .is_ok_and(|after| after == expected(document.clone(), id, mode))
    });
    match right {
        Some(edited) => Ok(Some(changed(text, edited))),
        None => {
            out.report(rule.span, "this rule cannot be changed in place")
                .help("write its `mode:` by hand, on a line of its own");
            out.finish(None)
        }
    }
}

fn near(document: &Document, id: &str) -> Option<String> {
    let ids = document.heads().map(|head| head.id);
    let near = aegis_profile::syntax::nearest(id, ids)?;
    Some(format!("did you mean `{near}`?"))
}

fn expected(mut document: Document, id: &str, mode: Mode) -> Document {
    let capabilities = (document.capabilities.iter_mut()).map(|r| (&r.id, &mut r.mode));
    let egress = (document.network_egress.iter_mut()).map(|r| (&r.id, &mut r.mode));
    let secrets = (document.secrets_boundary.iter_mut()).map(|r| (&r.id, &mut r.mode));
    for (own, of) in capabilities.chain(egress).chain(secrets) {
        if own == id {
            *of = mode;
        }
    }
    document
}

/// The node of a rule.
fn find<'n>(root: &'n Node, id: &str) -> Option<&'n Node> {
    let contracts = ["capabilities", "network-egress", "secrets-boundary"];
    let lists = contracts.iter().filter_map(|key| root.entry(key));
    lists
        .flat_map(|(_, list)| list.items())
        .find(|rule| rule.entry("id").and_then(|(_, node)| node.text()) == Some(id))
}

/// A rule's mode, and where it is written.
fn of(rule: &Node) -> (Mode, Option<(&Key, &Node)>) {
    let place = rule.entry("mode");
    let mode = match place.and_then(|(_, node)| node.text()) {
        Some("warn") => Mode::Warn,
        _ => Mode::Enforce,
    };
    (mode, place.map(|(key, node)| (key, node)))
}

/// A text split into lines, to find the bytes of a place.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// The bytes of a line, with its end.
    fn line(&self, number: u32) -> Option<Range<usize>> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied();
        Some(start..end.unwrap_or(self.text.len()))
    }

    fn range(&self, span: Span) -> Option<Range<usize>> {
        let line = self.line(span.line)?;
        let characters = |n: u32| usize::try_from(n).ok();
        // The parser does not count a byte order mark.
        let mark = match span.line {
            1 if self.text.starts_with('\u{FEFF}') => '\u{FEFF}'.len_utf8(),
            _ => 0,
        };
        let text = &self.text[line.start + mark..line.end];
        let at = |n: usize| match text.char_indices().nth(n) {
            Some((at, _)) => Some(at),
            None => (text.chars().count() == n).then_some(text.len()),
        };
        let from = characters(span.column)?.checked_sub(1)?;
        let (start, end) = (at(from)?, at(from + characters(span.len)?)?);
        Some(line.start + mark + start..line.start + mark + end)
    }

    /// The bytes of a value: for a quoted value, the parser's end lies beyond the blanks after it.
    fn word(&self, span: Span) -> Option<Range<usize>> {
        let range = self.range(span)?;
        let end = range.start + self.text[range.clone()].trim_end().len();
        Some(range.start..end)
    }

    fn with(&self, range: Range<usize>, new: &str) -> String {
        let (before, after) = (&self.text[..range.start], &self.text[range.end..]);
        [before, new, after].concat()
    }
}

/// Removes `mode: warn`; where that would remove a comment too, or break the form, writes another word instead.
fn take_off(lines: &Lines<'_>, key: &Key, value: &Node) -> Option<String> {
    let (from, to) = (lines.range(key.span)?, lines.word(value.span)?);
    let line = lines.line(key.span.line)?;
    let before = &lines.text[line.start..from.start];
    let after = &lines.text[to.end..line.end.max(to.end)];
    if before.trim().is_empty() && after.trim().is_empty() && key.span.line == value.span.line {
        return Some(lines.with(line, ""));
    }
    // Between braces, with the comma that belongs to it.
    if let Some(rest) = after.trim_start().strip_prefix(',')
        && !rest.trim_start().starts_with('#')
        && !rest.trim().is_empty()
    {
        let end = lines.text.len().min(line.end) - rest.trim_start().len();
        return Some(lines.with(from.start..end, ""));
    }
    if before.trim_end().ends_with(',') && after.trim_start().starts_with('}') {
        let start = line.start + before.trim_end().len() - 1;
        return Some(lines.with(start..to.end, ""));
    }
    Some(lines.with(to, "enforce"))
}

/// Adds `mode: warn` after the rule's id, in the rule's own form.
fn put_on(lines: &Lines<'_>, rule: &Node) -> Option<String> {
    let (key, value) = rule.entry("id")?;
    let end = lines.word(value.span)?.end;
    let start = lines.range(rule.span)?.start;
    if lines.text[start..].starts_with('{') {
        return Some(lines.with(end..end, ", mode: warn"));
    }
    let line = lines.line(value.span.line)?;
    let indent = " ".repeat(usize::try_from(key.span.column).ok()?.checked_sub(1)?);
    let text = match lines.text[line.clone()].ends_with("\r\n") {
        true => format!("{indent}mode: warn\r\n"),
        false => format!("{indent}mode: warn\n"),
    };
    match lines.text[line.clone()].ends_with('\n') {
        true => Some(lines.with(line.end..line.end, &text)),
        false => Some(lines.with(line.end..line.end, &format!("\n{}", text.trim_end()))),
    }
}

/// The first line that differs.
fn changed(before: &str, after: &str) -> Changed {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same = (old.iter().zip(&new)).take_while(|(a, b)| a == b).count();
    let line = |lines: &[&str], shown: bool| {
        let line = lines.get(same).filter(|_| shown);
        line.map(|line| (*line).to_owned())
    };
    Changed {
        before: line(&old, old.len() >= new.len()),
        after: line(&new, new.len() >= old.len()),
        line: u32::try_from(same + 1).unwrap_or(u32::MAX),
        text: after.to_owned(),
    }
}
