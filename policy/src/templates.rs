//! The policies that are part of Aegis, by name.
//!
//! People read and copy the YAML of `policy/templates/`. Every start of a sandbox reads the canonical JSON
//! beside it, which is several times as fast; a test keeps the two the same.

use crate::model::Document;

/// A policy that is part of Aegis.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its YAML.
    pub yaml: &'static str,
    /// Its table of requests and verdicts.
    pub table: &'static str,
    /// The document of [`Template::yaml`], as canonical JSON.
    pub(crate) json: &'static str,
}

/// The policy that is in force when none is named.
pub const DEFAULT: &str = "standard";

macro_rules! templates {
    ($($name:literal: $about:literal,)*) => {
        /// Every template, the strictest first.
        pub const ALL: &[Template] = &[$(Template {
            name: $name,
            about: $about,
            yaml: include_str!(concat!("../templates/", $name, ".yaml")),
            table: include_str!(concat!("../templates/", $name, ".test.yaml")),
            json: include_str!(concat!("../templates/", $name, ".json")),
        }),*];
    };
}

templates! {
    "strict": "everything is reviewed but reading the skill and running the system's programs",
    "standard": "what a profile declares of its own places and the system's is allowed, the rest reviewed",
    "permissive": "what a profile declares is allowed; well-known secrets stay blocked",
}

/// The template of this name.
pub fn find(name: &str) -> Option<&'static Template> {
    ALL.iter().find(|template| template.name == name)
}

impl Template {
    /// The policy.
    pub fn document(&self) -> Document {
        match serde_json::from_str(self.json) {
            Ok(document) => document,
            Err(error) => unreachable!("the template {} is a policy: {error}", self.name),
        }
    }
}
