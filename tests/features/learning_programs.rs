//! Real programs: after one run the profile verifies, and the program works under it with other input of the same kind.
//!
//! Each is learnt by one of three: root by probes, a user through the service, a user by the listener, in turn.

mod mcp;
mod published;
mod servers;

use std::path::Path;
use std::process::{Command, Output};

use aegis_tests::{User, Workspace, host, program, text};

use crate::observation::Service;
use crate::workloads_build::rust;

/// A program, and what it works on.
struct Program {
    name: &'static str,
    /// Makes what is there when it is learnt.
    prepare: &'static str,
    /// Makes other input of the same kind.
    change: &'static str,
    command: &'static [&'static str],
    /// Succeeds when the program has done its work.
    check: &'static str,
}

/// Who learns, and what observes.
#[derive(Clone, Copy, Debug)]
enum Learner {
    Root,
    Service,
    Listener,
}

const LEARNERS: [Learner; 3] = [Learner::Root, Learner::Service, Learner::Listener];

impl Learner {
    fn user(self) -> User {
        match self {
            Self::Root => User::Root,
            Self::Service | Self::Listener => User::Ordinary,
        }
    }

    fn observes(self) -> &'static str {
        match self {
            Self::Root | Self::Service => "probes",
            Self::Listener => "listener",
        }
    }
}

/// A workspace in namespaces of its own, with the service if that is what observes.
fn learning(learner: Learner, body: impl FnOnce(&Workspace) + Send) {
    host::in_private_network(|| {
        host::tmpfs(Path::new("/run"), "mode=755");
        let service = matches!(learner, Learner::Service).then(Service::start);
        body(&Workspace::new(learner.user()));
        drop(service);
    });
}

/// Runs a script outside of any sandbox.
#[track_caller]
fn shell(workspace: &Workspace, script: &str) {
    let output = workspace.command("sh").args(["-euc", script]).output();
    let output = output.expect("sh starts");
    assert!(output.status.success(), "{script}: {}", text(&output));
}

/// `aegis-learn -o p.yaml OPTIONS -- WORDS`.
fn learn(workspace: &Workspace, learner: Learner, options: &[&str], words: &[&str]) -> Command {
    let mut command = workspace.command(program("aegis-learn"));
    command.args(["-o", "p.yaml", "--observe-by", learner.observes()]);
    command.args(options).arg("--").args(words);
    command
}

/// Fails with what was said and the profile.
#[track_caller]
fn succeeds(what: &str, workspace: &Workspace, output: &Output) {
    let profile = std::fs::read_to_string(workspace.work().join("p.yaml"));
    assert_eq!(
        output.status.code(),
        Some(0),
        "{what}: {}\n{}",
        text(output),
        profile.unwrap_or_default()
    );
}

/// Learns a program, and runs it with other input under what was learnt.
fn is_learnt(workspace: &Workspace, learner: Learner, program: &Program, options: &[&str]) {
    let what = format!("{} by {learner:?}", program.name);
    shell(workspace, program.prepare);
    let learnt = learn(workspace, learner, options, program.command).output();
    let learnt = learnt.expect("aegis-learn starts");
    succeeds(&what, workspace, &learnt);
    let verified = "verified: it ran under the profile with status 0, as before";
    assert!(
        text(&learnt).contains(verified),
        "{what}: {}",
        text(&learnt)
    );
    shell(workspace, program.change);
    let ran = (workspace.aegis(Path::new("p.yaml"), program.command)).output();
    let what = format!("{what}, other input");
    succeeds(&what, workspace, &ran.expect("aegis-run starts"));
    shell(workspace, program.check);
}

/// Each by the next learner.
fn are_learnt(programs: &[Program]) {
    for (number, program) in programs.iter().enumerate() {
        let learner = LEARNERS[number % LEARNERS.len()];
        learning(learner, |workspace| {
            is_learnt(workspace, learner, program, &[]);
        });
    }
}

#[test]
fn media_and_documents_are_converted_under_what_was_learnt() {
    are_learnt(&[
        Program {
            name: "ffmpeg, sound",
            prepare: "ffmpeg -loglevel error -f lavfi -i sine=duration=1 in.wav",
            change: "ffmpeg -loglevel error -y -f lavfi -i anoisesrc=duration=3 -ac 2 in.wav",
            command: &[
                "ffmpeg",
                "-loglevel",
                "error",
                "-y",
                "-i",
                "in.wav",
                "out.ogg",
            ],
            check: "ffprobe -loglevel error out.ogg",
        },
        Program {
            name: "ffmpeg, pictures",
            prepare: "ffmpeg -loglevel error -f lavfi -i testsrc=duration=1:size=64x64:rate=5 in.mkv",
            change: "ffmpeg -loglevel error -y -f lavfi -i mandelbrot=size=160x120:rate=10 -t 1 in.mkv",
            command: &[
                "ffmpeg",
                "-loglevel",
                "error",
                "-y",
                "-i",
                "in.mkv",
                "-vf",
                "scale=32:32",
                "out.mp4",
            ],
            check: "ffprobe -loglevel error out.mp4",
        },
        Program {
            name: "pandoc, to HTML",
            prepare: "printf '# One\\n\\ntext\\n' > in.md",
            change: "printf -- '---\\ntitle: Two\\n---\\n\\n| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n$x^2$ and a note[^1].\\n\\n[^1]: here\\n' > in.md",
            command: &["pandoc", "--standalone", "in.md", "-o", "out.html"],
            check: "grep -q '<table>' out.html",
        },
        Program {
            name: "pandoc, to a word processor's",
            prepare: "printf '# One\\n\\ntext\\n' > in.md",
            change: "convert -size 8x8 xc:red red.png; printf '![red](red.png)\\n\\n- a\\n- b\\n\\n```sh\\nls\\n```\\n' > in.md",
            command: &["pandoc", "in.md", "-o", "out.docx"],
            check: "python3 -m zipfile -l out.docx | grep -q media",
        },
    ]);
}

