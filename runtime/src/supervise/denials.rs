//! What was denied, and the line of the profile that would allow it.
//!
//! The kernel reports seccomp's denials. Landlock, mounts and namespaces tell only the program, so
//! their denials are guessed: the end of the command's standard error is searched for paths and for
//! the kernel's error messages, and each is compared with the plan; if nothing fits, the cause is reported as unknown.
//!
//! The text is the command's, so the result is a hint for a person, and says so; and no file is looked at because it is
//! named there, but for the system's programs (`system.rs`). Whether a file is there, or is a link, is not known.

mod places;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use aegis_policy::Opinion;
pub use aegis_policy::request::Evidence;
use aegis_policy::request::What;
use aegis_profile::syntax::{declared, scalar};
use serde::Serialize;

use super::error_messages::{self, Complaint, objects};
use super::system::SystemFile;
use crate::facts::{TMP, plantable};
use crate::plan::access::Access;
use crate::plan::{Op, Plan, private_sockets};
use crate::seccomp::UnixSockets;
use crate::types::Network;
use places::{absolute, in_plan, is_private, own_place, rights, shorten, shows_usr};

/// One denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// What was tried, as a policy is asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<What>,
    /// The layer that denied it.
    pub layer: &'static str,
    /// What was denied.
    pub what: String,
    /// How often, where that is known.
    pub times: u64,
    /// How it is known.
    pub evidence: Evidence,
    /// The line that would allow it; `None`: nothing would, or none can be named.
    pub allow: Option<String>,
    /// What the policy says about that line; set once the run has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Opinion>,
}

impl Denial {
    /// From an error message. `allow`: the line that would allow it.
    fn guessed(
        asked: impl Into<Option<What>>,
        layer: &'static str,
        what: impl Into<String>,
        allow: Option<String>,
    ) -> Self {
        Self {
            asked: asked.into(),
            layer,
            what: what.into(),
            times: 1,
            evidence: Evidence::ErrorMessage,
            allow,
            decision: None,
        }
    }
}

/// Looks at a path in `/usr`: [`super::system::find`].
type System<'a> = &'a dyn Fn(&Path) -> Option<SystemFile>;

/// Finds what the plan denied, the last reported first, and the keys of limits that were met, from the end
/// of the command's standard error.
pub fn attribute(text: &[u8], plan: &Plan, system: System<'_>) -> (Vec<Denial>, Vec<&'static str>) {
    let text = String::from_utf8_lossy(text);
    let mut found: Vec<Denial> = Vec::new();
    let mut limits = Vec::new();
    // The last message is most likely what ended the command.
    let mut lines = text.lines().rev();
    for _ in 0..40 {
        let Some(line) = lines.next() else {
            break;
        };
        if let Some(limit) = limit(line, plan) {
            limits.push(limit);
            continue;
        }
        // Between the call and the error may be a line that underlines the one.
        let denials = match error_messages::is_of_bind(line, lines.clone().take(2)) {
            true => port("", plan).into_iter().collect(),
            false => line_denials(line, plan, system),
        };
        for denial in denials {
            if !found.iter().any(|other| other.what == denial.what) {
                found.push(denial);
            }
        }
        if found.len() >= 5 {
            break;
        }
    }
    (found, limits)
}

fn line_denials(line: &str, plan: &Plan, system: System<'_>) -> Vec<Denial> {
    let said = Complaint::of(line);
    if plan.network == Network::None && said.network {
        let line = "capabilities: {net.outbound: host}".to_owned();
        return vec![Denial::guessed(
            What::NetHost {},
            "network namespace",
            "the network",
            Some(line),
        )];
    }
    if plan.syscalls.unix_sockets == UnixSockets::None && said.socket {
        return vec![Denial::guessed(
            private_sockets(),
            "seccomp",
            "a Unix socket that can be connected by path",
            Some("capabilities: {sockets: private}".into()),
        )];
    }
    if said.privileges {
        return vec![Denial::guessed(
            None,
            "no_new_privs",
            "gaining privileges, as sudo, su and ping do: such programs cannot work in any sandbox",
            None,
        )];
    }
    if said.binding && said.refused {
        return port(line, plan).into_iter().collect();
    }
    if !said.path {
        return Vec::new();
    }
    let objects = objects(line);
    let mut list: Vec<Denial> = match said.writing {
        // Of several files, the last is the one that is written.
        true => (objects.iter().rev().find_map(|word| writing(word, plan)))
            .into_iter()
            .collect(),
        false => (objects.iter())
            .filter_map(|word| reading(word, said, plan, system))
            .collect(),
    };
    let is_there = !objects.is_empty() && objects.iter().all(|word| is_relative(word));
    let looked_for = (said.missing || said.writing) && is_there && !said.program;
    if list.is_empty() && (looked_for || said.here) {
        list.extend(working_directory(plan));
    }
    list
}

/// The first port that anybody may bind (`ip_unprivileged_port_start` of `ip(7)`).
const FIRST_PORT: u16 = 1024;

