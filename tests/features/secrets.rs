//! `aegis secrets`, by a person at a terminal and by a script. What the store and its sources do is tested in `secrets/tests`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use aegis_tests::terminal::Terminal;
use aegis_tests::{USERS, Workspace, program, text};

/// A home with a key, whoever's.
fn home(user: aegis_tests::User) -> Workspace {
    let workspace = Workspace::new(user);
    let made = aegis(&workspace, &["init"]);
    assert!(text(&made).contains("A new key is in"), "{}", text(&made));
    workspace
}

fn command(workspace: &Workspace, words: &[&str]) -> Command {
    let mut command = workspace.command(program("aegis"));
    command
        .arg("secrets")
        .args(words)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_DATA_HOME");
    command
}

fn aegis(workspace: &Workspace, words: &[&str]) -> Output {
    command(workspace, words).output().expect("aegis starts")
}

fn set(workspace: &Workspace, alias: &str, value: &str) -> Output {
    let mut child = command(workspace, &["set", alias])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aegis starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(value.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_script_stores_lists_checks_and_removes() {
    for user in USERS {
        let home = home(user);
        assert_eq!(set(&home, "github", "sesame\n").status.code(), Some(0));
        assert_eq!(set(&home, "github", "sesame\nmore").status.code(), Some(1));
        assert_eq!(set(&home, "../github", "sesame").status.code(), Some(1));
        assert_eq!(aegis(&home, &["check"]).status.code(), Some(0));
        let listed = aegis(&home, &["list", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        assert_eq!(listed[0]["alias"], "github");
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        home.write(
            "home/.config/aegis/secrets.yaml",
            "gone: {exec: [sh, -c, 'echo sesame; echo why not >&2; exit 4']}\n",
        );
        let checked = aegis(&home, &["check"]);
        assert_eq!(checked.status.code(), Some(1));
        let said = text(&checked);
        for part in [
            "github",
            "ok",
            "failed",
            "ended with status 4",
            "it said: why not",
        ] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(!said.contains("sesame"), "{said}");
        assert_eq!(aegis(&home, &["rm", "github"]).status.code(), Some(0));
        assert_eq!(aegis(&home, &["rm", "github"]).status.code(), Some(1));
        // There is no way to give a value as an argument.
        assert_eq!(aegis(&home, &["set", "a", "sesame"]).status.code(), Some(2));
    }
}

#[test]
fn what_is_typed_is_not_shown() {
    let home = home(aegis_tests::User::Ordinary);
    let script = format!(
        "unset XDG_CONFIG_HOME; {} secrets set github; echo status $?; {0} secrets check github; read -r end",
        program("aegis").display()
    );
    let terminal = Terminal::open(&home, &format!("sh -c '{script}'"));
    terminal.wait("prompt", |screen| screen.contains("The secret github:"));
    terminal.line("sesame of the terminal");
    let screen = terminal.wait("check", |screen| screen.contains("github  ok"));
    assert!(screen.contains("The secret github is stored"), "{screen}");
    assert!(screen.contains("status 0"), "{screen}");
    assert!(!screen.contains("sesame"), "{screen}");
}

#[test]
fn aegis_without_its_helper_says_so() {
    let home = Workspace::new(aegis_tests::User::Ordinary);
    let alone = home.write(
        "work/aegis",
        std::fs::read(program("aegis")).expect("it is there"),
    );
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&alone, executable).expect("chmod");
    let mut command = home.command(&alone);
    let output = command
        .args(["secrets", "list"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("aegis-secrets cannot be started, which lies beside"),
        "{said}"
    );
}
