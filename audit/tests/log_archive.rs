//! Copies of policies beside a log: a wrong or missing copy is written again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use aegis_audit::archive::DIRECTORY;
use aegis_policy::Policy;
use aegis_policy::templates;

use crate::log_support;
use log_support::Scene;

fn policy() -> Policy {
    let document = templates::find("standard").expect("a template").document();
    Policy::new(vec![document]).expect("a policy")
}

fn keep(scene: &Scene) -> Result<(), String> {
    (scene.open().archive_policy(&policy())).map_err(|error| error.to_string())
}

fn copy(scene: &Scene) -> PathBuf {
    let name = format!("{}.json", policy().hash());
    scene.dir().join(DIRECTORY).join(name)
}

#[test]
fn a_copy_that_is_not_as_long_as_the_policy_is_replaced() {
    let scene = Scene::new();
    keep(&scene).expect("kept");
    let whole = fs::read(copy(&scene)).expect("the copy");
    assert_eq!(whole, policy().canonical());
    let (inode, mode) = {
        let found = fs::metadata(copy(&scene)).expect("the copy");
        (found.ino(), found.mode() & 0o7777)
    };
    assert_eq!(mode, 0o600);
    keep(&scene).expect("kept");
    let found = fs::metadata(copy(&scene)).expect("the copy");
    assert_eq!(found.ino(), inode, "what is right is left alone");
    for damaged in [
        &b""[..],
        &whole[..whole.len() - 1],
        &[&whole, &b"\n"[..]].concat(),
    ] {
        fs::write(copy(&scene), damaged).expect("damaged");
        keep(&scene).expect("kept");
        assert_eq!(fs::read(copy(&scene)).expect("the copy"), whole);
    }
    let names = fs::read_dir(scene.dir().join(DIRECTORY)).expect("copies");
    assert_eq!(names.count(), 1, "nothing is left over");
}

#[test]
fn what_is_no_file_is_not_taken_for_a_copy() {
    let scene = Scene::new();
    keep(&scene).expect("kept");
    let elsewhere = scene.root.path().join("elsewhere");
    fs::rename(copy(&scene), &elsewhere).expect("moved");
    symlink(&elsewhere, copy(&scene)).expect("a link");
    keep(&scene).expect("kept");
    let found = fs::symlink_metadata(copy(&scene)).expect("the copy");
    assert!(found.is_file(), "the link is replaced, and not followed");

    // A directory, of the expected length: it cannot be replaced, and is not ignored.
    fs::remove_file(copy(&scene)).expect("removed");
    fs::create_dir(copy(&scene)).expect("a directory");
    let told = keep(&scene).expect_err("it cannot be archived");
    assert!(told.contains("cannot be archived"), "{told}");
}

#[test]
fn the_directory_of_copies_is_the_logs_own() {
    let scene = Scene::new();
    keep(&scene).expect("kept");
    let directory = scene.dir().join(DIRECTORY);
    let elsewhere = scene.root.path().join("elsewhere");
    fs::rename(&directory, &elsewhere).expect("moved");
    symlink(&elsewhere, &directory).expect("a link");
    let told = keep(&scene).expect_err("a link is not followed");
    assert!(
        told.contains("is a symbolic link or not a directory"),
        "{told}"
    );
    fs::remove_file(elsewhere.join(copy(&scene).file_name().expect("a name"))).expect("removed");
    keep(&scene).expect_err("nor is anything written there");
    assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 0);

    fs::remove_file(&directory).expect("removed");
    keep(&scene).expect("kept");
    fs::remove_file(copy(&scene)).expect("removed");
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).expect("a mode");
    let told = keep(&scene).expect_err("others can write it");
    assert!(told.contains("chmod go-w"), "{told}");
}
