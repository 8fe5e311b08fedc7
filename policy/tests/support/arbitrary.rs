//! Random policies and requests that overlap often: few names, in few shapes.
#![allow(
    dead_code,
    reason = "used by tests of the crate and beside it, each its part"
)]

use aegis_policy::Hash;
use aegis_policy::Policy;
use aegis_policy::model::{
    Action, AnomalyKind, Budget, CapabilityRule, Document, EgressRule, Inject, Mode, Scheme,
    SecretRule, Verdict,
};
use aegis_policy::path::HostPath;
use aegis_policy::request::{Alias, Approval, Context, Destination, Request, What};
use proptest::prelude::*;
use proptest::sample::{Index, select};

#[path = "aimed.rs"]
mod aimed;

#[allow(unused_imports, reason = "each test takes what it needs")]
pub use aimed::{Aimed, aimed};

/// Few names, so that rules and requests meet.
const NAMES: [&str; 9] = ["a", "b", "ab", "ba", "bin", "usr", "local", "x.pem", "git"];
const HOSTS: [&str; 10] = [
    "x.org",
    "a.x.org",
    "b.a.x.org",
    "ax.org",
    "org",
    "8.8.8.8",
    "10.0.0.1",
    "2001:db8::1",
    "1.1.1.1",
    "64:ff9b::808:808",
];

fn components(any: bool) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => select(&NAMES[..]).prop_map(str::to_owned),
        2 => select(&["*", "*.pem", "a*", "*a", "*b*", "a*b", "*i*", "b*a"][..]).prop_map(str::to_owned),
        3 => Just(if any { "**" } else { "b" }.to_owned()),
    ];
    prop::collection::vec(part, 0..5)
        .prop_map(|parts| parts.iter().map(|part| format!("/{part}")).collect())
}

fn path_pattern() -> impl Strategy<Value = String> {
    let base = select(&["", "", "$WORK", "$SKILL", "$HOME"][..]);
    (base, components(true)).prop_map(|(base, rest)| match (base, &*rest) {
        ("", "") => "/".to_owned(),
        _ => format!("{base}{rest}"),
    })
}

fn name_pattern() -> impl Strategy<Value = String> {
    select(&["git", "a", "b", "*", "a*", "*b", "*a*", "host", "x.pem"][..]).prop_map(str::to_owned)
}

fn host_pattern() -> impl Strategy<Value = String> {
    let below = |host: &str| match host.starts_with(|c: char| c.is_ascii_digit()) {
        true => host.to_owned(),
        false => format!("*.{host}"),
    };
    prop_oneof![
        select(&HOSTS[..]).prop_map(str::to_owned),
        select(&HOSTS[..]).prop_map(below),
    ]
}

pub fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![4 => Just(Verdict::Allow), 1 => Just(Verdict::Warn), 1 => Just(Verdict::Review), 1 => Just(Verdict::Block)]
}

pub fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Warn)]
}

pub fn capability() -> impl Strategy<Value = CapabilityRule> {
    let action = select(&Action::ALL[..]).prop_flat_map(|action| {
        let patterns = match action {
            Action::FilesRead | Action::FilesWrite => path_pattern().boxed(),
            Action::ShellExec => prop_oneof![path_pattern(), name_pattern()].boxed(),
            Action::ToolExec => {
                let hash = Just(format!("sha256:{}", Hash::default()));
                prop_oneof![path_pattern(), name_pattern(), hash].boxed()
            }
            Action::NetListen => select(&["1", "80", "1-90", "80-81"][..])
                .prop_map(str::to_owned)
                .boxed(),
            Action::NetHost => Just("host".to_owned()).boxed(),
            _ => name_pattern().boxed(),
        };
        (Just(action), prop::collection::btree_set(patterns, 1..4))
    });
    (action, verdict(), mode(), prop::bool::weighted(0.2)).prop_map(
        |((action, matches), verdict, mode, otherwise)| CapabilityRule {
            id: String::new(),
            matches,
            mode,
            on: [action].into(),
            otherwise,
            reason: None,
            verdict,
        },
    )
}

fn budget() -> impl Strategy<Value = Budget> {
    let limit = || prop::option::weighted(0.1, 1..3u64);
    (limit(), limit(), limit()).prop_map(|(a, b, c)| Budget {
        request_size: a,
        requests_per_minute: b,
        response_size: c,
    })
}

