//! What a policy leaves to a person: asked on a real terminal, remembered, recorded, revoked; and blocked
//! if nobody can be asked.

mod questions;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aegis_tests::audit_log::{of_type, records};
use aegis_tests::outcome::refused;
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{User, Workspace, program};
use serde_json::Value;

/// The policy that asks.
const POLICY: &str = include_str!("../policies/asks.yaml");

/// The prompt for the answer.
const PROMPT: &str = "Allow it? [y/a/N]";

/// The prompt while something was not shown.
const CUT: &str = "Show all of it? [l/N]";

/// A home with files to ask for, and files that are never granted.
pub(super) struct Home {
    pub workspace: Workspace,
}

impl Home {
    /// For an ordinary user: root's approvals are kept in `/var/lib`.
    pub fn new() -> Self {
        let workspace = Workspace::new(User::Ordinary);
        for name in ["asked/a", "asked/b", "never/a"] {
            workspace.write(&format!("home/{name}"), format!("the text of {name}\n"));
        }
        let profile = |path: &str| {
            format!(
                "aegis: 1\nname: reader\nextends: [base]\ncapabilities: {{files.read: [{path}]}}\n"
            )
        };
        workspace.write("work/a.yaml", profile("$HOME/asked/a"));
        workspace.write("work/b.yaml", profile("$HOME/asked/b"));
        workspace.write("work/never.yaml", profile("$HOME/asked/a, $HOME/never/a"));
        // Short names, so that no line of the screen wraps.
        symlink(program("aegis-run"), workspace.work().join("run")).expect("a link");
        symlink(program("aegis"), workspace.work().join("aegis")).expect("a link");
        workspace.write("work/asks.yaml", POLICY);
        Self { workspace }
    }

    pub fn terminal(&self) -> Terminal<'_> {
        let terminal = Terminal::open(&self.workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal
    }

    pub fn place(&self, name: &str) -> PathBuf {
        self.workspace.state().join("aegis").join(name)
    }

    /// The answers in the audit log, with their requests, the oldest first.
    pub fn answers(&self) -> Vec<Value> {
        self.recorded("approval")
    }

    /// The records of a type, the oldest first.
    fn recorded(&self, kind: &str) -> Vec<Value> {
        of_type(&self.place("audit"), kind)
    }

    /// The answers as words.
    pub fn said(&self) -> Vec<String> {
        let answers = self.answers();
        let words = answers.iter().map(|a| a["detail"]["answer"].as_str());
        words
            .map(|word| word.expect("an answer").to_owned())
            .collect()
    }
}

/// The input that shows a file, and then the status.
pub(super) fn typed(profile: &str, file: &str) -> String {
    format!("./run --policy asks.yaml --profile ./{profile}.yaml -- cat ~/{file}; echo status $?")
}

/// Waits for the question.
pub(super) fn question(terminal: &Terminal<'_>, count: usize) -> String {
    terminal.wait(&format!("question, for the {count}th time"), |screen| {
        screen.matches(PROMPT).count() == count && screen.ends_with(PROMPT)
    })
}

#[test]
fn a_yes_lets_it_run_once_and_a_no_not_at_all() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    let screen = question(&terminal, 1);
    for part in [
        "reader",
        "asked/a",
        "files.read",
        "risk",
        "rule `asked`",
        "uid 20000",
    ] {
        assert!(screen.contains(part), "no {part:?} in {screen}");
    }
    assert!(!screen.contains("the text of"), "{screen}");
    terminal.line("y");
    let screen = terminal.prompt("outer>", 2);
    assert!(screen.contains("the text of asked/a\nstatus 0"), "{screen}");
    for (count, answer) in [(2, ""), (3, "n")] {
        terminal.line(&typed("a", "asked/a"));
        question(&terminal, count);
        terminal.line(answer);
        let screen = terminal.prompt("outer>", count + 1);
        let shown = screen.rsplit(PROMPT).next().unwrap_or_default();
        assert!(shown.contains("status 125"), "{screen}");
        assert!(!shown.contains("the text of"), "{screen}");
    }
    assert_eq!(home.said(), ["once", "no", "no"]);
    assert!(
        !home.place("approvals.json").exists(),
        "nothing is remembered"
    );
    let answers = home.answers();
    let run = &answers[0]["run"];
    assert!(
        run.is_string() && answers[1]["run"] != *run,
        "each in its own run"
    );
    assert_eq!(answers[0]["decision"]["verdict"], "review");
    assert_eq!(answers[0]["detail"]["by"]["uid"], 20_000);
}

