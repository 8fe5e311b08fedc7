//! `files.deny`: what is denied inside of what is granted.

use std::os::unix::fs::PermissionsExt;

use aegis_tests::{USERS, User, Workspace, program, text};

const DENIED: &str = "aegis: 1\nextends: [shell, python]\ncapabilities:\n  files.write: [$WORK]\n  \
                      files.deny: [$WORK/secrets, $WORK/conf/key, \"**/.env\", $WORK/not-there]\n";

/// Each way to what is denied. None may print the secret, and none may change it.
const WAYS: [&str; 14] = [
    "cat .env",
    "cat app/deep/.env",
    "cat conf/key",
    "ls secrets",
    "cat secrets/token",
    "cp .env copy; cat copy",
    "ln .env linked; cat linked",
    "mv .env moved; cat moved",
    "mv app/deep elsewhere; cat elsewhere/.env",
    "mv conf old; mkdir conf; cat old/key",
    "chmod 777 .env secrets conf/key; cat .env secrets/token conf/key",
    "ln -s .env link; cat link; cat /proc/self/cwd/.env",
    "echo changed > .env; echo changed > conf/key; rm -f .env conf/key",
    "rm -rf secrets conf; rmdir secrets",
];

fn prepared(workspace: &Workspace) {
    for path in [".env", "app/deep/.env", "conf/key", "secrets/token"] {
        workspace.write(&format!("work/{path}"), "the secret\n");
    }
    workspace.write("work/app/deep/open", "open\n");
    workspace.write("work/conf/open", "open\n");
}

#[test]
fn what_is_denied_is_neither_read_nor_changed_by_any_way() {
    for user in USERS {
        for way in WAYS {
            let workspace = Workspace::new(user);
            prepared(&workspace);
            let output = workspace.run(DENIED, &["sh", "-c", way]);
            let told = text(&output);
            assert!(
                !told.contains("the secret") && !told.contains("token\n"),
                "{user:?} {way}: {told}"
            );
            // Nor does the next run find it elsewhere.
            let everything = "find . -type f -exec cat {} +; cat app/deep/open";
            let output = workspace.run(DENIED, &["sh", "-c", everything]);
            assert!(
                !text(&output).contains("the secret"),
                "{user:?} {way}: {}",
                text(&output)
            );
            for path in [".env", "app/deep/.env", "conf/key", "secrets/token"] {
                let now = std::fs::read_to_string(workspace.work().join(path));
                assert_eq!(
                    now.ok().as_deref(),
                    Some("the secret\n"),
                    "{user:?} {way}: {path}"
                );
            }
        }
    }
}

#[test]
fn without_the_line_the_same_ways_lead_there() {
    for user in USERS {
        let workspace = Workspace::new(user);
        prepared(&workspace);
        let without = DENIED
            .replace("files.deny", "files.read")
            .replace(", \"**/.env\", $WORK/not-there", "");
        let output = workspace.run(
            &without,
            &["sh", "-c", "cat .env conf/key secrets/token; ls secrets"],
        );
        assert!(
            text(&output).contains("the secret\nthe secret\nthe secret\ntoken\n"),
            "{}",
            text(&output)
        );
    }
}

#[test]
fn what_lies_beside_it_stays_granted() {
    for user in USERS {
        let workspace = Workspace::new(user);
        prepared(&workspace);
        let script = "cat app/deep/open conf/open && echo new > app/deep/made && echo new > not-there && ls app/deep";
        let output = workspace.run(DENIED, &["sh", "-c", script]);
        assert_eq!(
            output.stdout,
            b"open\nopen\nmade\nopen\n",
            "{}",
            text(&output)
        );
        assert!(workspace.work().join("not-there").exists());
    }
}

