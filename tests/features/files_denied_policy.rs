//! `files.deny` and the policy: what a run hides for certain, a policy is not asked about; all else it is.

use std::os::unix::fs::symlink;
use std::path::Path;

use aegis_tests::audit_log::{aegis, holds_up, of_type, place, run};
use aegis_tests::host::{bind, in_private_mounts};
use aegis_tests::{EVERYTHING, USERS, User, Workspace, text};

/// All is allowed, but for what `match` names.
fn blocking(pattern: &str) -> String {
    format!(
        "{EVERYTHING}  - {{id: keys, on: [files.read, files.write, shell.exec], match: '{pattern}', verdict: block}}\n"
    )
}

fn profile(grant: &str, denied: &str) -> String {
    format!(
        "aegis: 1\nname: job\nextends: [shell]\ncapabilities: {{{grant}, files.deny: [{denied}]}}\n"
    )
}

fn prepared(user: User) -> Workspace {
    let workspace = Workspace::new(user);
    for path in ["work/secrets/token", "work/a/secrets/token"] {
        workspace.write(path, "the secret\n");
    }
    workspace.write("work/open", "open\n");
    workspace
}

/// Runs a script, and returns whether the policy let it, with what it printed.
fn lets(workspace: &Workspace, profile: &str, script: &str) -> (bool, String) {
    let profile = workspace.profile(profile);
    let output = run(workspace, &profile, &["sh", "-c", script]).output();
    let output = output.expect("it starts");
    let told = text(&output);
    let refused = output.status.code() == Some(125);
    assert!(
        !refused || told.contains("`keys`"),
        "something else: {told}"
    );
    (!refused, told)
}

const GRANTS: [&str; 3] = [
    "files.read: [$WORK]",
    "files.write: [$WORK]",
    "shell.exec: [$WORK]",
];

/// What reads the secret, wherever it would be shown.
const SEARCH: &str = "find . -type f -exec cat {} +";

#[test]
fn what_is_hidden_is_not_asked_about_and_all_else_is() {
    for user in USERS {
        for grant in GRANTS {
            let workspace = prepared(user);
            for (pattern, denied, expected) in [
                ("$WORK/secrets/**", "$WORK/secrets", true),
                ("$WORK/secrets", "$WORK/secrets", true),
                ("$WORK/secrets/id_*", "$WORK/secrets", true),
                ("$WORK/secrets/deep/**", "$WORK/secrets", true),
                ("$WORK/secrets/**", "\"**/secrets\"", true),
                ("$WORK/a/secrets/**", "\"$WORK/**/secrets\"", true),
                ("$WORK/a/secrets/**", "$WORK/a", true),
                ("$WORK/secrets/**", "$WORK/a", false),
                ("$WORK/a/**", "$WORK/a/secrets", false),
                ("$WORK/**", "$WORK/secrets", false),
                // It may be anywhere, also where nothing is yet.
                ("/**/secrets/**", "\"**/secrets\"", false),
                ("$WORK/secret*/**", "$WORK/secrets", false),
                // A file is replaced by whoever saves it; what is not there can be made.
                ("$WORK/open", "$WORK/open", false),
                ("$WORK/none/**", "$WORK/none", false),
            ] {
                workspace.policy(&blocking(pattern));
                let case = format!("{user:?} {grant} {pattern} {denied}");
                let (let_through, told) = lets(&workspace, &profile(grant, denied), SEARCH);
                assert_eq!(let_through, expected, "{case}: {told}");
                workspace.policy(EVERYTHING);
                assert!(
                    lets(&workspace, &profile(grant, denied), "true").0,
                    "{case}"
                );
            }
            holds_up(&workspace, &place(&workspace));
        }
    }
}

/// Without the line the rule blocks; with it, no way leads to what the rule is about.
#[test]
fn what_a_rule_blocks_stays_out_of_reach() {
    for user in USERS {
        for way in [
            SEARCH,
            "mv secrets elsewhere; cat elsewhere/token",
            "rmdir secrets; rm -rf secrets; cat secrets/token",
            "mv a b; mkdir -p a/secrets; cat b/secrets/token",
            "ln -s secrets link; cat link/token; cat /proc/self/cwd/secrets/token",
            "chmod 777 secrets a; cat secrets/token a/secrets/token",
        ] {
            let workspace = prepared(user);
            workspace.policy(&blocking("$WORK/secrets/**").replace(
                "'$WORK/secrets/**'",
                "['$WORK/secrets/**', '$WORK/a/secrets/**']",
            ));
            let write = |denied| profile("files.write: [$WORK]", denied);
            assert!(!lets(&workspace, &write("$WORK/none"), way).0);
            for script in [way, SEARCH] {
                let (let_through, told) =
                    lets(&workspace, &write("$WORK/secrets, $WORK/a/secrets"), script);
                assert!(let_through, "{user:?} {way}: {told}");
                assert!(!told.contains("the secret"), "{user:?} {way}: {told}");
            }
            // The same ways lead there where nothing is hidden.
            workspace.policy(EVERYTHING);
            let (_, told) = lets(&workspace, &write("$WORK/none"), SEARCH);
            assert_eq!(
                told.matches("the secret").count(),
                2,
                "{user:?} {way}: {told}"
            );
        }
    }
}

