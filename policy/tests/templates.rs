//! The policies that are part of Aegis: committed in two equal forms, and true to what they promise.

use aegis_policy::load::parse_str;
use aegis_policy::model::{Action, Verdict};
use aegis_policy::table::Table;
use aegis_policy::templates::{ALL, Template, find};
use aegis_policy::{Context, Document, Policy, Request, What, ask, decide};
use aegis_profile::{Files, PathSpec, Profile, Program, builtin};
use aegis_tests::assert_committed;

fn of(template: &Template) -> Document {
    let file = format!("{}.yaml", template.name);
    let document = parse_str(template.yaml, &file).unwrap();
    // Sorts the rules in the order in which they are hashed.
    let policy = Policy::new(vec![document]).unwrap();
    Document::clone(policy.documents().iter().next().unwrap())
}

#[test]
fn the_committed_json_says_what_the_yaml_says() {
    for template in ALL {
        let mut json = serde_json::to_string(&of(template)).unwrap();
        let canonical = serde_json_canonicalizer::to_string(&of(template)).unwrap();
        assert_eq!(json, canonical, "fields are in the order of their names");
        json.push('\n');
        assert_committed(format!("templates/{}.json", template.name), &json);
    }
}

#[test]
fn what_is_in_force_says_what_the_yaml_says() {
    for template in ALL {
        assert_eq!(template.document(), of(template), "{}", template.name);
    }
}

#[test]
fn every_template_blocks_the_same_list() {
    let blocked = |template: &Template| {
        let document = template.document();
        let capabilities: Vec<_> = (document.capabilities.into_iter())
            // How strictly a run is judged by what it does is what the templates differ in.
            .filter(|rule| rule.verdict == Verdict::Block && !rule.on.contains(&Action::Anomaly))
            .collect();
        let egress: Vec<_> = (document.network_egress.into_iter())
            .filter(|rule| rule.verdict == Verdict::Block)
            .collect();
        (capabilities, egress)
    };
    let first = blocked(&ALL[0]);
    assert!(first.0.len() > 8 && !first.1.is_empty());
    for template in ALL {
        assert_eq!(blocked(template), first, "{}", template.name);
    }
}

#[test]
fn every_template_passes_its_own_table() {
    for template in ALL {
        let file = format!("{}.test.yaml", template.name);
        let table = Table::parse(template.table, &file).unwrap();
        let policy = Policy::new(vec![template.document()]).unwrap();
        let wrong: Vec<_> = (table.run(&policy).into_iter())
            .filter(|outcome| !outcome.ok)
            .map(|o| {
                format!(
                    "{file}:{}: {}: {} by {:?} ({}), not {} by {:?}",
                    o.line, o.asked, o.verdict, o.rules, o.reason, o.expect, o.by
                )
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What a profile asks for, in the directories of an invented user.
fn asked(profile: &Profile, context: &Context) -> Vec<What> {
    let ask = |action: &str, words: &str| {
        ask::what(action, words, context).unwrap_or_else(|e| panic!("{action} {words}: {e:?}"))
    };
    let mut whats = Vec::new();
    let mut path = |action: &str, path: &PathSpec| {
        let mut path = path.clone();
        path.optional = false;
        // The profile does not say whether a path is a file or a directory, except for these.
        whats.push(ask(action, &path.to_string()));
        if !["config.toml", "env"]
            .iter()
            .any(|file| path.rest.ends_with(file))
        {
            whats.push(ask(action, &format!("{path}/**")));
        }
    };
    let capabilities = &profile.capabilities;
    for item in &capabilities.files_read {
        path("files.read", &item.value);
    }
    for item in &capabilities.files_write {
        path("files.write", &item.value);
    }
    for item in &capabilities.shell_exec {
        match &item.value {
            Program::Path(item) => path("shell.exec", item),
            Program::Name { .. } => {}
        }
    }
    for item in &capabilities.shell_exec {
        if let Program::Name { name, .. } = &item.value {
            whats.push(ask("shell.exec", name));
        }
    }
    for name in &profile.environment.pass {
        whats.push(ask("environment.pass", &name.value));
    }
    for device in &capabilities.devices {
        whats.push(ask("devices", &device.value.to_string()));
    }
    whats
}

#[test]
fn under_standard_no_built_in_profile_needs_a_review() {
    let policy = Policy::new(vec![find("standard").unwrap().document()]).unwrap();
    let context = ask::somebody();
    let mut tried = 0;
    for name in builtin::names() {
        let profile = aegis_profile::load(name, &Files).unwrap().profile;
        for what in asked(&profile, &context) {
            let shown = what.to_string();
            let request = Request {
                approvals: Vec::new(),
                context: context.clone(),
                what,
            };
            let decision = decide(&policy, &request);
            assert_eq!(
                decision.verdict,
                Verdict::Allow,
                "{name}: {shown}: {}",
                decision.reason
            );
            tried += 1;
        }
    }
    assert!(tried > 300, "only {tried} requests");
}

#[test]
fn under_strict_the_profile_base_needs_no_review() {
    let policy = Policy::new(vec![find("strict").unwrap().document()]).unwrap();
    let context = ask::somebody();
    let profile = aegis_profile::load("base", &Files).unwrap().profile;
    for what in asked(&profile, &context) {
        let shown = what.to_string();
        let request = Request {
            approvals: Vec::new(),
            context: context.clone(),
            what,
        };
        // Nothing is below a file; a rule about the file covers no tree.
        let decision = decide(&policy, &request);
        let of_file = shown.starts_with("files.read /etc/") && shown.ends_with(" and below");
        assert!(
            decision.verdict == Verdict::Allow || of_file,
            "{shown}: {}",
            decision.reason
        );
    }
}

/// The hash names what the policy means. A change here changes the evidence of every decision: a deliberate
/// step, never an accident.
#[test]
fn the_hash_of_standard_is_pinned() {
    let standard = find("standard").unwrap();
    let hash = |text: &str| {
        let document = parse_str(text, "standard.yaml").unwrap();
        Policy::new(vec![document]).unwrap().hash().to_string()
    };
    let pinned = hash(standard.yaml);
    // What the engine was built with is part of the hash.
    if cfg!(feature = "rego") {
        assert_committed("tests/golden/standard.sha256", &format!("{pinned}\n"));
    }
    let commented = standard
        .yaml
        .replace("\n  - id: rest\n", "\n  # The rest.\n  - id: rest\n");
    assert_ne!(commented, standard.yaml);
    assert_eq!(hash(&commented), pinned, "a comment changes nothing");
    let stricter = standard
        .yaml
        .replace("match: 1024-65535", "match: 1025-65535");
    assert_ne!(stricter, standard.yaml);
    assert_ne!(hash(&stricter), pinned, "a rule does");
    let mut turned = standard.document();
    turned.capabilities.reverse();
    turned.network_egress.reverse();
    let turned = Policy::new(vec![turned]).unwrap().hash().to_string();
    assert_eq!(turned, pinned, "the order of rules does not");
}
