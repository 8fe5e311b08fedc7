//! `aegis audit verify`: the two answers, and what they rest on.

use std::path::Path;

use aegis_audit::log::{Answer as Which, Expected, PublicKey, Remembered, SetAside, Verified};

use super::super::print_json;
use super::{Answer, Failure, Place, failed, state};
use crate::terminal::{harmless, print};

pub(super) fn verify(
    log: &Place,
    keys: &[String],
    min_checkpoint: Option<Remembered>,
    first: u64,
    json: bool,
) -> Answer {
    let keys = match keys.is_empty() {
        true => own_key()?,
        false => keys
            .iter()
            .map(|key| named(key))
            .collect::<Result<_, _>>()?,
    };
    let expected = Expected {
        keys,
        min_checkpoint,
        first,
    };
    let path = log.resolve()?;
    let verified = aegis_audit::log::verify(log.reader()?, &expected)
        .map_err(|error| failed(&path, &error))?;
    match json {
        true => print_json(&verified)?,
        false => print(harmless(&text(&verified, &expected)).as_bytes())?,
    }
    Ok(verified.intact && verified.complete)
}

/// The key that whoever runs this signs with, where there is one.
fn own_key() -> Result<Vec<PublicKey>, Failure> {
    let Ok(state) = state() else {
        return Ok(Vec::new());
    };
    let key = PublicKey::in_directory(&state.keys);
    let key = key.map_err(|error| Failure::Other(error.to_string()))?;
    Ok(key.into_iter().collect())
}

fn named(key: &str) -> Result<PublicKey, Failure> {
    match key.parse() {
        Ok(key) => Ok(key),
        Err(_) => PublicKey::in_file(Path::new(key)).map_err(|e| Failure::Other(e.to_string())),
    }
}

fn text(verified: &Verified, expected: &Expected) -> String {
    let mut text = String::new();
    for (name, yes, which) in [
        ("intact", verified.intact, Which::Intact),
        ("complete", verified.complete, Which::Complete),
    ] {
        text += &format!("{name}: {}\n", if yes { "yes" } else { "no" });
        let findings = verified.findings.iter().filter(|f| f.against == which);
        for finding in findings {
            text += &format!("  {finding}\n");
        }
    }
    if verified.more_findings > 0 {
        text += &format!("and {} more findings\n", verified.more_findings);
    }
    if expected.keys.is_empty() {
        text += "no key is known whose signature would count: name one with --key\n";
    }
    text += &format!(
        "{} records, {} checkpoints",
        verified.records, verified.checkpoints
    );
    if let Some(log) = &verified.log {
        text += &format!(" of log {log}");
    }
    for key in &verified.keys {
        text += &format!(", signed with {key}");
    }
    text.push('\n');
    if let Some(last) = &verified.last_checkpoint {
        text += &format!(
            "the last checkpoint is {} (record {}, {})\n",
            last.remembered(),
            last.seq,
            last.time
        );
    }
    for SetAside { place, seq, files } in &verified.set_aside {
        for file in files {
            text += &format!(
                "set aside as torn, after a crash or a change of the end: {} bytes, in {} ({place}, record \
                 {seq})\n",
                file.bytes, file.name
            );
        }
    }
    if verified.more_set_aside > 0 {
        text += &format!("and {} times more\n", verified.more_set_aside);
    }
    if !verified.open_runs.is_empty() {
        let runs: Vec<&str> = verified
            .open_runs
            .iter()
            .map(|run| run.run.as_str())
            .collect();
        text += &format!(
            "runs that have not ended, or were killed: {}\n",
            runs.join(", ")
        );
    }
    text
}
