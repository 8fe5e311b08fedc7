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

/// What `memfd_create` does with flags, by the error's name, if it has one.
const MEMFDS: &str = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for flags in [0, 3, 8, 11, 16, 24, 32, 40, 0xffffffff]:
    fd = libc.memfd_create(b'x', flags)
    print(flags, 'made' if fd >= 0 else errno.errorcode[ctypes.get_errno()])
";

/// Chromium asks with flags that no kernel has, to learn whether the call exists.
#[test]
fn a_memfd_is_made_or_refused_as_the_kernel_does_it_with_vm_memfd_noexec() {
    let expected = "0 made\n3 made\n8 made\n11 made\n16 EACCES\n24 EINVAL\n32 EINVAL\n40 EINVAL\n4294967295 EINVAL\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        assert_eq!(said(&workspace, "", MEMFDS), expected, "{user:?}");
    }
}
