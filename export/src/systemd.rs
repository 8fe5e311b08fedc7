//! Directives of a service of systemd: `systemd.exec(5)`, `systemd.resource-control(5)`, version 252 or later.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use aegis_profile::LimitKey;
use aegis_runtime::facts::devices;
use aegis_runtime::plan::{CORE_LIMIT, Op};
use aegis_runtime::seccomp::{Action, Filter, SeccompData, SyscallRule};
use aegis_runtime::types::paths::is_below;
use aegis_runtime::types::{Identity, Network, SANDBOX_UID};

use crate::error::Error;
use crate::keys::Key;
use crate::model::{Compiled, Effect, Loss};
use crate::quote::{Text, comment};
use crate::view::{ANEW, OVERLAY};
use crate::{cubes, view};

/// The calls whose arguments other directives look at as the filter does, or more closely: `RestrictNamespaces=`,
/// `RestrictSUIDSGID=`, `LockPersonality=`, `RestrictAddressFamilies=` for the family.
const HELD_OTHERWISE: [&str; 13] = [
    "clone",
    "unshare",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "creat",
    "open",
    "openat",
    "mknod",
    "mknodat",
    "personality",
    "setrlimit",
];

/// As one cannot be given: none but these.
const FAMILIES: [(&str, u64); 4] = [
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("AF_UNIX", 1),
];

/// What holds in every sandbox.
const ALWAYS: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
PrivateIPC=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
RemoveIPC=yes
PrivateDevices=yes
SystemCallArchitectures=native
InaccessiblePaths=-/sys
InaccessiblePaths=-/dev/pts
InaccessiblePaths=-/dev/ptmx
InaccessiblePaths=-/dev/mqueue
InaccessiblePaths=-/dev/hugepages
";

pub(crate) fn export(compiled: &Compiled<'_>) -> Result<(OsString, Vec<Loss>), Error> {
    let plan = compiled.plan;
    let filter = compiled.filter()?;
    let losses = compiled.losses(|key, lose| lost(key, compiled, &filter, lose));
    let mut out = format!(
        "# The profile {0}, exported by aegis for a service of systemd's system manager: a whole unit, or a drop-in\n\
         # (/etc/systemd/system/NAME.service.d/aegis.conf), for version 252 or later. In a drop-in, take out the two ExecStart= to keep the unit's own command.\n",
        comment(&plan.profile)
    );
    for loss in &losses {
        let _ = writeln!(out, "# {}", comment(&loss.to_string()));
    }
    out.push_str("\n[Service]\nType=exec\nExecStart=\nExecStart=");
    // Without the manager's own reading of `$`; `@`: the name comes after the path.
    let program = Text::new("the command", plan.program.as_os_str()).unit_word()?;
    let _ = write!(out, "\"@:{}", &program[1..]);
    for word in &plan.argv {
        let _ = write!(out, " {}", Text::new("the argument", word).unit_word()?);
    }
    out.push('\n');
    user(&mut out, &plan.identity);
    let _ = writeln!(
        out,
        "UMask={:04o}\nWorkingDirectory={}",
        plan.umask,
        directory(&plan.directory)?
    );
    environment(&mut out, compiled)?;
    out.push_str(ALWAYS);
    files(&mut out, compiled)?;
    network(&mut out, compiled, &filter);
    calls(&mut out, &filter);
    limits(&mut out, compiled);
    Ok((out.into(), losses))
}

/// The user. systemd takes no number that is nobody's, as root's sandboxes have. Not `DynamicUser=`: it protects `/` in a way that
/// takes the place of [`ROOT`].
fn user(out: &mut String, identity: &Identity) {
    let Identity { uid, gid, .. } = identity;
    let group = match *gid {
        SANDBOX_UID => NOGROUP,
        gid => gid,
    };
    let _ = match *uid {
        SANDBOX_UID => writeln!(out, "User={ACCOUNT}\nGroup={ACCOUNT}\nSupplementaryGroups="),
        uid => writeln!(out, "User={uid}\nGroup={group}\nSupplementaryGroups="),
    };
}

/// The account for what root starts.
const ACCOUNT: &str = "aegis";

/// The group of nobody, by its number, which all distributions share.
const NOGROUP: u32 = 65534;

/// The root. No other directive may name `/`: systemd would keep one of the two, and not this one.
const ROOT: &str = "TemporaryFileSystem=/:ro,noexec,mode=0755\n";

