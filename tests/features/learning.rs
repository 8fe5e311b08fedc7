//! `aegis-learn`: profiles of what commands were seen to do.

use std::path::Path;
use std::process::Output;

use aegis_tests::{User, Workspace, program, text};

use crate::observation::observed;
use serde_json::Value;

/// `aegis-learn` with these words, in the workspace's directory.
fn learn(workspace: &Workspace, words: &[&str]) -> Output {
    (workspace.command(program("aegis-learn")).args(words))
        .output()
        .expect("aegis-learn starts")
}

fn value(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A command, what is there before it, and the lines that its profile is to have.
struct Case {
    name: &'static str,
    prepare: &'static str,
    command: &'static [&'static str],
    extends: &'static [&'static str],
    lines: &'static [&'static str],
}

const CASES: [Case; 16] = [
    Case {
        name: "a file is read",
        prepare: "echo a > data",
        command: &["cat", "data"],
        extends: &["base"],
        lines: &["files.read $WORK", "shell.exec cat"],
    },
    Case {
        name: "a shell script calls programs and writes",
        prepare: "mkdir out; printf '#!/bin/sh\\ndate | tr a-z A-Z > out/date\\n' > run.sh; chmod +x run.sh",
        command: &["./run.sh"],
        extends: &["base"],
        lines: &[
            "files.write $WORK/out",
            "shell.exec $WORK/run.sh",
            "shell.exec date",
            "shell.exec tr",
            "shell.exec sh",
        ],
    },
    Case {
        name: "git commits",
        prepare: "git init -q .; git config user.name me; git config user.email me@example.org; echo a > a; git add a",
        command: &["git", "commit", "-qm", "one"],
        extends: &["git"],
        lines: &["files.write $WORK/.git"],
    },
    Case {
        name: "python with a child and a file",
        prepare: "echo 'import json, subprocess; subprocess.run([\"uname\"]); open(\"made\", \"w\").write(json.dumps(1))' > main.py",
        command: &["python3", "main.py"],
        extends: &["python"],
        lines: &["files.write $WORK", "shell.exec uname"],
    },
    Case {
        name: "node",
        prepare: "echo 'require(\"fs\").writeFileSync(\"made\", \"x\")' > main.js",
        command: &["node", "main.js"],
        extends: &["node"],
        lines: &["files.write $WORK"],
    },
    Case {
        name: "perl",
        prepare: "",
        command: &["perl", "-MData::Dumper", "-e", "print Dumper([1])"],
        extends: &["perl"],
        lines: &[],
    },
    Case {
        name: "ruby",
        prepare: "",
        command: &["ruby", "-e", "require 'json'; puts JSON.generate([1])"],
        extends: &["ruby"],
        lines: &[],
    },
    Case {
        name: "a compiler",
        prepare: "echo 'int main(void) { return 0; }' > main.c",
        command: &["gcc", "-O2", "-o", "main", "main.c"],
        extends: &["base"],
        lines: &["files.write $WORK", "shell.exec gcc"],
    },
    Case {
        name: "make, and what it has built",
        prepare: "printf 'all: main\\n\\t./main\\nmain: main.c\\n\\tcc -o main main.c\\n' > Makefile; echo 'int main(void) { return 0; }' > main.c",
        command: &["make"],
        extends: &["base"],
        lines: &["files.write $WORK", "shell.exec make"],
    },
    Case {
        name: "go",
        prepare: "printf 'package main\\nfunc main() {}\\n' > main.go; printf 'module example.org/a\\n' > go.mod",
        command: &["go", "build", "-o", "main"],
        extends: &["go"],
        lines: &[],
    },
    Case {
        name: "java",
        prepare: "printf 'class A { public static void main(String[] a) { System.out.println(1); } }' > A.java",
        command: &["java", "A.java"],
        extends: &["java"],
        lines: &[],
    },
    Case {
        name: "tar",
        prepare: "mkdir d; echo 1 > d/a; echo 2 > d/b",
        command: &["tar", "czf", "d.tgz", "d"],
        extends: &["base"],
        lines: &["files.write $WORK", "shell.exec gzip", "shell.exec tar"],
    },
    Case {
        name: "sqlite",
        prepare: "",
        command: &[
            "sqlite3",
            "db",
            "create table t(a); insert into t values(1); select * from t;",
        ],
        extends: &["base"],
        lines: &["files.write $WORK", "shell.exec sqlite3"],
    },
    Case {
        name: "jq",
        prepare: "echo '{}' > a.json",
        command: &["jq", ".", "a.json"],
        extends: &["base"],
        lines: &["shell.exec jq"],
    },
    Case {
        name: "a temporary file and a private socket",
        prepare: "echo 'import socket, tempfile\ns = socket.socket(socket.AF_UNIX); s.bind(tempfile.mkdtemp() + \"/s\"); s.listen()' > main.py",
        command: &["python3", "main.py"],
        extends: &["python"],
        lines: &["sockets private"],
    },
    Case {
        name: "ripgrep",
        prepare: "mkdir -p a/b; echo needle > a/b/c",
        command: &["rg", "needle"],
        extends: &["base"],
        lines: &["files.read $WORK", "shell.exec rg"],
    },
];

