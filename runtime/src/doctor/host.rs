//! Facts about the host that explain why a probe failed. A plain value, so that tests can make up
//! hosts that they do not run on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::facts;
use crate::facts::cgroups::Layout;
use crate::types::SANDBOX_UID;
use aegis_sys::{namespaces, status};

/// The cgroup interface that the host's controllers are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Nothing is mounted.
    None,
    /// v1, or v1 with a cgroup2 tree beside it.
    V1,
    V2,
}

/// The host, as far as a diagnosis needs it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// `uname -r`.
    pub release: String,
    /// Its first two numbers.
    pub kernel: (u32, u32),
    pub uid: u32,
    /// Whether the ids of a sandbox started by root exist here.
    pub sandbox_id_mapped: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restricts: bool,
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's and Arch's patch).
    pub userns_clone_off: bool,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// The container that this process seems to run in.
    pub container: Option<String>,
    /// In a `chroot(2)`, where the kernel makes no user namespace.
    pub chrooted: bool,
    /// A seccomp filter is on this process already.
    pub filtered: bool,
    /// Mounts on top of parts of /proc.
    pub masked_proc: Vec<String>,
    /// The active security modules, if securityfs lists them.
    pub lsm: Option<String>,
    pub landlock_abi: u32,
    pub memfd_noexec: bool,
    pub core_pattern: String,
    /// PID 1 is systemd.
    pub systemd: bool,
    pub cgroups: Version,
    pub layout: Layout,
    /// Where the programs are, for a profile of AppArmor.
    pub programs: PathBuf,
}

fn line(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

impl Host {
    pub fn read() -> Self {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let facts = facts::kernel_facts();
        let layout = Layout::of_this_process();
        let uid = rustix::process::geteuid().as_raw();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let masked_proc = masks(&mounts);
        let filtered = status::numbers(None, "Seccomp").is_ok_and(|mode| mode == [2]);
        // A container image that is booted as a machine has these marks, too.
        let contained = filtered || !masked_proc.is_empty() || !in_first_pid_namespace();
        Self {
            kernel: version(&release),
            release,
            uid,
            sandbox_id_mapped: namespaces::has_user(SANDBOX_UID).unwrap_or(false),
            apparmor_restricts: line("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                .is_some_and(|value| value != "0"),
            userns_clone_off: line("/proc/sys/kernel/unprivileged_userns_clone")
                .is_some_and(|value| value == "0"),
            max_user_namespaces: line("/proc/sys/user/max_user_namespaces")
                .and_then(|value| value.parse().ok()),
            container: contained.then(|| container(uid)).flatten(),
            chrooted: chrooted(&mounts),
            filtered,
            masked_proc,
            lsm: line("/sys/kernel/security/lsm"),
            landlock_abi: facts.landlock_abi,
            memfd_noexec: facts.memfd_noexec,
            core_pattern: line("/proc/sys/kernel/core_pattern").unwrap_or_default(),
            systemd: Path::new("/run/systemd/system").exists(),
            cgroups: if !layout.v1.is_empty() {
                Version::V1
            } else if layout.unified.is_some() {
                Version::V2
            } else {
                Version::None
            },
            layout,
            programs: std::env::current_exe()
                .ok()
                .and_then(|path| path.parent().map(Path::to_path_buf))
                .unwrap_or_else(|| "/usr/bin".into()),
        }
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Mount points below /proc, from a `mountinfo`. A kernel file system that systemd mounts there
/// hides nothing.
fn masks(mountinfo: &str) -> Vec<String> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|at| at.starts_with("/proc/") && *at != "/proc/sys/fs/binfmt_misc")
        .map(str::to_owned)
        .collect()
}

/// Whether this is the pid namespace that the kernel started with: its inode number is fixed
/// (`PROC_PID_INIT_INO` of `linux/proc_ns.h`).
fn in_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name == Path::new("pid:[4026531836]"))
}

/// Whether `/` is not the root of this mount namespace: not a mount point, or not process 1's.
fn chrooted(mountinfo: &str) -> bool {
    let mounted = mountinfo
        .lines()
        .any(|line| line.split(' ').nth(4) == Some("/"));
    let place = |path: &str| {
        rustix::fs::stat(path)
            .ok()
            .map(|stat| (stat.st_dev, stat.st_ino))
    };
    let first = place("/proc/1/root/");
    !mountinfo.is_empty() && (!mounted || (first.is_some() && first != place("/")))
}

/// The marks that container engines leave; they are hints, for a diagnosis only.
fn container(uid: u32) -> Option<String> {
    if Path::new("/.dockerenv").exists() {
        return Some("Docker".into());
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("Podman".into());
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("Kubernetes".into());
    }
    let named = line("/run/systemd/container")
        .or_else(|| std::env::var("container").ok())
        .filter(|name| !name.is_empty());
    if named.is_some() {
        return named;
    }
    // The host's root may read it; a root without CAP_SYS_PTRACE, or of another user namespace, may not.
    let shut = uid == 0 && fs::read("/proc/1/environ").is_err();
    shut.then(|| "a container".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_have_two_numbers_first() {
        for (release, wanted) in [
            ("6.18.44-fc-v595", (6, 18)),
            ("5.14.0-427.el9.x86_64", (5, 14)),
            ("6.8.0-31-generic", (6, 8)),
            ("7.0-rc1", (7, 0)),
            ("odd", (0, 0)),
        ] {
            assert_eq!(version(release), wanted, "{release}");
        }
    }

    #[test]
    fn a_container_masks_parts_of_proc_and_a_plain_host_none() {
        let docker = "\
600 590 0:60 / /proc rw,nosuid - proc proc rw
601 600 0:60 /sys /proc/sys ro,nosuid - proc proc rw
602 600 0:61 / /proc/kcore rw - tmpfs tmpfs rw\n";
        assert_eq!(masks(docker), ["/proc/sys", "/proc/kcore"]);
        let host = "\
22 1 0:21 / /proc rw - proc proc rw
30 22 0:30 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n";
        assert!(masks(host).is_empty());
        assert!(chrooted(host), "no mount is at /");
    }
}
