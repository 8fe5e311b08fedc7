//! What a decision costs: `cargo bench -p aegis-policy --bench decide`.
//!
//! One JSON line for each kind: nanoseconds for one call of `decide`, the hash of the request included. The
//! policy has 1,000 rules; a run as a whole, with 150 grants, is asked of the template `standard`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::hint::black_box;
use std::time::Instant;

use aegis_policy::model::{Action, CapabilityRule, EgressRule, Mode, Scheme};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Document, Hash, Policy, Request, Verdict, What, decide, templates};

/// Calls whose mean is one sample, and samples whose median counts.
const CALLS: u32 = 200;
const SAMPLES: usize = 501;

fn main() {
    let thousand = Policy::new(vec![thousand()]).expect("the rules are well-formed");
    let rules = |d: &std::sync::Arc<Document>| d.capabilities.len() + d.network_egress.len();
    assert_eq!(thousand.documents().iter().map(rules).sum::<usize>(), 1000);
    let standard = templates::find("standard").expect("it is built in");
    let standard = Policy::new(vec![standard.document()]).expect("it is well-formed");

    let mut cases: Vec<_> = requests()
        .into_iter()
        .map(|(name, expected, what)| Case::new(name, &thousand, expected, what))
        .collect();
    let run = Case::new("tool.exec, 150 grants", &standard, Verdict::Allow, run());
    cases.push(run);
    // In turns, so that other load on the host affects all alike.
    for _ in 0..SAMPLES {
        cases.iter_mut().for_each(Case::sample);
    }
    cases.into_iter().for_each(Case::tell);
}

/// A request, and the time of its decisions.
struct Case<'a> {
    name: &'a str,
    policy: &'a Policy,
    request: Request,
    rules_that_spoke: usize,
    samples: Vec<u128>,
}

impl<'a> Case<'a> {
    fn new(name: &'a str, policy: &'a Policy, expected: Verdict, what: What) -> Self {
        let request = Request {
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
        };
        let decision = decide(policy, &request);
        assert_eq!(decision.verdict, expected, "{name}: {}", decision.reason);
        Self {
            name,
            policy,
            request,
            rules_that_spoke: decision.rules.len(),
            samples: Vec::with_capacity(SAMPLES),
        }
    }

    fn sample(&mut self) {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(decide(black_box(self.policy), black_box(&self.request)));
        }
        let each = start.elapsed().as_nanos() / u128::from(CALLS);
        self.samples.push(each);
    }

    fn tell(mut self) {
        self.samples.sort_unstable();
        let line = serde_json::json!({
            "name": format!("decide: {}", self.name),
            "ns_median": u64::try_from(self.samples[SAMPLES / 2]).unwrap_or(u64::MAX),
            "ns_p99": u64::try_from(self.samples[SAMPLES * 99 / 100]).unwrap_or(u64::MAX),
            "rules_that_spoke": self.rules_that_spoke,
        });
        println!("{line}");
    }
}

