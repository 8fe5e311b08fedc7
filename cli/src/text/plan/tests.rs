//! What a person reads.

use std::path::PathBuf;

use aegis_policy::What;
use aegis_profile::Origin;
use aegis_runtime::facts::{self, Inputs};
use aegis_runtime::plan::{self, Degraded, Grant, Held, Less};
use aegis_runtime::types::GrantOrigin;

use super::*;
use crate::text::said;

/// The plan of `true` on this host, in this directory, under a profile beside it.
fn plan_of(text: &str) -> (Plan, Profile) {
    let profile = aegis_profile::parse_str(&format!("aegis: 1\n{text}\n"), "test.yaml");
    let profile = profile.expect("a valid profile");
    let request = Inputs {
        command: vec!["/bin/true".into()],
        ..Inputs::default()
    };
    let facts = facts::gather(&profile, Some(&here().join("src")), &request).expect("facts");
    let plan = plan::compile(&profile, &request, &facts).expect("a plan");
    (plan, profile)
}

fn here() -> PathBuf {
    std::env::current_dir().expect("a working directory")
}

fn lines_of<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    text.split("\n\n")
        .find(|section| section.starts_with(title))
        .unwrap_or_else(|| panic!("no section {title} in\n{text}"))
        .lines()
        .skip(1)
        .collect()
}

fn program(path: &str, line: u32) -> Grant {
    Grant {
        what: What::Exec {
            except: Vec::new(),
            name: None,
            path: path.into(),
            tree: false,
        },
        from: GrantOrigin::Declared(Origin {
            file: "builtin:shell".into(),
            line,
            column: 7,
        }),
        decision: None,
    }
}

#[test]
fn the_same_plan_gives_the_same_text() {
    let (plan, profile) =
        plan_of("capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}");
    assert_eq!(
        text(&plan, &profile, true),
        text(&plan.clone(), &profile, true)
    );
}

#[test]
fn each_grant_stands_beside_the_line_that_declares_it() {
    let (plan, profile) = plan_of("capabilities:\n  files.read: [$WORK]\n  files.write: [$SKILL]");
    let text = text(&plan, &profile, false);
    assert_eq!(
        lines_of(&text, "Read"),
        [format!("  test.yaml:3  {}", path(&here()))]
    );
    assert!(lines_of(&text, "Write")[0].starts_with("  test.yaml:4 "));
    assert!(lines_of(&text, "Write")[0].ends_with("/src"));
    assert!(text.contains("the command"));
}

#[test]
fn the_programs_of_a_built_in_profile_are_one_paragraph() {
    let grants: Vec<Grant> = (20..120)
        .map(|line| {
            let path = format!("/usr/bin/program-{line}");
            program(&path, line)
        })
        .collect();
    let rows = grouped(grants.iter());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].from, "builtin:shell:20-119");
    assert_eq!(rows[0].words[..2], ["/usr/bin:", "program-100"]);
}

#[test]
fn what_the_host_lacks_is_told_with_how_to_fix_it() {
    let (mut plan, profile) = plan_of("");
    plan.degraded = vec![Degraded {
        layer: "landlock",
        what: "ABI 3: less".into(),
        fix: "a newer kernel".into(),
    }];
    let text = text(&plan, &profile, false);
    let told = lines_of(&text, "Missing on this host");
    assert_eq!(
        told,
        ["  landlock  ABI 3: less", "            fix: a newer kernel"]
    );
    plan.degraded.clear();
    assert!(!super::text(&plan, &profile, false).contains("Missing on this host"));
}

#[test]
fn limits_tell_what_was_asked_who_holds_it_and_where_it_stands() {
    let (mut plan, profile) = plan_of("limits: {time: 5m, memory: 512M}");
    plan.limits.held = vec![
        held(LimitKey::Time, "supervisor", None),
        held(LimitKey::Memory, "RLIMIT_DATA", Some("held in part")),
    ];
    let text = text(&plan, &profile, false);
    let told = lines_of(&text, "Limits");
    assert_eq!(told[0], "  test.yaml:2    time        5m        supervisor");
    assert!(
        told[1].ends_with("memory      512M      RLIMIT_DATA"),
        "{told:?}"
    );
    assert_eq!(told[2].trim(), "held in part");
}

fn held(limit: LimitKey, by: &'static str, less: Option<&str>) -> Held {
    let less = less.map(|what| Less {
        what: what.into(),
        fix: "be root".into(),
    });
    Held { limit, by, less }
}

#[test]
fn a_warning_tells_of_weak_limits_of_the_profile_and_not_of_ceilings() {
    let (mut plan, _) = plan_of("limits: {memory: 512M, cpu: 0.5, pids: 9}");
    plan.limits.held = vec![
        held(LimitKey::Pids, "control group", None),
        held(LimitKey::Memory, "RLIMIT_DATA", Some("held in part")),
        held(LimitKey::Cpu, "affinity", Some("rounded")),
    ];
    assert_eq!(
        said::weak_limits(&plan),
        "aegis-run: warning: limits.memory is held in part; limits.cpu is rounded; for more, be root\n"
    );
    plan.limits.held.truncate(2);
    for grant in &mut plan.grants {
        if let GrantOrigin::Declared(origin) = &mut grant.from {
            origin.file = "ceiling (policy site)".into();
        }
    }
    assert_eq!(said::weak_limits(&plan), "");
}

#[test]
fn the_values_that_the_caller_has_are_not_shown() {
    let (mut plan, profile) = plan_of("");
    plan.environment.insert("TOKEN".into(), "geheim".into());
    let text = text(&plan, &profile, false);
    assert!(text.contains("TOKEN") && !text.contains("geheim"));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let (plan, profile) = plan_of("capabilities: {files.read: [$WORK]}");
    let mut bare = text(&plan, &profile, true);
    for code in ["\x1b[1m", "\x1b[36m", "\x1b[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, text(&plan, &profile, false));
}
