//! Verdicts on connections: what a yes to one is of, and whether one may pass unseen.

use crate::support::cases;

#[cfg(feature = "rego")]
use aegis_policy::model::RegoModule;
use aegis_policy::model::Scheme;
use aegis_policy::model::Verdict::{self, Allow, Block, Review, Warn};
use aegis_policy::request::Destination;
use aegis_policy::{Policy, Request, What, decide};
#[cfg(feature = "rego")]
use cases::document;
use cases::policy;

/// The verdict of a destination, after a yes to connections of HTTP to each of these hosts.
fn approved(policy: &Policy, hosts: &[&str], to: Destination) -> Verdict {
    let approval = |host: &&str| {
        let what = What::Net(Destination::connection(Scheme::Http, host, 80));
        cases::approval(policy, &what, &what)
    };
    let request = Request {
        approvals: hosts.iter().map(approval).collect(),
        ..cases::request(What::Net(to))
    };
    decide(policy, &request).verdict
}

fn asks(method: &str, to: Destination) -> Destination {
    Destination {
        method: Some(method.into()),
        path: Some("/".into()),
        ..to
    }
}

/// A person is asked about destinations as a profile names them; what a run then connects to, and sends there, has more to it.
#[test]
fn an_approval_of_a_destination_is_of_what_is_done_there_and_nobody_else_asks_about() {
    let policy = policy(
        "network-egress:
          - {id: posts, hosts: [api.example.org], schemes: http, methods: [POST], verdict: review}
          - {id: rest, hosts: ['*'], verdict: review}
          - {id: bad, hosts: [bad.example.org, 8.8.4.4], verdict: block}",
    );
    let hosts = ["api.example.org", "*.cdn.example.org", "10.0.0.1"];
    let verdict = |to| approved(&policy, &hosts, to);
    let connection = |host: &str| Destination::connection(Scheme::Http, host, 80);
    let at = |address: &str, to: Destination| Destination {
        address: Some(address.parse().unwrap()),
        ..to
    };
    let api = || at("8.8.8.8", connection("api.example.org"));
    let cdn = || at("8.8.8.8", connection("a.b.cdn.example.org"));
    assert_eq!(verdict(connection("api.example.org")), Allow);
    assert_eq!(verdict(api()), Allow);
    assert_eq!(verdict(asks("GET", api())), Allow);
    assert_eq!(verdict(asks("POST", api())), Review, "another rule asks");
    assert_eq!(verdict(cdn()), Allow);
    assert_eq!(verdict(asks("POST", cdn())), Allow);
    assert_eq!(verdict(connection("cdn.example.org")), Review);
    let https = Destination::connection(Scheme::Https, "api.example.org", 80);
    assert_eq!(verdict(https), Review);
    let port = Destination { port: 81, ..api() };
    assert_eq!(verdict(port), Review);
    // A yes to a name is no yes to whatever it leads to.
    assert_eq!(verdict(at("10.0.0.1", api())), Block);
    assert_eq!(verdict(at("8.8.4.4", api())), Block);
    assert_eq!(verdict(connection("bad.example.org")), Block);
    assert_eq!(verdict(connection("10.0.0.1")), Block);
}

/// The id of a rule in Rego does not say what it asks about: a yes to a connection is none to a request.
#[cfg(feature = "rego")]
#[test]
fn an_approval_that_rego_wanted_is_of_no_request() {
    let module = r#"
        package aegis
        import rego.v1
        allow contains "all"
        review contains "new" if input.what.host == "new.example.org"
        review contains "new" if input.what.method == "DELETE"
    "#;
    let with = |rules: &str, name: &str| {
        let mut document = document(name, rules);
        document.rego.push(RegoModule {
            name: "0.rego".into(),
            text: module.into(),
        });
        document
    };
    let rest = "network-egress: [{id: rest, hosts: ['*'], verdict: review}]";
    let alone = Policy::new(vec![with("", "p")]).unwrap();
    let beside = Policy::new(vec![with(rest, "p")]).unwrap();
    let below = Policy::new(vec![document("q", rest), with("", "p")]).unwrap();
    for policy in [&alone, &beside, &below] {
        let verdict = |to| approved(policy, &["new.example.org"], to);
        let new = || Destination {
            address: Some("8.8.8.8".parse().unwrap()),
            ..Destination::connection(Scheme::Http, "new.example.org", 80)
        };
        assert!(verdict(new()) <= Warn);
        assert_eq!(verdict(asks("GET", new())), Review);
        assert_eq!(verdict(asks("DELETE", new())), Review);
    }
}

/// The rules because of which a connection may not pass unseen.
fn about_requests(policy: &Policy, to: Destination) -> Vec<String> {
    let request = cases::request(What::Net(to));
    let rules = aegis_policy::decide::about_requests(policy, &request);
    rules.iter().map(|rule| rule.to_string()).collect()
}

#[test]
fn a_connection_passes_unseen_where_requests_are_let_through_as_it_is() {
    let to = |scheme, host| Destination::connection(scheme, host, 443);
    let at = |address: &str| Destination {
        address: Some(address.parse().unwrap()),
        ..to(Scheme::Https, "a.example")
    };
    let open = "{id: open, hosts: '*', verdict: warn}";
    for (rules, expected) in [
        // Requests are let through without it.
        (
            &[
                open,
                "{id: n, hosts: a.example, paths: /open/**, verdict: allow}",
            ][..],
            false,
        ),
        (
            &["{id: n, hosts: a.example, methods: GET, verdict: allow}"],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, methods: POST, verdict: block}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, methods: POST, verdict: review}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, methods: POST, verdict: warn}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, budget: {requests: 9/m}, verdict: allow}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: 93.184.1.2, methods: POST, verdict: block}",
            ],
            true,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, methods: POST, verdict: block, mode: warn}",
            ],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: b.example, methods: POST, verdict: block}",
            ],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, schemes: http, methods: POST, verdict: block}",
            ],
            false,
        ),
        (
            &[
                open,
                "{id: n, hosts: a.example, ports: 80, methods: POST, verdict: block}",
            ],
            false,
        ),
        (&[open], false),
    ] {
        let policy = policy(&format!("network-egress: [{}]", rules.join(", ")));
        let expected: &[&str] = if expected { &["n"] } else { &[] };
        assert_eq!(
            about_requests(&policy, at("93.184.1.2")),
            expected,
            "{rules:?}"
        );
    }
    // Over TCP anything may be said; but no rule opens a connection of it that is about requests alone.
    let tcp = to(Scheme::Tcp, "a.example");
    for (rule, expected) in [
        (
            "{id: n, hosts: a.example, methods: POST, verdict: block}",
            &["n"][..],
        ),
        (
            "{id: n, hosts: a.example, paths: /x, verdict: review}",
            &["n"],
        ),
        (
            "{id: n, hosts: a.example, schemes: [http, https], paths: /x, verdict: block}",
            &[],
        ),
    ] {
        let policy = policy(&format!("network-egress: [{open}, {rule}]"));
        assert_eq!(about_requests(&policy, tcp.clone()), expected, "{rule}");
    }
    // Of several documents, each is asked.
    let narrow = "network-egress: [{id: n, hosts: a.example, methods: GET, verdict: allow}]";
    let documents = [&format!("network-egress: [{open}]"), narrow];
    let documents = documents.iter().zip(["one", "two"]);
    let documents = documents.map(|(rules, name)| cases::document(name, rules));
    let policy = Policy::new(documents.collect()).unwrap();
    assert_eq!(
        about_requests(&policy, to(Scheme::Https, "a.example")),
        ["two/n"]
    );
}
