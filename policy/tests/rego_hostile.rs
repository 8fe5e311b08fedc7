//! Hostile modules in Rego: refused when they are loaded, and quickly.
#![cfg(feature = "rego")]

use crate::support::rego as support;

use support::{load, load_all};

/// A module with these rules is refused, and the error contains this text and the place.
fn refused(rules: &str, says: &str) {
    let text = format!("package aegis\nimport rego.v1\nblock contains \"all\"\n{rules}\n");
    match load(&text) {
        Ok(_) => panic!("loaded: {rules}"),
        Err(error) => {
            assert!(error.contains(says), "{rules}\n{error}");
            assert!(error.starts_with("0.rego:4:"), "{rules}\n{error}");
        }
    }
}

#[test]
fn functions_that_see_the_time_the_network_or_chance_are_refused() {
    let functions = [
        ("time.now_ns()", "has no clock"),
        ("time.parse_rfc3339_ns(\"x\")", "has no clock"),
        ("rand.intn(\"x\", 10)", "random"),
        ("uuid.rfc4122(\"x\")", "random"),
        (
            "http.send({\"url\": \"http://example.org\", \"method\": \"get\"})",
            "reaches the network",
        ),
        ("net.lookup_ip_addr(\"example.org\")", "reaches the network"),
        ("opa.runtime()", "does not depend on"),
        ("io.jwt.decode(\"x\")", "handles no keys"),
        ("crypto.sha256(\"x\")", "handles no keys"),
        ("print(\"x\")", "writes nothing"),
        ("trace(\"x\")", "writes nothing"),
        ("walk(input, x)", "any size"),
        ("numbers.range(1, 1000000000)", "any size"),
        ("graph.reachable({}, {})", "any size"),
        ("json.unmarshal(\"[]\")", "any size"),
        ("bits.lsh(1, 1000000000)", "any size"),
        ("to_number(\"1e1000000\")", "any size"),
        ("replace(\"a\", \"a\", \"aa\")", "any size"),
        ("glob.match(\"*\", [], \"a\")", "regex.match"),
        ("startwith(\"a\", \"b\")", "not a function that rules have"),
        ("data.aegis.f(1)", "not a function that rules have"),
        ("input.f(1)", "not a function that rules have"),
        ("count(1, 2)", "has 1 arguments, not 2"),
        ("count(input.what, x)", "has 1 arguments, not 2"),
    ];
    for (call, says) in functions {
        for rule in [
            "x := {}",
            "allow contains \"x\" if {}",
            "x := [1 | {}]",
            "f(y) := {}",
            "x if not {}",
        ] {
            refused(&rule.replace("{}", call), says);
        }
    }
    refused(
        "x := y if { y := \"a\"; every z in [time.now_ns()] { z > 1 } }",
        "has no clock",
    );
    refused("rand.intn := 1", "the head of a rule is a name");
    refused("count(x) := 1", "meaning of its own");
    refused("default count := 1", "meaning of its own");
}

#[test]
fn a_rule_has_one_default() {
    for (one, other) in [("1", "1"), ("1", "2"), ("true", "false")] {
        let text = format!(
            "package aegis\nimport rego.v1\nblock contains \"all\"\ndefault x := {one}\nx := 3 if input.what.port\ndefault x := {other}\n"
        );
        let error = load(&text).map(|_| ()).unwrap_err();
        assert!(
            error.starts_with("0.rego:6:") && error.contains("two defaults"),
            "{error}"
        );
    }
}

#[test]
fn a_mistake_is_shown_where_what_it_is_about_begins() {
    for (rule, place) in [
        (
            "block contains \"a\" if time.now_ns() > 0",
            "2:23: `time.now_ns`",
        ),
        ("\tx := time.now_ns()", "2:7: `time.now_ns`"),
        ("# ü\nx if 1 == time.now_ns()", "3:11: `time.now_ns`"),
        ("x := \"ü\" if data.secrets.key", "2:13: there are no data"),
        ("x if not input.what.hots", "2:10: no request has"),
        ("f(y) := z if z := y * y", "2:19: a product"),
        ("x := [strings.reverse(\"a\")]", "2:7: `strings.reverse`"),
    ] {
        let error = load(&format!("package aegis\n{rule}\nblock contains \"all\"")).unwrap_err();
        assert!(error.starts_with(&format!("0.rego:{place}")), "{error}");
    }
}

