//! Files that SOPS made (`tests/sops/make`): read as they are, and refused where somebody has changed them.

use std::fs;
use std::path::PathBuf;

use aegis_secrets::identity::Identities;
use aegis_secrets::sops::File;
use zeroize::Zeroizing;

use crate::home::Home;

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sops")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn identities(name: &str) -> Identities {
    Identities::parse(Zeroizing::new(fixture(name).into_bytes())).unwrap()
}

fn value_by(text: &str, key: &[&str], identity: &str) -> Result<String, String> {
    let key: Vec<String> = key.iter().map(|key| (*key).to_owned()).collect();
    let found = File::parse(text.as_bytes())?.value(&key, &identities(identity))?;
    Ok(String::from_utf8_lossy(found.value.bytes()).into_owned())
}

fn value(text: &str, key: &[&str]) -> Result<String, String> {
    value_by(text, key, "key.txt")
}

const TOKEN: &str = "ghp_SyntheticTokenOfTheTests0001";

#[test]
fn values_of_yaml_and_json_are_read() {
    for name in ["plain.enc.yaml", "plain.enc.json"] {
        let text = fixture(name);
        for (key, expected) in [
            (&["github", "token"][..], TOKEN),
            (&["github", "user"], "alice"),
            (&["list", "0", "first"], "one"),
            (&["list", "1"], "second"),
            (&["list", "2", "number"], "42"),
            (&["list", "2", "float"], "1.5"),
            (&["dotted.key"], "dotted value"),
            (&["umlaut"], "grün"),
        ] {
            assert_eq!(value(&text, key).as_deref(), Ok(expected), "{name} {key:?}");
            assert_eq!(value_by(&text, key, "other.txt").as_deref(), Ok(expected));
        }
        for (key, why) in [
            (&["empty"][..], "it is empty"),
            (&["multi"], "a line feed"),
            (&["text_unencrypted"], "is not encrypted in the file"),
            (&["github"], "there is no value"),
            (&["list", "2", "nothing"], "there is no value"),
            (&["github", "token", "more"], "there is no value"),
            (&["list", "first"], "there is no value"),
        ] {
            let error = value(&text, key).unwrap_err();
            assert!(error.contains(why), "{name} {key:?}: {error}");
        }
        let modified = File::parse(text.as_bytes()).unwrap().modified().unwrap();
        assert!(modified > 1_700_000_000);
    }
    assert_eq!(
        value(&fixture("whole.enc.json"), &["data"]).as_deref(),
        Ok("whole file value")
    );
}

#[test]
fn rules_for_what_is_encrypted_are_followed() {
    for name in [
        "regex.enc.yaml",
        "unregex.enc.yaml",
        "suffix.enc.yaml",
        "unsuffix.enc.yaml",
        "only.enc.yaml",
    ] {
        assert_eq!(
            value(&fixture(name), &["github", "token"]).as_deref(),
            Ok(TOKEN),
            "{name}"
        );
    }
    for name in [
        "regex.enc.yaml",
        "unregex.enc.yaml",
        "suffix.enc.yaml",
        "only.enc.yaml",
    ] {
        let error = value(&fixture(name), &["github", "user"]).unwrap_err();
        assert!(
            error.contains("not encrypted in the file"),
            "{name}: {error}"
        );
    }
    for (name, why) in [
        ("comment.enc.yaml", "encrypted_comment_regex"),
        ("groups.enc.yaml", "key_groups"),
    ] {
        let error = value(&fixture(name), &["github", "token"]).unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
    }
}

/// The line of a file that has this.
fn line<'t>(text: &'t str, with: &str) -> &'t str {
    text.lines()
        .find(|line| line.contains(with))
        .expect("there is one")
}

/// What is encrypted in a line.
fn sealed<'t>(text: &'t str, with: &str) -> &'t str {
    let line = line(text, with);
    &line[line.find("ENC[").expect("it is encrypted")..=line.rfind(']').expect("it ends")]
}