#[test]
fn a_denial_is_explained_and_told_and_wins_over_every_grant() {
    for user in USERS {
        let workspace = Workspace::new(user);
        prepared(&workspace);
        let profile = workspace.profile(DENIED);
        let mut explain = workspace.command(program("aegis-run"));
        explain
            .arg("--profile")
            .arg(&profile)
            .args(["--explain", "true"]);
        let explained = text(&explain.output().expect("it starts"));
        for part in [
            "Deny",
            "**/.env (2 there now): ",
            "/work/app/deep/.env",
            "$WORK/not-there (not there now",
        ] {
            assert!(explained.contains(part), "no {part:?} in {explained}");
        }
        let output = workspace.run(DENIED, &["cat", ".env"]);
        assert!(
            text(&output).contains("refused by files.deny: using "),
            "{}",
            text(&output)
        );

        for (line, item) in [
            ("files.read", "$WORK/secrets/token"),
            ("files.write", "$WORK/.env"),
            ("shell.exec", "$WORK/secrets"),
        ] {
            let beside = format!(
                "aegis: 1\nextends: [shell]\ncapabilities:\n  files.deny: [$WORK/secrets, \"**/.env\"]\n  {line}: [{item}]\n"
            );
            let also = match line {
                "files.write" => beside.replace("files.write: [", "files.write: [$WORK, "),
                _ => beside.clone(),
            };
            let output = workspace.run(&also, &["true"]);
            assert_eq!(output.status.code(), Some(125), "{line}: {}", text(&output));
            assert!(
                text(&output).contains("is denied by "),
                "{line}: {}",
                text(&output)
            );
            // Where it is optional it is left out.
            let optional = also.replace(&format!("{item}]\n"), &format!("-{item}]\n"));
            let output = workspace.run(&optional, &["sh", "-c", "cat secrets/token .env"]);
            assert!(
                !text(&output).contains("the secret"),
                "{line}: {}",
                text(&output)
            );
            assert_eq!(output.status.code(), Some(1), "{line}: {}", text(&output));
        }
        let command = workspace.run(
            &DENIED.replace("$WORK/not-there", "/usr/bin/strace"),
            &["strace"],
        );
        assert_eq!(command.status.code(), Some(126), "{}", text(&command));
    }
}

#[test]
fn names_with_the_characters_of_patterns_can_be_declared() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/app/[slug]/page.tsx", "page\n");
        workspace.write("work/app/[slug]/{key}", "the secret\n");
        let profile = "aegis: 1\nextends: [shell]\ncapabilities:\n  files.read: ['$WORK/app/\\[slug\\]']\n  \
                       files.deny: ['$WORK/app/\\[slug\\]/\\{key\\}']\n";
        let output = workspace.run(
            profile,
            &["sh", "-c", "cat 'app/[slug]/page.tsx' 'app/[slug]/{key}'"],
        );
        assert_eq!(output.stdout, b"page\n", "{}", text(&output));
        let plain = workspace.run(&profile.replace("\\[slug\\]'", "[slug]'"), &["true"]);
        assert!(
            text(&plain).contains("where `[` is part of a name, write `\\["),
            "{}",
            text(&plain)
        );
    }
}

/// A command may take its own user's right to enter a directory away, and the next give it back.
#[test]
fn a_directory_that_may_not_be_entered_hides_nothing_from_the_start() {
    for (user, mode) in USERS
        .iter()
        .flat_map(|user| ["0", "400"].map(|mode| (*user, mode)))
    {
        for (denied, kept, at) in [
            ("$WORK/conf/key", "conf", "conf/key"),
            ("\"**/.env\"", "app/deep", "app/deep/.env"),
            ("\"**/.env\"", "app", "app/deep/.env"),
            ("$WORK/none", ".git", ".git/config"),
        ] {
            let workspace = Workspace::new(user);
            prepared(&workspace);
            workspace.write("work/.git/config", "as it was\n");
            let profile = format!(
                "aegis: 1\nextends: [shell]\ncapabilities: {{files.write: [$WORK], files.deny: [{denied}]}}\n"
            );
            let shut = format!("chmod {mode} {kept}");
            let output = workspace.run(&profile, &["sh", "-c", &shut]);
            assert!(output.status.success(), "{}", text(&output));
            let way = format!("chmod 700 {kept}; cat {at}; echo changed > {at}");
            let output = workspace.run(&profile, &["sh", "-c", &way]);
            let told = text(&output);
            let case = format!("{user:?} {mode} {denied} {kept}: {told}");
            assert!(!told.contains("the secret"), "{case}");
            if user == User::Ordinary {
                assert_eq!(output.status.code(), Some(125), "{case}");
                assert!(told.contains("chmod u+rx"), "{case}");
            }
            let set = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(workspace.work().join(kept), set).expect("it is there");
            let now = std::fs::read_to_string(workspace.work().join(at)).expect("it is there");
            assert!(!now.contains("changed"), "{case}");
        }
    }
}

