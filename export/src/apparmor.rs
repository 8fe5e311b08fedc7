//! A profile for AppArmor, to be loaded by `apparmor_parser`: `apparmor.d(5)`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use aegis_profile::{Denied, Hash};
use aegis_runtime::facts::paths::Kind;
use aegis_runtime::plan::{Op, Plan};
use aegis_runtime::seccomp::UnixSockets;
use aegis_runtime::types::Network;
use aegis_runtime::types::paths::is_below;
use aegis_sys::landlock::fs;

use crate::error::Error;
use crate::keys::Key;
use crate::model::{Compiled, Effect, Loss};
use crate::quote::{Text, comment};
use crate::view::{OVERLAY, place, reachable};

pub(crate) fn export(compiled: &Compiled<'_>) -> Result<(OsString, Vec<Loss>), Error> {
    let Compiled { profile, plan, .. } = compiled;
    let losses = compiled.losses(|key, lose| lost(key, plan, lose));
    let name = name(&plan.profile, profile.hash());
    let mut out = format!(
        "# The profile {}, exported by aegis for AppArmor.\n# Load it with: apparmor_parser -r FILE; start a command under it with: aa-exec -p {name} -- COMMAND\n",
        comment(&plan.profile)
    );
    for loss in &losses {
        let _ = writeln!(out, "# {}", comment(&loss.to_string()));
    }
    let _ = writeln!(out, "\nabi <abi/3.0>,\n\nprofile {name} {{");
    for line in lines(compiled)? {
        let _ = writeln!(out, "  {line},");
    }
    out.push_str("}\n");
    Ok((out.into(), losses))
}

/// A name that needs no quotes, and is no other profile's.
fn name(name: &str, hash: Hash) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    match plain == name {
        true => format!("aegis.{plain}"),
        false => format!("aegis.{plain}.{}", &hash.to_string()[..8]),
    }
}

/// A file, or a tree with its top.
fn pattern(path: &Path, tree: bool) -> Result<String, Error> {
    let path = Text::new("the path", path).apparmor()?;
    Ok(match (tree, path.as_str()) {
        (false, path) => format!("\"{path}\""),
        (true, "/") => "\"/{,**}\"".into(),
        (true, path) => format!("\"{path}/{{,**}}\""),
    })
}

fn lines(compiled: &Compiled<'_>) -> Result<Vec<String>, Error> {
    let Compiled {
        profile,
        plan,
        host,
    } = compiled;
    let mut lines = Vec::new();
    for found in reachable(plan) {
        let has = |right: u64| found.access & right != 0;
        let mut rights = String::from("r");
        for (given, letter) in [
            (has(fs::WRITE_FILE), "w"),
            (has(fs::MAKE_REG), "l"),
            // Locks are nobody else's concern here, as in a sandbox.
            (true, "k"),
            (found.shown.exec, "m"),
            (has(fs::EXECUTE), "ix"),
        ] {
            rights.push_str(if given { letter } else { "" });
        }
        let path = pattern(&found.shown.source, found.tree)?;
        lines.push(format!("{path} {rights}"));
    }
    for made in plan.root.iter() {
        match &made.op {
            Op::Device { path, .. } => {
                lines.push(format!("{} rw", pattern(path, is_directory(plan, path))?))
            }
            Op::Mask if made.at.starts_with("/proc") => {
                lines.push(format!(
                    "deny \"{}{{,/**}}\" rwklm",
                    Text::new("the path", &made.at).apparmor()?
                ));
            }
            Op::Bind {
                write: false,
                source,
                ..
            } if in_writable(plan, &made.at) => {
                lines.push(format!(
                    "deny {} wl",
                    pattern(&source.path, source.kind == Kind::Directory)?
                ));
            }
            _ => {}
        }
    }
    for (path, tree) in &host.hidden {
        lines.push(format!("deny {} rwklmx", pattern(path, *tree)?));
    }
    for item in &profile.capabilities.files_deny {
        if let Denied::Named { below, name } = &item.value {
            let below = match below {
                None => Some("/".into()),
                Some(below) => place(plan, below),
            };
            let Some(below) = below else { continue };
            let below = Text::new("the path", &below).apparmor()?;
            let name = Text::new("the name", name).apparmor()?;
            let below = below.trim_end_matches('/');
            lines.push(format!("deny \"{below}/{{,**/}}{name}{{,/**}}\" rwklmx"));
        }
    }
    lines.extend(
        [
            "/proc/ r",
            "/proc/* r",
            "/proc/sys/{,**} r",
            "owner /proc/[0-9]*/{,**} r",
        ]
        .map(str::to_owned),
    );
    let own = name(&plan.profile, profile.hash());
    lines.push(format!("signal peer={own}"));
    lines.push("signal (receive) peer=unconfined".into());
    lines.push(format!("ptrace peer={own}"));
    if plan.network == Network::Host {
        for family in ["inet", "inet6"] {
            lines.extend(["stream", "dgram"].map(|kind| format!("network {family} {kind}")));
        }
        lines.push("network netlink raw".into());
    }
    if plan.syscalls.unix_sockets == UnixSockets::Any {
        lines.push("network unix".into());
    }
    Ok(lines)
}

