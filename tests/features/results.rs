//! Results: what a command writes is kept, refused, or told to be gone; never lost without a word.

use std::path::PathBuf;
use std::process::Output;

use aegis_tests::{USERS, User, Workspace, program, text};

/// Runs a command in `DIR` below the home directory.
fn in_home(workspace: &Workspace, dir: &str, profile: &str, words: &[&str]) -> (PathBuf, Output) {
    let at = workspace.write(&format!("home/{dir}/profile.yaml"), profile);
    let at = at.parent().expect("a directory").to_path_buf();
    let mut command = workspace.command(program("aegis-run"));
    command
        .current_dir(&at)
        .args(["--profile", "profile.yaml", "--"])
        .args(words);
    (at, command.output().expect("it starts"))
}

const COMMIT: &str = "import sqlite3, sys\n\
                      base = sqlite3.connect('app.db', isolation_level=None)\n\
                      base.execute('PRAGMA journal_mode=' + sys.argv[1])\n\
                      base.execute('CREATE TABLE IF NOT EXISTS t (x)')\n\
                      base.execute('INSERT INTO t VALUES (7)')\n\
                      import os; os._exit(0)\n";

#[test]
fn what_a_data_base_has_committed_is_there_or_the_commit_fails() {
    for user in USERS {
        for mode in ["WAL", "DELETE", "TRUNCATE"] {
            for (grant, kept) in [("$WORK", true), ("$WORK/app.db", false)] {
                let workspace = Workspace::new(user);
                workspace.write("home/src/project/app.db", "");
                let profile = format!(
                    "aegis: 1\nextends: [python]\ncapabilities: {{files.write: [{grant}]}}\n"
                );
                let (at, output) = in_home(
                    &workspace,
                    "src/project",
                    &profile,
                    &["python3", "-c", COMMIT, mode],
                );
                let count = "import sqlite3; print(sqlite3.connect('app.db').execute('SELECT count(*) FROM t').fetchone()[0])";
                let rows = workspace
                    .command("python3")
                    .current_dir(&at)
                    .args(["-c", count])
                    .output()
                    .expect("python3");
                let committed = output.status.success();
                assert_eq!(
                    committed,
                    kept,
                    "{user:?} {mode} {grant}: {}",
                    text(&output)
                );
                if committed {
                    assert_eq!(
                        rows.stdout,
                        b"1\n",
                        "{user:?} {mode} {grant}: {}",
                        text(&rows)
                    );
                }
            }
        }
    }
}

#[test]
fn directories_that_are_only_the_way_to_a_grant_are_read_only() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = "aegis: 1\nextends: [git]\ncapabilities: {files.write: [$WORK], shell.exec: [touch, mkdir]}\n";
        let make = "git init -q . && git -c user.name=a -c user.email=b commit -q --allow-empty -m x && git worktree add ../beside";
        let (at, output) = in_home(&workspace, "src/project", profile, &["sh", "-c", make]);
        assert!(!output.status.success(), "{user:?}: {}", text(&output));
        assert!(at.join(".git/HEAD").exists(), "{}", text(&output));
        assert!(
            text(&output).contains("Read-only file system"),
            "{}",
            text(&output)
        );
        for place in ["..", "../..", "../../made", "/tmp"] {
            let word = format!("mkdir -p {place}; touch {place}/x");
            let (_, output) = in_home(&workspace, "a/b/c", profile, &["sh", "-c", &word]);
            // The private home itself, and /tmp, can be written.
            let written = place == "/tmp";
            assert_eq!(
                output.status.success(),
                written,
                "{user:?} {place}: {}",
                text(&output)
            );
        }
    }
}

#[test]
fn what_was_written_to_the_private_home_is_told_once() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = "aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";
        let script = "echo x > ~/result.txt; mkdir ~/made; echo x > ~/.cache; echo x > /tmp/x; echo x > kept";
        let (at, output) = in_home(&workspace, "src/project", profile, &["sh", "-c", script]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(at.join("kept").exists());
        let told = String::from_utf8_lossy(&output.stderr);
        let home = workspace.home().display().to_string();
        let lines: Vec<_> = told
            .lines()
            .filter(|line| line.contains("is gone"))
            .collect();
        assert_eq!(lines.len(), 1, "{told}");
        for (name, said) in [
            ("result.txt", true),
            ("made", true),
            (".cache", false),
            ("src", false),
        ] {
            assert_eq!(
                lines[0].contains(&format!("{home}/{name}")),
                said,
                "{name}: {told}"
            );
        }
        let (_, output) = in_home(&workspace, "src/project", profile, &["true"]);
        assert_eq!(
            text(&output).matches("gone").count(),
            0,
            "{}",
            text(&output)
        );
    }
    // Names are the command's: they reach no terminal as they are.
    let workspace = Workspace::new(User::Ordinary);
    let script = "touch ~/\"$(printf 'a\\033[2Jb')\"";
    let output = workspace.run("aegis: 1\nextends: [shell]\n", &["sh", "-c", script]);
    assert!(
        text(&output).contains("gone") && !text(&output).contains('\u{1b}'),
        "{}",
        text(&output)
    );
}
