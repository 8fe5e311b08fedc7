//! A million decisions, made in two processes that have nothing in common but policy and requests: other
//! order, other environment, locale, time zone and directory. Every byte is the same.

use std::process::{Command, Stdio};

use aegis_policy::model::{Document, RegoModule, Scheme, Verdict};
use aegis_policy::request::{Approval, Destination};
use aegis_policy::{Context, Hash, Policy, Request, What, decide, templates};

const REQUESTS: u64 = 1_000_000;
const REGO: &str = r#"
package aegis

allow contains "port" if {
	input.what.action == "net.listen"
	input.what.port > 6000
}

review contains {"id": "org", "reason": "it is an organisation"} if {
	input.what.action == "net.outbound"
	endswith(input.what.host, ".org")
}

block contains "run" if {
	input.what.action == "tool.exec"
	some grant in input.what.grants
	grant.action == "secrets.use"
}
"#;
/// The environment variable of a process that only decides: the order of its decisions.
const ORDER: &str = "AEGIS_TEST_ORDER";

/// Not a test: the next one starts it.
#[test]
#[ignore = "started by others"]
fn child_that_decides() {
    let order = std::env::var(ORDER).expect("started by another test");
    // Odd, so that it reaches every number below the power of two.
    let step: u64 = order.parse().unwrap();
    println!("digest={} {:?}", digest(step), seen(step));
}

#[test]
fn a_million_decisions_are_the_same_in_every_process() {
    let start = |order: &str, surroundings: &[(&str, &str)], directory: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "determinism::child_that_decides",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env_clear()
            .envs(surroundings.iter().copied())
            .env(ORDER, order)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let one = [("LANG", "C"), ("TZ", "UTC"), ("HOME", "/root")];
    let other = [
        ("HOME", "/nowhere"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("TZ", "Pacific/Apia"),
        ("PATH", "/nowhere"),
        ("USER", "somebody"),
    ];
    let children = [start("1", &one, "/"), start("618033", &other, "/tmp")];
    let digests = children.map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find_map(|line| line.split_once("digest="));
        line.map(|(_, digest)| digest.to_owned()).unwrap()
    });
    assert_eq!(digests[0], digests[1]);
}

/// The digest of all decisions, in the order of their numbers, but made in another order.
fn digest(step: u64) -> Hash {
    let policies = policies();
    let mut hashes = vec![0; usize::try_from(REQUESTS).unwrap() * 32];
    in_order(step, |number| {
        let policy = of(&policies, number);
        let decision = serde_json::to_vec(&decide(policy, &request(number, policy))).unwrap();
        let at = usize::try_from(number).unwrap() * 32;
        hashes[at..at + 32].copy_from_slice(&Hash::of(&decision).0);
    });
    Hash::of(&hashes)
}

/// How often each verdict occurs: this is compared too, and each must occur.
fn seen(step: u64) -> [u64; 4] {
    let policies = policies();
    let mut seen = [0; 4];
    in_order(step, |number| {
        if number % 64 == 0 {
            let policy = of(&policies, number);
            let decision = decide(policy, &request(number, policy));
            let verdict = Verdict::ALL.iter().position(|v| *v == decision.verdict);
            seen[verdict.unwrap()] += 1;
        }
    });
    assert!(seen.iter().all(|times| *times > 100), "{seen:?}");
    seen
}

fn in_order(step: u64, mut of: impl FnMut(u64)) {
    let wheel = REQUESTS.next_power_of_two();
    for turn in 0..wheel {
        let number = turn.wrapping_mul(step) & (wheel - 1);
        if number < REQUESTS {
            of(number);
        }
    }
}

/// Rego takes a hundred times as long as the rest.
fn of(policies: &[Policy; 4], number: u64) -> &Policy {
    match number % 601 {
        0 => &policies[3],
        _ => &policies[(number % 3) as usize],
    }
}

