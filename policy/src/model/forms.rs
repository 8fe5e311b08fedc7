//! What the values of keys look like in a policy's file: how each is read, shown and described.

use std::collections::BTreeSet;

use aegis_profile::syntax::{
    Kind, Node, Reporter, Takes, Text, Value as Yaml, Wrong, count, kind_of, pattern, port, scalar,
    show_size, size, words,
};
use serde_json::{Value, json};

use super::Action;
use super::fields::{Fields, one_or_more, unknown};
use super::keys::{Form, Keyed};
use super::words::Words;

impl<T> Form<T> for Text<T> {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<T> {
        Text::read(self, out, node)
    }
    fn show(&self, value: &T) -> String {
        (self.show)(value)
    }
    fn schema(&self) -> Value {
        (self.schema)()
    }
}

/// One of a type's words.
pub(crate) struct Word;

impl<T: Words> Form<T> for Word {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<T> {
        let text = out.text(node, "a word")?;
        let known = T::WORDS.iter().find(|(_, word, _)| *word == text);
        if known.is_none() {
            unknown(
                "word",
                text,
                node.span,
                T::WORDS.iter().map(|(_, word, _)| *word),
                out,
            );
        }
        known.map(|(value, ..)| *value)
    }
    fn show(&self, value: &T) -> String {
        let word = T::WORDS.iter().find(|(known, ..)| known == value);
        word.map(|(_, word, _)| scalar(word)).unwrap_or_default()
    }
    fn schema(&self) -> Value {
        let mut schema = words(
            T::WORDS
                .iter()
                .map(|(_, word, about)| (*word, about.trim_start())),
        );
        schema["description"] = T::ABOUT.trim_start().into();
        schema
    }
}

/// `true` or `false`.
pub(super) struct Flag;

impl Form<bool> for Flag {
    fn read(&self, node: &Node, key: &str, out: &mut Reporter<'_>) -> Option<bool> {
        match &node.value {
            Yaml::Refused => return None,
            Yaml::Scalar { text, plain: true } if kind_of(text) == Kind::Bool => {
                return Some(text.eq_ignore_ascii_case("true"));
            }
            _ => {}
        }
        let found = node.describe();
        out.report(node.span, format!("expected true or false, found {found}"))
            .help(format!("write `{key}: true`, or remove the key"));
        None
    }
    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
    fn schema(&self) -> Value {
        json!({"type": "boolean"})
    }
}

/// A value that may be missing.
pub(super) struct Maybe<F>(pub F);

impl<T, F: Form<T>> Form<Option<T>> for Maybe<F> {
    fn read(&self, node: &Node, key: &str, out: &mut Reporter<'_>) -> Option<Option<T>> {
        self.0.read(node, key, out).map(Some)
    }
    fn show(&self, value: &Option<T>) -> String {
        value
            .as_ref()
            .map(|value| self.0.show(value))
            .unwrap_or_default()
    }
    fn schema(&self) -> Value {
        self.0.schema()
    }
}

/// One item, or a list of at least one.
pub(super) struct List<F>(pub F);

impl<T: Ord, F: Form<T>> Form<BTreeSet<T>> for List<F> {
    fn read(&self, node: &Node, key: &str, out: &mut Reporter<'_>) -> Option<BTreeSet<T>> {
        Some(one_or_more(node, key, out, |node, out| {
            self.0.read(node, key, out)
        }))
    }
    fn show(&self, value: &BTreeSet<T>) -> String {
        list(value.iter().map(|item| self.0.show(item)))
    }
    fn schema(&self) -> Value {
        one_or_more_of(&self.0.schema())
    }
}

fn one_or_more_of(item: &Value) -> Value {
    json!({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})
}

/// A list in YAML's flow form.
pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A TCP or UDP port.
pub(super) const PORT: Text<u16> = Text {
    takes: Takes::Number,
    show: u16::to_string,
    ..Text::new(
        "a port from 1 to 65535",
        || json!({"type": "integer", "minimum": 1, "maximum": 65535}),
        port,
    )
};

/// A size.
pub(crate) const SIZE: Text<u64> = Text {
    show: |bytes| show_size(*bytes),
    ..quantity("a size", || pattern(r"^[1-9][0-9]*(B|[KMGT](iB)?)$"), size)
};

/// `60/m`.
pub(super) const PER_MINUTE: Text<u64> = Text {
    show: |number| format!("{number}/m"),
    ..quantity(
        "a number per minute",
        || pattern(r"^[1-9][0-9]*/m$"),
        per_minute,
    )
};

/// A number with its unit. A number without one goes on to its own parser, which knows the unit to suggest.
const fn quantity(
    what: &'static str,
    schema: fn() -> Value,
    parse: fn(&str) -> Result<u64, Wrong>,
) -> Text<u64> {
    Text {
        takes: Takes::TextOrInt,
        ..Text::new(what, schema, parse)
    }
}

fn per_minute(text: &str) -> Result<u64, Wrong> {
    // More requests than a network card can carry in a minute: not a budget.
    const MAX: u64 = 1_000_000_000;
    match text.strip_suffix("/m") {
        Some(number) => count(number, MAX),
        None => Wrong::new(
            "this is not a number of requests per minute",
            "write it per minute, such as `60/m`",
        ),
    }
}

