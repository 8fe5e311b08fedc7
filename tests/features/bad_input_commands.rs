//! Command lines that are wrong, commands that cannot be executed, and arguments of every kind.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use aegis_tests::outcome::refused;
use aegis_tests::{USERS, User, Workspace, program, text};

const PROFILE: &str = "aegis: 1\nname: commands\nextends: [shell]\n\
                       capabilities: {files.write: [$WORK]}\nenvironment: {pass: [ODD]}\n";

fn aegis(workspace: &Workspace, words: &[impl AsRef<OsStr>]) -> Command {
    let profile = workspace.profile(PROFILE);
    let mut command = workspace.command(program("aegis-run"));
    command.arg("--profile").arg(profile).arg("--").args(words);
    command
}

fn runs(workspace: &Workspace, words: &[impl AsRef<OsStr>]) -> Output {
    let output = aegis(workspace, words).output().expect("aegis-run starts");
    assert!(output.status.success(), "{}", text(&output));
    output
}

/// A file with these permission bits in `$WORK`.
fn file(workspace: &Workspace, name: &str, contents: impl AsRef<[u8]>, mode: u32) {
    let path = workspace.write(&format!("work/{name}"), contents);
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

#[test]
fn a_command_that_is_not_there_is_127() {
    for user in USERS {
        let workspace = Workspace::new(user);
        file(
            &workspace,
            "touch-started",
            "#!/bin/sh\ntouch started\n",
            0o755,
        );
        for (name, says) in [
            ("no-such-command", "sandbox's PATH"),
            // Never looked for in the current directory.
            ("touch-started", "sandbox's PATH"),
            ("./missing", "missing does not exist"),
            ("/no/such/command", "does not exist"),
            ("", "command not found"),
        ] {
            let said = refused(&workspace, &mut aegis(&workspace, &[name]), 127);
            assert!(said.contains("command not found"), "{name}: {said}");
            assert!(said.contains(says), "{name}: {said}");
        }
    }
}

#[test]
fn a_command_that_is_no_program_is_126() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "#!/bin/sh\ntouch started\n";
        file(&workspace, "plain", script, 0o644);
        file(&workspace, "elf", "\x7fELF", 0o755);
        file(&workspace, "empty", "", 0o755);
        file(&workspace, "text", "touch started\n", 0o755);
        file(
            &workspace,
            "lost",
            "#!/no/such/interpreter\ntouch started\n",
            0o755,
        );
        file(&workspace, "env", "#!/usr/bin/env no-such-program\n", 0o755);
        symlink("/bin/true", workspace.work().join("to-a-program")).expect("a link");
        symlink("/etc", workspace.work().join("to-a-directory")).expect("a link");
        symlink("circle", workspace.work().join("circle")).expect("a link");
        for (name, says) in [
            ("/etc", "it is a directory"),
            ("./", "it is a directory"),
            ("/etc/passwd", "no execute permission"),
            ("./plain", "no execute permission"),
            ("./plain/below", "is not a directory"),
            ("/dev/null", "/dev/null"),
            ("./elf", "neither an ELF file"),
            ("./empty", "neither an ELF file"),
            ("./text", "neither an ELF file"),
            ("./lost", "/no/such/interpreter"),
            ("./env", "no-such-program"),
            ("./to-a-directory", "leads out"),
            ("./circle", "too many symbolic links"),
        ] {
            let said = refused(&workspace, &mut aegis(&workspace, &[name]), 126);
            assert!(said.contains(says), "{name}: {said}");
            assert!(said.contains(name), "{name}: {said}");
        }
        runs(&workspace, &["./to-a-program"]);
    }
}

