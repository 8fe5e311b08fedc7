//! A build without Rego decides by native rules, and refuses a policy with rules in Rego.
#![cfg(not(feature = "rego"))]

use aegis_policy::model::{Document, RegoModule};
use aegis_policy::{Policy, decide::ENGINE};

#[test]
fn a_policy_with_modules_is_refused() {
    let mut document = Document::default();
    assert!(Policy::new(vec![document.clone()]).is_ok());
    document.rego.push(RegoModule {
        name: "extra.rego".into(),
        text: "package aegis\nblock contains \"all\"".into(),
    });
    let error = Policy::new(vec![document]).unwrap_err().to_string();
    assert!(
        error.contains("extra.rego: this build has no Rego"),
        "{error}"
    );
    assert!(ENGINE.features.is_empty());
}
