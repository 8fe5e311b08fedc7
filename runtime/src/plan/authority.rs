//! A plan and the policy: what the policy is asked, and its answers, which are stored in the grants.
//!
//! A policy narrows twice. Limits are lowered to its ceilings before anything is compiled
//! ([`narrow`]). Then it is asked for everything that the compiled plan grants ([`request()`], [`decide`]):
//! the plan's own list, so that nothing is granted that was not asked for.

use std::collections::BTreeMap;
use std::path::Path;

use aegis_policy::decide::about_requests;
use aegis_policy::model::{Documents, Inject, Scheme};
use aegis_policy::request::{self, Approval};
use aegis_policy::{Context, Decision, Hash, Policy, Request, What};
use aegis_profile::{
    Declared, Destination, Device, LimitKey, Limits, Origin, Outbound, Profile, SecretUse, Sockets,
};

use super::reachable::private_sockets;
use super::{Grant, InForce, Opened, Plan, secrets};
use crate::facts::{Caller, HostFacts};
use crate::seccomp;
use crate::types::GrantOrigin;

/// Lowers the profile's limits to the policy's ceilings; a limit that the profile does not set gets the ceiling. What
/// must hold by the policy must hold.
pub fn narrow(profile: &mut Profile, policy: &Documents) {
    for &key in LimitKey::ALL {
        let Some((ceiling, name)) = policy.ceiling(key) else {
            continue;
        };
        let asked = profile.limits.value(key);
        if asked.is_none_or(|asked| asked > ceiling) {
            let origin = of_policy(CEILING, name);
            let value = ceiling;
            profile.limits.set(key, Declared { value, origin });
        }
    }
    for (value, name) in policy.must_hold() {
        // A limit that nobody sets has nothing to hold.
        if profile.limits.get(value).is_some() {
            let origin = of_policy("must-hold", name);
            profile.limits.insist_on(Declared { value, origin });
        }
    }
}

const CEILING: &str = "ceiling";

/// Whether a limit of the plan is a policy's ceiling, and not the profile's own.
pub fn is_ceiling(plan: &Plan, key: LimitKey) -> bool {
    plan.grants
        .iter()
        .any(|grant| match (&grant.what, &grant.from) {
            (What::Limit { limit, .. }, GrantOrigin::Declared(origin)) => {
                limit == key.name() && origin.file.starts_with(&format!("{CEILING} (policy "))
            }
            _ => false,
        })
}

/// What a policy adds to a profile.
fn of_policy(what: &str, name: &str) -> Origin {
    Origin {
        file: format!("{what} (policy {name})").into(),
        line: 1,
        column: 1,
    }
}

/// What a profile grants besides paths and programs. `socket`: the declaration of a host socket, which adds the
/// system call that can connect to every other visible socket too.
pub(super) fn beside_files(
    profile: &Profile,
    facts: &HostFacts,
    socket: Option<&Origin>,
) -> Vec<Grant> {
    fn each<T>(list: &[Declared<T>], what: impl Fn(&T) -> What) -> impl Iterator<Item = Grant> {
        (list.iter()).map(move |item| Grant::new(what(&item.value), &item.origin))
    }
    let capabilities = &profile.capabilities;
    let mut grants = Vec::new();
    if let Outbound::Host(origin) = &capabilities.net_outbound {
        grants.push(Grant::new(What::NetHost {}, origin));
    }
    if let Outbound::Named(list) = &capabilities.net_outbound {
        grants.extend(each(list, |to| What::Net(destination(to))));
    }
    for (alias, secret) in &capabilities.secrets_use {
        grants.extend(uses(alias, &secret.value).map(|what| Grant::new(what, &secret.origin)));
    }
    let listen = |port: &u16| What::Listen { port: *port };
    grants.extend(each(&capabilities.net_listen, listen));
    let sockets = capabilities.sockets.iter();
    let sockets = sockets.filter(|sockets| sockets.value == Sockets::Private);
    grants.extend(sockets.map(|item| Grant::new(private_sockets(), &item.origin)));
    let device = |device: &Device| What::Device {
        device: facts.device_name(device),
    };
    grants.extend(each(&capabilities.devices, device));
    let name = String::clone;
    let variable = |text: &String| What::Environment { name: name(text) };
    grants.extend(each(&profile.environment.pass, variable));
    let call = |text: &String| What::Syscall { name: name(text) };
    // A smaller set with some calls of the default one asks for less than the default one, which nobody is asked about.
    let beyond =
        (profile.syscalls.allow.iter()).filter(|call| !seccomp::is_in_default_set(&call.value));
    grants.extend(beyond.map(|item| Grant::new(call(&item.value), &item.origin)));
    grants.extend(socket.map(|origin| Grant::new(call(&"socket".into()), origin)));
    grants.extend(limits(&profile.limits));
    grants
}