/// `WorkingDirectory=` takes its value as it is, without quotes.
fn directory(path: &Path) -> Result<String, Error> {
    let what = Text::new("the working directory", path);
    let quoted = what.unit_path()?;
    let text = &quoted[1..quoted.len() - 1];
    // White space at its ends, and a backslash at the end of the line, would be read as something else.
    match text.contains('\\') || text.trim() != text {
        true => Err(what.refuse(
            "systemd",
            "a directory without quotes, colons, backslashes and spaces at its ends",
        )),
        false => Ok(text.into()),
    }
}

fn environment(out: &mut String, compiled: &Compiled<'_>) -> Result<(), Error> {
    let (passed, set) = view::environment(compiled);
    for (name, value) in set {
        let mut assignment = name.to_owned();
        assignment.push("=");
        assignment.push(value);
        let _ = writeln!(
            out,
            "Environment={}",
            Text::new("the variable", &assignment).unit_word()?
        );
    }
    if !passed.is_empty() {
        let _ = writeln!(out, "PassEnvironment={}", passed.join(" "));
    }
    out.push_str("UnsetEnvironment=INVOCATION_ID JOURNAL_STREAM SYSTEMD_EXEC_PID NOTIFY_SOCKET MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE\n");
    Ok(())
}

fn files(out: &mut String, compiled: &Compiled<'_>) -> Result<(), Error> {
    let plan = compiled.plan;
    let unit = |path: &Path| Text::new("the path", path).unit_path();
    out.push_str(ROOT);
    for made in plan.root.iter() {
        match &made.op {
            Op::Private { exec } => {
                let exec = if *exec { "exec" } else { "noexec" };
                let mode = plan.root.iter().find_map(|of| match of.op {
                    Op::Directory { mode } if of.at == made.at => Some(mode),
                    _ => None,
                });
                let what = Text::new("the path", &made.at);
                let path = what.unit_path()?;
                if path.contains('\\') {
                    return Err(what.refuse(
                        "systemd",
                        "a private directory without quotes, colons and backslashes",
                    ));
                }
                let Identity { uid, gid, .. } = plan.identity;
                // Nobody but the service sees it.
                let owner = match uid {
                    SANDBOX_UID => "mode=1777".into(),
                    uid => format!("mode={:04o},uid={uid},gid={gid}", mode.unwrap_or(0o700)),
                };
                let (path, size) = (path.trim_end_matches('"'), plan.root.size());
                let _ = writeln!(
                    out,
                    "TemporaryFileSystem={path}:rw,nosuid,nodev,{exec},size={size},{owner}\""
                );
            }
            Op::Device { path, .. } if !devices::is_always_there(path) => {
                let path = unit(path)?;
                let _ = writeln!(out, "BindPaths={path}\nDeviceAllow={path} rw");
            }
            Op::Mask if made.at.starts_with("/proc") => {
                let _ = writeln!(out, "InaccessiblePaths=-{}", made.at.display());
            }
            _ => {}
        }
    }
    let shown = view::all(plan);
    let aliases = view::aliases(compiled, &shown);
    for shown in shown.iter().chain(&aliases) {
        let key = if shown.write {
            "BindPaths"
        } else {
            "BindReadOnlyPaths"
        };
        let (source, at) = (unit(&shown.source)?, unit(&shown.at)?);
        match shown.source == shown.at {
            true => out.push_str(&format!("{key}={at}\n")),
            false => out.push_str(&format!("{key}={source}:{at}\n")),
        }
        if !shown.exec {
            let _ = writeln!(out, "NoExecPaths={at}");
        }
    }
    for path in compiled.host.hidden.keys() {
        let _ = writeln!(out, "InaccessiblePaths={}", unit(path)?);
        // A second name of a tree shows it anew.
        for alias in aliases.iter().filter(|alias| is_below(path, &alias.source)) {
            if let Ok(rest) = path.strip_prefix(&alias.source) {
                let _ = writeln!(out, "InaccessiblePaths={}", unit(&alias.at.join(rest))?);
            }
        }
    }
    Ok(())
}

