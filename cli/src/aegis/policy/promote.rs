//! `aegis policy promote`: enforces a rule that was on trial, or the reverse, in the file that declares it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_policy::model::Mode;
use aegis_policy::{load, promote, templates};
use aegis_profile::{Files, Source};
use aegis_sys::files::open_regular;
use aegis_sys::private::put_like;
use anyhow::{anyhow, bail, ensure};
use serde_json::json;

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
    let unchanged = |why| anyhow!("{shown} cannot be changed, and is as it was: {why}");
    // What is read now is what is replaced: several may promote at once.
    let locked = Locked::new(&file).map_err(unchanged)?;
    let Some(changed) = promote::set_mode(&read(&file)?, &shown, rule, mode)? else {
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

/// How long to wait for somebody else who changes the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that nobody else changes meanwhile, if they use this lock too.
struct Locked<'f> {
    file: &'f Path,
    held: File,
}

impl<'f> Locked<'f> {
    /// Waits for the lock. A link is neither replaced by a file nor followed to change its target.
    fn new(file: &'f Path) -> Result<Self, String> {
        let since = Instant::now();
        loop {
            let metadata = fs::symlink_metadata(file).map_err(|error| error.to_string())?;
            if metadata.is_symlink() {
                let target = fs::read_link(file).map_err(|error| error.to_string())?;
                return Err(format!("it is a link to {}: name that", target.display()));
            }
            let held = open_regular(file).map_err(|error| error.to_string())?;
            match held.try_lock() {
                // Whoever had it may have replaced the file.
                Ok(()) if is_named(&held, file) => return Ok(Self { file, held }),
                Ok(()) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(format!("it cannot be locked: {error}"));
                }
                // Not for ever: whoever may read the file can lock it.
                Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                    return Err(format!(
                        "it has been locked by another program for {} seconds\n  help: see which with `fuser -v {}`",
                        PATIENCE.as_secs(),
                        file.display()
                    ));
                }
                // Nothing tells of its end in time: `flock(2)` waits for ever.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Replaces the file in one step: whoever reads the policy meanwhile gets the old one or the new one. Mode and owner
    /// stay.
    fn write(&self, text: &str) -> Result<(), String> {
        let directory = super::directory_of(self.file);
        let stat = rustix::fs::fstat(&self.held).map_err(|error| error.to_string())?;
        let name = self.file.file_name().ok_or("it is a directory")?;
        let replaced = File::open(directory).and_then(|directory| {
            put_like(&directory, name, text.as_bytes(), &stat)?;
            // Without this, a crash may bring back the old one, and nothing worse.
            let _ = directory.sync_all();
            Ok(())
        });
        replaced.map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => format!(
                    "\n  help: run this as root, or as user {}, who has to be able to write in {}",
                    stat.st_uid,
                    directory.display()
                ),
                _ => String::new(),
            };
            format!("{error}{help}")
        })
    }
}

/// Whether the open file still has the name.
fn is_named(file: &File, path: &Path) -> bool {
    let named = fs::symlink_metadata(path).ok();
    (file.metadata().ok().zip(named))
        .is_some_and(|(file, named)| (file.dev(), file.ino()) == (named.dev(), named.ino()))
}
