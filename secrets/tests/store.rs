//! The store: what age makes of it, and the commands of `aegis secrets`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::home::{Home, USER, mode};

/// What age of Debian decrypts.
fn by_age(home: &Home, alias: &str) -> String {
    let output = home
        .command("/usr/bin/age")
        .arg("-d")
        .arg("-i")
        .arg(home.key())
        .arg(home.secret(alias))
        .output();
    let output = output.expect("age starts: scripts/setup installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn age_opens_the_store_and_what_age_wrote_is_read() {
    for uid in [0, USER] {
        let home = Home::ready(uid);
        home.set("github", "hunter2 grün\r\n");
        assert_eq!(by_age(&home, "github"), "hunter2 grün");
        for path in [home.secret("github"), home.key()] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o7777,
                0o600
            );
        }
        let store = home.secret("github").parent().unwrap().to_owned();
        assert_eq!(
            fs::metadata(store).unwrap().permissions().mode() & 0o7777,
            0o700
        );

        let recipient = home.does(&["init"]);
        assert_eq!(recipient["new"], false);
        let recipient = recipient["recipient"].as_str().unwrap();
        let by_keygen = home
            .command("/usr/bin/age-keygen")
            .arg("-y")
            .arg(home.key())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&by_keygen.stdout).trim(), recipient);
        for (alias, options) in [("plain", &[][..]), ("armoured", &["-a"])] {
            let mut age = home.command("/usr/bin/age");
            let age = age
                .args(options)
                .args(["-r", recipient, "-o"])
                .arg(home.secret(alias))
                .stdin(Stdio::piped());
            let mut age = age.spawn().unwrap();
            age.stdin.take().unwrap().write_all(b"by age\n").unwrap();
            assert!(age.wait().unwrap().success());
            mode(&home.secret(alias), 0o600);
            assert_eq!(home.provider().value(alias, None).0, "by age");
        }
        let list = home.does(&["list"]);
        let aliases: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| &secret["alias"])
            .collect();
        assert_eq!(aliases, ["armoured", "github", "plain"]);
    }
}

#[test]
fn a_key_made_by_age_keygen_is_taken() {
    let home = Home::of(USER);
    home.write("home/.config/aegis/none", "");
    for directory in ["home/.config", "home/.config/aegis"] {
        home.own(directory);
    }
    let made = home
        .command("/usr/bin/age-keygen")
        .arg("-o")
        .arg(home.key())
        .output()
        .unwrap();
    assert!(made.status.success());
    home.set("a", "value");
    assert_eq!(by_age(&home, "a"), "value");
}

#[test]
fn what_cannot_be_a_secret_is_refused_and_the_old_one_stays() {
    let home = Home::ready(0);
    home.set("a", "old");
    let long = vec![b'x'; 32 * 1024 + 1];
    for (value, why) in [
        (&b""[..], "it is empty"),
        (b"\n", "it is empty"),
        (b"sesame\nmore", "a line feed"),
        (b"sesame\0", "a NUL"),
        (b"sesame\x1b[2J", "the control character 0x1b"),
        (&long, "longer than 32768 bytes"),
    ] {
        let error = home.try_set("a", value).unwrap_err();
        assert!(error.contains(why) && !error.contains("sesame"), "{error}");
        assert_eq!(by_age(&home, "a"), "old");
    }
    home.try_set("long", &long[1..]).unwrap();
    assert_eq!(home.provider().value("long", None).0.len(), 32 * 1024);
    for alias in ["", ".a", "a/b", "../a", "-a", "a b", &"a".repeat(65)] {
        let error = home.try_set(alias, b"sesame").unwrap_err();
        assert!(error.contains("cannot be an alias"), "{alias}: {error}");
    }
}

#[test]
fn without_a_key_nothing_is_stored_and_the_fix_is_told() {
    let home = Home::of(0);
    let error = home.try_set("a", b"sesame").unwrap_err();
    assert!(error.contains("aegis secrets init"), "{error}");
    assert!(!home.secret("a").exists());
    assert_eq!(home.does(&["list"]), serde_json::json!([]));
}

#[test]
fn a_removed_secret_is_gone() {
    let home = Home::ready(0);
    home.set("a", "value");
    home.does(&["rm", "a"]);
    assert!(!home.secret("a").exists());
    let error = home.try_does(&["rm", "a"]).unwrap_err();
    assert!(error.contains("there is no secret `a`"), "{error}");
    assert!(home.why("a").contains("there is no secret `a`"));
}

