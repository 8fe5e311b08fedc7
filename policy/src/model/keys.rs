//! The keys of the maps of a policy's file, each declared once: its name, what it is for, what its value looks like.
//! The reader of files, the printer, the JSON Schema and the canonical form come from these declarations.

use aegis_profile::schema::object;
use aegis_profile::syntax::{Node, Reporter};
use serde_json::{Value, json};

use super::fields::Fields;

/// How a value is written in a policy's file.
pub(crate) trait Form<T> {
    /// Reads it. Reports what is wrong, and then returns `None`.
    fn read(&self, node: &Node, key: &str, out: &mut Reporter<'_>) -> Option<T>;
    /// As YAML, in one line.
    fn show(&self, value: &T) -> String;
    /// As JSON Schema.
    fn schema(&self) -> Value;
}

/// One key.
pub(crate) struct Key<S> {
    pub name: &'static str,
    pub about: &'static str,
    /// The fix where it is missing; `None`: it may be missing.
    pub need: Option<&'static str>,
    pub read: fn(&mut S, &Node, &mut Reporter<'_>),
    /// `None`: it has its default value.
    pub show: fn(&S) -> Option<String>,
    pub schema: fn() -> Value,
}

/// A map whose keys are known.
pub(crate) trait Keyed: Sized + Default + 'static {
    const ABOUT: &str;
    /// In the order of the canonical form.
    const KEYS: &[Key<Self>];
    /// The names, in the order in which people write them.
    const WRITTEN: &[&str];

    /// Conditions of its schema, beside the keys.
    fn conditions() -> Value {
        json!({})
    }

    /// The keys, in the order in which people write them.
    fn keys() -> impl Iterator<Item = &'static Key<Self>> {
        let named = |name: &&str| Self::KEYS.iter().find(|key| key.name == *name);
        Self::WRITTEN.iter().filter_map(named)
    }

    /// Reads all keys, even where some are wrong, so that all mistakes are reported.
    fn read(fields: &Fields<'_>, out: &mut Reporter<'_>) -> Self {
        let mut all = Self::default();
        for key in Self::keys() {
            let node = match key.need {
                Some(help) => fields.need(key.name, help, out),
                None => fields.get(key.name),
            };
            if let Some(node) = node {
                (key.read)(&mut all, node, out);
            }
        }
        all
    }

    /// Each key with its value, as in a file.
    fn shown(&self) -> Vec<(&'static str, String)> {
        let shown = Self::keys().map(|key| Some((key.name, (key.show)(self)?)));
        shown.flatten().collect()
    }

    /// As JSON Schema.
    fn schema() -> Value {
        object(
            Self::ABOUT,
            Self::keys().map(|key| (key.name, key.about, key.need.is_some(), (key.schema)())),
            Self::conditions(),
        )
    }
}

/// Whether a key may be left out: it has its default value.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(super) const fn first(words: &'static [&'static str]) -> Option<&'static str> {
    match words {
        [first, ..] => Some(first),
        [] => None,
    }
}

/// Declares a map: its type, whose fields stand in the order of the canonical form, and its keys. `unless`: the
/// key is left out of the canonical form where this holds; `need`: the fix where it is missing; `as`: its name
/// in the canonical form, unless that is the field's.
macro_rules! keyed {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident, written $written:expr $(, conditions $conditions:expr)? ;
        $(
            $(#[doc = $what:literal])+
            $key:literal $field:ident: $type:ty = $form:expr
                $(, as $canonical:literal)? $(, unless $unless:literal)? $(, need $need:literal)?;
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name {
            $(
                $(#[doc = $what])+
                $(#[serde(rename = $canonical)])?
                $(#[serde(default, skip_serializing_if = $unless)])?
                pub $field: $type,
            )+
        }

        impl Keyed for $name {
            const ABOUT: &str = concat!($($about),+);
            const KEYS: &[Key<Self>] = &[$(Key {
                name: $key,
                about: concat!($($what),+),
                need: first(&[$($need)?]),
                read: |all, node, out| {
                    if let Some(value) = Form::<$type>::read(&$form, node, $key, out) {
                        all.$field = value;
                    }
                },
                show: |all| {
                    let needed = first(&[$($need)?]).is_some();
                    (needed || !is_default(&all.$field)).then(|| $form.show(&all.$field))
                },
                schema: || Form::<$type>::schema(&$form),
            }),+];
            const WRITTEN: &[&str] = &$written;

            $(fn conditions() -> Value {
                $conditions
            })?
        }
    };
}
pub(super) use keyed;
