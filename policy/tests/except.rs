//! What a sandbox hides in a tree is not in what is asked for.

use crate::support::cases;

use aegis_policy::compare::{contexts, diff};
use aegis_policy::model::Verdict::{Allow, Block, Warn};
use aegis_policy::request::Alias;
use aegis_policy::{Context, HostPath, What, decide};
use cases::{context, policy, request};

fn tree(path: &str, except: &[&str]) -> What {
    What::Read {
        except: except.iter().map(|path| HostPath::from(*path)).collect(),
        path: path.into(),
        tree: true,
    }
}

fn said(rules: &str, context: Context, what: What) -> (aegis_policy::Verdict, Vec<String>) {
    let mut request = request(what);
    request.context = context;
    let said = decide(&policy(rules), &request);
    let rules = said.rules.iter().map(|rule| rule.to_string()).collect();
    (said.verdict, rules)
}

#[test]
fn a_rule_speaks_unless_it_reaches_nothing_else_than_what_is_hidden() {
    let rules = |pattern: &str| {
        format!(
            "capabilities: [{{id: all, on: files.read, match: ['/**'], verdict: allow}}, \
             {{id: keys, on: files.read, match: '{pattern}', verdict: block}}]"
        )
    };
    for (pattern, except, verdict) in [
        ("/a/k/**", &["/a/k"][..], Allow),
        ("/a/k", &["/a/k"], Allow),
        ("/a/k/*/x*", &["/a/k"], Allow),
        ("/*/k/**", &["/a/k"], Allow),
        ("/a/k/b/c", &["/a/k/b"], Allow),
        ("/a/k/b", &["/a/k/b/c"], Block),
        ("/a/k/**", &["/a/k/b"], Block),
        ("/a/k/**", &["/a/l"], Block),
        ("/a/k/**", &["/a/l", "/a/k"], Allow),
        ("/a/kk/**", &["/a/k"], Block),
        ("/a/k*/**", &["/a/k"], Block),
        ("/a/*/k", &["/a/k"], Block),
        ("/**/k/**", &["/a/k"], Block),
        ("/a/**/k", &["/a/k"], Block),
        ("/a/**", &["/a/k"], Block),
        ("/a", &["/a/k"], Block),
        ("/**", &["/a/k"], Block),
    ] {
        let (said, spoke) = said(&rules(pattern), context(), tree("/a", except));
        assert_eq!(said, verdict, "{pattern} {except:?}: {spoke:?}");
    }
    // A variable that lies in the tree, or is what is hidden.
    let home = |home: &str| Context {
        home: home.into(),
        ..context()
    };
    for (place, except, verdict) in [
        ("/a/home", "/a/home/k", Allow),
        ("/a/home", "/a/home", Allow),
        ("/a/home", "/a", Allow),
        ("/a/home/k", "/a/home/k/k", Allow),
        ("/a/home", "/a/homes", Block),
        ("/a/home", "/a/home/k/deep", Block),
    ] {
        let what = tree("/", &[except]);
        let (said, spoke) = said(&rules("$HOME/k/**"), home(place), what);
        assert_eq!(said, verdict, "{place} {except}: {spoke:?}");
    }
    // What allows has to cover all of the tree.
    let some = "capabilities: [{id: some, on: files.read, match: /a/b/**, verdict: allow}]";
    let (said, _) = said(some, context(), tree("/a", &["/a/c"]));
    assert_eq!(said, Block);
}

