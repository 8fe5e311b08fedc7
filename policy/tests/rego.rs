//! Verdicts of rules in Rego, together with native ones.
#![cfg(feature = "rego")]

use crate::support::{cases, rego as support};

use std::net::{IpAddr, Ipv4Addr};

use aegis_policy::model::{Action, EgressRule, Inject, Scheme, Verdict};
use aegis_policy::request::Destination;
use aegis_policy::{Policy, Request, What, decide};
use support::{ask, document, exec, https, native, policy};

pub(super) fn says(text: &str, what: What) -> (Verdict, Vec<String>, String) {
    let decision = ask(&policy(document(&[text])), what);
    let rules = decision.rules.iter().map(|rule| rule.to_string()).collect();
    (decision.verdict, rules, decision.reason.to_string())
}

#[test]
fn members_of_the_four_sets_are_rules_and_the_worst_of_them_wins() {
    let text = r#"
        package aegis
        import rego.v1
        api if input.what.host == "api.example.org"
        allow contains "api" if api
        warn contains {"id": "plain", "reason": "not encrypted"} if input.what.scheme == "http"
        review contains {"id": "other", "reason": sprintf("%s is new", [input.what.host])} if not api
        block contains "evil" if endswith(input.what.host, ".evil.example")
    "#;
    assert_eq!(
        says(text, https("api.example.org")),
        (
            Verdict::Allow,
            vec!["rego:api".into()],
            "allowed by rule `rego:api`".into()
        )
    );
    // `review` does not let through what no other rule lets through.
    assert_eq!(
        says(text, https("b.example.org")),
        (
            Verdict::Block,
            vec!["rego:other".into()],
            "no rule covers all of it".into()
        )
    );
    let (verdict, rules, reason) = says(text, https("a.evil.example"));
    assert_eq!(verdict, Verdict::Block);
    assert_eq!(rules, ["rego:evil", "rego:other"]);
    assert_eq!(reason, "blocked by rule `rego:evil`");
}

#[test]
fn a_reason_is_told() {
    let text = r#"package aegis
        allow contains "all"
        review contains {"id": "other", "reason": sprintf("%s is new", [input.what.host])}"#;
    let (verdict, rules, reason) = says(text, https("b.example.org"));
    assert_eq!(verdict, Verdict::Review);
    assert_eq!(rules, ["rego:all", "rego:other"]);
    assert_eq!(
        reason,
        "for a person to approve by rule `rego:other`: b.example.org is new"
    );
}

#[test]
fn silence_is_no_answer() {
    let text = "package aegis\nblock contains \"never\" if input.what.port == 80";
    let (verdict, rules, reason) = says(text, https("example.org"));
    assert_eq!((verdict, rules.len()), (Verdict::Block, 0));
    assert_eq!(reason, "no rule covers it");
}

#[test]
fn several_modules_speak_each_under_its_name() {
    let net = "package aegis.net\nallow contains \"all\"";
    let more = "package aegis.more\nreview contains \"all\"\nallow contains \"all\"";
    let decision = ask(&policy(document(&[net, more])), https("example.org"));
    assert_eq!(decision.verdict, Verdict::Review);
    let rules: Vec<&str> = decision.rules.iter().map(|rule| &**rule).collect();
    assert_eq!(
        rules,
        ["rego:more.all", "rego:net.all"],
        "an id once, with the worst that it says"
    );
}

#[test]
fn rego_is_asked_of_programs_networks_secrets_and_runs_and_not_of_files() {
    let text = "package aegis\nblock contains \"all\" if input.what.action";
    let blocks = |what: What| {
        let decision = ask(&policy(document(&[text])), what);
        decision.rules.iter().any(|rule| &**rule == "rego:all")
    };
    assert!(blocks(https("example.org")));
    assert!(blocks(exec("/usr/bin/git")));
    assert!(blocks(What::NetHost {}));
    assert!(blocks(What::Listen { port: 80 }));
    assert!(blocks(What::Secret {
        alias: "github".into(),
        host: "api.github.com".into(),
        inject: Some(Inject::Header),
    }));
    let tool = What::Tool {
        command: vec!["git".into()],
        grants: vec![exec("/usr/bin/git")],
    };
    assert!(blocks(tool));
    for (path, tree) in [("/srv", true), ("/srv/a", false)] {
        let path = || path.into();
        assert!(!blocks(What::Read {
            except: Vec::new(),
            path: path(),
            tree
        }));
        assert!(!blocks(What::Write {
            except: Vec::new(),
            path: path(),
            tree
        }));
    }
    assert!(!blocks(What::Device {
        device: "gpu".into()
    }));
    assert!(!blocks(What::Environment {
        name: "LANG".into()
    }));
    assert!(!blocks(What::Sockets {
        name: "private".into()
    }));
    assert!(!blocks(What::Syscall { name: "bpf".into() }));
    assert!(!blocks(What::Limit {
        limit: "time".into(),
        value: None
    }));
}

