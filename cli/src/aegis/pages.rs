//! Completions and manual pages, made from the command lines of the programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;

use aegis_sys::private::{Put, put_public};
use anyhow::Context as _;
use clap::Command;
use clap::builder::Resettable;
use clap_complete::Shell;

use super::{CommandResult, command, complete, print, print_bytes};
use crate::options::programs;

/// Completions for one program, or for all in one script.
pub(super) fn completions(shell: Shell, program: Option<&str>) -> CommandResult {
    let mut out = Vec::new();
    for mut command in std::iter::once(command()).chain(programs()) {
        let name = command.get_name().to_owned();
        if program.is_some_and(|program| program != name) {
            continue;
        }
        let script = match shell {
            Shell::Bash => complete::BASH,
            Shell::Fish => complete::FISH,
            Shell::Zsh => complete::ZSH,
            // Words and options alone.
            _ => {
                clap_complete::generate(shell, &mut command, name, &mut out);
                continue;
            }
        };
        let script = script.replace("FUNCTION", &format!("_{name}"));
        out.extend(script.replace("PROGRAM", &name).into_bytes());
    }
    print_bytes(&out)?;
    Ok(true)
}

/// Writes every page to a directory, or lists their names.
pub(super) fn man(directory: Option<&Path>) -> CommandResult {
    let mut pages = Vec::new();
    for mut command in std::iter::once(command()).chain(programs()) {
        // Sets the full name of each subcommand.
        command.build();
        collect(&command, &mut pages)?;
    }
    let Some(directory) = directory else {
        let names: String = pages.iter().map(|(name, _)| format!("{name}\n")).collect();
        print(&names)?;
        return Ok(true);
    };
    let fail = |what: &Path, error: std::io::Error| {
        anyhow::anyhow!("{} cannot be written: {error}", what.display())
    };
    fs::create_dir_all(directory).map_err(|error| fail(directory, error))?;
    let opened = File::open(directory).map_err(|error| fail(directory, error))?;
    for (name, text) in pages {
        put_public(&opened, OsStr::new(&name), &text, Put::Replace)
            .map_err(|error| fail(&directory.join(&name), error))?;
    }
    Ok(true)
}

/// The page of a command, and those of its subcommands: `aegis-profile-check.1`.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    // Rendered separately, since clap_mangen would fill examples and tables like prose.
    let after = command.get_after_help().map(ToString::to_string);
    let page = clap_mangen::Man::new(command.clone().after_help(Resettable::Reset)).manual("Aegis");
    let mut text = Vec::new();
    page.render(&mut text).context("a page cannot be made")?;
    text.extend(sections(&after.unwrap_or_default()).into_bytes());
    text.extend(FILES.as_bytes());
    text.extend(see_also(command).into_bytes());
    pages.push((page.get_filename(), text));
    let shown = |command: &&Command| !command.is_hide_set();
    for subcommand in command.get_subcommands().filter(shown) {
        collect(subcommand, pages)?;
    }
    Ok(())
}

/// Where Aegis keeps its files, on every page.
const FILES: &str = r".SH FILES
.TP
.I /etc/aegis/policy.yaml, /etc/aegis/policy.d/*.yaml
The system\(aqs policy. It must belong to root.
.TP
.I \(ti/.config/aegis/policy.yaml, \(ti/.config/aegis/policy.d/*.yaml
Your own policy; below $XDG_CONFIG_HOME where that is set.
.TP
.I \(ti/.local/state/aegis
Your audit log, its keys, and what you have approved; below $XDG_STATE_HOME where that is set.
.TP
.I /var/log/aegis/audit, /var/lib/aegis
The same of root.
.TP
.I /run/aegis, $XDG_RUNTIME_DIR/aegis
The running sandboxes, of root and of others.
.TP
.I aegis\-broker
In the directory of aegis\-run, which starts it for runs that reach hosts by name. It takes no options.
";

/// The pages that a page leads to: its subcommands, the one that it is part of, and the two programs.
fn see_also(command: &Command) -> String {
    let own = command
        .get_display_name()
        .unwrap_or(command.get_name())
        .replace(' ', "-");
    let below = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| format!("{own}-{}", sub.get_name()));
    let above = own.rsplit_once('-').map(|(above, _)| above.to_owned());
    let mut pages: Vec<String> = below.chain(above).collect();
    pages.extend(["aegis".to_owned(), "aegis-run".to_owned()]);
    pages.sort();
    pages.dedup();
    pages.retain(|page| *page != own && !page.ends_with("-help"));
    let pages: Vec<_> = pages
        .iter()
        .map(|page| format!(".BR {} (1)", page.replace('-', "\\-")))
        .collect();
    format!(".SH SEE ALSO\n{}\n", pages.join(",\n"))
}

/// The text after the options in a help text, as sections of a manual page: a paragraph whose first
/// line ends with a colon becomes a section that is shown as it is.
fn sections(after: &str) -> String {
    let mut out = String::new();
    for paragraph in after
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
    {
        match paragraph.split_once(":\n") {
            Some((title, body)) if !title.contains('\n') => {
                let body = roff(body);
                out += &format!(".SH {}\n.nf\n{body}\n.fi\n", title.to_uppercase());
            }
            _ => out += &format!(".SH NOTES\n{}\n", roff(paragraph)),
        }
    }
    out
}

/// Text that `man` shows unchanged: see groff(7), "Escapes" and "Control characters".
fn roff(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('~', "\\(ti");
    let lines = escaped
        .lines()
        .map(|line| match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\n")
}
