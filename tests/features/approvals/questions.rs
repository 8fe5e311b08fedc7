//! Questions to a person, and what an answer is for: one at a time on a terminal, bound to what the command would do.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use aegis_tests::audit_log::aegis;
use aegis_tests::terminal::Terminal;
use aegis_tests::text;
use serde_json::Value;

use super::{Home, PROMPT, question, typed};

#[test]
fn an_approval_is_not_for_another_directory_nor_for_a_script_that_was_changed() {
    let home = Home::new();
    home.workspace.write("work/report.sh", "cat ~/asked/a\n");
    let report = || typed("a", "asked/a").replace("-- cat ", "-- cat report.sh ");
    let terminal = home.terminal();
    terminal.line(&report());
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    terminal.line(&report());
    terminal.prompt("outer>", 3);
    assert_eq!(home.said(), ["always"], "the same is not asked again");
    home.workspace.write("work/report.sh", "cat ~/asked/b\n");
    terminal.line(&report());
    question(&terminal, 2);
    terminal.line("n");
    terminal.prompt("outer>", 4);
    assert_eq!(home.said(), ["always", "no"]);
    // As it was, but elsewhere.
    home.workspace.write("work/report.sh", "cat ~/asked/a\n");
    home.workspace
        .write("work/other/report.sh", "cat ~/asked/a\n");
    let elsewhere = report()
        .replace("./", "../")
        .replace("asks.yaml", "../asks.yaml");
    terminal.line(&format!("cd other; {elsewhere}; cd .."));
    question(&terminal, 3);
    terminal.line("n");
    terminal.prompt("outer>", 5);
    terminal.line(&report());
    terminal.prompt("outer>", 6);
    assert_eq!(home.said(), ["always", "no", "no"], "here it still holds");
}

/// Asks, and has it approved for good; then once more, which needs no answer. Then `change`, and it is asked anew.
#[track_caller]
fn asked_anew(home: &Home, before: &str, after: &str, change: impl FnOnce()) {
    let terminal = home.terminal();
    terminal.line(before);
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    terminal.line(before);
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.ends_with("status 0\nouter>"), "{screen}");
    assert_eq!(home.said(), ["always"], "the same is not asked again");
    change();
    terminal.line(after);
    question(&terminal, 2);
    terminal.line("n");
    terminal.prompt("outer>", 4);
    assert_eq!(home.said(), ["always", "no"]);
}

#[test]
fn an_approval_is_not_for_another_program_that_is_found_by_the_same_name() {
    let home = Home::new();
    home.workspace.write(
        "work/tool.yaml",
        "aegis: 1\nname: tool\nextends: [shell]\ncapabilities: {files.read: [$HOME/asked/a], shell.exec: [$WORK/bin/tool]}\nenvironment: {pass: [PATH]}\n",
    );
    let write = |text: &str| {
        let tool = home.workspace.write("work/bin/tool", text);
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).expect("a mode");
    };
    write("#!/bin/sh\necho one\n");
    let line = "PATH=$PWD/bin:$PATH ./run --policy asks.yaml --profile ./tool.yaml -- tool; echo status $?";
    asked_anew(&home, line, line, || write("#!/bin/sh\necho two\n"));
}

#[test]
fn an_approval_is_not_for_a_long_file_that_was_changed_behind_what_is_read_of_it() {
    let home = Home::new();
    let big = home.workspace.work().join("big");
    home.workspace.write("work/big", "#\n");
    home.workspace.write(
        "work/big.yaml",
        "aegis: 1\nname: reader\nextends: [base]\ncapabilities: {files.read: [$HOME/asked/a, $WORK]}\n",
    );
    let open = || {
        fs::OpenOptions::new()
            .write(true)
            .open(&big)
            .expect("the file")
    };
    open().set_len((16 << 20) + 9).expect("a length");
    let line = typed("big", "asked/a").replace("-- cat ", "-- head -qc 2 big ");
    asked_anew(&home, &line, &line, || {
        open().write_at(b"x", (16 << 20) + 2).expect("written");
    });
}

