//! A rule is rolled out, and back, by changing its one place in the file.

use aegis_policy::load::parse_str;
use aegis_policy::model::Mode;
use aegis_policy::promote::set_mode;
use proptest::prelude::*;

fn set(text: &str, id: &str, mode: Mode) -> String {
    let changed = set_mode(text, "policy.yaml", id, mode).unwrap_or_else(|e| panic!("{text}{e}"));
    changed.expect("a change").text
}

/// Forms of a rule in mode `warn`, and the same rule enforced.
const FORMS: [(&str, &str); 8] = [
    // Between braces: first, in the middle, last, alone in its line.
    (
        "  - {mode: warn, id: a, on: devices, match: gpu, verdict: block} # x\n",
        "  - {id: a, on: devices, match: gpu, verdict: block} # x\n",
    ),
    (
        "  - {id: a, mode: warn,  on: devices, match: gpu, verdict: block}\n",
        "  - {id: a, on: devices, match: gpu, verdict: block}\n",
    ),
    (
        "  - {id: a, on: devices, match: gpu, verdict: block, mode: \"warn\" }\n",
        "  - {id: a, on: devices, match: gpu, verdict: block }\n",
    ),
    (
        "  - {id: a, on: devices, match: gpu, verdict: block,\n     mode: warn}\n",
        "  - {id: a, on: devices, match: gpu, verdict: block,\n     mode: enforce}\n",
    ),
    // In lines: its own, with a comment, after the dash.
    (
        "  - id: a # größer\n    mode: warn\n    on: devices\n    match: gpu\n    verdict: block\n",
        "  - id: a # größer\n    on: devices\n    match: gpu\n    verdict: block\n",
    ),
    (
        "  - id: a\n    on: devices\n    match: gpu\n    verdict: block\n    mode: warn # until June\n",
        "  - id: a\n    on: devices\n    match: gpu\n    verdict: block\n    mode: enforce # until June\n",
    ),
    (
        "  - mode: warn\n    id: a\n    on: devices\n    match: gpu\n    verdict: block\n",
        "  - mode: enforce\n    id: a\n    on: devices\n    match: gpu\n    verdict: block\n",
    ),
    (
        "  - id: a\r\n    on: devices\r\n    mode: warn\r\n    match: gpu\r\n    verdict: block\r\n",
        "  - id: a\r\n    on: devices\r\n    match: gpu\r\n    verdict: block\r\n",
    ),
];

const HEAD: &str = "aegis-policy: 1 # ä policy\n\n# why\ncapabilities:\n";
const TAIL: &str = "  - {id: b, on: devices, match: kvm, verdict: block, mode: warn} # stays\n";

#[test]
fn promoting_takes_the_mode_away_and_nothing_else() {
    for (before, after) in FORMS {
        let text = format!("{HEAD}{before}{TAIL}");
        assert_eq!(
            set(&text, "a", Mode::Enforce),
            format!("{HEAD}{after}{TAIL}")
        );
    }
}

#[test]
fn going_back_puts_the_mode_on_in_the_form_of_the_rule() {
    for (_, enforced) in FORMS {
        let text = format!("{HEAD}{enforced}{TAIL}");
        let back = set(&text, "a", Mode::Warn);
        let document = parse_str(&back, "policy.yaml").unwrap();
        assert_eq!(document.capabilities[0].mode, Mode::Warn, "{back}");
        assert_eq!(
            back.matches('#').count(),
            text.matches('#').count(),
            "{back}"
        );
        assert_eq!(back.matches("\r\n").count() > 0, text.contains("\r\n"));
    }
    assert_eq!(
        set(
            "aegis-policy: 1\nsecrets-boundary:\n- id: s\n  alias: x\n  to: a.org\n  inject: header\n  verdict: review",
            "s",
            Mode::Warn
        ),
        "aegis-policy: 1\nsecrets-boundary:\n- id: s\n  mode: warn\n  alias: x\n  to: a.org\n  inject: header\n  verdict: review"
    );
    assert_eq!(
        set(
            "aegis-policy: 1\nnetwork-egress:\n- verdict: review\n  hosts: a.org\n  id: s",
            "s",
            Mode::Warn
        ),
        "aegis-policy: 1\nnetwork-egress:\n- verdict: review\n  hosts: a.org\n  id: s\n  mode: warn"
    );
}

#[test]
fn what_was_changed_is_told() {
    let text = format!("{HEAD}{}{TAIL}", FORMS[4].0);
    let changed = set_mode(&text, "p.yaml", "a", Mode::Enforce)
        .unwrap()
        .unwrap();
    assert_eq!(changed.line, 6);
    assert_eq!(changed.before.as_deref(), Some("    mode: warn"));
    assert_eq!(changed.after, None);
    let changed = set_mode(&text, "p.yaml", "b", Mode::Enforce)
        .unwrap()
        .unwrap();
    assert_eq!(changed.before.as_deref(), Some(TAIL.trim_end()));
    assert!(changed.after.is_some());
}

#[test]
fn a_rule_that_is_there_already_is_left_and_one_that_is_not_is_told() {
    let text = format!("{HEAD}{}{TAIL}", FORMS[0].1);
    assert!(
        set_mode(&text, "p.yaml", "a", Mode::Enforce)
            .unwrap()
            .is_none()
    );
    assert!(
        set_mode(&text, "p.yaml", "b", Mode::Warn)
            .unwrap()
            .is_none()
    );
    let error = set_mode(&text, "p.yaml", "c", Mode::Warn)
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no rule `c`"), "{error}");
    let error = set_mode("aegis-policy: 1\nx: 1\n", "p.yaml", "c", Mode::Warn).unwrap_err();
    assert!(error.to_string().contains("unknown key"), "{error}");
}

proptest! {
    /// Whatever the order of a rule's keys and its form, setting the mode and setting it back restores the policy.
    #[test]
    fn there_and_back_is_the_same_policy(
        order in Just(vec!["id: a", "on: devices", "match: [gpu, kvm]", "verdict: block", "mode: warn"]).prop_shuffle(),
        flow in any::<bool>(),
        gap in "[ ]{0,3}",
    ) {
        let rule = match flow {
            true => format!("  - {{{gap}{}{gap}}}{gap}\n", order.join(&format!(",{gap} "))),
            false => format!("  - {}\n", order.join(&format!("{gap}\n    "))),
        };
        let text = format!("{HEAD}{rule}{TAIL}");
        let promoted = set(&text, "a", Mode::Enforce);
        let again = set(&promoted, "a", Mode::Warn);
        prop_assert_eq!(parse_str(&again, "p.yaml").unwrap(), parse_str(&text, "p.yaml").unwrap());
        prop_assert!(promoted.starts_with(HEAD) && promoted.ends_with(TAIL));
    }
}