fn network(out: &mut String, compiled: &Compiled<'_>, filter: &Filter) {
    let plan = compiled.plan;
    match plan.network {
        Network::Host => {
            out.push_str("PrivateNetwork=no\nSocketBindDeny=tcp\n");
            for port in &plan.landlock.bind {
                let _ = writeln!(out, "SocketBindAllow=tcp:{port}");
            }
        }
        Network::None | Network::Brokered => out.push_str("PrivateNetwork=yes\n"),
    }
    let families: Vec<&str> = FAMILIES
        .iter()
        .filter(|(_, family)| may_be_made(filter, *family))
        .map(|(name, _)| *name)
        .collect();
    let families = match families.is_empty() {
        true => "none".into(),
        false => families.join(" "),
    };
    let _ = writeln!(out, "RestrictAddressFamilies={families}");
}

/// Whether a socket of this family may be made, of some type.
fn may_be_made(filter: &Filter, family: u64) -> bool {
    let Some(nr) = filter.arch.number("socket") else {
        return false;
    };
    (1..=5).any(|kind| {
        let arch = filter.arch.audit();
        let args = [family, kind, 0, 0, 0, 0];
        let call = SeccompData {
            nr,
            arch,
            args,
            ..SeccompData::default()
        };
        filter.evaluate(&call) == Action::Allow
    })
}

/// Whether a call may be made with some arguments.
fn may_be_called(rule: &SyscallRule) -> bool {
    let sets = cubes::of(rule);
    sets.iter()
        .any(|(action, calls)| *action == Action::Allow && !calls.is_empty())
}

fn calls(out: &mut String, filter: &Filter) {
    let mut allowed = Vec::new();
    let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (number, rule) in filter.rules.iter() {
        let Some(name) = filter.arch.name(number) else {
            continue;
        };
        match rule.otherwise {
            _ if may_be_called(rule) => allowed.push(name),
            Action::Errno(errno) if i32::from(errno) == libc::EACCES => {
                refused.entry("EACCES").or_default().push(name)
            }
            // As what is not listed.
            Action::Errno(errno) if i32::from(errno) == libc::ENOSYS => {}
            _ => refused.entry("EPERM").or_default().push(name),
        }
    }
    let _ = writeln!(
        out,
        "SystemCallErrorNumber=ENOSYS\nSystemCallFilter={}",
        allowed.join(" ")
    );
    // After the list of what is allowed, so that what systemd adds to that is refused too.
    for (errno, names) in refused {
        let names: Vec<String> = names.iter().map(|name| format!("{name}:{errno}")).collect();
        let _ = writeln!(out, "SystemCallFilter=~{}", names.join(" "));
    }
}

/// The name in a unit of a resource's number.
fn resource(number: u32) -> Option<&'static str> {
    Some(match number {
        libc::RLIMIT_FSIZE => "LimitFSIZE",
        libc::RLIMIT_NOFILE => "LimitNOFILE",
        libc::RLIMIT_CORE => "LimitCORE",
        libc::RLIMIT_MEMLOCK => "LimitMEMLOCK",
        libc::RLIMIT_SIGPENDING => "LimitSIGPENDING",
        libc::RLIMIT_MSGQUEUE => "LimitMSGQUEUE",
        libc::RLIMIT_RTPRIO => "LimitRTPRIO",
        // What stands in for a control group, which systemd has.
        _ => return None,
    })
}

fn limits(out: &mut String, compiled: &Compiled<'_>) {
    let Compiled { plan, profile, .. } = compiled;
    for (number, value) in &plan.limits.resources {
        if let Some(name) = resource(*number) {
            let _ = writeln!(out, "{name}={value}");
        }
    }
    if !plan
        .limits
        .resources
        .iter()
        .any(|(number, _)| *number == libc::RLIMIT_CORE)
    {
        let _ = writeln!(out, "LimitCORE={CORE_LIMIT}");
    }
    for (limit, declared) in profile.limits.iter() {
        let value = declared.value;
        let _ = match limit {
            LimitKey::Time => writeln!(out, "RuntimeMaxSec={value}ms"),
            LimitKey::Memory => writeln!(out, "MemoryMax={value}\nMemorySwapMax=0"),
            LimitKey::Cpu => writeln!(out, "CPUQuota={}.{}%", value / 10, value % 10),
            LimitKey::Pids => writeln!(out, "TasksMax={value}"),
            LimitKey::DiskRead => disks(out, compiled, "IOReadBandwidthMax", value),
            LimitKey::DiskWrite => disks(out, compiled, "IOWriteBandwidthMax", value),
            // Resources, sizes of file systems, no network; `lost` has the rest.
            LimitKey::Files
            | LimitKey::FileSize
            | LimitKey::Tmp
            | LimitKey::Net
            | LimitKey::Output => Ok(()),
        };
    }
}