const ORIGIN: &str = "
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    git init -q -b main seed; (cd seed; seq 100 > numbers; git add .; git commit -qm one)
    git clone -q --bare seed origin.git; rm -rf seed";

const MORE: &str = "
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    git clone -q origin.git seed
    (cd seed; mkdir -p x/y; seq 10000 > x/y/z; git add .; git commit -qm two; git tag v1; git push -q --tags origin HEAD:main HEAD:side)
    rm -rf seed; git --git-dir=origin.git gc -q; touch links";

/// A clone of a path makes hard links of the repository's files where it may. In an overlay such a link is another file to git, which
/// then gives up; so it is learnt from a clone without, and clones with hard links under the profile.
#[test]
fn repositories_are_cloned_under_what_was_learnt() {
    are_learnt(&[
        Program {
            name: "git, a clone of a path",
            prepare: ORIGIN,
            change: MORE,
            command: &[
                "sh",
                "-ec",
                "if test -f links; then git clone -q origin.git clone; else git clone -q --no-hardlinks origin.git clone; fi",
            ],
            check: "test -f clone/x/y/z",
        },
        Program {
            name: "git, a clone of a URL, and a push to it",
            prepare: ORIGIN,
            change: MORE,
            command: &[
                "sh",
                "-ec",
                "git clone -q \"file://$PWD/origin.git\" clone; cd clone; echo x > new; git add new; git -c user.name=a -c user.email=a@b commit -qm new; git push -q origin HEAD:refs/heads/new",
            ],
            check: "git --git-dir=origin.git log --format=%s new | grep -q two",
        },
    ]);
}

const WHEEL: &str = r#"
cat > wheel.py <<'END'
import sys, zipfile
with zipfile.ZipFile('pkg-1-py3-none-any.whl', 'w') as wheel:
    info = 'pkg-1.dist-info/'
    wheel.writestr('pkg/__init__.py', 'def main(): print("installed")')
    for name in sys.argv[1:]:
        wheel.writestr(f'pkg/{name}/data.txt', 'x' * 10000)
        wheel.writestr(info + 'entry_points.txt', f'[console_scripts]\n{name} = pkg:main\n')
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: pkg\nVersion: 1\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr(info + 'RECORD', '')
END
"#;

#[test]
fn packages_are_installed_under_what_was_learnt() {
    let prepare = format!("{WHEEL}python3 wheel.py");
    are_learnt(&[
        Program {
            name: "pip, a wheel",
            prepare: prepare.leak(),
            change: "python3 wheel.py tool",
            command: &[
                "python3", "-m", "pip", "-q", "install", "--no-index", "--no-cache-dir", "--target", "site",
                "pkg-1-py3-none-any.whl",
            ],
            check: "test -f site/pkg/tool/data.txt; test -x site/bin/tool",
        },
        Program {
            name: "npm, a tarball",
            prepare: "mkdir x; echo '{\"name\":\"x\",\"version\":\"1.0.0\"}' > x/package.json; echo 1 > x/index.js
                (cd x; npm pack --silent --pack-destination ..); echo '{\"name\":\"y\",\"version\":\"1.0.0\"}' > package.json",
            change: "mkdir x/lib; seq 10000 > x/lib/more.js; printf '#!/usr/bin/env node\\n' > x/tool.js
                echo '{\"name\":\"x\",\"version\":\"1.0.0\",\"bin\":{\"tool\":\"tool.js\"}}' > x/package.json
                (cd x; npm pack --silent --pack-destination ..)",
            command: &["npm", "install", "--offline", "--no-audit", "--no-fund", "./x-1.0.0.tgz"],
            check: "test -f node_modules/x/lib/more.js; test -x node_modules/.bin/tool",
        },
        Program {
            name: "a virtual environment",
            prepare: "echo 1 > a",
            change: "echo 2 > a",
            command: &["python3", "-m", "venv", "--without-pip", "venv"],
            check: "test -x venv/bin/python3",
        },
    ]);
}

#[test]
fn a_crate_is_tested_under_what_was_learnt() {
    let crates = Program {
        name: "cargo",
        prepare: "mkdir src; printf '[package]\\nname = \"a\"\\nedition = \"2021\"\\n' > Cargo.toml; echo 'pub fn one() {}' > src/lib.rs",
        change: "mkdir tests; echo '#[test] fn two() { assert_eq!(a::two(), std::fs::read_to_string(\"Cargo.toml\").unwrap().len()) }' > tests/two.rs
            echo 'pub fn two() -> usize { std::fs::metadata(\"Cargo.toml\").unwrap().len() as usize }' > src/lib.rs
            printf '[dependencies]\\nb = {path = \"b\"}\\n' >> Cargo.toml; mkdir -p b/src; echo > b/src/lib.rs
            printf '[package]\\nname = \"b\"\\nedition = \"2021\"\\n' > b/Cargo.toml",
        command: &["sh", "-c", "\"$HOME/.cargo/bin/cargo\" test -q --offline --lib --tests"],
        check: "test -d target/debug",
    };
    learning(Learner::Service, |workspace| {
        rust(workspace);
        is_learnt(workspace, Learner::Service, &crates, &[]);
    });
}
