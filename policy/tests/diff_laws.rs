//! Comparing policies finds every difference that a small request shows, and nothing else.

use std::sync::LazyLock;

use aegis_policy::compare::{contexts, diff};
use aegis_policy::model::{
    Action, Budget, CapabilityRule, Document, EgressRule, Inject, Mode, Scheme, SecretRule, Verdict,
};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Hash, Policy, Request, What, decide};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn policy(document: Document) -> Policy {
    Policy::new(vec![document]).expect("a policy")
}

// Small policies over a small alphabet, and every small request.

fn capability() -> impl Strategy<Value = CapabilityRule> {
    let component = || select(vec!["a", "b", "*", "a*", "*b", "**"]);
    let path = (
        select(vec!["", "$HOME", "$WORK", "$SKILL"]),
        prop::collection::vec(component(), 1..4),
    )
        .prop_map(|(base, parts)| format!("{base}/{}", parts.join("/")));
    let paths = prop::collection::btree_set(path, 1..3);
    let files = (
        subsequence(vec![Action::FilesRead, Action::FilesWrite], 1..=2),
        paths.clone(),
    );
    let names = prop::collection::btree_set(
        select(vec!["a", "b", "a*", "*b", "*a*", "ab"]).prop_map(ToOwned::to_owned),
        1..3,
    );
    let named = (
        subsequence(
            vec![
                Action::ShellExec,
                Action::Anomaly,
                Action::Devices,
                Action::EnvironmentPass,
                Action::Sockets,
                Action::ToolExec,
            ],
            1..=6,
        ),
        names,
    );
    let placed = (
        subsequence(vec![Action::ShellExec, Action::ToolExec], 1..=2),
        paths,
    );
    let ports = prop::collection::btree_set(
        select(vec!["1", "2-4", "3", "1-3"]).prop_map(ToOwned::to_owned),
        1..3,
    );
    let ports = (Just(vec![Action::NetListen]), ports);
    (
        prop_oneof![3 => files, 2 => named, 1 => placed, 1 => ports],
        select(Verdict::ALL.to_vec()),
        select(vec![Mode::Enforce, Mode::Enforce, Mode::Warn]),
        prop::bool::weighted(0.2),
    )
        .prop_map(|((on, matches), verdict, mode, otherwise)| CapabilityRule {
            id: String::new(),
            matches,
            mode,
            on: on.into_iter().collect(),
            otherwise,
            reason: None,
            verdict,
        })
}

fn egress() -> impl Strategy<Value = EgressRule> {
    let texts = |items: &[&str], sizes: std::ops::Range<usize>| {
        let items: Vec<String> = items.iter().map(|i| (*i).to_owned()).collect();
        prop::collection::btree_set(select(items), sizes)
    };
    (
        (
            texts(&["h.t", "*.t", "*.h.t", "u.t"], 1..3),
            texts(&["GET", "PUT"], 0..2),
            texts(&["/a/**", "/a", "/*"], 0..2),
            prop::collection::btree_set(1_u16..3, 0..2),
        ),
        subsequence(vec![Scheme::Https, Scheme::Tcp], 0..=1),
        select(Verdict::ALL.to_vec()),
        select(vec![Mode::Enforce, Mode::Enforce, Mode::Warn]),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::option::weighted(0.2, 1_u64..3),
    )
        .prop_map(
            |((hosts, methods, paths, ports), schemes, verdict, mode, otherwise, private, size)| {
                EgressRule {
                    budget: Budget {
                        request_size: size,
                        ..Budget::default()
                    },
                    hosts,
                    id: String::new(),
                    methods,
                    mode,
                    otherwise,
                    paths,
                    ports,
                    private_addresses: private,
                    reason: None,
                    schemes: schemes.into_iter().collect(),
                    verdict,
                }
            },
        )
}

fn secret() -> impl Strategy<Value = SecretRule> {
    (
        select(vec!["a", "a*", "*b"]),
        subsequence(vec![Inject::Header, Inject::Query], 1..=2),
        prop::collection::btree_set(
            select(vec!["h.t", "*.t", "*.h.t"]).prop_map(ToOwned::to_owned),
            1..3,
        ),
        select(Verdict::ALL.to_vec()),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(alias, inject, to, verdict, otherwise)| SecretRule {
            alias: alias.into(),
            id: String::new(),
            inject: inject.into_iter().collect(),
            mode: Mode::Enforce,
            otherwise,
            reason: None,
            to,
            verdict,
        })
}

