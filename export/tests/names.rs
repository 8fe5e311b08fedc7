//! Names and texts of the outside become no directives, rules or words of their own.

use aegis_export::{Error, Format};

use crate::support::{Case, quoted};

const HOSTILE: [&str; 14] = [
    "a b",
    "a'b",
    "a\"b",
    "a\\b",
    "a%i",
    "$(touch x)",
    "`touch x`",
    "a;b",
    "a#b",
    "a:b",
    "a,b",
    "${HOME}",
    "*?[x]{y,z}",
    "é",
];

/// The text with each appearance of the name, however it is written, taken out.
fn shape(text: &str) -> Vec<String> {
    // What is before the first place of a name on a line is ours.
    let keep = |line: &str| line.split(['"', '\'']).next().unwrap_or(line).to_owned();
    text.lines().map(keep).collect()
}

#[test]
fn a_file_s_name_changes_no_other_part_of_an_export() {
    let directory = tempfile::tempdir().expect("a directory");
    let case = |name: &str| {
        let tree = directory.path().join("tree");
        let _ = std::fs::remove_dir_all(&tree);
        let place = tree.join(name);
        std::fs::create_dir_all(place.join("key")).expect("mkdir");
        let (place, key) = (quoted(&place), quoted(&place.join("key")));
        Case::of(&format!(
            "name: skill\nextends: [base]\ncapabilities: {{files.read: [{place}], files.deny: [{key}]}}\nenvironment: {{set: {{PLACE: {place}}}}}"
        ))
    };
    let plain = case("plain");
    let mut written = 0;
    for name in HOSTILE {
        let case = case(name);
        for format in Format::ALL {
            match case.try_export(format) {
                Ok(_) => {
                    let (found, expected) = (case.directives(format), plain.directives(format));
                    assert_eq!(
                        shape(&found),
                        shape(&expected),
                        "{format:?}: {name}\n{found}"
                    );
                    written += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Text { .. }), "{error}");
                    assert_eq!(format, Format::Systemd, "{error}");
                    assert!(name.contains(['"', '\'', '\\']), "{error}");
                }
            }
        }
    }
    assert_eq!(written, HOSTILE.len() * 4 - 3);
}

#[test]
fn a_hidden_file_whose_name_cannot_be_written_is_no_reason_to_show_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("tree");
    std::fs::create_dir_all(place.join("line\nfeed/.env")).expect("mkdir");
    let case = Case::of(&format!(
        "extends: [base]\ncapabilities: {{files.read: [{}], files.deny: ['**/.env']}}",
        quoted(&place)
    ));
    for format in [Format::Apparmor, Format::Systemd] {
        let error = case
            .try_export(format)
            .expect_err("a line feed")
            .to_string();
        assert!(
            error.contains("line\\nfeed") && error.contains("help:"),
            "{error}"
        );
    }
    let script = case.export(Format::Bwrap).text;
    assert!(script.to_str().expect("UTF-8").contains("line\nfeed/.env'"));
}

#[test]
fn a_profile_s_name_and_a_command_s_words_stay_what_they_are() {
    let name = "a\\\"; } profile b { /** rw, } $(x) %i";
    let case = Case::running(
        &format!("name: \"{name}\"\nextends: [base]"),
        &[
            "/bin/true",
            "x\nExecStart=/bin/sh",
            "'; touch x; '",
            "END\nEND",
        ],
    );
    let plain = Case::running(
        "name: plain\nextends: [base]",
        &["/bin/true", "x", "x", "x"],
    );
    assert_eq!(
        case.directives(Format::Systemd).lines().count(),
        plain.directives(Format::Systemd).lines().count()
    );
    let apparmor = case.directives(Format::Apparmor);
    let profiles: Vec<&str> = apparmor
        .lines()
        .filter(|line| line.contains("profile "))
        .collect();
    let [profile] = *profiles else {
        panic!("{profiles:?}")
    };
    let profile = profile
        .strip_prefix("profile aegis.")
        .and_then(|rest| rest.strip_suffix(" {"));
    let profile = profile.expect("one profile");
    assert!(
        profile
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
        "{profile}"
    );
}