#[test]
fn what_is_always_approved_is_asked_no_more_until_it_is_revoked_or_the_profile_changes() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a 7d");
    terminal.prompt("outer>", 2);
    terminal.line(&typed("a", "asked/a"));
    let screen = terminal.prompt("outer>", 3);
    assert_eq!(
        screen.matches("the text of asked/a\nstatus 0").count(),
        2,
        "{screen}"
    );

    let list = |words: &[&str]| {
        let mut aegis = home.workspace.command(program("aegis"));
        let output = aegis
            .args(["approvals"])
            .args(words)
            .output()
            .expect("aegis starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let errors = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), text + &errors)
    };
    let (status, text) = list(&["list"]);
    assert_eq!(status, Some(0));
    assert!(
        text.contains("reader") && text.contains("in 7 days"),
        "{text}"
    );
    let (_, text) = list(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&text).expect("JSON");
    let id = listed[0]["id"].as_str().expect("an id");
    assert_eq!(listed[0]["what"]["action"], "files.read");
    let term = listed[0]["expires"]
        .as_u64()
        .zip(listed[0]["granted"].as_u64());
    assert_eq!(term.map(|(end, start)| end - start), Some(7 * 86_400));
    assert_eq!(home.answers()[0]["detail"]["approvals"][0]["id"], id);

    // The same words, another profile.
    let changed = home.workspace.work().join("a.yaml");
    let text = fs::read_to_string(&changed).expect("the profile");
    fs::write(&changed, text.clone() + "limits: {time: 1m}\n").expect("the profile");
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 2);
    terminal.line("n");
    terminal.prompt("outer>", 4);
    fs::write(&changed, text).expect("the profile");

    assert_eq!(list(&["revoke", "000000000000"]).0, Some(1));
    assert_eq!(list(&["revoke", "--profile", "another"]).0, Some(1));
    assert_eq!(list(&["revoke"]).0, Some(2));
    // A new key is reported: the log and its key were moved away.
    assert_eq!(home.said(), ["always", "no"]);
    for own in ["audit", "keys"] {
        fs::remove_dir_all(home.place(own)).expect("removed");
    }
    let (status, text) = list(&["revoke", &id[..6]]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("aegis: note: a new signing key was made in "),
        "{text}"
    );
    assert_eq!(list(&["revoke", "--all"]).0, Some(1), "none is left");
    let signed = records(&home.place("audit")).pop().expect("records");
    assert_eq!(
        signed["type"], "checkpoint",
        "a revocation is signed at once"
    );
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 3);
    terminal.key("C-c");
    let screen = terminal.prompt("outer>", 5);
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    assert_eq!(home.said(), ["revoked", "no"]);
}

#[test]
fn what_is_approved_for_one_command_under_one_policy_is_asked_for_another_again() {
    let home = Home::new();
    let asks = home.workspace.work().join("asks.yaml");
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    // The same profile, which names no command: another command gets its read grants.
    terminal.line(&typed("a", "asked/a").replace("-- cat", "-- head -c 9"));
    question(&terminal, 2);
    terminal.line("n");
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    // The same words, but another reason to ask.
    fs::write(
        &asks,
        POLICY.to_owned() + "# seen by ben\nlimits: {pids: 4000}\n",
    )
    .expect("the policy");
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 3);
    terminal.line("n");
    terminal.prompt("outer>", 4);
    fs::write(&asks, POLICY).expect("the policy");
    terminal.line(&typed("a", "asked/a"));
    let screen = terminal.prompt("outer>", 5);
    assert!(
        screen.ends_with("the text of asked/a\nstatus 0\nouter>"),
        "{screen}"
    );
    assert_eq!(home.said(), ["always", "no", "no"]);
}

#[test]
fn what_is_not_shown_is_not_approved() {
    let home = Home::new();
    let names: Vec<String> = (0..7).map(|i| format!("$HOME/asked/{i}")).collect();
    for i in 0..7 {
        home.workspace.write(&format!("home/asked/{i}"), "many\n");
    }
    home.workspace.write(
        "work/many.yaml",
        format!(
            "aegis: 1\nname: reader\nextends: [base]\ncapabilities: {{files.read: [{}]}}\n",
            names.join(", ")
        ),
    );
    let terminal = home.terminal();
    terminal.line(&format!("clear; {}", typed("many", "asked/6")));
    let cut = |count| {
        terminal.wait("what is cut", |screen| {
            screen.matches(CUT).count() == count && screen.ends_with(CUT)
        })
    };
    let screen = cut(1);
    assert!(
        screen.contains("... and 2 more: 2 files.read") && !screen.contains("asked/6 "),
        "{screen}"
    );
    terminal.line("y");
    let screen = cut(2);
    assert!(screen.contains("not all of it has been shown"), "{screen}");
    terminal.line("l");
    question(&terminal, 1);
    terminal.line("y");
    let screen = terminal.wait("the status", |screen| screen.contains("status "));
    assert!(screen.contains("many\nstatus 0"), "{screen}");
    assert_eq!(home.said(), ["once"]);
}

#[test]
fn an_approval_is_for_one_thing_of_one_skill() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    terminal.line(&typed("b", "asked/b"));
    question(&terminal, 2);
    terminal.key("C-d");
    terminal.prompt("outer>", 3);
    // The same profile in another directory is another skill.
    terminal.line("mkdir skill; cp a.yaml skill");
    terminal.prompt("outer>", 4);
    terminal.line(&typed("skill/a", "asked/a"));
    question(&terminal, 3);
    terminal.line("");
    terminal.prompt("outer>", 5);
    assert_eq!(home.said(), ["always", "no", "no"]);
}