#[test]
fn what_goes_around_the_request_is_refused() {
    refused("x if input.what.port == 1 with input as {}", "`with`");
    refused("x if count([]) == 1 with count as 3", "`with`");
    refused("x if data.secrets.key", "no data documents");
    refused("x if data[\"aegis\"].block", "no data documents");
    refused("x := data", "no data documents");
    refused("x if { data = y; y }", "no data documents");
    refused("x if input.secret", "no request has the field `secret`");
    refused("x if not input.what.hots", "did you mean `host`?");
    refused("x if not input[\"what\"][\"hots\"]", "did you mean `host`?");
    refused("x if { input := {}; input.what }", "input");
    refused("input := {}", "input");
    refused("data := {}", "data");
    let head = "package aegis\nimport data.lib\nblock contains \"all\"";
    assert!(
        load(head)
            .unwrap_err()
            .contains("0.rego:2:1: only keywords"),
        "import data"
    );
    let head = "package aegis\nimport input.what as w\nblock contains \"all\"";
    assert!(
        load(head)
            .unwrap_err()
            .contains("0.rego:2:1: only keywords"),
        "import input"
    );
}

#[test]
fn packages_and_rules_that_conflict_are_refused() {
    let module = "package aegis.a\nblock contains \"all\"";
    let error = load_all(&[module, module]).unwrap_err();
    assert!(
        error.contains("1.rego: `package aegis.a` is that of 0.rego"),
        "{error}"
    );
    let error = load_all(&[module, "package aegis\na := 1\nblock contains \"all\""]).unwrap_err();
    assert!(
        error.contains("0.rego: `package aegis` is in use"),
        "{error}"
    );
    for package in [
        "other",
        "aegis_entry",
        "aegis.a.b",
        "aegis[\"A\"]",
        "data.aegis",
        "system",
    ] {
        let error = load(&format!("package {package}\nblock contains \"all\"")).unwrap_err();
        assert!(error.starts_with("0.rego:1:"), "{package}: {error}");
    }
    refused("block := true", "two kinds");
    refused("allow := true", "`allow` is the set");
    refused("allow if input.what.port == 1", "`allow` is the set");
    refused("default allow := false", "`allow` is the set");
    refused("allow(x) := 1", "`allow` is the set");
    refused("allow.x := 1", "a name here");
    refused("warn[x] := 1 if x := 2", "a name here");
    let kinds = load("package aegis\nblock contains \"all\"\nf(x) := 1\nf := 2").unwrap_err();
    assert!(kinds.contains("0.rego:4:1: `f` is two kinds"), "{kinds}");
    refused("x := 1 { true } { false }", "");
    refused("x := 1 if { true } else := 2", "`else`");
    refused("allow contains 1", "a member is the id");
    refused("allow contains \"Not An Id\"", "an id is made of");
    refused("allow contains {\"reason\": \"x\"}", "has an `id`");
    refused(
        "allow contains {\"id\": \"x\", \"verdict\": \"allow\"}",
        "`id` and `reason`",
    );
    let nothing = load("package aegis\nx := 1").unwrap_err();
    assert!(
        nothing.contains("none of `allow`, `warn`, `review`, `block`"),
        "{nothing}"
    );
}

#[test]
fn rules_that_need_themselves_are_refused() {
    refused("f(x) := f(x)", "needs itself");
    refused("f(x) := g(x)\ng(x) := f(x)", "needs itself");
    refused("x := x", "needs itself");
    refused(
        "x := [y | some y in z]\nz contains 1 if count(x) == 0",
        "needs itself",
    );
    let own = load("package aegis\nblock contains \"more\" if count(block) == 0").unwrap_err();
    assert!(
        own.contains("0.rego:2:1: `block`, or a rule that it needs"),
        "{own}"
    );
    let chain: String = (0..40).map(|n| format!("r{n} := r{}\n", n + 1)).collect();
    refused(&format!("{chain}r40 := 1"), "through more than 12");
}

#[test]
fn texts_that_look_like_others_are_refused() {
    let bidi = "package aegis\nblock contains \"all\" # \u{202e}fi \"lla\" sniatnoc wolla\n";
    let error = load(bidi).unwrap_err();
    assert!(
        error.contains("0.rego:2:24: the character U+202E"),
        "{error}"
    );
    refused("# zero\u{200b}width", "U+200B");
    refused("x := \"\u{2066}\"", "U+2066");
    refused("x := 1\0y := 2", "U+0000");
    refused("x := 1 \u{feff}", "U+FEFF");
    refused("\u{1b}[2Kx := 1", "U+001B");
    refused("аllow contains \"all\"", "invalid character");
    refused("x := “all”", "invalid character");
}

