//! The plan for a person: what may be done, which line of which profile says so, which layer of the
//! kernel holds it, and what this host lacks. The same plan gives the same text.
//!
//! On the left stands the line that grants, on the right what it grants. Lines of built-in profiles
//! are taken together, since nobody looks for one of a hundred programs there; a profile's own are
//! not. `Plan::to_json` has everything, ungrouped.

mod grants;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aegis_policy::Verdict;
use aegis_profile::{LimitKey, Outbound, Profile};

use aegis_runtime::facts::devices;
use aegis_runtime::plan::{CORE_LIMIT, Memfd, Mount, Plan, Source};
use aegis_runtime::seccomp::{self, Action, SyscallRule};
use aegis_runtime::supervise::report;
use aegis_runtime::types::Network;

use super::page::{Page, Row, path, shown};
use grants::{by_directory, grouped, place};

/// Variables that every sandbox has.
const OWN_VARIABLES: [&str; 5] = ["HOME", "LOGNAME", "PATH", "TMPDIR", "USER"];

/// The plan as text. `profile` gives the lines for limits, variables, devices and system calls, which
/// the plan itself does not keep.
pub(crate) fn text(plan: &Plan, profile: &Profile, colour: bool) -> String {
    let mut page = Page {
        out: String::new(),
        colour,
    };
    page.section("Command", "", &command(plan));
    page.section(
        "Read",
        "read-only mounts; Landlock",
        &granted(plan, "files.read"),
    );
    page.section(
        "Write",
        "mounts, nosuid and nodev; Landlock",
        &writable(plan),
    );
    page.section(
        "Execute",
        "mounts, noexec elsewhere; Landlock",
        &executable(plan),
    );
    page.section(
        "Network",
        "namespace; seccomp; Landlock",
        &network(plan, profile),
    );
    page.section(
        "Devices",
        "private /dev; Landlock",
        &device_nodes(plan, profile),
    );
    page.section(
        "Environment",
        "all other variables removed",
        &environment(plan, profile),
    );
    page.section("Limits", "", &limits(plan, profile));
    page.section("System calls", "seccomp", &system_calls(plan, profile));
    page.section("Policy", "", &policy(plan));
    page.section("Identity", "user namespace", &identity(plan));
    page.section("Layers", "", &layers(plan));
    page.section(
        "Missing on this host",
        "see also `aegis doctor`",
        &missing(plan),
    );
    page.out
}

fn command(plan: &Plan) -> Vec<Row> {
    let words = plan.argv.iter().map(|word| shown(word)).collect();
    let mut rows = vec![
        Row::whole("profile", plan.profile.clone()),
        Row {
            from: "command".into(),
            words,
        },
        Row::whole("program", path(&plan.program)),
        Row::whole("directory", path(&plan.directory)),
        Row::whole("plan", plan.hash().to_string()),
    ];
    if !plan.keep_fds.is_empty() {
        let list: Vec<String> = plan.keep_fds.iter().map(ToString::to_string).collect();
        rows.push(Row::new(
            "descriptors",
            &format!("0 1 2 {}", list.join(" ")),
        ));
    }
    rows
}

fn granted(plan: &Plan, action: &str) -> Vec<Row> {
    grouped(
        plan.grants
            .iter()
            .filter(|grant| grant.what.action() == action),
    )
}

/// The policy, and each grant of which it says more than `allow`.
fn policy(plan: &Plan) -> Vec<Row> {
    let Some(policy) = &plan.policy else {
        return Vec::new();
    };
    let mut rows = vec![
        Row::whole("policy", policy.name.clone()),
        Row::whole("hash", policy.hash.to_string()),
        Row::whole("verdict", policy.verdict.to_string()),
    ];
    for grant in &plan.grants {
        if let Some(said) = grant
            .decision
            .as_ref()
            .filter(|d| d.verdict > Verdict::Allow)
        {
            let from = format!("{} {}", said.verdict, place(&grant.from.to_string()).0);
            rows.push(Row::new(&from, &format!("{}: {}", grant.what, said.reason)));
        }
    }
    rows
}

fn writable(plan: &Plan) -> Vec<Row> {
    let mut rows = granted(plan, "files.write");
    let host = |mount: &Mount| matches!(mount.source, Source::Host { .. });
    let kept: BTreeSet<&Path> = plan
        .mounts
        .iter()
        .filter(|mount| host(mount) && !mount.write)
        .filter(|mount| {
            plan.mounts.iter().any(|above| {
                host(above)
                    && above.write
                    && above.at != mount.at
                    && mount.at.starts_with(&above.at)
            })
        })
        .map(|mount| mount.at.as_path())
        .collect();
    let mut from = "kept read-only in there";
    for words in by_directory(&kept) {
        rows.push(Row {
            from: std::mem::take(&mut from).into(),
            words,
        });
    }
    let mut own: Vec<String> = plan
        .mounts
        .iter()
        .filter(|mount| mount.source == Source::Scratch)
        .map(|mount| path(&mount.at))
        .collect();
    own.push("(private, in memory, gone afterwards)".into());
    rows.push(Row {
        from: "every sandbox".into(),
        words: own,
    });
    rows
}

