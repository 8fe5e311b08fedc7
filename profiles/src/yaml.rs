//! The subset of YAML that a profile may be written in, as a tree in which every node knows its place.
//!
//! Maps with plain text keys, lists, and scalars: nothing that makes a file mean something else than
//! what a reader sees. Anchors, aliases, tags, merge keys, duplicate keys, directives, more than one
//! document, and characters that hide or reorder text are refused. The grammar itself is left to
//! `saphyr-parser`'s event stream (YAML 1.2); nothing here recurses over the input.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

pub use crate::error::Span;
use crate::error::{Error, FileKind, Reporter, is_deceptive, quote};

/// The largest file that is read.
pub const MAX_BYTES: usize = 1 << 20;

/// How deep lists and maps may be nested.
const MAX_DEPTH: usize = 16;

/// How many keys one map may have: keeps the search for duplicates short.
const MAX_KEYS: usize = 1024;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub span: Span,
}

/// A key of a map and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key, without quotes.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar.
    Scalar {
        /// Its text, as written.
        text: String,
        /// It had no quotes, so that YAML would give it a type.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, without duplicates.
    Map(Vec<(Key, Node)>),
    /// Already refused: it causes no second error.
    Refused,
}

/// How YAML 1.2's core schema types a scalar without quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, `~`, `null`.
    Null,
    /// `true`, `false`.
    Bool,
    /// A whole number: decimal, `0x`, `0o`.
    Int,
    /// Any other number.
    Float,
    /// All else.
    Text,
}

impl Node {
    /// The entries of a map; empty for other nodes.
    pub fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The entry of a map with this key.
    pub fn entry(&self, key: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(known, _)| known.text == key)
    }

    /// The items of a list; any other node is its only item.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What a reader would call it, for "expected this, found that".
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Refused => "something refused",
            Value::Scalar { plain: false, .. } => "text",
            Value::Scalar { text, .. } => match kind_of(text) {
                Kind::Null => "nothing",
                Kind::Bool => "true or false",
                Kind::Int | Kind::Float => "a number",
                Kind::Text => "text",
            },
        }
    }
}

/// The type that YAML 1.2 gives to a scalar without quotes.
pub fn kind_of(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Kind::Bool,
        ".nan" | ".NaN" | ".NAN" => return Kind::Float,
        _ => {}
    }
    let digits = |s: &str, ok: fn(&u8) -> bool| !s.is_empty() && s.bytes().all(|b| ok(&b));
    let hex = |s| digits(s, u8::is_ascii_hexdigit);
    let octal = |s| digits(s, |b| (b'0'..=b'7').contains(b));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if text.strip_prefix("0x").is_some_and(hex)
        || text.strip_prefix("0o").is_some_and(octal)
        || digits(unsigned, u8::is_ascii_digit)
    {
        return Kind::Int;
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Kind::Float;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let number = all(whole)
        && all(part)
        && !(whole.is_empty() && part.is_empty())
        && exponent.is_none_or(|e| digits(e, u8::is_ascii_digit));
    if number { Kind::Float } else { Kind::Text }
}

/// Reads the bytes of a file: `read` makes a value of its tree. Reports all mistakes.
pub fn document<T>(
    kind: FileKind,
    file: &Arc<str>,
    bytes: &[u8],
    read: impl FnOnce(&Node, &mut Reporter<'_>) -> Option<T>,
) -> Result<T, Error> {
    let mut out = Reporter::new(kind, file.clone(), "");
    let Some(text) = decode(bytes, &mut out) else {
        return out.finish(None);
    };
    let mut out = Reporter::new(kind, file.clone(), text);
    let value = parse(text, &mut out).and_then(|root| read(&root, &mut out));
    out.finish(value)
}

/// Decodes a file's bytes; refuses what is too large, empty or not text.
fn decode<'b>(bytes: &'b [u8], out: &mut Reporter<'_>) -> Option<&'b str> {
    check_size(bytes.len(), out)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(e) => {
            let before = &bytes[..e.valid_up_to()];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            out.report_file(format!("not UTF-8 text (line {line})"))
                .help("save the file with the encoding UTF-8");
            None
        }
    }
}

