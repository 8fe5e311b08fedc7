//! The plan for a person: what may be done, which line of which profile allows it, which layer of the
//! kernel enforces it, and what this host lacks. The same plan gives the same text.
//!
//! The line that grants is on the left, what it grants on the right. Lines of built-in profiles
//! are grouped, since nobody looks for one of a hundred programs there; a profile's own lines are
//! not. `Plan::to_json` has everything, ungrouped.

mod grants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aegis_policy::Verdict;
use aegis_profile::{Declared, Destination, LimitKey, Origin, Outbound, Profile, SyscallBase};
use aegis_runtime::facts::devices;
use aegis_runtime::plan::stdio::Given;
use aegis_runtime::plan::{CORE_LIMIT, DeniedPaths, Memfd, Op, Opened, Plan, Secret};
use aegis_runtime::seccomp::{self, Action};
use aegis_runtime::supervise::report;
use aegis_runtime::types::{Network, trust};

use super::page::{Page, Row, path, shown};
use grants::{by_directory, declared, grouped, place};

/// Variables that every sandbox has.
const OWN_VARIABLES: [&str; 5] = ["HOME", "LOGNAME", "PATH", "TMPDIR", "USER"];

/// A title, the layer of the kernel that enforces it, and the rows.
type Section = (&'static str, &'static str, Vec<Row>);

/// The plan as text. `profile` gives the lines for limits, variables, devices and system calls, which
/// the plan itself does not store.
pub(crate) fn text(plan: &Plan, profile: &Profile, colour: bool) -> String {
    let mut page = Page {
        colour,
        ..Page::default()
    };
    for (title, held_by, rows) in [
        command(plan),
        (
            "Read",
            "read-only mounts; Landlock",
            granted(plan, "files.read"),
        ),
        writable(plan),
        denied(plan),
        executable(plan),
        network(plan, profile),
        device_nodes(plan, profile),
        environment(plan, profile),
        limits(plan, profile),
        system_calls(plan, profile),
        policy(plan),
        identity(plan),
        layers(plan),
        missing(plan),
    ] {
        page.section(title, held_by, &rows);
    }
    page.out
}

fn command(plan: &Plan) -> Section {
    let mut rows = vec![
        Row::whole("profile", &plan.profile),
        Row::words("command", plan.argv.iter().map(|word| shown(word))),
        Row::whole("program", path(&plan.program)),
        Row::whole("directory", path(&plan.directory)),
        Row::whole("plan", plan.hash().to_string()),
    ];
    if !plan.keep_fds.is_empty() {
        let all = [0, 1, 2].iter().chain(&plan.keep_fds);
        rows.push(Row::words("descriptors", all.map(ToString::to_string)));
    }
    // Only where that was asked for.
    if plan.stdio.given[0] != Given::Own {
        let terminal = match plan.stdio.has_terminal() {
            true => "through a terminal of the run's own, and pipes for what is none",
            false => "through pipes",
        };
        rows.push(Row::whole("0, 1, 2", terminal));
    }
    ("Command", "", rows)
}

fn granted(plan: &Plan, action: &str) -> Vec<Row> {
    let grants = plan.grants.iter();
    grouped(grants.filter(|grant| grant.what.action() == action))
}

/// The policy, and each grant on which its opinion is more than `allow`.
fn policy(plan: &Plan) -> Section {
    let mut rows = Vec::new();
    if let Some(policy) = &plan.policy {
        rows.push(Row::whole("policy", &policy.name));
        rows.push(Row::whole("hash", policy.hash.to_string()));
        rows.push(Row::whole("verdict", policy.verdict.to_string()));
    }
    for grant in &plan.grants {
        let said = grant.decision.as_ref();
        if let Some(said) = said.filter(|said| said.verdict > Verdict::Allow) {
            let from = format!("{} {}", said.verdict, place(&grant.from).0);
            rows.push(Row::new(from, &format!("{}: {}", grant.what, said.reason)));
        }
    }
    ("Policy", "", rows)
}