/// What another user keeps from everybody is out of the command's reach, and stops no start of root's.
#[test]
fn what_nobody_inside_may_enter_needs_no_mask() {
    let workspace = Workspace::new(User::Root);
    prepared(&workspace);
    let closed = workspace.work().join("app/deep");
    std::os::unix::fs::chown(&closed, Some(4321), Some(4321)).expect("chown");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    let output = workspace.run(
        DENIED,
        &["sh", "-c", "cat .env app/deep/.env; echo went on"],
    );
    let told = text(&output);
    assert!(
        told.contains("went on") && !told.contains("the secret"),
        "{told}"
    );
}

/// The next run denies the same, whatever this one does to the links on the way.
#[test]
fn a_link_on_the_way_to_what_is_denied_stays() {
    for (user, denied) in USERS
        .iter()
        .flat_map(|user| ["$WORK/ln/token", "\"$WORK/ln/**/token\""].map(|denied| (*user, denied)))
    {
        let workspace = Workspace::new(user);
        prepared(&workspace);
        std::os::unix::fs::symlink("secrets", workspace.work().join("ln")).expect("a link");
        let profile = format!(
            "aegis: 1\nextends: [shell]\ncapabilities: {{files.write: [$WORK], files.deny: [{denied}]}}\n"
        );
        workspace.run(&profile, &["sh", "-c", "rm ln; mv secrets other"]);
        let output = workspace.run(&profile, &["sh", "-c", "find . -type f -exec cat {} +"]);
        let told = text(&output);
        assert_eq!(
            told.matches("the secret").count(),
            3,
            "{user:?} {denied}: {told}"
        );
    }
}

/// By its own line, or by the line of another profile.
#[test]
fn a_name_is_denied_wherever_it_is_granted() {
    for user in USERS {
        let workspace = Workspace::new(user);
        prepared(&workspace);
        for (granted, denied) in [
            ("$WORK/.env", "\"$WORK/**/.env\""),
            ("$WORK/conf", "\"**/conf\""),
        ] {
            let profile = format!(
                "aegis: 1\nextends: [shell]\ncapabilities: {{files.read: [{granted}], files.deny: [{denied}]}}\n"
            );
            let output = workspace.run(&profile, &["cat", ".env", "conf/key"]);
            let told = text(&output);
            assert!(told.contains("is denied by"), "{user:?} {granted}: {told}");
            assert!(!told.contains("the secret"), "{user:?} {granted}: {told}");
        }
    }
}

/// Where a denied link leads out of its tree, what is meant cannot be told.
#[test]
fn a_denied_link_that_leads_elsewhere_is_an_error() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("other/key", "the secret\n");
        std::os::unix::fs::symlink("../other", workspace.work().join("out")).expect("a link");
        let profile = "aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK], files.deny: [$WORK/out/key]}\n";
        let output = workspace.run(profile, &["cat", "out/key"]);
        assert_eq!(output.status.code(), Some(125), "{}", text(&output));
        assert!(text(&output).contains("without links"), "{}", text(&output));
    }
}

/// What the system has is looked through where the line says so.
#[test]
fn a_name_below_usr_is_denied_where_the_line_names_it() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let run = |denied: &str| {
            let profile = format!(
                "aegis: 1\nextends: [shell]\ncapabilities: {{shell.exec: [id], files.deny: [{denied}]}}\n"
            );
            workspace.run(&profile, &["id", "-u"])
        };
        assert!(run("").status.success(), "the control: {}", text(&run("")));
        let output = run("\"/usr/lib/**/libc.so.6\"");
        assert!(!output.status.success(), "{}", text(&output));
    }
}

/// The directories that its path leads through are pinned, and one of them is hidden already.
#[test]
fn a_profile_may_be_named_by_way_of_what_it_hides() {
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/secrets/deep/key", "the secret\n");
        workspace.write(
            "work/p.yaml",
            "aegis: 1\nextends: [shell]\ncapabilities: {files.write: [$WORK], files.deny: [$WORK/secrets]}\n",
        );
        let mut command = workspace.command(aegis_tests::program("aegis-run"));
        command.args(["--profile", "secrets/deep/../../p.yaml", "--"]);
        command.args(["sh", "-c", "cat secrets/deep/key; echo ran"]);
        let output = command.output().expect("aegis-run starts");
        let told = text(&output);
        assert!(
            told.contains("ran") && !told.contains("the secret"),
            "{user:?}: {told}"
        );
    }
}
