//! Attacks on set-up and the file system: items 1 to 9.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::USERS;

use super::{Attack, Control, PLAIN, Scene, Sign};

/// A secret of the user beside the workspace, `{out}/secret`.
fn secret(scene: &mut Scene) {
    scene.workspace.outside();
    scene.workspace.write("outside/secret", "top secret\n");
}

fn planted_link(scene: &mut Scene) {
    secret(scene);
    symlink("../outside", scene.workspace.work().join("link")).expect("symlink");
}

/// A grant named through a link, `{base}/alias`, with a planted link in it.
fn planted_below_a_link(scene: &mut Scene) {
    secret(scene);
    scene.workspace.write("real/project/file", "");
    let base = PathBuf::from(scene.value("base"));
    symlink("real", base.join("alias")).expect("symlink");
    symlink("../../outside", base.join("real/project/link")).expect("symlink");
}

fn read_only(scene: &mut Scene) {
    scene.workspace.write("readonly/file", "theirs\n");
}

fn dynamic_program(scene: &mut Scene) {
    scene.copy(Path::new("/usr/bin/true"), "{work}/dropped");
}

/// Files that Git, shells and package managers act upon.
fn project(scene: &mut Scene) {
    let status = scene
        .workspace
        .command("git")
        .args(["init", "--quiet", "."])
        .status()
        .expect("git starts");
    assert!(status.success(), "git init");
    for file in [
        ".bashrc",
        ".npmrc",
        ".envrc",
        ".venv/bin/activate",
        ".vscode/tasks.json",
    ] {
        scene.workspace.write(&format!("work/{file}"), "theirs\n");
    }
}

fn linked_bashrc(scene: &mut Scene) {
    scene.workspace.write("work/dotfiles/bashrc", "theirs\n");
    symlink("dotfiles/bashrc", scene.workspace.work().join(".bashrc")).expect("symlink");
}

fn submodule(scene: &mut Scene) {
    scene.workspace.write("work/.git", "gitdir: ../elsewhere\n");
}

fn project_in_home(scene: &mut Scene) {
    scene.workspace.write("home/.gitconfig", "theirs\n");
    scene
        .workspace
        .write("home/project/.git/config", "theirs\n");
}

fn owned(scene: &Scene, path: &str) -> Option<String> {
    let path = scene.fill(path);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    text.contains("owned").then(|| format!("{path} is theirs"))
}

fn setuid_program(scene: &mut Scene) {
    let copy = scene.copy(Path::new("/usr/bin/true"), "{work}/setuid");
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o4755)).expect("chmod");
}

const READS_LINK: &str = "aegis: 1\ncapabilities: {files.read: [$WORK, $WORK/link/secret]}\n";
const READS_ALIAS: &str = "aegis: 1\ncapabilities:\n  files.write: ['{base}/alias/project']\n  \
                           files.read: ['{base}/alias/project/link/secret']\n";

/// One file that must not be planted: its item, words and verdict.
macro_rules! planting {
    ($what:literal, $by:literal, $path:literal, $prepare:expr) => {
        Attack {
            item: 8,
            what: $what,
            held_by: $by,
            words: &["{bin}/files", "plant", $path, "{work}"],
            prepare: $prepare,
            sign: Sign::Host(|scene| owned(scene, $path)),
            ..PLAIN
        }
    };
}

mod inside_writable;
pub(super) use inside_writable::LIST as INSIDE_WRITABLE;

