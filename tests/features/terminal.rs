//! An interactive shell in a real terminal: job control, the window's size, and who owns the terminal
//! afterwards.

mod signals;

use std::fmt::Debug;

use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{USERS, Workspace, program, repository};

/// The input that starts the inner shell, with or without Aegis.
fn inner_shell(workspace: &Workspace, confined: bool) -> String {
    if confined {
        under_aegis(workspace, "bash --norc --noprofile -i")
    } else {
        "PS1='inner> ' bash --norc --noprofile -i".into()
    }
}

fn under_aegis(workspace: &Workspace, command: &str) -> String {
    let profile =
        std::fs::read_to_string(repository("tests/profiles/terminal.yaml")).expect("the profile");
    let profile = workspace.profile(&profile);
    // Short names, so that no line of the screen wraps.
    let run = workspace.work().join("run");
    if !run.exists() {
        std::os::unix::fs::symlink(program("aegis-run"), &run).expect("a link");
        std::os::unix::fs::symlink(profile, workspace.work().join("p.yaml")).expect("a link");
    }
    format!("./run --profile p.yaml -- {command}")
}

/// The screen from the inner shell's first prompt on, without process ids.
fn transcript(screen: &str) -> String {
    let start = screen.find("\ninner>").unwrap_or(0);
    screen[start..]
        .lines()
        .map(|line| match line.strip_prefix("[1] ") {
            Some(rest) if rest.trim_end().bytes().all(|byte| byte.is_ascii_digit()) => "[1] PID",
            _ => line.trim_end(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A terminal with the outer shell at its first prompt.
struct Session<'a> {
    workspace: &'a Workspace,
    terminal: Terminal<'a>,
    confined: bool,
    /// For messages.
    told: String,
}

impl Session<'_> {
    /// The input that runs a command, bare or confined as in this session.
    fn typed(&self, command: &str) -> String {
        match self.confined {
            true => under_aegis(self.workspace, command),
            false => command.into(),
        }
    }
}

/// Runs a session with bare commands, and one with confined ones, as either user, each in
/// a workspace of its own. Both must have the same result.
fn bare_and_confined<T: PartialEq + Debug>(session: impl Fn(&Session<'_>) -> T) {
    for user in USERS {
        let [bare, confined] = [false, true].map(|confined| {
            let workspace = Workspace::new(user);
            let terminal = Terminal::open(&workspace, OUTER);
            terminal.prompt("outer>", 1);
            session(&Session {
                workspace: &workspace,
                terminal,
                confined,
                told: format!("as {user:?}, confined {confined}"),
            })
        });
        assert_eq!(bare, confined, "bare and confined, as {user:?}");
    }
}

/// As [`bare_and_confined`], with an inner shell; the screens must be the same.
fn in_both(session: impl Fn(&Terminal<'_>)) {
    bare_and_confined(|outer| {
        outer
            .terminal
            .line(&inner_shell(outer.workspace, outer.confined));
        session(&outer.terminal);
        transcript(&outer.terminal.screen())
    });
}

#[test]
fn job_control_of_an_interactive_shell_is_the_same() {
    in_both(|terminal| {
        terminal.prompt("inner>", 1);
        terminal.line("sleep 1000 &");
        terminal.prompt("inner>", 2);
        terminal.line("jobs");
        let screen = terminal.prompt("inner>", 3);
        assert!(screen.contains("Running"), "{screen}");
        terminal.line("fg");
        terminal.foreground(&["sleep"]);
        terminal.key("C-z");
        let screen = terminal.prompt("inner>", 4);
        assert!(screen.contains("Stopped"), "{screen}");
        terminal.line("bg; jobs");
        terminal.prompt("inner>", 5);
        terminal.line("fg");
        terminal.foreground(&["sleep"]);
        terminal.key("C-c");
        terminal.prompt("inner>", 6);
        terminal.line("echo interrupted: $?");
        let screen = terminal.prompt("inner>", 7);
        assert!(screen.contains("\ninterrupted: 130\n"), "{screen}");
        terminal.line("cat | cat");
        terminal.foreground(&["cat"]);
        terminal.line("through two");
        terminal.wait("what was typed", |screen| {
            screen.ends_with("\nthrough two\nthrough two")
        });
        terminal.key("C-d");
        terminal.prompt("inner>", 8);
        terminal.line("exit 7");
        terminal.prompt("outer>", 2);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nstatus 7\n"), "{screen}");
        // The outer shell has its terminal back: keys reach it, and job control works.
        terminal.line("cat");
        terminal.foreground(&["cat"]);
        terminal.key("C-z");
        terminal.prompt("outer>", 4);
        terminal.line("fg");
        terminal.foreground(&["cat"]);
        terminal.key("C-c");
        terminal.prompt("outer>", 5);
    });
}

#[test]
fn ctrl_c_at_the_prompt_drops_the_line_and_not_the_shell() {
    in_both(|terminal| {
        terminal.prompt("inner>", 1);
        terminal.keys("echo never");
        terminal.wait("what was typed", |screen| {
            screen.ends_with("inner> echo never")
        });
        terminal.key("C-c");
        terminal.prompt("inner>", 2);
        terminal.line("echo dropped: $?");
        let screen = terminal.prompt("inner>", 3);
        assert!(screen.contains("\ndropped: 130\n"), "{screen}");
        terminal.key("C-d");
        terminal.prompt("outer>", 2);
    });
}

#[test]
fn the_windows_size_and_its_changes_reach_the_command() {
    in_both(|terminal| {
        terminal.prompt("inner>", 1);
        terminal.line("stty size");
        let screen = terminal.prompt("inner>", 2);
        assert!(screen.contains("\n30 100\n"), "{screen}");
        // The signal reports it, while a program is in the foreground.
        terminal.line(
            "sh -c 'trap \"stty size; exit 3\" WINCH; echo ready; while :; do sleep 0.1; done'",
        );
        terminal.wait("a program that waits", |screen| screen.ends_with("\nready"));
        terminal.resize(120, 40);
        let screen = terminal.prompt("inner>", 3);
        assert!(screen.contains("\n40 120\n"), "{screen}");
        terminal.line("echo $? $COLUMNS x $LINES");
        let screen = terminal.prompt("inner>", 4);
        assert!(screen.contains("\n3 120 x 40\n"), "{screen}");
        terminal.line("exit");
        terminal.prompt("outer>", 2);
    });
}

#[test]
fn the_outer_shell_stops_and_continues_a_confined_command() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal.line(&under_aegis(&workspace, "cat"));
        terminal.foreground(&["cat"]);
        terminal.line("before");
        terminal.wait("an echo", |screen| screen.ends_with("\nbefore\nbefore"));
        terminal.key("C-z");
        let screen = terminal.prompt("outer>", 2);
        assert!(screen.contains("Stopped"), "as {user:?}: {screen}");
        terminal.line("fg");
        terminal.foreground(&["cat"]);
        terminal.line("after");
        terminal.wait("an echo after continuing", |screen| {
            screen.ends_with("\nafter\nafter")
        });
        terminal.key("C-d");
        terminal.prompt("outer>", 3);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 4);
        assert!(screen.contains("\nstatus 0\n"), "as {user:?}: {screen}");
    }
}

#[test]
fn ctrl_c_ends_a_confined_command_and_the_terminal_is_the_shells_again() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        // A command that leaves the terminal without echo, like a password prompt.
        terminal.line(&under_aegis(
            &workspace,
            "sh -c 'stty -echo; echo hidden; exec sleep 1000'",
        ));
        terminal.wait("the command", |screen| screen.ends_with("\nhidden"));
        terminal.key("C-c");
        terminal.prompt("outer>", 2);
        terminal.line("echo status $?; stty -a < /dev/tty | grep -ow -- '-\\?echo'");
        let screen = terminal.prompt("outer>", 3);
        assert!(
            screen.contains("\nstatus 130\necho\n"),
            "as {user:?}: {screen}"
        );
    }
}

