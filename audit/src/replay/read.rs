//! Reading requests quickly.
//!
//! The key `action` says which form of [`What`] an object has. Since that key could be anywhere, the derived
//! serde code buffers the whole object until it finds the key, and this would be most of the time of a replay.
//! In canonical form `action` is the first key, and the rest can be read directly. Any other
//! order is left to the derived code, which has the last word on what a request is.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use aegis_policy::path::HostPath;
use aegis_policy::request::{Approval, Context, Destination, Request, What};

/// Reads a request; the result is the same as serde's.
pub(super) fn request(text: &str) -> Result<Request, serde_json::Error> {
    match serde_json::from_str(text) {
        Ok(Canonical {
            approvals,
            context,
            what: ActionFirst(what),
        }) => Ok(Request {
            approvals,
            context,
            what,
        }),
        Err(_) => serde_json::from_str(text),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Canonical {
    #[serde(default)]
    approvals: Vec<Approval>,
    context: Context,
    what: ActionFirst,
}

/// A [`What`] whose first key is `action`.
struct ActionFirst(What);

#[derive(Deserialize)]
enum Action {
    #[serde(rename = "environment.pass")]
    Environment,
    #[serde(rename = "files.read")]
    Read,
    #[serde(rename = "files.write")]
    Write,
    #[serde(rename = "limits")]
    Limit,
    #[serde(rename = "net.outbound")]
    Net,
    #[serde(rename = "shell.exec")]
    Exec,
    #[serde(rename = "tool.exec")]
    Tool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    except: Vec<HostPath>,
    path: HostPath,
    tree: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: String,
    #[serde(default)]
    value: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    #[serde(default)]
    except: Vec<HostPath>,
    #[serde(default)]
    name: Option<String>,
    path: HostPath,
    tree: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    command: Vec<HostPath>,
    grants: Vec<ActionFirst>,
}

impl<'de> Deserialize<'de> for ActionFirst {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfMap)
    }
}

struct OfMap;

impl<'de> Visitor<'de> for OfMap {
    type Value = ActionFirst;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that begins with `action`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ActionFirst, A::Error> {
        if map.next_key::<&str>()? != Some("action") {
            // The derived code reports what is wrong, if anything.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Err(A::Error::custom("not canonical"));
        }
        let action = map.next_value()?;
        let rest = MapAccessDeserializer::new(map);
        Ok(ActionFirst(match action {
            Action::Environment => {
                let Named { name } = Named::deserialize(rest)?;
                What::Environment { name }
            }
            Action::Read => {
                let File { except, path, tree } = File::deserialize(rest)?;
                What::Read { except, path, tree }
            }
            Action::Write => {
                let File { except, path, tree } = File::deserialize(rest)?;
                What::Write { except, path, tree }
            }
            Action::Limit => {
                let Limit { limit, value } = Limit::deserialize(rest)?;
                What::Limit { limit, value }
            }
            Action::Net => What::Net(Destination::deserialize(rest)?),
            Action::Exec => {
                let Exec {
                    except,
                    name,
                    path,
                    tree,
                } = Exec::deserialize(rest)?;
                What::Exec {
                    except,
                    name,
                    path,
                    tree,
                }
            }
            Action::Tool => {
                let Tool { command, grants } = Tool::deserialize(rest)?;
                What::Tool {
                    command,
                    grants: grants.into_iter().map(|ActionFirst(what)| what).collect(),
                }
            }
        }))
    }
}
