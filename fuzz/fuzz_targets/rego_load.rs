//! Any text is refused with a message that can be printed, or is a module that answers, soon, and always the
//! same; and one that has no `allow` lets nothing through.

#![no_main]

use aegis_policy::model::{Document, RegoModule, Scheme, Verdict};
use aegis_policy::request::Destination;
use aegis_policy::{Context, Policy, Request, What, decide};
use libfuzzer_sys::fuzz_target;

fn requests() -> Vec<What> {
    let net = What::Net(Destination {
        address: None,
        host: "api.example.org".into(),
        method: Some("GET".into()),
        path: Some("/".into()),
        port: 443,
        request_size: Some(1),
        requests_last_minute: Some(2),
        response_size: None,
        scheme: Scheme::Https,
    });
    let exec = What::Exec {
        except: Vec::new(),
        name: Some("git".into()),
        path: "/usr/bin/git".into(),
        tree: false,
    };
    let tool = What::Tool {
        command: (0..40)
            .map(|word| format!("word{word}").as_str().into())
            .collect(),
        grants: vec![net.clone(), exec.clone()],
    };
    vec![net, exec, tool]
}

fn load(text: &str) -> Option<Policy> {
    let document = Document {
        rego: vec![RegoModule {
            name: "fuzz.rego".into(),
            text: text.to_owned(),
        }],
        ..Document::default()
    };
    match Policy::new(vec![document]) {
        Ok(policy) => Some(policy),
        Err(error) => {
            let told = error.to_string();
            let plain = |c: char| c == '\n' || !aegis_profile::syntax::is_deceptive(c);
            assert!(told.chars().all(plain), "{told:?}");
            assert!(told.contains("fuzz.rego"), "{told}");
            None
        }
    }
}

fuzz_target!(|text: &str| {
    // Most texts that are interesting begin like this, and most that a fuzzer finds do not.
    let whole = format!("package aegis\nwarn contains \"all\"\n{text}");
    for text in [text, &whole] {
        let (Some(policy), Some(again)) = (load(text), load(text)) else {
            continue;
        };
        for what in requests() {
            let request = Request {
                approvals: Vec::new(),
                context: Context::default(),
                what,
            };
            let decision = decide(&policy, &request);
            assert_eq!(decision, decide(&policy, &request));
            assert_eq!(decision, decide(&again, &request));
            // A run as such is let through by its grants alone, which nothing here lets through.
            assert!(
                text.contains("allow") || decision.verdict == Verdict::Block,
                "{decision:?}"
            );
        }
    }
});