#[test]
fn what_has_another_name_in_the_tree_is_asked_about() {
    let policy = blocking("$WORK/secrets/**");
    for user in USERS {
        for grant in GRANTS {
            let hidden = profile(grant, "$WORK/secrets");
            let workspace = prepared(user);
            workspace.policy(&policy);
            let at = |path: &str| workspace.work().join(path);
            assert!(lets(&workspace, &hidden, "true").0, "the control");

            std::fs::hard_link(at("secrets/token"), at("linked")).expect("a hard link");
            let (let_through, told) = lets(&workspace, &hidden, "cat linked");
            assert!(!let_through, "a hard link: {user:?} {grant}: {told}");
            std::fs::remove_file(at("linked")).expect("it is there");

            in_private_mounts(|| {
                let mount = |from: &Path, to: &str| {
                    std::fs::create_dir_all(at(to)).expect("a directory");
                    workspace.own(&at(to));
                    bind(from, &at(to));
                    let (let_through, told) = lets(&workspace, &hidden, SEARCH);
                    assert!(!let_through, "{to}: {user:?} {grant}: {told}");
                };
                mount(&at("secrets"), "again");
            });
            in_private_mounts(|| {
                bind(&at("a"), &at("secrets"));
                let (let_through, told) = lets(&workspace, &hidden, SEARCH);
                assert!(!let_through, "a mount: {user:?} {grant}: {told}");
            });
        }
    }
}

/// A rule that names the place by a link speaks of it: the link may be another one in the next moment.
#[test]
fn a_rule_that_names_a_link_speaks_of_the_link() {
    for user in USERS {
        let workspace = prepared(user);
        symlink("secrets", workspace.work().join("link")).expect("a link");
        for (pattern, denied, expected) in [
            ("$WORK/secrets/**", "$WORK/link", true),
            ("$WORK/link/**", "$WORK/link", false),
            ("$WORK/link/**", "$WORK/secrets", false),
        ] {
            workspace.policy(&blocking(pattern));
            let job = profile("files.write: [$WORK]", denied);
            let (let_through, told) = lets(&workspace, &job, SEARCH);
            assert_eq!(let_through, expected, "{user:?} {pattern} {denied}: {told}");
        }
    }
}

#[test]
fn each_command_is_of_the_same_mind() {
    for user in USERS {
        let workspace = prepared(user);
        let policy = workspace.write("policy.yaml", blocking("$WORK/secrets/**"));
        let policy = policy.to_str().expect("UTF-8");
        let hidden = format!(
            "{} and below except {0}/secrets",
            workspace.work().display()
        );
        let eval = |words: &str, verb: &str| {
            let output = aegis(&workspace, &["policy", verb, policy, words]);
            (output.status.success(), text(&output))
        };
        for verb in ["eval", "explain"] {
            let (let_through, told) = eval("files.read=$WORK/** except $WORK/secrets", verb);
            assert!(let_through && told.contains(&hidden), "{verb}: {told}");
            for words in [
                "files.read=$WORK/**",
                "files.read=$WORK/** except $WORK/a",
                // Neither would be hidden here.
                "files.read=$WORK/** except $WORK/open",
                "files.read=$WORK/** except $WORK/none",
            ] {
                assert!(!eval(words, verb).0, "{verb} {words}");
            }
            let (_, told) = eval("files.read=$WORK/** except /etc", verb);
            assert!(told.contains("write it like"), "{told}");
        }
        workspace.policy(&blocking("$WORK/secrets/**"));
        let job = workspace.profile(&profile("files.read: [$WORK]", "$WORK/secrets"));
        let output = run(&workspace, &job, &["--explain=json", "true"]).output();
        let told = text(&output.expect("it starts"));
        assert!(told.contains(r#""except":["#), "{told}");
        let output = run(&workspace, &job, &["true"]).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        let log = place(&workspace);
        let runs = of_type(&log, "tool.exec");
        let asked = runs[0]["request"]["what"]["grants"].to_string();
        assert!(asked.contains(r#""except":["#), "{asked}");
        holds_up(&workspace, &log);
    }
}