/// Parses `text`. Mistakes are reported; `None`: nothing is usable.
pub fn parse(text: &str, out: &mut Reporter<'_>) -> Option<Node> {
    check_size(text.len(), out)?;
    // Some editors begin a file with a byte order mark, which means nothing in UTF-8.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    check_characters(text, out);
    check_directives(text, out);
    if !out.is_clean() {
        return None;
    }
    Builder {
        stack: Vec::new(),
        root: None,
        out,
    }
    .run(text)
}

fn check_size(bytes: usize, out: &mut Reporter<'_>) -> Option<()> {
    if bytes > MAX_BYTES {
        let help = format!("a {} is a page or two of text", out.kind().name);
        out.report_file("larger than 1 MiB").help(help);
        return None;
    }
    Some(())
}

fn check_characters(text: &str, out: &mut Reporter<'_>) {
    if text
        .bytes()
        .all(|b| matches!(b, b'\n' | b'\t' | 0x20..=0x7E))
    {
        return;
    }
    for (number, line) in (1..).zip(text.split('\n')) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        for (column, c) in (1..).zip(line.chars()) {
            if is_deceptive(c) {
                let what = match c {
                    '\0' => "a NUL",
                    _ => "an invisible or control",
                };
                let message = format!("{what} character (U+{:04X}) is not allowed", u32::from(c));
                out.report(Span::new(number, column, 1), message)
                    .help("remove it: what a file grants must be what a reader sees");
            }
        }
    }
}

fn check_directives(text: &str, out: &mut Reporter<'_>) {
    for (number, line) in (1..).zip(text.lines()) {
        let span = Span::new(number, 1, narrow(line.chars().count()));
        match line.trim_start().chars().next() {
            None | Some('#') => {}
            Some('%') => {
                out.report(span, "YAML directives are not allowed")
                    .help("remove this line");
            }
            Some(_) => return,
        }
    }
}

/// An open list or map, and the key that waits for its value.
struct Open {
    node: Node,
    key: Option<Key>,
    /// The waiting key was refused, so its value is dropped.
    drop_value: bool,
}

struct Builder<'r, 't> {
    stack: Vec<Open>,
    root: Option<Node>,
    out: &'r mut Reporter<'t>,
}

impl Builder<'_, '_> {
    fn run(mut self, text: &str) -> Option<Node> {
        let mut documents = 0;
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, at) = match event {
                Ok(event) => event,
                Err(e) => {
                    let m = e.marker();
                    let span = Span::new(narrow(m.line()), narrow(m.col()) + 1, 1);
                    let report = self
                        .out
                        .report(span, format!("not valid YAML: {}", quote(e.info())));
                    if e.info().contains("anchor") {
                        report.help("what begins with `*` or `&` needs quotes: `\"**/.env\"`");
                    }
                    return None;
                }
            };
            let (start, end) = (at.start, at.end);
            let len = match start.line() == end.line() {
                true => narrow(end.col().saturating_sub(start.col())),
                false => 1,
            };
            let mut span = Span::new(narrow(start.line()), narrow(start.col()) + 1, len);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let name = self.out.kind().name;
                        let help = format!(
                            "a file holds one {name}: remove the `---` and what follows it"
                        );
                        (self.out.report(span, "a second YAML document in one file")).help(help);
                        return None;
                    }
                }
                Event::Alias(_) => {
                    self.out
                        .report(span, "YAML aliases (`*name`) are not allowed")
                        .help(
                            "write the value out; what begins with `*` needs quotes: `\"**/.env\"`",
                        );
                    self.value(Value::Refused, span);
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain;
                    if plain && !text.contains('\n') {
                        // The scanner's end mark lies beyond trailing blanks.
                        span.len = narrow(text.chars().count()).max(1);
                    }
                    let mut refused = self.refuse_extras(span, anchor, tag.is_some());
                    if let Some(c) = text.chars().find(|c| is_deceptive(*c)) {
                        let message =
                            format!("the character U+{:04X} is not allowed", u32::from(c));
                        self.out.report(span, message).help(
                            "remove the escape: what a file grants must be what a reader sees",
                        );
                        refused = true;
                    }
                    let text = text.into_owned();
                    let scalar = Value::Scalar { text, plain };
                    self.value(if refused { Value::Refused } else { scalar }, span);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_extras(span, anchor, tag.is_some());
                    self.open(Value::List(Vec::new()), span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_extras(span, anchor, tag.is_some());
                    self.open(Value::Map(Vec::new()), span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(open) = self.stack.pop() {
                        self.value(open.node.value, open.node.span);
                    }
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        if self.root.is_none() {
            let FileKind {
                name, first_line, ..
            } = self.out.kind();
            let help = format!("a {name} begins with the line `{first_line}`");
            self.out.report_file("the file is empty").help(help);
        }
        self.root
    }

    fn refuse_extras(&mut self, span: Span, anchor: usize, tag: bool) -> bool {
        if anchor != 0 {
            self.out
                .report(span, "YAML anchors (`&name`) are not allowed")
                .help("write the value out");
        }
        if tag {
            self.out
                .report(span, "YAML tags (`!name`) are not allowed")
                .help("remove the tag; quote the value if it is to be text");
        }
        anchor != 0 || tag
    }

    fn open(&mut self, value: Value, span: Span) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            self.out
                .report(span, format!("nested more than {MAX_DEPTH} deep"));
            return None;
        }
        self.stack.push(Open {
            node: Node { value, span },
            key: None,
            drop_value: false,
        });
        Some(())
    }

    /// Puts a finished node where it belongs: into the open list, as key or value of the open map.
    fn value(&mut self, value: Value, span: Span) {
        let node = Node { value, span };
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => {
                if let Some(key) = open.key.take() {
                    entries.push((key, node));
                } else if open.drop_value {
                    open.drop_value = false;
                } else {
                    open.key = accept_key(node, entries, self.out);
                    open.drop_value = open.key.is_none();
                }
            }
            Value::Scalar { .. } | Value::Refused => {}
        }
    }
}