/// The uses of a secret that a policy is asked about: each place in which it is put. What stands for it is sent in a header.
fn uses(alias: &str, secret: &SecretUse) -> impl Iterator<Item = What> {
    let in_header = secret.env.is_some() || secret.header.is_some();
    let places = [
        (in_header, Inject::Header),
        (secret.query.is_some(), Inject::Query),
    ];
    let asked = move |inject| What::Secret {
        alias: alias.to_owned(),
        host: secret.to.host.clone(),
        inject: Some(inject),
    };
    let places = places.into_iter().filter(|(is_asked, _)| *is_asked);
    places.map(move |(_, inject)| asked(inject))
}

/// A connection to a declared destination.
fn destination(to: &Destination) -> request::Destination {
    let scheme = Scheme::named(&to.scheme).expect("profiles and policies have the same schemes");
    request::Destination::connection(scheme, &to.host, to.port)
}

/// The requested limits, as grants.
pub fn limits(limits: &Limits) -> impl Iterator<Item = Grant> {
    limits.iter().map(|(key, limit)| {
        let (value, limit, from) = (Some(limit.value), key.to_string(), &limit.origin);
        Grant::new(What::Limit { limit, value }, from)
    })
}

/// The requester, as a policy sees it.
/// `hash` is the profile's as it was written, before it was [narrowed](narrow). [`facts::names::find`](crate::facts::names::find)
/// adds other names of what is asked for.
pub fn context(profile: &Profile, hash: Hash, facts: &HostFacts) -> Context {
    let (caller, skill) = (&facts.host.caller, facts.skill.as_deref());
    context_of(profile.name.clone(), hash, caller, skill, &facts.work)
}

/// The same for a request without a profile. `hash` identifies exactly what is requested.
pub fn context_of(
    name: String,
    hash: Hash,
    caller: &Caller,
    skill: Option<&Path>,
    work: &Path,
) -> Context {
    Context {
        aliases: Vec::new(),
        home: caller.policy_home.as_path().into(),
        profile: name,
        profile_hash: hash,
        skill: skill.map(Into::into),
        uid: caller.uid,
        work: work.into(),
    }
}

/// The policy request for the run as a whole.
pub fn request(plan: &Plan, context: Context, approvals: Vec<Approval>) -> Request {
    Request {
        approvals,
        context,
        what: What::Tool {
            command: plan
                .argv
                .iter()
                .map(|word| word.as_os_str().into())
                .collect(),
            grants: plan.grants.iter().map(|grant| grant.what.clone()).collect(),
        },
    }
}

/// Asks the policy, and stores its answers in the plan's grants: from here on they are part of the
/// plan's hash. The request must be [`request()`]'s, for this plan.
pub fn decide(plan: &mut Plan, policy: &Policy, request: &Request) -> Decision {
    let decision = aegis_policy::decide(policy, request);
    for (grant, part) in plan.grants.iter_mut().zip(&decision.parts) {
        grant.decision = Some(part.clone());
    }
    plan.opened = opened(plan, policy, request);
    plan.policy = Some(InForce {
        name: policy.name(),
        hash: decision.policy,
        verdict: decision.verdict,
    });
    decision
}

/// The hosts whose TLS is opened: which the policy lets through, and to which it tells requests apart, or a secret is sent.
fn opened(plan: &Plan, policy: &Policy, request: &Request) -> Vec<Opened> {
    let mut opened: Vec<Opened> = Vec::new();
    let mut asked = None;
    for grant in &plan.grants {
        let is_let_through =
            (grant.decision.as_ref()).is_some_and(|part| part.verdict.lets_through());
        let What::Net(to) = &grant.what else {
            continue;
        };
        if to.scheme != Scheme::Https || !is_let_through {
            continue;
        }
        let asked = asked.get_or_insert_with(|| request.clone());
        asked.what = grant.what.clone();
        let rules = about_requests(policy, asked);
        let mut hosts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        if !rules.is_empty() {
            hosts.insert(&to.host, Vec::new());
        }
        for secret in plan.secrets.iter().filter(|secret| {
            secret.to.port == to.port && secrets::reaches(&to.host, &secret.to.host)
        }) {
            hosts
                .entry(&secret.to.host)
                .or_default()
                .push(secret.alias.clone());
        }
        opened.extend(hosts.into_iter().map(|(host, secrets)| Opened {
            host: host.to_owned(),
            port: to.port,
            rules: rules.clone(),
            secrets,
        }));
    }
    opened
}

#[cfg(test)]
mod tests {
    use aegis_policy::model::{Action, CapabilityRule, Document};
    use aegis_policy::{Verdict, decide as ask};

    use super::*;
    use crate::facts::Inputs as Asked;
    use crate::plan::compile;
    use crate::plan::tests::{facts, plan_of, profile};

    fn rule(id: &str, matches: &str, verdict: Verdict) -> CapabilityRule {
        CapabilityRule {
            id: id.into(),
            matches: [matches.to_owned()].into(),
            mode: Default::default(),
            on: [Action::FilesRead, Action::FilesWrite, Action::ShellExec].into(),
            otherwise: false,
            reason: None,
            verdict,
        }
    }

