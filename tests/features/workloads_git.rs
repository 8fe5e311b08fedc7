//! Git on repositories of this machine.

use std::path::Path;

use aegis_tests::Workspace;
use aegis_tests::workload::Workload;

/// `$WORK/origin.git`, a bare repository with two branches, and the empty `$WORK/clones`.
fn origin(workspace: &Workspace) {
    let script = r#"
        set -e
        mkdir clones seed && cd seed
        git init --quiet --initial-branch=main
        seq 1 500 > numbers
        mkdir dir && echo nested > dir/file
        ln -s dir/file link
        printf '#!/bin/sh\necho run\n' > tool && chmod +x tool
        git add . && git commit --quiet --message first
        echo 501 >> numbers && git commit --quiet --all --message second
        git branch side HEAD~1
        cd .. && git clone --quiet --bare seed origin.git && rm -r seed
    "#;
    let mut command = workspace.command("sh");
    for (name, value) in IDENTITY {
        command.env(name, value);
    }
    let made = command.args(["-c", script]).output().expect("sh starts");
    assert!(made.status.success(), "{}", aegis_tests::text(&made));
}

const IDENTITY: [(&str, &str); 6] = [
    ("GIT_AUTHOR_NAME", "A U Thor"),
    ("GIT_AUTHOR_EMAIL", "author@example.com"),
    ("GIT_AUTHOR_DATE", "2024-05-06T07:08:09Z"),
    ("GIT_COMMITTER_NAME", "C O Mitter"),
    ("GIT_COMMITTER_EMAIL", "committer@example.com"),
    ("GIT_COMMITTER_DATE", "2024-05-06T07:08:09Z"),
];

fn git() -> Workload {
    let mut workload = Workload::new("tests/profiles/git-local.yaml").prepare(origin);
    for (name, value) in IDENTITY {
        workload = workload.env(name, value);
    }
    // An index contains inode numbers and change times, the list of a cruft pack those of its objects.
    workload.ignoring(|path| {
        path.ends_with("index") || path.extension().is_some_and(|kind| kind == "mtimes")
    })
}

#[test]
fn git_clones_commits_and_makes_a_worktree_the_same() {
    let script = r#"
        set -e
        cd clones
        git clone ../origin.git clone
        cd clone
        echo changed > dir/file
        git rm --quiet tool
        git add --all && git commit --message 'third, from inside'
        git worktree add ../side side
        (cd ../side && echo more > more && git add more && git commit --message 'on the side')
        git worktree list
        git merge side --message merged
        git -c pack.threads=1 gc --quiet && git fsck --full
        git log --graph --format='%H %an %cI %s' --all
        git status --short --branch
        git show --stat
        git grep --count 50 numbers
    "#;
    // Git insists on them only for a clone of a path.
    let git =
        git().cannot_be_learnt("hard links to files of the host are other files in an overlay");
    git.runs_the_same(&["sh", "-c", script], |outcome| {
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(outcome.stdout.contains("merged"), "{}", outcome.stdout);
        assert!(
            outcome.stdout.ends_with("numbers:7\n"),
            "{}",
            outcome.stdout
        );
        assert!(outcome.files.contains_key(Path::new("clones/side/more")));
    });
}

#[test]
fn git_fetches_rebases_and_collects_garbage_the_same() {
    let script = r#"
        set -e
        cd clones
        git clone --no-local --quiet ../origin.git clone
        cd clone
        git config user.note 'in a repository of its own'
        git switch --quiet side
        echo aside > aside && git add aside && git commit --quiet --message aside
        git rebase --quiet main
        git tag --annotate v1 --message 'version one'
        git log --format='%H %an %cI %s'
        git fetch origin && git status --short --branch
        git diff HEAD~1 --stat && git format-patch -1 --stdout | sed '/^[0-9.]*$/d'
        git archive --format=tar HEAD | git get-tar-commit-id
        git -c pack.threads=1 gc --quiet && git fsck --full && git count-objects
        git describe
    "#;
    git().runs_the_same(&["sh", "-c", script], |outcome| {
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        assert!(outcome.stdout.ends_with("v1\n"), "{}", outcome.stdout);
    });
}

#[test]
fn git_refuses_a_push_to_what_may_only_be_read() {
    // The one case where bare and confined must differ: the grant is for reading.
    for user in aegis_tests::USERS {
        let workspace = Workspace::new(user);
        origin(&workspace);
        let profile = aegis_tests::repository("tests/profiles/git-local.yaml");
        let profile = workspace.profile(&std::fs::read_to_string(profile).expect("the profile"));
        let script = "cd clones && git clone --quiet ../origin.git c && cd c && git push origin main:refs/heads/new";
        let run = || {
            workspace
                .command("git")
                .args(["-C", "origin.git", "branch", "--list"])
                .output()
        };
        let before = run().expect("git starts").stdout;
        let output = workspace
            .aegis(&profile, &["sh", "-c", script])
            .output()
            .expect("aegis-run");
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}",
            aegis_tests::text(&output)
        );
        assert_eq!(run().expect("git starts").stdout, before);
        assert!(String::from_utf8_lossy(&before).contains("side"));
    }
}
