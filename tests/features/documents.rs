//! README.md, docs/guide.md and docs/policy.md, as a newcomer reads them: each command is run by an ordinary user in a directory of their home, under no policy but
//! the one that holds where there is none, and must say what the page says.
//!
//! In a page, `<!-- file: NAME -->` writes the block below it to that file, and the same comment with lines of its own writes those;
//! `<!-- elsewhere: WHY -->` leaves the block below it out, and `<!-- of this host -->` does not compare what it prints. A line `...` stands for any
//! lines, and `...` in a line for any text; `/home/ana` is the user's home.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use aegis_tests::{USERS, User, Workspace, program, repository};

/// The directory of the programs under test.
fn programs() -> String {
    let directory = program("aegis").with_file_name("");
    let directory = directory.to_str().expect("a path in UTF-8");
    directory.trim_end_matches('/').to_owned()
}

/// A newcomer: a home without any file of Aegis's.
struct Newcomer {
    workspace: Workspace,
}

impl Newcomer {
    fn new(user: User) -> Self {
        let workspace = Workspace::new(user);
        std::fs::create_dir(workspace.home().join("sales")).expect("mkdir");
        workspace.own(&workspace.home().join("sales"));
        let newcomer = Self { workspace };
        // The first run says that it makes a key.
        newcomer.run("aegis-run true");
        newcomer
    }

    fn place(&self) -> PathBuf {
        self.workspace.home().join("sales")
    }

    fn write(&self, name: &str, contents: &str) {
        self.workspace
            .write(&format!("home/sales/{name}"), contents);
    }

    /// The output of a command line, on both streams, with its status.
    fn run(&self, line: &str) -> (String, Option<i32>) {
        let programs = programs();
        let mut command = self.workspace.command("/bin/sh");
        let output = command
            .args(["-c", &format!("exec 2>&1; {line}")])
            .current_dir(self.place())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env("TERM", "xterm")
            .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sh starts");
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.status.code(),
        )
    }
}

/// What a page has to be done with.
#[derive(Debug)]
enum Part {
    File(String, String),
    Command {
        line: String,
        says: Option<Vec<String>>,
    },
}

fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = page.lines();
    let (mut file, mut elsewhere, mut compared) = (None, false, true);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- file: ") {
            match name.strip_suffix(" -->") {
                Some(name) => file = Some(name.to_owned()),
                None => {
                    let hidden = lines.by_ref().take_while(|line| *line != "-->");
                    let text = hidden.map(|line| format!("{line}\n")).collect();
                    parts.push(Part::File(name.to_owned(), text));
                }
            }
        } else if line.starts_with("<!-- elsewhere: ") {
            elsewhere = true;
        } else if line == "<!-- of this host -->" {
            compared = false;
        } else if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match (file.take(), elsewhere) {
                (Some(name), _) => parts.push(Part::File(name, format!("{}\n", block.join("\n")))),
                (None, false) if language == "console" => parts.extend(commands(&block, compared)),
                _ => {}
            }
            (elsewhere, compared) = (false, true);
        }
    }
    parts
}

fn commands(block: &[&str], compared: bool) -> Vec<Part> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, says))) => says.push((*line).to_owned()),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    let part = |(line, says)| Part::Command {
        line,
        says: compared.then_some(says),
    };
    commands.into_iter().map(part).collect()
}

/// Whether a line matches the expected one, where `...` is any text.
fn is_line(said: &str, expected: &str) -> bool {
    match expected.split_once("...") {
        None => said == expected,
        Some((first, rest)) => said.strip_prefix(first).is_some_and(|said| {
            let ends = said.char_indices().map(|(at, _)| at).chain([said.len()]);
            ends.into_iter().any(|at| is_line(&said[at..], rest))
        }),
    }
}

fn is_like(said: &[&str], expected: &[String]) -> bool {
    match (expected, said) {
        ([], said) => said.is_empty(),
        ([dots, rest @ ..], said) if dots == "..." => {
            (0..=said.len()).any(|skip| is_like(&said[skip..], rest))
        }
        ([expected, rest @ ..], [said, more @ ..]) => {
            is_line(said, expected) && is_like(more, rest)
        }
        (_, []) => false,
    }
}

