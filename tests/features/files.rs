//! Set-up and the file system: items 1 to 9 and 29 of `docs/escapes.md`.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegis_tests::attacks::all_held;
use aegis_tests::{ORDINARY, USERS, User, Workspace, program, text};

#[test]
fn a_symbolic_link_planted_in_the_workspace_does_not_lead_set_up_astray() {
    all_held(1);
}

#[test]
fn detours_to_a_file_outside_lead_nowhere() {
    all_held(3);
}

#[test]
fn descriptors_of_the_caller_do_not_reach_the_command() {
    all_held(4);
}

#[test]
fn what_proc_and_sys_say_of_the_machine_is_masked_and_read_only() {
    all_held(5);
}

#[test]
fn what_the_command_wrote_cannot_be_executed() {
    all_held(7);
}

#[test]
fn what_the_host_will_act_upon_cannot_be_planted() {
    all_held(8);
}

#[test]
fn no_privileged_file_is_made_and_no_grant_leaks_into_another() {
    all_held(9);
}

#[test]
fn what_is_not_writable_in_a_writable_tree_stays_as_it_is() {
    all_held(29);
}

#[test]
fn links_that_lead_nowhere_else_work() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/inner/file", "mine\n");
        symlink("inner", workspace.work().join("relative")).expect("symlink");
        symlink(
            workspace.work().join("inner"),
            workspace.work().join("absolute"),
        )
        .expect("symlink");
        for name in ["relative", "absolute"] {
            let profile = format!(
                "aegis: 1\nextends: [base]\ncapabilities: {{files.read: [$WORK/{name}/file]}}\n"
            );
            // /bin is a link on the system, as are /var/run and others in the profile.
            let file = workspace
                .work()
                .join(name)
                .join("file")
                .display()
                .to_string();
            let output = workspace.run(&profile, &["/bin/cat", &file]);
            assert_eq!(
                output.stdout,
                b"mine\n",
                "{user:?} {name}: {}",
                text(&output)
            );
        }
        let read =
            "aegis: 1\nextends: [base]\ncapabilities: {files.read: [-/var/run/utmp, /lib]}\n";
        let output = workspace.run(read, &["/bin/cat", "/dev/null"]);
        assert!(output.status.success(), "{user:?}: {}", text(&output));
    }
}

/// Swaps `work/granted`, a directory, for a link to `outside` and back, until `meanwhile` has ended.
fn swapping<T>(workspace: &Workspace, meanwhile: impl FnOnce() -> T) -> T {
    workspace.write("work/granted/file", "mine\n");
    workspace.write("outside/file", "top secret\n");
    let [granted, link] = ["granted", "link"].map(|name| workspace.work().join(name));
    symlink(workspace.outside(), &link).expect("symlink");
    let [granted, link] = [granted, link].map(|path| {
        std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).expect("no NUL")
    });
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0u64.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                // Long enough to hit any moment of a start, and sometimes not at all.
                let until = Instant::now() + Duration::from_micros(turn * 37 % 101 * 200);
                while Instant::now() < until {
                    std::thread::yield_now();
                }
                // SAFETY: both paths are NUL-terminated and outlive the call.
                unsafe {
                    libc::renameat2(
                        libc::AT_FDCWD,
                        granted.as_ptr(),
                        libc::AT_FDCWD,
                        link.as_ptr(),
                        libc::RENAME_EXCHANGE,
                    );
                }
            }
        });
        let result = meanwhile();
        ended.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_directory_swapped_for_a_link_during_the_start_never_shows_what_lies_behind_the_link() {
    const STARTS: usize = 200;
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace
            .profile("aegis: 1\nextends: [base]\ncapabilities: {files.write: [$WORK/granted]}\n");
        let file = workspace.work().join("granted/file");
        let (mut strayed, mut started) = (0, 0);
        swapping(&workspace, || {
            for _ in 0..STARTS {
                let bare = std::fs::read(&file).unwrap_or_default();
                strayed += usize::from(bare == b"top secret\n");
                let output = workspace
                    .aegis(&profile, &["/bin/cat", "granted/file"])
                    .output()
                    .expect("aegis-run starts");
                let shown = String::from_utf8_lossy(&output.stdout);
                assert!(!shown.contains("secret"), "{user:?}: {}", text(&output));
                started += usize::from(shown == "mine\n");
            }
        });
        assert!(
            strayed > 0,
            "the control: nobody saw the link in {STARTS} attempts"
        );
        assert!(
            started > 0,
            "{user:?}: none of {STARTS} starts found the directory in place"
        );
    }
}

