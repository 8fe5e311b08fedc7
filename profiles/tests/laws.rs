//! Properties of every profile.

use crate::support;

use std::path::Path;

use aegis_profile::{Profile, ReadError, Source, diff, load, parse_str, show};
use proptest::prelude::*;
use support::generate::{additive_profile, mutated_profile, profile};

fn parsed(text: &str) -> Profile {
    parse_str(text, "x.yaml").unwrap_or_else(|error| panic!("{text}{error}"))
}

/// Two files, of which `/top.yaml` extends `/base.yaml`.
struct Two<'t>(&'t str, &'t str);

impl Source for Two<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        match path.to_str() {
            Some("/base.yaml") => Ok(self.0.into()),
            _ => Ok(self
                .1
                .replacen("aegis: 1", "aegis: 1\nextends: [/base.yaml]", 1)
                .into()),
        }
    }
}

fn merged(base: &str, top: &str) -> Profile {
    load("/top.yaml", &Two(base, top))
        .unwrap_or_else(|error| panic!("{error}"))
        .profile
}

proptest! {
    #[test]
    fn what_is_shown_parses_to_an_equal_profile(text in profile(), origins: bool) {
        let first = parsed(&text);
        let shown = show(&first, origins);
        prop_assert_eq!(&parsed(&shown), &first, "{}", shown);
        prop_assert_eq!(show(&parsed(&shown), false), show(&first, false), "showing is stable");
        prop_assert_eq!(parsed(&shown).hash(), first.hash());
    }

    #[test]
    fn a_merged_profile_is_shown_without_what_it_extends(base in profile(), top in profile()) {
        let merged = merged(&base, &top);
        let shown = show(&merged, true);
        let again = parse_str(&shown, "top.yaml").unwrap_or_else(|error| panic!("{shown}{error}"));
        prop_assert!(again.extends.is_empty());
        prop_assert_eq!(again.canonical_json(), merged.canonical_json());
        prop_assert!(diff(&again, &merged).is_empty());
    }

    #[test]
    fn a_valid_profile_is_accepted_by_the_schema(text in profile()) {
        parsed(&text);
        prop_assert_eq!(support::schema_accepts(&text), Some(true), "{}", text);
    }

    #[test]
    fn schema_and_parser_agree_on_a_profile_with_one_change(text in mutated_profile()) {
        // A schema judges JSON only.
        if let Some(accepted) = support::schema_accepts(&text) {
            let parsed = parse_str(&text, "x.yaml");
            prop_assert_eq!(parsed.is_ok(), accepted, "{}{:?}", text, parsed);
        }
    }

    #[test]
    fn a_profile_does_not_differ_from_itself(text in profile()) {
        let profile = parsed(&text);
        let difference = diff(&profile, &profile);
        prop_assert!(difference.is_empty(), "{}", difference);
    }

    #[test]
    fn the_difference_is_mirrored_when_the_profiles_change_places(a in profile(), b in profile()) {
        let (a, b) = (parsed(&a), parsed(&b));
        let (there, back) = (diff(&a, &b), diff(&b, &a));
        prop_assert_eq!(there.only_a, back.only_b);
        prop_assert_eq!(there.only_b, back.only_a);
    }

    #[test]
    fn extending_a_profile_takes_nothing_of_it_away(base in additive_profile(), top in additive_profile()) {
        let merged = merged(&base, &top);
        for part in [parsed(&base), parsed(&top)] {
            let difference = diff(&part, &merged);
            prop_assert!(difference.only_a.is_empty(), "{}", difference);
        }
    }

    #[test]
    fn extending_an_equal_profile_changes_nothing(text in profile()) {
        let alone = parsed(&text);
        prop_assert_eq!(merged(&text, &text).capabilities, alone.capabilities);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}|[a-z:\\[\\]{}\"'\\-#&*!|>%@,? \\n]{0,80}") {
        let _ = parse_str(&text, "x.yaml").map_err(|error| error.render(true));
        let _ = parse_str(&format!("aegis: 1\n{text}"), "x.yaml");
        let _ = aegis_profile::load_with("base", &[text], &Two("", ""));
    }
}
