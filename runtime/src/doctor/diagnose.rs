//! Derives the reason and the fix from what failed and what is known of the host. Pure.

use super::fix;
use super::host::{Host, Version};
use super::layer::{Finding, Layer, NO_RESULT, NOT_HELD, ProbeOutcome};

/// Why something does not work, and what to do about it, where that is known.
type Diagnosis = Option<(String, String)>;

fn cause(why: impl Into<String>, fix: impl Into<String>) -> Diagnosis {
    Some((why.into(), fix.into()))
}

/// Why a layer does not work in full, and what to do about it.
pub(super) fn diagnose(found: &Finding, host: &Host) -> (String, Option<String>) {
    let errno = match found.outcome {
        ProbeOutcome::Works => 0,
        ProbeOutcome::Partly(errno) | ProbeOutcome::Fails(errno) => errno,
        ProbeOutcome::Needs(other) => {
            return (format!("needs the layer `{}`", other.texts().name), None);
        }
    };
    let (mut why, mut fix) = explain(found, errno, host).unzip();
    if let ProbeOutcome::Fails(_) = found.outcome
        && !is_absence(found.layer, errno)
    {
        let error = match errno {
            NOT_HELD => "accepted by the kernel, but not enforced".into(),
            NO_RESULT => "the probe ended without a result".into(),
            _ => std::io::Error::from_raw_os_error(errno).to_string(),
        };
        let step = format!("{}: {error}", found.note);
        why = Some(why.map_or(step.clone(), |why| format!("{why} ({step})")));
    }
    if host.uid == 0 {
        fix = fix.map(|fix| fix.replace("sudo ", ""));
    }
    (why.unwrap_or_default(), fix)
}

/// A control group without a place to make it was not tried, so there is no kernel error.
fn is_absence(layer: Layer, errno: i32) -> bool {
    matches!(
        layer,
        Layer::Group | Layer::Memory | Layer::Cpu | Layer::Pids | Layer::Io
    ) && matches!(errno, libc::EACCES | libc::ENOENT)
}

fn explain(found: &Finding, errno: i32, host: &Host) -> Diagnosis {
    let layer = found.layer;
    match layer {
        _ if errno == libc::ENOSYS && host.kernel < since(layer) => {
            cause("the kernel is too old", fix::kernel(since(layer)))
        }
        Layer::Cores => cause(
            format!(
                "kernel.core_pattern is `{}`: the kernel passes dumps to that handler on the host, whatever the limit",
                host.core_pattern
            ),
            fix::sysctl("kernel.core_pattern", "core"),
        ),
        Layer::Notify if matches!(found.outcome, ProbeOutcome::Partly(_)) => {
            cause("the kernel has no WAIT_KILLABLE", fix::kernel((5, 19)))
        }
        Layer::Notify if errno == libc::EBUSY => cause(
            "another sandbox listens to this process's system calls already",
            "run Aegis outside of that sandbox",
        ),
        Layer::Memfd if errno == libc::ENOENT => {
            cause("the kernel has no vm.memfd_noexec", fix::kernel((6, 3)))
        }
        Layer::Landlock => landlock(found, errno, host),
        Layer::Idmap => idmap(found, errno, host),
        Layer::Group | Layer::Memory | Layer::Cpu | Layer::Pids | Layer::Io => {
            group(found, errno, host)
        }
        Layer::ProcessLimit if errno == libc::EAGAIN => cause(
            "RLIMIT_NPROC counts the processes of this user on the whole host",
            fix::kernel((5, 14)),
        ),
        _ => common(found, errno, host),
    }
}

/// The kernel that introduced what a layer needs.
fn since(layer: Layer) -> (u32, u32) {
    match layer {
        Layer::Calls => (5, 11),              // close_range with CLOSE_RANGE_CLOEXEC
        Layer::Pidfd | Layer::User => (5, 3), // clone3
        Layer::MountCalls | Layer::Idmap => (5, 12), // mount_setattr
        Layer::Landlock => (5, 13),
        Layer::Notify => (5, 0),
        _ => (4, 6), // the cgroup namespace, the youngest of the rest
    }
}