fn disks(out: &mut String, compiled: &Compiled<'_>, key: &str, value: u64) -> std::fmt::Result {
    for (major, minor) in &compiled.plan.limits.group.disks {
        writeln!(out, "{key}=/dev/block/{major}:{minor} {value}")?;
    }
    Ok(())
}

fn lost(key: Key, compiled: &Compiled<'_>, filter: &Filter, lose: &mut dyn FnMut(Effect, String)) {
    use Effect::{Narrower, Wider};
    let plan = compiled.plan;
    match key {
        Key::Sandbox => {
            lose(Wider, "there is no namespace of processes: those of the same user are seen, and can be sent signals; /proc is writable as far as the kernel lets its user; an older systemd, or one in a container, goes on without what it cannot do".into());
            if plan.identity.uid == SANDBOX_UID {
                lose(Narrower, format!("it needs an account (useradd --system --user-group {ACCOUNT}), which may read and write what is granted"));
            }
            lose(Narrower, "the files /etc/passwd, /etc/group and /etc/hosts are not made".into());
        }
        Key::Run => {}
        Key::Read => {}
        Key::Write => {
            lose(Narrower, "what may be written can only be read by another name that a link gives it".into());
            lose(Wider, ANEW.into());
        }
        Key::Overlay => lose(Narrower, OVERLAY.into()),
        Key::Denied => lose(Wider, "what is there now is hidden, not what is made later under such a name: export again".into()),
        Key::Exec => lose(Wider, "whatever may be mapped executable, such as a library, may be executed too, and programs out of memory (memfd_create)".into()),
        Key::Outbound if plan.network == Network::Host => lose(Wider, "the protocol of a socket is not looked at (SCTP, MPTCP, every kind of netlink)".into()),
        Key::Outbound => {}
        Key::Listen if plan.network == Network::Host => lose(Wider, "a socket that was not bound may listen on a port that the kernel chooses; on a kernel without BPF systemd does not hold ports at all".into()),
        Key::Listen => {}
        Key::Sockets => {
            if plan.has_private_sockets() {
                lose(Narrower, compiled.unattended().into());
            }
            lose(Wider, "Unix sockets, and pairs, may be for datagrams, which can be sent to any socket in what is shown".into());
        }
        Key::Devices => {
            if plan.root.iter().any(|made| made.op == Op::Pseudoterminals) {
                lose(Narrower, "pty: there are no pseudo-terminals of its own".into());
            }
        }
        Key::Environment => lose(Wider, "systemd adds variables of its own (SHELL, LANG, and others of its version); what is passed on is the manager's".into()),
        Key::Limit(LimitKey::Output) => lose(Wider, "what is written to the journal is not limited".into()),
        Key::Limit(LimitKey::Tmp) => lose(Wider, "each of /tmp, /dev/shm and the private home may hold as much".into()),
        Key::Limit(LimitKey::DiskRead | LimitKey::DiskWrite) if plan.limits.group.disks.is_empty() => {
            lose(Wider, "the disks are not known on this host".into());
        }
        Key::Limit(
            LimitKey::Time
            | LimitKey::Memory
            | LimitKey::Cpu
            | LimitKey::Pids
            | LimitKey::Files
            | LimitKey::FileSize
            | LimitKey::DiskRead
            | LimitKey::DiskWrite
            | LimitKey::Net,
        ) => {}
        Key::MustHold => lose(Wider, "systemd goes on without a limit whose controller the host does not have".into()),
        Key::Syscalls => {
            let narrowed = filter.rules.iter().filter(|(_, rule)| !rule.arms.is_empty() && may_be_called(rule));
            let names: Vec<_> = narrowed
                .filter_map(|(number, _)| filter.arch.name(number))
                .filter(|name| !HELD_OTHERWISE.contains(name))
                .collect();
            lose(Wider, format!("of these calls the arguments are not looked at: {}", names.join(", ")));
            lose(Wider, "execve, exit, exit_group, rt_sigreturn and what else systemd itself needs are allowed".into());
        }
    }
}