#[test]
fn a_confined_job_in_the_background_leaves_the_terminal_alone() {
    // It waits while in the background, and reads from the terminal once it owns it.
    let command = "sh -c ': > started; until [ -e go ]; do sleep 0.1; done; read line; echo got $line; exec sleep 1000'";
    bare_and_confined(|session| {
        let Session {
            workspace,
            terminal,
            confined,
            told,
            ..
        } = session;
        let command = session.typed(command);
        terminal.line(&format!("{command} &"));
        terminal.prompt("outer>", 2);
        terminal.line("echo the shell reads");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nthe shell reads\n"), "{told}: {screen}");
        terminal.wait("start of the command", |_| {
            workspace.work().join("started").exists()
        });
        terminal.line("fg");
        // Started in the background, so `aegis-run` may be the foreground program.
        terminal.foreground(if *confined { &["./run", "sh"] } else { &["sh"] });
        workspace.write("work/go", "");
        terminal.line("a line");
        terminal.wait("what was read", |screen| screen.ends_with("\ngot a line"));
        terminal.foreground(&["sleep"]);
        terminal.key("C-c");
        terminal.prompt("outer>", 4);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 5);
        assert!(screen.contains("\nstatus 130\n"), "{told}: {screen}");
    });
}

#[test]
fn ctrl_c_ends_a_loop_of_confined_commands() {
    // A shell continues after a command that handled the signal, and stops if the signal ended it:
    // `aegis-run` must not lose that.
    bare_and_confined(|session| {
        let Session { terminal, told, .. } = session;
        let command = "sh -c \"echo turn $n; exec sleep 1000\"";
        let command = session.typed(command);
        terminal.line(&format!("for n in 1 2; do {command}; done"));
        terminal.wait("the loop", |screen| screen.ends_with("\nturn 1"));
        terminal.key("C-c");
        let screen = terminal.wait("end of the loop or its next turn", |screen| {
            screen.ends_with("outer>") || screen.contains("turn 2")
        });
        assert!(!screen.contains("turn 2"), "{told}: {screen}");
    });
}

