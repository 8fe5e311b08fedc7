//! Unusual surroundings: closed descriptors, no terminal, full disks, read-only
//! directories, a working directory that was removed, thousands of mounts.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use aegis_tests::host::{bind, in_private_mounts, read_only, tmpfs};
use aegis_tests::outcome::refused;
use aegis_tests::{ORDINARY, USERS, User, Workspace, program, text};

const PROFILE: &str = "aegis: 1\nname: surroundings\nextends: [shell]\n\
                       capabilities: {files.write: [$WORK]}\n";

/// A shell command line in which `$AEGIS` is `aegis-run --profile PROFILE --`.
fn shell(workspace: &Workspace, line: &str) -> Command {
    let profile = workspace.profile(PROFILE);
    let mut command = workspace.command("sh");
    let aegis = format!(
        "{} --profile {}",
        program("aegis-run").display(),
        profile.display()
    );
    command.args(["-c", line]).env("AEGIS", aegis);
    command
}

fn output(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it starts")
}

#[test]
fn closed_standard_descriptors_are_null_and_nothing_else_becomes_them() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let inside = "for fd in 0 2; do readlink /proc/$$/fd/$fd; done > seen; \
                      cat; echo out; echo err >&2; exit 7";
        for (closed, null) in [
            ("<&-", &[0][..]),
            (">&-", &[1]),
            ("2>&-", &[2]),
            ("<&- >&- 2>&-", &[0, 1, 2]),
        ] {
            // Also with pipes in between, which count output.
            for limit in ["", "--set limits.output=1M"] {
                let line = format!("$AEGIS {limit} -- sh -c '{inside}' {closed}");
                let found = output(shell(&workspace, &line));
                assert_eq!(found.status.code(), Some(7), "{line}: {}", text(&found));
                let seen = std::fs::read_to_string(workspace.work().join("seen"));
                let seen = seen.expect("the command has written it");
                let seen: Vec<&str> = seen.lines().collect();
                assert_eq!(seen[0], "/dev/null", "{line}: {seen:?}");
                // Standard error is passed on through a pipe, here to /dev/null.
                assert!(seen[1].starts_with("pipe:"), "{line}: {seen:?}");
                let out: &[u8] = if null.contains(&1) { b"" } else { b"out\n" };
                assert_eq!(found.stdout, out, "{line}: {}", text(&found));
                let err: &[u8] = if null.contains(&2) { b"" } else { b"err\n" };
                assert_eq!(found.stderr, err, "{line}: {}", text(&found));
            }
        }
    }
}

#[test]
fn statuses_are_the_same_when_there_is_nowhere_to_tell_why() {
    for user in USERS {
        let workspace = Workspace::new(user);
        for (words, status) in [
            ("no-such-command", 127),
            ("/etc", 126),
            ("--frobnicate", 125),
            ("--help", 125),
            ("false", 1),
        ] {
            // The help belongs on standard output alone, and cannot get there.
            for closed in ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"] {
                let found = output(shell(&workspace, &format!("$AEGIS {words} {closed}")));
                assert_eq!(
                    found.status.code(),
                    Some(status),
                    "{words} {closed}: {}",
                    text(&found)
                );
            }
        }
    }
}

#[test]
fn a_report_to_a_closed_or_full_place_is_told() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let line = "$AEGIS --report /dev/fd/7 touch started 7> /dev/full";
        let found = output(shell(&workspace, line));
        assert_eq!(found.status.code(), Some(125), "{}", text(&found));
        let said = String::from_utf8_lossy(&found.stderr);
        assert!(
            said.contains("/dev/fd/7 could not be written: No space left"),
            "{said}"
        );
        // Standard input is open for reading only: detected before anything starts.
        std::fs::remove_file(workspace.work().join("started")).expect("it was started");
        let mut command = shell(
            &workspace,
            "exec $AEGIS --report /dev/fd/0 touch started < /dev/null",
        );
        refused(&workspace, &mut command, 125);
    }
}

