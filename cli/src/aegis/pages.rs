//! Completions and manual pages, made from [`crate::options`].

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::{Answer, Failure};
use crate::options;
use crate::terminal::print;

/// Completions for both programs, in one script.
pub(super) fn completions(shell: Shell) -> Answer {
    let mut out = Vec::new();
    for (name, mut command) in [
        ("aegis", options::aegis()),
        ("aegis-run", options::aegis_run()),
    ] {
        clap_complete::generate(shell, &mut command, name, &mut out);
    }
    print(&out)?;
    Ok(true)
}

/// Writes every page to a directory, or lists their names.
pub(super) fn man(directory: Option<&Path>) -> Answer {
    let mut pages = Vec::new();
    for mut command in [options::aegis(), options::aegis_run()] {
        // Gives each subcommand its full name.
        command.build();
        collect(&command, &mut pages)?;
    }
    let Some(directory) = directory else {
        let names: String = pages.iter().map(|(name, _)| format!("{name}\n")).collect();
        print(names.as_bytes())?;
        return Ok(true);
    };
    let fail = |what: &Path, error: std::io::Error| {
        Failure::Other(format!("{} cannot be written: {error}", what.display()))
    };
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    for (name, text) in pages {
        let path = directory.join(name);
        fs::write(&path, text).map_err(|error| fail(&path, error))?;
    }
    Ok(true)
}

/// The page of a command, and those of its subcommands: `aegis-profile-check.1`.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let page = clap_mangen::Man::new(command.clone()).manual("Aegis");
    let mut text = Vec::new();
    page.render(&mut text)
        .map_err(|error| Failure::Other(format!("a page cannot be made: {error}")))?;
    pages.push((page.get_filename(), text));
    for subcommand in command.get_subcommands() {
        collect(subcommand, pages)?;
    }
    Ok(())
}
