//! What a profile says of system calls holds, whoever answers them.

use aegis_tests::{USERS, Workspace, text};

/// What a script in Python says under a profile that denies a call.
fn said(workspace: &Workspace, deny: &str, script: &str) -> String {
    let profile = format!("aegis: 1\nextends: [python]\nsyscalls: {{deny: [{deny}]}}\n");
    let output = workspace.run(&profile, &["python3", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both calls are handed to the supervisor in any case: what is written to standard error is looked at, and an
/// ordinary user's memfds are made by it.
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
