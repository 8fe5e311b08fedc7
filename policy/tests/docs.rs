//! The YAML of docs/policy.md: every policy on it is valid, every table of templates is true, and every test
//! that it names exists. (`cli/tests/docs.rs` runs its commands.)

use std::fs;
use std::path::{Path, PathBuf};

use aegis_policy::load::parse_str;
use aegis_policy::model::Verdict;
use aegis_policy::table::Table;
use aegis_policy::{Context, Policy, Request, ask, decide, templates};

const PAGE: &str = include_str!("../../docs/policy.md");

/// The blocks of a language, such as `yaml`, or `yaml wrong` for deliberate mistakes.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("```") {
            let text: String = (lines.by_ref().take_while(|line| *line != "```"))
                .map(|line| format!("{line}\n"))
                .collect();
            if found == language {
                blocks.push(text);
            }
        }
    }
    blocks
}

#[test]
fn every_policy_on_the_page_is_one() {
    let (mut policies, mut tables) = (0, 0);
    for text in blocks("yaml") {
        let first = text.lines().next().unwrap_or_default();
        if first == "aegis-policy-test: 1" {
            Table::parse(&text, "policy.md").unwrap_or_else(|error| panic!("{error}\n{text}"));
            tables += 1;
        } else if first == "aegis-policy: 1" {
            let mut document =
                parse_str(&text, "policy.md").unwrap_or_else(|error| panic!("{error}\n{text}"));
            // Files beside it are read, and run, by the commands of the page.
            document.rego.clear();
            Policy::new(vec![document]).unwrap_or_else(|error| panic!("{error}\n{text}"));
            policies += 1;
        } else {
            assert!(
                first.starts_with("# .github/workflows/"),
                "neither a policy nor a table:\n{text}"
            );
        }
    }
    assert!(
        policies >= 6 && tables >= 2,
        "{policies} policies, {tables} tables"
    );
}

/// The cells of the table below a heading of the page.
fn rows(heading: &str) -> Vec<Vec<&str>> {
    let after = PAGE.split_once(heading).expect("the table").1;
    let lines = after
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    lines
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn the_table_of_the_templates_is_true() {
    // Requests for each line of the table.
    let asked: [&[&str]; 26] = [
        &["files.read $SKILL/**"],
        &["files.read $WORK/**"],
        &["files.write $WORK/**"],
        &["files.read /usr/**", "files.read /lib/x/libc.so.6"],
        &["files.read $HOME/notes.txt", "files.read $HOME/src/**"],
        &["files.write $HOME/notes.txt"],
        &["files.write /etc/motd"],
        &["shell.exec git"],
        &["shell.exec $HOME/bin/tool"],
        &["environment.pass LANG", "environment.pass TERM"],
        &["environment.pass LD_PRELOAD"],
        &["devices gpu"],
        &["sockets private"],
        &["net.listen 8080"],
        &["net.host host"],
        &["syscalls.allow ptrace"],
        &[
            "anomaly read /etc/passwd",
            "anomaly write x",
            "anomaly call ptrace",
        ],
        &[
            "anomaly exec /tmp/x",
            "anomaly connect 192.0.2.1:443",
            "anomaly signal 9",
        ],
        &["net.outbound https://api.github.com"],
        &[
            "secrets.use github to api.github.com in header",
            "secrets.use github to api.github.com in query",
        ],
        &[
            "files.read $HOME/.ssh/**",
            "files.read $HOME/.aws/credentials",
            "files.read $HOME/.mozilla/**",
            "files.read $HOME/.electrum/**",
            "files.read $HOME/.bash_history",
            "files.read /etc/shadow",
            "files.read $HOME/**",
        ],
        &[
            "files.read /var/log/aegis/audit/**",
            "files.read $HOME/.local/state/aegis/**",
            "files.read $HOME/.local/share/aegis/secrets/**",
            "files.read $HOME/.config/aegis/secrets.key",
            "files.write $HOME/.config/aegis/policy.yaml",
            "files.write /etc/aegis/**",
        ],
        &[
            "files.read /run/docker.sock",
            "files.write /run/user/1000/bus",
            "environment.pass SSH_AUTH_SOCK",
        ],
        &["environment.pass GITHUB_TOKEN"],
        &["net.outbound http://169.254.169.254"],
        &["syscalls.allow mount", "syscalls.allow bpf"],
    ];
    let rows = rows("| asked for | `strict` | `standard` | `permissive` |\n");
    assert_eq!(rows.len(), asked.len());
    let context = ask::somebody();
    for (row, lines) in rows.iter().zip(asked) {
        let [_, verdicts @ ..] = row.as_slice() else {
            panic!("no cells: {row:?}");
        };
        assert_eq!(verdicts.len(), templates::ALL.len(), "{row:?}");
        for (template, expected) in templates::ALL.iter().zip(verdicts) {
            let policy = Policy::new(vec![template.document()]).unwrap();
            for line in lines {
                let verdict = verdict(&policy, &context, line);
                assert_eq!(
                    verdict.to_string(),
                    *expected,
                    "{} of {line}",
                    template.name
                );
            }
        }
    }
}

fn verdict(policy: &Policy, context: &Context, line: &str) -> Verdict {
    let request = Request {
        approvals: Vec::new(),
        context: context.clone(),
        what: ask::line(line, context).unwrap_or_else(|wrong| panic!("{line}: {}", wrong.message)),
    };
    decide(policy, &request).verdict
}

/// The Rust files below a directory.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_that_an_acceptance_criterion_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for directory in [
        "policy/tests",
        "policy/src",
        "audit/tests",
        "cli/tests",
        "cli/src",
        "runtime/src",
        "tests/features",
    ] {
        sources(&root.join(directory), &mut files);
    }
    let text: String = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let section = PAGE
        .split_once("## Acceptance criteria")
        .expect("the section")
        .1;
    let mut named = 0;
    for row in section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| criterion"))
    {
        let shown = row
            .trim_matches('|')
            .split(" | ")
            .last()
            .unwrap_or_default();
        // Names of tests are the words in backticks that are not paths.
        let names = shown
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| !word.contains(['.', '/']));
        let before = named;
        for name in names {
            assert!(
                text.contains(&format!("fn {name}(")),
                "there is no test {name}"
            );
            named += 1;
        }
        assert!(named > before, "no test is named: {row}");
    }
    assert!(named > 25, "{named} tests are named");
}
