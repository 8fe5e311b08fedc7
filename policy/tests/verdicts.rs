//! What rules come to, case by case.

use aegis_policy::model::{Action, CapabilityRule, Document, Verdict};
use aegis_policy::{Context, Policy, Request, What, decide};

fn rule(id: &str, on: &[Action], matches: &[&str], verdict: Verdict) -> CapabilityRule {
    CapabilityRule {
        id: id.into(),
        matches: matches.iter().map(|m| (*m).to_owned()).collect(),
        mode: Default::default(),
        on: on.iter().copied().collect(),
        otherwise: false,
        reason: None,
        verdict,
    }
}

fn context() -> Context {
    Context {
        home: "/home/ana".into(),
        profile: "report".into(),
        skill: Some("/home/ana/skills/report".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
        ..Context::default()
    }
}

fn verdict(rules: &[CapabilityRule], what: What) -> (Verdict, Vec<String>) {
    let document = Document {
        capabilities: rules.to_vec(),
        ..Document::default()
    };
    let policy = Policy::new(vec![document]).unwrap();
    let request = Request {
        approvals: Vec::new(),
        context: context(),
        what,
    };
    let decision = decide(&policy, &request);
    (
        decision.verdict,
        decision.rules.iter().map(|r| r.to_string()).collect(),
    )
}

fn read(path: &str, tree: bool) -> What {
    What::Read {
        path: path.into(),
        tree,
    }
}

#[test]
fn a_rule_lets_through_what_it_covers_and_blocks_what_it_touches() {
    let rules = [
        rule(
            "work",
            &[Action::FilesRead],
            &["$WORK/**", "$HOME/**"],
            Verdict::Allow,
        ),
        rule(
            "keys",
            &[Action::FilesRead],
            &["$HOME/.ssh/**"],
            Verdict::Block,
        ),
        rule("pem", &[Action::FilesRead], &["/**/*.pem"], Verdict::Review),
    ];
    let says = |what| verdict(&rules, what).0;
    assert_eq!(says(read("/home/ana/work/a.txt", false)), Verdict::Allow);
    assert_eq!(says(read("/home/ana/.ssh/id_rsa", false)), Verdict::Block);
    assert_eq!(says(read("/home/ana/.ssh", true)), Verdict::Block);
    assert_eq!(
        says(read("/home/ana", true)),
        Verdict::Block,
        "the tree holds .ssh"
    );
    assert_eq!(
        says(read("/home/ana/work", true)),
        Verdict::Review,
        "it may hold a key"
    );
    assert_eq!(says(read("/home/ana/work/a.pem", false)), Verdict::Review);
    assert_eq!(says(read("/home/ana/workshop", false)), Verdict::Allow);
    assert_eq!(says(read("/home/ann", false)), Verdict::Block);
    assert_eq!(says(read("/home", true)), Verdict::Block);
    assert_eq!(
        says(read("/home/ana/work/../.ssh/id_rsa", false)),
        Verdict::Block
    );
}
