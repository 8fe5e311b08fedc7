//! YAML as it is printed: lines with indentation, scalars with quotes where they need them.

use std::fmt::Write as _;

use crate::error::escape;
use crate::model::Origin;
use crate::yaml::{Kind, kind_of};

/// The YAML printed so far. Values are given as [`scalar`]s.
pub(crate) struct Page {
    pub text: String,
    origins: bool,
    /// The profile is merged with what it extends.
    pub is_merged: bool,
    depth: usize,
}

impl Page {
    pub fn new(origins: bool, is_merged: bool) -> Self {
        Self {
            text: String::new(),
            origins,
            is_merged,
            depth: 0,
        }
    }

    pub fn line(&mut self, content: &str, origin: Option<&Origin>) {
        let indent = self.depth * 2;
        let _ = write!(self.text, "{:indent$}{content}", "");
        if let Some(Origin { file, line, .. }) = origin.filter(|_| self.origins) {
            let _ = write!(self.text, "  # from {}:{line}", escape(file));
        }
        self.text.push('\n');
    }

    pub fn entry(&mut self, key: &str, value: &str, origin: Option<&Origin>) {
        self.line(&format!("{}: {value}", scalar(key)), origin);
    }

    pub fn item(&mut self, value: &str, origin: Option<&Origin>) {
        self.line(&format!("- {value}"), origin);
    }

    /// A key and the items below it; nothing where there are none.
    pub fn section<I: IntoIterator>(
        &mut self,
        key: &str,
        origin: Option<&Origin>,
        items: I,
        show: impl Fn(&mut Self, I::Item),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            self.line(&format!("{}:", scalar(key)), origin);
            self.depth += 1;
            items.for_each(|item| show(self, item));
            self.depth -= 1;
        }
    }
}

/// Text as a YAML scalar, in block or flow style: without quotes where no reader of YAML 1.1 or 1.2 could
/// take it for anything else.
pub fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    // A JSON string is a YAML string.
    serde_json::Value::from(text).to_string()
}

fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'$' | b'.');
    let begins = match bytes {
        [b'-', second, ..] => word(*second) && !second.is_ascii_digit() && *second != b'.',
        [first, ..] => word(*first),
        [] => false,
    };
    let follows = |i: usize| bytes.get(i + 1).is_some_and(|b| word(*b));
    let safe = bytes.iter().enumerate().all(|(i, b)| match b {
        b':' | b' ' => follows(i),
        b'+' | b'=' | b'@' | b'~' | b'-' | b';' | b'(' | b')' => true,
        b => word(*b),
    });
    // YAML 1.1 has more truth values, and numbers with underscores, colons and dashes.
    let old_truth = ["y", "n", "yes", "no", "on", "off"]
        .iter()
        .any(|w| text.eq_ignore_ascii_case(w));
    let old_number = bytes
        .iter()
        .all(|b| b.is_ascii_digit() || b"_:.-+,eExo".contains(b));
    begins && safe && !old_truth && !old_number && kind_of(text) == Kind::Text
}
