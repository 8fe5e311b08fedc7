//! Dependencies between crates and between the modules of a crate are as `docs/architecture.md` draws them.
//!
//! The page has a block that begins with "```text dependencies". Each line of it is a crate's folder, in
//! parentheses the crates that it uses, and after a colon its modules: each uses only those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::source::Crate;
use crate::{read, repository};

/// A line of the block.
struct Line {
    folder: String,
    uses: BTreeSet<String>,
    modules: Vec<String>,
}

fn drawn() -> Vec<Line> {
    let page = read("docs/architecture.md");
    let (_, rest) = page
        .split_once("```text dependencies\n")
        .expect("the block of dependencies");
    let (block, _) = rest.split_once("```").expect("its end");
    let words = |text: &str| -> Vec<String> {
        let words = text.split([' ', ',', '\n']);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    // An indented line continues the line before.
    let block = block.replace("\n ", " ");
    let line = |line: &str| {
        let (head, modules) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("no colon: {line}"));
        let (folder, uses) = head.split_once('(').unwrap_or((head, ""));
        Line {
            folder: folder.trim().into(),
            uses: words(uses.trim_end().trim_end_matches(')'))
                .into_iter()
                .collect(),
            modules: words(modules),
        }
    };
    block.lines().map(line).collect()
}

/// For each crate of the workspace, by its folder, the workspace crates that it depends on.
pub(crate) fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(repository("."))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", aegis_tests::text(&output));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let root = metadata["workspace_root"].as_str().expect("a path");
    let packages = metadata["packages"].as_array().expect("a list");
    let folder = |path: &serde_json::Value| -> Option<String> {
        let path = path.as_str()?.strip_prefix(root)?;
        Some(
            path.trim_matches('/')
                .trim_end_matches("/Cargo.toml")
                .into(),
        )
    };
    let uses = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| folder(&dependency["path"]))
            .collect()
    };
    packages
        .iter()
        .map(|package| {
            (
                folder(&package["manifest_path"]).expect("in the workspace"),
                uses(package),
            )
        })
        .filter(|(folder, _)| folder != "tests")
        .collect()
}

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let drawn = drawn();
    let mut crates = crates();
    let mut above = BTreeSet::new();
    for line in drawn {
        let uses = crates.remove(&line.folder);
        assert_eq!(
            uses,
            Some(line.uses.clone()),
            "what {} uses, and what is drawn",
            line.folder
        );
        assert!(
            line.uses.is_subset(&above),
            "{} uses what comes after it",
            line.folder
        );
        above.insert(line.folder);
    }
    assert!(crates.is_empty(), "not drawn: {crates:?}");
}

#[test]
fn modules_use_only_those_drawn_before_them() {
    let mut wrong = Vec::new();
    for Line {
        folder, modules, ..
    } in drawn()
    {
        let found = Crate::read(&repository(&folder).join("src"));
        let before = wrong.len();
        let place = |module: &String| modules.iter().position(|drawn| drawn == module);
        for module in &modules {
            if !found.uses.contains_key(module) {
                wrong.push(format!("{folder} has no module {module}"));
            }
        }
        for (module, uses) in &found.uses {
            let Some(own) = place(module) else {
                wrong.push(format!("{folder}: {module} is not drawn"));
                continue;
            };
            for (used, file) in uses {
                if place(used).is_none_or(|place| place >= own) {
                    let file = file.display();
                    wrong.push(format!("{folder}: {module} uses {used}: {file}"));
                }
            }
        }
        if wrong.len() > before {
            wrong.push(order(&found));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The modules of a crate in an order in which each uses only those before it, as far as possible.
fn order(found: &Crate) -> String {
    let mut left: BTreeMap<_, _> = found.uses.iter().collect();
    let mut order = Vec::new();
    while let Some(next) = left
        .iter()
        .find(|(_, uses)| uses.keys().all(|used| !left.contains_key(used)))
        .map(|(module, _)| *module)
    {
        left.remove(next);
        order.push(&**next);
    }
    let mut text = format!("an order that would do: {}", order.join(" "));
    for (module, uses) in &left {
        let uses: Vec<&str> = uses.keys().map(|used| &**used).collect();
        text.push_str(&format!(
            "\n  in a cycle, or above one: {module} uses {}",
            uses.join(" ")
        ));
    }
    text
}