/// Whether a device is a directory of devices.
fn is_directory(plan: &Plan, device: &Path) -> bool {
    plan.root
        .iter()
        .any(|made| made.at == device && matches!(made.op, Op::Directory { .. }))
}

/// Whether a path lies in what may be written.
fn in_writable(plan: &Plan, at: &Path) -> bool {
    plan.root.mounts().any(|made| {
        matches!(made.op, Op::Bind { write: true, .. }) && made.at != at && is_below(at, &made.at)
    })
}

fn lost(key: Key, plan: &Plan, lose: &mut dyn FnMut(Effect, String)) {
    use Effect::{Narrower, Wider};
    match key {
        Key::Sandbox => {
            lose(Wider, "there are no namespaces: /proc shows the host's processes, as far as they are of the same user, and the kernel's own figures; a user namespace may be made; the user is whoever starts it".into());
            lose(Narrower, "there is no private $TMP, /dev/shm or home, and /etc/passwd, /etc/group and /etc/hosts are not made: start it where they are private, and add the rules".into());
        }
        Key::Run => lose(Wider, "the profile is for whatever is started under it: name the command yourself".into()),
        Key::Read | Key::Write => {}
        Key::Overlay => lose(Narrower, OVERLAY.into()),
        Key::Denied => lose(Narrower, "what is denied cannot be opened, but is seen to be there; names after ** are denied wherever they are".into()),
        Key::Exec => lose(Wider, "programs can be executed out of memory (memfd_create), and libraries mapped wherever programs may be".into()),
        Key::Outbound => match plan.network {
            Network::Host => lose(Wider, "the protocol of a socket is not looked at (SCTP, MPTCP, every kind of netlink)".into()),
            Network::None | Network::Brokered => lose(Narrower, "there is no loopback of its own: no socket but none at all".into()),
        },
        Key::Listen if plan.network == Network::Host => lose(Wider, "any port may be listened on".into()),
        Key::Listen => {}
        Key::Sockets => match plan.syscalls.unix_sockets {
            UnixSockets::Any => lose(Wider, "all Unix sockets of the host can be connected to, by abstract name too".into()),
            UnixSockets::None | UnixSockets::Private => lose(Narrower, "no Unix sockets, not even pairs: a rule for some would be one for the host's too where the kernel knows no finer ones".into()),
        },
        Key::Devices => {
            let has_pty = plan.root.iter().any(|made| made.op == Op::Pseudoterminals);
            if has_pty {
                lose(Narrower, "pty: there are no pseudo-terminals of its own".into());
            }
        }
        Key::Environment => lose(Wider, "the environment is whatever the command is started with".into()),
        Key::Limit(limit) => lose(Wider, format!("{limit} is not limited: by a control group or an rlimit, not by AppArmor")),
        Key::MustHold => lose(Wider, "no limit is held".into()),
        Key::Syscalls => lose(Wider, "system calls are not looked at: use the seccomp profile beside this one".into()),
    }
}
