//! Descriptors 0, 1, 2: the command may open them again as they were given, and no further.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use aegis_tests::terminal::Terminal;
use aegis_tests::{ORDINARY, USERS, User, Workspace, program, text};

const PLAIN: &str = "aegis: 1\nname: stdio\nextends: [shell]\n";

/// A file of the workspace's that belongs to whoever the command is.
fn file(workspace: &Workspace, name: &str, contents: &str) -> std::path::PathBuf {
    let path = workspace.write(&format!("home/{name}"), contents);
    // Root's command is another user.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("chmod");
    path
}

fn writes(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).expect("a file")
}

#[test]
fn files_are_opened_again_by_their_names_in_dev() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PLAIN);
        let [input, output, error] = [("in", "given\n"), ("out", ""), ("err", "")]
            .map(|(name, contents)| file(&workspace, name, contents));
        let script = "cat /dev/stdin > /dev/stdout; echo more >> /dev/stdout; \
                      echo x > /dev/stderr; echo y >> /proc/self/fd/2";
        let output_of = workspace
            .aegis(&profile, &["sh", "-c", script])
            .stdin(File::open(&input).expect("a file"))
            .stdout(writes(&output))
            .stderr(writes(&error))
            .status()
            .expect("aegis-run starts");
        let read = |path| std::fs::read_to_string(path).expect("a file of ours");
        let told = format!("as {user:?}: {}", read(&error));
        assert!(output_of.success(), "{told}");
        assert_eq!(read(&output), "given\nmore\n", "{told}");
        assert_eq!(read(&error), "x\ny\n", "{told}");
    }
}

#[test]
fn nothing_is_opened_in_a_direction_that_was_not_given() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PLAIN);
        let input = file(&workspace, "in", "given\n");
        let output = file(&workspace, "out", "secret\n");
        for (script, allowed) in [
            ("echo x > /dev/stdin", false),
            ("echo x >> /proc/self/fd/0", false),
            (": > /dev/stdin", false),
            ("cat /dev/stdout >&2", false),
            ("cat /proc/self/fd/1 >&2", false),
            ("cat < /dev/stdin >&2", true),
        ] {
            let ran = workspace
                .aegis(&profile, &["sh", "-c", script])
                .stdin(File::open(&input).expect("a file"))
                .stdout(writes(&output))
                .stderr(Stdio::piped())
                .output()
                .expect("aegis-run starts");
            let told = format!("{script} as {user:?}: {}", text(&ran));
            assert_eq!(ran.status.success(), allowed, "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
        let read = |path| std::fs::read_to_string(path).expect("a file of ours");
        assert_eq!(read(&input), "given\n");
        assert_eq!(read(&output), "secret\n");
    }
}

#[test]
fn a_pipe_is_opened_again_by_its_name_in_dev() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PLAIN);
        // The pipes are the user's own.
        let line = format!(
            "echo given | {} --profile {} -- sh -c \
             'cat /dev/stdin > /dev/stdout; echo x > /dev/stderr' 2>&1 | cat",
            program("aegis-run").display(),
            profile.display()
        );
        let output = (workspace.command("sh").args(["-c", &line]).output()).expect("sh starts");
        assert_eq!(
            text(&output).matches("given\nx\n").count(),
            1,
            "as {user:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn a_pipe_of_roots_gives_nothing_in_the_other_direction() {
    let workspace = Workspace::new(User::Root);
    let profile = workspace.profile(PLAIN);
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"another's\n").expect("a pipe");
    let ran = workspace
        .aegis(
            &profile,
            &[
                "sh",
                "-c",
                "cat /proc/self/fd/1 >&2; chmod 666 /proc/self/fd/1",
            ],
        )
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("aegis-run starts");
    assert!(!ran.status.success(), "{}", text(&ran));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("a pipe");
    assert_eq!(rest, "another's\n", "{}", text(&ran));
}

#[test]
fn a_terminal_is_opened_again_and_keeps_its_mode() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(PLAIN);
        let run = |words: &str| {
            let (program, profile) = (program("aegis-run"), profile.display());
            format!("{} --profile {profile} -- {words}", program.display())
        };
        let script = "sh -c 'echo to error > /dev/stderr; echo to output > /dev/stdout; \
                      read line < /dev/stdin; echo got $line; chmod 666 /proc/self/fd/0; chmod 666 /dev/stdin; \
                      touch -d 2001-01-01 /proc/self/fd/0; echo $?'";
        let line = format!(
            "stat -Lc 'before %a' /proc/self/fd/0; {}; stat -Lc 'after %a' /proc/self/fd/0; exec sleep 1000",
            run(script)
        );
        let terminal = Terminal::open(&workspace, &line);
        terminal.wait("what was written", |screen| {
            screen.ends_with("to error\nto output")
        });
        terminal.line("typed");
        let screen = terminal.wait("its mode at the end", |screen| screen.contains("\nafter "));
        assert!(screen.contains("\ngot typed\n"), "as {user:?}: {screen}");
        let mode = |when| screen.lines().find_map(|line| line.strip_prefix(when));
        assert_eq!(mode("before "), mode("after "), "as {user:?}: {screen}");
        assert!(!screen.contains("\n0\n"), "as {user:?}: {screen}");
    }
}

#[test]
fn a_terminal_of_the_user_that_roots_command_becomes_keeps_its_mode() {
    let workspace = Workspace::new(User::Root);
    let work = workspace.work();
    std::os::unix::fs::chown(&work, Some(ORDINARY), Some(ORDINARY)).expect("chown");
    let profile = workspace.profile(PLAIN);
    let line = format!(
        "chown {ORDINARY} $(tty); stat -Lc 'before %a' /proc/self/fd/0; \
         {} --profile {} -- sh -c 'id -u; chmod 666 /proc/self/fd/0'; \
         stat -Lc 'after %a' /proc/self/fd/0; exec sleep 1000",
        program("aegis-run").display(),
        profile.display()
    );
    let terminal = Terminal::open(&workspace, &line);
    let screen = terminal.wait("its mode at the end", |screen| screen.contains("\nafter "));
    let mode = |when| screen.lines().find_map(|line| line.strip_prefix(when));
    assert_eq!(mode("before "), mode("after "), "{screen}");
    assert!(screen.contains(&format!("\n{ORDINARY}\n")), "{screen}");
}