/// Learns, and compares with what was expected; then the profile is tried as anybody would.
fn verifies(case: &Case) {
    let Case {
        name,
        prepare,
        command,
        extends,
        lines,
    } = case;
    observed(|workspace| {
        let user = workspace.user;
        let prepared = workspace.command("sh").args(["-c", prepare]).output();
        assert!(prepared.expect("sh").status.success(), "{name}");
        let before = listing(&workspace.work());
        let output = learn(
            workspace,
            &[&["--json", "--observe-by", workspace.by, "--"], *command].concat(),
        );
        assert_eq!(
            output.status.code(),
            Some(0),
            "{user:?} {name}: {}",
            text(&output)
        );
        assert_eq!(
            listing(&workspace.work()),
            before,
            "{user:?} {name}: nothing is changed"
        );
        let learnt = value(&output);
        assert_eq!(
            learnt["extends"],
            serde_json::json!(extends),
            "{user:?} {name}: {learnt:#}"
        );
        let granted: Vec<String> = (learnt["lines"].as_array().expect("lines").iter())
            .map(|line| {
                let word = |key: &str| {
                    line[key]
                        .as_str()
                        .expect("text")
                        .trim_start_matches('-')
                        .to_owned()
                };
                format!("{} {}", word("key"), word("value"))
            })
            .collect();
        for line in *lines {
            assert!(
                granted.iter().any(|granted| granted == line),
                "{user:?} {name}: {line} in {granted:#?}"
            );
        }
        let profile = workspace.profile(learnt["profile"].as_str().expect("text"));
        let ran = workspace
            .aegis(&profile, command)
            .output()
            .expect("aegis-run starts");
        assert_eq!(
            ran.status.code(),
            Some(0),
            "{user:?} {name}: {}",
            text(&ran)
        );
    });
}