#[test]
fn what_no_parser_should_be_given_is_refused() {
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("{", "}"),
        ("f(", ")"),
        ("[x | x := ", "]"),
        ("a[", "]"),
    ] {
        for depth in [9, 100] {
            let nested = format!("x := {}1{}", open.repeat(depth), close.repeat(depth));
            refused(&nested, "8 brackets within brackets");
            refused(
                &format!("x := {}", open.repeat(depth)),
                "8 brackets within brackets",
            );
        }
    }
    let brackets = format!("package aegis\nx := {}", "[".repeat(100_000));
    assert!(
        load(&brackets)
            .unwrap_err()
            .contains("more than 32768 bytes"),
        "long"
    );
    for operator in ["+", "-", "|", "==", " in "] {
        refused(
            &format!("x := 1{}", format!("{operator}1").repeat(200)),
            "64 operators",
        );
        let lines = format!("x := 1{}", format!("{operator}\n1").repeat(3_000));
        let text = format!("package aegis\nblock contains \"all\"\n{lines}");
        assert!(
            load(&text).unwrap_err().contains("64 operators"),
            "{operator}"
        );
        let lines = format!("x := 1{}", format!("\n{operator}1").repeat(3_000));
        let text = format!("package aegis\nblock contains \"all\"\n{lines}");
        assert!(
            load(&text).unwrap_err().contains("64 operators"),
            "{operator}"
        );
        let calls = format!("x := 1{}", format!("{operator}f(1,\n1)").repeat(2_000));
        let text = format!("package aegis\nblock contains \"all\"\n{calls}");
        assert!(
            load(&text).unwrap_err().contains("64 operators"),
            "{operator}"
        );
    }
    refused(&format!("x := input{}", ".a".repeat(300)), "64 operators");
    refused(&format!("x := input{}", "[0]".repeat(200)), "64 operators");
    refused(&format!("x := {}1", "- ".repeat(200)), "64 operators");
    let large = format!(
        "package aegis\nblock contains \"all\"\n{}",
        "# all\n".repeat(2_000_000)
    );
    assert!(
        load(&large).unwrap_err().contains("more than 32768 bytes"),
        "10 MB"
    );
    let half = |package| {
        format!(
            "package aegis.{package}\nblock contains \"all\"\n{}",
            "#\n".repeat(9_000)
        )
    };
    let error = load_all(&[&half("a"), &half("b")]).unwrap_err();
    assert!(error.contains("more than 32768 bytes together"), "{error}");
    let line = format!("package aegis\nblock contains \"{}\"", "x".repeat(5_000));
    assert!(load(&line).is_err());
    assert!(load("").is_err());
    assert!(load("package").is_err());
    assert!(load("package aegis\nblock contains \"all").is_err());
    assert!(load("package aegis\nblock contains `all").is_err());
    let rules: String = (0..300).map(|n| format!("r{n} := 1\n")).collect();
    let text = format!("package aegis\nblock contains \"all\"\n{rules}");
    assert!(load(&text).unwrap_err().contains("more than 256 rules"));
    let body: String = (0..100).map(|n| format!("x{n} := 1\n")).collect();
    refused(
        &format!("x if {{ {} true }}", body.replace('\n', ";")),
        "64 statements",
    );
}