fn policies() -> [Policy; 4] {
    let of = |name: &str| templates::find(name).unwrap().document();
    let own: Document = serde_json::from_value(serde_json::json!({
        "name": "own",
        "limits": {"memory": 4096, "pids": 64},
        "capabilities": [
            {"id": "all", "on": ["files.read", "files.write", "shell.exec"], "match": ["/**"], "verdict": "allow"},
            {"id": "ssh", "on": ["files.read", "files.write"], "match": ["$HOME/.ssh/**"], "verdict": "block"},
            {"id": "pem", "on": ["files.read"], "match": ["/**/*.pem"], "verdict": "review"},
            {"id": "out", "on": ["files.write"], "match": ["$WORK/**/out*/**"], "mode": "warn", "verdict": "block"},
            {"id": "names", "on": ["shell.exec", "environment.pass"], "match": ["a*", "*b"], "verdict": "warn"},
            {"id": "ports", "on": ["net.listen"], "match": ["1-4096"], "verdict": "allow"},
            {"id": "rest", "on": ["environment.pass"], "match": ["*"], "otherwise": true, "verdict": "review"}
        ],
        "network-egress": [
            {"id": "org", "hosts": ["*.example.org"], "paths": ["/a/**"], "methods": ["GET"], "verdict": "allow"},
            {"id": "one", "hosts": ["a.example.org", "8.8.8.8"], "budget": {"request-size": 2048}, "verdict": "warn"},
            {"id": "rest-of-all", "hosts": ["*"], "otherwise": true, "verdict": "review"}
        ],
        "secrets-boundary": [
            {"id": "gh", "alias": "a*", "to": ["*.example.org"], "inject": ["header"], "verdict": "allow"}
        ]
    }))
    .unwrap();
    let mut rego = own.clone();
    if cfg!(feature = "rego") {
        rego.rego.push(RegoModule {
            name: "extra.rego".into(),
            text: REGO.into(),
        });
    }
    let strict = vec![of("strict"), own.clone()];
    [vec![own], vec![of("standard")], strict, vec![rego]]
        .map(|documents| Policy::new(documents).unwrap())
}

/// A generator of numbers (splitmix64): the request is a function of its own number alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn of<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.roll(from.len() as u64) as usize]
    }

    fn chance(&mut self) -> bool {
        self.roll(2) == 0
    }

    fn path(&mut self) -> String {
        let mut path = self
            .of(&[
                "/home/ana",
                "/home/ana/work",
                "/usr",
                "/srv",
                "/home/ana/.ssh",
                "/usr/bin",
            ])
            .to_owned();
        for _ in 0..self.roll(4) {
            path.push('/');
            path.push_str(self.of(&[
                "a", "ab", "out", "out2", "key.pem", "İ", "lib", ".aws", "..",
            ]));
        }
        path
    }
}

fn request(number: u64, policy: &Policy) -> Request {
    let mut dice = Dice(number);
    let what = thing(&mut dice);
    let what = match dice.roll(32) {
        0 => What::Tool {
            command: vec!["a".into(), "--b".into()],
            grants: (0..dice.roll(5))
                .map(|_| thing(&mut dice))
                .chain([what])
                .collect(),
        },
        _ => what,
    };
    let context = Context {
        home: "/home/ana".into(),
        profile: dice.of(&["a", "b"]).into(),
        skill: dice.chance().then(|| "/home/ana/work/skill".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
        ..Context::default()
    };
    let approval = (dice.roll(8) == 0).then(|| Approval {
        at: number,
        command: what.command_hash(),
        expires: number + dice.roll(3),
        held_for: what.command_hash(),
        id: "approval".into(),
        policy: policy.hash(),
        profile_hash: context.profile_hash,
        skill: context.skill.clone(),
        what: what.hash(),
    });
    Request {
        approvals: approval.into_iter().collect(),
        context,
        what,
    }
}

fn thing(dice: &mut Dice) -> What {
    let path = dice.path().as_str().into();
    let tree = dice.chance();
    match dice.roll(9) {
        0..=1 => What::Read {
            except: Vec::new(),
            path,
            tree,
        },
        2 => What::Write {
            except: Vec::new(),
            path,
            tree,
        },
        3 => What::Exec {
            except: Vec::new(),
            name: dice
                .chance()
                .then(|| dice.of(&["a", "ab", "b", "git"]).into()),
            path,
            tree,
        },
        4 => What::Environment {
            name: dice.of(&["a", "xb", "LANG", "c"]).into(),
        },
        5 => What::Listen {
            port: dice.roll(8192) as u16,
        },
        6 => What::Limit {
            limit: dice.of(&["memory", "pids", "time"]).into(),
            value: dice.chance().then(|| dice.roll(8192)),
        },
        7 => What::Secret {
            alias: dice.of(&["ab", "b"]).into(),
            host: dice
                .of(&["a.example.org", "x.example.com", "*.example.org"])
                .into(),
            inject: None,
        },
        _ => {
            let request = dice.chance();
            What::Net(Destination {
                address: dice
                    .chance()
                    .then(|| dice.of(&["8.8.8.8", "10.0.0.1"]).parse().unwrap()),
                host: dice
                    .of(&[
                        "a.example.org",
                        "b.a.example.org",
                        "*.example.org",
                        "8.8.8.8",
                        "Example.org",
                    ])
                    .into(),
                method: request.then(|| dice.of(&["GET", "POST"]).into()),
                path: request.then(|| dice.of(&["/a/b", "/b", "/a/../b"]).into()),
                port: 443,
                request_size: dice.chance().then(|| dice.roll(4096)),
                requests_last_minute: None,
                response_size: None,
                scheme: Scheme::Https,
            })
        }
    }
}
