//! Verdicts, case by case: destinations, requests, addresses, budgets, secrets.

use crate::support::cases;

use aegis_policy::model::Inject::{Header, Query};
use aegis_policy::model::Scheme;
use aegis_policy::model::Verdict::{Allow, Block, Review, Warn};
use aegis_policy::request::Destination;
use aegis_policy::{What, load};
use cases::{asked, connect, connect_at, http, policy, secret, table, to};

#[test]
fn a_host_is_that_host_and_a_star_is_all_below_a_name() {
    let policy = policy(
        "network-egress:
          - {id: api, hosts: [api.example.org], verdict: allow}
          - {id: cdn, hosts: ['*.cdn.example.org'], verdict: allow}
          - {id: bad, hosts: [bad.cdn.example.org], verdict: block}",
    );
    table(
        &policy,
        [
            (connect("api.example.org"), Allow, &["api"]),
            (connect("x.api.example.org"), Block, &[]),
            (connect("xapi.example.org"), Block, &[]),
            (connect("example.org"), Block, &[]),
            (connect("a.cdn.example.org"), Allow, &["cdn"]),
            (connect("a.b.cdn.example.org"), Allow, &["cdn"]),
            (connect("cdn.example.org"), Block, &[]),
            (connect("bad.cdn.example.org"), Block, &["bad", "cdn"]),
            // A profile may ask for all below a name.
            (connect("*.x.cdn.example.org"), Allow, &["cdn"]),
            (connect("*.cdn.example.org"), Block, &["bad", "cdn"]),
            (connect("*.example.org"), Block, &["bad"]),
        ],
    );
}

#[test]
fn a_host_in_a_second_spelling_is_blocked_by_any_policy() {
    let policy = policy("network-egress: [{id: all, hosts: ['*'], verdict: warn}]");
    for host in [
        "API.example.org",
        "api.example.org.",
        "bücher.example",
        "api..example.org",
        "",
        "*",
        "a.*.example.org",
        "-a.example.org",
        "user@example.org",
        "example.org/x",
        "example.org:443",
        // 127.0.0.1, to resolvers that follow inet_aton.
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        // Addresses.
        "[2606:4700::1111]",
        "2606:4700:0::1111",
        "2606:4700::1111%eth0",
        "2606:4700::AAAA",
        "::ffff:8.8.8.8",
        "::ffff:808:808",
    ] {
        let said = asked(&policy, connect(host));
        assert_eq!((said.verdict, said.rules.len()), (Block, 0), "{host}");
    }
    for host in ["xn--bcher-kva.example", "8.8.8.8", "2606:4700::1111"] {
        assert_eq!(asked(&policy, connect(host)).verdict, Warn, "{host}");
    }
}

#[test]
fn an_address_that_is_not_public_needs_a_rule_that_says_so() {
    let policy = policy(
        "network-egress:
          - {id: api, hosts: [api.example.org, '*.internal.example.org', 10.0.0.7, 'fd00::7'], verdict: allow}
          - {id: inside, hosts: [db.internal.example.org, 10.0.0.8], private-addresses: true, verdict: allow}
          - {id: tried, hosts: [api.example.org], private-addresses: true, verdict: allow, mode: warn}",
    );
    table(
        &policy,
        [
            (
                connect_at("api.example.org", "93.184.215.14"),
                Allow,
                &["api", "tried"],
            ),
            // The name resolves to the host's own network, or the cloud's metadata service.
            (
                connect_at("api.example.org", "127.0.0.1"),
                Block,
                &["tried"],
            ),
            (
                connect_at("api.example.org", "169.254.169.254"),
                Block,
                &["tried"],
            ),
            (connect_at("api.example.org", "::1"), Block, &["tried"]),
            (
                connect_at("api.example.org", "::ffff:10.0.0.1"),
                Block,
                &["tried"],
            ),
            (
                connect_at("api.example.org", "64:ff9b::a00:1"),
                Block,
                &["tried"],
            ),
            (connect_at("a.internal.example.org", "10.0.0.1"), Block, &[]),
            (
                connect_at("db.internal.example.org", "10.0.0.1"),
                Allow,
                &["inside"],
            ),
            // Asked for by address.
            (connect("10.0.0.7"), Block, &[]),
            (connect("fd00::7"), Block, &[]),
            (connect("10.0.0.8"), Allow, &["inside"]),
            // The address connected to is not the one named.
            (connect_at("10.0.0.7", "93.184.215.14"), Block, &[]),
        ],
    );
    assert_eq!(
        &*asked(&policy, connect("10.0.0.7")).reason,
        "it stands for an address that is not public, and no rule that covers it has `private-addresses`"
    );
}