/// Directories, globs, endings, names of programs, hosts. All rules about endings apply to a tree, which may
/// hold such files: the cost of such a decision is the list of their names.
fn thousand() -> Document {
    use Verdict::{Allow, Block, Review};
    let mut capabilities = Vec::new();
    let mut add = |on: Action, number: usize, verdict, pattern: &dyn Fn(usize) -> String| {
        for n in 0..number {
            capabilities.push(CapabilityRule {
                id: format!("r{}", capabilities.len()),
                matches: [pattern(n)].into(),
                mode: Mode::Enforce,
                on: [on].into(),
                otherwise: false,
                reason: None,
                verdict,
            });
        }
    };
    let read = Action::FilesRead;
    add(read, 230, Allow, &|n| format!("$WORK/part{n}/**"));
    add(read, 100, Allow, &|n| format!("/srv/data{n}/*"));
    add(read, 50, Allow, &|n| format!("/usr/share/app{n}/*/lib*.so"));
    add(read, 40, Block, &|n| format!("$HOME/.secret{n}/**"));
    add(read, 16, Block, &|n| format!("/**/*.key{n}"));
    add(read, 4, Review, &|n| format!("/**/private{n}/**"));
    add(Action::FilesWrite, 100, Allow, &|n| {
        format!("$WORK/out{n}/**")
    });
    add(Action::ShellExec, 150, Allow, &|n| format!("tool{n}"));
    add(Action::ShellExec, 30, Allow, &|n| format!("python3.{n}*"));
    add(Action::ShellExec, 30, Block, &|n| {
        format!("/opt/vendor{n}/**")
    });
    let network_egress = (0..250).map(|n| EgressRule {
        budget: Default::default(),
        hosts: [match n % 2 {
            0 => format!("api{n}.example.org"),
            _ => format!("*.region{n}.example.net"),
        }]
        .into(),
        id: format!("n{n}"),
        methods: ["GET".to_owned()].into(),
        mode: Mode::Enforce,
        otherwise: false,
        paths: ["/v1/**".to_owned()].into(),
        ports: [443].into(),
        private_addresses: false,
        reason: None,
        schemes: [Scheme::Https].into(),
        verdict: Allow,
    });
    Document {
        network_egress: network_egress.collect(),
        capabilities,
        name: "thousand".into(),
        ..Document::default()
    }
}

fn requests() -> Vec<(&'static str, Verdict, What)> {
    use Verdict::{Allow, Block};
    let read = |path: &str, tree| What::Read {
        except: Vec::new(),
        path: path.into(),
        tree,
    };
    let net = |host: &str| {
        What::Net(Destination {
            address: "93.184.215.14".parse().ok(),
            host: host.into(),
            method: Some("GET".into()),
            path: Some("/v1/things/17?sort=name".into()),
            port: 443,
            request_size: Some(312),
            requests_last_minute: Some(3),
            response_size: None,
            scheme: Scheme::Https,
        })
    };
    let exec = |name: &str| What::Exec {
        except: Vec::new(),
        name: Some(name.into()),
        path: format!("/usr/bin/{name}").as_str().into(),
        tree: false,
    };
    let work = "/home/ana/work/2026";
    vec![
        (
            "file, allowed",
            Allow,
            read(&format!("{work}/part17/january/sales.csv"), false),
        ),
        (
            "file, no rule",
            Block,
            read("/var/lib/other/january/sales.csv", false),
        ),
        (
            "file, blocked by its ending",
            Block,
            read(&format!("{work}/part17/a/server.key7"), false),
        ),
        ("tree", Block, read(&format!("{work}/part17"), true)),
        ("tree, all of $HOME", Block, read("/home/ana", true)),
        ("program by name", Allow, exec("tool99")),
        ("program, no rule", Block, exec("curl")),
        ("request to a host", Allow, net("api42.example.org")),
        (
            "request to a host below",
            Allow,
            net("eu.region43.example.net"),
        ),
        ("request, no rule", Block, net("evil.example.com")),
    ]
}

/// The grants of a profile with an interpreter.
fn run() -> What {
    let mut grants = Vec::new();
    for n in 0..90 {
        grants.push(What::Read {
            except: Vec::new(),
            path: format!("/usr/lib/python3/dist-packages/package{n}")
                .as_str()
                .into(),
            tree: true,
        });
    }
    for n in 0..50 {
        grants.push(What::Exec {
            except: Vec::new(),
            name: Some(format!("tool{n}")),
            path: format!("/usr/bin/tool{n}").as_str().into(),
            tree: false,
        });
    }
    for limit in ["time", "memory", "pids", "cpu", "files"] {
        grants.push(What::Limit {
            limit: limit.into(),
            value: Some(1024),
        });
    }
    for name in ["LANG", "LC_ALL", "TERM", "TZ", "LANGUAGE"] {
        grants.push(What::Environment { name: name.into() });
    }
    What::Tool {
        command: vec!["python3".into(), "report.py".into()],
        grants,
    }
}
