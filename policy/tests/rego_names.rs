//! What has several names, asked of rules in Rego.
#![cfg(feature = "rego")]

use crate::support::rego as support;

use aegis_policy::model::{Action, Verdict};
use aegis_policy::request::Alias;
use aegis_policy::{Request, What, decide};
use support::{ask, document, exec, native, policy};

/// A profile may name a program or its path: a module that knows the one is not passed by the other.
#[test]
fn a_program_of_the_system_has_its_name_however_it_is_asked_for() {
    let text = r#"
        package aegis
        block contains "curl" if input.what.name == "curl"
        block contains "in-run" if {
            some grant in input.what.grants
            grant.name == "curl"
        }
    "#;
    let mut document = document(&[text]);
    document.capabilities.push(native(
        "all",
        Action::ShellExec,
        "/**",
        Verdict::Allow,
        false,
    ));
    let policy = policy(document);
    let exec = |name: Option<&str>, path: &str| What::Exec {
        except: Vec::new(),
        name: name.map(Into::into),
        path: path.into(),
        tree: false,
    };
    for (what, verdict) in [
        (exec(Some("curl"), "/usr/bin/curl"), Verdict::Block),
        (exec(None, "/usr/bin/curl"), Verdict::Block),
        (exec(None, "/bin/curl"), Verdict::Block),
        (exec(None, "/usr/local/sbin/curl"), Verdict::Block),
        // Elsewhere anything may be called so: a path is what tells.
        (exec(None, "/opt/bin/curl"), Verdict::Allow),
        (exec(None, "/usr/bin/curlie"), Verdict::Allow),
    ] {
        assert_eq!(ask(&policy, what.clone()).verdict, verdict, "{what}");
        let run = What::Tool {
            command: vec!["x".into()],
            grants: vec![what.clone()],
        };
        assert_eq!(ask(&policy, run).verdict, verdict, "a run with {what}");
    }
}

#[test]
fn both_homes_are_asked_about_and_the_second_lets_nothing_through() {
    let by = |set: &str, home: &str| {
        let text = format!(
            r#"
            package aegis
            import rego.v1
            allow contains "any"
            {set} contains "home" if input.context.home == "{home}"
        "#
        );
        let mut request = Request {
            approvals: Vec::new(),
            context: support::context(),
            what: exec("/usr/bin/git"),
        };
        request.context.aliases = vec![Alias {
            name: "/home/ana".into(),
            place: "/srv/ana".into(),
            trusted: false,
        }];
        let text = match set {
            "allow" => text.replace("allow contains \"any\"\n", ""),
            _ => text,
        };
        let decision = decide(&policy(document(&[&text])), &request);
        (decision.verdict, decision.rules.join(" "))
    };
    let is = |verdict, rules: &str| (verdict, rules.to_owned());
    for home in ["/home/ana", "/srv/ana"] {
        for (set, verdict) in [("block", Verdict::Block), ("review", Verdict::Review)] {
            let said = is(verdict, "rego:any rego:home");
            assert_eq!(by(set, home), said, "{home}");
        }
    }
    assert_eq!(by("block", "/srv/other"), is(Verdict::Allow, "rego:any"));
    assert_eq!(by("allow", "/home/ana"), is(Verdict::Allow, "rego:home"));
    assert_eq!(by("allow", "/srv/ana"), is(Verdict::Block, ""));
}
