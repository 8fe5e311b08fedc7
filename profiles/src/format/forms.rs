//! The forms that values take: lists, maps, single texts, and the few keys with a form of their own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::marker::PhantomData;

use serde_json::{Value as Json, json};

use super::SecretUse;
use super::texts;
use crate::error::{Reporter, escape, meant, quote};
use crate::form::{Form, Keyed, Page, Section, Text, scalar};
use crate::model::{Declared, Denied, Destination, Device, Outbound, PathSpec, Program, Version};
use crate::values::names;
use crate::yaml::{Kind, Node, Value, kind_of};

/// A required text.
pub(super) struct Word<T: 'static>(pub &'static Text<T>);

impl<T: Clone + Default + PartialEq> Form for Word<T> {
    type Value = T;

    fn schema(&self) -> Json {
        (self.0.schema)()
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> T {
        self.0.read(out, node).unwrap_or_default()
    }

    fn show(&self, page: &mut Page, key: &str, value: &T) {
        page.entry(key, &(self.0.show)(value), None);
    }
}

/// An optional text.
pub(super) struct Maybe(pub &'static Text<String>);

impl Form for Maybe {
    type Value = Option<String>;

    fn schema(&self) -> Json {
        (self.0.schema)()
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> Option<String> {
        self.0.read(out, node)
    }

    fn show(&self, page: &mut Page, key: &str, value: &Option<String>) {
        if let Some(value) = value {
            page.entry(key, &scalar(value), None);
        }
    }
}

/// A value that remembers where it was declared.
pub(super) struct Single<T: 'static>(pub &'static Text<T>);

impl<T: Clone + PartialEq + Display> Form for Single<T> {
    type Value = Option<Declared<T>>;

    fn schema(&self) -> Json {
        (self.0.schema)()
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> Self::Value {
        let value = self.0.read(out, node)?;
        Some(out.declared(node.span, value))
    }

    fn show(&self, page: &mut Page, key: &str, value: &Self::Value) {
        if let Some(Declared { value, origin }) = value {
            page.entry(key, &(self.0.show)(value), Some(origin));
        }
    }
}

/// A list, without duplicates. Merging adds new items: the first of equal ones keeps its place and its origin.
pub(super) struct List<T: 'static>(pub &'static Text<T>);

impl<T: Item> Form for List<T> {
    type Value = Vec<Declared<T>>;

    fn schema(&self) -> Json {
        json!({"type": "array", "items": (self.0.schema)()})
    }

    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Self::Value {
        let mut seen = HashSet::new();
        let mut items = Vec::new();
        for item in out.list(node, key) {
            if let Some(value) = self.0.read(out, item)
                && seen.insert(value.clone())
            {
                items.push(out.declared(item.span, value));
            }
        }
        settle(&mut items);
        items
    }

    fn merge(&self, into: &mut Self::Value, later: &Self::Value) {
        if into.is_empty() {
            into.extend_from_slice(later);
        } else if !later.is_empty() {
            let known: HashSet<T> = into.iter().map(|item| item.value.clone()).collect();
            let new = later.iter().filter(|item| !known.contains(&item.value));
            into.extend(new.cloned());
            settle(into);
        }
    }

    fn show(&self, page: &mut Page, key: &str, items: &Self::Value) {
        page.section(key, None, items, |page, item| {
            page.item(&(self.0.show)(&item.value), Some(&item.origin));
        });
    }
}

/// An item of a list.
pub(crate) trait Item: Clone + Display + Eq + Hash {
    /// Whether it is skipped where it does not exist.
    fn is_optional(&self) -> bool {
        false
    }

    /// The same, required.
    fn required(&self) -> Self {
        self.clone()
    }
}
impl Item for String {}
impl Item for u16 {}
impl Item for Denied {}
impl Item for Device {}
impl Item for Destination {}
impl Item for PathSpec {
    fn is_optional(&self) -> bool {
        self.optional
    }

    fn required(&self) -> Self {
        Self {
            optional: false,
            ..self.clone()
        }
    }
}
impl Item for Program {
    fn is_optional(&self) -> bool {
        match self {
            Self::Path(path) => path.optional,
            Self::Name { optional, .. } => *optional,
        }
    }

    fn required(&self) -> Self {
        match self {
            Self::Path(path) => Self::Path(path.required()),
            Self::Name { name, .. } => Self::Name {
                name: name.clone(),
                optional: false,
            },
        }
    }
}

/// Joins entries that differ only in being optional: the first keeps its place, and is required if any is.
fn settle<T: Item>(items: &mut Vec<Declared<T>>) {
    // Most lists have nothing to settle: no allocation for those.
    if !items.iter().any(|item| item.value.is_optional()) {
        return;
    }
    let mut places: HashMap<T, usize> = HashMap::with_capacity(items.len());
    let mut settled: Vec<Declared<T>> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let required = item.value.required();
        match places.get(&required) {
            Some(&place) if settled[place].value.is_optional() => settled[place] = item,
            Some(_) => {}
            None => {
                places.insert(required, settled.len());
                settled.push(item);
            }
        }
    }
    *items = settled;
}

/// A map of keys with forms of their own.
pub(super) struct Part<T>(PhantomData<T>);

impl<T> Part<T> {
    pub const NEW: Self = Self(PhantomData);
}

impl<T: Keyed> Form for Part<T> {
    type Value = T;

