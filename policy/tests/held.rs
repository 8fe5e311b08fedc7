//! Which documents are in force, and what they are called.

use std::path::Path;

use aegis_policy::load::{HeldAs, held};
use aegis_policy::{Policy, ask};

use crate::support::tree::Tree;

fn rule(head: &str) -> String {
    format!(
        "aegis-policy: 1\n{head}capabilities:\n  - {{id: work, on: files.read, match: $WORK/**, verdict: allow}}\n"
    )
}

#[test]
fn what_is_in_force_is_told_with_the_files_that_it_was_read_from() {
    let module = "package aegis\nimport rego.v1\nblock contains \"x\" if input.what.port == 1\n";
    let tree = Tree::of(&[
        (
            "/etc/aegis/policy.yaml",
            "aegis-policy: 1\nname: site\nrego: [guard.rego]\n",
        ),
        ("/etc/aegis/guard.rego", module),
        ("/etc/aegis/policy.d/10.yaml", &rule("")),
        ("/home/ana/.config/aegis/policy.yaml", &rule("name: site\n")),
    ])
    .owned("/home/ana/.config/aegis/policy.yaml", 1000, 1000, 0o644);
    let told = |reference| {
        let all = held(reference, 1000, Some(Path::new("/home/ana")), None, &tree).unwrap();
        let told = all.iter().map(|held| {
            let files: Vec<&str> = held
                .files
                .iter()
                .map(|file| file.to_str().unwrap())
                .collect();
            (held.held_as, held.document.name.clone(), files.join(" "))
        });
        told.collect::<Vec<_>>()
    };
    let system = (
        HeldAs::System,
        "site".to_owned(),
        "/etc/aegis/policy.yaml /etc/aegis/guard.rego /etc/aegis/policy.d/10.yaml".to_owned(),
    );
    let own = "/home/ana/.config/aegis/policy.yaml".to_owned();
    assert_eq!(
        told(None),
        [system.clone(), (HeldAs::User, "site".into(), own)]
    );
    let template = (HeldAs::Named, "strict".to_owned(), String::new());
    assert_eq!(told(Some("strict")), [system, template]);
    let nothing = held(None, 1000, None, None, &Tree::default()).unwrap();
    assert_eq!(
        (nothing[0].held_as, &*nothing[0].document.name),
        (HeldAs::Default, "standard")
    );
    // Two of one name are told apart, in decisions and by their names.
    let of_both = held(None, 1000, Some(Path::new("/home/ana")), None, &tree).unwrap();
    let of_both = of_both.into_iter().map(|held| held.document).collect();
    let policy = Policy::new(of_both).unwrap();
    let read = ask::what("files.read", "$WORK/x", &ask::somebody()).unwrap();
    let request = aegis_policy::Request {
        approvals: Vec::new(),
        context: ask::somebody(),
        what: read,
    };
    let decision = aegis_policy::decide(&policy, &request);
    let [one, other] = &*decision.rules else {
        panic!("{decision:?}");
    };
    assert_ne!(one, other);
    let explained = aegis_policy::explain::explain(&policy, &request);
    let documents = &explained.parts[0].documents;
    for (rule, document) in [one, other].into_iter().zip(documents) {
        assert_eq!(**rule, format!("{}/work", document.name));
        assert!(policy.name().contains(&document.name), "{}", policy.name());
    }
}