#[test]
fn what_somebody_has_changed_is_refused() {
    let text = fixture("plain.enc.yaml");
    let key = &["github", "token"][..];
    let second = text
        .lines()
        .find(|line| line.starts_with("    - ENC["))
        .unwrap();
    let first = "    - first: ";
    let (user, token) = (sealed(&text, "    user:"), sealed(&text, "    token:"));
    let cases = [
        (
            "a value is left out",
            text.replace(&format!("{}\n", line(&text, "umlaut:")), ""),
            "MAC is wrong",
        ),
        (
            "one is moved to another key",
            text.replace(token, user),
            "was moved",
        ),
        (
            "a list is in another order",
            text.replace(second, "")
                .replace(first, &format!("{second}\n{first}")),
            "MAC is wrong",
        ),
        (
            "what is in clear is another",
            text.replace("text_unencrypted: seen", "text_unencrypted: other"),
            "MAC is wrong",
        ),
        (
            "a number in clear is another",
            text.replace("port_unencrypted: 8080", "port_unencrypted: 8081"),
            "MAC is wrong",
        ),
        (
            "something is added",
            text.replace("empty: \"\"", "empty: \"\"\nadded_unencrypted: x"),
            "MAC is wrong",
        ),
        (
            "something is emptied",
            text.replace(user, "\"\""),
            "MAC is wrong",
        ),
        (
            "it is not encrypted",
            text.replace(token, "sesame"),
            "ought to be encrypted",
        ),
        (
            "its date is another",
            text.replace(
                line(&text, "lastmodified:"),
                "    lastmodified: \"2020-01-01T00:00:00Z\"",
            ),
            "MAC cannot be checked",
        ),
        (
            "its MAC is that of a value",
            text.replace(sealed(&text, "    mac:"), token),
            "MAC cannot be checked",
        ),
        (
            "its rule is another",
            text.replace(
                "unencrypted_suffix: _unencrypted",
                "unencrypted_suffix: ser",
            ),
            "",
        ),
        (
            "its MAC is over less",
            format!("{text}    mac_only_encrypted: true\n"),
            "MAC is wrong",
        ),
        (
            "a bit is another",
            text.replace(token, &token.replacen("data:", "data:AAAA", 1)),
            "damaged",
        ),
        (
            "a nonce is short",
            text.replace(
                token,
                "ENC[AES256_GCM,data:AAAA,iv:AAAA,tag:AAAAAAAAAAAAAAAAAAAAAA==,type:str]",
            ),
            "as this version does not know",
        ),
        (
            "its kind is unknown",
            text.replace(token, &token.replace("type:str", "type:comment")),
            "not as SOPS writes it",
        ),
        (
            "it has two rules",
            format!("{text}    encrypted_suffix: n\n"),
            "two rules",
        ),
        (
            "its expression is none",
            text.replace("unencrypted_suffix: _unencrypted", "encrypted_regex: \"(\""),
            "an expression",
        ),
    ];
    for (what, text, why) in cases {
        let error = value(&text, key).expect_err(what);
        assert!(
            error.contains(why) && !error.contains("sesame"),
            "{what}: {error}"
        );
    }
    // Whose MAC is over encrypted values alone does not mind the others.
    let only = fixture("only.enc.yaml");
    let changed = only.replace("user: alice", "user: bob");
    assert_ne!(changed, only);
    assert_eq!(value(&changed, key).as_deref(), Ok(TOKEN));
}

#[test]
fn who_has_no_key_learns_for_whom_it_is() {
    let made = age::x25519_key();
    let stranger = Identities::parse(Zeroizing::new(made.into_bytes())).unwrap();
    let file = File::parse(fixture("plain.enc.yaml").as_bytes()).unwrap();
    let error = file.value(&["umlaut".into()], &stranger).unwrap_err();
    assert!(
        error.contains("none of your identities") && error.contains("age1"),
        "{error}"
    );
}

/// Another key of age's.
mod age {
    pub fn x25519_key() -> String {
        let made = std::process::Command::new("/usr/bin/age-keygen")
            .output()
            .expect("scripts/setup installs age");
        String::from_utf8(made.stdout).expect("text")
    }
}

#[test]
fn what_is_no_file_of_sops_is_refused_without_a_word_of_it() {
    for (text, why) in [
        ("token: sesame\n", "it has no entry `sops`"),
        ("{\"token\": \"sesame\"}", "it has no entry `sops`"),
        ("token: sesame\nsops: {}\n", "encrypted for nobody"),
        (
            "token: sesame\nsops: {pgp: [{enc: x}]}\n",
            "encrypted for pgp",
        ),
        ("token: sesame\nsops: {age: sesame}\n", "is not a list"),
        (
            "token: sesame\nsops: {age: [{recipient: sesame}]}\n",
            "has no `recipient` or `enc`",
        ),
        ("sesame", "it is not a map"),
        ("sesame: [", "it is not YAML"),
        ("a: *sesame\n", "it is not YAML"),
        ("a: &sesame b\n", "it is not YAML"),
        ("sesame: 1\nsesame: 2\n", "it is not YAML"),
        ("a: sesame\n---\nb: sesame\n", "it is not YAML"),
        ("{\"a\": sesame}", "it is not JSON"),
        ("{\"sesame\": 1, \"sesame\": 2}", "it is not JSON"),
        ("", "it is not YAML"),
    ] {
        let error = value(text, &["token"]).unwrap_err();
        assert!(
            error.contains(why) && !error.contains("sesame"),
            "{text}: {error}"
        );
    }
    let deep = "{\"a\":".repeat(100_000);
    assert!(value(&deep, &["a"]).is_err());
}

#[test]
fn the_identities_of_sops_are_found() {
    let home = Home::ready(0);
    let file = home.write("team.yaml", fixture("plain.enc.yaml"));
    home.sources(&format!(
        "github: {{sops: {}, key: github.token, rotate-every: 1d}}",
        file.display()
    ));
    assert!(home.why("github").contains("none of your identities"));
    let named = home.write("key.txt", fixture("key.txt"));
    let checked = |variables: &[(&str, &str)]| {
        let mut command = home.program(&["check"]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(
        checked(&[("SOPS_AGE_KEY_FILE", named.to_str().unwrap())]).0,
        Some(0)
    );
    assert_eq!(checked(&[("SOPS_AGE_KEY", &fixture("key.txt"))]).0, Some(0));
    let (status, said) = checked(&[("SOPS_AGE_KEY_FILE", "/nowhere/key.txt")]);
    assert!(
        status == Some(1) && said.contains("there is no such file"),
        "{said}"
    );
    home.write("home/.config/sops/age/keys.txt", fixture("key.txt"));
    assert_eq!(checked(&[]).0, Some(0));
    // A file that others may write could be another one.
    crate::home::mode(&file, 0o622);
    let why = home.why("github");
    assert!(
        why.contains("others can write it") && why.contains("chmod go-w"),
        "{why}"
    );
}
