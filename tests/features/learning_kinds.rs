//! What was learnt from one input is enough for others of the same kind.

use aegis_tests::{User, Workspace, program, text};

/// What is there, what is there the second time, and the command.
type Case = (&'static str, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    ("echo hi>f", "seq 100000 > f", &["cat", "f"]),
    (
        "echo hi>a.txt",
        "echo b > b.txt; mkdir d; echo c > d/c.txt",
        &["sh", "-c", r##"cat *.txt; find . -name "*.txt""##],
    ),
    (
        "git init -q .; echo a>a; git add a; git config user.email a@b; git config user.name n",
        "mkdir -p x/y; seq 1000 > x/y/z; git add .; git rm -q --cached a",
        &["git", "commit", "-qm", "x"],
    ),
    (
        "git init -q .; echo a>a; git add a; git -c user.email=a@b -c user.name=n commit -qm x",
        "for i in 1 2 3; do echo $i>>a; git -c user.email=a@b -c user.name=n commit -qam $i; done; git checkout -qb other",
        &["git", "log", "--stat", "--all"],
    ),
    (
        r##"echo "int main(){return 0;}">a.c"##,
        r##"printf "#include <stdio.h>\n#include <math.h>\n#include <pthread.h>\nint main(){printf(\"%%f\",sin(1));return 0;}" > a.c"##,
        &["gcc", "-O2", "-o", "a", "a.c", "-lm"],
    ),
    (
        r##"printf "a: a.c\n\tgcc -o a a.c\n" > Makefile; echo "int main(){return 0;}">a.c"##,
        r##"printf "a: a.c b.c\n\tgcc -o a a.c b.c\n" > Makefile; echo "int f(){return 1;}" > b.c"##,
        &["make"],
    ),
    (
        "mkdir d; echo 1 > d/a; echo 2 > d/b",
        "mkdir -p d/e/f; seq 100000 > d/e/f/g; ln -s a d/l",
        &["tar", "czf", "d.tgz", "d"],
    ),
    (
        r##"echo "import json; print(json.load(open(\"i.json\")))">m.py; echo "{}" > i.json"##,
        r##"echo "{\"a\": [1,2,3]}" > i.json"##,
        &["python3", "m.py"],
    ),
    (
        r##"echo "import csv,sys; [print(r) for r in csv.reader(open(\"d.csv\"))]; open(\"out.txt\",\"w\").write(\"x\")" > m.py; echo a,b > d.csv"##,
        "seq 1000 > d.csv; rm -f out.txt",
        &["python3", "m.py"],
    ),
    (
        r##"echo "import sys; exec(open(\"code\").read())" > m.py; echo "import re" > code"##,
        r##"echo "import sqlite3, xml.dom.minidom, hashlib, ssl, decimal; print(1)" > code"##,
        &["python3", "m.py"],
    ),
    (
        r##"echo "const fs=require(\"fs\");for(const f of fs.readdirSync(\"d\"))fs.writeFileSync(\"o/\"+f,fs.readFileSync(\"d/\"+f))">m.js; mkdir d o; echo 1 > d/a"##,
        "echo 2 > d/b; echo 3 > d/c",
        &["node", "m.js"],
    ),
    (
        r##"echo "while(<>){print}" > m.pl; echo a > i"##,
        "seq 100 > i",
        &["perl", "m.pl", "i"],
    ),
    (
        r##"echo "require %q(csv); CSV.foreach(%q(d.csv)){|r| p r}" > m.rb; echo a,b > d.csv"##,
        "seq 100 > d.csv",
        &["ruby", "m.rb"],
    ),
    (
        r##"echo "create table t(a); insert into t values(1);" > q.sql"##,
        r##"echo "create table u(b); insert into u values(2); create index i on u(b); vacuum;" > q.sql"##,
        &["sqlite3", "-init", "q.sql", "-batch", "db", ".quit"],
    ),
    (
        r##"echo "{}" > a.json"##,
        r##"echo "{\"a\":[1,2,{\"b\":3}]}" > a.json"##,
        &["jq", ".", "a.json"],
    ),
    (
        "mkdir d; touch d/a",
        "mkdir -p d/e/f/g; touch d/e/f/g/h",
        &["find", "d", "-type", "f"],
    ),
    (
        r##"echo "a b" > i"##,
        r##"echo "c d e" > i"##,
        &[
            "sh",
            "-c",
            r##"read a b < i; printf "%s\n" "$b" | sort | uniq -c > o; test -s o"##,
        ],
    ),
    (
        r##"printf "package main\nfunc main(){println(1)}\n" > a.go; printf "module a\n" > go.mod"##,
        r##"printf "package main\nimport \"fmt\"\nfunc main(){fmt.Println(1)}\n" > a.go"##,
        &["go", "build", "-o", "a"],
    ),
    (
        r##"printf "class A{public static void main(String[] a){System.out.println(1);}}" > A.java"##,
        r##"printf "import java.util.*;import java.nio.file.*;class A{public static void main(String[] a)throws Exception{System.out.println(List.of(1,2));Thread t=new Thread(()->{});t.start();t.join();System.out.println(Files.list(Path.of(\".\")).count());}}" > A.java"##,
        &["java", "A.java"],
    ),
    (
        "seq 1000 > a",
        "rm -f a.xz; seq 100000 > a",
        &["xz", "-kf", "a"],
    ),
    (
        "convert -size 10x10 xc:red in.png",
        "convert -size 300x200 gradient:blue-red in.png",
        &["convert", "in.png", "-resize", "50%", "out.png"],
    ),
    (
        "echo hi > a",
        "mkdir -p x/y; echo hi there > x/y/z",
        &["rg", "hi"],
    ),
    (
        "echo 1 > n",
        "echo 22 > n",
        &["bash", "-c", "x=$(cat n); echo $((x*2)) > m"],
    ),
    ("echo a > f", "seq 100 > f", &["sed", "-i", "s/1/2/", "f"]),
    (
        r##"echo "1 2" > f"##,
        "seq 1000 > f",
        &["awk", "{s+=$1} END {print s}", "f"],
    ),
    (
        "echo a > f",
        "seq 10000 > f; rm -f o.zip",
        &["zip", "-q", "o.zip", "f"],
    ),
    (
        "echo a > a; echo a > b",
        "seq 10 > a; seq 10 > b",
        &["diff", "a", "b"],
    ),
    (
        "mkdir s d; echo 1 > s/a",
        "mkdir s/t; echo 2 > s/t/b",
        &["cp", "-r", "s", "d/"],
    ),
    (
        "python3 -c 1",
        "true",
        &["python3", "-m", "venv", "--without-pip", "v"],
    ),
    (
        r##"echo "{\"name\":\"x\",\"version\":\"1.0.0\"}" > package.json; echo 1 > i.js"##,
        "mkdir lib; echo 2 > lib/j.js; rm -f *.tgz",
        &["npm", "pack", "--silent"],
    ),
    (
        "echo a > f",
        "seq 1000 > f",
        &["openssl", "dgst", "-sha256", "f"],
    ),
    (
        "echo hi | gzip > a.gz",
        "seq 1000 | gzip > a.gz",
        &["zcat", "a.gz"],
    ),
    (
        "mkdir d; touch d/a d/b",
        "touch d/c d/e",
        &["sh", "-c", "ls d | xargs -n1 -I{} cp d/{} {}.copy"],
    ),
    (
        r##"echo a > f; printf -- "--- f\n+++ f\n@@ -1 +1 @@\n-a\n+b\n" > p.diff"##,
        "true",
        &["patch", "-s", "-o", "g", "f", "p.diff"],
    ),
    ("seq 100 > f", "seq 100000 > f", &["sort", "-R", "f"]),
    (
        r##"mkdir pkg; echo "x=1" > pkg/__init__.py; echo "import pkg; print(pkg.x)" > m.py"##,
        r##"echo "y=2" > pkg/more.py; echo "from pkg.more import y; print(y)" > m.py"##,
        &["python3", "m.py"],
    ),
    (
        r##"echo "import subprocess as s; print(s.check_output([\"sh\",\"-c\",\"wc -l < f\"]))" > m.py; echo 1 > f"##,
        "seq 50 > f",
        &["python3", "m.py"],
    ),
];

/// Every so manieth case, so that several tests share them.
fn each(first: usize) {
    for (prepare, change, command) in CASES.iter().skip(first).step_by(4) {
        let workspace = Workspace::new(User::Root);
        let shell = |script: &str| {
            let output = workspace.command("sh").args(["-ec", script]).output();
            let output = output.expect("sh starts");
            assert!(output.status.success(), "{script}: {}", text(&output));
        };
        shell(prepare);
        let learnt = (workspace.command(program("aegis-learn")))
            .args(["-o", "p.yaml", "--"])
            .args(*command)
            .output()
            .expect("aegis-learn starts");
        assert_eq!(
            learnt.status.code(),
            Some(0),
            "{command:?}: {}",
            text(&learnt)
        );
        shell(change);
        let ran = (workspace.command(program("aegis-run")))
            .args(["--profile", "p.yaml", "--"])
            .args(*command)
            .output()
            .expect("aegis-run starts");
        let profile = std::fs::read_to_string(workspace.work().join("p.yaml"));
        assert_eq!(
            ran.status.code(),
            Some(0),
            "{command:?}: {}\n{}",
            text(&ran),
            profile.unwrap_or_default()
        );
    }
}

#[test]
fn a_quarter_of_the_programs_works_with_other_input() {
    each(0);
}

#[test]
fn another_quarter_of_the_programs_works_with_other_input() {
    each(1);
}

#[test]
fn a_third_quarter_of_the_programs_works_with_other_input() {
    each(2);
}

#[test]
fn the_last_quarter_of_the_programs_works_with_other_input() {
    each(3);
}

/// It began where nothing is granted, and named what lies beside the profile from there.
#[test]
fn what_a_skill_has_is_found_wherever_it_is_started() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/skill/data.csv", "1 2 3\n");
    workspace.write("work/here/other", "");
    workspace.write("work/there/other", "");
    let started = |name: &str, words: &[&str], place: &str| {
        (workspace.command(program(name)))
            .args(words)
            .current_dir(workspace.work().join(place))
            .output()
            .expect("it starts")
    };
    let profile = "../skill/p.yaml";
    let words = ["-o", profile, "--", "cat", "../skill/data.csv"];
    let learnt = started("aegis-learn", &words, "here");
    assert_eq!(learnt.status.code(), Some(0), "{}", text(&learnt));
    let written = std::fs::read_to_string(workspace.work().join("skill/p.yaml")).expect("written");
    assert!(written.contains("run: [cat, $SKILL/data.csv]"), "{written}");
    for (profile, place) in [(profile, "there"), ("work/skill/p.yaml", "..")] {
        let ran = started("aegis-run", &["--profile", profile], place);
        assert_eq!(ran.stdout, b"1 2 3\n", "{place}: {}", text(&ran));
    }
}
