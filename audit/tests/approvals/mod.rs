//! What counts as approved, what is asked and recorded; and, in [`store`], the store's file.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

mod store;

use aegis_audit::approvals::{Asked, Entry, Store, answered, revoked, to_review};
use aegis_audit::event::{Answer, Event, EventType, Person};
use aegis_policy::model::{Action, CapabilityRule, Document, Verdict};
use aegis_policy::request::Approval;
use aegis_policy::{Context, Hash, Policy, Request, What, decide};

/// What is done: a description and the code.
type Case<F> = (&'static str, F);

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn rule(id: &str, on: &[Action], pattern: &str, verdict: Verdict) -> CapabilityRule {
    CapabilityRule {
        id: id.into(),
        matches: [pattern.to_owned()].into_iter().collect(),
        mode: Default::default(),
        on: on.iter().copied().collect(),
        otherwise: false,
        reason: None,
        verdict,
    }
}

/// `/srv` is for review, `/srv/keys` is blocked, `/usr` is allowed; runs of the profile `shy` are for review.
fn policy() -> Policy {
    let files = [Action::FilesRead, Action::FilesWrite];
    Policy::new(vec![Document {
        name: "test".into(),
        capabilities: vec![
            rule("srv", &files, "/srv/**", Verdict::Review),
            rule("keys", &files, "/srv/keys/**", Verdict::Block),
            rule("usr", &files, "/usr/**", Verdict::Allow),
            rule("shy", &[Action::ToolExec], "shy", Verdict::Review),
        ],
        ..Document::default()
    }])
    .expect("a policy")
}

fn context() -> Context {
    Context {
        aliases: Vec::new(),
        home: "/home/ana".into(),
        profile: "report".into(),
        profile_hash: Hash::of(b"the profile"),
        skill: Some("/home/ana/skills/report".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
    }
}

fn read(path: &str) -> What {
    What::Read {
        except: Vec::new(),
        path: path.into(),
        tree: false,
    }
}

fn request(context: Context, what: What) -> Request {
    Request {
        approvals: Vec::new(),
        context,
        what,
    }
}

fn ana() -> Person {
    Person {
        name: Some("ana".into()),
        uid: 1000,
    }
}

/// The entries of a one-day yes to everything that `request` has for review.
fn yes(request: &Request) -> Vec<Entry> {
    let policy = policy();
    let decision = decide(&policy, request);
    to_review(&policy, request, &decision)
        .iter()
        .map(|asked| entry(asked, request))
        .collect()
}

fn entry(asked: &Asked, request: &Request) -> Entry {
    Entry::new(
        asked,
        request,
        policy().hash(),
        &ana(),
        surroundings(),
        NOW..NOW + DAY,
    )
    .expect("an id")
}

/// The verdict at a time, with the approvals of a store.
fn with_store(store: &Store, request: Request, now: u64) -> Verdict {
    under(&policy(), store, request, now)
}

/// The same under another policy.
fn under(policy: &Policy, store: &Store, mut request: Request, now: u64) -> Verdict {
    request.approvals = store
        .approvals_for(&request, policy.hash(), surroundings(), now)
        .expect("the store is readable");
    decide(policy, &request).verdict
}

/// A run of a command that asks for one thing.
fn run(command: &[&str], grant: What) -> Request {
    let command = command.iter().copied().map(Into::into).collect();
    let grants = vec![grant];
    request(context(), What::Tool { command, grants })
}

/// A store in a directory that does not exist yet, below a new one.
fn fresh() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().expect("a directory");
    let store = Store::open(&home.path().join("state/aegis"));
    (home, store)
}

fn surroundings() -> Hash {
    Hash::of(b"surroundings")
}

#[test]
fn an_approval_is_for_this_thing_under_this_profile_of_this_skill_for_this_user_until_it_ends() {
    let (_home, store) = fresh();
    let asked = request(context(), read("/srv/a"));
    assert_eq!(with_store(&store, asked.clone(), NOW), Verdict::Review);
    store.add(&yes(&asked), NOW).expect("added");
    assert_eq!(with_store(&store, asked.clone(), NOW), Verdict::Allow);
    assert_eq!(
        with_store(&store, asked.clone(), NOW + DAY - 1),
        Verdict::Allow
    );

    assert_eq!(
        with_store(&store, asked.clone(), NOW + DAY),
        Verdict::Review,
        "it has ended"
    );
    assert_eq!(
        with_store(&store, asked.clone(), NOW - 1),
        Verdict::Review,
        "the clock went back"
    );
    let others: [Case<fn(&mut Request)>; 8] = [
        ("another path", |r| r.what = read("/srv/b")),
        ("a path below", |r| r.what = read("/srv/a/b")),
        ("the whole tree", |r| {
            r.what = What::Read {
                except: Vec::new(),
                path: "/srv/a".into(),
                tree: true,
            }
        }),
        ("another action", |r| {
            r.what = What::Write {
                except: Vec::new(),
                path: "/srv/a".into(),
                tree: false,
            }
        }),
        ("another profile", |r| {
            r.context.profile_hash = Hash::of(b"another")
        }),
        ("another skill", |r| {
            r.context.skill = Some("/home/ana/skills/other".into())
        }),
        ("no skill", |r| r.context.skill = None),
        ("another user", |r| r.context.uid = 1001),
    ];
    for (what, change) in others {
        let mut other = asked.clone();
        change(&mut other);
        assert_eq!(with_store(&store, other, NOW), Verdict::Review, "{what}");
    }
}

#[test]
fn an_approval_is_for_this_command_alone() {
    let (_home, store) = fresh();
    let asked = run(&["tar", "c", "a"], read("/srv/a"));
    let entries = yes(&asked);
    assert_eq!(entries[0].command, "tar c a");
    store.add(&entries, NOW).expect("added");
    assert_eq!(with_store(&store, asked.clone(), NOW), Verdict::Allow);
    let facts = store.approvals_for(&asked, policy().hash(), surroundings(), NOW);
    let facts = facts.expect("the store is readable");
    let others: [&[&str]; 6] = [
        &[],
        &["tar"],
        &["tar", "c", "b"],
        &["tar", "c a"],
        &["tar", "c", "a", ""],
        &["curl", "-T", "/srv/a", "https://example.org"],
    ];
    for words in others {
        let mut other = run(words, read("/srv/a"));
        assert_eq!(
            with_store(&store, other.clone(), NOW),
            Verdict::Review,
            "{words:?}"
        );
        // The caller does not decide this either: `decide` checks for itself.
        for held_for in [asked.what.command_hash(), other.what.command_hash()] {
            other.approvals = facts.clone();
            other.approvals[0].held_for = held_for;
            assert_eq!(decide(&policy(), &other).verdict, Verdict::Review);
        }
    }
}

#[test]
fn an_approval_answers_the_rules_that_asked_and_no_others() {
    let (_home, store) = fresh();
    let asked = run(&["cat"], read("/srv/a"));
    store.add(&yes(&asked), NOW).expect("added");
    let facts = store.approvals_for(&asked, policy().hash(), surroundings(), NOW);
    let mut document = Document::clone(policy().documents().iter().next().expect("it has one"));
    document.capabilities[0].reason = Some("the salaries are there since June".into());
    let changed = Policy::new(vec![document]).expect("a policy");
    assert_eq!(
        under(&changed, &store, asked.clone(), NOW),
        Verdict::Review,
        "another reason to ask"
    );
    let mut held = asked.clone();
    held.approvals = facts.expect("the store is readable");
    assert_eq!(decide(&changed, &held).verdict, Verdict::Review);
    assert_eq!(decide(&policy(), &held).verdict, Verdict::Allow);
    assert_eq!(with_store(&store, asked, NOW), Verdict::Allow);
}

#[test]
fn thousands_of_grants_with_as_many_approvals_are_decided_quickly() {
    // Two seconds; over ten minutes if each lookup were linear: then the runner ends this test.
    const MANY: u64 = 130_000;
    let grants = |count| (0..count).map(|i| read(&format!("/srv/{i}"))).collect();
    let policy = policy();
    let mut run = run(&["cat"], read("/srv/a"));
    if let What::Tool { grants: of, .. } = &mut run.what {
        *of = grants(MANY);
    }
    let asked = to_review(&policy, &run, &decide(&policy, &run));
    assert_eq!(asked.len(), MANY as usize);
    let command = run.what.command_hash();
    let id = entry(&asked[0], &run).id;
    run.approvals = (asked.iter())
        .map(|asked| Approval {
            at: NOW,
            command,
            expires: NOW + DAY,
            held_for: command,
            id: id.clone(),
            policy: policy.hash(),
            profile_hash: run.context.profile_hash,
            skill: run.context.skill.clone(),
            what: asked.what.hash(),
        })
        .collect();
    assert_eq!(decide(&policy, &run).verdict, Verdict::Allow);
}

#[test]
fn what_is_blocked_is_no_question_and_an_approval_does_not_lift_it() {
    let policy = policy();
    let blocked = request(context(), read("/srv/keys/a"));
    let decision = decide(&policy, &blocked);
    assert_eq!(decision.verdict, Verdict::Block);
    assert_eq!(to_review(&policy, &blocked, &decision), []);

    let mixed = request(
        context(),
        What::Tool {
            command: vec!["cat".into()],
            grants: vec![read("/srv/a"), read("/srv/keys/a")],
        },
    );
    let decision = decide(&policy, &mixed);
    assert_eq!(
        to_review(&policy, &mixed, &decision),
        [],
        "one of them is blocked"
    );

    let (_home, store) = fresh();
    let asked = Asked {
        opinion: decision.parts[1].clone(),
        what: read("/srv/keys/a"),
    };
    store.add(&[entry(&asked, &blocked)], NOW).expect("added");
    assert_eq!(with_store(&store, blocked, NOW), Verdict::Block);
}

#[test]
fn of_a_run_the_question_is_each_grant_for_review_and_the_run_itself_where_a_rule_says_so() {
    let policy = policy();
    for (profile, count) in [("report", 2), ("shy", 3)] {
        let mut context = context();
        context.profile = profile.into();
        let run = request(
            context,
            What::Tool {
                command: vec!["cat".into()],
                grants: vec![
                    read("/srv/a"),
                    read("/usr/a"),
                    read("/srv/b"),
                    read("/srv/a"),
                ],
            },
        );
        let asked = to_review(&policy, &run, &decide(&policy, &run));
        let whats: Vec<&What> = asked.iter().map(|a| &a.what).collect();
        let all = [&read("/srv/a"), &read("/srv/b"), &run.what];
        assert_eq!(whats, all[..count], "{profile}");
        assert!(asked.iter().all(|a| a.opinion.verdict == Verdict::Review));

        let (_home, store) = fresh();
        let entries = yes(&run);
        store.add(&entries[..count - 1], NOW).expect("added");
        assert_eq!(
            with_store(&store, run.clone(), NOW),
            Verdict::Review,
            "one is missing"
        );
        store.add(&entries, NOW).expect("added");
        assert_eq!(with_store(&store, run, NOW), Verdict::Allow);
        assert_eq!(
            store.list().expect("a list").len(),
            count,
            "none is there twice"
        );
    }
}

fn json(event: &Event) -> serde_json::Value {
    serde_json::to_value(event.detail.as_ref().expect("detail")).expect("JSON")
}

#[test]
fn answers_and_revocations_are_events_that_wait_for_the_disk() {
    let policy = policy();
    let asked = request(context(), read("/srv/a"));
    let decision = decide(&policy, &asked);
    let entries = yes(&asked);
    let event = answered(
        "run-1",
        &asked,
        &decision,
        Answer::Always,
        None,
        &entries,
        &ana(),
    );
    assert_eq!(event.kind, EventType::Approval);
    assert!(event.waits_for_the_disk());
    assert_eq!(event.policy, policy.hash());
    // The record is enough to decide it again.
    assert_eq!(
        decide(&policy, event.request.as_ref().expect("recorded")),
        decision
    );
    assert_eq!(
        json(&event),
        serde_json::json!({
            "answer": "always",
            "approvals": [{
                "expires": NOW + DAY,
                "id": entries[0].id,
                "what": asked.what.hash(),
            }],
            "by": {"name": "ana", "uid": 1000},
        })
    );
    let unasked = answered(
        "run-1",
        &asked,
        &decision,
        Answer::Unasked,
        Some("no terminal"),
        &[],
        &ana(),
    );
    assert_eq!(
        json(&unasked),
        serde_json::json!({
            "answer": "unasked",
            "by": {"name": "ana", "uid": 1000},
            "reason": "no terminal",
        })
    );
    let event = revoked("run-2", &entries[0], &ana());
    assert!(event.waits_for_the_disk());
    assert_eq!(event.policy, Hash::default());
    assert_eq!(
        json(&event),
        serde_json::json!({
            "answer": "revoked",
            "approvals": [{
                "expires": NOW + DAY,
                "id": entries[0].id,
                "what": asked.what.hash(),
            }],
            "by": {"name": "ana", "uid": 1000},
            "granted": {
                "policy": policy.hash(),
                "profile": "report",
                "profile_hash": context().profile_hash,
                "what": {"action": "files.read", "path": "/srv/a", "tree": false},
            },
        })
    );
}

#[test]
fn an_approval_is_bound_to_the_directory_the_files_and_the_variables() {
    use aegis_audit::approvals::Surroundings;
    let (_home, store) = fresh();
    let asked = request(context(), read("/srv/a"));
    let here = Surroundings {
        files: [("/w/report.py".into(), Hash::of(b"one"))].into(),
        variables: [("TOKEN".to_owned(), Some("a".into()))].into(),
        work: "/w".into(),
    };
    let mut entries = yes(&asked);
    entries[0].surroundings = here.hash();
    store.add(&entries, NOW).expect("added");
    let found = |surroundings: &Surroundings| {
        let found = store.approvals_for(&asked, policy().hash(), surroundings.hash(), NOW);
        found.expect("it is read").len()
    };
    assert_eq!(found(&here), 1);
    let mut others = vec![here.clone(); 5];
    others[0].work = "/v".into();
    others[1]
        .files
        .insert("/w/report.py".into(), Hash::of(b"two"));
    others[2].files.clear();
    others[3].variables.insert("TOKEN".into(), Some("b".into()));
    others[4].variables.insert("TOKEN".into(), None);
    for other in &others {
        assert_eq!(found(other), 0, "{other:?}");
    }
}

#[test]
fn that_there_is_no_room_is_known_before_and_changes_nothing() {
    use aegis_audit::approvals::{Error, MAX_ENTRIES};
    let (_home, store) = fresh();
    let entry = |n: usize| yes(&request(context(), read(&format!("/srv/{n}")))).remove(0);
    let full: Vec<_> = (0..MAX_ENTRIES).map(entry).collect();
    store.can_add(&full, NOW).expect("there is room");
    store.add(&full, NOW).expect("added");
    let one_more = [entry(MAX_ENTRIES)];
    assert!(matches!(
        store.can_add(&one_more, NOW),
        Err(Error::Full { .. })
    ));
    assert!(matches!(store.add(&one_more, NOW), Err(Error::Full { .. })));
    // In place of one for the same thing there is.
    store.can_add(&full[..1], NOW).expect("there is room");
    assert_eq!(store.list().expect("a list").len(), MAX_ENTRIES);
}