#[test]
fn what_is_hidden_is_hidden_by_each_name_of_the_tree() {
    let rules = "capabilities:
        - {id: all, on: files.read, match: '/**', verdict: allow}
        - {id: keys, on: files.read, match: /home/ana/.ssh/**, verdict: warn}";
    let alias = |name: &str, place: &str| Alias {
        name: name.into(),
        place: place.into(),
        trusted: true,
    };
    for (name, place, asked, except, verdict) in [
        (
            "/home",
            "/var/home",
            "/var/home",
            "/var/home/ana/.ssh",
            Allow,
        ),
        ("/home", "/var/home", "/var", "/var/home/ana/.ssh", Allow),
        (
            "/home",
            "/var/home",
            "/var/home",
            "/var/home/eve/.ssh",
            Warn,
        ),
        (
            "/home/ana/.ssh",
            "/vault/ssh",
            "/vault",
            "/vault/ssh",
            Allow,
        ),
        ("/home/ana/.ssh", "/vault/ssh", "/vault", "/vault", Block),
        (
            "/home/ana/.ssh",
            "/vault/ssh",
            "/vault",
            "/vault/ssh/deep",
            Warn,
        ),
        ("/home/ana", "/srv/ana", "/srv", "/srv/ana", Allow),
        // The place is hidden by its own name alone.
        (
            "/home/ana/.ssh",
            "/home/ana/ssh",
            "/home",
            "/home/ana/ssh",
            Warn,
        ),
    ] {
        let context = Context {
            aliases: vec![alias(name, place)],
            ..context()
        };
        let (said, _) = said(rules, context, tree(asked, &[except]));
        assert_eq!(said, verdict, "{name} {place} {asked} {except}");
    }
}

#[test]
fn an_exception_that_makes_no_sense_is_blocked() {
    let all = "capabilities: [{id: all, on: files.read, match: ['/**'], verdict: allow}]";
    let file = What::Read {
        except: vec!["/a/b".into()],
        path: "/a".into(),
        tree: false,
    };
    let many: Vec<String> = (0..257).map(|n| format!("/a/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for what in [
        file,
        tree("/a", &["/a"]),
        tree("/a", &["/b"]),
        tree("/a", &["/ab"]),
        tree("/a", &["/a/../b"]),
        tree("/a", &["b"]),
        tree("/a", &many),
    ] {
        assert_eq!(said(all, context(), what.clone()).0, Block, "{what}");
    }
    assert_eq!(said(all, context(), tree("/a", &many[1..])).0, Allow);
}

#[test]
fn what_is_excepted_is_part_of_the_request_and_nothing_is_where_there_is_none() {
    let plain = request(tree("/a", &[]));
    let text = serde_json::to_string(&plain.what).unwrap();
    assert_eq!(text, r#"{"action":"files.read","path":"/a","tree":true}"#);
    let hidden = request(tree("/a", &["/a/b"]));
    let text = serde_json::to_string(&hidden.what).unwrap();
    assert_eq!(
        text,
        r#"{"action":"files.read","except":["/a/b"],"path":"/a","tree":true}"#
    );
    assert_eq!(
        hidden.what.to_string(),
        "files.read /a and below except /a/b"
    );
    assert_ne!(plain.what.hash(), hidden.what.hash());
    assert_ne!(plain.hash(), hidden.hash());
}

/// What one rule covers and several others together cover too differs in what is hidden alone.
#[test]
fn policies_that_differ_in_what_may_be_hidden_are_told_apart() {
    let block = "{id: keys, on: files.read, match: /t/k/**, verdict: block}";
    let parts = policy(&format!(
        "capabilities: [{block}, {{id: top, on: files.read, match: [/t, '/t/*/**'], verdict: allow}}]"
    ));
    let whole = policy(&format!(
        "capabilities: [{block}, {{id: top, on: files.read, match: '/t/**', verdict: allow}}]"
    ));
    let found = diff(&parts, &whole, &contexts());
    let shown: Vec<String> = (found.differences.iter())
        .map(|found| found.example.what.to_string())
        .collect();
    assert_eq!(shown, ["files.read /t and below except /t/k"]);
}

/// Lists in each grant would leave modules no room for lists of grants.
#[cfg(feature = "rego")]
#[test]
fn a_module_in_rego_is_asked_about_the_whole_tree() {
    use crate::support::rego;
    let module = r#"
        package aegis
        import rego.v1
        allow contains "any"
        block contains "hidden" if { some grant in input.what.grants; grant.except }
        block contains "whole" if { some grant in input.what.grants; grant.path == "/a"; grant.tree }
    "#;
    let policy = rego::policy(rego::document(&[module]));
    let run = What::Tool {
        command: vec!["/usr/bin/git".into()],
        grants: vec![tree("/a", &["/a/k"])],
    };
    let said = rego::ask(&policy, run);
    let said: Vec<&str> = said.rules.iter().map(|rule| &**rule).collect();
    assert!(
        said.contains(&"rego:whole") && !said.contains(&"rego:hidden"),
        "{said:?}"
    );
}