#[test]
fn a_command_that_this_user_may_not_execute_is_126() {
    let workspace = Workspace::new(User::Ordinary);
    let locked = workspace.outside().join("locked");
    std::fs::create_dir(&locked).expect("mkdir");
    for path in [locked.join("tool"), workspace.outside().join("tool")] {
        std::fs::write(&path, "#!/bin/sh\ntouch started\n").expect("a file of ours");
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("chmod");
    }
    std::fs::set_permissions(&locked, Permissions::from_mode(0o700)).expect("chmod");
    // Root's: neither executable nor reachable for the ordinary user.
    for (name, says) in [
        ("../outside/tool", "ermission"),
        ("../outside/locked/tool", "may not be searched"),
    ] {
        let said = refused(&workspace, &mut aegis(&workspace, &[name]), 126);
        assert!(
            said.contains(says) && said.contains("tool"),
            "{name}: {said}"
        );
    }
    // Executable but not readable: the interpreter cannot read the script, so nobody can run it.
    let blind = workspace.outside().join("blind");
    std::fs::copy("/bin/true", &blind).expect("a program");
    chown(&blind, Some(0), Some(0)).expect("chown");
    std::fs::set_permissions(&blind, Permissions::from_mode(0o711)).expect("chmod");
    runs(&workspace, &[&blind]);
}

#[test]
fn a_command_named_by_a_path_that_goes_up_runs() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let tool = workspace.outside().join("tool");
        std::fs::copy("/bin/true", &tool).expect("a program");
        workspace.own(&tool);
        file(
            &workspace,
            "script",
            "#!/usr/bin/../bin/sh\ntouch started\n",
            0o755,
        );
        runs(&workspace, &["../outside/tool"]);
        runs(&workspace, &["../work/./script"]);
        assert!(workspace.work().join("started").exists());
    }
}

#[test]
fn options_that_are_wrong_are_125() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for (words, says) in [
            (&[][..], "no command"),
            (&["--"], "no command"),
            (
                &["--profil", "x", "touch", "started"],
                "did you mean --profile?",
            ),
            (
                &["--frobnicate", "touch", "started"],
                "no option --frobnicate",
            ),
            (&["-x", "touch", "started"], "no option -x"),
            (
                &["--policy", "strikt", "touch", "started"],
                "did you mean `strict`?",
            ),
            (&["--audit", "none", "touch", "started"], "does not permit"),
            (
                &["--observe", "--explain", "touch", "started"],
                "--explain starts none",
            ),
            (
                &["--observe-by", "listener", "touch", "started"],
                "--record FILE",
            ),
            (&["--profile"], "needs a value"),
            (
                &[
                    "--profile",
                    "base",
                    "--profile",
                    "shell",
                    "touch",
                    "started",
                ],
                "given twice",
            ),
            (
                &["--keep-fd", "77", "touch", "started"],
                "77: this descriptor is not open",
            ),
            (
                &["--keep-fd", "x", "touch", "started"],
                "is not a file descriptor",
            ),
            (&["--report", "", "touch", "started"], "the name is empty"),
            (
                &["--report", "/no/where", "touch", "started"],
                "/no/where cannot be written",
            ),
            (&["--report", "/etc", "touch", "started"], "directory"),
            (
                &["--report", "/dev/fd/77", "touch", "started"],
                "/dev/fd/77 cannot be written",
            ),
            (&["--explain=xml", "touch", "started"], "`text` and `json`"),
        ] {
            let mut command = workspace.command(program("aegis-run"));
            command.args(words);
            let said = refused(&workspace, &mut command, 125);
            assert!(said.contains(says), "{words:?}: {said}");
        }
    }
}

#[test]
fn explaining_starts_nothing() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for how in ["--explain", "--explain=json"] {
            let mut command = workspace.command(program("aegis-run"));
            let output = command
                .args([how, "touch", "started"])
                .output()
                .expect("it starts");
            assert!(output.status.success(), "{}", text(&output));
            assert!(!output.stdout.is_empty());
            assert!(!workspace.work().join("started").exists());
        }
    }
}

#[test]
fn arguments_of_a_megabyte_and_more_arrive() {
    for user in USERS {
        let workspace = Workspace::new(user);
        // An argument may have 128 KiB (MAX_ARG_STRLEN), including its terminator.
        let mut words: Vec<String> = ["sh", "-c", "printf %s \"$@\" | wc -c", "sh"]
            .map(String::from)
            .into();
        words.extend(std::iter::repeat_n("x".repeat((128 << 10) - 1), 12));
        let output = runs(&workspace, &words);
        let length = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(length, (12 * ((128 << 10) - 1)).to_string());
        let mut words: Vec<&str> = vec!["sh", "-c", "echo $#", "sh"];
        words.extend(std::iter::repeat_n("", 150_000));
        assert_eq!(runs(&workspace, &words).stdout, b"150000\n");
        // The same holds for a value of the environment.
        let mut command = aegis(&workspace, &["sh", "-c", "printf %s \"$ODD\" | wc -c"]);
        let output = command
            .env("ODD", "x".repeat(100_000))
            .output()
            .expect("it starts");
        assert_eq!(output.stdout, b"100000\n", "{}", text(&output));
    }
}

