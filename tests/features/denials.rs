//! What is told and recorded of refusals: nothing named by the command is looked at, and what is proposed holds.

use aegis_tests::audit_log::{of_type, place, run};
use aegis_tests::outcome::Ran;
use aegis_tests::{USERS, Workspace, program, text};

const SHELL: &str = "aegis: 1\nextends: [shell]\ncapabilities: {files.read: [$WORK]}\n";

#[test]
fn no_file_is_looked_at_because_a_command_names_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let private = workspace.home();
        let named = private.join("somebody/secret");
        let message = format!(
            "cat: {0}: No such file or directory\nsh: 1: {0}: Permission denied\n\
             sh: 1: cannot create {0}: Read-only file system\n'{0}': not found\n",
            named.display()
        );
        workspace.write(
            "work/script",
            format!("import sys\nsys.stderr.write({message:?})\nsys.exit(1)\n"),
        );
        let profile = workspace.profile(&SHELL.replace("shell", "python"));
        let trace = workspace.work().join("trace");
        let mut command = workspace.command("strace");
        command
            .args(["-f", "-s", "4096", "-e", "trace=%file", "-o"])
            .arg(&trace)
            .arg(program("aegis-run"))
            .arg("--profile")
            .arg(&profile)
            .args(["python3", "script"]);
        let output = command.output().expect("strace starts");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.lines().last().unwrap_or_default();
        assert!(
            last.contains("reading ") && last.contains("secret"),
            "{told}"
        );
        let trace = std::fs::read_to_string(trace).expect("a trace");
        let looked = trace.lines().find(|line| line.contains("somebody"));
        assert_eq!(looked, None, "{user:?}");
        assert!(trace.contains("script"), "{user:?}: {trace}");
    }
}

#[test]
fn what_a_successful_run_was_refused_is_in_its_report_and_in_the_log() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(SHELL);
        let script = "cat /etc/machine-id; true";
        let words = ["sh", "-c", script];
        let outcome = Ran::new(&workspace, &profile, &words);
        outcome.exits(0);
        let denials = outcome.report["denials"].as_array().expect("denials");
        let evidence = |what: &str| {
            let denial = denials.iter().find(|denial| denial["what"] == what);
            denial.map(|denial| denial["evidence"].clone())
        };
        assert_eq!(
            evidence("reading /etc/machine-id"),
            Some("error-message".into()),
            "{denials:?}"
        );
        // A successful run is told nothing of it.
        assert!(!outcome.told().contains("refused by"), "{}", outcome.told());

        let output = run(&workspace, &profile, &words)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let recorded = of_type(&place(&workspace), "file.access");
        let recorded = recorded
            .iter()
            .find(|record| record["detail"]["what"] == "reading /etc/machine-id");
        let recorded = recorded.expect("it is recorded");
        assert_eq!(
            recorded["detail"]["evidence"], "error-message",
            "{recorded}"
        );
    }
}

#[test]
fn a_line_that_is_proposed_loads_and_heals_or_the_policy_is_named() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let data = workspace.write("outside/data/numbers.txt", "1 2 3\n");
        workspace.write("outside/data/keys/id", "private\n");
        let path = data.display().to_string();
        let output = workspace.run(SHELL, &["cat", &path]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let (_, line) = told
            .trim_end()
            .rsplit_once(": capabilities: ")
            .expect(&told);
        let healed = workspace.run(
            &format!("aegis: 1\nextends: [shell]\ncapabilities: {line}\n"),
            &["cat", &path],
        );
        assert_eq!(healed.stdout, b"1 2 3\n", "{line}: {}", text(&healed));

        let keys = workspace.outside().join("data/keys");
        let keys = keys.canonicalize().unwrap_or(keys);
        workspace.policy(&format!(
            "{}  - {{id: keys, on: files.read, match: '{}', verdict: block, reason: private keys}}\n",
            aegis_tests::EVERYTHING,
            keys.join("id").display()
        ));
        let output = workspace.run(SHELL, &["cat", &keys.join("id").display().to_string()]);
        let told = text(&output);
        assert!(
            told.contains("would be blocked by rule `keys`: private keys"),
            "{told}"
        );
        assert!(!told.contains("to allow it"), "{told}");
        // There is nothing to add to a profile of one's own.
        let output = (workspace.command(program("aegis-run")))
            .args(["--profile", "shell", "cat"])
            .arg(keys.join("id"))
            .output()
            .expect("it starts");
        let told = text(&output);
        assert!(told.contains("would be blocked by rule"), "{told}");
        assert!(!told.contains("what is to be added"), "{told}");
    }
}

#[test]
fn a_command_that_began_in_the_root_is_told_of_the_directory_that_it_misses() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let repository = workspace.work();
        let made = workspace
            .command("git")
            .args(["init", "--quiet"])
            .current_dir(&repository)
            .status();
        assert!(made.expect("git").success());
        let git = |profile: &str| {
            let mut command = workspace.command(program("aegis-run"));
            command.args(["--profile", profile, "git", "status", "--short"]);
            command.output().expect("it starts")
        };
        let output = git("git");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(128), "{told}");
        let line = "to allow it add to a profile that says `extends: [git]`: capabilities: {files.read: [$WORK]}";
        assert!(told.contains(&format!("{line}\n")), "{told}");
        let profile =
            workspace.profile("aegis: 1\nextends: [git]\ncapabilities: {files.read: [$WORK]}\n");
        let output = git(&profile.display().to_string());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