#[test]
fn rules_that_might_be_silent_where_they_should_block_are_refused() {
    refused("x if y == 1", "`y` has no value here");
    refused("x if { y == z; z := y }", "`y` has no value here");
    refused("x if { y = z; z = y }", "`y` has no value here");
    refused(
        "x if { y > 1; y := input.what.port }",
        "`y` has no value here",
    );
    refused("x := y if input.what.port == 1", "`y` has no value here");
    refused("x contains y if { some y; true }", "`y` has no value here");
    refused("x := [y | some z in [1]]", "`y` has no value here");
    refused(
        "x if { every y in [1] { y > 0 }; y == 1 }",
        "`y` has no value here",
    );
    refused("f(y) := z", "`z` has no value here");
    refused(
        "x if not input.what.command[_] == \"rm\"",
        "iteration within `not`",
    );
    refused(
        "x if not input.what.command[i] == \"rm\"",
        "iteration within `not`",
    );
    refused(
        "x if { some i; not input.what.command[i] == \"rm\" }",
        "iteration within `not`",
    );
    let fine = [
        "x if { some i; input.what.command[i] == \"rm\"; not input.what.command[i] == \"a\" }",
        "x if input.what.command[i] == input.what.command[i]",
        "x if { [a, b] = split(input.what.host, \".\"); a != b }",
        "x if { some {\"host\": h, \"port\": 443} in input.what.grants; h != \"\" }",
        "x if { \"a\" = y; y == \"a\" }",
        "x contains input.what.command[_]",
        "x := {i: c | c := input.what.command[i]}",
        "f([a, b], c) := a if { b == c }\nx := f([1, 2], 2)",
    ];
    for rule in fine {
        let text = format!("package aegis\nblock contains \"all\"\n{rule}\n");
        assert!(load(&text).is_ok(), "{rule}\n{}", load(&text).unwrap_err());
    }
}

#[test]
fn numbers_that_grow_are_refused() {
    refused("x := 1e1000000", "number");
    refused("x := 1e100", "whole number");
    refused("x := 0.1", "whole number");
    refused("x := 99999999999999999999999", "whole number");
    refused("x := 9007199254740993", "whole number");
    refused(
        "x := y * y if y := 9007199254740991",
        "a product of any size",
    );
    refused("x := 1 / 3", "may have a fraction");
}

#[test]
fn collections_that_could_grow_are_refused() {
    // Each twice as large as the one before, by sharing: 2^40 values in all.
    let mut rules = "x0 := [1, 1]\n".to_owned();
    (1..12).for_each(|n| rules += &format!("x{n} := [x{0}, x{0}]\n", n - 1));
    assert!(
        load(&format!(
            "package aegis\nblock contains \"a\" if x11 == x11\n{rules}"
        ))
        .is_err()
    );
    let mut body = "a0 := input.what.command".to_owned();
    (1..40).for_each(|n| body += &format!("; a{n} := [a{0}, a{0}]", n - 1));
    refused(&format!("x if {{ {body} }}"), "more than 16384 values");
    refused("x := [input, input]", "more than 16384 values");
    refused(
        "f(x) := [x, x]\ny := f(f(f(f(f(f(f(input.what.command)))))))",
        "more than 16384 values",
    );
    refused(
        "x := {g | some g in input.what.grants; some h in input.what.grants}",
        "16384 values",
    );
    refused(
        "x := {input.what.command | some g in input.what.grants}",
        "16384 values",
    );
    refused(
        "x := {[a, b] | some a in input.what.command; some b in input.what.command}",
        "16384 values",
    );
    refused(
        "x := {s | some c in input.what.command; s := {d | some d in input.what.command; d != c}}",
        "16384",
    );
    refused(
        "s contains input.what.command if some c in input.what.command",
        "16384 values",
    );
    refused(
        "x := {c: input.what.command | some c in input.what.command}",
        "16384 values",
    );
    refused("x if { y = [y] }", "");
    let loops: String = (0..8).map(|n| format!("some a{n} in [1, 2]; ")).collect();
    refused(&format!("x if {{ {loops} true }}"), "6 iterations");
    let loops: String = (0..8)
        .map(|n| format!("input.what.command[a{n}]; "))
        .collect();
    refused(&format!("x if {{ {loops} true }}"), "6 iterations");
}

#[test]
fn patterns_that_cost_are_refused() {
    refused("x if regex.match(input.what.host, \"a\")", "not a literal");
    refused("x if { p := `a`; regex.match(p, \"a\") }", "not a literal");
    refused(
        "x if regex.match(`(a{1000}){1000}`, input.what.host)",
        "too large",
    );
    refused(
        "x if regex.match(`((((a*)*)*)*`, input.what.host)",
        "not a valid pattern",
    );
    refused(
        &format!("x if regex.match(`{}`, input.what.host)", "(a".repeat(40)),
        "not a valid pattern",
    );
    for pattern in ["(?u)a", "a(?iu:b)", "\\pL", "\\p{Greek}", "[é]"] {
        let rule = format!("x if regex.match(`{pattern}`, input.what.host)");
        refused(&rule, "not a valid pattern");
    }
}