/// Runs a page from top to bottom. Returns how many commands were run.
fn read(page: &str, prepare: impl Fn(&Newcomer)) -> usize {
    let text = std::fs::read_to_string(repository(page)).expect("a page");
    let newcomer = Newcomer::new(User::Ordinary);
    prepare(&newcomer);
    let home = newcomer.workspace.home().display().to_string();
    let (git, _) = newcomer.run("command -v git");
    let mut count = 0;
    for part in parts(&text) {
        match part {
            Part::File(name, text) => newcomer.write(&name, &text),
            Part::Command { line, .. } if line.starts_with("aegis policy ") => {}
            Part::Command { line, says } => {
                let (said, status) = newcomer.run(&line);
                count += 1;
                let Some(says) = says else {
                    assert!(matches!(status, Some(0 | 1)), "{page}: $ {line}\n{said}");
                    continue;
                };
                let says: Vec<_> = says
                    .iter()
                    .map(|line| {
                        line.replace("/home/ana", &home)
                            .replace("/usr/bin/git", git.trim())
                    })
                    .collect();
                let lines: Vec<&str> = said.lines().collect();
                assert!(
                    is_like(&lines, &says),
                    "{page}: $ {line}\n{said}\nthe page has:\n{}",
                    says.join("\n")
                );
            }
        }
    }
    count
}

const REPORT: &str = "import csv, subprocess, sys\nsys.tracebacklimit = 0\n\
                      total = sum(int(row['amount']) for row in csv.DictReader(open('sales.csv')))\n\
                      with open('out/report.txt', 'w') as report:\n    \
                      report.write(f'{total}\\n' + subprocess.run(['git', '--version'], capture_output=True, text=True).stdout)\n\
                      print('report written')\n";

fn sales(newcomer: &Newcomer) {
    newcomer.write("report.py", REPORT);
    newcomer.write("sales.csv", "month,amount\njan,19\nfeb,23\n");
    std::fs::create_dir(newcomer.place().join("out")).expect("mkdir");
    newcomer.workspace.own(&newcomer.place().join("out"));
    newcomer.workspace.write("home/.ssh/id_ed25519", "a key\n");
}

#[test]
fn the_readme_is_true() {
    assert!(read("README.md", sales) >= 3);
}

#[test]
fn the_guide_is_true() {
    assert!(read("docs/guide.md", sales) >= 12);
}

/// As a user whose runs are observed by the service.
#[test]
fn the_page_of_learning_is_true() {
    aegis_tests::host::in_private_mounts(|| {
        let _service = crate::observation::Service::start();
        assert!(read("docs/learning.md", sales) >= 8);
    });
}

/// Its hosts are stand-ins.
#[test]
fn the_page_of_egress_is_true() {
    crate::egress_programs::stand::where_all_trust_it(|| {
        assert!(read("docs/egress.md", sales) >= 8);
    });
}

#[test]
fn the_page_of_secrets_is_true() {
    assert!(read("docs/secrets.md", sales) >= 6);
}

/// Its `aegis policy` commands are run by `cli/tests/docs.rs`.
#[test]
fn the_operators_guide_is_true() {
    assert!(read("docs/policy.md", sales) >= 5);
}

