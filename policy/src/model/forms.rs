//! What the values of keys look like in a policy's file: how each is read, shown and described.

use std::collections::BTreeSet;

use aegis_profile::syntax::{
    Node, Reporter, Value as Yaml, Wrong, count, quote, read, scalar, show_size, size,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Action;
use super::fields::{Fields, one_or_more, text, wrong};
use super::keys::{Form, Keyed};

/// Text of one line.
pub(crate) struct Text {
    /// What it is, for messages.
    pub what: &'static str,
    pub pattern: fn() -> String,
}

impl Form<String> for Text {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<String> {
        text(node, self.what, false, out)
    }
    fn show(&self, value: &String) -> String {
        scalar(value)
    }
    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": (self.pattern)()})
    }
}

/// A pattern of whatever kind; which, the rule's actions say.
pub(super) struct AnyPattern;
pub(super) const ANY_PATTERN: AnyPattern = AnyPattern;

impl Form<String> for AnyPattern {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<String> {
        text(node, "a pattern", true, out)
    }
    fn show(&self, value: &String) -> String {
        scalar(value)
    }
    fn schema(&self) -> Value {
        json!({"type": ["string", "integer"], "pattern": LINE})
    }
}

/// A word that serde knows, or `true` and `false`.
pub(crate) struct Word;

impl<T: DeserializeOwned + JsonSchema + Serialize> Form<T> for Word {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<T> {
        word(node, out)
    }
    fn show(&self, value: &T) -> String {
        match serde_json::to_value(value) {
            Ok(Value::String(word)) => scalar(&word),
            Ok(value) => value.to_string(),
            Err(error) => unreachable!("a word has a JSON form: {error}"),
        }
    }
    fn schema(&self) -> Value {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.subschema_for::<T>().to_value();
        in_one_line(&mut schema);
        schema
    }
}

/// Doc comments are broken into lines for readers of the source.
fn in_one_line(schema: &mut Value) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    let words = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    words.into_iter().flatten().for_each(in_one_line);
}

/// A word of a list that serde knows. What was refused already makes no second mistake.
pub(crate) fn word<T: DeserializeOwned>(node: &Node, out: &mut Reporter<'_>) -> Option<T> {
    match node.value {
        Yaml::Refused => None,
        _ => read(node, out),
    }
}

/// What may be missing.
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
pub(super) struct Port;

impl Form<u16> for Port {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<u16> {
        let port = match &node.value {
            Yaml::Refused => return None,
            Yaml::Scalar { text, plain: true } => {
                (text.parse::<u16>().ok()).filter(|port| *port > 0 && port.to_string() == *text)
            }
            _ => None,
        };
        if port.is_none() {
            let help = "a port is a number from 1 to 65535, without quotes";
            out.report(node.span, "not a port").help(help);
        }
        port
    }
    fn show(&self, value: &u16) -> String {
        value.to_string()
    }
    fn schema(&self) -> Value {
        json!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
}

/// A number with its unit.
pub(super) struct Quantity {
    what: &'static str,
    pattern: &'static str,
    parse: fn(&str) -> Result<u64, Wrong>,
    show: fn(u64) -> String,
}

/// A size.
pub(super) const SIZE: Quantity = Quantity {
    what: "a size",
    pattern: r"^[1-9][0-9]*(B|[KMGT](iB)?)$",
    parse: size,
    show: show_size,
};

/// `60/m`.
pub(super) const PER_MINUTE: Quantity = Quantity {
    what: "a number per minute",
    pattern: r"^[1-9][0-9]*/m$",
    parse: per_minute,
    show: |number| format!("{number}/m"),
};

impl Form<u64> for Quantity {
    fn read(&self, node: &Node, _: &str, out: &mut Reporter<'_>) -> Option<u64> {
        let text = text(node, self.what, true, out)?;
        accept(node, &text, (self.parse)(&text), out)
    }
    fn show(&self, value: &u64) -> String {
        (self.show)(*value)
    }
    fn schema(&self) -> Value {
        json!({"type": "string", "pattern": self.pattern})
    }
}

fn per_minute(text: &str) -> Result<u64, Wrong> {
    // More than that many a minute is no budget: it is the whole network card.
    const MAX: u64 = 1_000_000_000;
    match text.strip_suffix("/m") {
        Some(number) => count(number, MAX),
        None => wrong(
            "this is not a number of requests per minute",
            "write it per minute, such as `60/m`",
        ),
    }
}

/// The value, or the mistake at its place.
pub(crate) fn accept(
    node: &Node,
    shown: &str,
    result: Result<u64, Wrong>,
    out: &mut Reporter<'_>,
) -> Option<u64> {
    match result {
        Ok(value) => Some(value),
        Err(Wrong { message, help }) => {
            out.report(node.span, format!("{message}: `{}`", quote(shown)))
                .maybe_help(help);
            None
        }
    }
}

/// A map of at least one key; what it is.
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

/// A host name whose last label is no number, perhaps after `*.`, or an address.
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
        pub(crate) const $name: Text = Text {
            what: $what,
            pattern: || $pattern.to_string(),
        };
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

/// What the patterns of a rule have to look like, for each of its actions.
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
    let ports = json!({"anyOf": [{"type": "string", "pattern": format!("^{port}(-{port})?$")}, Port.schema()]});
    let names = [
        Action::Devices,
        Action::EnvironmentPass,
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
