//! `--stdio relay`: nothing of the caller's 0, 1 and 2 is within reach, and all else is as without it.

mod terminals;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use aegis_tests::host::ends;
use aegis_tests::terminal::Terminal;
use aegis_tests::{USERS, User, Workspace, program, text};

const PLAIN: &str = "aegis: 1\nname: relay\nextends: [shell]\n";
const MODES: [&str; 2] = ["inherit", "relay"];

/// A shell in a terminal, as a person has one.
const OUTER: &str = "PS1='outer> ' exec bash --norc --noprofile -i";

fn run(workspace: &Workspace, mode: &str, profile: &str, script: &str) -> Command {
    let profile = workspace.profile(profile);
    let mut command = workspace.command(program("aegis-run"));
    command.args(["--stdio", mode, "--profile"]).arg(profile);
    command.args(["--", "sh", "-c", script]);
    command
}

/// A file of the user's outside of the sandbox, which anybody may open.
fn file(workspace: &Workspace, name: &str) -> PathBuf {
    let path = workspace.write(&format!("home/{name}"), "before\n");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o646)).expect("chmod");
    path
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file of ours")
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file of ours").mode() & 0o777
}

fn ended(mut child: Child) -> Output {
    if !ends(&child) {
        child.kill().expect("a child of ours");
        panic!(
            "it does not end: {}",
            text(&child.wait_with_output().expect("ours"))
        );
    }
    child.wait_with_output().expect("a child of ours")
}

/// Without a relay the command itself would be told.
#[test]
fn output_that_a_file_does_not_take_is_not_lost_in_silence() {
    let ran = |workspace: &Workspace, profile: &str, script: &str, to: File| {
        run(workspace, "relay", profile, script)
            .stdout(to)
            .output()
            .expect("aegis-run starts")
    };
    for user in USERS {
        let workspace = Workspace::new(user);
        let full = || {
            OpenOptions::new()
                .write(true)
                .open("/dev/full")
                .expect("it is there")
        };
        let lost = ran(&workspace, PLAIN, "echo lost", full());
        assert_eq!(lost.status.code(), Some(125), "{user:?}: {}", text(&lost));
        let told = String::from_utf8_lossy(&lost.stderr);
        assert!(
            told.contains("could not all be passed on"),
            "{user:?}: {told}"
        );
        // What failed anyway has its own status.
        let failed = ran(&workspace, PLAIN, "echo lost; exit 3", full());
        assert_eq!(failed.status.code(), Some(3), "{user:?}: {}", text(&failed));

        let limited = format!("{PLAIN}limits: {{file-size: 4KiB}}\n");
        let log = file(&workspace, "log");
        let append = OpenOptions::new().append(true).open(&log).expect("a file");
        let cut = ran(&workspace, &limited, "seq 2000", append);
        assert_eq!(cut.status.code(), Some(153), "{user:?}: {}", text(&cut));
        let told = String::from_utf8_lossy(&cut.stderr);
        assert!(told.contains("limits.file-size"), "{user:?}: {told}");
        assert_eq!(log.metadata().expect("a file of ours").len(), 4096);
    }
}

#[test]
fn the_mode_and_the_times_of_files_are_not_the_commands_to_change() {
    for (user, how) in USERS
        .into_iter()
        .flat_map(|user| MODES.map(|how| (user, how)))
    {
        let workspace = Workspace::new(user);
        let (input, output) = (file(&workspace, "in"), file(&workspace, "out"));
        let before = input.metadata().expect("a file of ours").mtime();
        let script =
            "chmod 600 /proc/self/fd/0 /proc/self/fd/1; touch -d 2001-01-01 /proc/self/fd/0; true";
        let ran = run(&workspace, how, PLAIN, script)
            .stdin(File::open(&input).expect("a file"))
            .stdout(
                OpenOptions::new()
                    .write(true)
                    .open(&output)
                    .expect("a file"),
            )
            .output()
            .expect("aegis-run starts");
        assert!(ran.status.success(), "{user:?}, {how}: {}", text(&ran));
        // Root's command is another user than the files' owner.
        let changed = user == User::Ordinary && how == "inherit";
        for path in [&input, &output] {
            assert_eq!(
                mode(path) == 0o600,
                changed,
                "{user:?}, {how}: {}",
                path.display()
            );
        }
        let after = input.metadata().expect("a file of ours").mtime();
        assert_eq!(before != after, changed, "{user:?}, {how}");
    }
}