fn executable(plan: &Plan) -> Vec<Row> {
    let mut rows = granted(plan, "shell.exec");
    let memory = match plan.memfd {
        Memfd::Sysctl => "kept from being executed by vm.memfd_noexec=2",
        Memfd::Supervised => "kept from being executed: the supervisor seals each",
        Memfd::Unprotected => "can be executed: this kernel cannot keep them from it",
    };
    rows.push(Row::new("memory files", memory));
    rows
}

/// The left side for something that the profile may have declared.
fn origin(origin: Option<&aegis_profile::Origin>) -> String {
    origin.map_or_else(String::new, |origin| match place(&origin.to_string()) {
        (file, Some(line)) => format!("{file}:{line}"),
        (place, None) => place,
    })
}

fn network(plan: &Plan, profile: &Profile) -> Vec<Row> {
    if plan.network == Network::None {
        return vec![Row::new(
            "every sandbox",
            "none but a loopback device of its own",
        )];
    }
    let from = match &profile.capabilities.net_outbound {
        Outbound::Host(from) => origin(Some(from)),
        _ => "net.outbound".into(),
    };
    let mut rows = vec![Row::new(
        from,
        "the host's network, whole: whatever this host reaches, its own services too",
    )];
    if plan.landlock.handled_net == 0 {
        rows.push(Row::new("", "any TCP port may be listened on"));
        return rows;
    }
    let declared = &profile.capabilities.net_listen;
    for port in &plan.landlock.bind {
        let from = declared
            .iter()
            .find(|item| item.value == *port)
            .map(|item| &item.origin);
        rows.push(Row::whole(
            origin(from),
            format!("listen on TCP port {port}"),
        ));
    }
    if plan.landlock.bind.is_empty() {
        rows.push(Row::new("", "no TCP port may be listened on"));
    }
    rows
}

fn device_nodes(plan: &Plan, profile: &Profile) -> Vec<Row> {
    let mut own = Vec::new();
    let mut rows = Vec::new();
    let declared = &profile.capabilities.devices;
    for mount in &plan.mounts {
        match mount.source {
            Source::Device { .. } if is_own(&mount.at) => own.push(path(&mount.at)),
            Source::Device { .. } | Source::Pseudoterminals => {
                let from = declared.iter().find(|item| {
                    let nodes = devices::nodes(&item.value);
                    nodes.contains(&mount.at)
                        || (nodes.is_empty() && mount.source == Source::Pseudoterminals)
                });
                rows.push(Row::whole(
                    origin(from.map(|item| &item.origin)),
                    path(&mount.at),
                ));
            }
            _ => {}
        }
    }
    rows.push(Row {
        from: "every sandbox".into(),
        words: own,
    });
    rows
}

fn is_own(node: &Path) -> bool {
    node == Path::new("/dev/tty") || devices::ALWAYS.iter().any(|own| node == Path::new(own))
}

/// Values that the caller has are not shown: some are secrets, and explanations get pasted.
fn environment(plan: &Plan, profile: &Profile) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut passed: Vec<(String, String)> = Vec::new();
    for (name, value) in &plan.environment {
        let text = name.to_string_lossy();
        let set = profile.environment.set.get(&*text);
        let pass = (profile.environment.pass.iter()).find(|item| item.value == text);
        let assigned = || format!("{}={}", shown(name), shown(value));
        match (set, pass) {
            (Some(set), _) => rows.push(Row::whole(origin(Some(&set.origin)), assigned())),
            (None, Some(pass)) => {
                let (file, _) = place(&pass.origin.to_string());
                passed.push((file, shown(name)));
            }
            (None, None) if OWN_VARIABLES.contains(&&*text) => {
                rows.push(Row::whole("every sandbox", assigned()));
            }
            (None, None) => passed.push((String::new(), shown(name))),
        }
    }
    rows.sort_by_key(|row| row.from == "every sandbox");
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, name) in passed {
        files.entry(file).or_default().push(name);
    }
    for (file, mut words) in files {
        words.push("(as the caller has them)".into());
        rows.push(Row { from: file, words });
    }
    rows
}