#[test]
fn an_approval_is_not_for_another_value_of_a_variable_that_was_asked_about() {
    let home = Home::new();
    home.workspace.write(
        "work/asks.yaml",
        "aegis-policy: 1\nname: asks\ncapabilities:\n  \
         - {id: files, on: [files.read, files.write, shell.exec], match: [\"/**\"], verdict: allow}\n  \
         - {id: names, on: [devices, environment.pass], match: [\"*\"], verdict: allow}\n  \
         - {id: word, on: [environment.pass], match: [WORD], verdict: review}\n",
    );
    home.workspace.write(
        "work/word.yaml",
        "aegis: 1\nname: word\nextends: [base]\nenvironment: {pass: [WORD]}\n",
    );
    let of = |word: &str| {
        format!(
            "WORD={word} ./run --policy asks.yaml --profile ./word.yaml -- cat /dev/null; echo status $?"
        )
    };
    asked_anew(&home, &of("one"), &of("two"), || {});
}

#[test]
fn what_is_changed_while_the_question_is_open_is_not_run() {
    let home = Home::new();
    home.workspace.write("work/report.sh", "cat ~/asked/a\n");
    let terminal = home.terminal();
    let report = typed("a", "asked/a").replace("-- cat ", "-- cat report.sh ");
    for (count, answer, change) in [(1, "y", "cat ~/asked/b\n"), (2, "a", "cat ~/never/a\n")] {
        terminal.line(&report);
        question(&terminal, count);
        home.workspace.write("work/report.sh", change);
        terminal.line(answer);
        let screen = terminal.prompt("outer>", count + 1);
        let shown = screen.rsplit(PROMPT).next().unwrap_or_default();
        assert!(
            shown.contains("report.sh was changed while the question was open"),
            "{screen}"
        );
        assert!(!shown.contains("the text of"), "{screen}");
        assert!(shown.ends_with("status 125\nouter>"), "{screen}");
    }
    assert_eq!(home.said(), ["void", "void"]);
    assert_eq!(home.answers()[1]["detail"]["approvals"], Value::Null);
    assert!(!home.place("approvals.json").exists(), "nothing is kept");
}

#[test]
fn an_approval_that_is_revoked_while_a_question_is_open_does_not_count() {
    let home = Home::new();
    home.workspace.write(
        "work/both.yaml",
        "aegis: 1\nname: reader\nextends: [base]\ncapabilities: {files.read: [$HOME/asked/a, $HOME/asked/b]}\n",
    );
    let terminal = home.terminal();
    let both = typed("both", "asked/a");
    terminal.line(&both);
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    let revoke = |word: &str| {
        let output = aegis(&home.workspace, &["approvals", "revoke", word]);
        assert!(output.status.success(), "{}", text(&output));
    };
    let store = fs::read(home.place("approvals.json")).expect("the store");
    let store: Value = serde_json::from_slice(&store).expect("JSON");
    let of_b = (store["approvals"].as_array().expect("a list").iter()).find(|entry| {
        entry["what"]["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("/b"))
    });
    revoke(
        of_b.expect("it was approved")["id"]
            .as_str()
            .expect("an id"),
    );
    // Asked for the one alone; the other is taken back before the answer.
    terminal.line(&both);
    question(&terminal, 2);
    revoke("--all");
    terminal.line("y");
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.contains("while the question was open"), "{screen}");
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    assert_eq!(home.said()[1..], ["revoked", "revoked", "void"]);
}

#[test]
fn two_questions_on_one_terminal_are_asked_one_after_the_other() {
    let home = Home::new();
    let terminal = home.terminal();
    let (one, other) = (typed("a", "asked/a"), typed("b", "asked/b"));
    let both = format!("({one}) & ({other}); wait");
    terminal.line(&format!("bash -c '{}'", both.replace('\'', "'\\''")));
    question(&terminal, 1);
    both_want_it(&home, &terminal);
    terminal.line("y");
    // What the first one prints may come after the second question.
    terminal.wait("the second question", |screen| {
        screen.matches(PROMPT).count() == 2
    });
    terminal.line("n");
    terminal.prompt("outer>", 2);
    assert_eq!(
        home.said(),
        ["once", "no"],
        "each answer is of the question that was shown"
    );
}

