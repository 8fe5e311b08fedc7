//! Where policies are read from, which are in force, and who must own them.

use std::path::Path;

use aegis_policy::load::{UNNAMED, compile, held, load, parse_str};
use aegis_policy::model::{Document, Documents, Verdict};
use aegis_policy::{Policy, ask, templates};
use aegis_profile::Error;

use crate::support::tree;
use tree::Tree;

const WORK: &str = "{id: work, on: files.read, match: $WORK/**, verdict: allow}";

fn rule(line: &str) -> String {
    format!("aegis-policy: 1\ncapabilities:\n  - {line}\n")
}

fn told(error: &Error) -> String {
    error.render(false)
}

#[test]
fn a_file_above_1_mib_is_refused() {
    let large = format!("aegis-policy: 1\n{}", "#".repeat(1 << 20));
    let tree = Tree::of(&[("p.yaml", &large)]);
    assert!(told(&load("p.yaml", &tree).unwrap_err()).contains("larger than 1 MiB"));
}

#[test]
fn references_are_files_directories_templates_or_standard_input() {
    let tree = Tree::of(&[
        ("./a.yaml", &rule(WORK)),
        ("dir/b.yaml", &rule(WORK)),
        ("-", &rule(WORK)),
        ("standrad", "x"),
    ]);
    for reference in ["./a.yaml", "dir/", "-"] {
        let document = load(reference, &tree).unwrap();
        assert_eq!(document.capabilities.len(), 1, "{reference}");
    }
    assert_eq!(load("strict", &tree).unwrap().name, "strict");
    for (reference, words) in [
        ("strct", "did you mean `strict`?"),
        ("standrad", "write `./standrad`"),
        ("dir", "write `./dir`"),
        ("./none.yaml", "there is no file `./none.yaml`"),
        ("./standard.yaml", "write `standard`"),
        ("", "there is no policy template"),
    ] {
        let told = told(&load(reference, &tree).unwrap_err());
        assert!(told.contains(words), "{reference}: {told}");
    }
}

#[test]
fn a_directory_is_its_files_together_in_the_order_of_their_names() {
    let tree = Tree::of(&[
        (
            "d/20.yaml",
            "aegis-policy: 1\nname: shop\nlimits: {pids: 5}\n",
        ),
        ("d/10.yml", &rule(WORK)),
        ("d/10.test.yaml", "not a policy"),
        ("d/.hidden.yaml", "not a policy"),
        ("d/notes.md", "not a policy"),
    ]);
    let document = load("d/", &tree).unwrap();
    assert_eq!(document.name, "shop");
    assert_eq!(document.capabilities.len(), 1);
    assert_eq!(document.limits["pids"], 5);
    let empty = Tree::of(&[("d/notes.md", "x"), ("d/a.test.yaml", "x")]);
    assert!(told(&load("d/", &empty).unwrap_err()).contains("no policy is in this directory"));
}