fn accept_key(node: Node, entries: &[(Key, Node)], out: &mut Reporter<'_>) -> Option<Key> {
    let what = node.describe();
    let Value::Scalar { text, plain } = node.value else {
        if !matches!(node.value, Value::Refused) {
            out.report(node.span, format!("a key must be text, and this is {what}"));
        }
        return None;
    };
    if plain && text == "<<" {
        out.report(node.span, "YAML merge keys (`<<`) are not allowed")
            .help("write the keys out");
        return None;
    }
    if plain && kind_of(&text) != Kind::Text {
        let help = format!("quote it if you mean the text: \"{}\"", quote(&text));
        out.report(node.span, format!("a key must be text, and this is {what}"))
            .help(help);
        return None;
    }
    if entries.len() >= MAX_KEYS {
        out.report(node.span, format!("more than {MAX_KEYS} keys in one map"));
        return None;
    }
    if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == text) {
        let message = format!("the key `{}` is given twice", quote(&text));
        out.report(node.span, message)
            .expected(format!("first given in line {}", first.span.line))
            .help("keep one of them");
        return None;
    }
    Some(Key {
        text,
        span: node.span,
    })
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The text as JSON, as any YAML reader would understand it: what an editor checks against the schema.
/// Refuses YAML that a profile may not contain; does not check keys.
#[doc(hidden)]
pub fn yaml_to_json(text: &str, file_name: &str) -> Result<serde_json::Value, Error> {
    let file = Arc::from(file_name);
    document(FileKind::PROFILE, &file, text.as_bytes(), |node, _| {
        Some(to_json(node))
    })
}

fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Refused => Json::Null,
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(k, v)| (k.text.clone(), to_json(v)))
            .collect(),
        Value::Scalar { text, plain: false } => Json::String(text.clone()),
        Value::Scalar { text, plain: true } => match kind_of(text) {
            Kind::Null => Json::Null,
            Kind::Bool => Json::Bool(text.eq_ignore_ascii_case("true")),
            Kind::Int => text
                .parse::<i64>()
                .map(Json::from)
                .or_else(|_| text.parse::<f64>().map(Json::from))
                .unwrap_or_else(|_| Json::String(text.clone())),
            Kind::Float => text.parse::<f64>().map_or_else(|_| Json::Null, Json::from),
            Kind::Text => Json::String(text.clone()),
        },
    }
}