#[test]
fn a_directory_swapped_for_a_link_during_the_start_is_never_written_through_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace
            .profile("aegis: 1\nextends: [base]\ncapabilities: {files.write: [$WORK/granted]}\n");
        let touch =
            |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let started = swapping(&workspace, || {
            (0..100)
                .filter(|_| {
                    touch(workspace.command("touch").arg("granted/bare"));
                    touch(&mut workspace.aegis(&profile, &["/usr/bin/touch", "granted/written"]))
                })
                .count()
        });
        assert!(
            started > 0,
            "{user:?}: no start found the directory in place"
        );
        let [bare, written] = ["bare", "written"].map(|name| workspace.outside().join(name));
        assert!(bare.exists(), "the control: nobody wrote through the link");
        assert!(!written.exists(), "{user:?} wrote to {}", written.display());
    }
}

#[test]
fn a_dev_null_that_is_a_symbolic_link_is_not_mounted() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let secret = workspace.write("outside/secret", "top secret\n");
        let profile = workspace.profile("aegis: 1\nextends: [base]\n");
        // In a mount namespace of its own, with a /dev made for this test.
        let in_another_dev = |launcher: &[&str]| {
            let script = "set -e; mount -t tmpfs none /mnt
                for node in zero full random urandom; do touch /mnt/$node; mount --bind /dev/$node /mnt/$node; done
                ln -s \"$1\" /mnt/null; mount --rbind /mnt /dev; shift; exec \"$@\"";
            let id = if user == User::Root { 0 } else { ORDINARY }.to_string();
            Command::new("unshare")
                .args([
                    "--mount",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    script,
                    "sh",
                ])
                .arg(&secret)
                .args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
                .args(launcher)
                .args(["/bin/cat", "/dev/null"])
                .current_dir(workspace.work())
                .env("HOME", workspace.home())
                .output()
                .expect("unshare starts")
        };
        let bare = in_another_dev(&[]);
        assert_eq!(bare.stdout, b"top secret\n", "the control: {}", text(&bare));
        let launcher = program("aegis-run").display().to_string();
        let output =
            in_another_dev(&[&launcher, "--profile", &profile.display().to_string(), "--"]);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!shown.contains("secret"), "{user:?}: {}", text(&output));
        assert_eq!(
            output.status.code(),
            Some(125),
            "{user:?}: {}",
            text(&output)
        );
    }
}

