//! `aegis policy eval`, `explain` and `diff`: exit statuses and output.

use std::path::Path;

use aegis_policy::decide;
use serde_json::Value;

use crate::aegis_replay::{POLICY, Scene, request};
use crate::support::{json, status, stderr, stdout};

#[test]
fn eval_answers_with_its_status() {
    let scene = Scene::new();
    let eval = |words: &[&str]| scene.aegis(&[&["policy", "eval", "policy.yaml"], words].concat());
    let allowed = eval(&["files.read=$WORK/a", "--work", "/srv/site"]);
    assert_eq!(
        (status(&allowed), stdout(&allowed)),
        (
            0,
            "files.read /srv/site/a: allow\n  reason  allowed by rule `work`\n  rules   work\n"
        )
    );
    let blocked = eval(&["files.read $WORK/**", "--work", "/srv/site"]);
    assert_eq!(status(&blocked), 1);
    assert!(stdout(&blocked).starts_with("files.read /srv/site and below: block\n"));
    assert_eq!(
        status(&eval(&["net.outbound=GET https://api.github.com/x"])),
        1
    );
    assert_eq!(status(&eval(&["files.red=/x"])), 1);
    // A policy is no request.
    let nothing = eval(&[]);
    assert_eq!(status(&nothing), 1);
    assert!(
        stderr(&nothing).contains("begins with an action"),
        "{nothing:?}"
    );
}

#[test]
fn eval_reads_requests_and_prints_the_canonical_decision() {
    let scene = Scene::new();
    let request = request("a");
    let text = serde_json::to_string_pretty(&request).expect("JSON");
    scene.write("request.json", &text);
    let decision = serde_json::to_string(&decide(&scene.policy(), &request)).expect("JSON");
    for (reference, input) in [("request.json", ""), ("-", &*text)] {
        let words = ["policy", "eval", "--json", "policy.yaml", reference];
        let output = scene.aegis_with(&words, input);
        assert_eq!(
            (status(&output), stdout(&output)),
            (0, &*format!("{decision}\n"))
        );
    }
    let both = [
        "policy",
        "eval",
        "policy.yaml",
        "request.json",
        "--work",
        "/x",
    ];
    assert!(stderr(&scene.aegis(&both)).contains("says itself who asks"));
    let none = scene.aegis(&["policy", "eval", "policy.yaml", "no.json"]);
    assert_eq!(status(&none), 1);
    assert!(
        stderr(&none).contains("a request in words begins with an action"),
        "{none:?}"
    );
}

#[test]
fn without_a_policy_what_is_in_force_here_is_asked() {
    let scene = Scene::new();
    for command in ["eval", "explain"] {
        let output = scene.aegis(&["policy", command, "files.read=/etc/shadow"]);
        assert_eq!(status(&output), 1);
        assert!(stdout(&output).contains("`system-secrets`"), "{output:?}");
        let output = scene.aegis(&["policy", command, "a", "b", "c"]);
        assert_eq!(status(&output), 2);
    }
}

#[test]
fn explain_names_every_rule_and_what_would_help() {
    let scene = Scene::new();
    let words = [
        "policy",
        "explain",
        "policy.yaml",
        "files.read=$WORK/keys/k",
        "--work",
        "/srv",
    ];
    let output = scene.aegis(&words);
    assert_eq!(status(&output), 1);
    let text = stdout(&output);
    assert!(
        text.contains("keys  contains  block   /**/keys/**: all of what"),
        "{text}"
    );
    assert!(
        text.contains("work  contains  allow   $WORK/**: all of what"),
        "{text}"
    );
    assert!(text.contains("to let it through: change `keys`"), "{text}");
    let told = json(&scene.aegis(&[&words[..], &["--json"]].concat()));
    assert_eq!(
        told["parts"][0]["documents"][0]["rules"][0]["stands"],
        "contains"
    );
}

#[test]
fn diff_lists_what_is_decided_otherwise_and_nothing_else() {
    let scene = Scene::new();
    let reworded = POLICY
        .replace("keys stay out", "other words")
        .replace("workshop", "again");
    scene.write("reworded.yaml", &reworded);
    let same = scene.aegis(&["policy", "diff", "policy.yaml", "reworded.yaml"]);
    assert_eq!(status(&same), 0, "{same:?}");
    assert!(stdout(&same).contains("decide alike"));
    let differ = scene.aegis(&["policy", "diff", "policy.yaml", "other.yaml"]);
    assert_eq!(status(&differ), 1);
    let text = stdout(&differ);
    let wider = text.find("block -> allow: let through, and was not");
    let narrower = text.find("allow -> block: no longer let through");
    assert!(wider.is_some() && wider < narrower, "{text}");
    assert!(text.contains("files.read $WORK/keys"), "{text}");
    let told = json(&scene.aegis(&["policy", "diff", "--json", "policy.yaml", "other.yaml"]));
    let example = told["differences"][0]["example"].to_string();
    let shown = |policy: &str| {
        let words = ["policy", "eval", "--json", policy, "-"];
        json(&scene.aegis_with(&words, &example))["verdict"].clone()
    };
    assert_eq!(
        (shown("policy.yaml"), shown("other.yaml")),
        (Value::from("block"), Value::from("allow"))
    );
    assert_eq!(status(&scene.aegis(&["policy", "diff", "-", "-"])), 1);
}

#[test]
fn the_templates_differ_from_each_other_and_not_from_themselves() {
    let scene = Scene::new();
    for template in ["strict", "standard", "permissive"] {
        let same = scene.aegis(&["policy", "diff", template, template]);
        assert_eq!(
            (status(&same), stdout(&same)),
            (
                0,
                &*format!("{template} and {template} are the same policy, by their hash\n")
            ),
            "no word of what may not have been found"
        );
    }
    let wider = scene.aegis(&["policy", "diff", "--json", "strict", "standard"]);
    assert_eq!(status(&wider), 1);
    assert_eq!(json(&wider)["complete"], true);
    let secrets = json(&wider)["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|d| {
            let path = d["example"]["what"]["path"].as_str().unwrap_or_default();
            Path::new(path).starts_with("/home/user/.ssh") && d["b"]["verdict"] == "allow"
        });
    assert!(!secrets, "keys stay blocked");
}
