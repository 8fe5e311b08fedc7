//! `unsafe` is used where system calls are made, and nowhere else.

use std::collections::BTreeSet;

use crate::modules::crates;
use crate::source::{Token, files};
use crate::{read, repository};

/// The only such places. Tests are exempt: they fork, mount and change their own limits.
const PLACES: [&str; 2] = ["sys/src/", "runtime/src/seccomp/install.rs"];

#[test]
fn unsafe_code_is_in_the_crate_of_system_calls_and_in_the_seccomp_install() {
    let mut found = BTreeSet::new();
    for folder in crates().into_keys() {
        for (file, tokens) in files(&repository(&folder).join("src")) {
            // `#[unsafe(...)]` is an attribute; the compiler checks those.
            let is_unsafe = |pair: &[Token]| pair[0].is("unsafe") && pair[1] != Token::Mark('(');
            if tokens.windows(2).any(is_unsafe) {
                let file = file
                    .strip_prefix(repository(""))
                    .expect("in the repository");
                found.insert(file.to_string_lossy().into_owned());
            }
        }
    }
    found.retain(|file| !PLACES.iter().any(|place| file.starts_with(place)));
    assert_eq!(found, BTreeSet::new(), "unsafe code");
}

#[test]
fn crates_that_need_no_unsafe_code_forbid_it() {
    let of_places = |folder: &str| {
        PLACES
            .iter()
            .any(|place| place.starts_with(&format!("{folder}/")))
    };
    for folder in crates().into_keys().filter(|folder| !of_places(folder)) {
        let root = read(&format!("{folder}/src/lib.rs"));
        assert!(
            root.contains("\n#![forbid(unsafe_code)]\n"),
            "{folder} does not"
        );
    }
}
