use std::cell::RefCell;

use super::*;
use crate::plan::tests::{kept_in_work, plan_of};

/// What a message leads to under a plan, for a system that has a few programs; and what was looked at.
fn found_by(message: &str, profile: &str) -> (Vec<Denial>, Vec<PathBuf>) {
    let asked = RefCell::new(Vec::new());
    let system = |path: &Path| {
        asked.borrow_mut().push(path.to_path_buf());
        let real = match path.to_str()? {
            "/usr/bin/go" => "/usr/lib/go-1.19/bin/go",
            known @ ("/usr/bin/sh" | "/usr/bin/env" | "/usr/share/text") => known,
            _ => return None,
        };
        let program = real != "/usr/share/text";
        let real = real.into();
        Some(SystemFile { real, program })
    };
    let (found, _) = attribute(message.as_bytes(), &plan_of(profile), &system);
    (found, asked.into_inner())
}

const PROFILE: &str = "capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}";

fn allowed_by(message: &str) -> Vec<Option<String>> {
    let (found, _) = found_by(message, PROFILE);
    found.into_iter().map(|denial| denial.allow).collect()
}

#[test]
fn a_port_that_may_not_be_bound_is_named() {
    let message = "Error: listen EACCES: permission denied 0.0.0.0:8080";
    let low = "listen tcp :80: bind: permission denied";
    let host = "capabilities: {net.outbound: host}";
    let found = |message, profile| -> Vec<(String, Option<String>)> {
        let (found, _) = found_by(message, profile);
        found
            .into_iter()
            .map(|denial| (denial.what, denial.allow))
            .collect()
    };
    assert_eq!(
        found(message, host),
        [(
            "listening on port 8080".to_owned(),
            Some("capabilities: {net.listen: [8080]}".to_owned())
        )]
    );
    assert_eq!(found(message, PROFILE), []);
    // Where the message names no port.
    let python = "  File \"x.py\", line 3, in <module>\n    s.bind(address)\n    ^^^^^^^^^^^^^^^\nPermissionError: [Errno 13] Permission denied";
    let ruby = "x.rb:3:in `initialize': Permission denied - bind(2) (Errno::EACCES)";
    for (message, profile) in [
        (low, host),
        (low, PROFILE),
        (python, PROFILE),
        (ruby, PROFILE),
    ] {
        let found = found(message, profile);
        assert!(found[0].0.contains("below 1024"), "{found:?}");
        assert_eq!(found[0].1, None);
    }
    let other = python.replace(".bind(", ".kill(");
    assert_eq!(found(&other, PROFILE), []);
    let any = found(python, host);
    assert!(any[0].0 == "listening on a port", "{any:?}");
}

#[test]
fn the_line_that_would_allow_it_is_named() {
    for (message, line) in [
        (
            "cat: /etc/shadow: No such file or directory",
            "files.read: [/etc/shadow]",
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/srv/data'",
            "files.read: [/srv/data]",
        ),
        (
            "Error: ENOENT: no such file or directory, open '/srv/data'",
            "files.read: [/srv/data]",
        ),
        (
            "cat: /usr/share/text: Permission denied",
            "files.read: [/usr/share/text]",
        ),
        // Whether it is there is not known: its directory is what is needed either way.
        (
            "sh: 1: cannot create /skill/work/b.txt: Read-only file system",
            "files.write: [$WORK]",
        ),
        (
            "/skill/s.sh: 1: cannot create log.txt: Read-only file system",
            "files.write: [$WORK]",
        ),
        (
            "touch: cannot touch 'out/made': Read-only file system",
            "files.write: [$WORK/out]",
        ),
        (
            "cp: cannot create regular file '/srv/x/y': No such file or directory",
            "files.write: [/srv/x]",
        ),
        ("bash: line 1: sh: Permission denied", "shell.exec: [sh]"),
        (
            "PermissionError: [Errno 13] Permission denied: 'go'",
            "shell.exec: [go]",
        ),
        (
            "bash: line 1: /usr/bin/sh: Permission denied",
            "shell.exec: [/usr/bin/sh]",
        ),
        // What is granted is the target of a link, so the target is named.
        (
            "fork/exec /usr/bin/go: permission denied",
            "shell.exec: [/usr/lib/go-1.19/bin/go]",
        ),
        (
            "sh: 1: ./tool: Permission denied",
            "shell.exec: [$WORK/tool]",
        ),
        (
            "fork/exec /tmp/go-build1/b001/exe/main: permission denied",
            "shell.exec: [$TMP]",
        ),
        ("Error: spawn ./tool EACCES", "shell.exec: [$WORK/tool]"),
        (
            "curl: (6) Could not resolve host: example.com",
            "net.outbound: host",
        ),
    ] {
        let line = format!("capabilities: {{{line}}}");
        assert_eq!(allowed_by(message), [Some(line)], "{message}");
    }
}