/// A port that may not be bound.
fn port(line: &str, plan: &Plan) -> Option<Denial> {
    let port = error_messages::port(line);
    // In a network of its own nothing else is refused.
    if port.map_or(plan.network != Network::Host, |port| port < FIRST_PORT) {
        return Some(Denial::guessed(
            None,
            "user namespace",
            format!(
                "a port below {FIRST_PORT}, which needs a privilege that no command has: use a higher one"
            ),
            None,
        ));
    }
    if plan.network != Network::Host || plan.landlock.handled_net == 0 {
        return None;
    }
    let (what, allow) = match port {
        Some(port) => (
            format!("listening on port {port}"),
            Some(format!("capabilities: {{net.listen: [{port}]}}")),
        ),
        None => ("listening on a port".to_owned(), None),
    };
    let asked = port.map(|port| What::Listen { port });
    Some(Denial::guessed(asked, "Landlock", what, allow))
}

/// The command began in `/`, since the working directory is not granted.
fn working_directory(plan: &Plan) -> Option<Denial> {
    let work = plan.variables.iter().find(|(name, _)| name == "$WORK");
    let (name, work) = work.filter(|(_, work)| *work != plan.directory)?;
    Some(Denial::guessed(
        Access::Read.what(work, true, None),
        "mount namespace",
        format!(
            "the working directory {}, so it began in {}",
            work.display(),
            plan.directory.display()
        ),
        line_for("files.read", name),
    ))
}

/// Whether a name was taken from the working directory. Python names `//x` what it looked for in `/`.
fn is_relative(word: &str) -> bool {
    !word.starts_with('/') || word.starts_with("//")
}

/// Where the file of a name would be; `None`: the working directory is not there.
fn place(word: &str, plan: &Plan) -> Option<PathBuf> {
    let nowhere = is_relative(word) && plan.directory.parent().is_none();
    (!nowhere)
        .then(|| absolute(word, plan))
        .filter(|path| !own_place(path))
}

/// What is hidden in what is granted.
fn hidden(path: &Path, plan: &Plan) -> Option<Denial> {
    let mut masks = plan.root.iter().filter(|made| made.op.is_mask());
    let mask = masks.find(|mask| path.starts_with(&mask.at))?;
    let (layer, why) = match mask.op {
        Op::Hide { .. } => ("files.deny", "which the profile denies"),
        _ => ("mount namespace", "which shows the host's kernel"),
    };
    let what = format!("using {}, {why}", mask.at.display());
    Some(Denial::guessed(None, layer, what, None))
}

/// A write that was denied. What is to be allowed is the directory: whether the file is there is not known, and one that is
/// alone granted can be written but not replaced.
fn writing(word: &str, plan: &Plan) -> Option<Denial> {
    let path = in_plan(&place(word, plan)?, plan);
    if let Some(denial) = hidden(&path, plan) {
        return Some(denial);
    }
    if let Some(denial) = kept(&path, plan) {
        return Some(denial);
    }
    let dir = path.parent()?;
    let rights = rights(&path, plan);
    if dir.parent().is_none() || rights.own || (rights.write && self::rights(dir, plan).write) {
        return None;
    }
    let why_none = match is_system(dir) {
        true => Some(
            ", in a directory of the system's, which is proposed for no profile: what is written there acts on the whole host",
        ),
        false => holds_home(dir, plan),
    };
    let line = line_for("files.write", &shorten(dir, plan)).filter(|_| why_none.is_none());
    let layer = match rights.visible {
        true => "read-only mount",
        false => "mount namespace",
    };
    let what = format!("writing {}{}", path.display(), why_none.unwrap_or_default());
    Some(Denial::guessed(
        Access::Write.what(dir, true, None),
        layer,
        what,
        line,
    ))
}

/// A write to what stays as it is in a writable tree: a name that the host acts upon, which a profile has to name itself; or the
/// profile, a program.
fn kept(path: &Path, plan: &Plan) -> Option<Denial> {
    let shown = plan.root.mount_of(path)?;
    let read_only = matches!(
        shown.op,
        Op::Bind {
            write: false,
            overlay: false,
            ..
        }
    );
    if !read_only || !rights(shown.at.parent()?, plan).write {
        return None;
    }
    let acted_upon = plantable::is_name(&shown.at);
    let line = (acted_upon.then(|| line_for("files.write", &shorten(&shown.at, plan)))).flatten();
    let asked = (line.is_some()).then(|| Access::Write.what(&shown.at, shown.at != path, None));
    let what = match acted_upon {
        true => format!(
            "writing {}, which programs of the host act upon",
            path.display()
        ),
        false => format!(
            "writing {}, which stays as it is for the next run",
            path.display()
        ),
    };
    Some(Denial::guessed(asked, "read-only mount", what, line))
}

