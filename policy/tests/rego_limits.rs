//! Rules in Rego that would run forever or for long: blocked quickly, and always in the same way.
#![cfg(feature = "rego")]

use crate::support::rego as support;

use aegis_policy::What;
use aegis_policy::model::Verdict;
use support::{ask, document, exec, https, load, patiently, policy};

fn tool(words: usize, grants: usize, text: usize) -> What {
    let grant = |index: usize| https(&format!("h{index}.example.org"));
    let word = |index: usize| format!("{}{index}", "w".repeat(text)).as_str().into();
    What::Tool {
        command: (0..words).map(word).collect(),
        grants: (0..grants.max(1)).map(grant).collect(),
    }
}

/// Loads a module, and asks about a run: blocked, always with the same reason, which is returned.
fn blocked(rules: &str, what: What) -> String {
    let text = format!("package aegis\nimport rego.v1\nallow contains \"all\"\n{rules}\n");
    let policy = load(&text).unwrap_or_else(|error| panic!("{rules}\n{error}"));
    let decisions = patiently(move || {
        let again = what.clone();
        (ask(&policy, what), ask(&policy, again))
    });
    assert_eq!(decisions.0, decisions.1);
    let decision = decisions.0;
    assert_eq!(decision.verdict, Verdict::Block, "{rules}");
    assert_eq!(
        *decision.rules,
        ["rego".into()],
        "{rules}\n{}",
        decision.reason
    );
    decision.reason.to_string()
}

const STEPS: &str = "blocked by rule `rego`: rules in Rego took more than 30000 steps";

#[test]
fn patterns_that_cost_use_up_what_may_be_spent() {
    let said = blocked(
        "warn contains \"x\" if { some c in input.what.command; some d in input.what.command; regex.match(`^(\\w{1,50}\\s?){1,20}!$`, d); c == \"\" }",
        tool(200, 0, 300),
    );
    assert!(said.contains("done more work than is allowed"), "{said}");
}

#[test]
fn an_evaluation_without_end_is_ended_at_the_same_step() {
    let rules = [
        "x contains n if { some a in input.what.command; some b in input.what.command; some c in input.what.command; n := concat(a, [b, c]) }",
        "x if { every a in input.what.command { every b in input.what.command { every c in input.what.command { concat(a, [b, c]) != \"\" } } } }",
        "x if not y\ny if { some a, b in input.what.command; some c, d in input.what.command; a + c < 0 }",
        "x if { input.what.command[a]; input.what.command[b]; input.what.command[c]; a + b + c < 0 }",
        "x := count([1 | some a in input.what.command; some b in input.what.command; a == b])",
        "f(w) := count([1 | some a in input.what.command; a == w])\nx := [y | some a in input.what.command; y := f(a)]",
        "default x := 1\nx := 2 if { some a in input.what.command; every b in input.what.command { concat(a, [b]) != \"499\" } }",
    ];
    for rule in rules {
        let said = blocked(
            &format!("{rule}\nwarn contains \"w\" if x"),
            tool(500, 0, 0),
        );
        assert_eq!(said, STEPS, "{rule}");
        let said = blocked(
            &format!("{rule}\nwarn contains \"w\" if not x"),
            tool(500, 0, 0),
        );
        assert_eq!(said, STEPS, "{rule}");
    }
}

/// The most work that the steps allow: large values, compared and copied as often as possible. The verdict does
/// not matter, only that there is one.
#[test]
fn steps_that_are_each_as_large_as_can_be_end() {
    let rules = [
        "x := {c | some c in input.what.command}\ny := {c | some c in input.what.command}\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; x != y }",
        "x := {c | some c in input.what.command}\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; count(x | {c, d}) == 0 }",
        "x := {c | some c in input.what.command}\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; count(x - {c, d}) == 0 }",
        "x := {c | some c in input.what.command}\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; count(x & x) == 0 }",
        "x := [c | some c in input.what.command]\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; \"none\" in x }",
        "warn contains \"w\" if { some c in input.what.command; some d in input.what.command; sum([1 | true]) == count(lower(d)) }",
        "warn contains \"w\" if { some c in input.what.command; some d in input.what.command; max(input.what.command) == \"\" }",
        "x := [g | some g in input.what.grants]\ny := [g | some g in input.what.grants]\nwarn contains \"w\" if { some c in input.what.command; some d in input.what.command; x != y }",
        "warn contains \"w\" if { some c in input.what.command; some d in input.what.command; contains(c, d) }",
        "warn contains \"w\" if { some c in input.what.command; some d in input.what.command; concat(c, input.what.command) == \"\" }",
        "x contains c if some c in input.what.command\nwarn contains \"w\" if { some c in input.what.command; some d in x; object.get({c: x}, d, 1) == 0 }",
    ];
    for rule in rules {
        for (words, grants, text) in [(2_000, 1, 2), (1, 1_000, 2), (2, 1, 20_000)] {
            let text_of_rule =
                format!("package aegis\nimport rego.v1\nallow contains \"all\"\n{rule}\n");
            let policy = load(&text_of_rule).unwrap_or_else(|error| panic!("{rule}\n{error}"));
            let again = load(&text_of_rule).unwrap();
            let said = patiently(move || ask(&policy, tool(words, grants, text)));
            let repeated = patiently(move || ask(&again, tool(words, grants, text)));
            assert_eq!(said, repeated, "{rule}");
        }
    }
}

