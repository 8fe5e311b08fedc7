//! What the terminal sends to a command goes on to whoever started it, as without Aegis; what the command
//! sends stays inside.

use std::path::PathBuf;

use super::*;

/// Says its turn, and waits.
const WAITS: &str = "sh -c 'echo turn; exec sleep 1000'";

/// Programs that start a command, and say so if they go on after it. `COMMAND` stands for its words.
const CALLERS: [(&str, &str); 6] = [
    ("sh", "for n in 1 2; do COMMAND; done; echo went on"),
    ("bash", "for n in 1 2; do COMMAND; done; echo went on"),
    ("sh", "COMMAND; echo went on"),
    ("bash", "COMMAND && true || echo went on; echo went on"),
    ("sh", "COMMAND | cat; echo went on"),
    (
        "python3",
        "import subprocess\n\
         try: subprocess.run(\"exec COMMAND\", shell=True)\n\
         except KeyboardInterrupt: print('told'); raise\n\
         print('went on')\n",
    ),
];

#[test]
fn ctrl_c_ends_whatever_has_started_a_confined_command() {
    for key in ["C-c", "C-\\"] {
        // bash ignores SIGQUIT.
        let callers = CALLERS
            .iter()
            .filter(|(caller, _)| key == "C-c" || *caller != "bash");
        for (caller, text) in callers {
            bare_and_confined(|session| {
                let Session { terminal, told, .. } = session;
                let told = format!("{caller} {text:?} and {key}, {told}");
                let command = session.typed(WAITS);
                session
                    .workspace
                    .write("work/script", text.replace("COMMAND", &command));
                terminal.line(&format!("ulimit -c 0; {caller} script"));
                terminal.wait("the command", |screen| screen.ends_with("\nturn"));
                terminal.key(key);
                let screen = terminal.prompt("outer>", 2);
                assert!(!screen.contains("went on"), "{told}: {screen}");
                terminal.line("echo status $?");
                let screen = terminal.prompt("outer>", 3);
                let status = screen
                    .lines()
                    .rev()
                    .find(|line| line.starts_with("status "));
                (
                    status.map(str::to_owned),
                    screen.matches("turn").count(),
                    screen.contains("\ntold\n"),
                )
            });
        }
    }
}

#[test]
fn a_command_that_signals_itself_or_its_group_ends_nobody_else() {
    let forged = "import ctypes, platform, signal\n\
        libc = ctypes.CDLL(None)\n\
        info = (ctypes.c_int * 32)(signal.SIGINT, 0, 0x80)\n\
        call = {'x86_64': 129, 'aarch64': 138}[platform.machine()]\n\
        signal.signal(signal.SIGINT, signal.SIG_IGN)\n\
        for pid in range(2, 10): libc.syscall(call, pid, signal.SIGINT, info)\n\
        signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
        signal.raise_signal(signal.SIGINT)\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/forged.py", forged);
        let shell = |text| under_aegis(&workspace, &format!("sh -c '{text}'"));
        for command in [
            shell("kill -INT $$"),
            shell("kill -QUIT $$"),
            shell("kill -INT 0; sleep 1000"),
            shell("exit 130"),
            // With the code of a signal of the kernel's: `rt_sigqueueinfo(2)`.
            "./run --profile python --set 'capabilities.files.read=[$WORK]' python3 forged.py"
                .into(),
        ] {
            let terminal = Terminal::open(&workspace, OUTER);
            terminal.prompt("outer>", 1);
            workspace.write("work/script", format!("{command}; echo went on $?"));
            terminal.line("bash script");
            let screen = terminal.prompt("outer>", 2);
            assert!(
                screen.contains("\nwent on 13"),
                "{command} as {user:?}: {screen}"
            );
        }
    }
}

#[test]
fn a_command_that_stops_itself_stops_nobody_else() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        let command = under_aegis(&workspace, "sh -c 'kill -STOP $$; echo continued'");
        workspace.write(
            "work/script",
            format!("mkfifo go; (read line < go; echo alive) & {command}; wait"),
        );
        terminal.line("sh script");
        terminal.wait("stop of aegis-run", |_| {
            started_here(&workspace).is_some_and(|pid| stopped(&pid.to_string()))
        });
        std::fs::write(workspace.work().join("go"), "\n").expect("its reader is there");
        terminal.wait("the other one", |screen| screen.ends_with("\nalive"));
        let pid = started_here(&workspace).expect("a process of ours");
        // SAFETY: no pointers; the process is stopped, and so has not ended.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
        let screen = terminal.prompt("outer>", 2);
        assert!(screen.contains("\ncontinued\n"), "as {user:?}: {screen}");
    }
}

/// The pid of the `aegis-run`, here a link named `run`, that the workspace's script has started: the first of its processes.
fn started_here(workspace: &Workspace) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let mut found: Vec<i32> = entries
        .flatten()
        .filter(|entry| {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file));
            let there = |path: PathBuf| path == workspace.work();
            read("comm").is_ok_and(|name| name == "run\n")
                && std::fs::read_link(entry.path().join("cwd")).is_ok_and(there)
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    found.sort_unstable();
    found.first().copied()
}

#[test]
fn ctrl_z_stops_a_script_with_a_confined_command() {
    bare_and_confined(|session| {
        let Session {
            workspace,
            terminal,
            told,
            ..
        } = session;
        let command = session.typed("cat");
        workspace.write("work/script", format!("{command}; echo went on"));
        terminal.line("sh script");
        terminal.foreground(if session.confined {
            &["cat", "run"]
        } else {
            &["sh", "cat"]
        });
        terminal.line("before");
        terminal.wait("an echo", |screen| screen.ends_with("\nbefore\nbefore"));
        terminal.key("C-z");
        let screen = terminal.prompt("outer>", 2);
        assert!(screen.contains("Stopped"), "{told}: {screen}");
        terminal.line("fg");
        terminal.wait("the job again", |screen| screen.ends_with("sh script"));
        terminal.line("after");
        terminal.wait("an echo", |screen| screen.ends_with("\nafter\nafter"));
        terminal.key("C-d");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nwent on\n"), "{told}: {screen}");
    });
}

#[test]
fn without_job_control_nothing_is_stopped_by_the_terminal() {
    for user in USERS {
        for confined in [false, true] {
            let workspace = Workspace::new(user);
            let command = "sh -c 'kill -TSTP $$; echo went on; exec sleep 1000'";
            let command = match confined {
                true => under_aegis(&workspace, command),
                false => command.into(),
            };
            let terminal = Terminal::open(&workspace, &command);
            terminal.wait("what comes after the stop", |screen| {
                screen.ends_with("went on")
            });
        }
    }
}