/// A read or an execution that was denied.
fn reading(word: &str, said: Complaint, plan: &Plan, system: System<'_>) -> Option<Denial> {
    if !word.contains('/')
        && let Some(file) = in_path(word, plan, system)
    {
        let denied = !rights(&file.real, plan).exec;
        // A program may be called `$HOME`: in a profile that is a directory.
        let line = line_for("shell.exec", word).filter(|_| !word.starts_with('$'));
        let asked = Access::Exec.what(&file.real, false, Some(word.to_owned()));
        let what = format!("executing {}", file.real.display());
        return denied.then(|| Denial::guessed(asked, "Landlock", what, line));
    }
    if !word.contains('/') && !said.names_file {
        return None;
    }
    let path = in_plan(&place(word, plan)?, plan);
    if let Some(denial) = hidden(&path, plan) {
        return Some(denial);
    }
    let shown = path.starts_with("/usr") && shows_usr(plan);
    let file = match shown {
        true => Some(system(&path)?),
        false => None,
    };
    let path = file.as_ref().map_or(&path, |file| &file.real);
    let rights = rights(path, plan);
    let exec = !rights.exec
        && file
            .as_ref()
            .map_or(said.executing && rights.read, |file| file.program);
    if said.executing && rights.own && path.starts_with(TMP) {
        let asked = Access::Exec.what(Path::new(TMP), true, None);
        let what = format!("executing {}", path.display());
        return Some(Denial::guessed(
            asked,
            "noexec mount",
            what,
            line_for("shell.exec", "$TMP"),
        ));
    }
    if (rights.read && !exec) || (rights.own && !said.missing) || path.parent().is_none() {
        return None;
    }
    let (access, verb, key) = match exec {
        true => (Access::Exec, "executing", "shell.exec"),
        false => (Access::Read, "reading", "files.read"),
    };
    let layer = match rights.visible {
        true => "Landlock",
        false => "mount namespace",
    };
    let why_none = holds_home(path, plan);
    let line = line_for(key, &shorten(path, plan)).filter(|_| why_none.is_none());
    let what = format!("{verb} {}{}", path.display(), why_none.unwrap_or_default());
    Some(Denial::guessed(
        access.what(path, said.directory, None),
        layer,
        what,
        line,
    ))
}

/// Whether nobody but root writes there, so that granting it changes nothing.
fn is_system(path: &Path) -> bool {
    const TREES: [&str; 9] = [
        "/usr", "/etc", "/boot", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
    ];
    TREES.iter().any(|tree| path.starts_with(tree))
}

/// Why a directory cannot be granted whole, if that is since the home directory lies there.
fn holds_home(path: &Path, plan: &Plan) -> Option<&'static str> {
    let mut homes = plan.variables.iter().filter(|(name, _)| name == "$HOME");
    homes.any(|(_, home)| home.starts_with(path)).then_some(
        ", where your home lies, and with it Aegis's own records: a directory below it can be granted",
    )
}

/// The line of a profile that grants this one item; `None`: no line can name it. The item is text of the command: quoted, and
/// read back, so that the line says nothing else.
fn line_for(key: &str, item: &str) -> Option<String> {
    let item = match item {
        "[" => item.to_owned(),
        item => declared(item),
    };
    let line = format!("capabilities: {{{key}: [{}]}}", scalar(&item));
    let profile = aegis_profile::parse_str(&format!("aegis: 1\n{line}\n"), "").ok()?;
    let granted = &profile.capabilities;
    let paths = granted.files_read.iter().chain(&granted.files_write);
    let paths = paths.map(|item| item.value.to_string());
    let programs = (granted.shell_exec.iter()).map(|item| item.value.to_string());
    let said: Vec<String> = paths.chain(programs).collect();
    // With a `-` before it, an item may be missing.
    (said.len() == 1 && said[0] == item && !item.starts_with('-')).then_some(line)
}

/// The key of the plan's limit that a message is about.
fn limit(line: &str, plan: &Plan) -> Option<&'static str> {
    let resource = |number: u32| plan.limits.has_resource(number);
    let group = &plan.limits.group;
    error_messages::limits(&line.to_lowercase()).find(|key| match *key {
        "files" => resource(libc::RLIMIT_NOFILE),
        "file-size" => resource(libc::RLIMIT_FSIZE),
        "pids" => group.pids.is_some() || resource(libc::RLIMIT_NPROC),
        "memory" => group.memory.is_some() || resource(libc::RLIMIT_DATA),
        // A full disk of the host gives the same message.
        "tmp" => objects(line)
            .iter()
            .any(|word| is_private(&absolute(word, plan), plan)),
        _ => false,
    })
}

/// The program that the sandbox's `PATH` finds in the system's directories.
fn in_path(name: &str, plan: &Plan, system: System<'_>) -> Option<SystemFile> {
    let path = plan.environment.get(OsStr::new("PATH"))?;
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    let dirs = plain
        .then(|| std::env::split_paths(path))
        .into_iter()
        .flatten();
    dirs.map(|dir| in_plan(&dir.join(name), plan))
        .filter(|path| path.starts_with("/usr") && shows_usr(plan))
        .find_map(|path| system(&path).filter(|file| file.program))
}

#[cfg(test)]
mod tests;