#[test]
fn an_input_that_is_too_large_is_blocked() {
    let rules = "warn contains \"w\" if input.what.port == 1";
    let said = blocked(rules, tool(3_000, 0, 0));
    assert!(said.contains("more words or grants"), "{said}");
    let said = blocked(rules, tool(1_000, 0, 1_000));
    assert!(said.contains("longer than rules in Rego"), "{said}");
}

#[test]
fn texts_and_pieces_that_are_made_are_bounded() {
    let double = "x := concat(\"\", [y, y]) if y := concat(\"\", [z, z])\nz := concat(\"\", input.what.command)".replace("if y :=", "if { y :=") + " ";
    let double = double.replace("[z, z])\n", "[z, z]) }\n");
    let said = blocked(
        &format!("{double}\nwarn contains \"w\" if x"),
        tool(100, 0, 20),
    );
    assert!(said.contains("more than 4096 bytes"), "{said}");
    let said = blocked(
        "warn contains \"w\" if count(split(input.what.command[0], \"w\")) == 1",
        tool(1, 0, 400),
    );
    assert!(said.contains("more than 256 pieces"), "{said}");
    let said = blocked(
        "warn contains \"w\" if sprintf(\"%s%s\", [input.what.command[0], input.what.command[0]]) == \"\"",
        tool(1, 0, 4_000),
    );
    assert!(said.contains("more than 4096 bytes"), "{said}");
}

#[test]
fn the_deepest_module_that_loads_fits_the_stack() {
    // As many rules within rules, brackets within brackets and operators in a row as may be.
    let mut rules = "f10(x) := x\n".to_owned();
    for n in (0..10).rev() {
        let inner = format!("f{}(x)", n + 1);
        let sum = "1 + ".repeat(14);
        rules += &format!(
            "f{n}(x) := y if {{ every a in [1] {{ every b in [1] {{ every c in [1] {{ {{[{sum}{inner}] | true}} != {{1}} }} }} }}; y := x }}\n"
        );
    }
    let text = format!(
        "package aegis\nimport rego.v1\n{rules}warn contains \"w\" if f0(1) == 1\nallow contains \"all\""
    );
    let policy = load(&text).unwrap_or_else(|error| panic!("{error}"));
    let decision = patiently(move || ask(&policy, tool(1, 1, 0)));
    assert!(decision.rules.len() <= 2, "{:?}", decision.rules);
}

/// A module may take long for one thing, and not for each of many: what a run asks for shares one budget.
#[test]
fn the_things_that_a_run_asks_for_share_what_rego_may_take() {
    let costly = [
        (
            "warn contains \"x\" if { some c in input.context.words; regex.match(`^((a{1,20}){1,20}){1,5}!$`, c) }"
                .replace("some c in input.context.words", "input.what.host; c := input.context.profile"),
            "more work than is allowed",
        ),
        (
            format!(
                "long := [{}]\nwarn contains \"x\" if {{ input.what.host; some a in long; some b in long; a + b < 0 }}",
                "1, ".repeat(60) + "1"
            ),
            "this thing's share",
        ),
    ];
    for (rule, said) in costly {
        let text = format!("package aegis\nimport rego.v1\nallow contains \"all\"\n{rule}\n");
        let policy = load(&text).unwrap_or_else(|error| panic!("{rule}\n{error}"));
        let context = aegis_policy::Context {
            profile: "a".repeat(750),
            ..support::context()
        };
        let request = |grants| aegis_policy::Request {
            approvals: Vec::new(),
            context: context.clone(),
            what: tool(1, grants, 0),
        };
        let few = aegis_policy::decide(&policy, &request(3));
        assert_eq!(few.verdict, Verdict::Allow, "{rule}: {}", few.reason);
        let many = aegis_policy::decide(&policy, &request(900));
        assert_eq!(many.verdict, Verdict::Block, "{rule}: {}", many.reason);
        assert!(many.reason.contains(said), "{rule}: {}", many.reason);
        // An explanation is of the decision that was made.
        let explained = aegis_policy::explain::explain(&policy, &request(900));
        assert_eq!(explained.decision, many);
        assert_eq!(explained.parts[0].opinion, many.parts[0]);
        assert_eq!(explained.parts[0].documents[0].opinion, many.parts[0]);
    }
}

/// A run may have thousands of grants that Rego never sees.
#[test]
fn what_rego_is_not_asked_about_takes_no_share_of_its_steps() {
    let text = r#"
        package aegis
        import rego.v1
        words := ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"]
        pairs := {[a, b] | some a in words; some b in words}
        allow contains "program" if count(pairs) == 400
    "#;
    let policy = policy(document(&[text]));
    let files = (0..1000).map(|at| What::Read {
        except: Vec::new(),
        path: format!("/data/{at}").as_str().into(),
        tree: false,
    });
    let grants = std::iter::once(exec("/usr/bin/git")).chain(files).collect();
    let decision = ask(
        &policy,
        What::Tool {
            command: vec!["/usr/bin/git".into()],
            grants,
        },
    );
    assert_eq!(decision.parts[0].verdict, Verdict::Allow);
}
