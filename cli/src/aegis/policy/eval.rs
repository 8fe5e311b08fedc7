//! `aegis policy eval`: what a policy says of one request.

use aegis_policy::{Opinion, What, decide};

use super::asked::Asked;
use crate::aegis::{Answer, print, print_bytes};

pub(super) fn eval(asked: &Asked, json: bool) -> Answer {
    let (policy, request) = asked.read()?;
    let decision = decide(&policy, &request);
    let answer = Ok(decision.verdict.lets_through());
    if json {
        // As it is recorded and compared.
        let text = serde_json::to_string(&decision)? + "\n";
        print_bytes(text.as_bytes())?;
        return answer;
    }
    let mut text = String::new();
    if let What::Tool { grants, .. } = &request.what {
        for (grant, opinion) in grants.iter().zip(&decision.parts) {
            text += &said(grant, opinion);
        }
    }
    let opinion = Opinion {
        reason: decision.reason,
        rules: decision.rules,
        verdict: decision.verdict,
    };
    text += &said(&request.what, &opinion);
    print(&text)?;
    answer
}

fn said(what: &What, opinion: &Opinion) -> String {
    let rules = match &*opinion.rules {
        [] => "none".to_owned(),
        rules => rules.join(", "),
    };
    format!(
        "{what}: {}\n  reason  {}\n  rules   {rules}\n",
        opinion.verdict, opinion.reason
    )
}
