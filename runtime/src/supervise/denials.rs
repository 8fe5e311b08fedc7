//! What was refused, and the line of the profile that would allow it.
//!
//! seccomp's refusals are known from the kernel. Landlock, mounts and namespaces refuse without
//! telling anybody but the program, so those are inferred: the end of what the command said on
//! standard error is searched for paths and for the kernel's error messages, and each is held
//! against the plan. Only what the plan really refuses and the host really has is reported; where
//! nothing fits, the cause is said to be unknown. The text is the command's, so the result is a
//! hint for a person, and says that it is.

use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::kernel::landlock::fs;
use crate::plan::{Network, Plan, Source};

/// How a denial is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// The kernel handed the call over.
    Kernel,
    /// The command's own error message names it, and the plan refuses it.
    ErrorMessage,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The layer that refused.
    pub layer: &'static str,
    /// What.
    pub what: String,
    /// How often, where that is known.
    pub times: u64,
    /// How it is known.
    pub evidence: Evidence,
    /// The line that would allow it; `None`: nothing would.
    pub allow: Option<String>,
}

/// What a program wanted with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Read,
    Write,
    Exec,
}

/// What of a path is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rights {
    visible: bool,
    read: bool,
    write: bool,
    exec: bool,
}

/// Finds what the plan refuses in the end of a failed command's standard error. `host` says
/// whether a path exists on the host.
pub fn attribute(text: &[u8], plan: &Plan, host: &dyn Fn(&Path) -> bool) -> Vec<Denial> {
    let text = String::from_utf8_lossy(text);
    let mut found: Vec<Denial> = Vec::new();
    // The last message is most likely what ended the command.
    for line in text.lines().rev().take(40) {
        for denial in line_denials(line, plan, host) {
            if !found.iter().any(|other| other.what == denial.what) {
                found.push(denial);
            }
        }
        if found.len() >= 5 {
            break;
        }
    }
    found
}

