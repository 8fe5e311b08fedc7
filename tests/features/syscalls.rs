//! A profile's rules for system calls hold, whoever answers the calls.

use aegis_tests::{USERS, Workspace, text};

/// The output of a Python script under a profile that denies a call.
fn said(workspace: &Workspace, deny: &str, script: &str) -> String {
    let profile = format!("aegis: 1\nextends: [python]\nsyscalls: {{deny: [{deny}]}}\n");
    let output = workspace.run(&profile, &["python3", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The supervisor gets both calls in any case: it inspects writes to standard error, and creates an
/// ordinary user's memfds.
#[test]
fn a_call_that_the_profile_denies_is_denied_though_the_supervisor_answers_it() {
    for (call, attempt) in [
        ("writev", "os.writev(2, [b''])"),
        ("memfd_create", "os.memfd_create('x')"),
    ] {
        let script = format!(
            "import os\ntry:\n    {attempt}\n    print('done')\nexcept PermissionError:\n    print('denied')\n"
        );
        for user in USERS {
            let workspace = Workspace::new(user);
            assert_eq!(
                said(&workspace, "", &script),
                "done\n",
                "{call}, the control"
            );
            assert_eq!(
                said(&workspace, call, &script),
                "denied\n",
                "{call} as {user:?}"
            );
        }
    }
}