/// What an earlier run could have left in the workspace, where Aegis opens something the next time. Each line makes
/// one thing and names it; with nothing made, the same words start the command.
#[test]
fn what_an_earlier_run_left_is_neither_followed_nor_opened() {
    for user in USERS {
        for (makes, words, says) in [
            // The report: a pipe, a link above it.
            (
                "mkfifo r.json",
                "--report r.json touch started",
                "r.json cannot be written: it is not a regular file",
            ),
            (
                "ln -s ../outside out",
                "--report out/r.json touch started",
                "out is a symbolic link",
            ),
            (
                "mkdir a && ln -s ../../outside a/b",
                "--report a/b/../r.json touch started",
                "a/b is a symbolic link",
            ),
            // The log, which is made with what is above it.
            (
                "ln -s ../outside out",
                "--audit out/log touch started",
                "out is a symbolic link",
            ),
            (
                "ln -s ../outside out",
                "--audit out touch started",
                "out is a symbolic link",
            ),
            ("mkfifo log", "--audit log touch started", "log"),
            // Interpreters: a pipe, which would be waited for, and a device, for which opening is enough.
            (
                "mkfifo pipe; printf '#!%s/pipe\\n' $PWD > tool; chmod +x tool",
                "./tool",
                "which is not an executable file",
            ),
            (
                "printf '#!/dev/zero\\n' > tool; chmod +x tool",
                "./tool",
                "which is not an executable file",
            ),
        ] {
            let workspace = Workspace::new(user);
            workspace.outside();
            let line = format!(
                "{makes}
exec timeout 20 $AEGIS {words}"
            );
            let said = refused(
                &workspace,
                &mut shell(&workspace, &line),
                if words.contains("tool") { 126 } else { 125 },
            );
            assert!(said.contains(says), "{makes}: {words}: {said}");
            let outside = std::fs::read_dir(workspace.outside())
                .expect("outside")
                .count();
            assert_eq!(outside, 0, "{makes}: {words}");
        }
        for to in ["../outside/r", "/dev/zero"] {
            let workspace = Workspace::new(user);
            let outside = workspace.outside();
            let line =
                format!("ln -s {to} r.json; exec timeout 20 $AEGIS --report r.json touch started");
            let found = output(shell(&workspace, &line));
            assert!(found.status.success(), "{to}: {}", text(&found));
            let report = workspace.work().join("r.json");
            assert!(
                report.symlink_metadata().expect("a report").is_file(),
                "{to}"
            );
            assert_eq!(
                std::fs::read_dir(outside).expect("outside").count(),
                0,
                "{to}"
            );
        }
        for words in [
            "--report r.json touch started",
            "--report a/../r.json touch started",
            "--audit ../outside/log/new touch started",
        ] {
            let workspace = Workspace::new(user);
            workspace.outside();
            let line = format!("mkdir a; exec timeout 20 $AEGIS {words}");
            let found = output(shell(&workspace, &line));
            assert!(found.status.success(), "{words}: {}", text(&found));
        }
    }
}

/// `nohup`-like callers and some supervisors ignore SIGCHLD, and hand that on.
#[test]
fn a_caller_that_ignores_its_children_gets_the_commands_status() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let line = "trap '' CHLD; exec $AEGIS sh -c 'exit 7'";
        let found = output(shell(&workspace, line));
        assert_eq!(found.status.code(), Some(7), "{}", text(&found));
    }
}

