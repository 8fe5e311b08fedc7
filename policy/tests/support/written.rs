//! Policies as somebody might write them: mostly right, each part wrong now and then.

use proptest::prelude::*;
use proptest::sample::select;

/// A pattern, or what could be one.
fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[a-z.]{1,4}",
        2 => Just("**".to_owned()),
        2 => "[a-z]?\\*[a-z]?",
        1 => select(vec!["..", ".", "a?", "{a}", "[", "", "a**", "***"]).prop_map(str::to_owned),
    ];
    let path = (
        select(vec![
            "/", "/", "$WORK/", "$HOME/", "$SKILL/", "$WORK", "$X/", "",
        ]),
        prop::collection::vec(part, 0..4),
    )
        .prop_map(|(base, parts)| format!("{base}{}", parts.join("/")));
    prop_oneof![
        4 => path,
        2 => "[a-z*]{1,5}",
        1 => "[1-9][0-9]{0,4}",
        1 => select(vec!["host", "git", "8000-8999", "LC_*", "sha256:ab"]).prop_map(str::to_owned),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_or_more(item: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    let items = prop_oneof![
        30 => prop::collection::vec(item, 1..4).boxed(),
        1 => Just(Vec::new()).boxed(),
    ];
    items.prop_map(|items| match items.as_slice() {
        [only] => only.clone(),
        items => format!("[{}]", items.join(", ")),
    })
}

fn action() -> impl Strategy<Value = String> {
    select(vec![
        "anomaly",
        "files.read",
        "files.read",
        "files.write",
        "shell.exec",
        "net.listen",
        "net.host",
        "devices",
        "environment.pass",
        "sockets",
        "syscalls.allow",
        "tool.exec",
        "files.raed",
    ])
    .prop_map(str::to_owned)
}

/// The keys that rules of every contract have; often enough one is missing or wrong.
fn common() -> impl Strategy<Value = Vec<String>> {
    let verdict = prop_oneof![
        20 => select(vec!["allow", "warn", "review", "block"]),
        1 => Just("alow"),
    ];
    let more = prop_oneof![
        8 => Just(""),
        6 => select(vec!["mode: warn", "otherwise: true", "reason: because"]),
        1 => select(vec!["mode: off", "reason: \"\"", "x: 1"]),
    ];
    (verdict, more, prop::bool::weighted(0.03)).prop_map(|(verdict, more, missing)| {
        let mut keys = vec![more.to_owned()];
        if !missing {
            keys.push(format!("verdict: {verdict}"));
        }
        keys.retain(|key| !key.is_empty());
        keys
    })
}

/// Actions, and patterns of the kind that they have.
fn fitting() -> impl Strategy<Value = (String, String)> {
    let of = |actions: &[&'static str], patterns: &'static str| {
        let actions = select(actions.to_vec()).prop_map(str::to_owned);
        let pattern = patterns.prop_map(|text| quoted(&text));
        (one_or_more(actions), one_or_more(pattern))
    };
    prop_oneof![
        of(
            &["files.read", "files.write", "shell.exec"],
            "(/|\\$WORK/|\\$HOME/)[a-z]{1,3}\\*?(/\\*\\*)?"
        ),
        of(
            &["shell.exec", "devices", "environment.pass"],
            "[a-z_]{1,5}\\*?"
        ),
        of(&["net.listen"], "[1-9][0-9]{0,3}(-9999)?"),
    ]
}

fn capability() -> impl Strategy<Value = Vec<String>> {
    let patterns = one_or_more(pattern().prop_map(|text| match text.parse::<u32>() {
        Ok(_) => text,
        Err(_) => quoted(&text),
    }));
    let about = prop_oneof![
        6 => fitting(),
        1 => (one_or_more(action()), patterns),
    ];
    (about, common()).prop_map(|((on, patterns), mut keys)| {
        keys.extend([format!("on: {on}"), format!("match: {patterns}")]);
        keys
    })
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => "(\\*\\.)?[a-z0-9]{1,3}\\.[a-z]{1,3}",
        2 => "(\\*\\.)?[a-z0-9]{1,3}(\\.[a-z0-9-]{1,3}){0,2}",
        1 => select(vec!["*", "10.0.0.1", "::1", "A.org", "a.org.", "*.127.0.0.1", "127.1"]).prop_map(str::to_owned),
    ]
    .prop_map(|host| quoted(&host))
}

fn egress() -> impl Strategy<Value = Vec<String>> {
    let methods = one_or_more(
        select(vec!["GET", "POST", "PUT", "M-SEARCH", "HEAD", "get"]).prop_map(str::to_owned),
    );
    let ports = one_or_more(
        select(vec!["443", "80", "1", "65535", "8080", "0", "\"443\""]).prop_map(str::to_owned),
    );
    let path = prop_oneof![4 => "/[a-z]{0,3}(/\\*\\*)?", 1 => pattern()];
    let paths = one_or_more(path.prop_map(|text| quoted(&text)));
    let budget = select(vec![
        "{requests: 6/m}",
        "{request-size: 1M}",
        "{}",
        "{requests: 6}",
    ]);
    (
        one_or_more(host()),
        prop::option::weighted(0.3, methods),
        prop::option::weighted(0.3, ports),
        prop::option::weighted(0.3, paths),
        prop::option::weighted(0.2, budget),
        common(),
    )
        .prop_map(|(hosts, methods, ports, paths, budget, mut keys)| {
            keys.push(format!("hosts: {hosts}"));
            keys.extend(methods.map(|methods| format!("methods: {methods}")));
            keys.extend(ports.map(|ports| format!("ports: {ports}")));
            keys.extend(paths.map(|paths| format!("paths: {paths}")));
            keys.extend(budget.map(|budget| format!("budget: {budget}")));
            keys
        })
}

fn secret() -> impl Strategy<Value = Vec<String>> {
    let inject = one_or_more(
        select(vec![
            "header", "query", "header", "query", "header", "query", "env",
        ])
        .prop_map(str::to_owned),
    );
    let alias = select(vec!["github", "\"g*\"", "a.b", "x", "y", "z", "\"\""]);
    (alias, one_or_more(host()), inject, common()).prop_map(|(alias, to, inject, mut keys)| {
        keys.extend([
            format!("alias: {alias}"),
            format!("to: {to}"),
            format!("inject: {inject}"),
        ]);
        keys
    })
}

/// Rules of a contract, each with an id of its own.
fn section(
    name: &'static str,
    rules: impl Strategy<Value = Vec<String>>,
) -> impl Strategy<Value = String> {
    prop::collection::vec(rules, 0..3).prop_map(move |rules| {
        let mut text = format!("{name}:");
        if rules.is_empty() {
            text.push_str(" []");
        }
        for (n, keys) in rules.iter().enumerate() {
            text.push_str(&format!(
                "\n  - {{id: {}{n}, {}}}",
                &name[..1],
                keys.join(", ")
            ));
        }
        text
    })
}

/// A whole file.
pub fn policy() -> impl Strategy<Value = String> {
    (
        section("capabilities", capability()),
        section("network-egress", egress()),
        section("secrets-boundary", secret()),
    )
        .prop_map(|(a, b, c)| format!("aegis-policy: 1\n{a}\n{b}\n{c}\n"))
}
