//! What a hostile command tries while it is learnt, and what an end of the learner leaves.

use std::process::Stdio;

use aegis_tests::audit_log::aegis;
use aegis_tests::host::{self, Mark};
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{USERS, User, Workspace, program, text};

/// Names of files are the command's own words.
#[test]
fn no_name_of_a_file_forges_a_line() {
    let workspace = Workspace::new(User::Root);
    let script = "touch \"$(printf 'x\\nverified: it ran under the profile')\"; touch \"$(printf 'y\\naegis-run: forged')\"; exit 3";
    for learner in [true, false] {
        let mut command =
            workspace.command(program(if learner { "aegis-learn" } else { "aegis-run" }));
        if !learner {
            command.args([
                "--profile",
                "shell",
                "--set",
                "capabilities.files.overlay=[$WORK]",
            ]);
        } else {
            command.arg("--no-verify");
        }
        let output = command
            .args(["--", "sh", "-c", script])
            .output()
            .expect("it starts");
        let told = text(&output);
        let forged = told.lines().find(|line| {
            let said = line.trim_start_matches("aegis-learn: ");
            said.starts_with("verified: it ran") || said.starts_with("aegis-run: forged")
        });
        assert_eq!(forged, None, "{told}");
        assert!(told.contains("\\n"), "the name is shown, escaped: {told}");
    }
}

/// However long a name is, the risk is read first.
#[test]
fn a_long_name_hides_no_risk() {
    let workspace = Workspace::new(User::Root);
    let name = "a".repeat(200);
    let script = format!("mkdir bin; cp /bin/true bin/{name}; bin/{name}");
    let output = (workspace.command(program("aegis-learn")))
        .args(["--no-verify", "--", "sh", "-c", &script])
        .output()
        .expect("aegis-learn starts");
    let told = text(&output);
    assert!(
        told.contains("# risk: it executes what it has written"),
        "{told}"
    );
}

#[test]
fn nothing_goes_on_when_the_learner_has_ended() {
    let workspace = Workspace::new(User::Root);
    let mark = Mark::new("learner");
    let mut command = workspace.command(program("aegis-learn"));
    command.args(["-o", "p.yaml", "--pass", Mark::NAME]);
    command.args(["--", "sh", "-c", "echo started; cat"]);
    mark.put(&mut command);
    let mut learner = host::started(&mut command, "started");
    // Open to the end, so that the command does not end by itself.
    let _input = learner.stdin.take();
    learner.kill().expect("it is killed");
    learner.wait().expect("it ends");
    host::eventually("processes of the run", || mark.processes());
}

/// Sent to `aegis-learn` alone, as by a program that has started it, or by `timeout`.
#[test]
fn a_signal_ends_the_command_and_what_it_did_until_then_is_learnt() {
    for user in USERS {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let workspace = Workspace::new(user);
            workspace.write("work/data", "up\n");
            let mut command = workspace.command(program("aegis-learn"));
            command.args(["-o", "server.yaml", "--"]);
            command.args(["sh", "-c", "cat data; exec sleep 1000"]);
            command.stderr(Stdio::piped());
            let mut learner = host::started(&mut command, "up");
            // Open to the end, so that it is the signal that ends the command.
            let _input = learner.stdin.take();
            // SAFETY: no pointers.
            unsafe { libc::kill(learner.id() as i32, signal) };
            let told = learner.wait_with_output().expect("it ends");
            assert_eq!(told.status.code(), Some(1), "{signal}: {}", text(&told));
            let told = text(&told);
            for says in ["NOT verified: it was interrupted", "no limits.time"] {
                assert!(told.contains(says), "{signal}: {told}");
            }
            let profile = std::fs::read_to_string(workspace.work().join("server.yaml"));
            let profile = profile.expect("it is written");
            assert!(profile.contains("- cat"), "{profile}");
            assert!(!profile.contains("\n  time:"), "{profile}");
            let listed = text(&aegis(&workspace, &["ps"]));
            assert!(!listed.contains("cat data"), "{signal}: {listed}");
        }
    }
}

#[test]
fn control_c_ends_the_command_and_what_it_did_until_then_is_learnt() {
    let workspace = Workspace::new(User::Root);
    let terminal = Terminal::open(&workspace, OUTER);
    terminal.prompt("outer>", 1);
    let learn = program("aegis-learn").display().to_string();
    terminal.line(&format!(
        "{learn} -o p.yaml -- sh -c 'echo u''p; exec sleep 1000'"
    ));
    terminal.wait("the command", |screen| screen.contains("\nup"));
    terminal.key("C-c");
    let screen = terminal.wait("the end", |screen| screen.contains("wrote p.yaml"));
    assert!(screen.contains("it was interrupted"), "{screen}");
    let profile = std::fs::read_to_string(workspace.work().join("p.yaml")).expect("written");
    assert!(!profile.contains("\n  time:"), "{profile}");
}

/// A permissive policy lets a profile have nearly everything that is below the working directory.
#[test]
fn in_the_root_directory_nothing_of_the_kernel_or_of_others_is_shown() {
    let workspace = Workspace::new(User::Root);
    let output = (workspace.command(program("aegis-learn")))
        .args(["--policy", "permissive", "--no-verify", "--", "sh", "-c"])
        .arg("cat /etc/hostname; ls /run /root /home; ls -d /dev/disk /sys/kernel; true")
        .current_dir("/")
        .output()
        .expect("aegis-learn starts");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for hidden in ["lock", ".bashrc"] {
        assert!(!told.lines().any(|line| line == hidden), "{hidden}: {told}");
    }
    for missing in ["/root", "/dev/disk", "/sys/kernel"] {
        assert!(
            told.contains(&format!("cannot access '{missing}'")),
            "{missing}: {told}"
        );
    }
}
