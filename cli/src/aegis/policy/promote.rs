//! `aegis policy promote`: enforces a rule that was on trial, or the reverse, in the file that declares it.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aegis_policy::model::Mode;
use aegis_policy::{load, promote, templates};
use aegis_profile::{Files, Source};
use anyhow::{anyhow, bail, ensure};
use serde_json::json;
use tempfile::NamedTempFile;

use super::as_text;
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
    let Some(changed) = promote::set_mode(&read(&file)?, &shown, rule, mode)? else {
        let value = json!({"file": shown, "rule": rule, "changed": false});
        answer(json, &value, || format!("{shown}: `{rule}` {state}\n"))?;
        return Ok(true);
    };
    write(&file, &changed.text)
        .map_err(|why| anyhow!("{shown} cannot be changed, and is as it was: {why}"))?;
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
        let mut ids = (document.capabilities.iter().map(|r| &r.id))
            .chain(document.network_egress.iter().map(|r| &r.id))
            .chain(document.secrets_boundary.iter().map(|r| &r.id));
        if ids.any(|id| id == rule) {
            return Ok(file);
        }
    }
    bail!("no file of {reference} has a rule `{rule}`")
}

fn read(file: &Path) -> anyhow::Result<String> {
    as_text(Files.read(file)).map_err(|why| anyhow!("{} cannot be read: {why}", file.display()))
}

/// Replaces the file in one step: whoever reads the policy meanwhile gets the old one or the new one. Mode
/// and owner stay. A link is neither replaced by a file nor followed to change its target.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let metadata = fs::symlink_metadata(file).map_err(|error| error.to_string())?;
    if metadata.is_symlink() {
        let target = fs::read_link(file).map_err(|error| error.to_string())?;
        return Err(format!("it is a link to {}: name that", target.display()));
    }
    let directory = match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let who_may_write = format!("somebody who may write in {}", directory.display());
    // The error names the path.
    let mut new = NamedTempFile::with_prefix_in(".aegis-policy-", directory)
        .map_err(|error| failed("no file can be made beside it", &error, &who_may_write))?;
    let unwritten = |error| failed("the new text cannot be written", &error, &who_may_write);
    new.write_all(text.as_bytes()).map_err(unwritten)?;
    let own = new.as_file().metadata().map_err(unwritten)?;
    if (own.uid(), own.gid()) != (uid, gid) {
        fchown(new.as_file(), Some(uid), Some(gid)).map_err(|error| {
            let what = format!(
                "it belongs to user {uid} and group {gid}, and the new file cannot be given to them"
            );
            failed(&what, &error, &format!("user {uid}"))
        })?;
    }
    let mode = Permissions::from_mode(metadata.mode() & 0o7777);
    new.as_file().set_permissions(mode).map_err(unwritten)?;
    new.as_file().sync_all().map_err(unwritten)?;
    new.persist(file).map_err(|error| {
        let what = "the new file cannot take its place";
        failed(what, &error.error, &format!("user {uid}"))
    })?;
    // The new text is in place; without this sync a crash may bring back the old one, and nothing worse.
    let _ = fs::File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// An error: what failed, why, and who could do it.
fn failed(what: &str, error: &io::Error, who: &str) -> String {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => format!("\n  help: run this as root or as {who}"),
        _ => String::new(),
    };
    format!("{what}: {error}{help}")
}
