//! Where the profile and its baseline go.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use aegis_sys::private::{self, Put};
use anyhow::Context as _;

use crate::options::AegisLearn;
use crate::terminal::print;

/// Writes the profile, or prints it.
pub(super) fn written(options: &AegisLearn, text: &str) -> anyhow::Result<()> {
    let Some(place) = &options.output else {
        return Ok(print(text.as_bytes())?);
    };
    put(place, text, how(options))
}

/// Writes a file as a whole.
pub(super) fn put(place: &Path, text: &str, how: Put) -> anyhow::Result<()> {
    let (directory, name) = directory_and_name(place)?;
    let shown = place.display();
    let put = private::put_public(&directory, name, text.as_bytes(), how)
        .with_context(|| format!("{shown} cannot be written"))?;
    anyhow::ensure!(put, "{shown} has appeared meanwhile, and was left alone");
    Ok(())
}

pub(super) fn how(options: &AegisLearn) -> Put {
    match options.force {
        true => Put::Replace,
        false => Put::New,
    }
}

pub(super) fn can_be_written(place: &Path, force: bool) -> anyhow::Result<()> {
    let (directory, name) = directory_and_name(place)?;
    if !force && fs::symlink_metadata(place).is_ok() {
        anyhow::bail!(
            "{} is there already\n  help: --force replaces it; --against {} says what is between it and what the command does",
            place.display(),
            place.display()
        );
    }
    private::can_put(&directory, name)
        .with_context(|| format!("{} cannot be written", place.display()))
}

fn directory_and_name(place: &Path) -> anyhow::Result<(OwnedFd, &OsStr)> {
    let name = place
        .file_name()
        .with_context(|| format!("{} is not the name of a file", place.display()))?;
    let parent = place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = aegis_sys::walk::directory(parent.unwrap_or(Path::new(".")), false);
    let directory = directory.with_context(|| format!("{} cannot be written", place.display()))?;
    Ok((directory, name))
}