#[test]
fn what_two_files_say_is_said_twice() {
    let twice = "aegis-policy: 1\nname: a\nlimits: {pids: 5}\naudit-failure: stop\ncapabilities:\n  - {id: work, on: devices, match: gpu, verdict: allow}\n";
    let tree = Tree::of(&[("d/1.yaml", twice), ("d/2.yaml", twice)]);
    let told = told(&load("d/", &tree).unwrap_err());
    for words in [
        "the policy's name is given twice",
        "`limits.pids` is given twice",
        "`audit-failure` is given twice",
        "the id `work` is given twice",
        "first given at d/1.yaml:6:10",
        "d/2.yaml:6:10",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
}

#[test]
fn a_rego_file_has_to_be_there() {
    let policy = |rego: &str| format!("aegis-policy: 1\nrego: [{rego}]\n");
    let missing = Tree::of(&[("d/p.yaml", &policy("x.rego"))]);
    let text = told(&load("d/p.yaml", &missing).unwrap_err());
    assert!(
        text.contains("cannot read `d/x.rego`: there is no such file"),
        "{text}"
    );
    assert!(
        text.contains("d/p.yaml:2:8") && text.contains("^^^^^^"),
        "{text}"
    );
    let stdin = Tree::of(&[("-", &policy("x.rego"))]);
    assert!(told(&load("-", &stdin).unwrap_err()).contains("has no directory"));
}

fn effective(
    reference: Option<&str>,
    uid: u32,
    home: Option<&Path>,
    xdg_config_home: Option<&Path>,
    source: &dyn aegis_policy::load::Source,
) -> Result<Documents, Error> {
    let held = held(reference, uid, home, xdg_config_home, source)?;
    Ok(Documents::new(
        held.into_iter().map(|held| held.document).collect(),
    ))
}

/// Where the configuration of a user of the tests is.
fn effective_of(reference: Option<&str>, tree: &Tree) -> Result<Policy, Error> {
    effective(reference, 1000, Some(Path::new("/home/ana")), None, tree).and_then(compile)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy
        .documents()
        .iter()
        .map(|document| document.name.as_str())
        .collect()
}

const SYSTEM: &str = "/etc/aegis/policy.yaml";
const USER: &str = "/home/ana/.config/aegis/policy.yaml";

#[test]
fn without_any_policy_the_template_standard_is_in_force() {
    let policy = effective_of(None, &Tree::default()).unwrap();
    assert_eq!(names(&policy), ["standard"]);
    assert_eq!(
        policy.hash(),
        Policy::new(vec![templates::find("standard").unwrap().document()])
            .unwrap()
            .hash()
    );
}

#[test]
fn a_policy_without_a_name_has_one_hash_wherever_it_is_read_from() {
    let text = rule(WORK);
    let hash_of = |document: Document| Policy::new(vec![document]).unwrap().hash();
    let tree = Tree::of(&[("./draft.yaml", &text), ("d/10.yaml", &text), ("-", &text)]);
    let hash = hash_of(parse_str(&text, "other.yaml").unwrap());
    for reference in ["./draft.yaml", "d/", "-"] {
        let document = load(reference, &tree).unwrap();
        assert_eq!(hash_of(document), hash, "{reference}");
    }
    for place in [SYSTEM, USER, "/etc/aegis/policy.d/10.yaml"] {
        let in_force = effective_of(None, &Tree::of(&[(place, &text)])).unwrap();
        assert_eq!(in_force.hash(), hash, "in force as {place}");
    }
}

#[test]
fn the_systems_policy_applies_whatever_a_user_names() {
    let all = rule("{id: all, on: files.read, match: /**, verdict: allow}") + "\nname: own\n";
    let site = rule(WORK) + "\nname: site\n";
    let tree = Tree::of(&[(SYSTEM, &site), (USER, &all), ("./own.yaml", &all)])
        .owned(USER, 1000, 1000, 0o664)
        .owned("/home/ana/.config/aegis", 1000, 1000, 0o775);
    assert_eq!(names(&effective_of(None, &tree).unwrap()), ["site", "own"]);
    for reference in ["./own.yaml", "permissive"] {
        let policy = effective_of(Some(reference), &tree).unwrap();
        assert_eq!(names(&policy)[0], "site");
        let request = |words: &str| aegis_policy::Request {
            approvals: Vec::new(),
            context: ask::somebody(),
            what: ask::what("files.read", words, &ask::somebody()).unwrap(),
        };
        let says = |words: &str| aegis_policy::decide(&policy, &request(words)).verdict;
        assert_eq!(says("$WORK/a"), Verdict::Allow);
        assert_eq!(
            says("/srv/a"),
            Verdict::Block,
            "{reference} does not widen the system's"
        );
    }
}

#[test]
fn the_files_of_policy_d_are_part_of_the_systems_policy() {
    let more = rule("{id: more, on: devices, match: gpu, verdict: allow}");
    let tree = Tree::of(&[
        (SYSTEM, &rule(WORK)),
        ("/etc/aegis/policy.d/10.yaml", &more),
    ]);
    let policy = effective_of(None, &tree).unwrap();
    assert_eq!(names(&policy), [UNNAMED]);
    assert_eq!(
        policy.documents().iter().next().unwrap().capabilities.len(),
        2
    );
    let empty = Tree::of(&[("/etc/aegis/policy.d/README", "x")]);
    let told = told(&effective_of(None, &empty).unwrap_err());
    assert!(told.contains("no policy is in this directory"), "{told}");
}

#[test]
fn a_wrong_policy_of_the_system_stops_everything() {
    let wrong = Tree::of(&[(SYSTEM, "aegis-policy: 1\nlimit: {}\n")]);
    for reference in [None, Some("permissive")] {
        let told = told(&effective_of(reference, &wrong).unwrap_err());
        assert!(told.contains("did you mean `limits`?"), "{told}");
    }
    let closed = Tree {
        closed: Some("/etc/aegis".into()),
        ..Tree::default()
    };
    let told = told(&effective_of(Some("permissive"), &closed).unwrap_err());
    assert!(
        told.contains("cannot tell whether there is a policy"),
        "{told}"
    );
}

#[test]
fn a_policy_that_others_can_write_binds_nobody_and_is_refused() {
    let tree = || Tree::of(&[(SYSTEM, &rule(WORK))]);
    for (place, uid, gid, mode, words) in [
        (
            SYSTEM,
            1000,
            0,
            0o644,
            "has to belong to root, and this belongs to user 1000",
        ),
        (SYSTEM, 0, 0, 0o646, "others may write it"),
        (SYSTEM, 0, 1000, 0o664, "others may write it"),
        ("/etc/aegis", 1000, 0, 0o755, "has to belong to root"),
        ("/etc/aegis", 0, 0, 0o777, "others may write it"),
    ] {
        let told = told(&effective_of(None, &tree().owned(place, uid, gid, mode)).unwrap_err());
        assert!(told.contains(words) && told.contains(place), "{told}");
    }
    effective_of(None, &tree().owned(SYSTEM, 0, 0, 0o664)).unwrap();
    let user = || Tree::of(&[(USER, &rule(WORK))]);
    for (uid, mode, words) in [
        (1001, 0o644, "has to belong to you or to root"),
        (1000, 0o666, "others may write it"),
    ] {
        let told = told(&effective_of(None, &user().owned(USER, uid, uid, mode)).unwrap_err());
        assert!(told.contains(words), "{told}");
    }
}

/// A policy of the system's whose module is in a directory below.
fn with_a_module() -> Tree {
    Tree::of(&[
        (SYSTEM, "aegis-policy: 1\nrego: [lib/extra.rego]\n"),
        (MODULE, EXTRA),
        ("/etc/aegis/lib/README", "x"),
        ("/srv/by/README", "x"),
    ])
}

const MODULE: &str = "/etc/aegis/lib/extra.rego";
const EXTRA: &str = "package aegis\nblock contains \"extra\" if input.what.port == 80";

#[test]
fn a_rego_file_of_the_systems_policy_is_roots_as_all_of_the_policy_is() {
    effective_of(None, &with_a_module()).unwrap();
    for (place, uid, gid, mode, words) in [
        (MODULE, 1000, 0, 0o644, "this belongs to user 1000"),
        (MODULE, 0, 0, 0o646, "others may write it"),
        (MODULE, 0, 1000, 0o664, "others may write it"),
        (MODULE, 0, 0, 0o1646, "others may write it"),
        (
            "/etc/aegis/lib",
            1000,
            0,
            0o755,
            "this belongs to user 1000",
        ),
        ("/etc/aegis/lib", 0, 0, 0o777, "others may write it"),
    ] {
        let tree = with_a_module().owned(place, uid, gid, mode);
        let told = told(&effective_of(None, &tree).unwrap_err());
        assert!(
            told.contains(words) && told.contains(place),
            "{place}: {told}"
        );
        assert!(told.contains("policy.yaml:2:8"), "{told}");
    }
    // A user's own policy may name the user's own files.
    let tree = Tree::of(&[
        (USER, "aegis-policy: 1\nrego: [a.rego]\n"),
        ("/home/ana/.config/aegis/a.rego", EXTRA),
    ]);
    let module = "/home/ana/.config/aegis/a.rego";
    effective_of(None, &tree.owned(module, 1000, 1000, 0o664)).unwrap();
}

#[test]
fn a_link_in_the_systems_policy_leads_through_what_is_roots_alone() {
    let tree = |link: &str, to: &str, real: &str| {
        let mut tree = with_a_module();
        let text = tree.files.remove(Path::new(link)).unwrap();
        tree.files.insert(real.into(), text);
        tree.linked(link, to, 0)
    };
    let refused = |tree: Tree, place: &str, words: &str| {
        let told = told(&effective_of(None, &tree).unwrap_err());
        assert!(told.contains(words) && told.contains(place), "{told}");
    };
    for link in [MODULE, SYSTEM] {
        let elsewhere = || tree(link, "/srv/site/x", "/srv/site/x");
        effective_of(None, &elsewhere()).unwrap();
        // A file of root's in another user's directory can be replaced.
        for place in ["/srv/site/x", "/srv/site", "/srv"] {
            refused(elsewhere().owned(place, 1000, 0, 0o755), place, "user 1000");
            refused(
                elsewhere().owned(place, 0, 0, 0o757),
                place,
                "others may write it",
            );
        }
        // In a sticky directory nobody else can rename it.
        effective_of(None, &elsewhere().owned("/srv/site", 0, 0, 0o1777)).unwrap();
        // Through another user's link to root's file.
        let by_way =
            elsewhere()
                .linked(link, "/srv/by/way", 0)
                .linked("/srv/by/way", "../site/x", 1000);
        refused(
            by_way.owned("/srv/by", 0, 0, 0o1777),
            "/srv/by/way",
            "user 1000",
        );
    }
    let up = || tree(MODULE, "../../site/x", "/etc/site/x");
    effective_of(None, &up()).unwrap();
    refused(
        up().owned("/etc/site", 1000, 0, 0o755),
        "/etc/site",
        "user 1000",
    );
}

#[test]
fn links_of_real_files_are_followed_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("aegis");
    std::fs::create_dir_all(config.join("lib")).unwrap();
    std::fs::create_dir_all(root.path().join("site")).unwrap();
    std::fs::write(
        config.join("policy.yaml"),
        "aegis-policy: 1\nrego: [lib/a.rego]\n",
    )
    .unwrap();
    std::fs::write(root.path().join("site/a.rego"), EXTRA).unwrap();
    std::os::unix::fs::symlink("../../site/a.rego", config.join("lib/a.rego")).unwrap();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&config).unwrap());
    let of = || effective(None, uid, None, Some(root.path()), &aegis_profile::Files);
    of().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(root.path().join("site"), open).unwrap();
    let told = told(&of().unwrap_err());
    assert!(told.contains("/site`: others may write it"), "{told}");
    std::fs::remove_file(config.join("lib/a.rego")).unwrap();
    std::os::unix::fs::symlink("a.rego", config.join("lib/a.rego")).unwrap();
    of().unwrap_err();
}