pub(super) const LIST: &[Attack] = &[
    Attack {
        item: 1,
        what: "a symbolic link planted in the workspace, on the way to a declared path",
        held_by: "path resolution: links in a zone may not leave it",
        words: &["{bin}/files", "read", "{work}/link/secret", "{out}/secret"],
        profile: READS_LINK,
        prepare: planted_link,
        sign: Sign::SaysUnlessRefused,
        ..PLAIN
    },
    Attack {
        item: 1,
        what: "a planted link below a writable grant that is itself named by way of a link",
        held_by: "path resolution: links in a zone may not leave it",
        words: &["{bin}/files", "read", "{out}/secret"],
        profile: READS_ALIAS,
        prepare: planted_below_a_link,
        sign: Sign::SaysUnlessRefused,
        ..PLAIN
    },
    Attack {
        item: 3,
        what: "a file outside, by every spelling of its path",
        held_by: "mount namespace; Landlock",
        words: &["{bin}/files", "spellings", "{out}/secret"],
        prepare: secret,
        ..PLAIN
    },
    Attack {
        item: 4,
        what: "a directory that the caller left open as descriptor 7",
        held_by: "close-on-exec from 3 on",
        words: &["{bin}/files", "descriptors"],
        before: &["bash", "-c", "exec 7</; exec \"$@\"", "bash"],
        ..PLAIN
    },
    Attack {
        item: 4,
        what: "a directory of the host as standard input",
        held_by: "refused before the start (125)",
        words: &["{bin}/files", "under", "0", "secret"],
        before: &["bash", "-c", "exec <$0; exec \"$@\"", "{out}"],
        prepare: secret,
        sign: Sign::SaysUnlessRefused,
        ..PLAIN
    },
    Attack {
        item: 4,
        what: "a directory of the host as standard error",
        held_by: "refused before the start (125)",
        words: &["{bin}/files", "under", "2", "secret"],
        before: &["bash", "-c", "exec 2<$0; exec \"$@\"", "{out}"],
        prepare: secret,
        sign: Sign::SaysUnlessRefused,
        ..PLAIN
    },
    Attack {
        item: 4,
        what: "a directory of the host as standard input, opened as a mere location (O_PATH)",
        held_by: "refused before the start (125)",
        words: &["{bin}/files", "under", "0", "secret"],
        before: &[
            "/usr/bin/python3",
            "-c",
            "import os, sys\nos.dup2(os.open(sys.argv[1], os.O_PATH), 0)\n\
             os.execvp(sys.argv[2], sys.argv[2:])",
            "{out}",
        ],
        prepare: secret,
        sign: Sign::SaysUnlessRefused,
        ..PLAIN
    },
    Attack {
        item: 4,
        what: "standard descriptors that the caller has closed",
        held_by: "close-on-exec from 3 on",
        words: &["{bin}/files", "descriptors"],
        before: &["bash", "-c", "exec 7</ <&- 2>&-; exec \"$@\"", "bash"],
        ..PLAIN
    },
    Attack {
        item: 5,
        what: "writing the kernel's settings in /proc and /sys",
        held_by: "read-only /proc, no /sys",
        words: &[
            "{bin}/files",
            "write",
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/vm/drop_caches",
            "/proc/sys/kernel/modprobe",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/mm/ksm/run",
            "/sys/kernel/profiling",
            "/sys/power/state",
        ],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 5,
        what: "the addresses of the kernel's code",
        held_by: "no capabilities; the host's `kernel.kptr_restrict`",
        words: &["{bin}/files", "addresses"],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 5,
        what: "reading what /proc tells about the whole machine",
        held_by: "masks; no /sys",
        words: &[
            "{bin}/files",
            "read",
            "/proc/keys",
            "/proc/interrupts",
            "/proc/timer_list",
            "/proc/kcore",
            "/sys/kernel/notes",
        ],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "writing a program to the workspace and executing it",
        held_by: "noexec mounts; Landlock",
        words: &["{bin}/files", "execute", "{work}"],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "writing a program to /tmp and executing it",
        held_by: "noexec mounts; Landlock",
        words: &["{bin}/files", "execute", "/tmp"],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "writing a program to /dev/shm and executing it",
        held_by: "noexec mounts; Landlock",
        words: &["{bin}/files", "execute", "/dev/shm"],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "executing a program out of memory (memfd)",
        held_by: "`vm.memfd_noexec`; sealed memfds for a user",
        words: &["{bin}/files", "memfd"],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "mapping a file of the workspace executable",
        held_by: "noexec mount; seccomp (personality)",
        words: &["{bin}/files", "map", "{work}"],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "the dynamic loader given a program of the workspace",
        held_by: "noexec mount",
        words: &["/lib64/ld-linux-x86-64.so.2", "{work}/dropped"],
        profile: "aegis: 1\nextends: [base]\ncapabilities: {files.write: [$WORK]}\n",
        prepare: dynamic_program,
        // The loader exits with 127 when it fails.
        before: &[
            "bash",
            "-c",
            "\"$@\" && echo got out: it ran || echo held: $?",
            "bash",
        ],
        ..PLAIN
    },
    Attack {
        item: 7,
        what: "the dynamic loader given a program that is not granted",
        held_by: "Landlock: not readable",
        words: &["/lib64/ld-linux-x86-64.so.2", "/usr/bin/true"],
        profile: "aegis: 1\nextends: [base]\n",
        before: &[
            "bash",
            "-c",
            "\"$@\" && echo got out: it ran || echo held: $?",
            "bash",
        ],
        ..PLAIN
    },
    planting!(
        "planting .git/config",
        "read-only mounts that pin the directories above",
        "{work}/.git/config",
        project
    ),
    planting!(
        "planting a Git hook",
        "read-only mounts that pin the directories above",
        "{work}/.git/hooks/pre-commit",
        project
    ),
    planting!(
        "planting .bashrc",
        "read-only mounts that pin the directories above",
        "{work}/.bashrc",
        project
    ),
    planting!(
        "planting .npmrc",
        "read-only mounts that pin the directories above",
        "{work}/.npmrc",
        project
    ),
    planting!(
        "planting .envrc",
        "read-only mounts that pin the directories above",
        "{work}/.envrc",
        project
    ),
    planting!(
        "planting .venv/bin/activate",
        "read-only mounts that pin the directories above",
        "{work}/.venv/bin/activate",
        project
    ),
    planting!(
        "planting .vscode/tasks.json",
        "read-only mounts that pin the directories above",
        "{work}/.vscode/tasks.json",
        project
    ),
    planting!(
        "planting .bashrc where it is a symbolic link",
        "read-only mounts that pin the directories above",
        "{work}/.bashrc",
        linked_bashrc
    ),
    planting!(
        "redirecting a .git that is a file",
        "read-only mounts that pin the directories above",
        "{work}/.git",
        submodule
    ),
    Attack {
        known: (
            &USERS,
            "what is not there yet is told after the run, as `planted`",
        ),
        ..planting!(
            "redirecting Git by .git/commondir",
            "told after the run",
            "{work}/.git/commondir",
            project
        )
    },
    Attack {
        profile: "aegis: 1\ncapabilities: {files.write: [$WORK/.git]}\n",
        ..planting!(
            "planting a Git hook where .git alone is granted",
            "read-only mounts that pin the directories above",
            "{work}/.git/hooks/pre-commit",
            project
        )
    },
    Attack {
        item: 8,
        what: "planting .gitconfig in a granted home",
        held_by: "read-only mounts that pin the directories above",
        words: &["{bin}/files", "plant", "{home}/.gitconfig", "{home}"],
        profile: "aegis: 1\ncapabilities: {files.write: [$HOME]}\n",
        prepare: project_in_home,
        sign: Sign::Host(|scene| owned(scene, "{home}/.gitconfig")),
        ..PLAIN
    },
    Attack {
        item: 8,
        what: "planting the workspace's .git/config where a directory above it is granted",
        held_by: "read-only mounts that pin the directories above",
        words: &[
            "{bin}/files",
            "plant",
            "{home}/project/.git/config",
            "{home}",
        ],
        before: &["bash", "-c", "cd \"$0\" && exec \"$@\"", "{home}/project"],
        profile: "aegis: 1\ncapabilities: {files.write: [$HOME]}\n",
        prepare: project_in_home,
        sign: Sign::Host(|scene| owned(scene, "{home}/project/.git/config")),
        ..PLAIN
    },
    Attack {
        item: 9,
        what: "making a file with a set-user-id bit",
        held_by: "seccomp: modes",
        words: &["{bin}/files", "setid", "{work}"],
        ..PLAIN
    },
    Attack {
        item: 9,
        what: "changing a set-user-id program and keeping the bit, by a shared mapping",
        held_by: "nothing",
        words: &["{bin}/files", "alter", "{work}/setuid"],
        prepare: setuid_program,
        known: (
            &USERS,
            "the kernel clears the bit when such a file is written, not when it is mapped",
        ),
        ..PLAIN
    },
    Attack {
        item: 9,
        what: "making device nodes",
        held_by: "seccomp: node types; Landlock; nodev",
        words: &["{bin}/files", "nodes", "{work}"],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 9,
        what: "file capabilities and other privileged attributes",
        held_by: "no capabilities",
        words: &["{bin}/files", "xattrs", "{work}"],
        control: Control::SucceedsForRoot,
        ..PLAIN
    },
    Attack {
        item: 9,
        what: "links, renames and changes out of a read-only grant",
        held_by: "one mount for each grant, read-only; Landlock",
        words: &[
            "{bin}/files",
            "across",
            "{base}/readonly/file",
            "{work}/taken",
        ],
        profile: "aegis: 1\ncapabilities: {files.write: [$WORK], files.read: ['{base}/readonly']}\n",
        prepare: read_only,
        ..PLAIN
    },
];
