//! The passphrase of a policy: which hashes are accepted, and that they are of the passphrase.

use aegis_policy::load;
use aegis_policy::model::Passphrase;
use aegis_policy::{Policy, compare};

const HORSE: &str =
    "$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU";

const OTHER: &str =
    "$scrypt$ln=14,r=8,p=1$EBESExQVFhcYGRobHB0eHw$Vei6wJxjhZTSRF1tZWVyZuz1csBDbVd6wZNQ4bAs/N8";

/// The hash was computed by another implementation.
#[test]
fn the_passphrase_itself_is_it_and_nothing_else_is() {
    let passphrase: Passphrase = HORSE.parse().expect("a hash");
    assert!(passphrase.is(b"correct horse"));
    for given in [
        "",
        "correct hors",
        "correct horse ",
        "Correct horse",
        "y",
        HORSE,
    ] {
        assert!(!passphrase.is(given.as_bytes()), "{given:?}");
    }
    let made = Passphrase::new("größer".as_bytes(), &[7; 16]).expect("memory");
    assert_eq!(made.as_str().parse::<Passphrase>().expect("a hash"), made);
    assert!(made.is("größer".as_bytes()) && !made.is(b"gr"));
}

/// Nothing that a policy says makes the start take long, or takes a wrong passphrase.
#[test]
fn a_hash_that_is_weak_costly_or_none_is_refused() {
    let tail = HORSE.split_once("p=1").expect("its parameters").1;
    let (salt, hash) = tail[1..].split_once('$').expect("a salt and a hash");
    let with = |cost: &str| format!("$scrypt${cost}${salt}${hash}");
    for cost in 14..=18 {
        assert!(
            with(&format!("ln={cost},r=8,p=1"))
                .parse::<Passphrase>()
                .is_ok()
        );
    }
    for text in [
        String::new(),
        "correct horse".into(),
        with("ln=13,r=8,p=1"),
        with("ln=19,r=8,p=1"),
        with("ln=63,r=8,p=1"),
        with("ln=014,r=8,p=1"),
        with("ln=14,r=4294967295,p=1"),
        with("ln=14,r=1,p=1"),
        with("ln=14,r=8,p=1000000"),
        with("ln=14,r=8"),
        with("ln=14,r=8,p=1,q=1"),
        with("v=1$ln=14,r=8,p=1"),
        format!("$scrypt${salt}${hash}"),
        format!("$scrypt$ln=14,r=8,p=1${salt}"),
        format!("$scrypt$ln=14,r=8,p=1${salt}${}", &hash[..22]),
        format!("$scrypt$ln=14,r=8,p=1${}${hash}", &salt[..11]),
        format!("$argon2id$ln=14,r=8,p=1${salt}${hash}"),
        format!("$pbkdf2-sha256$i=1${salt}${hash}"),
        format!("{HORSE}="),
        format!("{HORSE}\n"),
        HORSE.replace('$', "$$"),
    ] {
        let error = text.parse::<Passphrase>().expect_err(&text);
        assert!(
            error
                .help
                .is_some_and(|help| help.contains("aegis policy passphrase"))
        );
        let line = format!(
            "aegis-policy: 1\napproval-passphrase: \"{}\"\n",
            text.replace('\n', "\\n")
        );
        let error = load::parse_str(&line, "policy.yaml")
            .expect_err(&line)
            .to_string();
        assert!(error.contains("not the hash of a passphrase"), "{error}");
        assert!(error.contains("policy.yaml:2:"), "{error}");
    }
}

#[test]
fn it_is_part_of_the_policy_its_hash_and_what_a_change_is() {
    let policy = |line: &str| {
        let text = format!("aegis-policy: 1\nname: site\n{line}");
        let document = load::parse_str(&text, "policy.yaml").expect("a policy");
        let shown = aegis_policy::show::show(&document);
        assert_eq!(
            load::parse_str(&shown, "shown").expect("it is the same"),
            document
        );
        Policy::new(vec![document]).expect("a policy")
    };
    let horse = policy(&format!("approval-passphrase: {HORSE}\n"));
    let (other, none) = (
        policy(&format!("approval-passphrase: {OTHER}\n")),
        policy(""),
    );
    assert!(horse.hash() != none.hash() && horse.hash() != other.hash());
    assert!(!String::from_utf8_lossy(&none.canonical()).contains("passphrase"));
    let wanted: Vec<_> = horse.documents().passphrases().collect();
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].0, "site");
    for (a, b) in [(&none, &horse), (&horse, &other), (&horse, &none)] {
        let diff = compare::diff(a, b, &compare::contexts());
        assert_eq!(diff.settings.len(), 1);
        assert_eq!(diff.settings[0].name, "approval-passphrase");
    }
    let twice =
        format!("aegis-policy: 1\napproval-passphrase: {HORSE}\napproval-passphrase: {OTHER}\n");
    assert!(load::parse_str(&twice, "policy.yaml").is_err());
}