#[test]
fn a_log_that_is_appended_to_is_only_appended_to() {
    for (user, how) in USERS
        .into_iter()
        .flat_map(|user| MODES.map(|how| (user, how)))
    {
        let workspace = Workspace::new(user);
        for (appends, kept) in [(true, true), (false, how == "relay")] {
            let log = file(&workspace, "log");
            let open = match appends {
                true => OpenOptions::new().append(true).open(&log),
                false => OpenOptions::new().write(true).open(&log),
            };
            let mut open = open.expect("a file");
            if !appends {
                std::io::Seek::seek(&mut open, std::io::SeekFrom::End(0)).expect("a file");
            }
            let script = "printf forged | dd of=/dev/stdout conv=notrunc status=none; : > /dev/stdout; echo end";
            let ran = run(&workspace, how, PLAIN, script)
                .stdin(Stdio::null())
                .stdout(open)
                .output()
                .expect("aegis-run starts");
            let told = format!("{user:?}, {how}, {appends}: {}", text(&ran));
            assert_eq!(
                read(&log) == "before\nforgedend\n",
                kept,
                "{told}\n{}",
                read(&log)
            );
        }
    }
}

#[test]
fn what_others_have_written_to_a_pipe_is_not_read() {
    for how in MODES {
        let workspace = Workspace::new(User::Ordinary);
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        std::os::unix::fs::fchown(&writer, Some(aegis_tests::ORDINARY), None).expect("chown");
        writer.write_all(b"another's\n").expect("a pipe");
        let script = "exec 3>&1; chmod 600 /proc/self/fd/3; \
                      dd if=/proc/self/fd/3 iflag=nonblock count=1 status=none >&2";
        let ran = run(&workspace, how, PLAIN, script)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let ran = ended(ran);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).expect("a pipe");
        let taken = how == "inherit";
        let told = text(&ran);
        assert_eq!(told.contains("another's"), taken, "{how}: {told}");
        assert_eq!(rest == "another's\n", !taken, "{how}: {told}");
    }
}

#[test]
fn every_byte_passes_in_both_directions_and_the_status_with_it() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    for user in USERS {
        let workspace = Workspace::new(user);
        let mut child = run(&workspace, "relay", PLAIN, "cat; echo end >&2; exit 7")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let mut input = child.stdin.take().expect("a pipe");
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                input.write_all(&bytes).expect("cat reads");
                drop(input);
            });
            child.wait_with_output().expect("a child of ours")
        });
        assert_eq!(output.status.code(), Some(7), "{user:?}");
        assert!(
            output.stdout == bytes,
            "{user:?}: {} bytes",
            output.stdout.len()
        );
        assert!(output.stderr.starts_with(b"end\n"), "{user:?}");
    }
}

#[test]
fn ends_are_passed_on() {
    for user in USERS {
        let workspace = Workspace::new(user);
        // Nobody reads the output any more.
        let mut child = run(&workspace, "relay", PLAIN, "exec yes")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        drop(child.stdout.take());
        let status = ended(child).status;
        let signal = status.signal().or(status.code().map(|code| code - 128));
        assert_eq!(signal, Some(libc::SIGPIPE), "{user:?}: {status}");
        // The command does not read its input, of which there is no end.
        let child = run(&workspace, "relay", PLAIN, "exec <&-; echo done")
            .stdin(File::open("/dev/zero").expect("a device"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let output = ended(child);
        assert_eq!(output.stdout, b"done\n", "{user:?}: {}", text(&output));
        // Something that keeps the pipes outlives the command, though not the run.
        let child = run(&workspace, "relay", PLAIN, "sleep 1000 & seq 10000")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let output = ended(child);
        assert!(
            output.stdout.ends_with(b"\n9999\n10000\n"),
            "{user:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn nobody_who_reads_or_writes_holds_up_a_time_limit() {
    let limited = format!("{PLAIN}limits: {{time: 1s}}\n");
    for user in USERS {
        let workspace = Workspace::new(user);
        // Written until it is full, and read by nobody; a writer of the input who writes nothing.
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let (input, _writer) = std::io::pipe().expect("a pipe");
        let child = run(&workspace, "relay", &limited, "exec yes")
            .stdin(input)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let output = ended(child);
        assert_eq!(
            output.status.code(),
            Some(124),
            "{user:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn descriptors_that_do_not_block_are_waited_for() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("a socket");
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let mut child = run(&workspace, "relay", PLAIN, "cat")
            .stdin(theirs.try_clone().expect("a socket"))
            .stdout(theirs)
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let sent: String = (0..50_000).map(|i| format!("{i}\n")).collect();
        let mut got = String::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&ours).write_all(sent.as_bytes()).expect("a socket");
                ours.shutdown(std::net::Shutdown::Write).expect("a socket");
            });
            (&ours).read_to_string(&mut got).expect("a socket");
        });
        let status = child.wait().expect("a child of ours");
        assert!(
            status.success() && got == sent,
            "{user:?}: {status}, {} bytes",
            got.len()
        );
    }
}

/// A line of a shell that runs a script on a terminal under `--stdio relay`.
fn line(workspace: &Workspace, words: &str) -> String {
    let profile = workspace.profile(PLAIN);
    let (program, profile) = (program("aegis-run"), profile.display());
    format!(
        "{} --stdio relay --profile {profile} -- {words}",
        program.display()
    )
}

