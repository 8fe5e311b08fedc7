//! What was denied, and the line of the profile that would allow it.
//!
//! The kernel reports seccomp's denials. Landlock, mounts and namespaces tell only the program, so
//! their denials are inferred: the end of the command's standard error is searched for paths and for
//! the kernel's error messages, and each is compared with the plan. Only what the plan really denies
//! and the host really has is reported; if nothing fits, the cause is reported as unknown. The text is
//! the command's, so the result is a hint for a person, and says so.

use std::path::{Component, Path, PathBuf};

pub use aegis_policy::request::Evidence;
use aegis_policy::request::What;
use aegis_profile::syntax::scalar;
use serde::Serialize;

use super::error_messages::{self, Complaint, candidates};
use crate::plan::access::Access as Want;
use crate::plan::{Op, Plan};
use crate::types::Network;
use aegis_sys::landlock::fs;

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
    /// The line that would allow it; `None`: nothing would.
    pub allow: Option<String>,
}

impl Denial {
    /// From an error message. `allow`: the line that would allow it.
    fn inferred(asked: What, layer: &'static str, what: String, allow: String) -> Self {
        Self {
            asked: Some(asked),
            layer,
            what,
            times: 1,
            evidence: Evidence::ErrorMessage,
            allow: Some(allow),
        }
    }
}

/// The rights granted on a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rights {
    /// A private directory of the sandbox's own.
    own: bool,
    visible: bool,
    read: bool,
    write: bool,
    exec: bool,
}