fn writable(plan: &Plan) -> Section {
    let mut rows = granted(plan, "files.write");
    let binds = |wanted: bool| {
        plan.root.mounts().filter_map(move |mount| match mount.op {
            Op::Bind {
                write,
                overlay: false,
                ..
            } if write == wanted => Some(mount.at.as_path()),
            _ => None,
        })
    };
    let overlays = plan.root.mounts().filter_map(|mount| match mount.op {
        Op::Bind { overlay: true, .. } => Some(path(&mount.at)),
        _ => None,
    });
    let mut overlays: Vec<String> = overlays.collect();
    if !overlays.is_empty() {
        overlays.push("(in memory, gone afterwards)".into());
        rows.push(Row::words("overlay", overlays));
    }
    let kept: BTreeSet<&Path> = binds(false)
        .filter(|at| binds(true).any(|above| at.starts_with(above)))
        .collect();
    rows.extend(by_directory("kept read-only in there".into(), &kept));
    let private = plan
        .root
        .mounts()
        .filter(|mount| matches!(mount.op, Op::Private { .. }));
    let mut own: Vec<String> = private.map(|mount| path(&mount.at)).collect();
    own.push("(private, in memory, gone afterwards)".into());
    rows.push(Row::words("every sandbox", own));
    ("Write", "mounts, nosuid and nodev; Landlock", rows)
}

/// What is hidden in what may be read, written or executed.
fn denied(plan: &Plan) -> Section {
    let row = |denied: &DeniedPaths| {
        let from = match place(&denied.from) {
            (file, Some(line)) => format!("{file}:{line}"),
            (place, None) => place,
        };
        let mut words = vec![denied.what.clone()];
        words.push(match denied.paths.len() {
            0 => "(not there now, so not hidden if it is made later):".into(),
            count => format!("({count} there now):"),
        });
        words.extend(denied.paths.iter().map(|path| shown(path)));
        Row::words(from, words)
    };
    ("Deny", "mounts", plan.denied.iter().map(row).collect())
}

fn executable(plan: &Plan) -> Section {
    let mut rows = granted(plan, "shell.exec");
    let memory = match plan.memfd {
        Memfd::Sysctl => "kept from being executed by vm.memfd_noexec=2",
        Memfd::Supervised => "kept from being executed: the supervisor seals each",
        Memfd::Unprotected => "can be executed: this kernel cannot keep them from it",
    };
    rows.push(Row::new("memory files", memory));
    ("Execute", "mounts, noexec elsewhere; Landlock", rows)
}

/// The left side for something that the profile may have declared.
fn origin(origin: Option<&Origin>) -> String {
    match origin.map(declared) {
        None => String::new(),
        Some((file, Some(line))) => format!("{file}:{line}"),
        Some((place, None)) => place,
    }
}

/// The left side for `value`, if the profile has declared it.
fn origin_in<T: PartialEq>(declared: &[Declared<T>], value: &T) -> String {
    let found = declared.iter().find(|item| item.value == *value);
    origin(found.map(|item| &item.origin))
}

fn network(plan: &Plan, profile: &Profile) -> Section {
    let section = |mut rows: Vec<Row>| {
        if plan.has_private_sockets() {
            let from = origin(
                profile
                    .capabilities
                    .sockets
                    .as_ref()
                    .map(|item| &item.origin),
            );
            let own = "Unix sockets in the sandbox's own places, and none of the host";
            rows.push(Row::new(from, own));
        }
        ("Network", "namespace; seccomp; Landlock", rows)
    };
    let published = plan.published.iter().map(|port| {
        let what = format!("publish TCP port {port} at this host's loopback, by the egress broker");
        Row::whole(origin_in(&profile.capabilities.net_listen, port), what)
    });
    if plan.network == Network::None {
        let none = Row::new("every sandbox", "none but a loopback device of its own");
        return section(std::iter::once(none).chain(published).collect());
    }
    let from = match &profile.capabilities.net_outbound {
        Outbound::Host(from) => origin(Some(from)),
        Outbound::Named(list) if plan.network == Network::Brokered => {
            let rows = list.iter().map(|to| {
                let Destination { scheme, host, port } = &to.value;
                let what = format!("connect to {scheme}://{host}:{port}, by the egress broker");
                Row::whole(origin(Some(&to.origin)), what)
            });
            let opened = plan.opened.iter().map(|opened| {
                let Opened { host, port, .. } = opened;
                let what = format!("look into TLS to {host}:{port}, for {}", why_opened(opened));
                Row::new("", &what)
            });
            let secrets = plan.secrets.iter().map(|secret| {
                let declared = profile.capabilities.secrets_use.get(&secret.alias);
                Row::whole(origin(declared.map(|item| &item.origin)), put_in(secret))
            });
            let passes = |to: &Declared<Destination>| {
                let to = &to.value;
                let mut opened = plan.opened.iter();
                to.scheme == "https"
                    && !opened.any(|opened| opened.host == to.host && opened.port == to.port)
            };
            let unread = list.iter().any(passes).then(|| {
                let what = match plan.opened.is_empty() {
                    true => "what is said over TLS is not looked into",
                    false => "what is said over TLS to others is not looked into",
                };
                Row::new("", what)
            });
            let rows = rows.chain(opened).chain(unread).chain(secrets);
            return section(rows.chain(published).collect());
        }
        _ => "net.outbound".into(),
    };
    let mut rows = vec![Row::new(
        from,
        "the host's network, whole: whatever this host reaches, its own services too",
    )];
    if plan.landlock.handled_net == 0 {
        rows.push(Row::new("", "any TCP port may be listened on"));
        return section(rows);
    }
    for port in &plan.landlock.bind {
        let from = origin_in(&profile.capabilities.net_listen, port);
        rows.push(Row::whole(from, format!("listen on TCP port {port}")));
    }
    if plan.landlock.bind.is_empty() {
        rows.push(Row::new("", "no TCP port may be listened on"));
    }
    section(rows)
}

