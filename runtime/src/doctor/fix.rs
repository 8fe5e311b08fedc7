//! Fixes: the commands, as a person can paste them.

use super::host::{Host, Version};

/// Permits user namespaces to these programs alone, as Ubuntu's own profiles do
/// (`apparmor.d(5)`, "userns").
pub(super) fn apparmor(host: &Host) -> String {
    let programs = host.programs.display();
    format!(
        "permit it to Aegis alone:
printf '%s\\n' 'abi <abi/4.0>,' 'include <tunables/global>' \\
  'profile aegis {programs}/aegis{{,-run}} flags=(unconfined) {{' \\
  '  userns,' '  include if exists <local/aegis>' '}}' | sudo tee /etc/apparmor.d/aegis
sudo apparmor_parser -r /etc/apparmor.d/aegis
or to every program, until the next boot:
sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )
}

/// A sysctl, now and after the next boot.
pub(super) fn sysctl(name: &str, value: &str) -> String {
    format!(
        "echo '{name} = {value}' | sudo tee /etc/sysctl.d/60-aegis-{name}.conf && sudo sysctl -w {name}={value}"
    )
}

/// Options for the container that Aegis runs in.
pub(super) fn container(host: &Host, docker: &str, podman: &str, kubernetes: &str) -> String {
    let option = match host.container.as_deref() {
        Some("Podman" | "podman") => format!("podman run {podman} ..."),
        Some("Kubernetes") => format!("this in its securityContext: {kubernetes}"),
        _ => format!("docker run {docker} ..."),
    };
    format!("start the container with {option}\nor run Aegis on the host")
}

/// A kernel that has what is missing.
pub(super) fn kernel(version: (u32, u32)) -> String {
    format!("use Linux {}.{} or later", version.0, version.1)
}

/// How to get a place for control groups.
pub(super) fn delegation(host: &Host, controller_missing: bool) -> String {
    let user = host.uid;
    match host.cgroups {
        Version::V1 if user != 0 => "run as root: sudo aegis-run ...
or boot with cgroup v2, which can be delegated; on the kernel's command line: systemd.unified_cgroup_hierarchy=1"
            .into(),
        _ if host.container.is_some() => container(
            host,
            "--privileged --cgroupns=private",
            "--security-opt unmask=/sys/fs/cgroup",
            "privileged: true",
        ),
        Version::V1 => "sudo mount -o remount,rw /sys/fs/cgroup".into(),
        Version::V2 if host.systemd && controller_missing => {
            "sudo mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/aegis.conf
sudo systemctl daemon-reload
then log out and in again, and start with: systemd-run --user --scope -p Delegate=yes -- aegis-run ..."
                .into()
        }
        Version::V2 if host.systemd => {
            "systemd-run --user --scope -p Delegate=yes -- aegis-run ...".into()
        }
        Version::V2 => format!(
            "run as root: sudo aegis-run ...
or let root give you a group, and put your shell into it:
sudo sh -c 'cd /sys/fs/cgroup; echo \"+cpu +io +memory +pids\" > cgroup.subtree_control; mkdir -p aegis-{user}/shell; chown -R {user} aegis-{user}; echo '$$' > aegis-{user}/shell/cgroup.procs'"
        ),
        Version::None => "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup".into(),
    }
}