/// A directory that holds it does not allow it: it has to be named.
#[test]
fn a_name_that_the_host_acts_upon_is_allowed_by_the_line_that_is_proposed() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let repository = workspace.work();
        let made = workspace
            .command("git")
            .args(["init", "--quiet"])
            .current_dir(&repository)
            .status();
        assert!(made.expect("git").success());
        let profile = "aegis: 1\nextends: [git, shell]\ncapabilities:\n  files.read: [$WORK]\n  files.write: [$WORK]\n";
        for (command, name) in [
            ("git config user.name ana", ".git/config"),
            ("echo true > .git/hooks/post-merge", ".git/hooks"),
        ] {
            let words = ["sh", "-c", command];
            let output = workspace.run(profile, &words);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_ne!(output.status.code(), Some(0), "{told}");
            let line = format!("capabilities: {{files.write: [$WORK/{name}]}}\n");
            assert!(told.ends_with(&line), "{told}");
            let healed = format!("{profile}  files.write: [$WORK, $WORK/{name}]\n");
            let healed = healed.replacen("  files.write: [$WORK]\n", "", 1);
            let output = workspace.run(&healed, &words);
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        }
        // No line allows writing the profile in force.
        let own = workspace.write("work/own.yaml", profile);
        let mut command = workspace.aegis(&own, &["sh", "-c", "echo >> own.yaml"]);
        let output = command.output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("own.yaml, which stays as it is"), "{told}");
        assert!(!told.contains("to allow it"), "{told}");
    }
}

#[test]
fn a_program_with_a_profile_of_its_own_is_told_of_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let output = workspace
            .command(program("aegis-run"))
            .args(["--profile", "shell", "python3", "-c", "print(1)"])
            .output()
            .expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let hint = "the built-in profile python is for python3: --profile python, or `extends: [shell, python]` in a profile of your own\n";
        assert!(told.ends_with(hint), "{told}");
        let healed = workspace.run(
            "aegis: 1\nextends: [shell, python]\n",
            &["python3", "-c", "print(1)"],
        );
        assert_eq!(healed.status.code(), Some(0), "{}", text(&healed));
    }
}

#[test]
fn a_link_of_the_system_is_named_by_where_it_leads() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let named = "/usr/lib/go/src/fmt/doc.go";
        let real = std::fs::canonicalize(named).expect("the library of Go");
        let output = workspace.run(SHELL, &["cat", named]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = format!("capabilities: {{files.read: [{}]}}", real.display());
        assert!(told.trim_end().ends_with(&line), "{told}");
        let healed = workspace.run(
            &format!("aegis: 1\nextends: [shell]\n{line}\n"),
            &["cat", named],
        );
        assert_eq!(healed.status.code(), Some(0), "{}", text(&healed));
    }
}

#[test]
fn a_limit_that_only_the_command_speaks_of_is_marked() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(&format!(
            "{}limits: {{files: 64}}\n",
            SHELL.replace("shell", "python")
        ));
        for status in [0, 1] {
            let script = format!(
                "import sys; sys.stderr.write('OSError: too many open files'); sys.exit({status})"
            );
            let ran = Ran::new(&workspace, &profile, &["python3", "-c", &script]);
            ran.exits(status);
            assert_eq!(
                ran.report["limits_met"],
                serde_json::json!([]),
                "{}",
                ran.told()
            );
            assert_eq!(
                ran.report["limits_guessed"],
                serde_json::json!(["files"]),
                "{}",
                ran.told()
            );
            let says = ran
                .told()
                .contains("as the command's error message has it, by the files limit");
            assert_eq!(says, status != 0, "{}", ran.told());
        }
    }
}

#[test]
fn where_the_run_has_put_a_link_nothing_is_looked_at_afterwards() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let secret = workspace.write("outside/hooks/x", "");
        let outside = secret
            .parent()
            .and_then(std::path::Path::parent)
            .expect("a directory")
            .to_path_buf();
        let profile =
            workspace.profile("aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n");
        let trace = workspace.home().join("trace");
        let script = format!("ln -s {} .git", outside.display());
        let mut command = workspace.command("strace");
        command
            .args(["-s", "4096", "-e", "trace=%file", "-o"])
            .arg(&trace);
        command
            .arg(program("aegis-run"))
            .arg("--profile")
            .arg(&profile)
            .args(["sh", "-c", &script]);
        let output = command.output().expect("strace starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(
            text(&output).contains("the run made") && text(&output).contains("/work/.git,"),
            "{}",
            text(&output)
        );
        // Only calls that follow no link.
        let trace = std::fs::read_to_string(trace).expect("a trace");
        let mut looks = trace
            .lines()
            .filter(|line| line.contains("work/.git/hooks"));
        let follows = looks.find(|line| !line.contains("RESOLVE_NO_SYMLINKS"));
        assert_eq!(follows, None, "{user:?}");
        assert!(trace.contains("work/.git/hooks"), "{user:?}");
    }
}

/// What real programs say, where no privileged program, port or memory is to be had.
#[test]
fn privileged_programs_low_ports_and_exhausted_memory_have_their_line() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let python = SHELL.replace("shell", "python");
        let shell = format!("{SHELL}limits: {{memory: 64M}}\n");
        let big = "head -c 300M /dev/zero | tail";
        for (profile, words, says) in [
            (SHELL, &["su"][..], "such programs cannot work"),
            (
                SHELL,
                &["chsh", "-s", "/bin/sh"],
                "such programs cannot work",
            ),
            (
                &python,
                &["python3", "-m", "http.server", "80"],
                "a port below 1024",
            ),
            (&shell, &["sh", "-c", big], "the memory limit of 64M"),
        ] {
            let output = workspace.run(profile, words);
            assert_ne!(output.status.code(), Some(0), "{words:?}");
            let told = text(&output);
            assert!(told.contains(says), "{user:?} {words:?}: {told}");
        }
    }
}
