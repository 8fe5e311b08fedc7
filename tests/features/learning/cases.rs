//! Commands whose profiles are learnt, held against the lines that somebody careful expects, and tried as anybody would.

use std::path::Path;

use aegis_tests::text;

use super::{learn, value};
use crate::observation::observed;

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
