//! Rules and requests about one kind of thing.

use super::{context, destination, egress, mode, place, secret, verdict};
use aegis_policy::Hash;
use aegis_policy::model::{Action, CapabilityRule, Document, Mode, Verdict};
use aegis_policy::request::{Approval, Destination, Request, What};
use proptest::prelude::*;
use proptest::sample::select;

/// Rules about one kind of thing, another such rule, and requests for it: most of the rules apply to most of
/// the requests.
#[derive(Clone, Debug)]
pub struct Aimed {
    pub rules: Document,
    /// One rule.
    pub other: Document,
    pub requests: Vec<Request>,
}

pub fn aimed() -> impl Strategy<Value = Aimed> {
    prop_oneof![
        3 => at_capabilities(Action::FilesRead),
        2 => at_capabilities(Action::ShellExec),
        1 => at_capabilities(Action::ToolExec),
        4 => at_egress(),
        2 => at_secrets(),
    ]
}

fn requests_for(what: BoxedStrategy<What>) -> impl Strategy<Value = Vec<Request>> {
    let approved = prop::bool::weighted(0.2);
    let one = (context(), what, approved).prop_map(|(context, what, approved)| {
        let approval = Approval {
            at: 1,
            command: what.command_hash(),
            expires: 2,
            held_for: what.command_hash(),
            id: "yes".into(),
            // Set to the policy that it is for: see `approved_by`.
            policy: Hash::default(),
            profile_hash: context.profile_hash,
            skill: context.skill.clone(),
            what: what.hash(),
        };
        Request {
            approvals: approved.then_some(approval).into_iter().collect(),
            context,
            what,
        }
    });
    prop::collection::vec(one, 24)
}

fn at_capabilities(action: Action) -> BoxedStrategy<Aimed> {
    let patterns: &[&str] = match action {
        Action::ShellExec => &["git", "*", "/**", "/usr/**", "/**/git", "$WORK/**", "a*"],
        Action::ToolExec => &["git", "*", "$SKILL", "/**", "x"],
        _ => &[
            "/**",
            "/a/**",
            "$HOME/**",
            "$WORK/**",
            "/**/b/**",
            "/a/b/**",
            "/**/*.pem",
            "/a/*",
        ],
    };
    let rule = (
        select(patterns),
        verdict(),
        mode(),
        prop::bool::weighted(0.35),
    )
        .prop_map(move |(pattern, verdict, mode, otherwise)| CapabilityRule {
            id: String::new(),
            matches: [pattern.to_owned()].into(),
            mode,
            on: [action].into(),
            otherwise,
            reason: None,
            verdict,
        });
    let named = prop::option::of(Just("git".to_owned()));
    let what = match action {
        Action::ShellExec => (place(), named)
            .prop_map(|((except, path, tree), name)| What::Exec {
                except,
                name,
                path,
                tree,
            })
            .boxed(),
        Action::ToolExec => Just(What::Tool {
            command: Vec::new(),
            grants: vec![
                What::Limit {
                    limit: "pids".into(),
                    value: None,
                },
                What::NetHost {},
            ],
        })
        .boxed(),
        _ => place()
            .prop_map(|(except, path, tree)| What::Read { except, path, tree })
            .boxed(),
    };
    let rules = prop::collection::vec(rule, 2..7);
    (rules, requests_for(what))
        .prop_map(move |(mut rules, requests)| {
            let other = rules.remove(0);
            if action == Action::ToolExec {
                rules.push(CapabilityRule {
                    matches: ["host".to_owned()].into(),
                    mode: Mode::Enforce,
                    on: [Action::NetHost].into(),
                    otherwise: false,
                    verdict: Verdict::Allow,
                    ..other.clone()
                });
            }
            for (at, rule) in rules.iter_mut().enumerate() {
                rule.id = format!("c{at}");
            }
            let of = |capabilities| Document {
                capabilities,
                ..Document::default()
            };
            Aimed {
                rules: of(rules),
                other: of(vec![other]),
                requests,
            }
        })
        .boxed()
}

fn at_egress() -> BoxedStrategy<Aimed> {
    let hosts = select(&["*.x.org", "a.x.org", "*.org", "10.0.0.1", "8.8.8.8"][..]);
    let rule = (
        egress(),
        hosts,
        prop::bool::weighted(0.35),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mut rule, host, otherwise, private, any)| {
            rule.hosts = [host.to_owned()].into();
            (rule.otherwise, rule.private_addresses) = (otherwise, private);
            if any {
                rule.schemes.clear();
                rule.ports.clear();
                rule.paths.clear();
            }
            rule
        });
    let what = (
        destination(),
        select(&["a.x.org", "*.x.org", "10.0.0.1", "8.8.8.8"][..]),
    );
    let what = what.prop_map(|(to, host)| {
        What::Net(Destination {
            host: host.into(),
            ..to
        })
    });
    let rules = prop::collection::vec(rule, 2..7);
    (rules, requests_for(what.boxed()))
        .prop_map(|(mut rules, requests)| {
            let other = rules.remove(0);
            for (at, rule) in rules.iter_mut().enumerate() {
                rule.id = format!("n{at}");
            }
            let of = |network_egress| Document {
                network_egress,
                ..Document::default()
            };
            Aimed {
                rules: of(rules),
                other: of(vec![other]),
                requests,
            }
        })
        .boxed()
}

fn at_secrets() -> BoxedStrategy<Aimed> {
    let hosts = select(&["*.x.org", "a.x.org", "*.org"][..]);
    let rule =
        (secret(), hosts, prop::bool::weighted(0.35)).prop_map(|(mut rule, host, otherwise)| {
            rule.to = [host.to_owned()].into();
            rule.otherwise = otherwise;
            rule
        });
    let host = select(&["a.x.org", "*.x.org", "b.x.org"][..]);
    let what = (select(&["git", "a", "ab"][..]), host).prop_map(|(alias, host)| What::Secret {
        alias: alias.into(),
        host: host.into(),
        inject: None,
    });
    let rules = prop::collection::vec(rule, 2..7);
    (rules, requests_for(what.boxed()))
        .prop_map(|(mut rules, requests)| {
            let other = rules.remove(0);
            for (at, rule) in rules.iter_mut().enumerate() {
                rule.id = format!("s{at}");
            }
            let of = |secrets_boundary| Document {
                secrets_boundary,
                ..Document::default()
            };
            Aimed {
                rules: of(rules),
                other: of(vec![other]),
                requests,
            }
        })
        .boxed()
}
