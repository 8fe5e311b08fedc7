//! How a profile's command is found and started: `run`, `args`, `PATH`, and programs made in `/tmp`.

use std::os::unix::fs::PermissionsExt;

use aegis_tests::{USERS, User, Workspace, program, text};

fn executable(workspace: &Workspace, path: &str, contents: &str) {
    let path = workspace.write(path, contents);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

#[test]
fn run_names_its_files_by_variables_and_its_program_by_the_path_that_the_profile_sets() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write(
            "skill/main.py",
            "import sys; print('main', *sys.argv[1:])\n",
        );
        executable(
            &workspace,
            "skill/bin/tool",
            "#!/bin/sh\necho tool \"$@\"\n",
        );
        let profile = workspace.write(
            "skill/skill.yaml",
            "aegis: 1\nextends: [python, shell]\nrun: [python3, $SKILL/main.py, $WORK/x, a $HOME]\n\
             capabilities: {files.read: [$SKILL, $WORK]}\n",
        );
        let mut command = workspace.command(program("aegis-run"));
        let output = command
            .arg("--profile")
            .arg(&profile)
            .output()
            .expect("it starts");
        let work = workspace.work().canonicalize().expect("the workspace");
        let expected = format!("main {}/x a $HOME\n", work.display());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{}",
            text(&output)
        );

        let profile = workspace.write(
            "skill/skill.yaml",
            "aegis: 1\nextends: [shell]\nrun: [tool, one]\ncapabilities: {shell.exec: [$SKILL/bin]}\n\
             environment: {set: {PATH: \"$SKILL/bin:/usr/bin:/bin\"}}\n",
        );
        let mut command = workspace.command(program("aegis-run"));
        let output = command
            .arg("--profile")
            .arg(&profile)
            .output()
            .expect("it starts");
        assert_eq!(output.stdout, b"tool one\n", "{}", text(&output));
    }
}

#[test]
fn words_replace_the_command_or_are_added_to_it_as_the_profile_says() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let script = |args: &str| {
            format!(
                "#!/usr/bin/env -S aegis-run --profile\naegis: 1\nextends: [shell]\nrun: [echo, first]\n{args}"
            )
        };
        let run = |args: &str, words: &[&str]| {
            let output = workspace.run(&script(args), words);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            String::from_utf8(output.stdout).expect("text")
        };
        assert_eq!(
            run("args: append\n", &["a b", "--help", "$WORK"]),
            "first a b --help $WORK\n"
        );
        assert_eq!(run("args: append\n", &[]), "first\n");
        assert_eq!(run("args: replace\n", &["echo", "x"]), "x\n");
        assert_eq!(run("", &["echo", "x"]), "x\n");

        // As a script.
        executable(&workspace, "work/skill", &script("args: append\n"));
        let path = program("aegis-run")
            .parent()
            .expect("a directory")
            .display()
            .to_string();
        let mut command = workspace.command("./skill");
        command
            .env("PATH", format!("{path}:/usr/bin:/bin"))
            .args(["one", "two"]);
        let output = command.output().expect("it starts");
        assert_eq!(output.stdout, b"first one two\n", "{}", text(&output));
    }
}

const MADE: &str = "cp /bin/true /tmp/made && /tmp/made && echo executed";

#[test]
fn what_was_made_in_tmp_is_executed_only_where_the_profile_says_so_and_the_policy_lets_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = "aegis: 1\nextends: [shell]\ncapabilities: {shell.exec: [$TMP]}\n";
        let output = workspace.run(profile, &["sh", "-c", MADE]);
        assert_eq!(output.stdout, b"executed\n", "{}", text(&output));
        for other in [
            "cp /bin/true ~/made && ~/made",
            "cp /bin/true /dev/shm/made && /dev/shm/made",
        ] {
            let output = workspace.run(profile, &["sh", "-c", other]);
            assert_eq!(
                output.status.code(),
                Some(126),
                "{other}: {}",
                text(&output)
            );
        }

        let without = workspace.run("aegis: 1\nextends: [shell]\n", &["sh", "-c", MADE]);
        assert_eq!(without.status.code(), Some(126), "{}", text(&without));
        let line = "capabilities: {shell.exec: [$TMP]}";
        assert!(
            text(&without).trim_end().ends_with(line),
            "{}",
            text(&without)
        );

        // The host's own, granted in its place, is another thing.
        let hosts =
            "aegis: 1\nextends: [shell]\ncapabilities: {files.read: [/tmp], shell.exec: [$TMP]}\n";
        let output = workspace.run(hosts, &["true"]);
        assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    }
    let workspace = Workspace::new(User::Ordinary);
    workspace.policy(&format!(
        "{}  - {{id: tmp, on: shell.exec, match: /tmp/**, verdict: block, reason: nothing from there}}\n",
        aegis_tests::EVERYTHING
    ));
    let profile = "aegis: 1\nextends: [shell]\ncapabilities: {shell.exec: [$TMP]}\n";
    let output = workspace.run(profile, &["sh", "-c", MADE]);
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
    assert!(
        text(&output).contains("nothing from there"),
        "{}",
        text(&output)
    );
}
