//! The service that observes for users: who is told when there is none, when it ends, and that there is one.

use super::*;

#[test]
fn whoever_cannot_be_observed_is_told_before_anything_starts() {
    host::in_private_mounts(|| {
        host::tmpfs(Path::new("/run"), "mode=755");
        let workspace = Scene::new(User::Ordinary, "probes");
        let profile =
            "aegis: 1\nname: none\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";
        let output = recorded(&workspace, profile, &["sh", "-c", "echo > started"]).output();
        let said = refused(&output.expect("aegis-run starts"));
        assert!(said.contains("help: root observes by itself"), "{said}");
        assert!(!workspace.work().join("started").exists());
    });
}

/// The command is not ended by that, and the run does not pass for an observed one.
#[test]
fn a_service_that_is_killed_meanwhile_is_told() {
    host::in_private_mounts(|| {
        let service = Service::start();
        let workspace = Scene::new(User::Ordinary, "probes");
        let profile =
            "aegis: 1\nname: killed\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";
        let words = ["sh", "-c", "echo up; read -r line; echo > done"];
        let mut command = recorded(&workspace, profile, &words);
        let mut run = host::started(command.stderr(Stdio::piped()), "up");
        drop(service);
        drop(run.stdin.take());
        let output = run.wait_with_output().expect("it ends");
        let said = refused(&output);
        assert!(said.contains("does not answer any more"), "{said}");
        assert!(workspace.work().join("done").exists());
        assert!(!record(&workspace).exists());
    });
}

/// The service ends when it is told to, takes its socket along, and a second one is not started.
#[test]
fn one_service_at_a_time() {
    host::in_private_mounts(|| {
        let mut service = Service::start();
        let second = Command::new(program("aegis"))
            .arg("observe")
            .output()
            .expect("it starts");
        assert_eq!(second.status.code(), Some(1), "{}", text(&second));
        assert!(
            text(&second).contains("somebody observes already"),
            "{}",
            text(&second)
        );
        // SAFETY: no pointers; the process is ours.
        unsafe { libc::kill(service.0.id() as i32, libc::SIGTERM) };
        let status = service.0.wait().expect("it ends");
        assert_eq!(status.into_raw(), 0);
        assert!(!Path::new("/run/aegis-observe.sock").exists());
        // One that was killed leaves its socket, which is no hindrance.
        let mut killed = Service::start();
        killed.0.kill().expect("SIGKILL");
        killed.0.wait().expect("it ends");
        drop(Service::start());
    });
}

/// What nobody is observed by costs the machine nothing. It is detached a second after the last end.
#[test]
fn probes_are_attached_for_what_is_observed_and_no_longer() {
    host::in_private_mounts(|| {
        let service = Service::start();
        let attached = || -> Vec<PathBuf> {
            let open = std::fs::read_dir(format!("/proc/{}/fd", service.0.id()));
            let open = open.expect("it runs").flatten();
            open.filter_map(|fd| std::fs::read_link(fd.path()).ok())
                .filter(|to| to.as_os_str() == "anon_inode:bpf_link")
                .collect()
        };
        assert!(attached().is_empty(), "{:?}", attached());
        let scene = Scene::new(User::Ordinary, "probes");
        let profile = "aegis: 1\nname: attached\nextends: [shell]\n";
        let mut command = recorded(&scene, profile, &["sh", "-c", "echo up; read -r line; :"]);
        let mut run = host::started(&mut command, "up");
        assert!(!attached().is_empty());
        drop(run.stdin.take());
        assert!(run.wait().expect("it ends").success());
        host::eventually("probes", attached);
    });
}

/// The commands of `docs/observing.md`, one after the other, by a user.
#[test]
fn the_commands_of_the_page_do_as_they_say() {
    host::in_private_mounts(|| {
        let _service = Service::start();
        let workspace = Workspace::new(User::Ordinary);
        workspace.write("work/skill.yaml", "aegis: 1\nname: skill\nextends: [shell]\nrun: [sh, -c, \"cat /etc/shadow; echo x > out; :\"]\ncapabilities: {files.write: [$WORK/out]}\n");
        workspace.write("work/out", "");
        let output = follow(&workspace, "# Observing");
        let said = String::from_utf8_lossy(&output.stdout);
        let work = workspace.work();
        let written = work.join("out").display().to_string();
        for expected in [
            "/usr/bin/dash",
            &*written,
            "openat /etc/shadow ENOENT",
            "\"dropped\": 0",
        ] {
            assert!(
                said.lines().any(|line| line.contains(expected)),
                "{expected}: {said}"
            );
        }
    });
}