#[test]
fn what_is_said_against_an_address_holds_for_names_that_stand_for_it() {
    let policy = policy(
        "network-egress:
          - {id: org, hosts: ['*.example.org'], verdict: allow}
          - {id: bad, hosts: [198.51.99.7, '2606:4700::7'], verdict: block}
          - {id: good, hosts: [198.51.99.8], verdict: allow}",
    );
    table(
        &policy,
        [
            (connect_at("a.example.org", "198.51.99.6"), Allow, &["org"]),
            (
                connect_at("a.example.org", "198.51.99.7"),
                Block,
                &["bad", "org"],
            ),
            (
                connect_at("a.example.org", "::ffff:198.51.99.7"),
                Block,
                &["bad", "org"],
            ),
            (
                connect_at("a.example.org", "2606:4700::7"),
                Block,
                &["bad", "org"],
            ),
            // But a rule that allows an address does not allow names for it.
            (connect_at("a.example.com", "198.51.99.8"), Block, &[]),
            (connect("198.51.99.8"), Allow, &["good"]),
        ],
    );
}

/// NAT64 and 6to4 lead to IPv4 addresses: by a name that stands for them, and as the host itself.
#[test]
fn an_ipv4_address_within_an_ipv6_address_is_that_address() {
    let policy = policy(
        "network-egress:
          - {id: org, hosts: ['*.example.org'], verdict: allow}
          - {id: any, hosts: ['*'], verdict: warn}
          - {id: bad, hosts: [198.51.99.7], verdict: block}
          - {id: good, hosts: [198.51.99.8], verdict: allow}
          - {id: six, hosts: ['64:ff9b::c633:6307'], verdict: allow}",
    );
    table(
        &policy,
        [
            (
                connect_at("a.example.org", "64:ff9b::c633:6307"),
                Block,
                &["any", "bad", "org"],
            ),
            (
                connect_at("a.example.org", "2002:c633:6307::1"),
                Block,
                &["any", "bad", "org"],
            ),
            (connect("64:ff9b::c633:6307"), Block, &["any", "bad", "six"]),
            (connect("2002:c633:6307::1"), Block, &["any", "bad"]),
            (
                http("GET", "64:ff9b::c633:6307", "/"),
                Block,
                &["any", "bad", "six"],
            ),
            // What is said for an address is not said for another spelling, nor against other addresses.
            (connect("64:ff9b::c633:6308"), Warn, &["any"]),
            (connect("64:ff9b::c633:6309"), Warn, &["any"]),
        ],
    );
}

