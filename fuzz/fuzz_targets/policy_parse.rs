//! Any text parses to a policy or to an error that can be printed. A policy that parses also compiles; what
//! is shown of it parses to an equal one; its rules can be put into another mode in its own text.

#![no_main]

use aegis_policy::load::parse_str;
use aegis_policy::model::Mode;
use aegis_policy::promote::set_mode;
use aegis_policy::show::show;
use aegis_policy::table::Table;
use aegis_policy::{Document, Policy};
use aegis_profile::Error;
use libfuzzer_sys::fuzz_target;

fn printable(error: &Error) {
    let told = error.render(true);
    assert!(
        !told
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\x1b')),
        "{told:?}"
    );
    assert!(!error.diagnostics().is_empty());
}

fn sorted(mut document: Document) -> Document {
    document.capabilities.sort_by(|a, b| a.id.cmp(&b.id));
    document.network_egress.sort_by(|a, b| a.id.cmp(&b.id));
    document.secrets_boundary.sort_by(|a, b| a.id.cmp(&b.id));
    document.rego.sort();
    document
}

fuzz_target!(|text: &str| {
    if let Err(error) = Table::parse(text, "fuzz.test.yaml") {
        printable(&error);
    }
    let document = match parse_str(text, "fuzz.yaml") {
        Ok(document) => document,
        Err(error) => return printable(&error),
    };
    // The text of modules is not read here.
    let mut rules = document.clone();
    rules.rego.clear();
    let hash = |document: Document| Policy::new(vec![document]).expect("judged rule by rule").hash();
    let own = hash(rules.clone());
    let shown = show(&document);
    let again = parse_str(&shown, "fuzz.yaml").unwrap_or_else(|error| panic!("{shown}{error}"));
    assert_eq!(sorted(again), sorted(document.clone()), "{shown}");
    let Some(rule) = rules.capabilities.first() else {
        return;
    };
    let turned = match rule.mode {
        Mode::Enforce => Mode::Warn,
        Mode::Warn => Mode::Enforce,
    };
    match set_mode(text, "fuzz.yaml", &rule.id, turned) {
        Ok(changed) => {
            let changed = changed.expect("it was in the other mode");
            let mut after = parse_str(&changed.text, "fuzz.yaml").expect("it was checked");
            after.rego.clear();
            assert_ne!(hash(after), own);
        }
        Err(error) => printable(&error),
    }
});