fn why_opened(opened: &Opened) -> String {
    let rules = (!opened.rules.is_empty()).then(|| {
        let rules: Vec<&str> = opened.rules.iter().map(|rule| &**rule).collect();
        format!("rules about requests ({})", rules.join(", "))
    });
    let secrets = (!opened.secrets.is_empty())
        .then(|| format!("the secrets put in ({})", opened.secrets.join(", ")));
    let why: Vec<String> = rules.into_iter().chain(secrets).collect();
    why.join(" and ")
}

fn put_in(secret: &Secret) -> String {
    let header = secret.header.as_ref();
    let header = header.map(|(name, value)| format!("the header `{name}: {value}`"));
    let query = secret.query.as_ref();
    let query = query.map(|name| format!("the parameter `{name}`"));
    let placeholder = secret.placeholder.as_ref();
    let placeholder = placeholder.map(|(name, _)| format!("what ${name} stands for"));
    let places: Vec<String> = [header, query, placeholder].into_iter().flatten().collect();
    let Secret { alias, to, .. } = secret;
    let places = places.join(", ");
    format!("put the secret {alias} into requests to {to}: {places}")
}

fn device_nodes(plan: &Plan, profile: &Profile) -> Section {
    let mut own = Vec::new();
    let mut rows = Vec::new();
    let declared = &profile.capabilities.devices;
    for mount in plan.root.mounts() {
        let name = match &mount.op {
            Op::Device { path: node, .. } if devices::is_always_there(node) => {
                own.push(path(&mount.at));
                continue;
            }
            Op::Device { name, .. } => name.as_deref(),
            Op::Pseudoterminals => Some("pty"),
            _ => continue,
        };
        let from = (declared.iter()).find(|item| Some(&*item.value.to_string()) == name);
        let from = origin(from.map(|item| &item.origin));
        rows.push(Row::whole(from, path(&mount.at)));
    }
    rows.push(Row::words("every sandbox", own));
    ("Devices", "private /dev; Landlock", rows)
}

/// The secret that a variable stands for.
fn stands_for<'p>(plan: &'p Plan, variable: &str) -> Option<&'p str> {
    let stands = |secret: &&Secret| {
        let placeholder = secret.placeholder.as_ref();
        placeholder.is_some_and(|(name, _)| name == variable)
    };
    Some(&plan.secrets.iter().find(stands)?.alias)
}

/// The caller's values are not shown: some are secrets, and explanations get pasted.
fn environment(plan: &Plan, profile: &Profile) -> Section {
    let mut rows = Vec::new();
    let mut passed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &plan.environment {
        let text = name.to_string_lossy();
        let set = profile.environment.set.get(&*text);
        let pass = (profile.environment.pass.iter()).find(|item| item.value == text);
        let assigned = || format!("{}={}", shown(name), shown(value));
        match (set, pass) {
            _ if let Some(secret) = stands_for(plan, &text) => {
                let declared = profile.capabilities.secrets_use.get(secret);
                let what = format!("{} (stands for the secret {secret})", assigned());
                rows.push(Row::whole(origin(declared.map(|item| &item.origin)), what));
            }
            (None, _) if trust::is_variable(&text) && plan.network == Network::Brokered => {
                rows.push(Row::whole("net.outbound", assigned()));
            }
            (Some(set), _) => rows.push(Row::whole(origin(Some(&set.origin)), assigned())),
            (None, Some(pass)) => {
                let file = declared(&pass.origin).0;
                passed.entry(file).or_default().push(shown(name));
            }
            (None, None) if OWN_VARIABLES.contains(&&*text) => {
                rows.push(Row::whole("every sandbox", assigned()));
            }
            (None, None) => passed.entry(String::new()).or_default().push(shown(name)),
        }
    }
    rows.sort_by_key(|row| row.from == "every sandbox");
    for (file, mut words) in passed {
        words.push("(as the caller has them)".into());
        rows.push(Row::words(file, words));
    }
    ("Environment", "all other variables removed", rows)
}