fn common(found: &Finding, errno: i32, host: &Host) -> Diagnosis {
    let layer = found.layer;
    let refused = matches!(errno, libc::EPERM | libc::EACCES);
    match errno {
        libc::ENOSPC | libc::EUSERS if host.max_user_namespaces == Some(0) => cause(
            "user.max_user_namespaces is 0",
            fix::sysctl("user.max_user_namespaces", "15000"),
        ),
        libc::ENOSPC | libc::EUSERS => cause(
            "the limit of namespaces is reached (user.max_*_namespaces), or they are nested 32 deep",
            fix::sysctl("user.max_user_namespaces", "100000"),
        ),
        libc::EINVAL if matches!(layer, Layer::User | Layer::Pid | Layer::Net | Layer::Ipc) => {
            cause(
                "the kernel was built without this namespace",
                format!("use a kernel with CONFIG_{}_NS=y", option(layer)),
            )
        }
        // The root of the mount namespace that the kernel started with has no parent.
        libc::EINVAL if layer == Layer::Root => cause(
            "the root seems to be the initramfs, from which pivot_root cannot go",
            "mount a root and go there first: switch_root(8)",
        ),
        libc::EPERM if layer == Layer::Proc && !host.masked_proc.is_empty() => masked(host),
        libc::EPERM | libc::EACCES | libc::EINVAL
            if layer == Layer::Ids && host.uid == 0 && !host.sandbox_id_mapped =>
        {
            mapped_root()
        }
        _ if refused && host.uid != 0 && host.userns_clone_off && layer == Layer::User => cause(
            "kernel.unprivileged_userns_clone is 0",
            fix::sysctl("kernel.unprivileged_userns_clone", "1"),
        ),
        // On Ubuntu 24.04 the namespace is made, but operations in it are refused.
        _ if refused && host.uid != 0 && host.apparmor_restricts && layer.of_user_namespace() => {
            cause(
                "AppArmor restricts unprivileged user namespaces: kernel.apparmor_restrict_unprivileged_userns is 1",
                fix::apparmor(host),
            )
        }
        libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EROFS => outer(host, errno),
        libc::EAGAIN | libc::ENOMEM => cause(
            "the host is out of processes or memory",
            "end something, or raise the limit of processes (ulimit -u), and try again",
        ),
        NO_RESULT => cause(
            "something killed the probe: a surrounding sandbox may kill for a system call",
            "run Aegis outside of it",
        ),
        _ => None,
    }
}

fn option(layer: Layer) -> &'static str {
    match layer {
        Layer::Pid => "PID",
        Layer::Net => "NET",
        Layer::Ipc => "IPC",
        _ => "USER",
    }
}

fn mapped_root() -> Diagnosis {
    cause(
        "this root is one of a user namespace that lacks the sandbox's id",
        "run Aegis as an ordinary user, or on the host",
    )
}

fn masked(host: &Host) -> Diagnosis {
    cause(
        format!(
            "parts of /proc are covered here ({}), and the kernel shows a user namespace no more than that",
            host.masked_proc.join(", ")
        ),
        fix::container(
            host,
            "--security-opt systempaths=unconfined",
            "--security-opt unmask=ALL",
            "procMount: Unmasked",
        ),
    )
}

/// Something around this process refuses.
fn outer(host: &Host, errno: i32) -> Diagnosis {
    let Some(name) = &host.container else {
        return match (host.filtered, errno) {
            (true, _) => cause(
                "a seccomp filter is on this process already, and seems to refuse it",
                "run Aegis outside of that sandbox; for a service of systemd: RestrictNamespaces=no and SystemCallFilter= (empty)",
            ),
            (false, libc::ENOSYS) => cause(
                "the kernel was built without it",
                "use a kernel of your distribution",
            ),
            (false, _) if host.chrooted => cause(
                "this is a chroot, in which the kernel makes no user namespace",
                "run Aegis outside of it, or enter it by pivot_root (systemd-nspawn does)",
            ),
            (false, _) => cause(
                "not caused by a sysctl or a seccomp filter, but perhaps by a security module (SELinux, AppArmor) or a chroot",
                "this names a module that refused: sudo dmesg | grep -iE 'denied|avc'",
            ),
        };
    };
    let by = if host.filtered {
        "the seccomp filter of "
    } else {
        ""
    };
    cause(
        format!("{by}the container ({name}) seems to refuse it"),
        fix::container(
            host,
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined",
            "--security-opt seccomp=unconfined --security-opt label=disable",
            "{seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}}",
        ),
    )
}

