//! What a person reads.

use std::os::unix::ffi::OsStrExt;

use std::ffi::OsStr;

use super::page::WIDTH;
use super::*;
use crate::plan::Degradation;
use crate::plan::Grant;
use crate::plan::tests::plan_of;
use aegis_policy::What;

fn lines_of<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    text.split("\n\n")
        .find(|section| section.starts_with(title))
        .unwrap_or_else(|| panic!("no section {title} in\n{text}"))
        .lines()
        .skip(1)
        .collect()
}

fn program(path: &str, from: &str) -> Grant {
    Grant {
        what: What::Exec {
            name: None,
            path: path.into(),
            tree: false,
        },
        from: from.into(),
        decision: None,
    }
}

#[test]
fn the_same_plan_gives_the_same_text() {
    let plan = plan_of("capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}");
    assert_eq!(text(&plan, true), text(&plan.clone(), true));
}

#[test]
fn each_grant_stands_beside_the_line_that_declares_it() {
    let plan = plan_of("capabilities:\n  files.read: [$WORK]\n  files.write: [$SKILL]");
    let text = text(&plan, false);
    assert_eq!(lines_of(&text, "Read"), ["  test.yaml:3  /skill/work"]);
    assert!(lines_of(&text, "Write")[0].starts_with("  test.yaml:4 "));
    assert!(lines_of(&text, "Write")[0].ends_with("/skill"));
    assert!(text.contains("the command"));
}

#[test]
fn the_programs_of_a_built_in_profile_are_one_paragraph() {
    let grants: Vec<Grant> = (20..120)
        .map(|line| {
            let path = format!("/usr/bin/program-{line}");
            program(&path, &format!("builtin:shell:{line}:7"))
        })
        .collect();
    let rows = grouped(grants.iter());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].from, "builtin:shell:20-119");
    assert_eq!(rows[0].words[..2], ["/usr/bin:", "program-100"]);
}

#[test]
fn lines_are_wrapped_below_what_they_continue() {
    let words = (0..60).map(|n| format!("word{n}")).collect();
    let mut page = Page {
        out: String::new(),
        colour: false,
    };
    page.section(
        "Title",
        "",
        &[Row {
            from: "left".into(),
            words,
        }],
    );
    assert!(page.out.lines().all(|line| line.len() <= WIDTH));
    assert!(
        page.out
            .lines()
            .skip(2)
            .all(|line| line.starts_with("        word"))
    );
}

#[test]
fn a_place_longer_than_the_left_side_has_its_own_line() {
    let from = "a/rather/long/way/to/a/profile.yaml:3";
    let mut page = Page {
        out: String::new(),
        colour: false,
    };
    page.section(
        "Title",
        "",
        &[Row::new(from, "one"), Row::new("short", "two")],
    );
    assert_eq!(
        page.out,
        format!("Title\n  {from}\n         one\n  short  two\n")
    );
}

#[test]
fn names_that_steer_a_terminal_are_quoted() {
    assert_eq!(path(Path::new("/a\x1b[2J")), "\"/a\\u{1b}[2J\"");
    assert_eq!(path(Path::new(OsStr::from_bytes(b"/a\xff"))), "\"/a\\xFF\"");
    assert_eq!(path(Path::new("/größe/it's")), "/größe/it's");
    assert_eq!(path(Path::new("/a b")), "\"/a b\"");
}

#[test]
fn what_the_host_lacks_is_told_with_how_to_mend_it() {
    let mut plan = plan_of("");
    plan.degraded = vec![Degradation {
        layer: "landlock",
        what: "ABI 3: less".into(),
        mend: "a newer kernel".into(),
    }];
    let text = text(&plan, false);
    let told = lines_of(&text, "Missing on this host");
    assert_eq!(
        told,
        [
            "  landlock  ABI 3: less",
            "            mend: a newer kernel"
        ]
    );
    plan.degraded.clear();
    assert!(!super::text(&plan, false).contains("Missing on this host"));
}

#[test]
fn limits_tell_what_was_asked_who_holds_it_and_where_it_stands() {
    let source = "aegis: 1\nlimits: {time: 5m, memory: 512M}\n";
    let profile = aegis_profile::parse_str(source, "test.yaml").expect("a valid profile");
    let plan = plan_of("limits: {time: 5m, memory: 512M}");
    let text = with_origins(&plan, &profile, false);
    let told = lines_of(&text, "Limits");
    assert_eq!(told[0], "  test.yaml:2    time        5m        supervisor");
    assert!(
        told[1].ends_with("512M      each process, RLIMIT_DATA"),
        "{told:?}"
    );
}

#[test]
fn the_values_that_the_caller_has_are_not_shown() {
    let mut plan = plan_of("");
    plan.environment.insert("TOKEN".into(), "geheim".into());
    let text = text(&plan, false);
    assert!(text.contains("TOKEN") && !text.contains("geheim"));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let plan = plan_of("capabilities: {files.read: [$WORK]}");
    let mut bare = text(&plan, true);
    for code in ["\x1b[1m", "\x1b[36m", "\x1b[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, text(&plan, false));
}