#[test]
fn what_is_blocked_is_not_asked_for() {
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("never", "never/a"));
    let screen = terminal.prompt("outer>", 2);
    assert!(screen.contains("it is never shown"), "{screen}");
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    assert!(!screen.contains(PROMPT), "{screen}");
    assert_eq!(home.said(), [""; 0]);
}

#[test]
fn where_nobody_can_be_asked_it_is_blocked_and_says_why() {
    let home = Home::new();
    let mut command = home.workspace.command("setsid");
    command
        .arg("--wait")
        .arg(program("aegis-run"))
        .arg("--policy")
        .arg("./asks.yaml")
        .args(["--profile", "./a.yaml", "--", "touch", "started"]);
    let told = refused(&home.workspace, &mut command, 125);
    for part in [
        "there is no terminal to ask on",
        "asked/a",
        "rule `asked`",
        "run it on a terminal",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    assert_eq!(home.said(), ["unasked"]);
    let terminal = home.terminal();
    terminal.line("set +m; exec 2>&1");
    terminal.line(
        "set -m; ./run --policy asks.yaml --profile ./a.yaml -- cat & wait $!; echo status $?",
    );
    let screen = terminal.wait("the status", |screen| screen.contains("\nstatus 125"));
    assert!(screen.contains("it runs in the background"), "{screen}");
    assert!(!screen.contains(PROMPT), "{screen}");
    assert_eq!(home.said(), ["unasked", "unasked"]);
}

#[test]
fn a_store_that_others_could_write_lets_nothing_start_which_is_recorded() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let terminal = home.terminal();
    terminal.line(&typed("a", "asked/a"));
    question(&terminal, 1);
    terminal.line("a");
    terminal.prompt("outer>", 2);
    let store = home.place("approvals.json");
    let set = |mode| fs::set_permissions(&store, fs::Permissions::from_mode(mode)).expect("chmod");
    assert_eq!(mode(&store), 0o600);
    assert_eq!(mode(&home.place("")), 0o700);
    set(0o666);
    terminal.line(&typed("a", "asked/a"));
    let screen = terminal.prompt("outer>", 3);
    assert!(screen.contains("is not safe to use"), "{screen}");
    assert!(screen.ends_with("status 125\nouter>"), "{screen}");
    assert_eq!(home.said(), ["always", "unasked"]);
    let why = home.answers()[1]["detail"]["reason"].take();
    let why = why.as_str().expect("a reason");
    assert!(why.contains("is not safe to use"), "{why}");
    let end = home.recorded("run.end").pop().expect("the run's end");
    assert_eq!(end["detail"]["cause"], "policy");
    assert_eq!(end["run"], home.answers()[1]["run"]);
    set(0o600);
    terminal.line(&typed("a", "asked/a"));
    let screen = terminal.prompt("outer>", 4);
    assert!(screen.ends_with("status 0\nouter>"), "{screen}");
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn hostile_names_do_not_fake_the_question() {
    let home = Home::new();
    // The start directory: a path that the profile's parser never sees.
    let hostile =
        "a\u{1b}[2J\u{1b}[H\nAllow it? [y\u{2f}a\u{2f}N] y\u{202e}".replace('/', "\u{2044}");
    let wide = format!("asked/{}Allow it! y", " ".repeat(89));
    home.workspace.write(&format!("home/{wide}"), "wide\n");
    let work = home.workspace.work().join(hostile);
    fs::create_dir(&work).expect("mkdir");
    home.workspace.own(&work);
    home.workspace.write(
        "work/wide.yaml",
        format!(
            "aegis: 1\nname: \"y: yes, from trusted.yaml\"\nextends: [base]\n\
             capabilities: {{files.read: [\"$HOME/{wide}\"]}}\n"
        ),
    );
    let terminal = home.terminal();
    terminal.line("cd a*/");
    terminal.prompt("outer>", 2);
    terminal
        .line("clear; ../run --policy ../asks.yaml --profile ../wide.yaml -- true; echo status $?");
    let screen = question(&terminal, 1);
    let start = screen
        .find("aegis-run: the policy leaves")
        .expect("the question");
    for line in screen[start..].lines() {
        let ours = line.starts_with("aegis-run: the policy leaves this to you:")
            || line.starts_with("  ")
            || line.is_empty()
            || line == PROMPT;
        assert!(ours, "{line:?} of {screen}");
        assert!(
            !line.trim_start().starts_with("Allow it? y\u{202e}"),
            "{screen}"
        );
        // Only labels and choices begin in that column.
        let label = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        let labels = [
            "profile ", "policy ", "for ", "command ", "risk ", "1 ", "y ", "a ", "N ",
        ];
        if let Some(label) = label {
            assert!(
                labels.iter().any(|known| label.starts_with(known)),
                "{line:?} of {screen}"
            );
        }
    }
    assert!(screen.contains("\\u{1b}"), "{screen}");
    terminal.line("n");
    let screen = terminal.wait("the status", |screen| screen.contains("status 125"));
    assert!(!screen.contains('\u{202e}'), "{screen}");
}
