//! The profiles that are part of Aegis, by name: text compiled in, from `profiles/builtin/`.
//!
//! People read and extend the YAML. A start loads `builtin/merged/`: the same profiles, parsed and merged
//! beforehand, since nearly every start needs one of them.

mod merged;

use crate::format::Profile;

struct Builtin {
    name: &'static str,
    text: &'static str,
    merged: &'static str,
}

macro_rules! builtin {
    ($name:literal) => {
        Builtin {
            name: $name,
            text: include_str!(concat!("../builtin/", $name, ".yaml")),
            merged: include_str!(concat!("../builtin/merged/", $name, ".txt")),
        }
    };
}

/// In the order in which they are listed.
static ALL: [Builtin; 16] = [
    builtin!("base"),
    builtin!("shell"),
    builtin!("python"),
    builtin!("node"),
    builtin!("git"),
    builtin!("build"),
    builtin!("go"),
    builtin!("java"),
    builtin!("perl"),
    builtin!("ruby"),
    builtin!("uv"),
    builtin!("mcp-node"),
    builtin!("mcp-python"),
    builtin!("browser"),
    builtin!("project"),
    builtin!("caches"),
];

fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

/// The names of the built-in profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|builtin| builtin.name)
}

/// The text of a built-in profile.
pub fn text(name: &str) -> Option<&'static str> {
    find(name).map(|builtin| builtin.text)
}

/// A built-in profile, merged with everything that it extends. `None`: it has to be parsed.
pub(crate) fn merged(name: &str) -> Option<Profile> {
    find(name).and_then(|builtin| merged::read(builtin.merged))
}