fn listing(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut ahead = vec![top.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let kind = entry.file_type().expect("a type");
            found.push(format!("{} {kind:?}", entry.path().display()));
            ahead.extend(kind.is_dir().then(|| entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_learnt_of_scripts_and_languages_is_enough() {
    CASES[..8].iter().for_each(verifies);
}

#[test]
fn what_was_learnt_of_builders_and_tools_is_enough() {
    CASES[8..].iter().for_each(verifies);
}

/// The skill reads keys, a password and the network, and is not shown them.
#[test]
fn secrets_are_kept_from_what_is_learnt_and_asking_for_them_is_told() {
    let workspace = Workspace::new(User::Root);
    workspace.write("home/.ssh/id_ed25519", "top secret\n");
    workspace.write("home/.aws/credentials", "top secret\n");
    workspace.write("work/file", "mine\n");
    let script = "cat file ~/.ssh/id_ed25519 ~/.aws/credentials /etc/shadow; echo x > ~/.ssh/authorized_keys; \
                  exec 3<>/dev/tcp/127.0.0.1/22; cat ~/.ssh/id_ed25519 > stolen; true";
    let output = learn(
        &workspace,
        &[
            "--policy",
            "standard",
            "--json",
            "--no-verify",
            "--",
            "bash",
            "-c",
            script,
        ],
    );
    let told = text(&output);
    assert!(!told.contains("top secret"), "{told}");
    let learnt = value(&output);
    let hidden: Vec<&str> = (learnt["hidden"].as_array().expect("a list").iter())
        .map(|hidden| hidden["path"].as_str().expect("a path"))
        .collect();
    for secret in [".ssh/id_ed25519", ".aws/credentials"] {
        let path = workspace.home().join(secret).display().to_string();
        assert!(hidden.contains(&&*path), "{secret}: {learnt:#}");
    }
    let profile = learnt["profile"].as_str().expect("text");
    for secret in [".ssh", ".aws", "shadow"] {
        let granted = profile
            .lines()
            .find(|line| line.trim_start().starts_with("- ") && line.contains(secret));
        assert_eq!(granted, None, "{profile}");
    }
    assert!(!workspace.home().join(".ssh/authorized_keys").exists());
}

#[test]
fn several_runs_are_merged_and_the_last_says_that_nothing_new_came() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    let output = learn(
        &workspace,
        &["--runs", "3", "-o", "out.yaml", "--", "cat", "a"],
    );
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("run 3: nothing new"), "{told}");
    let profile = std::fs::read_to_string(workspace.work().join("out.yaml")).expect("written");
    assert!(profile.contains("from 3 runs of"), "{profile}");
    assert!(profile.contains("# Verified on "), "{profile}");
}

#[test]
fn what_was_saved_is_learnt_from_without_running_anything() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    for (number, script) in ["cat a", "tr a b < a", "ls"].iter().enumerate() {
        let saved = format!("{number}.json");
        let ran = (workspace.command(program("aegis-run")))
            .args([
                "--profile",
                "shell",
                "--set",
                "capabilities.files.read=[$WORK]",
                "--record",
                &saved,
            ])
            .args(["sh", "-c", script])
            .output()
            .expect("aegis-run starts");
        assert!(ran.status.success(), "{}", text(&ran));
    }
    let all = learn(&workspace, &["--from", "0.json", "1.json", "2.json"]);
    let told = text(&all);
    assert_eq!(all.status.code(), Some(0), "{told}");
    for program in ["cat", "tr", "ls"] {
        assert!(told.contains(&format!("- {program} ")), "{told}");
    }
    let backwards = learn(&workspace, &["--from", "2.json", "0.json", "1.json"]);
    assert_eq!(
        backwards.stdout, all.stdout,
        "the order makes no difference"
    );
    let wrong = workspace.write("work/wrong.json", "{\"aegis-observation\": 1");
    let refused = learn(&workspace, &["--from", &wrong.display().to_string()]);
    assert_eq!(refused.status.code(), Some(125), "{}", text(&refused));
    assert!(
        text(&refused).contains("line 1, column"),
        "{}",
        text(&refused)
    );
}

#[test]
fn an_older_profile_is_compared_and_trimmed_and_never_widened() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/a", "1\n");
    let old = "aegis: 1\nname: old\nextends: [base]\ncapabilities:\n  files.read: [/opt]\n  shell.exec: [cat, wc, git]\n";
    let place = workspace.profile(old);
    let place = place.display().to_string();
    let output = learn(&workspace, &["--against", &place, "--", "cat", "a"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "it lacks something: {told}");
    for part in [
        "it lacks:",
        "files.read: $WORK",
        "no run used:",
        "files.read: /opt",
        "shell.exec: git",
        "shell.exec: wc",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let trimmed = learn(
        &workspace,
        &["--against", &place, "--trim", "--", "cat", "a"],
    );
    let smaller = String::from_utf8_lossy(&trimmed.stdout);
    assert!(
        smaller.contains("cat") && !smaller.contains("/opt") && !smaller.contains("git"),
        "{smaller}"
    );
    assert!(!smaller.contains("$WORK"), "it is not widened: {smaller}");
    assert_eq!(std::fs::read_to_string(&place).expect("it is there"), old);
    // As JSON, which standard output has alone wherever the profile goes.
    for (written, to) in [(false, &["-o", "-"][..]), (true, &["-o", "smaller.yaml"])] {
        let words = ["--against", &place, "--trim", "--json", "--", "cat", "a"];
        let told = value(&learn(&workspace, &[to, &words].concat()));
        assert_eq!(told["profile"], *smaller, "{told:#}");
        assert_eq!(told["lines"][0]["value"], "$WORK", "{told:#}");
        assert_eq!(told["runs"], 1, "{told:#}");
        assert!(told["complete"].is_boolean(), "{told:#}");
        let file = std::fs::read_to_string(workspace.work().join("smaller.yaml"));
        assert_eq!(file.ok().as_deref(), written.then_some(&*smaller));
    }
    // The same of a new profile.
    let told = value(&learn(
        &workspace,
        &["--json", "--no-verify", "-o", "-", "--", "true"],
    ));
    assert!(told["profile"].is_string(), "{told:#}");
}

#[test]
fn changes_are_kept_on_request_alone() {
    observed(|workspace| {
        let output = learn(
            workspace,
            &["--no-verify", "--", "sh", "-c", "echo x > made"],
        );
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains("added "), "{}", text(&output));
        assert!(!workspace.work().join("made").exists());
        let kept = learn(
            workspace,
            &[
                "--keep-changes",
                "--no-verify",
                "--",
                "sh",
                "-c",
                "echo x > made",
            ],
        );
        assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
        assert!(workspace.work().join("made").exists(), "{}", text(&kept));
    });
}

#[test]
fn what_cannot_be_learnt_is_said_and_nothing_is_written() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/there.yaml", "mine\n");
    for (words, status, expected) in [
        (
            &["-o", "there.yaml", "--", "true"][..],
            125,
            "--force replaces it",
        ),
        (&["--", "not-a-command"][..], 127, "command not found"),
        (
            &["-o", "none/skill.yaml", "--", "true"][..],
            125,
            "cannot be written",
        ),
        (
            &["--from", "none.json"][..],
            125,
            "none.json cannot be read",
        ),
        (
            &["--policy", "none.yaml", "--", "true"][..],
            125,
            "none.yaml",
        ),
        (
            &["--allow-net", "example.org", "--", "true"][..],
            125,
            "host",
        ),
        (&[][..], 125, "COMMAND"),
    ] {
        let output = learn(&workspace, words);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
        assert!(told.contains(expected), "{words:?}: {told}");
    }
    let kept = std::fs::read_to_string(workspace.work().join("there.yaml"));
    assert_eq!(kept.expect("it is there"), "mine\n");
}