    fn schema(&self) -> Json {
        json!({"$ref": format!("#/$defs/{}", T::SECTION.name)})
    }

    fn section(&self) -> Option<&'static Section> {
        Some(T::SECTION)
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> T {
        T::read(out, node)
    }

    fn merge(&self, into: &mut T, later: &T) {
        into.merge(later);
    }

    fn show(&self, page: &mut Page, key: &str, value: &T) {
        let given = (*value != T::default()).then_some(value);
        page.section(key, None, given, |page, value| value.show(page));
    }
}

/// `aegis`: nothing but 1.
pub(super) struct TheVersion;

impl Form for TheVersion {
    type Value = Version;

    fn schema(&self) -> Json {
        json!({"const": 1, "format": "uint32", "minimum": 0, "type": "integer"})
    }

    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Version {
        out.version(node, key);
        Version
    }

    fn show(&self, page: &mut Page, key: &str, _: &Version) {
        page.entry(key, "1", None);
    }

    fn is_canonical(&self, _: &Version) -> bool {
        true
    }
}

/// `extends`: merged into the rest, and so not part of the canonical form.
pub(super) struct Extends;

impl Form for Extends {
    type Value = Vec<Declared<String>>;

    fn schema(&self) -> Json {
        json!({"type": "array", "items": (texts::REFERENCE.schema)(), "uniqueItems": true})
    }

    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Self::Value {
        let mut found: Self::Value = Vec::new();
        for item in out.list(node, key) {
            let Some(value) = texts::REFERENCE.read(out, item) else {
                continue;
            };
            if found.iter().any(|earlier| earlier.value == value) {
                (out.report(item.span, "extended twice")).help("keep one of them");
            } else {
                found.push(out.declared(item.span, value));
            }
        }
        found
    }

    fn show(&self, page: &mut Page, key: &str, value: &Self::Value) {
        if !page.is_merged {
            List(&texts::REFERENCE).show(page, key, value);
        } else if !value.is_empty() {
            let names: Vec<String> = value.iter().map(|e| escape(&e.value)).collect();
            let names = names.join(", ");
            page.line(
                &format!("# {key}: {names} (merged into what follows)"),
                None,
            );
        }
    }

    fn is_canonical(&self, _: &Self::Value) -> bool {
        false
    }
}

/// The schema of a scalar of any type, which is taken as its text.
fn scalar_schema() -> Json {
    json!({"type": ["string", "number", "boolean"]})
}

/// `run`: the words of a command.
pub(super) struct Run;

impl Form for Run {
    type Value = Vec<String>;

    fn schema(&self) -> Json {
        let mut first = scalar_schema();
        first["minLength"] = 1.into();
        json!({"type": "array", "items": scalar_schema(), "minItems": 1, "prefixItems": [first]})
    }

    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Vec<String> {
        let items = out.list(node, key);
        if let (Value::List(_), []) = (&node.value, items) {
            (out.report(node.span, "`run` is empty"))
                .help("name the command, such as `run: [python3, main.py]`, or remove the key");
        }
        let mut words = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match out.scalar(item, "a word of the command") {
                Some("") if i == 0 => {
                    (out.report(item.span, "the command's name is empty"))
                        .help("name the program to run");
                }
                word => words.extend(word.map(str::to_owned)),
            }
        }
        words
    }

    fn show(&self, page: &mut Page, key: &str, words: &Vec<String>) {
        page.section(key, None, words, |page, word| {
            page.item(&scalar(word), None)
        });
    }
}

/// `net.outbound`: a word, or destinations.
pub(super) struct Destinations;

const DESTINATIONS: List<Destination> = List(&texts::DESTINATION);

impl Form for Destinations {
    type Value = Outbound;

    fn schema(&self) -> Json {
        json!({"oneOf": [{"enum": ["none", "host"]}, DESTINATIONS.schema()]})
    }