#[test]
fn the_users_configuration_is_where_the_environment_says() {
    let tree = Tree::of(&[("/cfg/aegis/policy.yaml", &rule(WORK))]);
    let of = |home: Option<&str>, xdg: Option<&str>| {
        let policy = effective(None, 1000, home.map(Path::new), xdg.map(Path::new), &tree).unwrap();
        compile(policy).unwrap().name()
    };
    assert_eq!(of(Some("/home/ana"), Some("/cfg")), UNNAMED);
    assert_eq!(of(None, Some("/cfg")), UNNAMED);
    assert_eq!(
        of(Some("/home/ana"), Some("cfg")),
        "standard",
        "a relative path counts as none"
    );
    assert_eq!(of(None, None), "standard");
}

/// What is there, and named, and would not be in force.
#[test]
fn what_is_there_and_not_in_force_is_an_error() {
    let module = |block: &str| format!("package aegis\nblock contains \"{block}\" if true\n");
    let two = |second: &str| {
        Tree::of(&[
            (SYSTEM, "aegis-policy: 1\nrego: [guard.rego]\n"),
            (
                "/etc/aegis/policy.d/10.yaml",
                "aegis-policy: 1\nrego: [guard.rego]\n",
            ),
            ("/etc/aegis/guard.rego", &module("a")),
            ("/etc/aegis/policy.d/guard.rego", second),
        ])
    };
    let error = told(&effective_of(None, &two(&module("b"))).unwrap_err());
    assert!(
        error.contains("two Rego files are called `guard.rego`"),
        "{error}"
    );
    assert!(error.contains("/etc/aegis/policy.yaml:2"), "{error}");
    // Of one text they are one.
    effective_of(None, &two(&module("a"))).unwrap();

    let misnamed = Tree::of(&[("/etc/aegis/policy.yml", &rule(WORK))]);
    let error = told(&effective_of(None, &misnamed).unwrap_err());
    assert!(error.contains("call it policy.yaml"), "{error}");
}

#[test]
fn a_configuration_behind_a_link_that_leads_nowhere_does_not_count_as_absent() {
    for link in ["aegis", "above"] {
        let root = tempfile::tempdir().unwrap();
        let config = match link {
            "aegis" => root.path().to_owned(),
            above => root.path().join(above),
        };
        let of = || effective(None, 1000, None, Some(&config), &aegis_profile::Files);
        of().unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join(link)).unwrap();
        let error = told(&of().unwrap_err());
        assert!(error.contains("a link that leads nowhere"), "{error}");
        assert!(error.contains(link), "{error}");
        std::fs::create_dir(root.path().join("nowhere")).unwrap();
        of().unwrap();
    }
}