/// A map of at least one key; the text names it.
pub(super) struct Nested(pub &'static str);

impl<T: Keyed> Form<T> for Nested {
    fn read(&self, node: &Node, key: &str, out: &mut Reporter<'_>) -> Option<T> {
        let fields = Fields::of(node, self.0, T::WRITTEN, out)?;
        if T::WRITTEN.iter().all(|key| fields.get(key).is_none()) {
            out.report(node.span, format!("{} without a bound", self.0))
                .help(format!(
                    "write one, such as `{key}: {{requests: 60/m}}`, or remove the key"
                ));
        }
        Some(T::read(&fields, out))
    }
    fn show(&self, value: &T) -> String {
        let shown = value.shown().into_iter();
        let keys: Vec<_> = shown
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        format!("{{{}}}", keys.join(", "))
    }
    fn schema(&self) -> Value {
        json!({"$ref": "#/$defs/Budget"})
    }
}

/// `**`, or a name with `*` in it.
const COMPONENT: &str = r"/(\*\*(?=/|$)|(?!\.\.?(/|$))((?!\*\*)[^/?\[\]{}\\\n\t])+)";

/// A pattern of paths from a variable or from `/`.
fn path() -> String {
    [
        r"(/|(",
        COMPONENT,
        r")+|\$(WORK|SKILL|HOME)(",
        COMPONENT,
        ")*)",
    ]
    .concat()
}

/// A host name whose last label is not a number, perhaps after `*.`, or an address.
fn host() -> String {
    let octet = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    let label = r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?";
    let name = r"((\*\.)?(?!([^*]*\.)?([0-9]+|0x[a-z0-9_\-]*)$)(?!.{254})";
    let v6 = r"|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)";
    [
        name, label, r"(\.", label, ")*|(", octet, r"\.){3}", octet, v6,
    ]
    .concat()
}

const LINE: &str = r"^[^\n\t]+$";
const NAME: &str = r"^[^?\[\]{}\\\n\t]+$";

macro_rules! texts {
    ($($name:ident = $what:literal, $pattern:expr;)*) => {$(
        pub(crate) const $name: Text<String> =
            Text::new($what, || pattern(&$pattern), |text| one_line($what, text));
    )*};
}

texts! {
    ID = "an id", r"^(?!limits\.)[a-z0-9][a-z0-9_.\-]{0,63}$";
    POLICY_NAME = "a name", LINE;
    REASON = "a reason", LINE;
    ALIAS = "an alias", NAME;
    HOST_OR_ANY = "a host", format!(r"^(\*|{})$", host());
    METHOD = "an HTTP method", r"^[A-Z\-]{1,32}$";
    URL_PATH = "the path of a URL", format!("^(/|({COMPONENT})+)$");
    REGO_FILE = "the name of a Rego file", r"^(?!/)(?!.*//)(?!(.*/)?\.\.?/)[^\\\n\t]*\.rego$";
}

/// A pattern of any kind; the rule's actions determine which.
pub(super) const ANY_PATTERN: Text<String> = Text {
    takes: Takes::TextOrInt,
    ..Text::new(
        "a pattern",
        || json!({"type": ["string", "integer"], "pattern": LINE}),
        |text| one_line("a pattern", text),
    )
};

/// Text of one line, not empty.
pub(crate) fn one_line(what: &str, text: &str) -> Result<String, Wrong> {
    match text.is_empty() || text.contains(['\n', '\t']) {
        true => Err(Wrong {
            message: format!("{what} is one line, and not empty"),
            help: None,
        }),
        false => Ok(text.to_owned()),
    }
}

/// The form of a rule's patterns, for each of its actions.
pub(super) fn patterns_by_action() -> Value {
    let path = path();
    let name = r"[^?\[\]{}\\\n\t]+";
    let port =
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    let program = format!("^({path}|(?![/$]){})$", r"[^/?\[\]{}\\\n\t]+");
    let tool = format!("^({path}|sha256:[0-9a-f]{{64}}|(?![/$])(?!sha256:){name})$");
    let condition = |one: Value, items: Value| {
        json!({
            "if": {"properties": {"on": {"anyOf": [one, {"type": "array", "contains": one}]}}, "required": ["on"]},
            "then": {"properties": {"match": one_or_more_of(&items)}},
        })
    };
    let form = |actions: &[Action], pattern: &str, numbers: bool| {
        let words: Vec<_> = actions.iter().map(|action| action.name()).collect();
        let text = json!({"type": "string", "pattern": pattern});
        let items = match numbers {
            true => json!({"anyOf": [text, {"type": "integer"}]}),
            false => text,
        };
        condition(json!({"enum": words}), items)
    };
    let ports = json!({"anyOf": [{"type": "string", "pattern": format!("^{port}(-{port})?$")}, (PORT.schema)()]});
    let names = [
        Action::Anomaly,
        Action::Devices,
        Action::EnvironmentPass,
        Action::Sockets,
        Action::SyscallsAllow,
    ];
    json!([
        form(
            &[Action::FilesRead, Action::FilesWrite],
            &format!("^{path}$"),
            false
        ),
        form(&[Action::ShellExec], &program, true),
        condition(json!({"const": "net.listen"}), ports),
        form(&[Action::NetHost], "^host$", false),
        form(&[Action::ToolExec], &tool, true),
        form(&names, NAME, true),
    ])
}

/// A rule that allows names its hosts.
pub(super) fn named_hosts(key: &str) -> Value {
    let item = json!({"type": "string", "pattern": format!("^{}$", host())});
    json!({"allOf": [{
        "if": {"properties": {"verdict": {"const": "allow"}}, "required": ["verdict"]},
        "then": {"properties": {key: one_or_more_of(&item)}},
    }]})
}