fn document() -> impl Strategy<Value = Document> {
    (
        prop::collection::vec(capability(), 0..5),
        prop::collection::vec(egress(), 0..3),
        prop::collection::vec(secret(), 0..3),
        prop::collection::btree_map(
            select(vec!["pids", "memory"]).prop_map(ToOwned::to_owned),
            1_u64..4,
            0..2,
        ),
    )
        .prop_map(|(mut capabilities, mut egress, mut secrets, limits)| {
            for (n, rule) in capabilities.iter_mut().enumerate() {
                rule.id = format!("c{n}");
            }
            for (n, rule) in egress.iter_mut().enumerate() {
                rule.id = format!("n{n}");
            }
            for (n, rule) in secrets.iter_mut().enumerate() {
                rule.id = format!("s{n}");
            }
            Document {
                capabilities,
                limits,
                network_egress: egress,
                secrets_boundary: secrets,
                ..Document::default()
            }
        })
}

/// Policies that differ by a little: a document, and the same with some rules of another.
fn pair() -> impl Strategy<Value = (Document, Document)> {
    (document(), document(), any::<[bool; 4]>()).prop_map(|(a, b, take)| {
        let mut other = a.clone();
        if take[0] {
            other.capabilities = b.capabilities;
        }
        if take[1] {
            other.network_egress = b.network_egress;
        }
        if take[2] {
            other.secrets_boundary = b.secrets_boundary;
        }
        if take[3] {
            other.limits = b.limits;
        }
        if let (false, Some(rule)) = (take[0], other.capabilities.first_mut()) {
            rule.verdict = Verdict::Review;
        }
        (a, other)
    })
}

fn place() -> Context {
    Context {
        aliases: Vec::new(),
        home: "/a".into(),
        profile: "c".into(),
        profile_hash: Hash::default(),
        skill: Some("/a/b".into()),
        uid: 0,
        work: "/b".into(),
    }
}

fn every_request() -> Vec<Request> {
    let names = ["a", "b", "ab", "ba", "c"];
    let mut paths = vec![String::new()];
    for depth in 0..3 {
        let longest: Vec<String> = (paths.iter())
            .filter(|path| path.matches('/').count() == depth)
            .cloned()
            .collect();
        for path in longest {
            paths.extend(names.iter().map(|name| format!("{path}/{name}")));
        }
    }
    paths.extend(["/usr/bin/a", "/usr/bin/c", "/usr/bin", "/usr", "/bin/ab"].map(Into::into));
    paths[0] = "/".into();
    let mut whats = vec![What::NetHost {}];
    for path in &paths {
        let top = path.trim_end_matches('/');
        for hidden in [&["a"][..], &["b"], &["a", "b"], &["a/b", "ab"]] {
            let except = |hidden: &&str| format!("{top}/{hidden}").as_str().into();
            let except: Vec<_> = hidden.iter().map(except).collect();
            whats.push(What::Read {
                except: except.clone(),
                path: path.as_str().into(),
                tree: true,
            });
            whats.push(What::Exec {
                except,
                name: None,
                path: path.as_str().into(),
                tree: true,
            });
        }
        for tree in [false, true] {
            let path = path.as_str();
            whats.push(What::Read {
                except: Vec::new(),
                path: path.into(),
                tree,
            });
            whats.push(What::Write {
                except: Vec::new(),
                path: path.into(),
                tree,
            });
            whats.push(What::Exec {
                except: Vec::new(),
                name: None,
                path: path.into(),
                tree,
            });
        }
        for name in names {
            whats.push(What::Exec {
                except: Vec::new(),
                name: Some(name.into()),
                path: path.as_str().into(),
                tree: false,
            });
        }
    }
    for name in names {
        whats.push(What::Device {
            device: name.into(),
        });
        whats.push(What::Environment { name: name.into() });
        whats.push(What::Sockets { name: name.into() });
    }
    whats.extend((1..7).map(|port| What::Listen { port }));
    for limit in ["pids", "memory"] {
        for value in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
            whats.push(What::Limit {
                limit: limit.into(),
                value,
            });
        }
    }
    for host in [
        "h.t", "t", "x.t", "u.t", "x.h.t", "*.t", "*.h.t", "*.x.t", "other.u", "10.0.0.1",
    ] {
        for inject in [None, Some(Inject::Header), Some(Inject::Query)] {
            for alias in names {
                whats.push(What::Secret {
                    alias: alias.into(),
                    host: host.into(),
                    inject,
                });
            }
        }
        for scheme in [Scheme::Https, Scheme::Http, Scheme::Tcp] {
            for port in 1..4 {
                for private in [false, true] {
                    if private && port > 1 {
                        continue;
                    }
                    let to = |method: Option<&str>, path: Option<&str>, size| {
                        What::Net(Destination {
                            address: private.then(|| [127, 0, 0, 1].into()),
                            host: host.into(),
                            method: method.map(Into::into),
                            path: path.map(Into::into),
                            port,
                            request_size: size,
                            requests_last_minute: None,
                            response_size: None,
                            scheme,
                        })
                    };
                    whats.push(to(None, None, None));
                    if !scheme.has_requests() {
                        continue;
                    }
                    for method in ["GET", "PUT", "POST"] {
                        for path in ["/", "/a", "/b", "/a/b", "/%61"] {
                            for size in [None, Some(1), Some(2), Some(3)] {
                                whats.push(to(Some(method), Some(path), size));
                            }
                        }
                    }
                }
            }
        }
    }
    let mut requests: Vec<Request> = (whats.into_iter())
        .map(|what| Request {
            approvals: Vec::new(),
            context: place(),
            what,
        })
        .collect();
    for name in names {
        for skill in ["/a/b", "/b", "/ab/a", "/c"] {
            requests.push(Request {
                approvals: Vec::new(),
                context: Context {
                    profile: name.into(),
                    skill: Some(skill.into()),
                    ..place()
                },
                what: What::Tool {
                    command: vec!["/a".into()],
                    grants: vec![What::Limit {
                        limit: "pids".into(),
                        value: Some(0),
                    }],
                },
            });
        }
    }
    requests
}

