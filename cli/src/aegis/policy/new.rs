//! `aegis policy new`: a template as a file to begin with.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use aegis_policy::templates;

use anyhow::{Context as _, anyhow};

use crate::aegis::{Answer, print_bytes};

pub(super) fn new(name: &str, output: Option<&Path>) -> Answer {
    let template = templates::find(name).with_context(|| {
        let known: Vec<_> = templates::ALL.iter().map(|t| t.name).collect();
        let known = known.join(", ");
        format!("there is no template `{name}`: the templates are {known}")
    })?;
    // The copy is the operator's own policy, and known by their name for it.
    let own = output
        .and_then(|path| path.file_stem()?.to_str())
        .filter(|stem| stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .filter(|stem| stem.bytes().any(|b| b.is_ascii_alphabetic()) && !stem.starts_with('-'))
        .unwrap_or("my-policy");
    let text = template.yaml.replacen(
        &format!("\nname: {}\n", template.name),
        &format!("\nname: {own}\n"),
        1,
    );
    let Some(path) = output else {
        print_bytes(text.as_bytes())?;
        return Ok(true);
    };
    let fail = |error: std::io::Error| anyhow!("{} cannot be written: {error}", path.display());
    let mut file = (OpenOptions::new().write(true).create_new(true))
        .open(path)
        .map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    Ok(true)
}