#[test]
fn the_input_is_the_request_without_approvals() {
    let text = r#"
        package aegis
        context if {
            input.context.home == "/home/ana"
            input.context.profile == "report"
            count(input.context.profile_hash) == 64
            input.context.skill == "/home/ana/skills/report"
            input.context.uid == 1000
            input.context.work == "/home/ana/work"
        }
        allow contains "whole" if {
            context
            input.what == {
                "action": "net.outbound", "address": "93.184.216.34", "host": "example.org",
                "method": "POST", "path": "/upload", "port": 443, "request_size": 10,
                "requests_last_minute": 2, "scheme": "https",
            }
            count(input) == 2
        }
        review contains "run" if {
            context
            input.what.command == ["git", {"base16": "ff"}]
            some grant in input.what.grants
            grant == {"action": "shell.exec", "name": "git", "path": "/usr/bin/git", "tree": false}
        }
    "#;
    let what = What::Net(Destination {
        address: Some(IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34))),
        host: "example.org".into(),
        method: Some("POST".into()),
        path: Some("/upload".into()),
        port: 443,
        request_size: Some(10),
        requests_last_minute: Some(2),
        response_size: None,
        scheme: Scheme::Https,
    });
    let (verdict, _, reason) = says(text, what);
    assert_eq!(verdict, Verdict::Allow, "{reason}");
    let mut document = document(&[text]);
    document.capabilities.push(native(
        "git",
        Action::ShellExec,
        "git",
        Verdict::Allow,
        false,
    ));
    let git = What::Exec {
        except: Vec::new(),
        name: Some("git".into()),
        path: "/usr/bin/git".into(),
        tree: false,
    };
    let run = What::Tool {
        command: vec!["git".into(), aegis_policy::HostPath(vec![0xff])],
        grants: vec![git],
    };
    let decision = ask(&policy(document), run);
    assert_eq!(decision.verdict, Verdict::Review);
    assert_eq!(*decision.rules, ["rego:run".into()]);
}

#[test]
fn a_run_is_asked_about_as_a_whole_and_grant_by_grant() {
    let text = r#"
        package aegis
        allow contains "programs" if input.what.action == "shell.exec"
        hosts contains grant.host if {
            some grant in input.what.grants
            grant.action == "net.outbound"
        }
        review contains "many-hosts" if count(hosts) > 1
    "#;
    let mut document = document(&[text]);
    document.network_egress.push(EgressRule {
        budget: Default::default(),
        hosts: ["*.example.org".to_owned()].into(),
        id: "example".into(),
        methods: Default::default(),
        mode: Default::default(),
        otherwise: false,
        paths: Default::default(),
        ports: Default::default(),
        private_addresses: false,
        reason: None,
        schemes: Default::default(),
        verdict: Verdict::Allow,
    });
    let policy = policy(document);
    let run = |hosts: &[&str]| {
        let grants = hosts
            .iter()
            .map(|host| https(host))
            .chain([exec("/usr/bin/git")]);
        let command = vec!["git".into()];
        ask(
            &policy,
            What::Tool {
                command,
                grants: grants.collect(),
            },
        )
    };
    let one = run(&["a.example.org"]);
    assert_eq!(one.verdict, Verdict::Allow, "{}", one.reason);
    let two = run(&["a.example.org", "b.example.org"]);
    assert_eq!(two.verdict, Verdict::Review, "{}", two.reason);
    assert_eq!(*two.rules, ["rego:many-hosts".into()]);
}