/// Whoever writes a profile may name files that only its reader may read.
#[test]
fn nothing_of_a_foreign_file_is_in_an_error() {
    for user in USERS {
        for text in [
            "root:$6$secret:19000:0:99999:7:::\n",
            "secret: [1, 2\n",
            "\u{0}secret\n",
            "aegis:$6$secret:1::::::\n",
        ] {
            let workspace = Workspace::new(user);
            let foreign = workspace.write("outside/shadow", text);
            let profile =
                workspace.profile(&format!("aegis: 1\nextends: ['{}']\n", foreign.display()));
            let mut command = workspace.command(program("aegis-run"));
            command.arg("--profile").arg(profile).arg("true");
            let said = refused(&workspace, &mut command, 125);
            assert!(said.contains("is not a profile"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}

#[test]
fn a_run_without_a_terminal_works_and_has_none() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let inside = "tty; (: < /dev/tty); echo $?";
        let found = output(shell(
            &workspace,
            &format!("setsid -w $AEGIS -- sh -c '{inside}'"),
        ));
        assert!(found.status.success(), "{}", text(&found));
        let out = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(out.starts_with("not a tty\n"), "{out}");
        assert!(!out.ends_with("\n0\n"), "{out}");
    }
}

#[test]
fn a_working_directory_that_is_gone_or_closed_is_refused() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let line = "mkdir gone; cd gone; rmdir ../gone; exec $AEGIS touch ../started";
        let said = refused(&workspace, &mut shell(&workspace, line), 125);
        assert!(said.contains("current directory"), "{said}");
    }
    let workspace = Workspace::new(User::Ordinary);
    let line = "mkdir closed; cd closed; chmod 0 .; exec $AEGIS true";
    let found = output(shell(&workspace, line));
    // It can be named and granted, but not searched: an error or a run, but no crash.
    assert!(
        matches!(found.status.code(), Some(0 | 125)),
        "{}",
        text(&found)
    );
    assert!(!text(&found).contains("panicked"), "{}", text(&found));
}

/// A workspace on a disk that is full except for `free` bytes.
fn full(user: User, free: usize) -> Workspace {
    let dir = Path::new("/mnt");
    tmpfs(dir, "mode=755,size=64k");
    let workspace = Workspace::below(user, dir);
    workspace.outside();
    workspace.profile(PROFILE);
    let mut fill = std::fs::File::create(dir.join("fill")).expect("a file of ours");
    while fill.write_all(&[0; 1024]).is_ok() {}
    let length = fill.metadata().expect("its length").len();
    fill.set_len(length - free as u64).expect("it can be cut");
    workspace
}

/// `aegis-run` in a workspace that already has a profile.
fn aegis(workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = workspace.command(program("aegis-run"));
    command
        .env("TMPDIR", "/mnt")
        .arg("--profile")
        .arg("../profile.yaml");
    command.args(words);
    command
}

#[test]
fn a_full_disk_stops_nothing_that_needs_no_room_on_it() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = full(user, 0);
            let words = [
                "--",
                "sh",
                "-c",
                "head -c 100000 /dev/zero > /tmp/x; wc -c < /tmp/x",
            ];
            let found = output(aegis(&workspace, &words));
            assert!(found.status.success(), "{}", text(&found));
            assert_eq!(found.stdout, b"100000\n");
            // The command sees the full disk as usual.
            let words = ["--", "sh", "-c", "head -c 5000 /dev/zero > x"];
            let found = output(aegis(&workspace, &words));
            assert!(!found.status.success(), "{}", text(&found));
            assert!(text(&found).contains("No space left"), "{}", text(&found));
        });
    }
}

#[test]
fn a_full_disk_is_not_told_as_the_private_one() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = full(user, 0);
            let words = ["--", "dd", "if=/dev/zero", "of=x", "bs=4k", "count=4"];
            let found = output(aegis(&workspace, &words));
            assert_eq!(found.status.code(), Some(1), "{}", text(&found));
            let said = String::from_utf8_lossy(&found.stderr);
            assert!(said.contains("No space left"), "{said}");
            assert!(
                !said.contains("tmp:") && !said.contains("private"),
                "{said}"
            );
        });
    }
}

#[test]
fn a_report_on_a_full_disk_is_told_and_not_half_there() {
    for user in USERS {
        in_private_mounts(|| {
            for (script, status) in [("true", 125), ("exit 3", 3)] {
                let workspace = full(user, 1024);
                let words = ["--report", "../outside/report", "--", "sh", "-c", script];
                let found = output(aegis(&workspace, &words));
                assert_eq!(found.status.code(), Some(status), "{}", text(&found));
                let said = String::from_utf8_lossy(&found.stderr);
                let told = "the report ../outside/report could not be written: No space left";
                assert!(said.contains(told), "{said}");
                let left = std::fs::read_dir(workspace.outside()).expect("a directory");
                assert_eq!(left.count(), 0, "{}", text(&found));
            }
        });
    }
}

