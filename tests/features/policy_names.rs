//! Policies decide by name, the kernel by file: what has two names has one decision.

use std::os::unix::fs::symlink;
use std::path::Path;

use aegis_tests::audit_log::{aegis, holds_up, place, run};
use aegis_tests::host::{bind, in_private_mounts, tmpfs};
use aegis_tests::outcome::refused;
use aegis_tests::{EVERYTHING, ORDINARY, USERS, User, Workspace, text};

fn rules(rules: &str) -> String {
    format!("{EVERYTHING}{rules}")
}

const KEYS: &str =
    "  - {id: keys, on: [files.read, files.write], match: $HOME/.ssh/**, verdict: block}\n";

fn reads(path: &str) -> String {
    format!("aegis: 1\nname: job\nextends: [shell]\ncapabilities: {{files.read: ['{path}']}}\n")
}

/// Asserts that the rule `id` blocks what the profile declares, and that nothing else stands in its way.
#[track_caller]
fn blocks(workspace: &Workspace, id: &str, policy: &str, profile: &str) {
    workspace.policy(policy);
    let profile = workspace.profile(profile);
    let said = refused(
        workspace,
        &mut run(workspace, &profile, &["touch", "started"]),
        125,
    );
    assert!(said.contains(&format!("`{id}`")), "no `{id}` in {said}");
    holds_up(workspace, &place(workspace));
    workspace.policy(EVERYTHING);
    let output = run(workspace, &profile, &["true"]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
}

/// An account whose home is this directory.
fn account(workspace: &Workspace, home: &Path) {
    let uid = match workspace.user {
        User::Root => 0,
        User::Ordinary => ORDINARY,
    };
    let line = format!("ada:x:{uid}:{uid}::{}:/bin/sh\n", home.display());
    bind(&workspace.write("passwd", line), "/etc/passwd".as_ref());
}

#[test]
fn a_link_on_the_way_to_the_home_directory_opens_nothing() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            workspace.write("home/.ssh/id", "a key\n");
            let link = workspace.outside().with_file_name("linked");
            symlink(workspace.home(), &link).expect("a link");
            account(&workspace, &link);
            for path in [
                "$HOME/.ssh/id",
                &format!("{}/.ssh", workspace.home().display()),
            ] {
                blocks(&workspace, "keys", &rules(KEYS), &reads(path));
            }
        });
    }
}

#[test]
fn both_homes_are_home() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            workspace.write("home/.ssh/id", "a key\n");
            workspace.write("account/.ssh/id", "another\n");
            let other = workspace.home().with_file_name("account");
            account(&workspace, &other);
            for path in ["$HOME/.ssh/id", &format!("{}/.ssh/id", other.display())] {
                blocks(&workspace, "keys", &rules(KEYS), &reads(path));
            }
        });
    }
}

#[test]
fn a_key_that_is_a_link_stays_out_by_either_name() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let kept = workspace.write("vault/ssh/id", "a key\n");
        let kept = kept.parent().expect("a directory");
        symlink(kept, workspace.home().join(".ssh")).expect("a link");
        workspace.write("vault/history", "secrets\n");
        symlink("../vault/history", workspace.home().join(".x_history")).expect("a link");
        let glob = "  - {id: keys, on: files.read, match: $HOME/.*_history, verdict: block}\n";
        for (policy, path) in [
            (KEYS, "$HOME/.ssh"),
            (KEYS, &*kept.display().to_string()),
            (KEYS, &kept.join("id").display().to_string()),
            (
                KEYS,
                &kept.parent().expect("a directory").display().to_string(),
            ),
            (glob, "$HOME/.x_history"),
        ] {
            blocks(&workspace, "keys", &rules(policy), &reads(path));
        }
    }
}

#[test]
fn a_second_mount_and_a_hard_link_are_the_same_file() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            let key = workspace.write("home/.ssh/deep/id", "a key\n");
            workspace.write("home/.netrc", "a password\n");
            for directory in ["seen/ssh", "deep"] {
                workspace.write(&format!("{directory}/x"), "");
            }
            let beside = |name: &str| workspace.home().with_file_name(name);
            bind(&workspace.home().join(".ssh"), &beside("seen/ssh"));
            bind(key.parent().expect("a directory"), &beside("deep"));
            let hard = beside("hard");
            std::fs::hard_link(workspace.home().join(".netrc"), &hard).expect("a hard link");
            let netrc = "  - {id: keys, on: files.read, match: $HOME/.netrc, verdict: block}\n";
            for (policy, path) in [
                (KEYS, beside("seen/ssh/deep")),
                (KEYS, beside("seen")),
                (KEYS, beside("deep/id")),
                (netrc, hard),
            ] {
                let path = path.display().to_string();
                blocks(&workspace, "keys", &rules(policy), &reads(&path));
            }
        });
    }
}

