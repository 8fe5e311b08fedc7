//! `files.overlay`: what may be changed for the run alone.

use std::fs;
use std::path::Path;

use aegis_tests::outcome::Ran;
use aegis_tests::{USERS, User, Workspace, text};

const OVERLAY: &str =
    "aegis: 1\nextends: [shell]\ncapabilities:\n  files.overlay: [$WORK]\n  shell.exec: [$WORK]\n";

fn prepared(user: User) -> Workspace {
    let workspace = Workspace::new(user);
    for path in ["kept", "gone", "sub/deep/file"] {
        workspace.write(&format!("work/{path}"), "old\n");
    }
    workspace
}

/// Every file below a directory, with its contents.
fn tree(top: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut ahead = vec![top.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                ahead.push(entry.path());
                continue;
            }
            let contents = fs::read_to_string(entry.path()).unwrap_or_default();
            found.push((entry.path().display().to_string(), contents));
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_written_is_there_for_the_run_and_listed_and_gone_after_it() {
    for user in USERS {
        let workspace = prepared(user);
        let before = tree(&workspace.work());
        let script = "echo new >> kept; rm gone; echo x > added; rm -r sub; mkdir sub; echo y > sub/other; ln -s kept link; \
                      printf '#!/bin/sh\\ncat kept added sub/other link\\n' > tool; chmod +x tool; ./tool; ls";
        let ran = Ran::new(
            &workspace,
            &workspace.profile(OVERLAY),
            &["sh", "-c", script],
        );
        ran.exits(0);
        let printed = "old\nnew\nx\ny\nold\nnew\nadded\nkept\nlink\nsub\ntool";
        assert_eq!(ran.printed(), printed, "{user:?}");
        assert_eq!(
            tree(&workspace.work()),
            before,
            "{user:?}: the host's files"
        );
        let work = workspace.work().display().to_string();
        let changed: Vec<String> = (ran.report["changed"].as_array().expect("a list").iter())
            .map(|item| {
                let (path, change) = (item["path"].as_str(), item["change"].as_str());
                let path = path.and_then(|path| path.strip_prefix(&work));
                format!("{} {}", path.expect("in $WORK"), change.expect("a word"))
            })
            .collect();
        let expected = [
            "/added added",
            "/gone removed",
            "/kept changed",
            "/link added",
            "/sub changed",
            "/sub/other added",
            "/tool added",
        ];
        assert_eq!(changed, expected, "{user:?}");
        assert!(
            ran.told().contains("7 changes"),
            "a person is told: {}",
            ran.told()
        );
    }
}

#[test]
fn nothing_of_an_overlay_leads_to_the_host() {
    for user in USERS {
        let workspace = prepared(user);
        workspace.write("outside/secret", "top secret\n");
        let outside = workspace.outside().display().to_string();
        let before = tree(&workspace.outside());
        // By links, by the layer itself (which is in no tree of mounts), by hard links, by the kernel's names for open files.
        let script = format!(
            "ln -s {outside} out; echo x > out/planted; cat out/secret; ln {outside}/secret hard; cat hard; \
             find / -name written -o -name work -type d -path '*/[0-9]/*' 2>/dev/null; \
             exec 3<>kept; echo changed >&3; cat /proc/self/fd/3; cat /proc/self/mountinfo | grep -c below; mknod node c 1 3"
        );
        let output = workspace.run(OVERLAY, &["sh", "-c", &script]);
        let told = text(&output);
        assert!(!told.contains("top secret"), "{user:?}: {told}");
        assert!(!told.contains("written"), "{user:?}: {told}");
        assert_eq!(tree(&workspace.outside()), before, "{user:?}");
        let kept = fs::read_to_string(workspace.work().join("kept"));
        assert_eq!(kept.expect("it is there"), "old\n", "{user:?}");
    }
}

#[test]
fn what_is_written_for_good_and_what_is_denied_are_so_in_an_overlay() {
    for user in USERS {
        let workspace = prepared(user);
        fs::create_dir(workspace.work().join("out")).expect("a directory");
        workspace.own(&workspace.work().join("out"));
        workspace.write("work/secret", "top secret\n");
        workspace.write("work/keys/one", "top secret\n");
        let profile = "aegis: 1\nextends: [shell]\ncapabilities:\n  files.overlay: [$WORK]\n  \
                       files.write: [$WORK/out]\n  files.deny: [$WORK/secret, $WORK/keys]\n";
        let script = "echo kept > out/file; echo lost > file; cat secret keys/one; ls keys; \
                      mv keys moved; rm -f secret; mv secret open; cat open moved/one; cat out/file file";
        let output = workspace.run(profile, &["sh", "-c", script]);
        let told = text(&output);
        assert!(!told.contains("top secret"), "{user:?}: {told}");
        assert!(told.contains("kept\nlost\n"), "{user:?}: {told}");
        let out = fs::read_to_string(workspace.work().join("out/file"));
        assert_eq!(out.expect("written"), "kept\n", "{user:?}");
        assert!(!workspace.work().join("file").exists(), "{user:?}");
        let secret = fs::read_to_string(workspace.work().join("secret"));
        assert_eq!(secret.expect("it is there"), "top secret\n", "{user:?}");
    }
}

#[test]
fn what_cannot_be_overlaid_is_refused_with_the_remedy() {
    let workspace = prepared(User::Root);
    for (lines, expected) in [
        ("files.overlay: [$WORK/kept]", "is not a directory"),
        (
            "files.overlay: [$WORK/sub]\n  files.write: [$WORK/sub]",
            "`files.write` names it too",
        ),
        ("files.overlay: [/]", "the whole file system"),
        ("files.overlay: [$WORK/none]", "does not exist"),
    ] {
        let profile = format!("aegis: 1\nextends: [shell]\ncapabilities:\n  {lines}\n");
        let output = workspace.run(&profile, &["true"]);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(125), "{lines}: {told}");
        assert!(told.contains(expected), "{lines}: {told}");
        assert!(told.contains("help: "), "{lines}: {told}");
    }
}

#[test]
fn an_overlay_is_of_one_file_system() {
    use aegis_tests::host;
    let workspace = prepared(User::Root);
    let told = host::in_private_mounts(|| {
        host::tmpfs(&workspace.work().join("sub"), "");
        text(&workspace.run(OVERLAY, &["true"]))
    });
    assert!(told.contains("is mounted in it"), "{told}");
}

#[test]
fn a_full_layer_fails_the_write_and_not_the_host() {
    for user in USERS {
        let workspace = prepared(user);
        let profile = format!("{OVERLAY}limits: {{tmp: 1M}}\n");
        let profile = workspace.profile(&profile);
        let script = "head -c 4000000 /dev/zero > big";
        let ran = Ran::new(&workspace, &profile, &["sh", "-c", script]);
        ran.exits(1);
        assert!(
            ran.told().contains("No space left"),
            "{user:?}: {}",
            ran.told()
        );
        assert!(!workspace.work().join("big").exists(), "{user:?}");
    }
}
