//! `aegis-learn` as a demanding user gives it options and places: what it offers, and what it refuses.

mod written;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use aegis_tests::audit_log::aegis;
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{EVERYTHING, User, Workspace, program, repository, text};
use serde_json::Value;

use crate::observation::observed;

fn learn(workspace: &Workspace, words: &[&str]) -> Output {
    output(workspace.command(program("aegis-learn")).args(words))
}

fn output(command: &mut Command) -> Output {
    command.output().expect("it starts")
}

/// A line of `sh` with the programs in its `PATH`.
fn shell(workspace: &Workspace, line: &str) -> Output {
    let programs = program("aegis")
        .parent()
        .expect("a directory")
        .display()
        .to_string();
    let mut sh = workspace.command("sh");
    output(
        sh.env("PATH", format!("{programs}:/usr/bin:/bin"))
            .args(["-c", line]),
    )
}

fn refused(output: &Output, status: i32, says: &str) {
    assert_eq!(
        output.status.code(),
        Some(status),
        "{says}: {}",
        text(output)
    );
    assert!(text(output).contains(says), "{says}: {}", text(output));
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

#[test]
fn what_the_policy_blocks_is_not_offered() {
    let workspace = Workspace::new(User::Root);
    let key = workspace
        .write("home/.ssh/id_ed25519", "a key\n")
        .display()
        .to_string();
    let keys = workspace.home().join(".ssh").display().to_string();
    let words = ["--policy", "standard", "--", "cat", &key];
    let output = learn(&workspace, &words);
    let told = text(&output);
    assert!(
        told.contains("and from every profile, as the policy blocks it:"),
        "{told}"
    );
    for offer in ["once a person has said yes", "learn it with --show"] {
        assert!(!told.contains(offer), "{offer}: {told}");
    }
    let told = json(&learn(&workspace, &[&["--json"], &words[..]].concat()));
    assert_eq!(told["hidden"][0]["path"], key, "{told:#}");
    assert_eq!(told["hidden"][0]["blocked"], true, "{told:#}");
    for (place, says) in [
        (&*key, "no profile can have it: blocked by rule"),
        (&keys, "no profile can have it: blocked by rule"),
        ("/proc/1", "every sandbox has its own"),
    ] {
        let output = learn(
            &workspace,
            &["--policy", "standard", "--show", place, "--", "true"],
        );
        refused(&output, 125, says);
    }
}

#[test]
fn a_directory_that_is_to_be_shown_is_asked_about_to_be_read_alone() {
    let workspace = Workspace::new(User::Ordinary);
    let outside = workspace.outside();
    let script = outside.join("tool");
    fs::write(&script, "#!/bin/sh\n").expect("a file");
    workspace.own(&script);
    let made = shell(&workspace, "chmod +x ../outside/tool");
    assert!(made.status.success(), "{}", text(&made));
    let rule = format!(
        "capabilities:\n  - {{id: asks, on: [files.read, shell.exec], match: [{0}, \"{0}/**\"], verdict: review}}\n",
        outside.display()
    );
    workspace.policy(&EVERYTHING.replace("capabilities:\n", &rule));
    let shown = |place: &Path| {
        let place = place.display().to_string();
        let output = learn(&workspace, &["--show", &place, "--", "true"]);
        refused(&output, 125, "no terminal to ask on");
        assert!(text(&output).contains("files.read"), "{}", text(&output));
        text(&output).contains("shell.exec")
    };
    assert!(!shown(&outside), "a directory");
    assert!(shown(&script), "a program");
}

/// No file that there is not, no other program, and nobody who is there already.
#[test]
fn what_is_asked_and_refused_is_said_as_a_learner_says_it() {
    let workspace = Workspace::new(User::Root);
    let unfit = [
        "what is shown",
        "learnt.yaml",
        "aegis-run",
        "the profile,",
        "starts the service",
    ];
    let mut blocked = workspace.command(program("aegis-learn"));
    blocked.args([
        "--policy",
        "standard",
        "--pass",
        "GITHUB_TOKEN",
        "--",
        "true",
    ]);
    let blocked = output(blocked.env("GITHUB_TOKEN", "x"));
    refused(&blocked, 125, "leave out what asks for it (--pass");
    let by_listener = learn(
        &workspace,
        &["--observe-by", "listener", "--no-verify", "--", "true"],
    );
    let asked = learn(&workspace, &["--policy", "strict", "--", "true"]);
    refused(&asked, 125, "no terminal to ask on");
    for told in [&blocked, &by_listener, &asked].map(text) {
        for unfit in unfit {
            assert!(!told.contains(unfit), "{unfit}: {told}");
        }
    }
    let terminal = Terminal::open(&workspace, OUTER);
    terminal.prompt("outer>", 1);
    let learner = program("aegis-learn").display().to_string();
    terminal.line(&format!("{learner} --policy strict -- true"));
    let screen = terminal.wait("the question", |screen| screen.contains("Allow it?"));
    assert!(
        screen.contains("aegis-learn: the policy leaves"),
        "{screen}"
    );
    terminal.line("n");
    let screen = terminal.prompt("outer>", 2);
    assert!(!screen.contains("what is shown"), "{screen}");
}

#[test]
fn options_that_would_mean_nothing_are_refused() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/r.json", "{}");
    workspace.write("work/there.baseline.json", "");
    for (words, says) in [
        (
            &["--from", "r.json", "--keep-changes"][..],
            "cannot be used with",
        ),
        (&["--from", "r.json", "--no-verify"], "cannot be used with"),
        (
            &["--from", "r.json", "--show", "/opt"],
            "cannot be used with",
        ),
        (
            &["--against", "python", "--no-verify", "--", "true"],
            "cannot be used with",
        ),
        (
            &["--against", "python", "--name", "x", "--", "true"],
            "cannot be used with",
        ),
        (
            &["--against", "python", "-o", "x.yaml", "--", "true"],
            "--trim writes the older one",
        ),
        (&["--against", "", "--", "true"], "a value is required"),
        (
            &["--name", "a\u{202e}b", "--", "true"],
            "a profile cannot be called that",
        ),
        (
            &["--tight", "--observe-by", "listener", "--", "true"],
            "--observe-by probes",
        ),
        (&["-o", "there.yaml", "--", "true"], "--force replaces both"),
        (
            &["--pass", "NO_SUCH_VARIABLE", "--", "true"],
            "--pass NO_SUCH_VARIABLE: there is no such variable",
        ),
        (
            &["-o", "none/p.yaml", "--", "true"],
            "help: make its directory first",
        ),
        (
            &["--policy", "none", "--", "true"],
            "aegis-learn: error: there is no policy template",
        ),
        (
            &["--from", "none.json"],
            "help: aegis-run --record FILE saves one",
        ),
    ] {
        refused(&learn(&workspace, words), 125, says);
    }
    for (words, says) in [
        (
            &["show", "--record", "none.json"][..],
            "No such file or directory",
        ),
        (&["show", "--record", "r.json"], "is no observation that"),
        (
            &["profile", "export", "--format", "bwrap", "python"],
            "as in `-- python3 main.py`",
        ),
    ] {
        refused(&aegis(&workspace, words), 1, says);
    }
    refused(&aegis(&workspace, &["show"]), 2, "--record <FILE>");
    let twice = ["--observe", "--observe", "true"];
    refused(
        &output(workspace.command(program("aegis-run")).args(twice)),
        125,
        "--observe is given twice",
    );
    let unknown = learn(&workspace, &["--", "not-a-command"]);
    assert!(!text(&unknown).contains("aegis-run:"), "{}", text(&unknown));
}

