//! `aegis policy check|show|hash|new|test|promote|schema`, as a person and a script use them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support;

pub struct Said {
    pub status: i32,
    pub out: String,
    pub err: String,
}

pub fn aegis(directory: &Path, words: &[&str]) -> Said {
    let output = support::aegis(directory, words);
    Said {
        status: support::status(&output),
        out: support::stdout(&output).into(),
        err: support::stderr(&output).into(),
    }
}

const POLICY: &str = "aegis-policy: 1
# Who may do what.
capabilities:
  - {id: work, on: files.read, match: $WORK/**, verdict: allow}   # one's own
  - id: keys
    on: files.read
    match: $HOME/.ssh/**
    mode: warn
    verdict: block
";

const TABLE: &str = "aegis-policy-test: 1
cases:
  - {files.read: [$WORK/a, $WORK/**], expect: allow, by: work}
  - {files.read: $HOME/.ssh/id_rsa, context: {work: /home/ana}, expect: warn, by: keys}
";

pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("shop.yaml"), POLICY).unwrap();
    fs::write(directory.path().join("shop.test.yaml"), TABLE).unwrap();
    directory
}

#[test]
fn check_says_yes_or_what_is_wrong_and_where() {
    let directory = directory();
    let at = directory.path();
    let said = aegis(at, &["policy", "check", "shop.yaml", "standard"]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (0, "shop.yaml: ok\nstandard: ok\n")
    );
    fs::write(
        at.join("bad.yaml"),
        POLICY.replace("verdict: allow", "verdict: alow"),
    )
    .unwrap();
    let said = aegis(at, &["policy", "check", "bad.yaml"]);
    assert_eq!(said.status, 1);
    assert!(
        said.err.contains("bad.yaml:4:58") && said.err.contains("did you mean `allow`?"),
        "{}",
        said.err
    );
    let said = aegis(at, &["policy", "check", "--json", "bad.yaml", "shop.yaml"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.status, 1);
    assert_eq!(json[0]["diagnostics"][0]["line"], 4);
    assert_eq!(
        (&json[0]["ok"], &json[1]["ok"]),
        (&false.into(), &true.into())
    );
    assert_eq!(json[1]["hash"].as_str().unwrap().len(), 64);
    assert_eq!(aegis(at, &["policy", "check"]).status, 2);
}

#[test]
fn check_writes_annotations_for_a_pull_request() {
    let directory = directory();
    let at = directory.path();
    fs::write(
        at.join("a,b.yaml"),
        POLICY.replace("verdict: allow", "verdict: alow"),
    )
    .unwrap();
    let said = aegis(at, &["policy", "check", "--format", "github", "a,b.yaml"]);
    assert_eq!(said.status, 1);
    assert_eq!(
        said.out,
        "::error file=a%2Cb.yaml,line=4,col=58,endColumn=61,title=aegis policy::unknown word \"alow\"%0Ahelp: did you mean `allow`?\n"
    );
}

#[test]
fn show_prints_a_policy_of_the_same_hash() {
    let directory = directory();
    let at = directory.path();
    let hash = aegis(at, &["policy", "hash", "shop.yaml"]).out;
    assert_eq!(hash.len(), 65);
    let shown = aegis(at, &["policy", "show", "shop.yaml"]);
    fs::write(at.join("again.yaml"), &shown.out).unwrap();
    assert_eq!(
        aegis(at, &["policy", "hash", "again.yaml"]).out,
        hash,
        "{}",
        shown.out
    );
    let json: Value =
        serde_json::from_str(&aegis(at, &["policy", "show", "--json", "shop.yaml"]).out).unwrap();
    assert_eq!(json["hash"].as_str().unwrap(), hash.trim());
    assert_eq!(json["policy"]["capabilities"].as_array().unwrap().len(), 2);
}

#[test]
fn new_writes_a_file_that_is_right_and_replaces_none() {
    let directory = directory();
    let at = directory.path();
    for template in ["strict", "standard", "permissive"] {
        let file = format!("my-{template}.yaml");
        let said = aegis(at, &["policy", "new", "--template", template, "-o", &file]);
        assert_eq!((said.status, said.err.as_str()), (0, ""));
        assert_eq!(aegis(at, &["policy", "check", &file]).status, 0);
        let tested = aegis(at, &["policy", "test", &file]);
        assert_eq!(tested.status, 0, "{}{}", tested.out, tested.err);
        let text = fs::read_to_string(at.join(&file)).unwrap();
        assert!(
            text.contains(&format!("\nname: my-{template}\n")) && text.contains("# "),
            "{text}"
        );
        // What the template's comment says of the template, it says of the copy.
        assert!(text.starts_with(&format!("# Made from the template `{template}`,")));
        assert!(text.contains("`aegis policy test` runs it"));
        let said = aegis(at, &["policy", "new", "-o", &file]);
        assert_eq!(said.status, 1);
        assert!(said.err.contains("is there already"), "{}", said.err);
        assert_eq!(fs::read_to_string(at.join(&file)).unwrap(), text);
    }
    // The file and its table, or neither.
    fs::write(at.join("other.test.yaml"), "mine").unwrap();
    let said = aegis(at, &["policy", "new", "-o", "other.yaml"]);
    assert!(
        said.status == 1 && said.err.contains("other.test.yaml"),
        "{}",
        said.err
    );
    assert!(!at.join("other.yaml").exists());
    assert_eq!(
        fs::read_to_string(at.join("other.test.yaml")).unwrap(),
        "mine"
    );
    assert!(
        aegis(at, &["policy", "new"])
            .out
            .contains("\nname: my-policy\n")
    );
    assert_eq!(aegis(at, &["policy", "new", "--template", "lax"]).status, 1);
}

#[test]
fn test_runs_the_table_beside_the_policy() {
    let directory = directory();
    let at = directory.path();
    let said = aegis(at, &["policy", "test", "shop.yaml"]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (0, "shop.yaml: 3 requests decided as expected\n")
    );
    for template in ["strict", "standard", "permissive"] {
        assert_eq!(aegis(at, &["policy", "test", template]).status, 0);
    }
    // Another policy decides differently: the table exists to detect that.
    let said = aegis(at, &["policy", "test", "strict", "shop.test.yaml"]);
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("shop.test.yaml:3: files.read $WORK/a\n  expected allow by work\n  got      review by rest: "),
        "{}",
        said.out
    );
    assert!(
        said.out
            .ends_with("strict: 3 of 3 requests are not decided as expected\n"),
        "{}",
        said.out
    );
    let said = aegis(
        at,
        &["policy", "test", "--json", "strict", "shop.test.yaml"],
    );
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.status, &json["failed"]), (1, &3.into()));
    assert_eq!(json["tables"][0]["cases"][0]["verdict"], "review");
    // For a directory, every table.
    let said = aegis(at, &["policy", "test", "./"]);
    assert_eq!(
        (said.status, said.out.contains("3 requests")),
        (0, true),
        "{}",
        said.err
    );
}

#[test]
fn a_table_that_is_wrong_or_missing_is_no_passed_test() {
    let directory = directory();
    let at = directory.path();
    for (table, words) in [
        ("", "the file is empty"),
        ("aegis-policy-test: 1\ncases: []\n", "a table without cases"),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.raed: /a, expect: allow}\n",
            "did you mean `files.read`?",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.read: /a}\n",
            "the key `expect` is missing",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.read: /a, files.write: /b, expect: allow}\n",
            "a second thing",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.read: [], expect: allow}\n",
            "nothing is asked for",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.read: /a*, expect: allow}\n",
            "a pattern where one path is meant",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {files.read: /a, expect: alow}\n",
            "did you mean `allow`?",
        ),
        (
            "aegis-policy-test: 1\ncases:\n  - {devices: gpu, expect: allow, address: 1.1.1.1}\n",
            "belongs to `net.outbound`",
        ),
    ] {
        fs::write(at.join("t.yaml"), table).unwrap();
        let said = aegis(at, &["policy", "test", "shop.yaml", "t.yaml"]);
        assert_eq!(said.status, 1, "{table}");
        assert!(said.err.contains(words), "{table}\n{}", said.err);
    }
    fs::remove_file(at.join("shop.test.yaml")).unwrap();
    let said = aegis(at, &["policy", "test", "shop.yaml"]);
    assert_eq!(said.status, 1);
    assert!(
        said.err
            .contains("there is no table of tests beside the policy"),
        "{}",
        said.err
    );
}

#[test]
fn promote_changes_one_place_of_the_file_and_back() {
    let directory = directory();
    let at = directory.path();
    let file = at.join("shop.yaml");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let said = aegis(at, &["policy", "promote", "shop.yaml", "keys"]);
    assert_eq!(said.status, 0, "{}", said.err);
    assert_eq!(
        said.out,
        "shop.yaml:8: `keys` is enforced from now on\n-     mode: warn\n"
    );
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        POLICY.replace("    mode: warn\n", "")
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    let said = aegis(at, &["policy", "promote", "shop.yaml", "keys"]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (0, "shop.yaml: `keys` is enforced already\n")
    );
    let said = aegis(
        at,
        &["policy", "promote", "--back", "--json", "shop.yaml", "work"],
    );
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["changed"], &json["line"]), (&true.into(), &4.into()));
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("{id: work, mode: warn, on: files.read")
    );
    let names: Vec<_> = fs::read_dir(at)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing is left behind: {names:?}");
}

#[test]
fn of_many_promotions_at_once_none_is_lost() {
    let directory = directory();
    let at = directory.path();
    let rules: Vec<String> = (0..12).map(|n| format!("rule-{n}")).collect();
    let mut text = "aegis-policy: 1\ncapabilities:\n".to_owned();
    for rule in &rules {
        text += &format!(
            "  - {{id: {rule}, on: files.read, match: /srv/{rule}, verdict: block, mode: warn}}\n"
        );
    }
    let file = at.join("many.yaml");
    fs::write(&file, &text).unwrap();
    std::thread::scope(|scope| {
        for rule in &rules {
            scope.spawn(|| {
                let said = aegis(at, &["policy", "promote", "many.yaml", rule]);
                assert_eq!(said.status, 0, "{}", said.err);
                assert!(said.out.contains("is enforced from now on"), "{}", said.out);
            });
        }
    });
    let promoted = fs::read_to_string(&file).unwrap();
    assert_eq!(promoted, text.replace(", mode: warn", ""));
}

#[test]
fn promote_finds_the_file_of_a_directory_that_has_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("policy.d");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("1.yaml"), "aegis-policy: 1\n").unwrap();
    fs::write(at.join("2.yaml"), POLICY).unwrap();
    let said = aegis(
        directory.path(),
        &["policy", "promote", "policy.d/", "keys"],
    );
    assert!(
        said.out.starts_with("policy.d/2.yaml:8: "),
        "{}{}",
        said.out,
        said.err
    );
}

#[test]
fn promote_refuses_templates_links_wrong_files_and_unknown_rules() {
    let directory = directory();
    let at = directory.path();
    symlink("shop.yaml", at.join("link.yaml")).unwrap();
    fs::write(at.join("bad.yaml"), format!("{POLICY}x: 1\n")).unwrap();
    for (words, why) in [
        (["standard", "keys"], "is part of Aegis"),
        (["-", "keys"], "standard input cannot be changed"),
        (
            ["link.yaml", "keys"],
            "it is not a regular file but a link to shop.yaml",
        ),
        (["bad.yaml", "keys"], "unknown key"),
        (["shop.yaml", "kyes"], "did you mean `keys`?"),
        (["none.yaml", "keys"], "there is no file"),
    ] {
        let said = aegis(at, &["policy", "promote", words[0], words[1]]);
        assert_eq!(said.status, 1, "{words:?}");
        assert!(said.err.contains(why), "{words:?}: {}", said.err);
    }
    assert_eq!(fs::read_to_string(at.join("shop.yaml")).unwrap(), POLICY);
    assert!(
        fs::symlink_metadata(at.join("link.yaml"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn promote_says_what_it_may_not_do_and_who_may() {
    let directory = directory();
    let at = directory.path();
    let root = rustix::process::geteuid().is_root();
    // Root without the capabilities to act as others.
    let promote = || {
        let aegis = env!("CARGO_BIN_EXE_aegis");
        let mut command = match root {
            true => Command::new("setpriv"),
            false => Command::new(aegis),
        };
        if root {
            command.args(["--bounding-set", "-chown,-dac_override", aegis]);
        }
        command.args(["policy", "promote", "shop.yaml", "keys"]);
        let output = command.current_dir(at).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    fs::set_permissions(at, Permissions::from_mode(0o555)).unwrap();
    let (status, said) = promote();
    fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(status, Some(1));
    assert!(
        said.contains("shop.yaml cannot be changed, and is as it was: Permission denied")
            && said.contains("\n  help: run this as root, or as user ")
            && said.ends_with(", who has to be able to write in .\n"),
        "{said}"
    );
    // Only root can set up the other half.
    if root {
        chown(at.join("shop.yaml"), Some(65534), Some(65534)).unwrap();
        let (status, said) = promote();
        assert_eq!(status, Some(1));
        assert!(
            said.contains("shop.yaml cannot be changed, and is as it was: Operation not permitted")
                && said.contains("\n  help: run this as root, or as user 65534, who has to"),
            "{said}"
        );
    }
    assert_eq!(fs::read_to_string(at.join("shop.yaml")).unwrap(), POLICY);
}

#[test]
fn schema_prints_one_document_that_needs_no_other() {
    let said = aegis(Path::new("/"), &["policy", "schema"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        json["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    for contract in ["capabilities", "network-egress", "secrets-boundary"] {
        assert!(
            json["$defs"][contract]["$id"]
                .as_str()
                .unwrap()
                .contains(contract)
        );
    }
}
