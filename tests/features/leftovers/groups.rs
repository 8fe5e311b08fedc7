//! The janitor of a run's control groups: nothing is left for good if it is killed or stopped.

use super::*;

/// A run with control groups that waits for its input to end, and its janitor.
fn with_janitor(host: &Host) -> (Child, i32) {
    let mut command = host.command(limits(User::Root));
    command.args(["--", "sh", "-c", "echo ready; read line; exit 0"]);
    let child = host::started(&mut command, "ready");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = std::fs::read_to_string(children).expect("a child of ours");
    let janitor = (children.split_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .find(|pid| host::pids(*pid).len() == 1);
    (child, janitor.expect("a janitor") as i32)
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: no pointers; the pid is that of a child, or of a child's child that is waited for by that.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_later_run_removes_the_groups_of_one_whose_janitor_was_killed_with_it() {
    host::in_private_mounts(|| {
        let host = Host::new(User::Root, "together");
        // A run of another test may remove them before they are looked at: then once more.
        let left = (0..20).find_map(|_| {
            let (mut child, janitor) = with_janitor(&host);
            let supervisor = child.id() as i32;
            // Neither acts between the two kills.
            for (pid, number) in [
                (janitor, libc::SIGSTOP),
                (supervisor, libc::SIGSTOP),
                (janitor, libc::SIGKILL),
                (supervisor, libc::SIGKILL),
            ] {
                signal(pid, number);
            }
            child.wait().expect("a child of ours");
            eventually("killed", || host.mark.processes());
            (!host.groups(&[child.id()]).is_empty()).then_some(child.id())
        });
        let killed = left.expect("the control: they are left");
        let pids = [killed];
        // Another one that is running is left alone.
        let (mut other, _) = with_janitor(&host);
        let others = host.groups(&[other.id()]);
        let mut command = host.command(limits(User::Root));
        command.args(["--", "true"]);
        let run = (command.stdin(Stdio::null()).output()).expect("aegis-run starts");
        assert!(run.status.success(), "{}", aegis_tests::text(&run));
        assert_eq!(host.groups(&pids), [""; 0]);
        assert_eq!(host.groups(&[other.id()]), others);
        drop(other.stdin.take());
        assert!(other.wait().expect("a child of ours").success());
        // The killed run's file: the next listing removes it.
        let _ = std::fs::remove_dir_all("/run/aegis");
        host.clean(&[killed, other.id()], "both");
    });
}

#[test]
fn a_run_whose_janitor_is_killed_or_stopped_removes_its_groups_itself() {
    host::in_private_mounts(|| {
        let host = Host::new(User::Root, "janitor");
        for number in [libc::SIGKILL, libc::SIGSTOP] {
            for _ in 0..20 {
                let (mut child, janitor) = with_janitor(&host);
                signal(janitor, number);
                drop(child.stdin.take());
                assert!(child.wait().expect("a child of ours").success());
                host.clean(&[child.id()], "at the end");
            }
        }
    });
}
