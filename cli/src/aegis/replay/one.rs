//! Explains one record, or the decisions about one run, in words.

use aegis_audit::event::EventType;
use aegis_audit::replay::{
    Difference, Found, Outcome, Recorded, Replayer, read_decision, read_request,
};
use aegis_policy::explain::{self, Explanation};
use aegis_policy::{Decision, Hash, Request, decide};
use serde::Serialize;

use super::{Known, Options, records};
use crate::aegis::audit::show::name_of;
use crate::aegis::{CommandResult, answer, policy};

/// Which records are meant: the one with a number, those of a run, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    run: Option<String>,
    seq: Option<u64>,
}

/// Parses `SEQ`, `RUN` or `RUN/SEQ`.
pub(super) fn id(text: &str) -> Result<Id, String> {
    let number = |text: &str| text.parse().ok();
    let (run, seq) = match text.rsplit_once('/') {
        _ if text.is_empty() => return Err("write a record's number, or a run".into()),
        Some((run, seq)) => match number(seq) {
            Some(seq) => (Some(run), Some(seq)),
            None => return Err(format!("`{seq}` is not the number of a record")),
        },
        // A run's id is never just a number.
        None => (
            Some(text).filter(|text| number(text).is_none()),
            number(text),
        ),
    };
    let run = run.map(str::to_owned);
    Ok(Id { run, seq })
}

impl Id {
    /// Whether a record is meant; for a run, only records with a decision.
    fn is(&self, record: &Recorded<'_>) -> bool {
        let seq = (self.seq).map_or(record.decision.is_some(), |seq| record.seq == seq);
        seq && self.run.as_ref().is_none_or(|run| record.run == *run)
    }
}

/// One record, explained.
#[derive(Serialize)]
struct Account {
    /// The result of repeating the decision.
    again: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    /// By the policy that was in force, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
    /// The verdict of the policy in force now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Now>,
    policy: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    run: String,
    seq: u64,
    time: String,
    r#type: EventType,
}

#[derive(Serialize)]
struct Now {
    decision: Decision,
    policy_name: String,
}

pub(super) fn tell(options: &Options, id: &Id, known: &Known) -> CommandResult {
    let mut accounts = Vec::new();
    let in_force = aegis_launch::in_force(None).ok();
    let mut replayer = Replayer::new(|hash| known.find(hash), options.force);
    let unreadable = records(options, |record| {
        if id.is(record) {
            accounts.push(account(
                record,
                &mut replayer,
                in_force.as_ref().map(|(policy, _)| policy),
            ));
        }
        Ok(())
    })?;
    if accounts.is_empty() {
        let what = (id.seq).map_or("decision".to_owned(), |seq| format!("record {seq}"));
        let run = (id.run.as_ref()).map_or(String::new(), |run| format!(" of a run {run}"));
        let more = match unreadable.len() {
            0 => String::new(),
            lines => format!("; {lines} lines are not records"),
        };
        anyhow::bail!(
            "there is no {what}{run} in {}{more}",
            options.log.resolve()?.display()
        );
    }
    answer(options.json, &accounts, || {
        let texts: Vec<String> = accounts.iter().map(text).collect();
        texts.join("\n")
    })?;
    let holds = |account: &Account| matches!(account.again, Outcome::NoDecision | Outcome::Same);
    Ok(accounts.iter().all(holds))
}

fn account<F: FnMut(Hash) -> Found>(
    record: &Recorded<'_>,
    replayer: &mut Replayer<F>,
    in_force: Option<&aegis_policy::Policy>,
) -> Account {
    let request = record.request.and_then(|r| read_request(r).ok());
    let decision = record.decision.and_then(|d| read_decision(d).ok());
    let hash = decision.as_ref().map_or(record.policy, |d| d.policy);
    let policy = match replayer.find(hash) {
        Found::Same(policy) | Found::OtherEngine(policy, _) => Some(policy),
        Found::No(_) => None,
    };
    let explained = policy.as_ref().zip(request.as_ref());
    let now = in_force.zip(request.as_ref());
    Account {
        again: replayer.again(record),
        explanation: explained.map(|(policy, request)| explain::explain(policy, request)),
        now: now.map(|(policy, request)| Now {
            decision: decide(policy, request),
            policy_name: policy.name(),
        }),
        decision,
        policy: hash,
        policy_name: policy.map(|policy| policy.name()),
        request,
        run: record.run.clone().into_owned(),
        seq: record.seq,
        time: record.time.clone().into_owned(),
        r#type: record.kind,
    }
}

fn text(account: &Account) -> String {
    let mut text = format!(
        "record {} of run {}, {}: {}\n",
        account.seq,
        account.run,
        account.time,
        name_of(account.r#type)
    );
    if let Some(request) = &account.request {
        let context = &request.context;
        let skill = match &context.skill {
            Some(skill) => format!(", its directory {skill}"),
            None => String::new(),
        };
        text += &format!(
            "  who     user {} under the profile {} ({}){skill}, in {}\n  what    {}\n",
            context.uid, context.profile, context.profile_hash, context.work, request.what
        );
        for approval in &request.approvals {
            text += &format!("          with the approval {}\n", approval.id);
        }
    }
    if let Some(decision) = &account.decision {
        let rules = policy::joined(&decision.rules, "no rule");
        text += &format!(
            "  said    {}, by {rules}: {}\n",
            decision.verdict, decision.reason
        );
    }
    let name = account.policy_name.as_deref().unwrap_or("not known here");
    text += &format!("  under   {} ({name})\n", account.policy);
    text += &match &account.again {
        Outcome::NoDecision => "  again   nothing was decided in this record\n".into(),
        Outcome::Same => "  again   the same policy decides the same\n".into(),
        Outcome::Undecidable { why } => format!("  again   it cannot be decided again: {why}\n"),
        Outcome::Differs { differences } => {
            let mut text = "  again   the same policy decides otherwise:\n".to_owned();
            for Difference { what, then, now } in differences {
                text += &format!("          {what}: then {then}, now {now}\n");
            }
            text
        }
    };
    if let Some(Now {
        decision,
        policy_name,
    }) = &account.now
    {
        text += &format!(
            "  today   the policy in force ({policy_name}) says {}: {}\n",
            decision.verdict, decision.reason
        );
    }
    if let Some(explanation) = &account.explanation {
        text += "\n";
        for line in policy::explain::text(explanation).lines() {
            text += &match line {
                "" => "\n".to_owned(),
                line => format!("  {line}\n"),
            };
        }
    }
    text
}