fn limits(plan: &Plan, profile: &Profile) -> Section {
    let row = |from: String, key: &str, value: &str, by: &str| {
        Row::whole(from, format!("{key:<10}  {value:<8}  {by}"))
    };
    let mut rows = Vec::new();
    for &key in LimitKey::ALL {
        let held = plan.limits.held.iter().find(|held| held.limit == key);
        match (profile.limits.get(key), held) {
            (Some(asked), Some(held)) => {
                let from = origin(Some(&asked.origin));
                rows.push(row(from, key.name(), &key.show(asked.value), held.by));
                let less = held.less.iter().map(|less| Row::new("", &less.what));
                rows.extend(less);
            }
            (None, _) if key == LimitKey::Tmp => {
                let size = key.show(plan.root.size());
                rows.push(row(
                    "default".into(),
                    key.name(),
                    &size,
                    "size of the private tmpfs",
                ));
            }
            _ => {}
        }
    }
    for limit in profile.limits.must_hold() {
        let from = origin(Some(&limit.origin));
        rows.push(Row::whole(
            from,
            format!("{} must hold as it says", limit.value),
        ));
    }
    rows.push(Row::whole(
        "every sandbox",
        format!("{:<10}  {:<8}  RLIMIT_CORE", "core", CORE_LIMIT),
    ));
    ("Limits", "", rows)
}

fn system_calls(plan: &Plan, profile: &Profile) -> Section {
    let spec = plan.syscalls.unattended();
    // The plan's own filter was made from this spec, so it can be made again.
    let filter = seccomp::filter_for(&spec).unwrap_or_else(|_| plan.seccomp.clone());
    let (mut allowed, mut refused, mut narrowed) = (0, 0, Vec::new());
    for (number, rule) in filter.rules.iter() {
        match rule.otherwise {
            _ if !rule.arms.is_empty() => narrowed.extend(filter.arch.name(number)),
            Action::Allow => allowed += 1,
            _ => refused += 1,
        }
    }
    narrowed.sort_unstable();
    let asked = &profile.syscalls;
    let base = asked.base.as_ref();
    let name = base.map_or(SyscallBase::Default, |base| base.value);
    let from = base.map_or_else(|| "default".into(), |base| origin(Some(&base.origin)));
    let mut rows = vec![Row::new(
        from,
        &format!(
            "base `{name}`: {allowed} let through, {} narrowed by argument, {refused} refused, unknown ones ENOSYS",
            narrowed.len()
        ),
    )];
    for (verb, list, declared) in [
        ("allow", &spec.allow, &asked.allow),
        ("deny", &spec.deny, &asked.deny),
    ] {
        let row = |name| Row::whole(origin_in(declared, name), format!("{verb} {name}"));
        rows.extend(list.iter().map(row));
    }
    rows.push(Row::new("narrowed", &narrowed.join(" ")));
    ("System calls", "seccomp", rows)
}

fn identity(plan: &Plan) -> Section {
    let identity = &plan.identity;
    let why = if identity.switch {
        "not the caller, who is root"
    } else {
        "the caller"
    };
    let rows = vec![
        Row::whole(
            "user, group",
            format!("{} {}  ({why})", identity.uid, identity.gid),
        ),
        Row::new(
            "capabilities",
            "none, and none can be gained: all five sets empty, no_new_privs, securebits locked",
        ),
        Row::whole("host name", &plan.hostname),
        Row::whole("umask", format!("{:04o}", plan.umask)),
    ];
    ("Identity", "user namespace", rows)
}

fn layers(plan: &Plan) -> Section {
    let layers = report::layers(plan);
    let rows = layers
        .iter()
        .map(|layer| Row::new(layer.layer, &layer.state));
    ("Layers", "", rows.collect())
}

fn missing(plan: &Plan) -> Section {
    let mut rows = Vec::new();
    for item in &plan.degraded {
        rows.push(Row::new(item.layer, &item.what));
        rows.push(Row::new("", &format!("fix: {}", item.fix)));
    }
    ("Missing on this host", "see also `aegis doctor`", rows)
}