#[test]
fn the_demo_shows_a_refusal_that_is_healed_and_the_record_on_one_screen() {
    for user in USERS {
        let newcomer = Newcomer::new(user);
        let demo = newcomer.workspace.write(
            "home/demo",
            std::fs::read(repository("scripts/demo")).expect("the demo"),
        );
        std::fs::set_permissions(&demo, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let programs = programs();
        let (said, status) = newcomer.run(&format!(
            "TMPDIR=$HOME AEGIS_DEMO_PROGRAMS={programs} {}",
            demo.display()
        ));
        assert_eq!(status, Some(0), "{user:?}: {said}");
        for part in [
            "refused by Landlock: executing ",
            "report written\ntotal 42, checked by git version",
            "block   files.read /etc/shadow",
            "intact: yes\ncomplete: yes",
        ] {
            assert!(said.contains(part), "{user:?}: no {part:?} in {said}");
        }
        assert!(said.lines().count() < 40, "{user:?}: {said}");
        // It leaves nothing behind.
        let (left, _) = newcomer.run("find ~ -mindepth 1 -newer ~/demo");
        assert_eq!(left, "", "{user:?}");
    }
}

#[test]
fn a_python_profile_runs_under_the_first_policy_of_the_operators_guide() {
    let page = std::fs::read_to_string(repository("docs/policy.md")).expect("the page");
    let newcomer = Newcomer::new(User::Ordinary);
    let first = parts(&page).into_iter().find_map(|part| match part {
        Part::File(name, text) if name == "policy.yaml" => Some(text),
        _ => None,
    });
    newcomer.write("policy.yaml", &first.expect("a policy"));
    newcomer.write("skill/main.py", "print('ran')\n");
    newcomer.write("skill/skill.yaml", "aegis: 1\nextends: [python]\nrun: [python3, $SKILL/main.py]\ncapabilities: {files.read: [$SKILL]}\n");
    let line = "LANG=C.UTF-8 TERM=xterm aegis-run --policy policy.yaml --profile skill/skill.yaml";
    assert_eq!(newcomer.run(line), ("ran\n".into(), Some(0)));
}

/// The recipes of the guide, by what they begin with.
fn recipe(name: &str) -> String {
    let guide = std::fs::read_to_string(repository("docs/guide.md")).expect("the guide");
    let (_, after) = guide
        .split_once(&format!("\n**{name}"))
        .unwrap_or_else(|| panic!("no recipe {name}"));
    let (_, block) = after.split_once("```yaml\n").expect("a profile");
    block.split_once("```").expect("its end").0.to_owned()
}

/// Runs a recipe as it is written, in a directory of the home.
#[track_caller]
fn follow(name: &str, prepare: &[(&str, &str)], before: &str, line: &str) -> String {
    let newcomer = Newcomer::new(User::Ordinary);
    for (path, contents) in prepare {
        newcomer.write(path, contents);
    }
    newcomer.write("skill.yaml", &recipe(name));
    let (said, status) = newcomer.run(before);
    assert_eq!(status, Some(0), "{name}: {said}");
    let (said, status) = newcomer.run(line);
    assert_eq!(status, Some(0), "{name}: {said}");
    said
}

const RUN: &str = "aegis-run --profile skill.yaml";

#[test]
fn the_recipe_for_a_virtual_environment_is_enough() {
    let app = (
        "app.py",
        "import sys; print(sys.prefix != sys.base_prefix)\n",
    );
    let said = follow(
        "A Python virtual environment",
        &[app],
        "/usr/bin/python3 -m venv --without-pip venv",
        RUN,
    );
    assert_eq!(said, "True\n");
}

#[test]
fn the_recipe_for_a_node_project_runs_a_tool_of_its_packages() {
    let package = r#"{"name": "site", "version": "1.0.0", "scripts": {"build": "maker dist"}}"#;
    let tool = "#!/usr/bin/env node\nrequire('fs').writeFileSync(process.argv[2] + '/made', 'made'); console.log('built')\n";
    let said = follow(
        "A Node.js project",
        &[
            ("package.json", package),
            ("node_modules/maker/cli.js", tool),
        ],
        "mkdir dist node_modules/.bin && ln -s ../maker/cli.js node_modules/.bin/maker && chmod 755 node_modules/maker/cli.js",
        &format!("{RUN} && cat dist/made"),
    );
    assert!(said.contains("built") && said.ends_with("made"), "{said}");
}

#[test]
fn the_recipe_for_git_commits() {
    let said = follow(
        "Git.",
        &[("file", "x\n")],
        "git init --quiet .",
        &format!(
            "{RUN} -- sh -c 'git add file && git commit --quiet -m x' && git log --format=%an"
        ),
    );
    assert_eq!(said.lines().next_back(), Some("Ana"), "{said}");
}

#[test]
fn the_recipe_for_make_builds_and_runs_what_it_built() {
    let makefile = "test: out/hello\n\tout/hello\n\nout/hello: hello.c\n\tcc -o $@ $<\n";
    let source = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
    let said = follow(
        "Building C with make",
        &[("Makefile", makefile), ("hello.c", source)],
        "mkdir out",
        RUN,
    );
    assert!(said.ends_with("hello\n"), "{said}");
}

#[test]
fn the_recipe_for_cargo_builds_a_package_that_has_no_lock_file_yet() {
    let manifest = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\nbuild = \"build.rs\"\n";
    let newcomer = Newcomer::new(User::Ordinary);
    crate::workloads_build::rust(&newcomer.workspace);
    newcomer.write("Cargo.toml", manifest);
    newcomer.write(
        "build.rs",
        "fn main() { println!(\"cargo:rustc-env=MADE=built\"); }\n",
    );
    newcomer.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", env!(\"MADE\")); }\n",
    );
    newcomer.write("skill.yaml", &recipe("Building Rust with cargo"));
    let line = format!(
        "PATH=~/.cargo/bin:$PATH; cargo fetch && mkdir target && {RUN} && target/debug/hello"
    );
    let (said, status) = newcomer.run(&line);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with("built\n"), "{said}");
}