/// Waits until two runs want the terminal: one asks, the other waits.
fn both_want_it(home: &Home, terminal: &Terminal<'_>) {
    terminal.wait("a run that waits", |_| {
        let locks = fs::read_to_string("/proc/locks").expect("the locks");
        let files = fs::read_dir(home.place("")).expect("the state");
        let mut waiting = (files.map(|file| file.expect("a file")))
            .filter(|file| file.file_name().to_string_lossy().starts_with("waiting-"));
        waiting.any(|file| {
            let of_it = format!(":{} ", file.metadata().expect("its inode").ino());
            locks.matches(&of_it).count() == 2
        })
    });
}

#[test]
fn of_a_pipeline_both_are_asked_before_either_command_has_the_terminal() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line("mkfifo gate");
    terminal.prompt("outer>", 2);
    let mut gate = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(home.workspace.work().join("gate"))
        .expect("the gate");
    let cat = "./run --policy asks.yaml --profile ./a.yaml -- cat";
    terminal.line(&format!(
        "{cat} < gate | {cat}; echo status ${{PIPESTATUS[@]}}"
    ));
    question(&terminal, 1);
    both_want_it(&home, &terminal);
    terminal.line("y");
    // The first command would have the terminal until it ends.
    question(&terminal, 2);
    terminal.line("y");
    gate.write_all(b"through both\n").expect("written");
    terminal.wait("what went through both", |screen| {
        screen.contains("\nthrough both")
    });
    drop(gate);
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.ends_with("status 0 0\nouter>"), "{screen}");
    assert_eq!(home.said(), ["once", "once"]);
}

#[test]
fn what_cannot_be_kept_is_not_recorded_as_kept() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    // As many as there can be.
    let store = home.place("approvals.json");
    let mut text: Value =
        serde_json::from_slice(&fs::read(&store).expect("the store")).expect("JSON");
    let entry = text["approvals"][0].clone();
    let many = (0..1000).map(|n| {
        let mut entry = entry.clone();
        entry["id"] = format!("{n:012x}").into();
        entry["command_hash"] = format!("{n:064x}").into();
        entry
    });
    text["approvals"] = many.collect();
    fs::write(&store, serde_json::to_vec(&text).expect("JSON")).expect("written");
    terminal.line(&typed("b", "asked/b"));
    question(&terminal, 2);
    terminal.line("a");
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.contains("holds for this run alone"), "{screen}");
    assert_eq!(home.said(), ["always", "once"]);
    let reason = &home.answers()[1]["detail"]["reason"];
    assert!(
        reason.as_str().is_some_and(|why| why.contains("is full")),
        "{reason}"
    );
}

#[test]
fn what_was_typed_ahead_is_no_answer() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line("mkfifo gate");
    terminal.prompt("outer>", 2);
    terminal.line(&format!("cat gate; {}", typed("a", "asked/a")));
    terminal.foreground(&["cat"]);
    terminal.line("y");
    terminal.wait("what was typed", |screen| screen.ends_with("\ny"));
    // The shell continues when the gate has been opened and closed.
    let mut gate = fs::OpenOptions::new()
        .write(true)
        .open(home.workspace.work().join("gate"))
        .expect("the gate");
    gate.write_all(b"open\n").expect("the gate opens");
    drop(gate);
    question(&terminal, 1);
    terminal.line("");
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    assert_eq!(home.said(), ["no"]);
}

#[test]
fn the_answer_is_not_taken_from_what_the_command_reads() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line("yes | ./run --policy asks.yaml --profile ./a.yaml -- head -n 2; echo status $?");
    question(&terminal, 1);
    terminal.line("y");
    let screen = terminal.prompt("outer>", 2);
    assert!(screen.ends_with("\ny\ny\nstatus 0\nouter>"), "{screen}");
}

#[test]
fn a_terminal_that_goes_away_is_a_no_which_is_recorded() {
    let home = Home::new();
    let status = std::process::Command::new("mkfifo")
        .args(["-m", "666"])
        .arg(home.workspace.work().join("end"))
        .status();
    assert!(status.expect("mkfifo starts").success());
    let terminal = Terminal::open(
        &home.workspace,
        "exec ./run --policy asks.yaml --profile ./a.yaml -- cat 9>end",
    );
    // Opens when the other side does, and ends when aegis-run ends.
    let mut end = fs::File::open(home.workspace.work().join("end")).expect("the pipe");
    question(&terminal, 1);
    drop(terminal);
    end.read_to_end(&mut Vec::new()).expect("it has ended");
    assert_eq!(home.said(), ["no"]);
}
