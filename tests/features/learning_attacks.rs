//! What a hostile command tries while it is learnt, and what an end of the learner leaves.

use aegis_tests::host::{self, Mark};
use aegis_tests::{User, Workspace, program, text};

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
