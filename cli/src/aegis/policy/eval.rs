//! `aegis policy eval`: what a policy says of one request.

use aegis_policy::{Opinion, What, decide};

use super::super::{Answer, Failure};
use super::asked::{self, Place};
use super::{compiled, document};
use crate::terminal::{harmless, print};

pub(super) fn eval(reference: &str, request: &str, place: &Place, json: bool) -> Answer {
    super::refuse_two_stdins(&[reference, request])?;
    let policy = compiled(document(reference)?)?;
    let request = asked::request(request, place)?;
    let decision = decide(&policy, &request);
    let answer = Ok(decision.verdict.lets_through());
    if json {
        // As it is recorded and compared.
        let mut text = serde_json::to_vec(&decision)
            .map_err(|error| Failure::Other(format!("the decision has no JSON form: {error}")))?;
        text.push(b'\n');
        print(&text)?;
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
    print(harmless(&text).as_bytes())?;
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
