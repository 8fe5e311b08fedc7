//! `aegis top` on a real terminal, in batch mode, and as lines of JSON.

use std::process::Child;

use aegis_tests::audit_log::aegis;
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{USERS, Workspace, host, program, text};
use serde_json::Value;

/// A run that goes on until its standard input ends.
fn up(workspace: &Workspace, name: &str, script: &str) -> Child {
    let text = format!("aegis: 1\nname: {name}\nextends: [shell]\n");
    let profile = workspace.write(&format!("{name}.yaml"), text);
    host::started(&mut workspace.aegis(&profile, &["sh", "-c", script]), "up")
}

const WAITS: &str = "echo up; read -r line; :";

/// As each user, on a host where nothing else is listed.
fn alone(body: impl Fn(&Workspace) + Send + Sync) {
    for user in USERS {
        host::in_private_mounts(|| {
            host::tmpfs("/run".as_ref(), "mode=755");
            body(&Workspace::new(user));
        });
    }
}

/// A terminal with a shell, which can start `./aegis`.
fn terminal(workspace: &Workspace) -> Terminal<'_> {
    let link = workspace.work().join("aegis");
    std::os::unix::fs::symlink(program("aegis"), link).expect("a link");
    let terminal = Terminal::open(workspace, OUTER);
    terminal.prompt("outer>", 1);
    terminal
}

/// The modes of the terminal, which the shell prints.
fn modes(terminal: &Terminal<'_>, prompts: usize) -> String {
    terminal.line("stty -g");
    let screen = terminal.prompt("outer>", prompts);
    let mut lines = screen.lines().rev().skip(1);
    lines.next().expect("modes").to_owned()
}

#[test]
fn the_list_is_sorted_chosen_from_and_ended_by_keys() {
    alone(|workspace| {
        let mut kept = up(workspace, "kept", WAITS);
        let mut ended = up(workspace, "ended", "echo up; while :; do :; done");
        let terminal = terminal(workspace);
        let before = modes(&terminal, 2);
        terminal.line("./aegis top -d 0.2");
        // The one that takes more is first, and is chosen.
        let is_before = |screen: &str, first: &str, second: &str| {
            let at = |name: &str| {
                screen
                    .lines()
                    .position(|line| line.contains(&format!("  {name}  ")))
            };
            at(first).is_some() && at(first) < at(second)
        };
        terminal.wait("both, by processor", |screen| {
            is_before(screen, "ended", "kept") && screen.contains("by processor")
        });
        terminal.keys("M");
        terminal.wait("them by memory", |screen| screen.contains("by memory"));
        terminal.keys("P");
        terminal.wait("them by processor", |screen| {
            screen.contains("by processor") && is_before(screen, "ended", "kept")
        });
        // No: nothing is ended. The arrows choose another.
        terminal.keys("k");
        terminal.wait("a question", |screen| screen.contains("(ended)? y or n"));
        terminal.keys("n");
        terminal.wait("no question", |screen| !screen.contains("y or n"));
        terminal.key("Down");
        terminal.keys("k");
        terminal.wait("a question", |screen| screen.contains("(kept)? y or n"));
        terminal.key("Escape");
        terminal.wait("no question", |screen| !screen.contains("y or n"));
        terminal.key("Up");
        terminal.resize(70, 10);
        terminal.keys("k");
        terminal.wait("a question in a smaller window", |screen| {
            screen.contains("(ended)? y or n")
                && screen.lines().all(|line| line.chars().count() <= 70)
        });
        terminal.keys("y");
        terminal.wait("it gone", |screen| {
            !screen.contains("  ended  ") && screen.contains("  kept  ")
        });
        assert!(!ended.wait().expect("it ends").success());
        terminal.keys("q");
        let screen = terminal.prompt("outer>", 3);
        assert!(
            !screen.contains("by processor"),
            "the screen before is there again:\n{screen}"
        );
        assert_eq!(modes(&terminal, 4), before);
        drop(kept.stdin.take());
        kept.wait().expect("it ends");
    });
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    alone(|workspace| {
        let terminal = terminal(workspace);
        let before = modes(&terminal, 2);
        let mut prompts = 2;
        let start = "sh -c 'echo $$ > pid; exec ./aegis top'";
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
            terminal.line(start);
            terminal.wait("the list", |screen| screen.contains("nothing runs"));
            let pid = std::fs::read_to_string(workspace.work().join("pid")).expect("a pid");
            // SAFETY: no pointers.
            unsafe { libc::kill(pid.trim().parse().expect("a number"), signal) };
            prompts += 1;
            terminal.wait("the shell", |screen| {
                screen.matches("outer>").count() == prompts && !screen.contains("nothing runs")
            });
            prompts += 1;
            assert_eq!(modes(&terminal, prompts), before, "after signal {signal}");
        }
        // Stopped, and gone on with.
        terminal.line(start);
        terminal.wait("the list", |screen| screen.contains("nothing runs"));
        terminal.key("C-z");
        prompts += 1;
        terminal.wait("the shell", |screen| {
            screen.contains("Stopped") && screen.matches("outer>").count() == prompts
        });
        prompts += 1;
        assert_eq!(modes(&terminal, prompts), before, "stopped");
        terminal.line("fg");
        terminal.wait("the list again", |screen| screen.contains("nothing runs"));
        terminal.key("C-c");
        prompts += 1;
        terminal.wait("the shell", |screen| {
            screen.matches("outer>").count() == prompts && !screen.contains("nothing runs")
        });
        prompts += 1;
        assert_eq!(modes(&terminal, prompts), before, "after Control-C");
    });
}

#[test]
fn without_a_terminal_lists_and_lines_are_printed() {
    alone(|workspace| {
        let mut run = up(workspace, "shown", WAITS);
        let output = aegis(workspace, &["top", "-b", "-n", "2", "-d", "0.1"]);
        assert!(output.status.success(), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.matches("1 sandbox\n").count(), 2, "{said}");
        assert_eq!(said.matches("  shown  ").count(), 2, "{said}");
        assert!(!said.contains('\x1b'), "{said}");
        let output = aegis(workspace, &["top", "--json", "-n", "3", "-d", "0.1"]);
        assert!(output.status.success(), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let looks: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(looks.len(), 3);
        for look in looks {
            assert_eq!(look["runs"][0]["profile"], "shown", "{look}");
            assert_eq!(look["runs"][0]["usage"]["processes"], 1, "{look}");
            assert!(
                look["runs"][0]["share"]
                    .as_f64()
                    .is_some_and(|share| share >= 0.0),
                "{look}"
            );
        }
        for (words, says, status) in [
            (&["top"][..], "standard output is no terminal", 1),
            (&["top", "-d", "0"], "from 0.1 to 86400", 2),
            (&["top", "-n", "0"], "0", 2),
        ] {
            let output = aegis(workspace, words);
            assert_eq!(output.status.code(), Some(status), "{}", text(&output));
            assert!(text(&output).contains(says), "{}", text(&output));
        }
        drop(run.stdin.take());
        run.wait().expect("it ends");
    });
}