#[test]
fn a_program_is_blocked_by_each_path_that_leads_to_it() {
    let by = |pattern: &str| {
        format!("  - {{id: tools, on: shell.exec, match: {pattern}, verdict: block}}\n")
    };
    let real = |link: &str| {
        let path = std::fs::canonicalize(Path::new("/usr/bin").join(link)).expect("it is there");
        let name = path.file_name().expect("a name").to_str();
        let name = name.expect("a name in UTF-8").to_owned();
        assert_ne!(name, link, "the case needs a link");
        (path.display().to_string(), name)
    };
    let (python, awk) = (real("python3"), real("awk"));
    for user in USERS {
        let workspace = Workspace::new(user);
        for (pattern, declared) in [
            ("/bin/env", "/usr/bin/env"),
            ("/usr/bin/env", "/bin/env"),
            ("/bin/env", "env"),
            ("/bin", "env"),
            ("python3", "python3"),
            ("python3", &*python.0),
            ("python3", &*python.1),
            ("[no-such-program, awk]", &*awk.0),
            ("awk", &*awk.1),
        ] {
            let profile = format!(
                "aegis: 1\nname: job\nextends: [base]\ncapabilities: {{shell.exec: [touch, 'true', {declared}]}}\n"
            );
            blocks(&workspace, "tools", &rules(&by(pattern)), &profile);
        }
    }
}

#[test]
fn a_program_is_blocked_by_the_name_of_its_hard_link() {
    for user in USERS {
        in_private_mounts(|| {
            let workspace = Workspace::new(user);
            let programs = Path::new("/usr/sbin");
            tmpfs(programs, "mode=755");
            let second = programs.join("second");
            std::fs::copy("/usr/bin/env", &second).expect("a copy");
            std::fs::hard_link(&second, programs.join("first")).expect("a hard link");
            let tool = "  - {id: tools, on: shell.exec, match: first, verdict: block}\n";
            for declared in ["second", "/usr/sbin/second"] {
                let profile = format!(
                    "aegis: 1\nname: job\nextends: [base]\ncapabilities: {{shell.exec: [touch, 'true', {declared}]}}\n"
                );
                blocks(&workspace, "tools", &rules(tool), &profile);
            }
        });
    }
}

#[test]
fn a_rule_that_allows_goes_by_the_administrator_s_links_and_by_no_others() {
    let policy = |pattern: &str| {
        format!(
            "aegis-policy: 1\nname: narrow\ncapabilities:\n  \
             - {{id: places, on: files.read, match: [{pattern}, /usr/lib/**, /usr/share/**, /etc/**], verdict: allow}}\n  \
             - {{id: loader, on: shell.exec, match: /usr/lib/**, verdict: allow}}\n  \
             - {{id: rest, on: [shell.exec, environment.pass, devices], match: \"*\", verdict: allow}}\n"
        )
    };
    for user in USERS {
        let workspace = Workspace::new(user);
        let profile = workspace.profile(&reads("/usr/bin/env"));
        workspace.policy(&policy("/bin/**"));
        let output = run(&workspace, &profile, &["true"]).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        // What the user may link is not what the administrator meant.
        symlink("/usr/bin", workspace.home().join("tools")).expect("a link");
        workspace.policy(&policy("$HOME/tools/**"));
        let said = refused(
            &workspace,
            &mut run(&workspace, &profile, &["touch", "started"]),
            125,
        );
        assert!(said.contains("files.read /usr/bin/env"), "{said}");
    }
}

#[test]
fn a_block_reaches_below_what_it_names() {
    let data = "  - {id: data, on: files.read, match: $WORK/data, verdict: block}\n";
    for user in USERS {
        let workspace = Workspace::new(user);
        workspace.write("work/data/deep/k", "a secret\n");
        for path in [
            "$WORK/data/deep/k",
            "$WORK/data/deep",
            "$WORK/data",
            "$WORK",
        ] {
            blocks(&workspace, "data", &rules(data), &reads(path));
        }
    }
}

#[test]
fn what_a_policy_is_asked_in_words_is_what_a_run_would_ask() {
    for user in USERS {
        let workspace = Workspace::new(user);
        let kept = workspace.write("vault/ssh/id", "a key\n");
        let kept = kept.parent().expect("a directory").display().to_string();
        symlink(&kept, workspace.home().join(".ssh")).expect("a link");
        let tool = "  - {id: tools, on: shell.exec, match: /bin/env, verdict: block}\n";
        let policy = workspace.policy(&rules(&format!("{KEYS}{tool}")));
        let policy = policy.to_str().expect("a path in UTF-8");
        let table = format!(
            "aegis-policy-test: 1\ncontext: {{home: {}, work: {}}}\ncases:\n  \
             - {{files.read: [$HOME/.ssh/id, {kept}, {kept}/id], expect: block, by: keys}}\n  \
             - {{shell.exec: [/usr/bin/env, /bin/env, env], expect: block, by: tools}}\n",
            workspace.home().display(),
            workspace.work().display(),
        );
        workspace.write("table.yaml", table);
        let table = workspace.outside().with_file_name("table.yaml");
        let home = workspace.home().display().to_string();
        for asked in [
            "files.read=$HOME/.ssh/id",
            &format!("files.read={kept}"),
            "shell.exec=/usr/bin/env",
            "shell.exec=env",
        ] {
            for word in ["eval", "explain"] {
                let output = aegis(
                    &workspace,
                    &["policy", word, policy, asked, "--home", &home],
                );
                assert_eq!(output.status.code(), Some(1), "{asked}: {}", text(&output));
            }
        }
        let table = table.to_str().expect("a path in UTF-8");
        let output = aegis(&workspace, &["policy", "test", policy, table]);
        assert!(output.status.success(), "{}", text(&output));
    }
}