static EVERY_REQUEST: LazyLock<Vec<Request>> = LazyLock::new(every_request);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn policies_of_which_any_small_request_shows_a_difference_differ((a, b) in pair()) {
        let (a, b) = (policy(a), policy(b));
        let found = diff(&a, &b, &[place()]);
        prop_assert!(found.complete);
        for request in EVERY_REQUEST.iter() {
            let (one, other) = (decide(&a, request), decide(&b, request));
            if one.verdict == other.verdict {
                continue;
            }
            if let What::Limit { limit, .. } = &request.what {
                let name = format!("limits.{limit}");
                let told = found.settings.iter().any(|setting| setting.name == name);
                prop_assert!(told, "{name}: {:?}", found.settings);
                continue;
            }
            // The same rules and verdicts, for the same action. Whole trees are compared: of one in which something is hidden,
            // fewer rules speak.
            let hides = matches!(&request.what, What::Read { except, .. } | What::Write { except, .. } if !except.is_empty());
            let known = found.differences.iter().any(|d| {
                let is_same = (&d.a.rules, d.a.verdict) == (&one.rules, one.verdict)
                    && (&d.b.rules, d.b.verdict) == (&other.rules, other.verdict);
                d.action == request.what.action() && (hides || is_same)
            });
            prop_assert!(known, "{} in {:?}: {one:?} {other:?}", request.what, request.context);
        }
        for difference in &found.differences {
            prop_assert_eq!(decide(&a, &difference.example).verdict, difference.a.verdict);
            prop_assert_eq!(decide(&b, &difference.example).verdict, difference.b.verdict);
        }
    }

    #[test]
    fn a_policy_does_not_differ_from_itself_nor_from_itself_in_another_order(document in document()) {
        let mut reordered = document.clone();
        reordered.capabilities.reverse();
        reordered.network_egress.reverse();
        reordered.secrets_boundary.reverse();
        // With the same hash nothing would be compared.
        reordered.name.push_str("-again");
        let (a, b) = (policy(document), policy(reordered));
        prop_assert!(diff(&a, &a, &contexts()).same);
        let found = diff(&a, &b, &contexts());
        prop_assert!(found.is_empty() && !found.same && found.tried > 0);
    }

    #[test]
    fn the_other_way_round_it_is_the_reverse((a, b) in pair()) {
        let (a, b) = (policy(a), policy(b));
        let (there, back) = (diff(&a, &b, &[place()]), diff(&b, &a, &[place()]));
        prop_assert_eq!(there.differences.len(), back.differences.len());
        prop_assert_eq!(there.tried, back.tried);
    }
}
