//! A policy that wants a passphrase with a yes: typed on a real terminal, whose other end is a program.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use aegis_tests::audit_log::aegis;
use aegis_tests::terminal::Terminal;
use aegis_tests::{program, text};

use crate::approvals::{Home, question, typed};

/// Of `correct horse`, cheap to compute.
pub(crate) const LINE: &str = "approval-passphrase: $scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU\n";

const PASSPHRASE: &str = "correct horse";

/// The prompt for it.
const PROMPT: &str = "Passphrase of the policy asks:";

/// A home whose policy asks for a passphrase.
fn home() -> Home {
    let home = Home::new();
    add(&home);
    home
}

fn add(home: &Home) {
    let file = home.workspace.work().join("asks.yaml");
    let policy = fs::read_to_string(&file).expect("the policy");
    fs::write(&file, policy + LINE).expect("written");
}

/// Waits until the passphrase is asked for.
fn asked(terminal: &Terminal<'_>, count: usize) -> String {
    terminal.wait(&format!("passphrase, for the {count}th time"), |screen| {
        screen.matches(PROMPT).count() == count && screen.ends_with(PROMPT)
    })
}

#[test]
fn a_yes_counts_with_the_passphrase_which_is_not_shown() {
    let home = home();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    let screen = question(&terminal, 1);
    assert!(
        screen.contains("the passphrase of asks is asked for"),
        "{screen}"
    );
    terminal.line("y");
    asked(&terminal, 1);
    terminal.line("wrong horse");
    let screen = asked(&terminal, 2);
    assert!(screen.contains("That is not it."), "{screen}");
    // It is recorded before anybody learns of it: whoever guesses could end aegis-run now.
    assert_eq!(home.said(), ["wrong"]);
    terminal.line(PASSPHRASE);
    let screen = terminal.prompt("outer>", 2);
    assert!(screen.contains("the text of asked/a\nstatus 0"), "{screen}");
    assert!(!screen.contains("horse"), "{screen}");
    assert_eq!(home.said(), ["wrong", "once"]);
    let answers = home.answers();
    assert_eq!(
        answers[0]["detail"]["reason"],
        "wrong passphrase of asks, number 1 of 3"
    );
    assert_eq!(answers[1]["detail"]["passphrases"][0], "asks");
    let log = aegis(&home.workspace, &["audit", "show", "--type", "approval"]);
    let log = String::from_utf8(log.stdout).expect("UTF-8");
    assert!(
        log.contains("passphrases=[\"asks\"]") && log.contains("answer=wrong"),
        "{log}"
    );
    // The log holds, and the decisions are the same again.
    for words in [&["audit", "verify"][..], &["replay"]] {
        let output = aegis(&home.workspace, words);
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// The program here types what a person would; without the passphrase it gets no further than the question.
#[test]
fn a_program_at_the_other_end_that_does_not_know_it_cannot_say_yes() {
    let (without, with) = (Home::new(), home());
    for (home, passes) in [(&without, true), (&with, false)] {
        let terminal = home.terminal();
        terminal.line(&typed("a", "asked/a"));
        question(&terminal, 1);
        terminal.line("a");
        for count in 1..=3 {
            if !passes {
                asked(&terminal, count);
                terminal.line("y");
            }
        }
        let screen = terminal.prompt("outer>", 2);
        assert_eq!(screen.ends_with("status 0\nouter>"), passes, "{screen}");
        assert_eq!(screen.ends_with("status 125\nouter>"), !passes, "{screen}");
        assert_eq!(screen.contains("the text of"), passes, "{screen}");
        assert_eq!(home.place("approvals.json").exists(), passes);
    }
    assert_eq!(without.said(), ["always"]);
    assert_eq!(with.said(), ["wrong", "wrong", "wrong", "no"]);
    assert_eq!(
        with.answers()[3]["detail"]["reason"],
        "the passphrase of asks was wrong 3 times"
    );
}

#[test]
fn what_was_approved_without_it_does_not_count_and_with_it_does() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    add(&home);
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 2);
    terminal.line("a 7d");
    asked(&terminal, 1);
    terminal.line(PASSPHRASE);
    terminal.prompt("outer>", 3);
    terminal.line(&typed("a", "asked/a"));
    let screen = terminal.prompt("outer>", 4);
    assert!(
        screen.ends_with("the text of asked/a\nstatus 0\nouter>"),
        "{screen}"
    );
    assert_eq!(home.said(), ["always", "always"]);
    let list = aegis(&home.workspace, &["approvals", "list"]);
    let list = String::from_utf8(list.stdout).expect("UTF-8");
    let with: Vec<bool> = (list.lines().skip(1))
        .map(|line| line.contains("  asks  "))
        .collect();
    assert_eq!(with, [false, true], "{list}");
}