#[test]
fn a_mount_made_on_the_host_afterwards_does_not_appear_inside() {
    let workspace = Workspace::new(User::Root);
    let place = workspace.work().join("place");
    std::fs::create_dir(&place).expect("mkdir");
    let profile =
        workspace.profile("aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n");
    // In a mount namespace of its own, where everything is shared, as with systemd.
    let script = "set -e; \"$@\" & read begun <work/begun
        mount -t tmpfs none work/place; echo seen >work/place/file; echo >work/mounted; wait $!";
    for name in ["begun", "mounted"] {
        let status = Command::new("mkfifo")
            .arg(workspace.work().join(name))
            .status();
        assert!(status.expect("mkfifo starts").success(), "mkfifo");
        std::fs::set_permissions(workspace.work().join(name), Permissions::from_mode(0o666))
            .expect("chmod");
    }
    let inside = "echo >begun; read mounted <mounted; ls place";
    let launch = |launcher: &[&str]| {
        Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "shared",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .args(["sh", "-c", "cd work && exec \"$@\"", "sh"])
            .args(launcher)
            .args(["sh", "-c", inside])
            .current_dir(workspace.work().parent().expect("a parent"))
            .output()
            .expect("unshare starts")
    };
    let bare = launch(&["unshare", "--mount", "--propagation", "slave"]);
    assert_eq!(bare.stdout, b"file\n", "the control: {}", text(&bare));
    let launcher = program("aegis-run").display().to_string();
    let output = launch(&[&launcher, "--profile", &profile.display().to_string(), "--"]);
    assert_eq!(output.stdout, b"", "{}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
    assert!(!Path::new(&place).join("file").exists());
}

#[test]
fn what_was_planted_where_nothing_was_is_told_after_the_run() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/.git/HEAD", "ref: refs/heads/main\n");
        workspace.write("work/dotfiles/bashrc", "theirs\n");
        symlink("dotfiles/bashrc", workspace.work().join(".bashrc")).expect("symlink");
        workspace.outside();
        let profile =
            workspace.profile("aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK]}\n");
        let report = workspace.outside().join("report.json");
        let script = "echo ../evil >.git/commondir; mkdir .git/hooks; echo evil >.envrc; rm .bashrc; echo evil >.bashrc; :";
        let output = workspace
            .command(program("aegis-run"))
            .arg("--profile")
            .arg(&profile)
            .arg("--report")
            .arg(&report)
            .args(["--", "sh", "-c", script])
            .output()
            .expect("aegis-run starts");
        assert!(output.status.success(), "{user:?}: {}", text(&output));
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
        let told = report["planted"].to_string();
        let mut names = vec![".git/commondir", ".git/hooks", ".envrc"];
        // Held or reported: a link may be replaced where the kernel cannot mount over it.
        let bashrc = std::fs::read(workspace.work().join(".bashrc")).unwrap_or_default();
        if bashrc == b"evil\n" {
            names.push(".bashrc");
        }
        for name in names {
            assert!(told.contains(name), "{user:?}: {name} is not told: {told}");
            let warned = String::from_utf8_lossy(&output.stderr).contains(name);
            assert!(warned, "{user:?}: no warning of {name}: {}", text(&output));
        }
    }
}

/// The first thing that people try: no profile, in the home directory, where Aegis keeps its own records.
#[test]
fn without_a_profile_a_run_begins_where_aegis_s_own_records_are_and_says_what_it_does_without() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let home = workspace.write("home/project/notes", "mine\n");
        let project = home.parent().expect("its directory").to_owned();
        let own = match user {
            User::Root => PathBuf::from("/var/lib"),
            User::Ordinary => workspace.home(),
        };
        let run = |directory: &Path, words: &[&str]| {
            let mut command = workspace.command(program("aegis-run"));
            command.env_remove("XDG_STATE_HOME").current_dir(directory);
            command.arg("--quiet").arg("--audit").arg(workspace.state());
            command.args(words).output().expect("it starts")
        };
        let below = run(&project, &["cat", "notes"]);
        assert_eq!(below.stdout, b"mine\n", "{}", text(&below));
        let there = run(&own, &["ls", "-a"]);
        assert_eq!(there.status.code(), Some(0), "{}", text(&there));
        assert_eq!(there.stderr, b"", "{}", text(&there));
        let out = String::from_utf8_lossy(&there.stdout);
        assert!(!out.contains("project") && !out.contains("aegis"), "{out}");

        let mut command = workspace.command(program("aegis-run"));
        command.env_remove("XDG_STATE_HOME").current_dir(&own);
        let told = command
            .args(["--audit"])
            .arg(workspace.state())
            .arg("ls")
            .output();
        let told = told.expect("it starts");
        assert_eq!(told.status.code(), Some(0), "{}", text(&told));
        let said = String::from_utf8_lossy(&told.stderr);
        assert!(
            said.contains("note: the working directory is not granted, since"),
            "{said}"
        );
    }
}