#[test]
fn a_read_only_tmp_is_no_obstacle() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            workspace.profile(PROFILE);
            // Records are stored elsewhere: a run that cannot be recorded is not started.
            tmpfs(Path::new("/mnt"), "mode=1777");
            read_only(Path::new("/tmp"));
            let denied = std::fs::write("/tmp/aegis-tests-probe", "").expect_err("read-only");
            assert_eq!(denied.raw_os_error(), Some(libc::EROFS));
            let run = |words: &[&str]| {
                let mut command = workspace.command(program("aegis-run"));
                command.env("XDG_STATE_HOME", "/mnt");
                command.args(["--profile", "../profile.yaml"]).args(words);
                command
            };
            let found = output(run(&["--", "sh", "-c", "echo hi > /tmp/x; cat /tmp/x"]));
            assert!(found.status.success(), "{}", text(&found));
            assert_eq!(found.stdout, b"hi\n");
            // Its files stay read-only, even where granted for writing.
            let found = output(run(&["--", "sh", "-c", "echo hi > started"]));
            assert!(!found.status.success(), "{}", text(&found));
            assert!(
                text(&found).contains("Read-only file system"),
                "{}",
                text(&found)
            );
            let mut command = run(&["--report", "/tmp/report", "true"]);
            let said = refused(&workspace, &mut command, 125);
            assert!(said.contains("Read-only file system"), "{said}");
            remount(&workspace);
        });
    }
}

/// Makes `/tmp` writable again, so that the workspace can be removed.
fn remount(workspace: &Workspace) {
    let status = Command::new("umount")
        .arg("/tmp")
        .status()
        .expect("umount starts");
    assert!(status.success(), "{}", workspace.work().display());
}

#[test]
fn a_host_with_two_thousand_mounts_is_no_obstacle() {
    for user in USERS {
        in_private_mounts(|| {
            let dir = Path::new("/mnt");
            tmpfs(dir, "mode=755");
            let workspace = Workspace::below(user, dir);
            workspace.profile(PROFILE);
            for number in 0..2_000 {
                let at = workspace.work().join(number.to_string());
                std::fs::create_dir(&at).expect("mkdir");
                tmpfs(&at, "mode=777,size=4k");
            }
            // Within the granted directory, they are granted with it.
            let words = [
                "--",
                "sh",
                "-c",
                "echo hi > 1999/x && ls | wc -l && cat 1999/x",
            ];
            let found = output(aegis(&workspace, &words));
            assert!(found.status.success(), "{}", text(&found));
            assert_eq!(found.stdout, b"2000\nhi\n", "{}", text(&found));
            unmount(&workspace);
        });
    }
}

/// Unmounts everything on `/mnt`, with the workspace.
fn unmount(workspace: &Workspace) {
    let status = Command::new("umount").args(["-R", "/mnt"]).status();
    assert!(
        status.expect("umount starts").success(),
        "{}",
        workspace.work().display()
    );
}

#[test]
fn an_empty_environment_leaves_the_home_of_the_account() {
    in_private_mounts(|| {
        let workspace = Workspace::new(User::Ordinary);
        let home = workspace.home().display().to_string();
        let account = format!("ana:x:{ORDINARY}:{ORDINARY}::{home}:/bin/sh\n");
        bind(&workspace.write("passwd", account), "/etc/passwd".as_ref());
        let mut command = workspace.command(program("aegis-run"));
        let output = command
            .env_clear()
            .args(["sh", "-c", "echo $HOME"])
            .output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(output.stdout, format!("{home}\n").as_bytes());
        assert!(workspace.home().join(".local/state/aegis/audit").is_dir());
    });
}