#[test]
fn allow_in_rego_covers_and_so_rules_marked_otherwise_are_silent() {
    let text = r#"package aegis
        allow contains "git" if endswith(input.what.path, "/git")
        warn contains "sh" if endswith(input.what.path, "/sh")"#;
    let mut document = document(&[text]);
    document.capabilities.push(native(
        "rest",
        Action::ShellExec,
        "/**",
        Verdict::Review,
        true,
    ));
    let policy = policy(document);
    let verdict = |path| ask(&policy, exec(path)).verdict;
    assert_eq!(verdict("/usr/bin/git"), Verdict::Allow);
    assert_eq!(verdict("/usr/bin/perl"), Verdict::Review);
    assert_eq!(
        verdict("/usr/bin/sh"),
        Verdict::Review,
        "a warning takes no review away"
    );
}

#[test]
fn a_native_block_stays_whatever_rego_allows() {
    let mut document = document(&["package aegis\nallow contains \"all\""]);
    document.capabilities.push(native(
        "no",
        Action::ShellExec,
        "/usr/bin/**",
        Verdict::Block,
        false,
    ));
    let decision = ask(&policy(document), exec("/usr/bin/git"));
    assert_eq!(decision.verdict, Verdict::Block);
    assert_eq!(*decision.rules, ["no".into(), "rego:all".into()]);
}

#[test]
fn rego_lets_nothing_through_to_an_address_that_is_not_public() {
    let policy = policy(document(&["package aegis\nallow contains \"all\""]));
    for (address, verdict) in [
        ([93, 184, 216, 34], Verdict::Allow),
        ([169, 254, 169, 254], Verdict::Block),
    ] {
        let what = match https("example.org") {
            What::Net(to) => What::Net(Destination {
                address: Some(IpAddr::from(address)),
                ..to
            }),
            other => other,
        };
        let decision = ask(&policy, what);
        assert_eq!(decision.verdict, verdict, "{}", decision.reason);
    }
    assert_eq!(ask(&policy, https("127.0.0.1")).verdict, Verdict::Block);
}

#[test]
fn what_is_no_member_an_error_and_a_conflict_block() {
    let blocked = |text: &str| {
        let text = format!("package aegis\nimport rego.v1\nallow contains \"all\"\n{text}");
        let (verdict, rules, reason) = says(&text, https("example.org"));
        assert_eq!(verdict, Verdict::Block, "{text}");
        assert_eq!(rules, ["rego"], "{text}");
        reason
    };
    let no_member = "blocked by rule `rego`: a member of `warn` must be the id of a rule, or an id with a reason";
    for member in [
        "input.what.port",
        "m if m := [input.what.host]",
        "m if m := {1, 2}",
        "{\"id\": input.what.port}",
    ] {
        assert_eq!(blocked(&format!("warn contains {member}")), no_member);
    }
    assert_eq!(
        blocked("warn contains id if id := sprintf(\"%s!\", [\"a\"])"),
        no_member
    );
    assert_eq!(
        blocked("warn contains {\"id\": \"a\", \"reason\": 1}"),
        no_member
    );
    let conflict =
        blocked("x := 1\nx := 2 if input.what.port == 443\nwarn contains \"w\" if x == 1");
    assert!(conflict.contains("conflicts with rule"), "{conflict}");
    let functions = blocked("f(x) := 1\nf(x) := 2\nwarn contains \"w\" if f(3) == 1");
    assert!(functions.contains("outputs"), "{functions}");
    let error = blocked("warn contains \"w\" if not startswith(input.what.port, \"x\")");
    assert!(error.contains("0.rego:4:"), "{error}");
    blocked("warn contains \"w\" if input.what.host + 1 == 2");
    blocked("warn contains \"w\" if 1 % 0 == 2");
    blocked("warn contains \"w\" if sprintf(\"%d\", [\"text\"]) == \"\"");
    blocked("warn contains \"w\" if {x: y | some x in [1, 1]; some y in [1, 2]} == 1");
}

#[test]
fn an_error_leaves_nothing_behind() {
    let text = r#"package aegis
        helper if startswith(input.what.host, "a")
        allow contains "a" if helper
        block contains "bad" if { input.what.port == 80; [1][0] + input.what.host == 1 }"#;
    let policy = policy(document(&[text]));
    let plain = |port| match https("a.example.org") {
        What::Net(to) => What::Net(Destination { port, ..to }),
        other => other,
    };
    let good = ask(&policy, plain(443));
    let bad = ask(&policy, plain(80));
    assert_eq!(
        (good.verdict, bad.verdict),
        (Verdict::Allow, Verdict::Block)
    );
    for _ in 0..10 {
        assert_eq!(ask(&policy, plain(80)), bad);
        assert_eq!(ask(&policy, plain(443)), good);
    }
}

