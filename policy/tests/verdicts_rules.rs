//! Verdicts of several rules together, case by case: `otherwise`, modes, several policies, approvals, runs.

use crate::support::cases;

use aegis_policy::model::Verdict::{Allow, Block, Review, Warn};
use aegis_policy::request::Approval;
use aegis_policy::{Hash, Policy, Request, What, decide};
use cases::{
    approval, asked, context, document, exec_named, limit, policy, read, read_tree, request, run,
    table, write,
};

#[test]
fn otherwise_speaks_where_no_other_rule_covers() {
    let policy = policy(
        "capabilities:
          - {id: rest, on: files.read, match: [/**], verdict: review, otherwise: true}
          - {id: usr, on: files.read, match: [/usr/**], verdict: allow}
          - {id: tried, on: files.read, match: [/srv/**], verdict: block, mode: warn}
          - {id: keys, on: files.read, match: [/usr/**/keys/**], verdict: block}",
    );
    table(
        &policy,
        [
            (read("/usr/a"), Allow, &["usr"]),
            (read("/etc/passwd"), Review, &["rest"]),
            (read_tree("/"), Block, &["keys", "rest", "tried"]),
            (read_tree("/usr/lib"), Block, &["keys", "usr"]),
            // A rule in mode `warn` does not silence it.
            (read("/srv/a"), Review, &["rest", "tried"]),
        ],
    );
}

#[test]
fn a_rule_in_mode_warn_says_what_it_would_say_and_nothing_comes_of_it() {
    let policy = policy(
        "capabilities:
          - {id: all, on: files.read, match: [/a/**], verdict: allow}
          - {id: ask, on: files.read, match: [/a/r/**], verdict: review}
          - {id: tried-allow, on: files.read, match: [/a/x/**, /b/**], verdict: allow, mode: warn}
          - {id: tried-block, on: files.read, match: [/a/y/**, /a/r/**, /c/**], verdict: block, mode: warn}",
    );
    table(
        &policy,
        [
            (read("/a/y/1"), Warn, &["all", "tried-block"]),
            (read_tree("/a/y"), Warn, &["all", "tried-block"]),
            (read("/a/r/1"), Review, &["all", "ask", "tried-block"]),
            (read("/a/x/1"), Allow, &["all", "tried-allow"]),
            // Neither lets anything through by itself; the log says what each would have done.
            (read("/b/1"), Block, &["tried-allow"]),
            (read("/c/1"), Block, &["tried-block"]),
        ],
    );
    assert_eq!(
        &*asked(&policy, read("/a/y/1")).reason,
        "would be blocked by rule `tried-block`, which is in mode warn"
    );
}

#[test]
fn several_policies_have_each_to_let_it_through() {
    let system = document(
        "system",
        "capabilities: [{id: usr, on: files.read, match: [/usr/**, /srv/**], verdict: allow}]",
    );
    let own = document(
        "own",
        "capabilities:
          - {id: usr, on: files.read, match: [/usr/**, /etc/**], verdict: warn}
          - {id: srv, on: files.read, match: [/srv/**], verdict: review}",
    );
    let both = Policy::new(vec![system, own]).unwrap();
    table(
        &both,
        [
            (read("/usr/a"), Warn, &["system/usr", "own/usr"]),
            (read("/srv/a"), Review, &["system/usr", "own/srv"]),
            (read("/etc/a"), Block, &["own/usr"]),
            (read("/home/ana"), Block, &[]),
        ],
    );
    assert_eq!(
        Policy::new(vec![]).map(|none| asked(&none, read("/usr/a")).verdict),
        Ok(Block)
    );
}

#[test]
fn an_approval_answers_review_for_the_very_thing_only() {
    let policy = policy(
        "capabilities:
          - {id: ask, on: files.read, match: [/srv/**], verdict: review}
          - {id: tell, on: files.read, match: [/srv/w/**], verdict: warn}
          - {id: never, on: files.read, match: [/srv/b/**], verdict: block}
          - {id: part, on: files.read, match: [/srv/p/**], verdict: review}",
    );
    let with = |what: What, approvals: Vec<Approval>| {
        let said = decide(
            &policy,
            &Request {
                approvals,
                ..request(what)
            },
        );
        (said.verdict, said.reason.to_string())
    };
    let yes = |path| approval(&policy, &read(path), &read(path));
    assert_eq!(with(read("/srv/a"), vec![]).0, Review);
    let (verdict, reason) = with(read("/srv/a"), vec![yes("/srv/b"), yes("/srv/a")]);
    assert_eq!(verdict, Allow);
    assert_eq!(
        reason,
        "approved (approval-1); for a person to approve by rule `ask`"
    );
    assert_eq!(with(read("/srv/w/1"), vec![yes("/srv/w/1")]).0, Warn);
    assert_eq!(with(read("/srv/b/1"), vec![yes("/srv/b/1")]).0, Block);
    assert_eq!(with(read("/srv/p/1"), vec![yes("/srv/p/1")]).0, Allow);

    // Bound to other things.
    type Change = fn(&mut Approval);
    let changes: [(&str, Change); 10] = [
        ("another path", |a| a.what = read("/srv/b").hash()),
        ("the tree", |a| a.what = read_tree("/srv/a").hash()),
        ("writing", |a| a.what = write("/srv/a").hash()),
        ("another profile", |a| a.profile_hash = Hash::of(b"other")),
        ("another skill", |a| {
            a.skill = Some("/home/ana/skills/other".into())
        }),
        ("no skill", |a| a.skill = None),
        ("yesterday", |a| a.expires = a.at),
        ("another policy", |a| a.policy = Hash::of(b"other")),
        ("another command", |a| {
            a.command = run(vec![]).command_hash()
        }),
        ("held against another command", |a| {
            a.held_for = run(vec![]).command_hash()
        }),
    ];
    for (name, change) in changes {
        let mut other = yes("/srv/a");
        change(&mut other);
        assert_eq!(with(read("/srv/a"), vec![other]).0, Review, "{name}");
    }
}

#[test]
fn a_run_is_what_is_said_of_the_worst_of_its_grants() {
    let policy = policy(
        "capabilities:
          - {id: usr, on: files.read, match: [/usr/**], verdict: allow}
          - {id: srv, on: files.read, match: [/srv/**], verdict: review}
          - {id: git, on: shell.exec, match: [git], verdict: warn}",
    );
    let git = || exec_named("git", "/usr/bin/git");
    table(
        &policy,
        [
            (run(vec![read("/usr/a"), read("/usr/b")]), Allow, &[]),
            (run(vec![read("/usr/a"), git()]), Warn, &["git"]),
            (
                run(vec![git(), read("/srv/a"), read("/usr/a")]),
                Review,
                &["srv"],
            ),
            (run(vec![read("/srv/a"), read("/etc/a")]), Block, &[]),
            (run(vec![]), Block, &[]),
            // Limits grant nothing: it asks for nothing.
            (run(vec![limit("pids", Some(1))]), Block, &[]),
            (run(vec![limit("pids", Some(1)), git()]), Warn, &["git"]),
            (run(vec![read("/usr/a"), run(vec![])]), Block, &[]),
        ],
    );
    let whole = run(vec![read("/usr/a"), read("/srv/a"), git()]);
    let said = asked(&policy, whole.clone());
    let parts: Vec<_> = said.parts.iter().map(|part| part.verdict).collect();
    assert_eq!(parts, [Allow, Review, Warn]);
    assert_eq!(said.parts[1].rules[..], said.rules[..]);
    // Approving a run does not approve what it asks for.
    let approvals = vec![approval(&policy, &whole, &whole)];
    let mut request = request(whole.clone());
    request.approvals = approvals;
    assert_eq!(decide(&policy, &request).verdict, Review);
    request.approvals = vec![approval(&policy, &whole, &read("/srv/a"))];
    assert_eq!(decide(&policy, &request).verdict, Warn);
    // Nor does an approval for another command count, whatever it claims to be used for.
    let other = What::Tool {
        command: vec!["report".into(), "--all".into()],
        grants: vec![],
    };
    request.approvals = vec![approval(&policy, &other, &read("/srv/a"))];
    assert_eq!(decide(&policy, &request).verdict, Review);
    // One of its grants alone is approved in the same run.
    let alone = Request {
        approvals: vec![approval(&policy, &whole, &read("/srv/a"))],
        what: read("/srv/a"),
        ..request
    };
    assert_eq!(decide(&policy, &alone).verdict, Allow);
}

#[test]
fn rules_about_runs_only_make_them_worse() {
    let rules = |match_: &str, verdict: &str| {
        policy(&format!(
            "capabilities:
              - {{id: usr, on: files.read, match: [/usr/**], verdict: allow}}
              - {{id: run, on: tool.exec, match: ['{match_}'], verdict: {verdict}}}"
        ))
    };
    let hash = format!("sha256:{}", context().profile_hash);
    let other = format!("sha256:{}", Hash::of(b"other"));
    for (pattern, verdict, expected) in [
        ("report", "review", Review),
        ("re*", "block", Block),
        ("other", "block", Allow),
        ("$HOME/skills/**", "warn", Warn),
        ("/home/ana/skills/report", "block", Block),
        ("/srv/skills/**", "block", Allow),
        (&hash, "review", Review),
        (&other, "block", Allow),
        ("*", "allow", Allow),
    ] {
        let said = asked(&rules(pattern, verdict), run(vec![read("/usr/a")]));
        assert_eq!(said.verdict, expected, "{pattern} {verdict}");
    }
    // What is blocked stays blocked.
    let said = asked(&rules("*", "allow"), run(vec![read("/etc/a")]));
    assert_eq!(said.verdict, Block);
}

#[test]
fn a_rule_cannot_take_the_name_of_a_ceiling() {
    let mut document = document("p", "limits: {memory: 1K}");
    document.capabilities = cases::document(
        "q",
        "capabilities: [{id: fine, on: files.read, match: [/a], verdict: allow}]",
    )
    .capabilities;
    document.capabilities[0].id = "limits.memory".into();
    assert!(Policy::new(vec![document]).is_err());
}