    fn policy(rules: Vec<CapabilityRule>, limits: &[(&str, u64)]) -> Policy {
        let document = Document {
            capabilities: rules,
            limits: limits
                .iter()
                .map(|(key, value)| ((*key).into(), *value))
                .collect(),
            name: "made-up".into(),
            ..Document::default()
        };
        Policy::new(vec![document]).expect("a policy")
    }

    fn decided(plan: &mut Plan, policy: &Policy, text: &str) -> (Request, Decision) {
        let profile = profile(text);
        let context = context(&profile, Hash::default(), &facts());
        let request = request(plan, context, Vec::new());
        let decision = decide(plan, policy, &request);
        (request, decision)
    }

    const TEXT: &str = "capabilities: {files.read: [$WORK], shell.exec: [/usr/bin/env]}\n\
                        environment: {pass: [LANG]}\nlimits: {time: 5s}";

    #[test]
    fn all_that_a_plan_grants_is_decided_and_the_decisions_are_in_its_hash() {
        let mut plan = plan_of(TEXT);
        let before = plan.hash();
        let all = policy(vec![rule("all", "/**", Verdict::Allow)], &[]);
        let (request, decision) = decided(&mut plan, &all, TEXT);
        assert!(plan.grants.iter().all(|grant| grant.decision.is_some()));
        let actions: Vec<&str> = plan
            .grants
            .iter()
            .map(|grant| grant.what.action())
            .collect();
        assert_eq!(
            actions,
            [
                "files.read",
                "shell.exec",
                "shell.exec",
                "environment.pass",
                "limits"
            ]
        );
        // No rule for the environment: the run is blocked as a whole.
        assert_eq!(decision.verdict, Verdict::Block);
        assert_eq!(decision.parts[0].verdict, Verdict::Allow);
        assert_eq!(ask(&all, &request), decision, "it can be made again");
        assert_ne!(plan.hash(), before);
        let allowed = plan.hash();
        let warns = policy(vec![rule("all", "/**", Verdict::Warn)], &[]);
        decided(&mut plan, &warns, TEXT);
        assert_ne!(plan.hash(), allowed);
    }

    #[test]
    fn a_ceiling_lowers_a_limit_and_stands_in_for_a_missing_one() {
        let mut asked = profile("limits: {memory: 8G, time: 5s}");
        narrow(
            &mut asked,
            policy(
                Vec::new(),
                &[("memory", 1 << 30), ("pids", 64), ("time", 60_000)],
            )
            .documents(),
        );
        let limits = &asked.limits;
        assert_eq!(limits.value(LimitKey::Memory), Some(1 << 30));
        assert_eq!(limits.value(LimitKey::Pids), Some(64));
        assert_eq!(limits.value(LimitKey::Time), Some(5000));
        assert_eq!(limits.value(LimitKey::Cpu), None);
        let origin = &limits.get(LimitKey::Memory).expect("lowered").origin;
        assert_eq!(&*origin.file, "ceiling (policy made-up)");
    }

    #[test]
    fn what_must_hold_by_the_policy_must_hold_wherever_it_is_limited() {
        let text = "aegis-policy: 1\nname: site\nlimits: {pids: 9, must-hold: [memory, cpu, pids]}";
        let document = aegis_policy::load::parse_str(text, "site.yaml").expect("a policy");
        let documents = Documents::new(vec![document]);
        let mut asked = profile("limits: {memory: 8G, must-hold: [memory]}");
        narrow(&mut asked, &documents);
        let insisted: Vec<String> = (asked.limits.must_hold().iter())
            .map(|limit| format!("{} {}", limit.value, limit.origin.file))
            .collect();
        assert_eq!(
            insisted,
            ["memory test.yaml", "pids must-hold (policy site)"]
        );
    }

    #[test]
    fn no_grant_holds_or_lies_in_what_is_aegis_s_own() {
        for (reserved, refused) in [
            ("/skill/work/state/aegis", true),
            ("/skill/work", true),
            ("/skill", true),
            ("/skill/workshop", false),
            ("/home/ada/.local/state/aegis", false),
        ] {
            let request = Asked {
                reserved: vec![reserved.into()],
                ..Asked::default()
            };
            let result = compile(&profile(TEXT), &request, &facts());
            assert_eq!(result.is_err(), refused, "{reserved}");
        }
    }

    #[test]
    fn a_limit_that_the_policy_lets_a_host_lack_is_left_out_and_told() {
        let asked = profile("limits: {disk-read: 1M/s}");
        assert!(compile(&asked, &Asked::default(), &facts()).is_err());
        let request = Asked {
            may_be_missing: ["disk-read".to_owned()].into(),
            ..Asked::default()
        };
        let plan = compile(&asked, &request, &facts()).expect("a plan");
        assert!(
            plan.degraded
                .iter()
                .any(|lack| lack.what.starts_with("disk-read"))
        );
    }
}
