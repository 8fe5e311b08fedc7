//! Everything named in the documents for contributors exists, and every test file is run.

use crate::modules::crates;
use crate::{read, repository};

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a word in backticks is a path of the repository.
fn is_path(word: &str) -> bool {
    const FOLDERS: [&str; 18] = [
        "audit/",
        "cli/",
        "docs/",
        "ebpf/",
        "egress/",
        "export/",
        "fuzz/",
        "launch/",
        "learn/",
        "observation/",
        "policy/",
        "profiles/",
        "runtime/",
        "scripts/",
        "secrets/",
        "sys/",
        "tests/",
        "examples/",
    ];
    FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains([' ', '*', '{', '<'])
}

#[test]
fn every_path_that_a_document_for_contributors_names_is_there() {
    for document in ["CONTRIBUTING.md", "docs/architecture.md"] {
        let text = read(document);
        for path in quoted(&text).filter(|word| is_path(word)) {
            assert!(repository(path).exists(), "{document} names {path}");
        }
    }
}

#[test]
fn every_source_that_the_page_on_security_names_is_there() {
    let text = read("docs/security.md");
    for path in quoted(&text).filter(|word| word.contains('/') && word.ends_with(".rs")) {
        let in_runtime = repository("runtime/src").join(path);
        assert!(in_runtime.exists() || repository(path).exists(), "{path}");
    }
}

/// Each row of the table "Where to begin" names files, and in parentheses what to look for in them.
#[test]
fn what_a_newcomer_is_sent_to_is_there() {
    let page = read("CONTRIBUTING.md");
    let (_, table) = page
        .split_once("| to add | go to |\n|---|---|\n")
        .expect("the table");
    let mut rows = 0;
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let mut file: Option<(&str, String)> = None;
        let mut items = 0;
        for word in quoted(row) {
            if is_path(word) {
                let path = repository(word);
                let text = if path.is_dir() {
                    String::new()
                } else {
                    read(word)
                };
                file = Some((word, text));
            } else if let Some((path, text)) = &file {
                assert!(text.contains(word), "{path} has no {word}: {row}");
                items += 1;
            }
        }
        assert!(
            file.is_some() && items > 0,
            "names no file with an item: {row}"
        );
        rows += 1;
    }
    assert!(rows >= 6, "{rows} rows");
}

/// Most crates have one test program, since each is linked by itself: a file that it leaves out is not run.
#[test]
fn every_file_of_tests_belongs_to_the_program_of_its_crate() {
    for folder in crates().into_keys() {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        if !manifest.contains("\nautotests = false\n") {
            continue;
        }
        let entries = std::fs::read_dir(repository(&folder).join("tests")).expect("its tests");
        let main = read(&format!("{folder}/tests/main.rs"));
        for entry in entries {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name in UTF-8");
            let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") else {
                continue;
            };
            let line = format!("\nmod {module};\n");
            assert!(main.contains(&line), "{folder}/tests/{name} is not run");
        }
    }
}

/// An attack that no test runs holds nothing.
#[test]
fn every_attack_is_run_by_a_test() {
    let text = |folder: &str| -> String {
        let entries = std::fs::read_dir(repository(folder)).expect("the folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let sources = paths.filter(|path| path.extension().is_some_and(|end| end == "rs"));
        sources
            .map(|path| std::fs::read_to_string(path).expect("a source"))
            .collect()
    };
    let run = text("tests/features");
    let attacks = text("tests/attacks");
    let items: std::collections::BTreeSet<&str> = (attacks.split("item: ").skip(1))
        .filter_map(|rest| rest.split_once(',').map(|(item, _)| item))
        .filter(|item| item.bytes().all(|byte| byte.is_ascii_digit()) && *item != "0")
        .collect();
    assert!(items.len() > 15, "{items:?}");
    for item in items {
        assert!(run.contains(&format!("all_held({item});")), "item {item}");
    }
}