/// A workspace may lie below `/usr`, which is otherwise one read-only mount.
#[test]
fn what_is_granted_otherwise_in_a_workspace_below_usr_is_held_too() {
    let workspace = Workspace::new(User::Root);
    workspace.write("work/tools/run", "#!/bin/sh\necho good\n");
    let tool = workspace.work().join("tools/run");
    std::fs::set_permissions(&tool, Permissions::from_mode(0o755)).expect("chmod");
    workspace.write("work/docs/x", "theirs\n");
    let profile = workspace.profile(
        "aegis: 1\nextends: [shell]\ncapabilities:\n  files.write: [$WORK]\n  \
         files.read: [$WORK/docs]\n  shell.exec: [$WORK/tools/run]\n",
    );
    let inside =
        "echo evil > docs/x; echo evil >> tools/run; mv docs moved; mv tools moved; ./tools/run";
    // In a mount namespace of its own, and with the directory writable for the control.
    let script = "mount --bind work /usr/src && cd /usr/src && exec \"$@\"";
    let launch = |launcher: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(launcher);
        command.args(["sh", "-c", inside]);
        command.current_dir(workspace.work().parent().expect("a parent"));
        command.output().expect("unshare starts")
    };
    let launcher = program("aegis-run").display().to_string();
    let profile = profile.display().to_string();
    let audit = workspace.state().display().to_string();
    let confined = launch(&[&launcher, "--audit", &audit, "--profile", &profile, "--"]);
    assert_eq!(confined.stdout, b"good\n", "{}", text(&confined));
    let read = |name: &str| std::fs::read_to_string(workspace.work().join(name));
    assert_eq!(read("docs/x").expect("it is there"), "theirs\n");
    assert!(!read("tools/run").expect("it is there").contains("evil"));
    let bare = launch(&[]);
    assert!(read("docs/x").is_err(), "the control: {}", text(&bare));
}

/// A run of `test -c DEVICE`, with that device declared.
fn with_device(workspace: &Workspace, policy: impl AsRef<std::ffi::OsStr>, device: &str) -> Output {
    let profile = workspace.profile(&format!(
        "aegis: 1\nextends: [base]\ncapabilities: {{devices: ['{device}']}}\n"
    ));
    let mut command = workspace.command(program("aegis-run"));
    command.arg("--policy").arg(policy);
    command.arg("--profile").arg(profile);
    let words = ["--", "test", "-c", device];
    command.args(words).output().expect("it starts")
}

/// A path in `/dev/shm` that no other test uses.
fn in_shared_memory(workspace: &Workspace) -> PathBuf {
    let name = workspace.work().display().to_string().replace('/', "-");
    PathBuf::from(format!("/dev/shm/{name}"))
}

/// A policy is asked about the node, by whatever name it is declared.
#[test]
fn a_device_is_decided_about_by_the_node_that_it_is() {
    let workspace = Workspace::new(User::Root);
    let link = in_shared_memory(&workspace);
    symlink("/dev/zero", &link).expect("symlink");
    let policy = workspace.write(
        "outside/policy.yaml",
        "aegis-policy: 1\nname: p\ncapabilities:\n  - {id: zero, on: devices, match: /dev/zero, verdict: block}\n  \
         - {id: rest, on: devices, match: '*', verdict: allow}\n  \
         - {id: all, on: [files.read, shell.exec], match: '/**', verdict: allow}\n  \
         - {id: env, on: environment.pass, match: '*', verdict: allow}\n",
    );
    let run = |device: &str| with_device(&workspace, &policy, device);
    let blocked = [run(link.to_str().expect("UTF-8")), run("/dev/zero")];
    let other = run("/dev/full");
    std::fs::remove_file(&link).expect("it is there");
    for blocked in blocked {
        let said = String::from_utf8_lossy(&blocked.stderr).into_owned();
        assert_eq!(blocked.status.code(), Some(125), "{said}");
        assert!(said.contains("rule `zero`"), "{said}");
    }
    assert!(other.status.success(), "{}", text(&other));
}

/// `/dev` has more than devices: what is in `/dev/shm` are files, of others too.
#[test]
fn a_device_that_is_declared_is_one() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let file = in_shared_memory(&workspace);
        std::fs::write(&file, "another's").expect("a file");
        std::fs::set_permissions(&file, Permissions::from_mode(0o666)).expect("chmod");
        let run = |device: &str| with_device(&workspace, "permissive", device);
        for device in [file.to_str().expect("UTF-8"), "/dev/shm", "/dev/pts"] {
            let refused = run(device);
            assert_eq!(
                refused.status.code(),
                Some(125),
                "{device}: {}",
                text(&refused)
            );
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(said.contains("is not a device"), "{device}: {said}");
        }
        let granted = run("/dev/full");
        std::fs::remove_file(&file).expect("it is there");
        assert!(granted.status.success(), "{}", text(&granted));
    }
}