#[test]
fn arguments_and_variables_that_are_not_utf8_arrive_as_they_are() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let odd: Vec<u8> = (1..=255).collect();
        let odd = OsStr::from_bytes(&odd);
        let words = [OsStr::new("printf"), OsStr::new("%s"), odd];
        assert_eq!(runs(&workspace, &words).stdout, odd.as_bytes());
        let mut command = aegis(&workspace, &["sh", "-c", "printf %s \"$ODD\""]);
        let output = command.env("ODD", odd).output().expect("it starts");
        assert_eq!(output.stdout, odd.as_bytes(), "{}", text(&output));
        // They are also in the report, as far as text can represent them.
        let report = workspace.outside().join("report");
        let mut command = workspace.command(program("aegis-run"));
        command.arg("--report").arg(&report).arg("true").arg(odd);
        assert!(command.status().expect("it starts").success());
        let report = std::fs::read(report).expect("the report");
        serde_json::from_slice::<serde_json::Value>(&report).expect("the report is JSON");
    }
}

#[test]
fn paths_that_are_not_utf8_can_be_worked_in() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let work = workspace.work().join(OsStr::from_bytes(b"d\xff"));
        std::fs::create_dir(&work).expect("mkdir");
        workspace.own(&work);
        let tool = work.join(OsStr::from_bytes(b"t\xfe"));
        std::fs::write(&tool, "#!/bin/sh\npwd; touch \"$1\"; ls\n").expect("a file of ours");
        std::fs::set_permissions(&tool, Permissions::from_mode(0o755)).expect("chmod");
        let report = work.join(OsStr::from_bytes(b"r\xfd"));
        let profile = workspace.profile(PROFILE);
        let mut relative = OsString::from("./");
        relative.push(tool.file_name().expect("a name"));
        for path in [tool.as_os_str(), &relative] {
            let output = workspace
                .command(program("aegis-run"))
                .current_dir(&work)
                .env("HOME", &work)
                .arg("--profile")
                .arg(&profile)
                .arg("--report")
                .arg(report.file_name().expect("a name"))
                .arg("--")
                .arg(path)
                .arg(OsStr::from_bytes(b"new\xfc"))
                .output()
                .expect("aegis-run starts");
            assert!(output.status.success(), "{}", text(&output));
            assert!(output.stdout.starts_with(work.as_os_str().as_bytes()));
            assert!(work.join(OsStr::from_bytes(b"new\xfc")).exists());
            assert!(report.exists());
        }
        // A missing command, or one not found by its bare name, is reported as such.
        let missing = OsStr::from_bytes(b"./\xff");
        refused(&workspace, &mut aegis(&workspace, &[missing]), 127);
        let bare = OsStr::from_bytes(b"\xff");
        let said = refused(&workspace, &mut aegis(&workspace, &[bare]), 127);
        assert!(said.contains("give a path"), "{said}");
        let output = explained(&workspace, &work, &profile);
        assert!(output.status.success(), "{}", text(&output));
    }
}

fn explained(workspace: &Workspace, work: &Path, profile: &Path) -> Output {
    workspace
        .command(program("aegis-run"))
        .current_dir(work)
        .args(["--explain=json", "--profile"])
        .arg(profile)
        .arg("true")
        .output()
        .expect("aegis-run starts")
}

#[test]
fn what_is_told_of_hostile_names_cannot_steer_a_terminal() {
    let workspace = Workspace::new(User::Ordinary);
    let name = "./\x1b[2J\x07\u{202e}x";
    let said = refused(&workspace, &mut aegis(&workspace, &[name]), 127);
    assert!(!said.contains(['\x1b', '\x07', '\u{202e}']), "{said:?}");
    let said = refused(
        &workspace,
        workspace
            .command(program("aegis-run"))
            .args(["--profile", name, "true"]),
        125,
    );
    assert!(!said.contains(['\x1b', '\x07', '\u{202e}']), "{said:?}");
}
