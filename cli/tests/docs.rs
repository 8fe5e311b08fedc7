//! docs/policy.md: the tests that it names exist, and its examples are run from top to bottom: a block below
//! `<!-- file: NAME -->` is written to that file, and each `$ aegis policy ...` is run beside it and must print
//! what the page shows. A line `...` stands for any lines. What is below `<!-- elsewhere: WHY -->` is not run here.

use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = include_str!("../../docs/policy.md");

/// A block of the page.
struct Block<'p> {
    /// The file to write it to.
    file: Option<&'p str>,
    elsewhere: bool,
    language: &'p str,
    text: String,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    let (mut file, mut elsewhere) = (None, false);
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("<!-- file: ") {
            file = name.strip_suffix(" -->");
        } else if line.starts_with("<!-- elsewhere: ") {
            elsewhere = true;
        } else if let Some(language) = line.strip_prefix("```") {
            let text = (lines.by_ref().take_while(|line| *line != "```"))
                .map(|line| format!("{line}\n"))
                .collect();
            blocks.push(Block {
                file: file.take(),
                elsewhere: std::mem::take(&mut elsewhere),
                language,
                text,
            });
        }
    }
    blocks
}

/// The commands of a console block, each with its output.
fn commands(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, says))) => says.push(line),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    commands
}

/// Whether lines match the expected ones, where `...` is any number of lines.
fn is_like(said: &[&str], expected: &[&str]) -> bool {
    match (expected, said) {
        ([], said) => said.is_empty(),
        (["...", rest @ ..], said) => (0..=said.len()).any(|skip| is_like(&said[skip..], rest)),
        ([expected, rest @ ..], [said, more @ ..]) => said == expected && is_like(more, rest),
        (_, []) => false,
    }
}

/// The output of a command, on both streams.
fn run(directory: &Path, command: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_aegis")).parent().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(directory)
        .env_clear()
        .env("HOME", "/home/ana")
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_of_the_operators_guide_say_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let mut compared = 0;
    for block in blocks(PAGE) {
        if let Some(file) = block.file {
            fs::write(directory.path().join(file), &block.text).unwrap();
        }
        if block.language != "console" || block.elsewhere {
            continue;
        }
        for (command, expected) in commands(&block.text) {
            if !command.starts_with("aegis policy ") {
                continue;
            }
            let said = run(directory.path(), command);
            let lines: Vec<&str> = said.lines().collect();
            assert!(
                is_like(&lines, &expected),
                "$ {command}\n{said}\nthe page has:\n{}",
                expected.join("\n")
            );
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared} commands were found");
}

#[test]
fn what_is_elided_is_only_what_three_dots_stand_for() {
    assert!(is_like(&["a", "b", "c"], &["a", "...", "c"]));
    assert!(is_like(&["a"], &["a", "..."]));
    assert!(!is_like(&["a", "b"], &["a"]));
    assert!(!is_like(&["a"], &["a", "...", "b"]));
    assert!(!is_like(&["b"], &["a"]));
}

#[test]
fn the_example_of_a_policy_passes_its_table() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policy");
    let said = run(&examples, "aegis policy check --json workshop.yaml");
    assert!(said.contains("\"name\": \"workshop\""), "{said}");
    let said = run(&examples, "aegis policy test workshop.yaml; echo status $?");
    assert!(said.ends_with("decided as expected\nstatus 0\n"), "{said}");
}

#[test]
fn the_tests_that_the_page_names_are_in_the_files_that_it_names() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = 0;
    for line in PAGE.lines() {
        let mut file: Option<String> = None;
        // Every second piece is between backquotes.
        for word in line.split('`').skip(1).step_by(2) {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if word.ends_with(".rs") {
                let text = fs::read_to_string(repository.join(word));
                file = Some(text.unwrap_or_else(|error| panic!("{word}: {error}")));
            } else if let Some(text) = &file
                && word.matches('_').count() > 2
                && word.chars().all(is_name)
            {
                assert!(text.contains(&format!("fn {word}(")), "{word}");
                named += 1;
            }
        }
    }
    assert!(named > 30, "{named} were found");
}