#[test]
fn a_connection_is_opened_for_the_requests_that_may_come_on_it() {
    let policy = policy(
        "network-egress:
          - {id: read, hosts: [api.example.org], methods: [GET], paths: [/v1/**], verdict: allow}
          - {id: post, hosts: [api.example.org], methods: [POST], verdict: review}
          - {id: drop, hosts: [api.example.org], methods: [DELETE], verdict: block}
          - {id: only-drop, hosts: [old.example.org], methods: [DELETE], verdict: block}
          - {id: tried, hosts: [new.example.org], methods: [GET], verdict: allow, mode: warn}
          - {id: ssh, hosts: [git.example.org], schemes: [tcp], ports: [22], verdict: allow}",
    );
    let tcp = |host: &str, port| {
        What::Net(Destination {
            port,
            scheme: Scheme::Tcp,
            ..to(host)
        })
    };
    table(
        &policy,
        [
            (connect("api.example.org"), Allow, &["post", "read"]),
            (http("GET", "api.example.org", "/v1/a"), Allow, &["read"]),
            (http("GET", "api.example.org", "/v2/a"), Block, &[]),
            (http("POST", "api.example.org", "/v1/a"), Review, &["post"]),
            (http("DELETE", "api.example.org", "/v1/a"), Block, &["drop"]),
            (http("PUT", "api.example.org", "/v1/a"), Block, &[]),
            (connect("old.example.org"), Block, &[]),
            (connect("new.example.org"), Block, &[]),
            // A stream of bytes has no requests.
            (tcp("api.example.org", 443), Block, &[]),
            (tcp("git.example.org", 22), Allow, &["ssh"]),
            (tcp("git.example.org", 23), Block, &[]),
            (connect("git.example.org"), Block, &[]),
        ],
    );
}

#[test]
fn a_path_that_servers_read_in_different_ways_is_in_no_pattern() {
    let policy = policy(
        "network-egress:
          - {id: api, hosts: [a.example.org], paths: [/v1/**], verdict: allow}
          - {id: all, hosts: [b.example.org], verdict: allow}
          - {id: admin, hosts: [b.example.org], paths: [/admin/**], verdict: block}",
    );
    for path in ["/v1/a", "/v1", "/v1/a/b?next=/../x", "/v1/a/"] {
        assert_eq!(
            asked(&policy, http("GET", "a.example.org", path)).verdict,
            Allow,
            "{path}"
        );
    }
    for path in [
        "/v2/a",
        "/v1/../v2/a",
        "/v1/%2e%2e/v2",
        "/v1//a",
        "/v1/a;b",
        "/v1\\..\\v2",
        "v1/a",
        "",
        "*",
        "/v1/é",
        "/v1/a b",
        "/v1/./a",
        "/v1/#/../../v2",
        "http://c.example.org/v1/a",
    ] {
        assert_eq!(
            asked(&policy, http("GET", "a.example.org", path)).verdict,
            Block,
            "{path}"
        );
    }
    // It may be any path: a rule against one path applies to it.
    for path in [
        "/admin/x",
        "/x/../admin",
        "/%61dmin",
        "//admin",
        "/x;/../admin",
        "/#/../admin",
    ] {
        assert_eq!(
            asked(&policy, http("GET", "b.example.org", path)).verdict,
            Block,
            "{path}"
        );
    }
    assert_eq!(
        asked(&policy, http("GET", "b.example.org", "/x")).verdict,
        Allow
    );
    // A method without a path may have any path.
    let untold = What::Net(Destination {
        method: Some("GET".into()),
        ..to("b.example.org")
    });
    assert_eq!(asked(&policy, untold).verdict, Block);
}

#[test]
fn a_method_in_a_second_spelling_is_blocked_by_any_policy() {
    let policy = policy(
        "network-egress:
          - {id: all, hosts: [a.example.org], verdict: allow}
          - {id: drop, hosts: [a.example.org], methods: [DELETE], verdict: block}",
    );
    for method in [
        "delete",
        "Delete",
        "DELETE ",
        "DE LETE",
        "",
        "DELETE\r\nX: y",
    ] {
        assert_eq!(
            asked(&policy, http(method, "a.example.org", "/")).verdict,
            Block,
            "{method:?}"
        );
    }
    assert_eq!(
        asked(&policy, http("PURGE", "a.example.org", "/")).verdict,
        Allow
    );
    let on_bytes = What::Net(Destination {
        method: Some("GET".into()),
        scheme: Scheme::Tcp,
        ..to("a.example.org")
    });
    assert_eq!(asked(&policy, on_bytes).verdict, Block);
    let path_alone = What::Net(Destination {
        path: Some("/".into()),
        ..to("a.example.org")
    });
    assert_eq!(asked(&policy, path_alone).verdict, Block);
}

#[test]
fn what_is_over_a_budget_or_does_not_tell_is_blocked() {
    let policy = policy(
        "network-egress:
          - id: api
            hosts: [a.example.org]
            budget: {requests: 3/m, request-size: 1K, response-size: 1K}
            verdict: allow
          - {id: tried, hosts: [b.example.org], budget: {request-size: 1K}, verdict: allow, mode: warn}
          - {id: b, hosts: [b.example.org], verdict: allow}",
    );
    let request = |host: &str, size, rate, response| {
        What::Net(Destination {
            method: Some("GET".into()),
            path: Some("/".into()),
            request_size: size,
            requests_last_minute: rate,
            response_size: response,
            ..to(host)
        })
    };
    let a = |size, rate, response| request("a.example.org", size, rate, response);
    let tcp = What::Net(Destination {
        scheme: Scheme::Tcp,
        ..to("a.example.org")
    });
    table(
        &policy,
        [
            (a(Some(1024), Some(2), None), Allow, &["api"]),
            (a(Some(1024), Some(2), Some(1024)), Allow, &["api"]),
            (a(Some(1025), Some(2), None), Block, &["api"]),
            (a(Some(1024), Some(3), None), Block, &["api"]),
            (a(Some(1024), Some(2), Some(1025)), Block, &["api"]),
            (a(None, Some(2), None), Block, &["api"]),
            (a(Some(1024), None, None), Block, &["api"]),
            // The connection is opened, and each request on it counts against the budget.
            (connect("a.example.org"), Allow, &["api"]),
            // A connection without requests cannot count.
            (tcp, Block, &[]),
            (
                request("b.example.org", Some(9999), None, None),
                Warn,
                &["b", "tried"],
            ),
            (
                request("b.example.org", Some(9), None, None),
                Allow,
                &["b", "tried"],
            ),
        ],
    );
    assert_eq!(
        &*asked(&policy, a(None, None, None)).reason,
        "blocked by rule `api`: its budget is used up"
    );
}

#[test]
fn a_secret_goes_to_its_hosts_and_places_only() {
    let policy = policy(
        "secrets-boundary:
          - {id: gh, alias: github, to: [api.github.com], inject: [header], verdict: allow}
          - {id: ci, alias: 'ci-*', to: ['*.example.org'], inject: [header, query], verdict: review}
          - {id: old, alias: ci-old, to: [old.example.org], inject: [header, query], verdict: block}",
    );
    table(
        &policy,
        [
            (
                secret("github", "api.github.com", Some(Header)),
                Allow,
                &["gh"],
            ),
            (secret("github", "api.github.com", None), Allow, &["gh"]),
            (secret("github", "api.github.com", Some(Query)), Block, &[]),
            (
                secret("github", "evil.example.org", Some(Header)),
                Block,
                &[],
            ),
            (secret("gitlab", "api.github.com", Some(Header)), Block, &[]),
            (
                secret("ci-1", "a.example.org", Some(Query)),
                Review,
                &["ci"],
            ),
            (
                secret("ci-old", "old.example.org", Some(Query)),
                Block,
                &["ci", "old"],
            ),
            (
                secret("ci-old", "*.example.org", Some(Query)),
                Block,
                &["ci", "old"],
            ),
            (secret("ci-1", "*.org", None), Block, &["ci"]),
            (secret("ci-1", "A.example.org", None), Block, &[]),
        ],
    );
}

#[test]
fn a_pattern_that_could_never_do_what_it_seems_to_is_no_pattern() {
    let refused = |rules: &str| {
        let text = format!("aegis-policy: 1\nname: p\n{rules}");
        match load::parse_str(&text, "p.yaml") {
            Ok(document) => aegis_policy::Policy::new(vec![document]).is_err(),
            Err(_) => true,
        }
    };
    for host in [
        "*",
        "*.",
        "a.*.org",
        "::ffff:1.2.3.4",
        "API.example.org",
        "127.1",
    ] {
        let rule = format!("network-egress: [{{id: a, hosts: ['{host}'], verdict: allow}}]");
        assert!(refused(&rule), "{host}");
    }
    for path in ["v1", "/a%2f", "/a;b", "/a#b", "/a//b", "/../a", "/é"] {
        let rule = format!(
            "network-egress: [{{id: a, hosts: [a.org], paths: ['{path}'], verdict: allow}}]"
        );
        assert!(refused(&rule), "{path}");
    }
    for path in [
        "/a/../b", "/a/b**", "relative", "$TMP/x", "$OTHER/x", "/a/", "/a?", "/[ab]",
    ] {
        let rule =
            format!("capabilities: [{{id: a, on: files.read, match: ['{path}'], verdict: allow}}]");
        assert!(refused(&rule), "{path}");
    }
    let long = "/a".repeat(61);
    assert!(refused(&format!(
        "capabilities: [{{id: a, on: files.read, match: ['{long}'], verdict: allow}}]"
    )));
}