fn limits(plan: &Plan, profile: &Profile) -> Vec<Row> {
    let limits = &plan.limits;
    let group = &limits.group;
    let resource = |number: u32| {
        limits
            .resources
            .iter()
            .find(|(found, _)| *found == number)
            .map(|(_, value)| *value)
    };
    let either = |group: Option<u64>, fallback: Option<u64>, by: &'static str| match group {
        Some(value) => Some((value, "control group")),
        None => fallback.map(|value| (value, by)),
    };
    let by = |value: Option<u64>, by: &'static str| value.map(|value| (value, by));
    let processors = limits.processors.map(|count| count as u64 * 1000);
    let mut rows = Vec::new();
    for &key in LimitKey::ALL {
        let held = match key {
            LimitKey::Time => by(limits.time, "supervisor"),
            LimitKey::Memory => either(
                group.memory,
                resource(libc::RLIMIT_DATA),
                "each process, RLIMIT_DATA",
            ),
            LimitKey::Cpu => either(group.cpu, processors, "processor affinity"),
            LimitKey::Pids => either(group.pids, resource(libc::RLIMIT_NPROC), "RLIMIT_NPROC"),
            LimitKey::Files => by(resource(libc::RLIMIT_NOFILE), "each process, RLIMIT_NOFILE"),
            LimitKey::FileSize => by(resource(libc::RLIMIT_FSIZE), "each file, RLIMIT_FSIZE"),
            LimitKey::Output => by(limits.output, "supervisor"),
            LimitKey::Tmp => by(Some(limits.tmp), "size of the private tmpfs"),
            LimitKey::DiskRead => by(group.disk_read, "control group"),
            LimitKey::DiskWrite => by(group.disk_write, "control group"),
            LimitKey::Net => None,
        };
        let Some((value, holder)) = held else {
            continue;
        };
        let asked = profile.limits.get(key);
        let value = asked.map_or(value, |asked| asked.value);
        let from = match asked {
            None if key == LimitKey::Tmp => "default".into(),
            asked => origin(asked.map(|asked| &asked.origin)),
        };
        rows.push(Row::whole(
            from,
            format!("{:<10}  {:<8}  {holder}", key.name(), key.show(value)),
        ));
    }
    rows.push(Row::whole(
        "every sandbox",
        format!("{:<10}  {:<8}  RLIMIT_CORE", "core", CORE_LIMIT),
    ));
    rows
}

fn system_calls(plan: &Plan, profile: &Profile) -> Vec<Row> {
    let spec = plan.syscalls.unattended();
    // The plan's own filter was made from this, so it can be made.
    let filter = seccomp::filter_for(&spec).unwrap_or_else(|_| plan.seccomp.clone());
    let (mut allowed, mut refused, mut narrowed) = (0, 0, Vec::new());
    for (number, rule) in filter.rules.iter() {
        match rule {
            SyscallRule::Action(Action::Allow) => allowed += 1,
            SyscallRule::Action(_) => refused += 1,
            SyscallRule::Args(_) => narrowed.extend(filter.arch.name(number)),
        }
    }
    narrowed.sort_unstable();
    let asked = &profile.syscalls;
    let base = asked.base.as_ref();
    let name = match spec.base {
        seccomp::Base::Default => "default",
        seccomp::Base::Minimal => "minimal",
        seccomp::Base::Learned => "learned",
    };
    let from = base.map_or_else(|| "default".into(), |base| origin(Some(&base.origin)));
    let mut rows = vec![Row::new(
        from,
        &format!(
            "base `{name}`: {allowed} let through, {} narrowed by argument, {refused} refused, unknown ones ENOSYS",
            narrowed.len()
        ),
    )];
    let mut named = |verb: &str, list: &[String], declared: &[aegis_profile::Declared<String>]| {
        for name in list {
            let from = declared
                .iter()
                .find(|item| item.value == *name)
                .map(|item| &item.origin);
            rows.push(Row::whole(origin(from), format!("{verb} {name}")));
        }
    };
    named("allow", &spec.allow, &asked.allow);
    named("deny", &spec.deny, &asked.deny);
    rows.push(Row::new("narrowed", &narrowed.join(" ")));
    rows
}

fn identity(plan: &Plan) -> Vec<Row> {
    let identity = &plan.identity;
    let why = if identity.switch {
        "not the caller, who is root"
    } else {
        "the caller"
    };
    vec![
        Row::whole(
            "user, group",
            format!("{} {}  ({why})", identity.uid, identity.gid),
        ),
        Row::new(
            "capabilities",
            "none, and none to be gained: all five sets empty, no_new_privs, securebits locked",
        ),
        Row::whole("host name", plan.hostname.clone()),
        Row::whole("umask", format!("{:04o}", plan.umask)),
    ]
}

fn layers(plan: &Plan) -> Vec<Row> {
    report::layers(plan)
        .iter()
        .map(|layer| Row::new(layer.layer, &layer.state))
        .collect()
}

fn missing(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    for item in &plan.degraded {
        rows.push(Row::new(item.layer, &item.what));
        rows.push(Row::new("", &format!("mend: {}", item.mend)));
    }
    rows
}
