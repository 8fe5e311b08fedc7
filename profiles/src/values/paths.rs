//! Paths and program names, as `files.read`, `files.write`, `shell.exec` and `devices` list them.
//!
//! A path means one place and everything below it. What would change its meaning (`..`, patterns, a relative
//! path, an unknown variable) is refused here, so that every [`PathSpec`] is a variable or `/` and plain
//! components. A `\` takes the meaning of a pattern from the character after it.

use crate::error::{meant, nearest, quote};
use crate::model::{Denied, Device, PATTERN_CHARACTERS, PathSpec, Program, Variable};
use crate::units::Wrong;

/// Longest path that the kernel takes (`PATH_MAX`, with its NUL).
const MAX_PATH: usize = 4095;

/// Longest component (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// What a path is declared for: the same path can be a sensible grant for one and not for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Read,
    Write,
    Execute,
    Deny,
}

/// A path of `files.read`, `files.write` or `shell.exec`.
pub(crate) fn path(text: &str, used_for: Use) -> Result<PathSpec, Wrong> {
    let (optional, text) = strip_optional(text);
    plain_characters(text)?;
    let (base, rest) = base_of(text)?;
    let rest = components(&unescaped(rest)?)?;
    let spec = PathSpec {
        base,
        rest,
        optional,
    };
    match spec.base {
        None => refuse_special(&spec, used_for)?,
        Some(Variable::Tmp) if used_for == Use::Execute && !spec.rest.is_empty() => {
            return Wrong::new(
                "a part of $TMP",
                "nothing is there before the command runs: write `$TMP`",
            );
        }
        Some(Variable::Tmp) if used_for == Use::Deny => {
            return Wrong::new(
                "$TMP is the sandbox's own",
                "remove it: nothing of the host is there",
            );
        }
        Some(_) => {}
    }
    Ok(spec)
}

/// An entry of `files.deny`: a path, or `**/` and a name that is denied wherever it is.
pub(crate) fn denied(text: &str) -> Result<Denied, Wrong> {
    if text.starts_with('-') {
        return Wrong::new(
            "a leading `-`",
            "remove it: what is not there is skipped anyway",
        );
    }
    let (below, name) = match text.strip_prefix("**/") {
        Some(name) => (None, name),
        None => match text.split_once("/**/") {
            Some((below, name)) => (Some(path(below, Use::Deny)?), name),
            None => return path(text, Use::Deny).map(Denied::Path),
        },
    };
    plain_characters(name)?;
    let name = components(&unescaped(name)?)?;
    if name.is_empty() {
        return Wrong::new("nothing is named", "write a name: `**/.env`");
    }
    Ok(Denied::Named { below, name })
}

/// A program of `shell.exec`: a name, or a path.
pub(crate) fn program(text: &str) -> Result<Program, Wrong> {
    let (optional, name) = strip_optional(text);
    if name.contains('/') || name.starts_with(['$', '~']) {
        return path(text, Use::Execute).map(Program::Path);
    }
    // The one program whose name is a pattern character.
    if name == "[" {
        return Ok(Program::Name {
            name: name.to_owned(),
            optional,
        });
    }
    plain_characters(name)?;
    let name = &*unescaped(name)?;
    if matches!(name, "." | "..") {
        return Wrong::new(
            format!("`{name}` is not a program"),
            "name a program, or give its full path",
        );
    }
    if name.starts_with('-') {
        return Wrong::new(
            "a program's name cannot begin with `-` here",
            "give its full path",
        );
    }
    if name.contains(char::is_whitespace) {
        return Wrong::new(
            "this looks like a command line",
            format!(
                "name the program only: `{}`",
                quote(name.split_whitespace().next().unwrap_or(""))
            ),
        );
    }
    if name.len() > MAX_NAME {
        return Wrong::new(
            "a name of more than 255 bytes",
            "no file can have such a name",
        );
    }
    Ok(Program::Name {
        name: name.to_owned(),
        optional,
    })
}

/// An entry of `devices`.
pub(crate) fn device(text: &str) -> Result<Device, Wrong> {
    match text {
        "gpu" => return Ok(Device::Gpu),
        "kvm" => return Ok(Device::Kvm),
        "pty" => return Ok(Device::Pty),
        _ => {}
    }
    let fix = "write `gpu`, `kvm`, `pty`, or a path such as `/dev/ttyUSB0`";
    if !text.starts_with('/') {
        return Wrong::new("unknown device", meant(text, ["gpu", "kvm", "pty"], fix));
    }
    plain_characters(text)?;
    let clean = format!("/{}", components(&unescaped(&text[1..])?)?);
    if !clean.starts_with("/dev/") {
        return Wrong::new("not a path below /dev", fix);
    }
    Ok(Device::Path(clean))
}