#[test]
fn the_text_of_a_module_is_part_of_the_policys_hash() {
    let of = |text: &str| policy(document(&[text])).hash();
    let text = "package aegis\nallow contains \"all\"";
    assert_eq!(of(text), of(text));
    assert_ne!(of(text), of("package aegis\nallow contains \"any\""));
    assert_ne!(of(text), of(&format!("{text}\n")));
}

#[test]
fn members_come_in_the_order_of_their_values_however_the_policy_was_made() {
    let text = r#"package aegis
        names := {"b", "a", "d", "c"}
        allow contains "all"
        review contains {"id": "first", "reason": concat(" ", [n | some n in names])}
        warn contains n if some n in names"#;
    let first = says(text, https("example.org"));
    assert_eq!(
        first.2,
        "for a person to approve by rule `rego:first`: a b c d"
    );
    assert_eq!(
        first.1,
        [
            "rego:a",
            "rego:all",
            "rego:b",
            "rego:c",
            "rego:d",
            "rego:first"
        ]
    );
    for _ in 0..20 {
        assert_eq!(says(text, https("example.org")), first);
    }
}

#[test]
fn several_policies_ask_their_own_modules() {
    let one = document(&["package aegis\nallow contains \"all\""]);
    let mut two = document(&["package aegis\nreview contains \"all\"\nallow contains \"x\""]);
    two.name = "other".into();
    let policy = Policy::new(vec![one, two]).unwrap();
    let decision = ask(&policy, https("example.org"));
    assert_eq!(decision.verdict, Verdict::Review);
    let rules: Vec<&str> = decision.rules.iter().map(|rule| &**rule).collect();
    assert_eq!(rules, ["test/rego:all", "other/rego:all", "other/rego:x"]);
}

#[test]
fn a_connection_does_not_pass_unseen_where_a_module_says_worse_of_a_request() {
    let open = r#"
        package aegis
        import rego.v1
        allow contains "open"
        review contains "asked" if input.what.host == "asked.example.org"
        block contains "no-posts" if { input.what.method == "POST"; endswith(input.what.host, ".posts.example") }
        block contains "no-requests" if { input.what.path; input.what.host == "paths.example.org" }
    "#;
    let policy = policy(document(&[open]));
    let rules = |scheme, host| {
        let request = Request {
            approvals: Vec::new(),
            context: support::context(),
            what: What::Net(Destination::connection(scheme, host, 443)),
        };
        let rules = aegis_policy::decide::about_requests(&policy, &request);
        rules
            .iter()
            .map(|rule| rule.to_string())
            .collect::<Vec<_>>()
    };
    for scheme in [Scheme::Https, Scheme::Tcp] {
        assert_eq!(
            rules(scheme, "a.posts.example"),
            ["rego:no-posts", "rego:open"]
        );
        assert_eq!(
            rules(scheme, "paths.example.org"),
            ["rego:no-requests", "rego:open"]
        );
        assert_eq!(rules(scheme, "a.example.org"), [""; 0]);
    }
}

/// A yes to the connection is none to what another rule asks about a request.
#[test]
fn an_approved_connection_does_not_pass_unseen_where_a_request_is_asked_about_by_another_rule() {
    let asks = |of_requests: &str| {
        format!(
            r#"
            package aegis
            import rego.v1
            allow contains "open"
            review contains "host" if input.what.host == "asked.example.org"
            review contains "{of_requests}" if input.what.method == "POST"
            "#
        )
    };
    for (of_requests, expected) in [("host", 0), ("posts", 1)] {
        let policy = policy(document(&[&asks(of_requests)]));
        let what = What::Net(Destination::connection(
            Scheme::Https,
            "asked.example.org",
            443,
        ));
        let request = Request {
            approvals: vec![cases::approval(&policy, &what, &what)],
            ..cases::request(what)
        };
        assert!(decide(&policy, &request).verdict.lets_through());
        let rules = aegis_policy::decide::about_requests(&policy, &request);
        let posts = rules.iter().filter(|rule| rule.ends_with("posts"));
        assert_eq!(posts.count(), expected, "{of_requests}: {rules:?}");
    }
}