#[test]
fn a_proposed_line_says_the_one_thing_that_was_denied_or_there_is_none() {
    for (path, line) in [
        ("/srv/x,/etc/passwd", Some(r#"["/srv/x,/etc/passwd"]"#)),
        ("/srv/[slug]", Some(r#"["/srv/\\[slug\\]"]"#)),
        ("/srv/a #b", Some(r#"["/srv/a #b"]"#)),
        ("/srv/a: b", Some(r#"["/srv/a: b"]"#)),
        ("/srv/{}", Some(r#"["/srv/\\{\\}"]"#)),
        ("/srv/*", Some(r#"["/srv/\\*"]"#)),
    ] {
        let message = format!("open(\"{path}\"): Permission denied");
        let (found, _) = found_by(&message, PROFILE);
        let whole: Vec<_> = (found.iter())
            .filter(|denial| denial.what == format!("reading {path}"))
            .map(|denial| denial.allow.clone())
            .collect();
        let line = line.map(|item| format!("capabilities: {{files.read: {item}}}"));
        assert_eq!(whole, [line], "{path}: {found:?}");
    }
}

#[test]
fn who_speaks_and_what_is_read_is_not_proposed_for_writing() {
    for (message, lines) in [
        (
            "/usr/bin/sh: 1: cannot create /skill/work/b.txt: Read-only file system",
            &[Some("capabilities: {files.write: [$WORK]}")][..],
        ),
        (
            "mv: cannot move '/skill/work/a' to '/srv/x/b': Read-only file system",
            &[Some("capabilities: {files.write: [/srv/x]}")],
        ),
        // Aegis's own records lie in the home directory, so it cannot be granted whole; nobody writes to the system.
        (
            "touch: cannot touch '/home/ada': Read-only file system",
            &[],
        ),
        (
            "mkdir: cannot create directory '/home/x': Read-only file system",
            &[None],
        ),
        (
            "failed to create a profile for /usr/bin/sh: No such file",
            &[None],
        ),
        // Not about writing.
        (
            "chromium: line 3: /skill/work/a.txt: Permission denied",
            &[],
        ),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| line.map(str::to_owned)).collect();
        assert_eq!(allowed_by(message), lines, "{message}");
    }
}

#[test]
fn where_no_line_is_proposed_the_reason_is_told() {
    for (message, why) in [
        (
            "sh: 1: cannot create /etc/motd: Read-only file system",
            "writing /etc/motd, in a directory of the system's",
        ),
        (
            "touch: cannot touch '/usr/lib/x': Read-only file system",
            "writing /usr/lib/x, in a directory of the system's",
        ),
        (
            "mkdir: cannot create directory '/home/x': No such file or directory",
            "writing /home/x, where your home lies",
        ),
    ] {
        let (found, _) = found_by(message, PROFILE);
        assert_eq!(found.len(), 1, "{message}");
        assert!(found[0].what.starts_with(why), "{found:?}");
        assert_eq!(found[0].allow, None, "{message}");
    }
}

#[test]
fn what_is_granted_or_is_no_file_is_not_blamed() {
    for message in [
        "cat: /skill/work/a.txt: No such file or directory",
        "cat: /usr/share/missing: No such file or directory",
        "grep: binary file matches",
        "sh: 1: cannot create /x: Permission denied",
        "tar: cannot open 'nothing': Permission denied",
        "sh: 1: there-is-no-such-program: not found",
        "GET https://example.com/x: not found",
        "rm: cannot remove '/tmp/x': Permission denied",
        "cat: /proc/1/maps: Permission denied",
        "",
    ] {
        assert_eq!(allowed_by(message), [], "{message}");
    }
}

#[test]
fn what_stays_as_it_is_in_a_writable_tree_is_allowed_by_its_own_name_or_by_no_line() {
    let plan = kept_in_work(&[".git/config", ".git/hooks", "skill.yaml"]);
    for (message, line) in [
        (
            "error: could not write config file .git/config: Device or resource busy",
            Some("$WORK/.git/config"),
        ),
        (
            "sh: 1: cannot create .git/hooks/pre-commit: Read-only file system",
            Some("$WORK/.git/hooks"),
        ),
        (
            "sh: 1: cannot create skill.yaml: Read-only file system",
            None,
        ),
    ] {
        let (found, _) = attribute(message.as_bytes(), &plan, &|_| None);
        let lines: Vec<_> = found.into_iter().map(|denial| denial.allow).collect();
        let line = line.map(|item| format!("capabilities: {{files.write: [{item}]}}"));
        assert_eq!(lines, [line], "{message}");
    }
}

#[test]
fn nothing_is_looked_at_but_the_system_s_own_files() {
    for message in [
        "cat: /mnt/fuse/secret: No such file or directory",
        "cat: /usr/../mnt/fuse/secret: Permission denied",
        "cat: ../../usr/../srv/secret: Permission denied",
        "sh: 1: cannot create /usr/share/x: Permission denied",
        "/home/eve/secret: not found: 'a b', '../../x', \"$HOME\", sh: Permission denied",
    ] {
        let (_, looked_at) = found_by(message, PROFILE);
        let outside = |path: &&PathBuf| !path.starts_with("/usr");
        assert_eq!(looked_at.iter().find(outside), None, "{message}");
    }
}

#[test]
fn a_command_that_began_elsewhere_is_told_of_the_working_directory() {
    let line = "capabilities: {files.read: [$WORK]}".to_owned();
    for message in [
        "python3: can't open file '//report.py': [Errno 2] No such file or directory",
        "fatal: not a git repository (or any of the parent directories): .git",
        "error: could not find `Cargo.toml` in `/` or any parent directory",
        "make: *** No targets specified and no makefile found.  Stop.",
        "cat: notes.txt: No such file or directory",
        "touch: cannot touch 'made': Read-only file system",
    ] {
        let (found, _) = found_by(message, "");
        let lines: Vec<_> = found.into_iter().map(|denial| denial.allow).collect();
        assert_eq!(lines, [Some(line.clone())], "{message}");
        assert!(
            !allowed_by(message).contains(&Some(line.clone())),
            "{message}"
        );
    }
    // Of a name in that directory, nothing is said.
    for message in [
        "FileNotFoundError: [Errno 2] No such file or directory",
        "sh: 1: there-is-no-such-program: not found",
        "bash: line 1: there-is-no-such-program: command not found",
        "GET https://example.com/x: not found",
    ] {
        let (found, _) = found_by(message, "");
        assert_eq!(found, [], "{message}");
    }
}

#[test]
fn programs_that_gain_privileges_have_a_sentence() {
    for message in [
        "sudo: The \"no new privileges\" flag is set, which prevents sudo from running as root.",
        "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set",
        "su: must be suid to work properly",
        "ping: => missing cap_net_raw+p capability or setuid?",
        "su: Critical error - immediate abort",
        "chsh: PAM: Critical error - immediate abort",
        "passwd: pam_start() failed, error 26",
        "setgroups: Operation not permitted",
    ] {
        let (found, _) = found_by(message, PROFILE);
        assert_eq!(found.len(), 1, "{message}");
        assert_eq!((found[0].layer, &found[0].allow), ("no_new_privs", &None));
    }
}