/// What `stty` says of the terminal whose name is in a file: whether lines are edited, and whether they are shown.
fn modes(home: &Home) -> (bool, bool) {
    let tty = fs::read_to_string(home.workspace.work().join("tty")).expect("its name");
    let output = Command::new("stty").args(["-a", "-F", tty.trim()]).output();
    let text = String::from_utf8(output.expect("stty starts").stdout).expect("UTF-8");
    let on = |mode: &str| text.split([' ', ';', '\n']).any(|word| word == mode);
    (on("icanon"), on("echo"))
}

/// Whatever ends the question, what is typed next is shown again; and after a stop, the passphrase is not.
#[test]
fn the_echo_comes_back_after_the_question_and_not_before() {
    let home = home();
    let terminal = home.terminal();
    terminal.line("tty > tty; stty_now() { stty -a | tr ' ;' '\\n' | grep -x -e echo -e -echo; }");
    let mut shells = 2;
    terminal.prompt("outer>", shells);
    let run = typed("a", "asked/a").replace("./run", "sh -c 'echo $$ > pid; exec ./run \"$@\"' sh");
    let ends = ["C-c", "C-d", "Enter", "-TERM", "-HUP", "-INT", "-QUIT"];
    for (count, end) in ends.into_iter().enumerate() {
        terminal.line(&run);
        question(&terminal, count + 1);
        terminal.line("y");
        asked(&terminal, count + 1);
        assert_eq!(modes(&home), (true, false), "{end}");
        match end.starts_with('-') {
            true => signal(&home, end),
            false => terminal.key(end),
        }
        shells += 1;
        let screen = terminal.prompt("outer>", shells);
        assert!(screen.ends_with("status 125\nouter>"), "{end}: {screen}");
        terminal.line("stty_now");
        shells += 1;
        let screen = terminal.prompt("outer>", shells);
        assert!(screen.ends_with("\necho\nouter>"), "{end}: {screen}");
    }
    assert_eq!(home.said(), vec!["no"; ends.len()]);
    // The shell sets its own modes while we are stopped.
    terminal.line(&run);
    question(&terminal, ends.len() + 1);
    terminal.line("y");
    asked(&terminal, ends.len() + 1);
    signal(&home, "-STOP");
    terminal.wait("the shell", |screen| screen.contains("Stopped"));
    terminal.line("fg");
    let deadline = Instant::now() + Duration::from_secs(30);
    while modes(&home) != (true, false) {
        assert!(Instant::now() < deadline, "{}", terminal.screen());
        std::thread::yield_now();
    }
    terminal.line(PASSPHRASE);
    let screen = terminal.wait("the text", |screen| screen.contains("the text of asked/a"));
    assert!(!screen.contains("horse"), "{screen}");
}

fn signal(home: &Home, signal: &str) {
    let pid = fs::read_to_string(home.workspace.work().join("pid")).expect("a pid");
    let sent = Command::new("kill").args([signal, pid.trim()]).status();
    assert!(sent.expect("kill starts").success());
}

#[test]
fn the_line_for_the_policy_is_made_on_the_terminal() {
    let home = Home::new();
    let terminal = home.terminal();
    let make = "echo correct horse | ./aegis policy passphrase > line; echo status $?";
    for (count, (first, second, status)) in [
        ("correct horse", "correct horse", 0),
        ("correct horse", "wrong horse", 1),
        ("short", "", 1),
    ]
    .into_iter()
    .enumerate()
    {
        terminal.line(make);
        terminal.wait("the first prompt", |screen| {
            screen.matches("New passphrase:").count() == count + 1
        });
        terminal.line(first);
        if !second.is_empty() {
            terminal.wait("the second prompt", |screen| {
                screen.matches("The same again:").count() == count + 1
            });
            terminal.line(second);
        }
        let screen = terminal.prompt("outer>", count + 2);
        assert!(
            screen.ends_with(&format!("status {status}\nouter>")),
            "{screen}"
        );
        if status == 0 {
            // What it printed is what a policy takes.
            let line = fs::read_to_string(home.workspace.work().join("line")).expect("a line");
            assert!(
                line.starts_with("approval-passphrase: $scrypt$ln=17,r=8,p=1$"),
                "{line}"
            );
            home.workspace
                .write("work/policy.yaml", format!("aegis-policy: 1\n{line}"));
            let checked = aegis(&home.workspace, &["policy", "check", "policy.yaml"]);
            assert!(checked.status.success(), "{}", text(&checked));
        }
    }
    // Nobody is asked where there is no terminal.
    let mut command = home.workspace.command("setsid");
    command.arg("--wait").arg(program("aegis"));
    let output = command.args(["policy", "passphrase"]).output();
    let output = output.expect("aegis starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("there is no terminal to ask on"),
        "{}",
        text(&output)
    );
}