#[test]
fn a_terminal_is_one_of_the_runs_own() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = "sh -c 'stty -echo; chmod 666 /proc/self/fd/0; test -t 0 && test -t 1 && test -t 2 && stty size; \
                      until [ \"$(stty size)\" = \"20 90\" ]; do :; done; \
                      echo resized; read line; echo got $line; cat; echo end; exit 3'";
        let line = format!(
            "stty -g > before; stat -Lc %a /proc/self/fd/0 > mode; {}; echo status $?; stty -g > after; \
             stat -Lc %a /proc/self/fd/0 | cmp - mode && cmp before after && echo as before; exec sleep 1000",
            line(&workspace, script)
        );
        let terminal = Terminal::open(&workspace, &line);
        terminal.wait("the size", |screen| screen.contains("30 100"));
        terminal.resize(90, 20);
        terminal.wait("the new size", |screen| screen.contains("\nresized"));
        terminal.line("typed");
        terminal.wait("what was read", |screen| screen.contains("\ngot typed"));
        terminal.line("more");
        terminal.wait("what was copied", |screen| screen.contains("\nmore"));
        terminal.key("C-d");
        let screen = terminal.wait("the end", |screen| screen.contains("\nas before"));
        assert!(screen.contains("\nend\nstatus 3\n"), "{user:?}: {screen}");
        // Without an echo, since the command has turned that off.
        assert!(!screen.contains("\ntyped\n"), "{user:?}: {screen}");
    }
}

#[test]
fn control_c_ends_the_command_and_the_loop_that_it_is_in() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = line(&workspace, "sh -c 'echo begun; sleep 1000; echo never'");
        workspace.write(
            "work/loop",
            format!("for i in 1 2; do {run}; echo again; done"),
        );
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal.line("bash loop");
        terminal.wait("the command", |screen| screen.contains("\nbegun"));
        terminal.key("C-c");
        terminal.prompt("outer>", 2);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nstatus 130\n"), "{user:?}: {screen}");
        let went_on = screen.contains("\nagain") || screen.contains("\nnever");
        assert!(!went_on, "{user:?}: {screen}");
    }
}

#[test]
fn a_shell_has_job_control_on_the_runs_own_terminal() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = line(&workspace, "bash --norc --noprofile -i");
        workspace.write("work/run", format!("exec {run}"));
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal.line("sh run");
        terminal.wait("the inner shell", |screen| screen.ends_with("$"));
        terminal.line("PS1='inner> '");
        terminal.prompt("inner>", 1);
        terminal.line("sleep 1000");
        terminal.wait("the job", |screen| screen.ends_with("sleep 1000"));
        terminal.key("C-z");
        let screen = terminal.prompt("inner>", 2);
        assert!(screen.contains("Stopped"), "{user:?}: {screen}");
        terminal.line("kill -9 %1; wait %1");
        terminal.prompt("inner>", 3);
        terminal.line("exit 5");
        terminal.prompt("outer>", 2);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nstatus 5\n"), "{user:?}: {screen}");
    }
}

#[test]
fn a_terminal_has_its_modes_back_when_aegis_is_killed() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = line(&workspace, "sh -c 'echo begun; read line'");
        let line = format!(
            "stty -a > before; sh -c 'echo $$ > pid; exec {}'; until stty -a | cmp -s - before; do :; done; \
             echo as before; exec sleep 1000",
            run.replace('\'', "'\\''")
        );
        let terminal = Terminal::open(&workspace, &line);
        terminal.wait("the command", |screen| screen.contains("begun"));
        let pid = read(&workspace.work().join("pid"));
        let pid: i32 = pid.trim().parse().expect("a pid");
        // SAFETY: no pointers; it is a process that this test started.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        terminal.wait("its modes", |screen| screen.contains("as before"));
    }
}

#[test]
fn control_c_reaches_the_command_where_only_its_input_is_a_terminal() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = line(&workspace, "bash -c 'echo begun; sleep 1000; echo never'");
        workspace.write("work/run", format!("exec {run}"));
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal.line("sh run | cat");
        terminal.wait("the command", |screen| screen.contains("\nbegun"));
        terminal.key("C-c");
        terminal.prompt("outer>", 2);
        terminal.line("echo status ${PIPESTATUS[0]}");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nstatus 130\n"), "{user:?}: {screen}");
        assert!(!screen.contains("\nnever"), "{user:?}: {screen}");
    }
}

#[test]
fn a_file_that_is_appended_to_becomes_no_larger_than_the_commands_files_may() {
    let limited = format!("{PLAIN}limits: {{file-size: 100K}}\n");
    for user in USERS {
        let workspace = Workspace::new(user);
        let log = file(&workspace, "log");
        let child = run(&workspace, "inherit", &limited, "exec yes")
            .stdout(OpenOptions::new().append(true).open(&log).expect("a file"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("aegis-run starts");
        let output = ended(child);
        let size = log.metadata().expect("a file of ours").len();
        assert!(!output.status.success(), "{user:?}: {}", text(&output));
        assert_eq!(size, 100 << 10, "{user:?}: {}", text(&output));
    }
}