fn line_denials(line: &str, plan: &Plan, host: &dyn Fn(&Path) -> bool) -> Vec<Denial> {
    let lower = line.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if let Some(limit) = limit(&says, plan) {
        return vec![limit];
    }
    if plan.network == Network::None
        && says(&[
            "network is unreachable",
            "could not resolve",
            "name resolution",
            "name or service not known",
            "nodename nor servname",
            "getaddrinfo",
            "enetunreach",
            "eai_again",
            "unable to resolve",
        ])
    {
        return vec![Denial {
            layer: "network namespace",
            what: "the network".into(),
            times: 1,
            evidence: Evidence::ErrorMessage,
            allow: Some("capabilities: {net.outbound: host}".into()),
        }];
    }
    if !plan.syscalls.unix_sockets && says(&["address family not supported", "eafnosupport"]) {
        return vec![Denial {
            layer: "seccomp",
            what: "a Unix socket that can be connected by path".into(),
            times: 1,
            evidence: Evidence::ErrorMessage,
            allow: Some("syscalls: {allow: [socket]}".into()),
        }];
    }
    let refused = says(&["permission denied", "eacces", "operation not permitted", "eperm"]);
    let missing = says(&["no such file", "enoent", "not found", "cannot find", "cannot access", "does not exist"]);
    let read_only = says(&["read-only file system", "erofs"]);
    if !(refused || missing || read_only) {
        return Vec::new();
    }
    let writing = read_only
        || says(&["cannot create", "can't create", "cannot open for writing", "could not create", "cannot touch", "cannot remove", "unable to write", "cannot write", "failed to create", "cannot mkdir"]);
    let executing = says(&["not found", "exec", "cannot run", "spawn", "permission denied"]);
    let mut list = Vec::new();
    for word in words(line) {
        let (path, named) = if word.contains('/') {
            (absolute(word, plan), false)
        } else if executing && is_name(word) {
            match in_path(word, plan, host) {
                Some(path) => (path, true),
                None => continue,
            }
        } else {
            (absolute(word, plan), false)
        };
        let rights = rights(&path, plan);
        let want = if writing {
            Want::Write
        } else if named || (refused && rights.read && !rights.exec && executable_file(&path)) || (refused && !rights.read && executable_file(&path)) {
            Want::Exec
        } else if refused && rights.read {
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
        if granted || !there || path.parent().is_none() || own_place(&path) {
            continue;
        }
        list.push(denial(&path, want, rights, plan, named.then_some(word)));
    }
    list
}

fn denial(path: &Path, want: Want, rights: Rights, plan: &Plan, name: Option<&str>) -> Denial {
    let (layer, key, verb) = match (want, rights.visible) {
        (Want::Read, false) => ("mount namespace", "files.read", "reading"),
        (Want::Read, true) => ("Landlock", "files.read", "reading"),
        (Want::Write, false) => ("mount namespace", "files.write", "writing"),
        (Want::Write, true) => ("read-only mount", "files.write", "writing"),
        (Want::Exec, false) => ("mount namespace", "shell.exec", "executing"),
        (Want::Exec, true) => ("Landlock", "shell.exec", "executing"),
    };
    // A file that is to be made needs its directory.
    let line = match want {
        Want::Write if !path.exists() => path.parent().unwrap_or(path),
        _ => path,
    };
    let item = name.map_or_else(|| shorten(line, plan), str::to_owned);
    Denial {
        layer,
        what: format!("{verb} {}", path.display()),
        times: 1,
        evidence: Evidence::ErrorMessage,
        allow: Some(format!("capabilities: {{{key}: [{item}]}}")),
    }
}

fn limit(says: &dyn Fn(&[&str]) -> bool, plan: &Plan) -> Option<Denial> {
    let resource = |number: u32| plan.limits.resources.iter().find(|(found, _)| *found == number);
    let hit = |layer: &'static str, name: &str, key: &str| Denial {
        layer,
        what: format!("more than the limit on {name}"),
        times: 1,
        evidence: Evidence::ErrorMessage,
        allow: Some(format!("limits: {{{key}: ...}} with a higher value")),
    };
    if says(&["too many open files", "emfile"]) {
        return resource(libc::RLIMIT_NOFILE as u32).map(|_| hit("rlimit", "open files", "files"));
    }
    if says(&["file too large", "file size limit exceeded", "efbig"]) {
        return resource(libc::RLIMIT_FSIZE as u32).map(|_| hit("rlimit", "the size of a file", "file-size"));
    }
    if says(&["resource temporarily unavailable", "cannot fork", "can't start new thread", "fork: retry", "eagain"]) {
        if plan.limits.group.pids.is_some() {
            return Some(hit("cgroup", "processes", "pids"));
        }
        return resource(libc::RLIMIT_NPROC as u32).map(|_| hit("rlimit", "processes", "pids"));
    }
    if says(&["cannot allocate memory", "memoryerror", "out of memory", "enomem"]) {
        if plan.limits.group.memory.is_some() {
            return Some(hit("cgroup", "memory", "memory"));
        }
        return resource(libc::RLIMIT_DATA as u32).map(|_| hit("rlimit", "memory", "memory"));
    }
    if says(&["no space left on device", "enospc"]) {
        return Some(hit("tmpfs", "the private temporary file system", "tmp"));
    }
    None
}

/// The words of a message that may be paths or program names, quotes and punctuation removed.
fn words(line: &str) -> impl Iterator<Item = &str> {
    const QUOTES: [char; 8] = ['\'', '"', '`', '‘', '’', '“', '”', ' '];
    line.split(|c: char| QUOTES.contains(&c) || c == '\t' || c == ',' || c == '=')
        .map(|word| word.trim_matches(|c: char| matches!(c, ':' | ';' | '(' | ')' | '[' | ']' | '<' | '>' | '.') ))
        .filter(|word| !word.is_empty() && word.len() < 4096)
}

fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte))
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

/// Where the sandbox's `PATH` would have a program, on the host.
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

/// What the plan grants on a path.
fn rights(path: &Path, plan: &Plan) -> Rights {
    // Links that lead there count: /bin/ls is /usr/bin/ls.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mount = plan
        .mounts
        .iter()
        .filter(|mount| real.starts_with(&mount.at) && !matches!(mount.source, Source::Mask))
        .max_by_key(|mount| mount.at.as_os_str().len());
    let access = plan
        .landlock
        .paths
        .iter()
        .filter(|rule| real.starts_with(&rule.path))
        .fold(0, |all, rule| all | rule.access);
    let Some(mount) = mount else {
        return Rights {
            visible: plan.root.contains_key(&real),
            read: plan.root.contains_key(&real),
            ..Rights::default()
        };
    };
    // What the sandbox has of its own in this place is not what the host has there.
    if mount.source == Source::Scratch {
        return Rights::default();
    }
    Rights {
        visible: true,
        read: access & fs::READ_FILE != 0,
        write: mount.write && access & fs::WRITE_FILE != 0,
        exec: mount.exec && access & fs::EXECUTE != 0,
    }
}

/// A path as one would write it in a profile.
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