#[test]
fn a_confined_job_that_reads_in_the_background_is_stopped_until_it_may() {
    bare_and_confined(|session| {
        let Session { terminal, told, .. } = session;
        let command = session.typed("cat");
        terminal.line(&format!("{command} &"));
        let screen = terminal.prompt("outer>", 2);
        let job = screen.lines().find_map(|line| line.strip_prefix("[1] "));
        let job = job
            .expect("the shell tells the job's number")
            .trim()
            .to_owned();
        terminal.wait("stop of the job", |_| stopped(&job));
        // The shell still owns the terminal.
        terminal.line("echo the shell reads");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.contains("\nthe shell reads\n"), "{told}: {screen}");
        assert!(screen.contains("Stopped"), "{told}: {screen}");
        terminal.line("fg");
        terminal.foreground(&["cat"]);
        terminal.line("a line");
        terminal.wait("the line again", |screen| {
            screen.ends_with("\na line\na line")
        });
        terminal.key("C-d");
        terminal.prompt("outer>", 4);
        terminal.line("echo status $?");
        let screen = terminal.prompt("outer>", 5);
        assert!(screen.contains("\nstatus 0\n"), "{told}: {screen}");
    });
}

/// Each lends the terminal to its own command, if it can.
#[test]
fn the_command_of_a_pipeline_that_reads_the_terminal_has_it() {
    bare_and_confined(|session| {
        let Session { terminal, told, .. } = session;
        terminal.line("mkfifo gate");
        terminal.prompt("outer>", 2);
        // The second one starts first.
        let (first, second) = (session.typed("cat"), session.typed("sh -c 'echo up; cat'"));
        terminal.line(&format!(
            "(read -r _ < gate; {first}) | {second}; echo status $?"
        ));
        terminal.wait("the second command", |screen| screen.contains("\nup"));
        std::fs::write(session.workspace.work().join("gate"), "\n").expect("it is waited for");
        terminal.line("a line");
        terminal.wait("the line again", |screen| {
            screen.ends_with("\na line\na line")
        });
        terminal.key("C-d");
        let screen = terminal.prompt("outer>", 3);
        assert!(screen.ends_with("\nstatus 0\nouter>"), "{told}: {screen}");
    });
}

/// Whether a process is stopped.
fn stopped(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| status.contains("\nState:\tT"))
}

#[test]
fn a_confined_job_that_ends_in_the_background_leaves_the_terminal_to_the_shell() {
    bare_and_confined(|session| {
        let Session {
            workspace,
            terminal,
            told,
            ..
        } = session;
        // One process that waits: a shell that is just starting another by `vfork` does not stop.
        terminal.line("mkfifo go");
        terminal.prompt("outer>", 2);
        terminal.line(&session.typed("cat go"));
        terminal.foreground(&["cat"]);
        terminal.key("C-z");
        terminal.prompt("outer>", 3);
        terminal.line("bg; echo job $(jobs -p)");
        let screen = terminal.prompt("outer>", 4);
        let job = screen.lines().find_map(|line| line.strip_prefix("job "));
        let job = job.expect("the job's number").trim().to_owned();
        workspace.write("work/go", "");
        terminal.wait("end of the job", |_| !running(&job));
        terminal.line("echo the shell reads");
        let screen = terminal.prompt("outer>", 5);
        assert!(screen.contains("\nthe shell reads\n"), "{told}: {screen}");
        assert!(screen.contains("Done"), "{told}: {screen}");
    });
}

/// Whether a process is there and has not ended.
fn running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("\nState:\tZ"))
}

#[test]
fn a_confined_job_that_is_killed_in_the_background_leaves_the_terminals_modes_alone() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let terminal = Terminal::open(&workspace, OUTER);
        terminal.prompt("outer>", 1);
        let command = "sh -c ': > started; exec sleep 1000'";
        // It starts while the shell edits no line, and finds the modes for commands.
        terminal.line(&format!(
            "{} & until [ -e started ]; do sleep 0.1; done",
            under_aegis(&workspace, command)
        ));
        terminal.prompt("outer>", 2);
        terminal.line("echo job $(jobs -p)");
        let screen = terminal.prompt("outer>", 3);
        let job = screen.lines().find_map(|line| line.strip_prefix("job "));
        let job = job.expect("the job's number").trim().to_owned();
        // Now the shell edits a line, and has set its own modes for that.
        terminal.keys("echo begun");
        terminal.wait("what was typed", |screen| screen.ends_with("echo begun"));
        let pid = job.parse().expect("a number");
        // SAFETY: no pointers; the process is the job, which cannot have ended.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        terminal.wait("end of the job", |_| !running(&job));
        terminal.line(" and ended");
        let screen = terminal.prompt("outer>", 4);
        assert!(
            screen.contains("outer> echo begun and ended\nbegun and ended\n"),
            "as {user:?}: {screen}"
        );
    }
}