/// Finds what the plan denied, the last reported first, and the keys of limits that were met, from the end
/// of a failed command's standard error. `host` says whether a path exists on the host.
pub fn attribute(
    text: &[u8],
    plan: &Plan,
    host: &dyn Fn(&Path) -> bool,
) -> (Vec<Denial>, Vec<&'static str>) {
    let text = String::from_utf8_lossy(text);
    let mut found: Vec<Denial> = Vec::new();
    let mut limits = Vec::new();
    // The last message is most likely what ended the command.
    for line in text.lines().rev().take(40) {
        if let Some(limit) = limit(line, plan) {
            limits.push(limit);
            continue;
        }
        for denial in line_denials(line, plan, host) {
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

fn line_denials(line: &str, plan: &Plan, host: &dyn Fn(&Path) -> bool) -> Vec<Denial> {
    let said = Complaint::of(line);
    if plan.network == Network::None && said.network {
        return vec![Denial::inferred(
            What::NetHost {},
            "network namespace",
            "the network".into(),
            "capabilities: {net.outbound: host}".into(),
        )];
    }
    if !plan.syscalls.unix_sockets && said.socket {
        let name = "socket".into();
        return vec![Denial::inferred(
            What::Syscall { name },
            "seccomp",
            "a Unix socket that can be connected by path".into(),
            "syscalls: {allow: [socket]}".into(),
        )];
    }
    if !said.path {
        return Vec::new();
    }
    let mut list = Vec::new();
    let candidates = candidates(line);
    // Who speaks comes first, before a colon: `/bin/sh: 1: cannot create ...`.
    let speaks = |word: &str| {
        let rest = line.trim_start().strip_prefix(word);
        candidates.len() > 1 && rest.is_some_and(|rest| rest.starts_with(':'))
    };
    for word in candidates.iter().copied().filter(|word| !speaks(word)) {
        let path = absolute(word, plan);
        // A file to be made does not exist yet; nothing is made by a program's name.
        let named = !word.contains('/') && !said.writing && !host(&path);
        let path = match in_path(word, plan, host) {
            Some(found) if named => found,
            _ if named => continue,
            _ => path,
        };
        let rights = rights(&path, plan);
        let want = if named || (!said.writing && !rights.exec && executable_file(&path)) {
            Want::Exec
        } else if said.writing {
            Want::Write
        } else {
            Want::Read
        };
        let granted = match want {
            Want::Read => rights.read,
            Want::Write => rights.write,
            Want::Exec => rights.exec,
        };
        let there = host(&path) || (want == Want::Write && path.parent().is_some_and(host));
        let top = path
            .parent()
            .is_none_or(|parent| parent.parent().is_none() && !host(&path));
        if granted
            || !there
            || top
            || own_place(&path)
            || (rights.own && want != Want::Exec && !said.missing)
        {
            continue;
        }
        list.push(denial(
            &path,
            want,
            rights,
            plan,
            named.then_some(word),
            host(&path),
        ));
    }
    list
}

fn denial(
    path: &Path,
    want: Want,
    rights: Rights,
    plan: &Plan,
    name: Option<&str>,
    there: bool,
) -> Denial {
    let verb = match want {
        Want::Read => "reading",
        Want::Write => "writing",
        Want::Exec => "executing",
    };
    let layer = match (want, rights.visible) {
        (_, false) => "mount namespace",
        (Want::Write, true) => "read-only mount",
        (Want::Read | Want::Exec, true) => "Landlock",
    };
    // A file that is to be made needs its directory.
    let line = match want {
        Want::Write if !there => path.parent().unwrap_or(path),
        _ => path,
    };
    let item = name.map_or_else(|| shorten(line, plan), str::to_owned);
    let asked = want.what(line, false, name.map(Into::into));
    // A program may be called `$HOME`: in a profile that is a directory.
    let is_variable = name.is_some_and(|name| name.starts_with('$'));
    let allow = line_for(asked.action(), &item).filter(|_| !is_variable);
    Denial {
        allow,
        ..Denial::inferred(
            asked,
            layer,
            format!("{verb} {}", path.display()),
            String::new(),
        )
    }
}

/// The line of a profile that grants this one item; `None`: no line can name it. The item is text of the command: quoted, and
/// read back, so that the line says nothing else.
fn line_for(key: &str, item: &str) -> Option<String> {
    let line = format!("capabilities: {{{key}: [{}]}}", scalar(item));
    let profile = aegis_profile::parse_str(&format!("aegis: 1\n{line}\n"), "").ok()?;
    let granted = &profile.capabilities;
    let paths = granted.files_read.iter().chain(&granted.files_write);
    let paths = paths.map(|item| item.value.to_string());
    let programs = (granted.shell_exec.iter()).map(|item| item.value.to_string());
    let said: Vec<String> = paths.chain(programs).collect();
    // With a `-` before it, an item may be missing.
    (said == [item] && !item.starts_with('-')).then_some(line)
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
        "tmp" => candidates(line)
            .iter()
            .any(|word| is_private(&absolute(word, plan), plan)),
        _ => false,
    })
}

/// Whether a path lies in a private directory of the sandbox's own.
fn is_private(path: &Path, plan: &Plan) -> bool {
    let shown = plan.root.mount_of(path);
    shown.is_some_and(|mount| mount.op == Op::Private)
}

/// An absolute path without `.` and `..`, relative ones taken from the working directory.
fn absolute(word: &str, plan: &Plan) -> PathBuf {
    let mut path = PathBuf::new();
    for component in plan.directory.join(word).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// Where the sandbox's `PATH` would find a program, on the host.
fn in_path(name: &str, plan: &Plan, host: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let path = plan.environment.get(std::ffi::OsStr::new("PATH"))?;
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|path| host(path) && executable_file(path))
}

fn executable_file(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn own_place(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev") || path.starts_with("/sys")
}

/// The rights that the plan grants on a path.
fn rights(path: &Path, plan: &Plan) -> Rights {
    // Links that lead there count: /bin/ls is /usr/bin/ls.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let access = plan
        .landlock
        .paths
        .iter()
        .filter(|rule| real.starts_with(&rule.path))
        .fold(0, |all, rule| all | rule.access);
    let shown = plan.root.mount_of(&real);
    let (write, exec) = match shown.map(|mount| &mount.op) {
        Some(Op::Bind { write, exec, .. }) => (*write, *exec),
        Some(Op::Tmpfs { .. }) if shown.is_some_and(|top| top.at.parent().is_none()) => {
            let there = plan.root.contains(&real);
            return Rights {
                visible: there,
                read: there,
                ..Rights::default()
            };
        }
        // The sandbox's own file in this place is not the one that the host has there.
        Some(Op::Private | Op::Tmpfs { .. }) => {
            return Rights {
                own: true,
                ..Rights::default()
            };
        }
        Some(Op::Device { .. } | Op::Pseudoterminals) => (true, false),
        _ => (false, false),
    };
    Rights {
        own: false,
        visible: true,
        read: access & fs::READ_FILE != 0,
        write: write && access & fs::WRITE_FILE != 0,
        exec: exec && access & fs::EXECUTE != 0,
    }
}

/// A path as a profile declares it.
fn shorten(path: &Path, plan: &Plan) -> String {
    for (name, base) in &plan.variables {
        if let (true, Ok(rest)) = (base.parent().is_some(), path.strip_prefix(base)) {
            return if rest.as_os_str().is_empty() {
                name.clone()
            } else {
                format!("{name}/{}", rest.display())
            };
        }
    }
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan_of;

    fn allowed_by(message: &str) -> Vec<Option<String>> {
        let plan = plan_of("capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}");
        let host = |path: &Path| {
            [
                "/etc/shadow",
                "/srv/data",
                "/srv",
                "/usr/bin/sh",
                "/skill/work",
                "/skill/work/a.txt",
                "/usr/bin/env",
            ]
            .iter()
            .any(|there| path == Path::new(there))
        };
        attribute(message.as_bytes(), &plan, &host)
            .0
            .into_iter()
            .map(|denial| denial.allow)
            .collect()
    }

    #[test]
    fn the_line_that_would_allow_it_is_named() {
        for (message, line) in [
            (
                "cat: /etc/shadow: No such file or directory",
                "capabilities: {files.read: [/etc/shadow]}",
            ),
            (
                "FileNotFoundError: [Errno 2] No such file or directory: '/srv/data'",
                "capabilities: {files.read: [/srv/data]}",
            ),
            (
                "Error: ENOENT: no such file or directory, open '/srv/data'",
                "capabilities: {files.read: [/srv/data]}",
            ),
            (
                "sh: 1: cannot create /skill/work/b.txt: Read-only file system",
                "capabilities: {files.write: [$WORK]}",
            ),
            (
                "touch: cannot touch 'a.txt': Read-only file system",
                "capabilities: {files.write: [$WORK/a.txt]}",
            ),
            (
                "touch: cannot touch 'made': Read-only file system",
                "capabilities: {files.write: [$WORK]}",
            ),
            (
                "bash: line 1: sh: Permission denied",
                "capabilities: {shell.exec: [sh]}",
            ),
            (
                "curl: (6) Could not resolve host: example.com",
                "capabilities: {net.outbound: host}",
            ),
        ] {
            let found = allowed_by(message);
            assert_eq!(found, [Some(line.to_owned())], "{message}");
        }
    }

    #[test]
    fn a_proposed_line_says_the_one_thing_that_was_denied_or_there_is_none() {
        let plan = plan_of("capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}");
        for (path, line) in [
            ("/srv/x,/etc/passwd", Some(r#"["/srv/x,/etc/passwd"]"#)),
            ("/srv/[slug]", None),
            ("/srv/a #b", Some(r#"["/srv/a #b"]"#)),
            ("/srv/a: b", Some(r#"["/srv/a: b"]"#)),
            ("/srv/{}", None),
            ("/srv/*", None),
        ] {
            let message = format!("open(\"{path}\"): Permission denied");
            let (found, _) = attribute(message.as_bytes(), &plan, &|_| true);
            let whole: Vec<_> = (found.iter())
                .filter(|denial| denial.what == format!("reading {path}"))
                .map(|denial| denial.allow.clone())
                .collect();
            let line = line.map(|item| format!("capabilities: {{files.read: {item}}}"));
            assert_eq!(whole, [line], "{path}: {found:?}");
        }
        // Who speaks is not what was denied.
        let shell = "/usr/bin/sh: 1: cannot create /skill/work/b.txt: Read-only file system";
        let line = "capabilities: {files.write: [$WORK]}".to_owned();
        assert_eq!(allowed_by(shell), [Some(line)], "{shell}");
        // Not about writing, so writing is not proposed.
        let launcher = "chromium: line 3: /skill/work/a.txt: Permission denied";
        assert_eq!(allowed_by(launcher), [], "{launcher}");
    }

    #[test]
    fn what_is_granted_or_not_there_is_not_blamed() {
        for message in [
            "cat: /skill/work/a.txt: No such file or directory",
            "cat: /nowhere/at/all: No such file or directory",
            "grep: binary file matches",
            "sh: 1: cannot create /x: Permission denied",
            "tar: cannot open 'nothing': Permission denied",
            "",
        ] {
            assert_eq!(allowed_by(message), [], "{message}");
        }
    }
}
