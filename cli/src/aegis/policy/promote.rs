//! `aegis policy promote`: enforces a rule that was on trial, or the reverse, in the file that declares it.

use std::path::{Path, PathBuf};

use aegis_policy::model::Mode;
use aegis_policy::{load, promote, templates};
use aegis_profile::{Files, Source};
use anyhow::{anyhow, bail, ensure};
use serde_json::json;

use super::as_text;
use crate::aegis::in_place::Locked;
use crate::aegis::{CommandResult, answer};

pub(super) fn promote(reference: &str, rule: &str, back: bool, json: bool) -> CommandResult {
    if templates::find(reference).is_some() {
        bail!(
            "`{reference}` is part of Aegis and stays as it is: `aegis policy new --template {reference} -o policy.yaml` makes a policy of your own of it"
        );
    }
    ensure!(
        reference != "-",
        "standard input cannot be changed: name the file"
    );
    // The whole policy must be valid before and after.
    super::document(reference)?;
    let file = file_of(reference, rule)?;
    let shown = file.to_string_lossy();
    let (mode, state) = match back {
        true => (Mode::Warn, "is in mode warn already"),
        false => (Mode::Enforce, "is enforced already"),
    };
    let unchanged = |why| anyhow!("{shown} cannot be changed, and is as it was: {why}");
    // What is read now is what is replaced: several may promote at once.
    let locked = Locked::new(&file).map_err(unchanged)?;
    let Some(changed) = promote::set_mode(&locked.text().map_err(unchanged)?, &shown, rule, mode)?
    else {
        let value = json!({"file": shown, "rule": rule, "changed": false});
        answer(json, &value, || format!("{shown}: `{rule}` {state}\n"))?;
        return Ok(true);
    };
    locked.write(&changed.text).map_err(unchanged)?;
    drop(locked);
    let value = json!({
        "file": shown,
        "rule": rule,
        "changed": true,
        "line": changed.line,
        "before": changed.before,
        "after": changed.after,
    });
    answer(json, &value, || {
        let does = if back { "only warns" } else { "is enforced" };
        let mut text = format!("{shown}:{}: `{rule}` {does} from now on\n", changed.line);
        for (sign, line) in [("-", &changed.before), ("+", &changed.after)] {
            text.extend(line.iter().map(|line| format!("{sign} {line}\n")));
        }
        text
    })?;
    Ok(true)
}

/// The file that has the rule: the named file, or one in the named directory.
fn file_of(reference: &str, rule: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(reference);
    if !path.is_dir() {
        return Ok(path);
    }
    for file in load::files_of(&path, &Files)? {
        let document = load::parse_str(&read(&file)?, &file.to_string_lossy())?;
        if document.ids().any(|id| id == rule) {
            return Ok(file);
        }
    }
    bail!("no file of {reference} has a rule `{rule}`")
}

fn read(file: &Path) -> anyhow::Result<String> {
    as_text(Files.read(file)).map_err(|why| anyhow!("{} cannot be read: {why}", file.display()))
}
