//! The cost of a decision with rules in Rego: `cargo bench -p aegis-policy --bench rego`.
//!
//! One JSON line for each kind of request, asked of a module of thirty lines; one for loading it; and one for
//! each of the most expensive things that a module can do before it is stopped.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::hint::black_box;
use std::time::Instant;

use aegis_policy::model::{Inject, RegoModule, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Document, Hash, Policy, Request, Verdict, What, decide};

/// Calls whose mean is one sample, and samples whose median counts.
const CALLS: u32 = 20;
const SAMPLES: usize = 501;

/// Thirty lines, as an operator may write them.
const MODULE: &str = r#"package aegis
import rego.v1

trusted := {"api.github.com", "api.example.org", "registry.npmjs.org"}
shells := {"sh", "bash", "zsh", "dash"}
is_net if input.what.action == "net.outbound"
is_exec if input.what.action == "shell.exec"
is_run if input.what.action == "tool.exec"

allow contains "trusted" if { is_net; input.what.host in trusted; input.what.port == 443 }
allow contains "programs" if { is_exec; startswith(input.what.path, "/usr/bin/") }
allow contains "tokens" if { input.what.action == "secrets.use"; input.what.host in trusted }

warn contains {"id": "plain", "reason": "the request is not encrypted"} if {
    is_net
    input.what.scheme == "http"
}
review contains {"id": "writes", "reason": sprintf("%s to %s", [input.what.method, input.what.host])} if {
    is_net
    input.what.method in {"POST", "PUT", "PATCH", "DELETE"}
}
review contains "shell" if { is_exec; input.what.name in shells }
block contains "late" if { is_net; regex.match(`(^|\.)(ngrok|localtunnel|serveo)\.`, input.what.host) }
block contains "metadata" if { is_net; net.cidr_contains("169.254.0.0/16", input.what.address) }
block contains {"id": "many-hosts", "reason": "a run needs few hosts"} if {
    is_run
    hosts := {grant.host | some grant in input.what.grants; grant.action == "net.outbound"}
    count(hosts) > 20
}
block contains "root" if { is_run; input.context.uid == 0 }
"#;

/// The slowest modules that load.
const DEAR: [(&str, &str); 7] = [
    (
        "counting",
        "x if { some a in input.what.command; some b in input.what.command; a == [b] }",
    ),
    (
        "union",
        "s := {c | some c in input.what.command}\nx if { some a in input.what.command; some b in input.what.command; count(s | {a, b}) == 0 }",
    ),
    (
        "intersection",
        "s := {c | some c in input.what.command}\nx if { some a in input.what.command; some b in input.what.command; count(s & s) == 0 }",
    ),
    (
        "comparison",
        "s := {c | some c in input.what.command}\nt := {c | some c in input.what.command}\nx if { some a in input.what.command; some b in input.what.command; s != t }",
    ),
    (
        "grants",
        "s := [g | some g in input.what.grants]\nt := [g | some g in input.what.grants]\nx if { some a in input.what.command; some b in input.what.command; s != t }",
    ),
    (
        "folding",
        "x if { some a in input.what.command; some b in input.what.command; lower(input.what.command[0]) == b }",
    ),
    (
        "pattern",
        "x if { some a in input.what.command; some b in input.what.command; regex.match(`^(\\w{1,50}\\s?){1,20}!$`, input.what.command[0]) }",
    ),
];

fn main() {
    assert_eq!(MODULE.lines().count(), 30);
    let policy = load(MODULE);
    for (name, expected, what) in requests() {
        measure(&policy, name, expected, what);
    }
    let start = Instant::now();
    for _ in 0..100 {
        black_box(load(black_box(MODULE)));
    }
    print("load, 30 lines", start.elapsed().as_nanos() / 100, 0);
    for (name, rules) in DEAR {
        let policy = load(&format!(
            "package aegis\nwarn contains \"w\" if x\n{rules}\n"
        ));
        let longest = |(words, text, grants)| {
            let request = request(run(words, text, grants));
            let start = Instant::now();
            black_box(decide(&policy, &request));
            start.elapsed().as_nanos()
        };
        let sizes = [
            (2_000, 4, 1),
            (100, 4, 1_000),
            (100, 500, 1),
            (50, 1_200, 1),
        ];
        let worst = sizes.into_iter().map(longest).max();
        print(&format!("dearest: {name}"), worst.unwrap_or_default(), 0);
    }
}

fn load(text: &str) -> Policy {
    let module = RegoModule {
        name: "bench.rego".into(),
        text: text.to_owned(),
    };
    let document = Document {
        rego: vec![module],
        ..Document::default()
    };
    Policy::new(vec![document]).unwrap_or_else(|error| panic!("{error}"))
}

fn request(what: What) -> Request {
    Request {
        approvals: Vec::new(),
        context: Context {
            aliases: Vec::new(),
            home: "/home/ana".into(),
            profile: "sales-report".into(),
            profile_hash: Hash::of(b"profile"),
            skill: Some("/home/ana/skills/sales-report".into()),
            uid: 1000,
            work: "/home/ana/work/2026".into(),
        },
        what,
    }
}

fn measure(policy: &Policy, name: &str, expected: Verdict, what: What) {
    let request = request(what);
    let decision = decide(policy, &request);
    assert_eq!(decision.verdict, expected, "{name}: {}", decision.reason);
    let mut samples: Vec<u128> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(decide(black_box(policy), black_box(&request)));
            }
            start.elapsed().as_nanos() / u128::from(CALLS)
        })
        .collect();
    samples.sort_unstable();
    print(name, samples[SAMPLES / 2], samples[SAMPLES * 99 / 100]);
}

fn print(name: &str, median: u128, p99: u128) {
    let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    let line = serde_json::json!({
        "name": format!("rego: {name}"),
        "ns_median": number(median),
        "ns_p99": number(p99.max(median)),
    });
    println!("{line}");
}

fn net(host: &str, method: Option<&str>) -> What {
    What::Net(Destination {
        address: Some([140, 82, 121, 6].into()),
        host: host.into(),
        method: method.map(Into::into),
        path: method.map(|_| "/repos/a/b".into()),
        port: 443,
        request_size: Some(100),
        requests_last_minute: Some(3),
        response_size: None,
        scheme: Scheme::Https,
    })
}

fn run(words: usize, text: usize, grants: usize) -> What {
    let word = |n: usize| format!("{}{n}", "w".repeat(text)).as_str().into();
    What::Tool {
        command: (0..words).map(word).collect(),
        grants: (0..grants)
            .map(|n| net(&format!("h{n}.example.org"), None))
            .collect(),
    }
}

fn requests() -> Vec<(&'static str, Verdict, What)> {
    let git = What::Exec {
        except: Vec::new(),
        name: Some("git".into()),
        path: "/usr/bin/git".into(),
        tree: false,
    };
    let token = What::Secret {
        alias: "github".into(),
        host: "api.github.com".into(),
        inject: Some(Inject::Header),
    };
    let small = What::Tool {
        command: vec!["git".into(), "pull".into()],
        grants: vec![git.clone(), net("api.github.com", None)],
    };
    vec![
        ("net.outbound", Verdict::Allow, net("api.github.com", None)),
        (
            "net.outbound, request",
            Verdict::Review,
            net("api.github.com", Some("POST")),
        ),
        (
            "net.outbound, blocked",
            Verdict::Block,
            net("a.ngrok.io", None),
        ),
        ("shell.exec", Verdict::Allow, git),
        ("secrets.use", Verdict::Allow, token),
        ("tool.exec, 2 grants", Verdict::Allow, small),
    ]
}