fn method() -> impl Strategy<Value = String> {
    select(&["GET", "POST"][..]).prop_map(str::to_owned)
}

fn scheme() -> impl Strategy<Value = Scheme> {
    select(&[Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Udp][..])
}

pub fn egress() -> impl Strategy<Value = EgressRule> {
    let set = prop::collection::btree_set::<BoxedStrategy<String>>;
    let paths = components(true).prop_map(|path| if path.is_empty() { "/".into() } else { path });
    let what = (
        set(host_pattern().boxed(), 1..4),
        set(method().boxed(), 0..2),
        set(paths.boxed(), 0..2),
        prop::collection::btree_set(443..445u16, 0..2),
        prop::collection::btree_set(scheme(), 0..3),
    );
    let how = (
        budget(),
        verdict(),
        mode(),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    (what, how).prop_map(
        |(
            (mut hosts, methods, paths, ports, schemes),
            (budget, verdict, mode, otherwise, private_addresses, any),
        )| {
            if any && verdict != Verdict::Allow {
                hosts.insert("*".into());
            }
            EgressRule {
                budget,
                hosts,
                id: String::new(),
                methods,
                mode,
                otherwise,
                paths,
                ports,
                private_addresses,
                reason: None,
                schemes,
                verdict,
            }
        },
    )
}

pub fn secret() -> impl Strategy<Value = SecretRule> {
    let inject = select(&[Inject::Header, Inject::Query][..]);
    (
        name_pattern(),
        prop::collection::btree_set(inject, 1..3),
        prop::collection::btree_set(host_pattern(), 1..3),
        verdict(),
        mode(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(alias, inject, to, verdict, mode, otherwise)| SecretRule {
            alias,
            id: String::new(),
            inject,
            mode,
            otherwise,
            reason: None,
            to,
            verdict,
        })
}

prop_compose! {
    pub fn document()(
        mut capabilities in prop::collection::vec(capability(), 0..40),
        mut network_egress in prop::collection::vec(egress(), 0..10),
        mut secrets_boundary in prop::collection::vec(secret(), 0..12),
    ) -> Document {
        for (at, rule) in capabilities.iter_mut().enumerate() {
            rule.id = format!("c{at}");
        }
        for (at, rule) in network_egress.iter_mut().enumerate() {
            rule.id = format!("n{at}");
        }
        for (at, rule) in secrets_boundary.iter_mut().enumerate() {
            rule.id = format!("s{at}");
        }
        Document { capabilities, network_egress, secrets_boundary, name: "p".into(), ..Document::default() }
    }
}

pub fn path() -> impl Strategy<Value = HostPath> {
    prop::collection::vec(select(&NAMES[..]), 0..6).prop_map(|parts| match parts.is_empty() {
        true => "/".into(),
        false => {
            let text: String = parts.iter().map(|part| format!("/{part}")).collect();
            text.as_str().into()
        }
    })
}

/// A file, or a tree and what is hidden in it.
pub fn place() -> impl Strategy<Value = (Vec<HostPath>, HostPath, bool)> {
    let below = prop::collection::vec(select(&NAMES[..]), 1..3);
    let hidden = prop::collection::vec(below, 0..3);
    (path(), any::<bool>(), hidden).prop_map(|(path, tree, hidden)| {
        let top = path.to_string();
        let top = top.trim_end_matches('/');
        let except = hidden.iter().filter(|_| tree).map(|below| {
            let text = format!("{top}/{}", below.join("/"));
            text.as_str().into()
        });
        (except.collect(), path, tree)
    })
}

/// Variables within each other, beside each other, at `/`, and missing.
pub fn context() -> impl Strategy<Value = Context> {
    let home = select(&["/a", "/a", "/a/b", "/", ""][..]);
    let below = || prop::collection::vec(select(&NAMES[..]), 0..3);
    (
        home,
        below(),
        below(),
        prop::option::weighted(0.8, Just(())),
        any::<bool>(),
        prop::collection::vec(alias(), 0..3),
    )
        .prop_map(|(home, work, skill, has_skill, apart, aliases)| {
            let join = |base: &str, parts: &[&str]| {
                let parts: String = parts.iter().map(|part| format!("/{part}")).collect();
                format!("{}{parts}", base.trim_end_matches('/'))
            };
            let work = join(if apart { "/b" } else { home }, &work);
            let skill = join(&work, &skill);
            Context {
                aliases,
                home: home.into(),
                profile: "git".into(),
                skill: has_skill.map(|()| skill.as_str().into()),
                work: work.as_str().into(),
                ..Context::default()
            }
        })
}

fn alias() -> impl Strategy<Value = Alias> {
    (path(), path(), any::<bool>()).prop_map(|(name, place, trusted)| Alias {
        name,
        place,
        trusted,
    })
}

/// Addresses, some of them one in several spellings.
const ADDRESSES: [&str; 6] = [
    "8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "10.0.0.1",
    "2001:db8::1",
];

pub fn destination() -> impl Strategy<Value = Destination> {
    let host = prop_oneof![
        select(&HOSTS[..]).prop_map(str::to_owned),
        select(&HOSTS[..5]).prop_map(|host| format!("*.{host}")),
    ];
    let address = select(&ADDRESSES[..]);
    let address = prop::option::of(address.prop_map(|text| text.parse().unwrap()));
    let url = prop_oneof![
        path().prop_map(|path| path.to_string()),
        select(&["/a/../b", "/a%2fb", "/a?b", "/a#b"][..]).prop_map(str::to_owned),
    ];
    let told = || prop::option::of(0..4u64);
    (
        host,
        address,
        prop::option::of((method(), prop::option::weighted(0.9, url))),
        443..446u16,
        scheme(),
        told(),
        told(),
        told(),
    )
        .prop_map(
            |(host, address, request, port, scheme, a, b, c)| Destination {
                address,
                host,
                method: request.as_ref().map(|(method, _)| method.clone()),
                path: request.and_then(|(_, path)| path),
                port,
                request_size: a,
                requests_last_minute: b,
                response_size: c,
                scheme,
            },
        )
}

pub fn thing() -> impl Strategy<Value = What> {
    let name = || select(&["git", "a", "ab", "bab", "host", "x.pem"][..]).prop_map(str::to_owned);
    prop_oneof![
        place().prop_map(|(except, path, tree)| What::Read { except, path, tree }),
        place().prop_map(|(except, path, tree)| What::Write { except, path, tree }),
        (place(), prop::option::of(name())).prop_map(|((except, path, tree), name)| What::Exec {
            except,
            name,
            path,
            tree
        }),
        (0..100u16).prop_map(|port| What::Listen { port }),
        Just(What::NetHost {}),
        (select(&AnomalyKind::ALL[..]), name()).prop_map(|(kind, of)| What::Anomaly {
            kind,
            of: of.as_str().into(),
        }),
        name().prop_map(|device| What::Device { device }),
        name().prop_map(|name| What::Environment { name }),
        name().prop_map(|name| What::Sockets { name }),
        name().prop_map(|name| What::Syscall { name }),
        destination().prop_map(What::Net),
        (
            name(),
            select(&HOSTS[..]),
            prop::option::of(select(&[Inject::Header, Inject::Query][..]))
        )
            .prop_map(|(alias, host, inject)| What::Secret {
                alias,
                host: host.into(),
                inject
            }),
    ]
}

/// The request, with its approvals bound to this policy: generated requests have no policy.
pub fn approved_by(policy: &Policy, request: &Request) -> Request {
    let mut request = request.clone();
    for approval in &mut request.approvals {
        approval.policy = policy.hash();
    }
    request
}

prop_compose! {
    pub fn request()(
        context in context(),
        single in thing(),
        grants in prop::collection::vec(thing(), 0..6),
        as_run in prop::bool::weighted(0.2),
        approved in prop::option::weighted(0.3, any::<Index>()),
    ) -> Request {
        let what = match as_run {
            true => What::Tool { command: vec!["git".into()], grants: grants.clone() },
            false => single,
        };
        let of = match (approved, as_run) {
            (Some(index), true) if !grants.is_empty() => Some(index.get(&grants)),
            (Some(_), _) => Some(&what),
            (None, _) => None,
        };
        let approvals = of.map(|of| Approval {
            at: 1,
            command: what.command_hash(),
            expires: 2,
            held_for: what.command_hash(),
            id: "yes".into(),
            // Set to the policy that it is for: see `approved_by`.
            policy: Hash::default(),
            profile_hash: context.profile_hash,
            skill: context.skill.clone(),
            what: of.hash(),
        });
        Request { approvals: approvals.into_iter().collect(), context, what }
    }
}