#[test]
fn who_observes_is_said_when_the_run_starts_and_not_before_an_error() {
    let workspace = Workspace::new(User::Ordinary);
    let run = |profile: &str| {
        let words = ["--record", "r.json", "--profile", profile, "--", "true"];
        text(&output(workspace.command(program("aegis-run")).args(words)))
    };
    assert!(
        run("shell").contains("observed by seccomp"),
        "{}",
        run("shell")
    );
    let told = run("none.yaml");
    assert!(
        told.contains("there is no file") && !told.contains("observed by"),
        "{told}"
    );
}

#[test]
fn the_next_command_line_is_one_for_a_shell() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    for (place, words, next) in [
        (
            "my skill",
            &["cat", "a"][..],
            "aegis-run --profile './my skill'",
        ),
        ("-x.yaml", &["cat", "a"], "aegis-run --profile ./-x.yaml"),
        // A profile cannot say this word.
        (
            "p.yaml",
            &["echo", "$x"],
            "aegis-run --profile p.yaml -- COMMAND",
        ),
    ] {
        let named = format!("-o{place}");
        let output = learn(
            &workspace,
            &[&[&*named, "--no-verify", "--"], words].concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let line = text(&output).lines().last().expect("a line").to_owned();
        assert!(line.ends_with(next), "{line}");
        let ran = shell(&workspace, &next.replace("COMMAND", "echo"));
        assert!(ran.status.success(), "{next}: {}", text(&ran));
    }
}

/// What a smaller set has of the default one, a policy is not asked about.
#[test]
fn a_tight_profile_needs_no_review() {
    observed(|workspace| {
        let standard = repository("policy/templates/standard.yaml");
        workspace.policy(&fs::read_to_string(standard).expect("it is there"));
        let words = [
            "--tight",
            "--observe-by",
            workspace.by,
            "--",
            "sh",
            "-c",
            "date; ls | sort",
        ];
        let output = learn(workspace, &words);
        if workspace.by == "listener" {
            return refused(&output, 125, "--tight");
        }
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let profile = String::from_utf8_lossy(&output.stdout);
        assert!(
            profile.contains("base: learned") && profile.contains("wait4"),
            "{profile}"
        );
    });
}

#[test]
fn a_built_in_profile_is_trimmed_too() {
    let workspace = Workspace::new(User::Root);
    let output = learn(
        &workspace,
        &["--against", "shell", "--trim", "--", "cat", "/dev/null"],
    );
    let smaller = String::from_utf8_lossy(&output.stdout);
    assert!(
        smaller.contains("- cat") && !smaller.contains("- grep"),
        "{}",
        text(&output)
    );
}

#[test]
fn what_was_kept_and_what_was_not_seen_is_told() {
    let workspace = Workspace::new(User::Root);
    let script = ["--no-verify", "--", "sh", "-c", "echo x > made; exit 3"];
    let output = learn(&workspace, &[&["--keep-changes"], &script[..]].concat());
    let told = text(&output);
    let made = workspace.work().join("made").display().to_string();
    assert!(
        told.contains("changes that were kept in the working directory:"),
        "{told}"
    );
    assert!(told.contains(&format!("written {made}")), "{told}");
    assert!(told.contains("how it ended: with status 3"), "{told}");
    let told = json(&learn(
        &workspace,
        &[&["--keep-changes", "--json"], &script[..]].concat(),
    ));
    assert_eq!(told["changes-kept"][0]["path"], made, "{told:#}");
    assert_eq!(told["complete"], true, "{told:#}");
    assert_eq!(told["notes"][0]["about"], "how it ended", "{told:#}");
}