/// Under the profile there are fewer mounts than there are to learn from.
#[test]
fn a_run_that_ends_otherwise_is_not_verified() {
    let workspace = Workspace::new(User::Root);
    let script = "exit $(( $(wc -l < /proc/self/mountinfo) % 200 ))";
    let output = learn(&workspace, &["-o", "p.yaml", "--", "sh", "-c", script]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("NOT verified: under the profile it ended with status"),
        "{told}"
    );
    let profile = std::fs::read_to_string(workspace.work().join("p.yaml")).expect("written");
    assert!(!profile.contains("# Verified"), "{profile}");
}

#[test]
fn where_the_working_directory_is_not_there_that_is_told() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/sub/other", "");
    workspace.write("work/data", "1\n");
    let learnt = |words: &[&str]| {
        let output = (workspace.command(program("aegis-learn")))
            .args(words)
            .current_dir(workspace.work().join("sub"))
            .output()
            .expect("aegis-learn starts");
        (output.status.code(), text(&output))
    };
    // It ends as before; its output is another.
    let (status, told) = learnt(&["--", "pwd"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("where it begins: in /"), "{told}");
    // What the command itself names relative to its directory.
    let (status, told) = learnt(&["-o", "../p.yaml", "--", "sh", "-c", "cat ../data"]);
    assert_eq!(status, Some(1), "{told}");
    let cause = "it began in /, as the profile grants nothing in the working directory";
    assert!(told.contains(cause), "{told}");
    // The line that is told.
    let place = workspace.work().join("p.yaml");
    let profile = std::fs::read_to_string(&place).expect("written");
    let healed = profile.replacen("files.read:\n", "files.read:\n    - $WORK\n", 1);
    std::fs::write(&place, healed).expect("written");
    let ran = (workspace.command(program("aegis-run")))
        .args(["--profile", "../p.yaml"])
        .current_dir(workspace.work().join("sub"))
        .output()
        .expect("aegis-run starts");
    assert_eq!(ran.stdout, b"1\n", "{}", text(&ran));
}

#[test]
fn the_rules_are_printed() {
    let workspace = Workspace::new(User::Ordinary);
    let output = learn(&workspace, &["--rules"]);
    assert_eq!(output.status.code(), Some(0));
    for rule in ["variables", "packages", "limits.memory"] {
        assert!(text(&output).contains(rule), "{}", text(&output));
    }
}
