//! Error messages: what a line on standard error says, whatever program wrote it. The words are
//! those of the C library, of shells, and of common interpreters; whether the plan is the reason is
//! judged in [`super::denials`].

use std::collections::BTreeSet;

/// What a line says went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// No network can be reached, or no name resolved.
    pub network: bool,
    /// A kind of socket is not available.
    pub socket: bool,
    /// `EACCES`, `EPERM`.
    pub refused: bool,
    /// `ENOENT`.
    pub missing: bool,
    /// It was about writing: a read-only file system, a mount point, a file that cannot be made.
    pub writing: bool,
    /// What is looked for from the working directory upwards is not there, whatever it is called.
    pub here: bool,
    /// A program was not found in `PATH`.
    pub program: bool,
    /// It was about executing a program.
    pub executing: bool,
    /// A program that gains privileges when it is executed did not get them.
    pub privileges: bool,
    /// It was about binding a port, or listening on it.
    pub binding: bool,
    /// It was about a directory.
    pub directory: bool,
    /// Its words are those of a file that is not there or not to be read, not of a program that is not found.
    pub names_file: bool,
    /// Any of the errors that a path may have been refused with.
    pub path: bool,
}

impl Complaint {
    /// Reads a line.
    pub fn of(line: &str) -> Self {
        let line = line.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| line.contains(word));
        let refused = says(&[
            "permission denied",
            "eacces",
            "operation not permitted",
            "eperm",
        ]);
        let missing = says(&[
            "no such file",
            "enoent",
            "not found",
            "cannot find",
            "cannot access",
            "does not exist",
            "nonexistent",
            "not a git repository",
            "could not find",
            "no makefile",
        ]);
        let read_only = says(&[
            "read-only file system",
            "erofs",
            "device or resource busy",
            "ebusy",
        ]);
        Self {
            network: says(&[
                "network is unreachable",
                "could not resolve",
                "name resolution",
                "name or service not known",
                "nodename nor servname",
                "getaddrinfo",
                "enetunreach",
                "eai_again",
                "unable to resolve",
            ]),
            socket: says(&["address family not supported", "eafnosupport"]),
            refused,
            missing,
            writing: read_only
                || says(&[
                    "cannot create",
                    "can't create",
                    "cannot open for writing",
                    "could not create",
                    "cannot touch",
                    "cannot remove",
                    "unable to write",
                    "cannot write",
                    "failed to create",
                    "cannot mkdir",
                ]),
            here: says(&["not a git repository", "no makefile"]),
            program: line.ends_with(": not found") || line.ends_with("command not found"),
            executing: says(&[
                "spawn ",
                "exec ",
                "execve",
                "execvp",
                "cannot run",
                "cannot execute",
                "failed to execute",
                "failed to run",
            ]) || (refused
                && SHELLS
                    .iter()
                    .any(|shell| line.trim_start().starts_with(shell))),
            privileges: says(&[
                "no new privileges",
                "effective uid is not 0",
                "must be setuid",
                "must be suid",
                "setuid root",
                "capability or setuid",
                // PAM of su, chsh and chfn, and of passwd; newgrp.
                "critical error - immediate abort",
                "pam_start() failed",
                "setgroups: operation not permitted",
            ]),
            binding: says(&["bind", "listen eacces", "listen tcp", "listen udp"]),
            directory: says(&[
                "opendir",
                "open directory",
                "scandir",
                "listdir",
                "chdir",
                " cd:",
            ]),
            names_file: refused || says(&["no such file", "enoent", "cannot access"]),
            path: refused || missing || read_only,
        }
    }
}

/// What begins the messages of programs that execute others.
const SHELLS: [&str; 10] = [
    "sh:",
    "bash:",
    "dash:",
    "/bin/sh:",
    "/bin/bash:",
    "env:",
    "xargs:",
    "timeout:",
    "nice:",
    "nohup:",
];

/// Whether a text ends with one of the kernel's errors, as `strerror(3)` has it, that the plan may be the reason of.
pub(super) fn ends(text: &[u8]) -> bool {
    const ERRORS: [&str; 12] = [
        "Permission denied",
        "Operation not permitted",
        "No such file or directory",
        "Read-only file system",
        "Device or resource busy",
        "Network is unreachable",
        "Address family not supported by protocol",
        "Too many open files",
        "File too large",
        "Resource temporarily unavailable",
        "Cannot allocate memory",
        "No space left on device",
    ];
    ERRORS.iter().any(|error| text.ends_with(error.as_bytes()))
}

/// The limits that a line, in lower case, may be about, by their keys.
pub(super) fn limits(line: &str) -> impl Iterator<Item = &'static str> + '_ {
    const WORDS: [(&str, &[&str]); 5] = [
        ("files", &["too many open files", "emfile"]),
        (
            "file-size",
            &["file too large", "file size limit exceeded", "efbig"],
        ),
        (
            "pids",
            &[
                "resource temporarily unavailable",
                "cannot fork",
                "can't start new thread",
                "unable to create native thread",
                "failed to create new os thread",
                "failed to spawn thread",
                "create thread",
                "thread_create",
                "fork: retry",
                "eagain",
            ],
        ),
        (
            "memory",
            &[
                "cannot allocate memory",
                "memoryerror",
                "out of memory",
                "enomem",
                // GNU programs, Rust, C++.
                "memory exhausted",
                "memory allocation of",
                "bad_alloc",
            ],
        ),
        ("tmp", &["no space left on device", "enospc"]),
    ];
    WORDS
        .into_iter()
        .filter(move |(_, words)| words.iter().any(|word| line.contains(word)))
        .map(|(key, _)| key)
}

