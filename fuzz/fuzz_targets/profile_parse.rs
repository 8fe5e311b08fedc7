//! Any text parses to a profile or to an error that can be printed; a profile that is printed parses to
//! an equal one, and differs from nothing that is equal to it.

#![no_main]

use aegis_profile::{diff, parse_str, show};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match parse_str(text, "fuzz.yaml") {
        Ok(profile) => {
            for origins in [false, true] {
                let shown = show(&profile, origins);
                let again =
                    parse_str(&shown, "fuzz.yaml").unwrap_or_else(|error| panic!("{shown}{error}"));
                assert_eq!(again, profile, "{shown}");
                assert_eq!(again.hash(), profile.hash());
                assert!(diff(&again, &profile).is_empty());
            }
        }
        Err(error) => {
            let told = error.render(true);
            assert!(
                !told
                    .chars()
                    .any(|c| c.is_control() && !matches!(c, '\n' | '\x1b')),
                "{told:?}"
            );
            assert!(!error.diagnostics().is_empty());
        }
    }
});