fn landlock(found: &Finding, errno: i32, host: &Host) -> Diagnosis {
    match (found.outcome, errno) {
        (ProbeOutcome::Partly(_), _) => {
            // What each ABI brought: landlock(7).
            let abi = host.landlock_abi;
            let lacks: Vec<&str> = [
                (2, "moving files between directories"),
                (3, "truncation"),
                (4, "TCP ports"),
                (5, "device ioctls"),
                (6, "abstract sockets and signals"),
            ]
            .iter()
            .filter(|(since, _)| abi < *since)
            .map(|(_, what)| *what)
            .collect();
            cause(
                format!("the kernel has ABI {abi}, without {}", lacks.join(", ")),
                fix::kernel((6, 12)),
            )
        }
        (_, libc::EOPNOTSUPP) => cause(
            "Landlock is in the kernel and not switched on",
            format!(
                "put this on the kernel's command line (GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub), and boot:\nlsm=landlock,{}",
                host.lsm
                    .as_deref()
                    .unwrap_or("lockdown,yama,integrity,apparmor,bpf")
            ),
        ),
        (_, libc::ENOSYS) if host.container.is_none() && !host.filtered => cause(
            "the kernel was built without Landlock",
            "use a kernel with CONFIG_SECURITY_LANDLOCK=y",
        ),
        _ => common(found, errno, host),
    }
}

fn idmap(found: &Finding, errno: i32, host: &Host) -> Diagnosis {
    match errno {
        _ if !host.sandbox_id_mapped => mapped_root(),
        libc::EINVAL => cause(
            format!(
                "the file system of {} has no id-mapped mounts: what only root may read or write there is refused",
                found.note
            ),
            "keep what is granted on ext4, xfs, btrfs (Linux 5.15) or tmpfs (6.3), or let it belong to an ordinary user",
        ),
        _ => common(found, errno, host),
    }
}

fn group(found: &Finding, errno: i32, host: &Host) -> Diagnosis {
    let ordinary = host.uid != 0;
    let delegation = |why: &str| cause(why, fix::delegation(host, errno == libc::ENOENT));
    match (errno, host.cgroups) {
        (_, Version::None) => delegation("no control groups are mounted at /sys/fs/cgroup"),
        (libc::EACCES | libc::EPERM | libc::ENOENT, Version::V1) if ordinary => {
            delegation("the host has cgroup v1, which gives an ordinary user no group")
        }
        (libc::ENOENT, Version::V1) if found.layer == Layer::Group => cause(
            "no cgroup2 tree is mounted beside v1",
            "sudo mkdir -p /sys/fs/cgroup/unified && sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
        ),
        (libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT, _)
            if host.container.is_some() =>
        {
            delegation("the container may not make control groups")
        }
        (libc::ENOENT, _) if ordinary => delegation("the controller is not delegated to this user"),
        (libc::ENOENT, _) => cause(
            "the kernel has no such controller, or it is off",
            "remove cgroup_disable= from the kernel's command line; for memory on a Raspberry Pi add cgroup_enable=memory",
        ),
        (libc::EACCES | libc::EPERM, _) if ordinary => {
            delegation("no control group is delegated to this user")
        }
        (libc::EACCES | libc::EPERM | libc::EROFS, _) => {
            delegation("the control groups cannot be written")
        }
        (libc::EBUSY, _) => cause(
            "the group that runs would be made in has processes of its own (cgroups(7), \"no internal processes\")",
            "systemd-run --scope -p Delegate=yes -- aegis-run ...",
        ),
        (libc::ENODEV, _) => cause(
            "the disk takes no limits",
            "remove `disk-read` and `disk-write` from the profile's limits, or work on another disk",
        ),
        (libc::ENOSYS | libc::EINVAL, _) if host.kernel < (5, 7) => {
            cause("the kernel has no CLONE_INTO_CGROUP", fix::kernel((5, 7)))
        }
        _ => common(found, errno, host),
    }
}