/// Whether a line is Python's error of a refused call, which names nothing, and those above it show that the call was `bind`.
pub(super) fn is_of_bind<'t>(line: &str, mut above: impl Iterator<Item = &'t str>) -> bool {
    line.ends_with("[Errno 13] Permission denied") && above.any(|line| line.contains(".bind("))
}

/// The port that a message names: the number after its last colon that can be one.
pub(super) fn port(line: &str) -> Option<u16> {
    let numbers = line.rsplit(':').map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        &rest[..end.unwrap_or(rest.len())]
    });
    let named = numbers.take(line.matches(':').count());
    named
        .filter_map(|number| number.parse().ok())
        .find(|port| *port > 0)
}

/// What a message may be about: [`candidates`] without the program that speaks, which comes first, before a colon
/// (`/bin/sh: 1: cannot create ...`), and without addresses of the network.
pub(super) fn objects(line: &str) -> Vec<&str> {
    let mut list = candidates(line);
    let speaks = |word: &str| {
        let rest = line.trim_start().strip_prefix(word);
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    // A shell tells the line of the script that it reads: that is never what was denied.
    let of_script = line.split(": ").nth(1).is_some_and(|second| {
        let number = second.trim().trim_start_matches("line ");
        number.parse::<u32>().is_ok()
    });
    if list.len() > 1 || of_script {
        list.retain(|word| !speaks(word));
    }
    list.retain(|word| *word != "/" && !word.contains("://") && !word.contains('\0'));
    // Beside a whole path, other words are words: `fork/exec /usr/bin/go`.
    if list.iter().any(|word| word.starts_with('/')) {
        list.retain(|word| word.starts_with('/'));
    }
    list
}

/// What of a message may be a path or a program's name: quoted text, words with a slash, and the
/// one word that stands alone before a colon and the error (`cat: notes.txt: Permission denied`).
fn candidates(line: &str) -> Vec<&str> {
    const QUOTES: [char; 7] = ['\'', '"', '`', '‘', '’', '“', '”'];
    let mut list: Vec<&str> = line.split(QUOTES).skip(1).step_by(2).collect();
    list.extend(
        line.split(|c: char| QUOTES.contains(&c) || c.is_whitespace() || c == ',' || c == '=')
            .map(|word| word.trim_matches([':', ';', '(', ')', '[', ']', '<', '>']))
            .map(|word| word.trim_end_matches('.'))
            .filter(|word| word.contains('/')),
    );
    let segments: Vec<&str> = line.split(": ").map(str::trim).collect();
    list.extend(segments.windows(2).filter_map(|pair| {
        let error = pair[1].to_lowercase();
        // As dash says it.
        let named = ["cannot create ", "cannot open "];
        let named = named.iter().find_map(|what| pair[0].strip_prefix(what));
        let word = named.unwrap_or(pair[0]);
        let alone = !word.contains(char::is_whitespace);
        let ends = [
            "permission denied",
            "no such file",
            "not found",
            "command not found",
            "read-only file",
            "operation not permitted",
        ];
        (alone && ends.iter().any(|end| error.starts_with(end))).then_some(word)
    }));
    let mut seen = BTreeSet::new();
    list.retain(|word| !word.is_empty() && word.len() < 4096 && seen.insert(*word));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_found_in_the_messages_of_different_programs() {
        for (line, found) in [
            ("cat: a.txt: Permission denied", ["a.txt"]),
            ("touch: cannot touch 'a b': Read-only file system", ["a b"]),
            ("ls: /srv/x: No such file or directory", ["/srv/x"]),
        ] {
            assert_eq!(candidates(line), found, "{line}");
        }
        assert!(candidates("it is all well").is_empty());
    }

    #[test]
    fn words_tell_what_went_wrong() {
        let complaint = Complaint::of("sh: cannot create x: Permission denied");
        assert!(complaint.refused && complaint.writing && complaint.path);
        assert!(!complaint.missing && !complaint.network);
        assert_eq!(Complaint::of("all is well"), Complaint::default());
        for (line, named) in [
            (
                "Error: listen EACCES: permission denied 0.0.0.0:8080",
                Some(8080),
            ),
            ("listen tcp :80: bind: permission denied", Some(80)),
            ("bind: Permission denied", None),
            (
                "bind() to [::]:443 failed (13: Permission denied)",
                Some(443),
            ),
        ] {
            assert!(Complaint::of(line).binding, "{line}");
            assert_eq!(port(line), named, "{line}");
        }
        let keys: Vec<_> = limits("oserror: [errno 24] too many open files").collect();
        assert_eq!(keys, ["files"]);
    }

    #[test]
    fn what_programs_say_without_memory_is_about_its_limit() {
        for line in [
            "tail: memory exhausted",
            "virtual memory exhausted: cannot allocate memory",
            "memory allocation of 1073741824 bytes failed",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "memoryerror",
        ] {
            assert_eq!(limits(line).collect::<Vec<_>>(), ["memory"], "{line}");
        }
    }
}