pub(crate) fn strip_optional(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

fn plain_characters(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Wrong::new("empty", "remove it, or name what is needed");
    }
    if text.len() > MAX_PATH {
        return Wrong::new("longer than 4095 bytes", "no path can be as long as this");
    }
    let mut escaped = false;
    for c in text.chars() {
        if PATTERN_CHARACTERS.contains(c) && !escaped {
            return Wrong::new(
                format!("patterns (`{c}`) are not allowed"),
                format!(
                    "a directory grants everything below it: write the directory; where `{c}` is part of a name, write `\\{c}`"
                ),
            );
        }
        escaped = c == '\\' && !escaped;
    }
    if text.contains(['\n', '\t']) {
        return Wrong::new("a line break or tab in a name", "write the plain name");
    }
    Ok(())
}

/// The text without the `\` before characters that would be patterns.
fn unescaped(text: &str) -> Result<String, Wrong> {
    let mut plain = String::with_capacity(text.len());
    let mut ahead = text.chars();
    while let Some(c) = ahead.next() {
        let next = match c {
            '\\' => ahead.next(),
            c => Some(c),
        };
        match next {
            Some(next) if c != '\\' || next == '\\' || PATTERN_CHARACTERS.contains(next) => {
                plain.push(next)
            }
            _ => {
                return Wrong::new(
                    "a `\\` before what needs none",
                    "write `\\\\` for a `\\` in a name; only `*`, `?`, `[`, `]`, `{` and `}` need one before them",
                );
            }
        }
    }
    Ok(plain)
}

/// Splits off the variable or the leading slash.
fn base_of(text: &str) -> Result<(Option<Variable>, &str), Wrong> {
    if let Some(rest) = text.strip_prefix('/') {
        return Ok((None, rest));
    }
    if text == "~" || text.starts_with("~/") {
        return Wrong::new(
            "`~` is not expanded",
            format!("write `$HOME{}`", quote(&text[1..])),
        );
    }
    let Some(named) = text.strip_prefix('$') else {
        let shown = quote(text.strip_prefix("./").unwrap_or(text));
        return Wrong::new(
            "a relative path: relative to what?",
            format!(
                "write `$SKILL/{shown}` (beside the profile) or `$WORK/{shown}` (where it is started)"
            ),
        );
    };
    let (name, rest) = named.split_once('/').unwrap_or((named, ""));
    match Variable::named(name) {
        Some(variable) => Ok((Some(variable), rest)),
        None => {
            let names = Variable::ALL.map(Variable::name);
            let plain = name.trim_start_matches('{').trim_end_matches('}');
            let help = match nearest(plain, names) {
                Some(near) => format!("did you mean `${near}`?"),
                None => "the variables are $SKILL, $WORK, $HOME and $TMP".to_owned(),
            };
            Wrong::new(format!("unknown variable `${}`", quote(name)), help)
        }
    }
}

/// Plain components, joined by single slashes.
fn components(rest: &str) -> Result<String, Wrong> {
    let mut clean = String::with_capacity(rest.len());
    for component in rest.split('/').filter(|c| !c.is_empty()) {
        if matches!(component, "." | "..") {
            return Wrong::new(
                format!("`{component}` in a path"),
                "write the path that is meant, without going up or staying",
            );
        }
        if component.len() > MAX_NAME {
            return Wrong::new(
                "a name of more than 255 bytes",
                "no file can have such a name",
            );
        }
        if !clean.is_empty() {
            clean.push('/');
        }
        clean.push_str(component);
    }
    Ok(clean)
}

/// Refuses absolute paths that a profile may not ask for.
fn refuse_special(spec: &PathSpec, used_for: Use) -> Result<(), Wrong> {
    let top = spec.rest.split('/').next().unwrap_or("");
    match (top, used_for) {
        ("", Use::Read) => Wrong::new("the whole file system", "name what needs to be read"),
        ("", Use::Write) => Wrong::new("the whole file system", "name what needs to be written"),
        ("", Use::Execute) => {
            Wrong::new("the whole file system", "name the programs that are needed")
        }
        ("", Use::Deny) => Wrong::new(
            "the whole file system",
            "nothing is granted that is not named: remove it",
        ),
        ("proc" | "sys" | "dev", Use::Deny) => Wrong::new(
            format!("/{top} is the sandbox's own"),
            "remove it: nothing of the host is there",
        ),
        ("proc" | "sys", _) => Wrong::new(
            format!("/{top} cannot be granted: it shows the whole host"),
            "remove it: the sandbox has its own /proc; what it shows is enough for programs",
        ),
        ("dev", _) => Wrong::new(
            "/dev cannot be granted: the sandbox has its own",
            "remove it; list a device node under `devices`",
        ),
        _ => Ok(()),
    }
}
