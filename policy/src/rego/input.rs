//! `input`: the canonical form of a request's context and of what it asks for, as a value of the engine.

use std::borrow::Cow;
use std::collections::BTreeMap;

use regorus::Value;
use serde::Serialize;

use super::limits::{GRANTS, INPUT_TEXT, WORDS};
use crate::request::{Context, What};

/// The fields of `input.context`; each holds a single value.
pub(super) const CONTEXT: [&str; 6] = ["home", "profile", "profile_hash", "skill", "uid", "work"];

/// The fields of `input.what`, for all requests that Rego is asked about.
pub(super) const WHAT: [&str; 16] = [
    "action",
    "address",
    "alias",
    "command",
    "grants",
    "host",
    "inject",
    "method",
    "name",
    "path",
    "port",
    "request_size",
    "requests_last_minute",
    "response_size",
    "scheme",
    "tree",
];

/// The most fields that a grant has, with a margin.
pub(super) const GRANT_FIELDS: u64 = 12;

/// The input, or why there is none.
pub(super) fn input(context: &Context, what: &What) -> Result<Value, &'static str> {
    #[derive(Serialize)]
    struct Input<'r> {
        context: &'r Context,
        what: &'r What,
    }
    if let What::Tool { command, grants } = what
        && (command.len() > WORDS || grants.len() > GRANTS)
    {
        return Err("the run has more words or grants than rules in Rego can be asked about");
    }
    let what = &named(what);
    // One name of each place: the real one.
    let context = &Context {
        aliases: Vec::new(),
        ..context.clone()
    };
    let json = serde_json::to_value(Input { context, what })
        .map_err(|_| "the request has no JSON form")?;
    let mut text = 0;
    let value = convert(json, &mut text);
    match text > INPUT_TEXT {
        true => Err("the request is longer than rules in Rego can be asked about"),
        false => Ok(value),
    }
}

/// What is asked for, with the names of programs of the system that are asked for by path: one thing has one name, as for
/// native rules, however a profile names it. A tree is asked for as a whole: lists in each grant would leave modules no room.
fn named(what: &What) -> Cow<'_, What> {
    match what {
        tree if tree.place().is_some_and(|place| !place.except.is_empty()) => {
            let mut tree = tree.clone();
            if let Some((except, ..)) = tree.place_mut() {
                except.clear();
            }
            Cow::Owned(tree)
        }
        What::Exec {
            name: None,
            path,
            tree: false,
            ..
        } => {
            let (true, name) = path.program() else {
                return Cow::Borrowed(what);
            };
            Cow::Owned(What::Exec {
                except: Vec::new(),
                name: String::from_utf8(name.to_vec()).ok(),
                path: path.clone(),
                tree: false,
            })
        }
        What::Tool { command, grants } => Cow::Owned(What::Tool {
            command: command.clone(),
            grants: grants
                .iter()
                .map(|grant| named(grant).into_owned())
                .collect(),
        }),
        what => Cow::Borrowed(what),
    }
}

fn convert(json: serde_json::Value, text: &mut usize) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::from(bool),
        // Numbers in requests are whole and not negative.
        Json::Number(number) => number.as_u64().map_or(Value::Undefined, Value::from),
        Json::String(string) => {
            *text += string.len();
            Value::from(string)
        }
        Json::Array(items) => {
            let items: Vec<Value> = items.into_iter().map(|item| convert(item, text)).collect();
            Value::from(items)
        }
        Json::Object(fields) => {
            let fields: BTreeMap<Value, Value> = fields
                .into_iter()
                .map(|(key, value)| (Value::from(key), convert(value, text)))
                .collect();
            Value::from(fields)
        }
    }
}
