//! Bad ground: kernels that refuse the probes, services that end, several learners, mounts and places that are odd.

use std::os::unix::process::CommandExt;

use aegis_tests::EVERYTHING;

use super::*;

/// Has the kernel refuse `bpf(2)` to whatever a command starts, as one that is locked down does.
fn refuse_probes(command: &mut Command) {
    const PROGRAM: [libc::sock_filter; 4] = [
        // The number of the call.
        filter(0x20, 0, 0, 0),
        filter(0x15, 0, 1, libc::SYS_bpf as u32),
        filter(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
        filter(0x06, 0, 0, 0x7fff_0000),
    ];
    // SAFETY: after the fork it makes system calls alone; the program lives as long as this one.
    unsafe {
        command.pre_exec(|| {
            let program = libc::sock_fprog {
                len: PROGRAM.len() as u16,
                filter: PROGRAM.as_ptr().cast_mut(),
            };
            let mode = libc::SECCOMP_MODE_FILTER;
            match libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

const fn filter(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

#[test]
fn where_the_kernel_refuses_the_probes_the_listener_observes() {
    host::in_private_mounts(|| {
        host::tmpfs(Path::new("/run"), "mode=755");
        let profile = "aegis: 1\nname: ground\nextends: [shell]\n";
        let scene = Scene::new(User::Root, "auto");
        let mut command = recorded(&scene, profile, &["cat", "/etc/passwd"]);
        refuse_probes(&mut command);
        let output = command.output().expect("aegis-run starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("observed by seccomp"), "{said}");
        assert!(
            said.contains("the kernel does not take the probes"),
            "{said}"
        );
        assert_eq!(read(&scene)["runs"][0]["tier"], "listener");
        assert!(each(&read(&scene)["opened"], "path").contains("/etc/passwd"));

        let scene = Scene::new(User::Root, "probes");
        let mut command = recorded(&scene, profile, &["true"]);
        refuse_probes(&mut command);
        let said = refused(&command.output().expect("aegis-run starts"));
        assert!(said.contains("the probes cannot be loaded"), "{said}");
        let mut doctor = scene.command(program("aegis"));
        refuse_probes(doctor.arg("doctor"));
        let said = text(&doctor.output().expect("aegis starts"));
        assert!(said.contains("Observing (--record): by seccomp"), "{said}");
    });
}

/// What is out of the ordinary could be missed from then on: the run does not pass for one that was watched.
#[test]
fn a_service_that_is_killed_while_a_run_is_held_against_its_profile_is_told() {
    host::in_private_mounts(|| {
        let service = Service::start();
        let workspace = Workspace::new(User::Ordinary);
        let profile =
            "aegis: 1\nname: killed\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n";
        let profile = workspace.profile(profile);
        let mut command = workspace.command(program("aegis-run"));
        (command.args(["--observe", "--observe-by", "probes", "--profile"]))
            .arg(profile)
            .args(["--", "sh", "-c", "echo up; read -r line; exec cat"]);
        let mut run = host::started(command.stderr(Stdio::piped()), "up");
        drop(service);
        let _input = run.stdin.take();
        let output = run.wait_with_output().expect("it ends");
        // The policy says of what was lost, as of anything that no rule covers: it is killed.
        assert_eq!(output.status.code(), Some(137), "{}", text(&output));
        let said = text(&output);
        for part in [
            "it is not seen any more in whole",
            "does not answer any more",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    });
}

/// Without the service the kernel refuses nothing any more, whatever the policy says of losses. What was found until then is kept.
#[test]
fn what_the_kernel_guards_is_killed_with_the_service_and_what_was_found_is_kept() {
    host::in_private_mounts(|| {
        let mut service = Service::start();
        let workspace = Workspace::new(User::Ordinary);
        workspace.write("work/skill.sh", "echo up; read -r line\n");
        let mut learn = workspace.command(program("aegis-learn"));
        let words = ["-o", "skill.yaml", "--", "sh", "skill.sh"];
        let learnt = learn.args(words).stdin(Stdio::null()).output();
        let learnt = learnt.expect("aegis-learn starts");
        assert_eq!(learnt.status.code(), Some(0), "{}", text(&learnt));
        let script = "[ -e /etc/passwd ]; echo up; read -r line; :\n";
        workspace.write("work/skill.sh", script);
        for (blocked, is_guarded) in [("exec", true), ("socket", false)] {
            let rules = format!(
                "capabilities:\n  - {{id: odd, on: anomaly, match: {blocked}, verdict: block}}\n  - {{id: others, on: anomaly, match: \"*\", verdict: warn}}\n"
            );
            let policy = workspace.policy(&EVERYTHING.replace("capabilities:\n", &rules));
            let place = workspace.outside().join("report.json");
            let mut command = workspace.command(program("aegis-run"));
            command.args(["--observe", "--profile", "skill.yaml", "--policy"]);
            command.arg(policy).arg("--report").arg(&place);
            command.args(["--", "sh", "skill.sh"]);
            let mut run = host::started(command.stderr(Stdio::piped()), "up");
            let mut told = BufReader::new(run.stderr.take().expect("piped")).lines();
            let is_it = |line: &String| line.contains("out of the ordinary: it reads");
            let read = told.find_map(|line| line.ok().filter(is_it));
            assert!(read.is_some(), "{blocked}");
            drop(service);
            // It waits for its input as long as nobody ends it.
            let input = is_guarded.then(|| run.stdin.take());
            let status = run.wait().expect("it ends");
            drop(input);
            let wanted = if is_guarded { 137 } else { 125 };
            let said: Vec<_> = told.map_while(Result::ok).collect();
            assert_eq!(status.code(), Some(wanted), "{blocked}: {said:?}");
            let report = std::fs::read(&place).expect("a report");
            let report: Value = serde_json::from_slice(&report).expect("JSON");
            assert!(report["lost_events"].as_u64() >= Some(1), "{report}");
            let kinds: Vec<_> = (report["anomalies"].as_array().expect("a list").iter())
                .map(|anomaly| &anomaly["what"]["kind"])
                .collect();
            assert_eq!(kinds, ["read", "lost"], "{blocked}: {report}");
            service = Service::start();
        }
    });
}

fn learner(scene: &Scene, name: &str, words: &[&str]) -> Command {
    let mut command = scene.command(program("aegis-learn"));
    command.args(["-o", name, "--observe-by", scene.by, "--"]);
    command.args(words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Lines of a learnt profile.
fn learnt(scene: &Scene, name: &str) -> String {
    std::fs::read_to_string(scene.work().join(name)).expect("a profile")
}

#[track_caller]
fn verified(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(output));
    let said = text(output);
    assert!(
        said.contains("verified: it ran under the profile"),
        "{said}"
    );
}

#[test]
fn learners_beside_each_other_see_each_its_own() {
    observed(|scene| {
        scene.write("work/one", "1\n");
        scene.write("work/two", "2\n");
        let cases = [
            ("one", "cat"),
            ("two", "tac"),
            ("one", "wc"),
            ("two", "rev"),
        ];
        let started = cases.map(|(file, tool)| {
            let name = format!("{tool}.yaml");
            learner(scene, &name, &[tool, file])
                .spawn()
                .expect("aegis-learn starts")
        });
        for (run, (_, tool)) in started.into_iter().zip(cases) {
            verified(&run.wait_with_output().expect("it ends"));
            let profile = learnt(scene, &format!("{tool}.yaml"));
            for (_, other) in cases {
                let granted = profile.contains(&format!("- {other} "));
                assert_eq!(granted, other == tool, "{tool}: {profile}");
            }
        }
    });
}

/// It has ended before anybody could look at it.
#[test]
fn a_program_that_ends_at_once_is_seen() {
    observed(|scene| {
        let profile = "aegis: 1\nname: short\nextends: [base]\n";
        for _ in 0..3 {
            let seen = seen(scene, profile, &["true"], 0);
            assert!(
                each(&seen["executed"], "path").contains("/usr/bin/true"),
                "{seen}"
            );
            assert_eq!(seen["counts"]["executions"], 1);
            assert_eq!(seen["losses"]["dropped"], 0);
        }
    });
}

/// Paths are those of the sandbox: through a bind mount, a file system of its own, an overlay that the host has, and a name that a file
/// got after it was opened.
#[test]
fn what_lies_in_mounts_is_learnt_by_its_name_inside() {
    observed(|scene| {
        let work = scene.work();
        let elsewhere = scene.outside();
        for name in ["bound", "memory", "layered"] {
            std::fs::create_dir(work.join(name)).expect("mkdir");
        }
        for name in ["bound", "lower", "upper", "scratch"] {
            std::fs::create_dir_all(elsewhere.join(name)).expect("mkdir");
        }
        std::fs::write(elsewhere.join("bound/file"), "bound\n").expect("write");
        std::fs::write(elsewhere.join("lower/file"), "layered\n").expect("write");
        host::bind(&elsewhere.join("bound"), &work.join("bound"));
        host::tmpfs(&work.join("memory"), "mode=777");
        std::fs::write(work.join("memory/file"), "memory\n").expect("write");
        host::overlay(
            &elsewhere.join("lower"),
            &elsewhere.join("upper"),
            &elsewhere.join("scratch"),
            &work.join("layered"),
        );
        // What is mounted in a tree that root grants keeps its owners, and root's sandbox is another user.
        for place in [elsewhere.join("bound"), work.join("layered")] {
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(place, everybody).expect("chmod");
        }
        let script = "
import os
for name in ('bound', 'memory', 'layered'):
    assert open(name + '/file').read() == name + '\\n'
    made = open(name + '/made', 'w'); os.rename(name + '/made', name + '/renamed'); made.write(name)
    made.flush(); assert open('/proc/self/fd/%d' % made.fileno()).read() == name
";
        let words = ["python3", "-c", script];
        verified(
            &learner(scene, "p.yaml", &words)
                .output()
                .expect("aegis-learn starts"),
        );
        let profile = learnt(scene, "p.yaml");
        assert!(!profile.contains("outside/"), "{profile}");
        let ran = (scene.aegis(Path::new("p.yaml"), &words)).output();
        let ran = ran.expect("aegis-run starts");
        assert_eq!(ran.status.code(), Some(0), "{}\n{profile}", text(&ran));
        for name in ["bound", "memory", "layered"] {
            let renamed = work.join(name).join("renamed");
            let made = std::fs::read_to_string(renamed).expect("it is there");
            assert_eq!(made, name);
        }
    });
}

/// Aegis does not start within its own sandbox unless that permits namespaces: whoever learns that is told.
#[test]
fn a_sandbox_within_a_sandbox_is_seen_or_refused() {
    observed(|scene| {
        let profile =
            "aegis: 1\nname: outer\nextends: [shell]\ncapabilities: {shell.exec: [PROGRAM]}\n";
        let inner = program("aegis-run").display().to_string();
        let profile = profile.replace("PROGRAM", &inner);
        let seen = seen(
            scene,
            &profile,
            &[
                "sh",
                "-c",
                &format!("{inner} -- cat /etc/passwd; test $? = 125"),
            ],
            0,
        );
        assert!(each(&seen["executed"], "path").contains(&inner), "{seen}");
    });
}
