//! `aegis policy show`, `aegis policy hash`, `aegis policy schema`.

use serde_json::json;

use super::super::{Answer, print_json};
use super::{document, hash_of};
use crate::terminal::{harmless, print};

pub(super) fn show(reference: &str, json: bool) -> Answer {
    let document = document(reference)?;
    let hash = hash_of(&document)?;
    if json {
        print_json(&json!({"hash": hash, "policy": document}))?;
    } else {
        print(harmless(&aegis_policy::show::show(&document)).as_bytes())?;
    }
    Ok(true)
}

pub(super) fn hash(reference: &str) -> Answer {
    let hash = hash_of(&document(reference)?)?;
    print(format!("{hash}\n").as_bytes())?;
    Ok(true)
}

pub(super) fn schema() -> Answer {
    let schema = aegis_policy::schema::bundled();
    print(aegis_policy::schema::text(&schema).as_bytes())?;
    Ok(true)
}
