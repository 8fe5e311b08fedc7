//! Item 29: what is read-only, or may be executed, inside a tree that may be written.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Attack, PLAIN, Scene, Sign, owned};

/// A tool, a document and a profile, each below directories of a writable workspace.
fn read_only_inside(scene: &mut Scene) {
    scene.workspace.write("work/tools/bin/data", "");
    scene.copy(Path::new("/usr/bin/true"), "{work}/tools/bin/run");
    scene.workspace.write("work/docs/notes/facts", "theirs\n");
    scene.workspace.write(
        "work/profiles/team/common.yaml",
        "aegis: 1\nextends: [base]\n",
    );
    symlink(
        "team/common.yaml",
        scene.workspace.work().join("profiles/link.yaml"),
    )
    .expect("symlink");
}

/// The same by way of a link, and of a directory that is left again.
fn links_inside(scene: &mut Scene) {
    read_only_inside(scene);
    symlink("bin/run", scene.workspace.work().join("tools/link")).expect("symlink");
    scene.workspace.write("work/profiles/passed/x", "");
}

/// The directory `{work}/profiles/passed` is another one, by which `..` leads elsewhere.
fn led_elsewhere(scene: &Scene) -> Option<String> {
    let passed = scene.fill("{work}/profiles/passed/x");
    (!Path::new(&passed).exists()).then(|| format!("{passed} is gone"))
}

const BY_LINKS: &str = "aegis: 1\nextends: ['{work}/profiles/passed/../team/common.yaml']\ncapabilities:\n  files.write: [$WORK]\n  \
                        shell.exec: [$WORK/tools/link]\n";

const INSIDE_WRITABLE: &str = "aegis: 1\nextends: ['{work}/profiles/link.yaml']\ncapabilities:\n  files.write: [$WORK]\n  \
                               files.read: [$WORK/docs/notes]\n  shell.exec: [$WORK/tools/bin/run]\n";

pub(in crate::attacks) const LIST: &[Attack] = &[
    Attack {
        item: 29,
        profile: INSIDE_WRITABLE,
        ..planting!(
            "replacing a program that may be executed in a writable tree",
            "read-only mounts that pin the directories above",
            "{work}/tools/bin/run",
            read_only_inside
        )
    },
    Attack {
        item: 29,
        profile: INSIDE_WRITABLE,
        ..planting!(
            "replacing a file that may be read in a writable tree",
            "read-only mounts that pin the directories above",
            "{work}/docs/notes/facts",
            read_only_inside
        )
    },
    Attack {
        item: 29,
        profile: INSIDE_WRITABLE,
        ..planting!(
            "rewriting what the profile in force extends",
            "read-only mounts that pin the directories above",
            "{work}/profiles/team/common.yaml",
            read_only_inside
        )
    },
    Attack {
        item: 29,
        profile: INSIDE_WRITABLE,
        ..planting!(
            "redirecting the link by which the profile in force is extended",
            "read-only mounts that pin the directories above",
            "{work}/profiles/link.yaml",
            read_only_inside
        )
    },
    Attack {
        item: 29,
        profile: BY_LINKS,
        ..planting!(
            "redirecting the link by which a program may be executed",
            "read-only mounts that pin the directories above",
            "{work}/tools/link",
            links_inside
        )
    },
    Attack {
        item: 29,
        what: "replacing a directory that the path of an extended profile leaves by `..`",
        held_by: "mounts that pin such directories",
        words: &[
            "{bin}/files",
            "across",
            "{work}/profiles/passed",
            "{work}/profiles/moved",
        ],
        profile: BY_LINKS,
        prepare: links_inside,
        sign: Sign::Host(led_elsewhere),
        ..PLAIN
    },
];