    fn read(&self, out: &mut Reporter<'_>, key: &str, node: &Node) -> Outbound {
        match &node.value {
            Value::Scalar { text, .. } if text == "none" => {
                Outbound::None(Some(out.origin(node.span)))
            }
            Value::Scalar { text, .. } if text == "host" => Outbound::Host(out.origin(node.span)),
            Value::Scalar { text, plain } if !plain || kind_of(text) == Kind::Text => {
                let text = quote(text);
                let list = format!("write it as a list: `{key}: [\"{text}\"]`");
                let help = meant(&text, ["none", "host"], list);
                (out.report(node.span, format!("`{key}` cannot be `{text}`")))
                    .expected("expected `none`, `host` or a list")
                    .help(help);
                Outbound::None(None)
            }
            _ => match DESTINATIONS.read(out, key, node) {
                named if named.is_empty() => Outbound::None(None),
                named => Outbound::Named(named),
            },
        }
    }

    fn merge(&self, into: &mut Outbound, later: &Outbound) {
        match (&mut *into, later) {
            (_, Outbound::None(None)) => {}
            (Outbound::Named(mine), Outbound::Named(later)) => DESTINATIONS.merge(mine, later),
            (_, later) => into.clone_from(later),
        }
    }

    fn show(&self, page: &mut Page, key: &str, value: &Outbound) {
        match value {
            Outbound::None(_) => {}
            Outbound::Host(origin) => page.entry(key, "host", Some(origin)),
            Outbound::Named(named) => DESTINATIONS.show(page, key, named),
        }
    }
}

/// `secrets.use`: a map by alias.
pub(super) struct Secrets;

impl Form for Secrets {
    type Value = BTreeMap<String, Declared<SecretUse>>;

    fn schema(&self) -> Json {
        map_schema(texts::ALIAS, Part::<SecretUse>::NEW.schema())
    }

    fn section(&self) -> Option<&'static Section> {
        Some(SecretUse::SECTION)
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> Self::Value {
        let mut found = BTreeMap::new();
        for (key, node) in out
            .map(node, "a map of secrets by alias")
            .into_iter()
            .flatten()
        {
            let alias = out.accept(key.span, &key.text, names::alias(&key.text));
            let secret = SecretUse::read(out, node);
            if let Value::Map(_) = &node.value {
                let named = |name: &str| node.entry(name).is_some();
                if !named("to") {
                    (out.report(node.span, "a secret without `to`"))
                        .help("name the one host that it may be sent to: `to: api.github.com`");
                }
                if !named("header") && !named("query") && !named("env") {
                    (out.report(node.span, "a secret that goes nowhere")).help(
                        "give `header: \"Authorization: Bearer {}\"`, `query: NAME` or `env: NAME`",
                    );
                }
                if named("like") && !named("env") {
                    (out.report(node.span, "`like` without `env`"))
                        .help("name the variable that holds the placeholder: `env: NAME`; or remove `like`");
                }
            }
            if let Some(alias) = alias {
                found.insert(alias, out.declared(key.span, secret));
            }
        }
        found
    }

    fn merge(&self, into: &mut Self::Value, later: &Self::Value) {
        into.extend(later.clone());
    }

    fn show(&self, page: &mut Page, key: &str, value: &Self::Value) {
        page.section(key, None, value, |page, (alias, secret)| {
            let origin = Some(&secret.origin);
            page.section(alias, origin, Some(&secret.value), |page, s| s.show(page));
        });
    }
}

/// `environment.set`: a map of variables to values.
pub(super) struct Variables;

impl Form for Variables {
    type Value = BTreeMap<String, Declared<String>>;

    fn schema(&self) -> Json {
        map_schema(texts::VARIABLE_NAME, scalar_schema())
    }

    fn read(&self, out: &mut Reporter<'_>, _: &str, node: &Node) -> Self::Value {
        let mut found = BTreeMap::new();
        for (key, value) in out
            .map(node, "a map of variables to values")
            .into_iter()
            .flatten()
        {
            let name = out.accept(key.span, &key.text, names::variable(&key.text));
            let text = out.scalar(value, "a value");
            if let (Some(name), Some(text)) = (name, text) {
                found.insert(name, out.declared(key.span, text.to_owned()));
            }
        }
        found
    }

    fn merge(&self, into: &mut Self::Value, later: &Self::Value) {
        into.extend(later.clone());
    }

    fn show(&self, page: &mut Page, key: &str, value: &Self::Value) {
        page.section(key, None, value, |page, (name, value)| {
            page.entry(name, &scalar(&value.value), Some(&value.origin));
        });
    }
}

fn map_schema(names: &str, values: Json) -> Json {
    json!({"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": values})
}
