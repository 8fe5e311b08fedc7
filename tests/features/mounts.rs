//! What a granted tree shows of what is mounted in it, and of whose files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aegis_tests::audit_log::{place, run};
use aegis_tests::host::{in_private_mounts, mounted};
use aegis_tests::outcome::refused;
use aegis_tests::{USERS, User, Workspace, program, text};

fn reads(path: &str) -> String {
    format!("aegis: 1\nname: job\nextends: [shell]\ncapabilities: {{files.read: ['{path}']}}\n")
}

#[test]
fn what_shows_the_kernel_of_the_host_is_not_shown_with_a_tree_that_it_is_mounted_in() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            for kind in ["proc", "sysfs"] {
                workspace.write(&format!("work/root/{kind}/under"), "");
                mounted(kind, &workspace.work().join("root").join(kind));
            }
            let shows = "ls root/proc root/sysfs; cat root/proc/1/comm root/sysfs/kernel/mm/transparent_hugepage/enabled";
            let profile = workspace.profile(&reads("$WORK"));
            let output = run(&workspace, &profile, &["sh", "-c", shows]).output();
            let output = output.expect("it starts");
            let said = text(&output);
            assert!(output.stdout.is_empty(), "{said}");
            assert_eq!(said.matches("Permission denied").count(), 4, "{said}");
            for path in ["$WORK/root/proc", "$WORK/root/sysfs/kernel"] {
                let profile = workspace.profile(&reads(path));
                let said = refused(
                    &workspace,
                    &mut run(&workspace, &profile, &["touch", "started"]),
                    125,
                );
                assert!(said.contains("of the host"), "{said}");
            }
        });
    }
}

#[test]
fn root_s_own_files_among_installed_software_stay_root_s() {
    let workspace = Workspace::new(User::Root);
    let installed = tempfile::tempdir_in("/opt").expect("a directory");
    let set_mode = |path: &Path, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("chmod");
    };
    set_mode(installed.path(), 0o755);
    let [open, closed] = ["open", "closed"].map(|name| installed.path().join(name));
    std::fs::write(&open, "software\n").expect("write");
    std::fs::write(&closed, "a secret\n").expect("write");
    set_mode(&closed, 0o600);
    let profile = workspace.profile(&reads(&installed.path().display().to_string()));
    let cat = |file: &Path| {
        let file = file.to_str().expect("a path in UTF-8");
        let mut command = workspace.command(program("aegis-run"));
        command
            .args(["--policy", "standard", "--audit"])
            .arg(place(&workspace));
        command.arg("--profile").arg(&profile).args(["cat", file]);
        command.output().expect("it starts")
    };
    let output = cat(&open);
    assert_eq!(output.stdout, b"software\n", "{}", text(&output));
    let output = cat(&closed);
    assert!(output.stdout.is_empty(), "{}", text(&output));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}
