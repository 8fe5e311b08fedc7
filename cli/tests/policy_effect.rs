//! `aegis policy check|show|diff`: what has no effect, what holds here, and what a ceiling becomes.

use std::fs;

use serde_json::Value;

use crate::policy_files::{aegis, directory};

#[test]
fn check_warns_of_what_has_no_effect() {
    let directory = directory();
    let at = directory.path();
    let module =
        "package aegis\nimport rego.v1\nblock contains \"x\" if input.what.name == \"curl\"\n";
    fs::write(at.join("name.rego"), module).unwrap();
    let rules = [
        (
            "{id: r, on: devices, match: nvidia, verdict: block}",
            "`nvidia` matches nothing",
        ),
        (
            "{id: r, on: syscalls.allow, match: 'no_such*', verdict: block}",
            "`no_such*` matches nothing",
        ),
        (
            "{id: r, on: syscalls.allow, match: memfd_create, verdict: block}",
            "each sandbox of the default set has it",
        ),
        (
            "{id: r, on: environment.pass, match: A=B, verdict: block}",
            "`A=B` matches nothing",
        ),
        (
            "{id: r, on: files.read, match: /proc/**, verdict: allow}",
            "`/proc/**` matches nothing",
        ),
        (
            "{id: r, on: tool.exec, match: job, verdict: allow}",
            "only make the verdict on a run worse",
        ),
        (
            "{id: r, on: files.read, match: /srv/**, verdict: allow, mode: warn}",
            "changes nothing",
        ),
        (
            "{id: all, on: files.read, match: /**, verdict: allow}\n  - {id: r, on: files.read, match: /srv/**, otherwise: true, verdict: review}",
            "`r`: it can never speak",
        ),
    ];
    for (rule, said) in rules {
        fs::write(
            at.join("p.yaml"),
            format!("aegis-policy: 1\ncapabilities:\n  - {rule}\n"),
        )
        .unwrap();
        let checked = aegis(at, &["policy", "check", "p.yaml"]);
        assert_eq!(checked.status, 0, "{rule}: {}", checked.err);
        assert!(
            checked.err.contains(said) && checked.err.contains("help: "),
            "{rule}: {}",
            checked.err
        );
    }
    fs::write(at.join("p.yaml"), "aegis-policy: 1\nrego: [name.rego]\n").unwrap();
    let checked = aegis(at, &["policy", "check", "p.yaml"]);
    assert!(checked.err.contains("not their `path`"), "{}", checked.err);
    let json: Value =
        serde_json::from_str(&aegis(at, &["policy", "check", "--json", "p.yaml"]).out).unwrap();
    assert_eq!(json[0]["warnings"].as_array().unwrap().len(), 1);
    for template in ["strict", "standard", "permissive"] {
        let checked = aegis(at, &["policy", "check", template]);
        assert_eq!((checked.status, &*checked.err), (0, ""), "{template}");
    }
}

#[test]
fn show_without_a_name_says_what_holds_here() {
    let directory = directory();
    let at = directory.path();
    let shown: Value = serde_json::from_str(&aegis(at, &["policy", "show", "--json"]).out).unwrap();
    let text = aegis(at, &["policy", "show"]).out;
    assert!(text.contains(shown["hash"].as_str().unwrap()), "{text}");
    for document in shown["documents"].as_array().unwrap() {
        let name = document["name"].as_str().unwrap();
        assert!(text.contains(&format!("#   {name} (")), "{text}");
        assert!(text.contains(&format!("\nname: {name}\n")), "{text}");
    }
}

#[test]
fn a_lowered_ceiling_is_told_as_a_setting_in_people_s_units() {
    let directory = directory();
    let at = directory.path();
    let policy = |limits: &str| format!("aegis-policy: 1\nlimits: {{{limits}}}\n");
    fs::write(at.join("a.yaml"), policy("memory: 2G, time: 30m")).unwrap();
    fs::write(
        at.join("b.yaml"),
        policy("memory: 512M, pids: 64, time: 30m"),
    )
    .unwrap();
    let said = aegis(at, &["policy", "diff", "a.yaml", "b.yaml"]);
    assert_eq!(said.status, 1, "{}", said.err);
    assert_eq!(
        said.out,
        "limits.memory: 2G -> 512M\nlimits.pids: none -> 64\n"
    );
    // As in a profile.
    let one = aegis(at, &["policy", "eval", "standard", "net.outbound=host"]);
    let other = aegis(at, &["policy", "eval", "standard", "net.host=host"]);
    assert_eq!((one.status, one.out), (other.status, other.out));
}
