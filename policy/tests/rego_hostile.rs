//! Modules in Rego that are up to no good: refused when they are loaded, or blocked when they are asked,
//! soon, and always in the same way.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]
#![cfg(feature = "rego")]

use std::sync::mpsc;
use std::time::Duration;

use aegis_policy::model::{Document, RegoModule, Scheme, Verdict};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Decision, Policy, Request, What, decide};

/// Ends a test that hangs; nothing that passes comes near.
const PATIENCE: Duration = Duration::from_secs(60);

/// As small as a thread of the launcher ever is.
const STACK: usize = 2 * 1024 * 1024;

fn patiently<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    let thread = std::thread::Builder::new().stack_size(STACK);
    let worker = thread.spawn(move || drop(send.send(work()))).unwrap();
    let answer = receive.recv_timeout(PATIENCE);
    answer.unwrap_or_else(|error| {
        panic!(
            "no answer: {error}, the thread has {:?}",
            worker.is_finished()
        )
    })
}

fn load(text: &str) -> Result<Policy, String> {
    load_all(&[text])
}

fn load_all(texts: &[&str]) -> Result<Policy, String> {
    let module = |(index, text): (usize, &&str)| RegoModule {
        name: format!("{index}.rego"),
        text: (*text).to_owned(),
    };
    let document = Document {
        name: "hostile".into(),
        rego: texts.iter().enumerate().map(module).collect(),
        ..Document::default()
    };
    patiently(|| Policy::new(vec![document]).map_err(|error| error.to_string()))
}

/// A module with these rules is refused, and the refusal says this and where.
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

fn tool(words: usize, grants: usize, text: usize) -> What {
    let grant = |index: usize| {
        What::Net(Destination {
            address: None,
            host: format!("h{index}.example.org"),
            method: None,
            path: None,
            port: 443,
            request_size: None,
            requests_last_minute: None,
            response_size: None,
            scheme: Scheme::Https,
        })
    };
    let word = |index: usize| format!("{}{index}", "w".repeat(text)).as_str().into();
    What::Tool {
        command: (0..words).map(word).collect(),
        grants: (0..grants.max(1)).map(grant).collect(),
    }
}

fn ask(policy: &Policy, what: What) -> Decision {
    let request = Request {
        approvals: Vec::new(),
        context: Context::default(),
        what,
    };
    decide(policy, &request)
}

/// A module that loads, and is asked about a run of this many words and grants: blocked, always in the same
/// words, which it gives back.
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
        ("opa.runtime()", "surroundings"),
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
        ("startwith(\"a\", \"b\")", "no function that rules have"),
        ("data.aegis.f(1)", "no function that rules have"),
        ("input.f(1)", "no function that rules have"),
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
    refused("x := 1 / 3", "no whole number");
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
fn patterns_that_cost_are_refused_or_bounded() {
    refused(
        "x if regex.match(input.what.host, \"a\")",
        "not known before",
    );
    refused(
        "x if { p := `a`; regex.match(p, \"a\") }",
        "not known before",
    );
    refused(
        "x if regex.match(`(a{1000}){1000}`, input.what.host)",
        "too large",
    );
    refused(
        "x if regex.match(`((((a*)*)*)*`, input.what.host)",
        "no pattern",
    );
    refused(
        &format!("x if regex.match(`{}`, input.what.host)", "(a".repeat(40)),
        "no pattern",
    );
    for pattern in ["(?u)a", "a(?iu:b)", "\\pL", "\\p{Greek}", "[é]"] {
        let rule = format!("x if regex.match(`{pattern}`, input.what.host)");
        refused(&rule, "no pattern");
    }
    let said = blocked(
        "warn contains \"x\" if { some c in input.what.command; some d in input.what.command; regex.match(`^(\\w{1,50}\\s?){1,20}!$`, d); c == \"\" }",
        tool(200, 0, 300),
    );
    assert!(said.contains("worked for longer than they may"), "{said}");
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

/// The most that can be done with so many steps: large values, compared and copied as often as there are
/// steps for. What it comes to does not matter, but that it comes.
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
        for (words, grants, text) in [(2_000, 1, 2), (1, 1_000, 2), (200, 1, 250), (2, 1, 20_000)] {
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