#[test]
fn what_is_encrypted_for_others_is_told() {
    let home = Home::ready(0);
    home.set("a", "value");
    fs::remove_file(home.key()).unwrap();
    assert!(home.why("a").contains("there is no key"));
    home.does(&["init"]);
    assert!(home.why("a").contains("encrypted for another key"));
    // A further key opens what was encrypted for it.
    let text = fs::read(home.secret("a")).unwrap();
    home.write(
        "home/.local/share/aegis/secrets/a.age",
        &text[..text.len() - 1],
    );
    assert!(!home.why("a").contains("value"));
    home.write("home/.local/share/aegis/secrets/b.age", "not of age");
    assert!(
        home.why("b").contains("not encrypted by age"),
        "{}",
        home.why("b")
    );
}

#[test]
fn what_is_due_is_listed_and_rotated() {
    let home = Home::ready(0);
    home.set("npm", "old");
    home.sources("npm: {rotate-every: 30d, on-rotate: [sh, -c, 'read -r old || true; echo \"$old\" >>/dev/stderr; echo new']}");
    assert_eq!(home.does(&["list"])[0]["due"], false);
    let age = |days: u64| {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        fs::File::options()
            .write(true)
            .open(home.secret("npm"))
            .unwrap()
            .set_modified(old)
            .unwrap();
    };
    age(29);
    assert_eq!(home.does(&["list"])[0]["due"], false);
    age(31);
    assert_eq!(home.does(&["list"])[0]["due"], true);
    assert_eq!(home.does(&["check"])[0]["due"], true);
    assert_eq!(home.does(&["rotate", "npm"])["replaced"], true);
    assert_eq!(by_age(&home, "npm"), "new");
    assert_eq!(home.does(&["list"])[0]["due"], false);
}

#[test]
fn a_rotation_that_fails_leaves_the_old_one() {
    let home = Home::ready(0);
    home.set("npm", "old");
    for (command, why) in [
        ("[sh, -c, 'echo half; exit 3']", "ended with status 3"),
        ("[sh, -c, 'kill -9 $$']", "signal 9"),
        ("[sh, -c, 'true']", "it is empty"),
        ("[sh, -c, 'echo a; echo b']", "a line feed"),
        ("[sh, -c, 'yes']", "printed more than"),
        ("[no-such-program]", "no such program"),
        ("[sleep, '1000'], timeout: 100ms", "longer than 0.1s"),
    ] {
        home.sources(&format!("npm: {{on-rotate: {command}}}"));
        let error = home.try_does(&["rotate", "npm"]).unwrap_err();
        assert!(
            error.contains("is as it was") && error.contains(why),
            "{error}"
        );
        assert_eq!(by_age(&home, "npm"), "old");
    }
    home.sources("other: {on-rotate: [echo, new]}");
    let error = home.try_does(&["rotate", "npm"]).unwrap_err();
    assert!(
        error.contains("nothing is known that makes a new `npm`"),
        "{error}"
    );
    // There is nothing to be replaced.
    let error = home.try_does(&["rotate", "other"]).unwrap_err();
    assert!(error.contains("no secret `other`"), "{error}");
}

#[test]
fn another_source_has_to_give_a_new_one() {
    let home = Home::ready(0);
    let file = home.write("value", "one");
    let sources = |command: &str| {
        let file = file.display();
        home.sources(&format!(
            "x: {{exec: [cat, {file}], on-rotate: [sh, -c, 'cat >/dev/null; {command} {file}']}}"
        ));
    };
    sources("touch");
    let error = home.try_does(&["rotate", "x"]).unwrap_err();
    assert!(error.contains("the same as before"), "{error}");
    sources("echo two >");
    home.does(&["rotate", "x"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
    let error = home.try_set("x", b"three").unwrap_err();
    assert!(error.contains("comes from command cat"), "{error}");
    let error = home.try_does(&["rm", "x"]).unwrap_err();
    assert!(error.contains("is not in the store"), "{error}");
}

#[test]
fn which_of_two_is_meant_is_not_guessed() {
    let home = Home::ready(0);
    home.set("x", "stored");
    home.sources("x: {exec: [echo, printed]}");
    assert!(home.why("x").contains("it is in the store too"));
}
