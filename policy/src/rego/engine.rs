//! The engine, and how to ask it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};

use super::builtins::{self, Effort};
use super::limits::{EFFORT, RUN_EFFORT, RUN_STEPS, STEPS};
use super::load::{Loaded, load};
use super::scan::{first_line, from_engine};
use super::{BadModule, RegoOutcome, input};
use crate::model::{RegoModule, Verdict, is_id};
use crate::request::{Context, What};

/// The modules of one document, ready to be asked.
pub(crate) struct Rego {
    /// Prepared, and never asked itself.
    prepared: Box<Engine>,
    /// The copy that is asked. `None`: it failed, and may be in a bad state; a fresh copy replaces it.
    engine: Mutex<Option<Box<Engine>>>,
    effort: Effort,
    /// The most steps of one evaluation.
    steps: u32,
    /// Where each of the answer's sets comes from: the verdict, and the prefix of ids.
    sets: Vec<(Verdict, String)>,
}

/// The package of the rule that asks all sets at once; no module may have it.
const ENTRY_PACKAGE: &str = "aegis_entry";
const ENTRY: &str = "data.aegis_entry.all";

impl Rego {
    /// Checks and prepares the modules of a document. `None`: there are none.
    pub fn load(modules: &[RegoModule]) -> Result<Option<Self>, BadModule> {
        Self::load_for(modules, STEPS)
    }

    fn load_for(modules: &[RegoModule], count: u32) -> Result<Option<Self>, BadModule> {
        if modules.is_empty() {
            return Ok(None);
        }
        let mut engine = Box::new(Engine::new());
        engine.set_strict_builtin_errors(true);
        let Loaded {
            patterns,
            sets,
            entries,
        } = load(modules, &mut engine)?;
        let effort = Effort::default();
        let entry = format!(
            "package {ENTRY_PACKAGE}\nall := [{}]\n",
            entries.join(",\n")
        );
        let prepare = || -> anyhow::Result<()> {
            builtins::register(&mut engine, &effort, patterns)?;
            engine.add_policy("the entry".into(), entry)?;
            // Prepares without evaluating.
            engine.compile_with_entrypoint(&ENTRY.into()).map(drop)
        };
        prepare().map_err(|error| {
            let text = error.to_string();
            let is_named = |m: &&RegoModule| text.contains(&format!("--> {}:", m.name));
            let named = modules.iter().find(is_named).or(modules.first());
            from_engine(named.map_or("", |module| &module.name), &text)
        })?;
        Ok(Some(Self {
            engine: Mutex::new(Some(engine.clone())),
            prepared: engine,
            effort,
            steps: count,
            sets,
        }))
    }

    /// The outcomes of the modules' rules, by id. Empty for actions that Rego is not asked about. `among`: how many things
    /// share the limits of a run.
    pub fn ask(&self, context: &Context, what: &What, among: usize) -> Vec<RegoOutcome> {
        if !super::is_asked(what) {
            return Vec::new();
        }
        self.answer(context, what, among).unwrap_or_else(|reason| {
            vec![RegoOutcome {
                id: "rego".into(),
                verdict: Verdict::Block,
                reason: Some(reason.into()),
            }]
        })
    }

    fn answer(
        &self,
        context: &Context,
        what: &What,
        among: usize,
    ) -> Result<Vec<RegoOutcome>, String> {
        let value = input::input(context, what)?;
        let Ok(mut held) = self.engine.lock() else {
            return Err("the engine of rules in Rego has failed before".into());
        };
        let mut engine = held.take().unwrap_or_else(|| self.prepared.clone());
        let among = u32::try_from(among).unwrap_or(u32::MAX).max(1);
        let count = self.steps.min(RUN_STEPS / among);
        self.effort.allow(EFFORT.min(RUN_EFFORT / u64::from(among)));
        engine.set_execution_timer_config(steps(count));
        engine.set_input(value);
        let answer = engine
            .eval_rule(ENTRY.into())
            .map_err(|error| reason(&error, count))?;
        *held = Some(engine);
        drop(held);
        self.said(&answer)
    }

    /// The members of all sets, each once, with its worst verdict.
    fn said(&self, answer: &Value) -> Result<Vec<RegoOutcome>, String> {
        let sets = answer
            .as_array()
            .map_err(|_| "rules in Rego have no answer".to_owned())?;
        let mut all: BTreeMap<Arc<str>, RegoOutcome> = BTreeMap::new();
        for (index, (verdict, prefix)) in self.sets.iter().enumerate() {
            let Some(Value::Set(members)) = sets.get(index) else {
                return Err(format!("`{verdict}` is not a set"));
            };
            for member in members.iter() {
                let Some((id, reason)) = read(member) else {
                    return Err(format!(
                        "a member of `{verdict}` must be the id of a rule, or an id with a reason"
                    ));
                };
                let said = RegoOutcome {
                    id: format!("{prefix}{id}").into(),
                    verdict: *verdict,
                    reason,
                };
                let kept = all.entry(said.id.clone()).or_insert_with(|| said.clone());
                if said.verdict > kept.verdict {
                    *kept = said;
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

/// The engine's own form is long and useless.
impl fmt::Debug for Rego {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rego")
            .field("sets", &self.sets)
            .finish_non_exhaustive()
    }
}

/// An id, or `{"id": ..., "reason": ...}`.
fn read(member: &Value) -> Option<(Arc<str>, Option<Arc<str>>)> {
    let id = |value: &Value| match value {
        Value::String(id) if is_id(id) => Some(id.clone()),
        _ => None,
    };
    match member {
        Value::Object(fields) => {
            let reason = match fields.get(&Value::from("reason")) {
                None => None,
                Some(Value::String(reason)) => Some(reason.clone()),
                Some(_) => return None,
            };
            let known = 1 + usize::from(reason.is_some());
            let id = id(fields.get(&Value::from("id"))?)?;
            (fields.len() == known).then_some((id, reason))
        }
        other => Some((id(other)?, None)),
    }
}

/// The interpreter counts its steps, and only after this many checks a clock against a time limit. The limit is
/// zero, which has always passed, so it stops at that step on any machine.
///
/// Differences between clocks do not matter: the system's monotonic clock counts nanoseconds, and no machine
/// takes thousands of steps in one.
fn steps(count: u32) -> ExecutionTimerConfig {
    ExecutionTimerConfig {
        limit: Duration::ZERO,
        check_interval: NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN),
    }
}

/// Why there is no answer; the text is the same every time.
fn reason(error: &anyhow::Error, steps: u32) -> String {
    // An error that comes out of a function loses its type.
    let text = error.to_string();
    if error.downcast_ref::<LimitError>().is_some()
        || text.contains("execution exceeded time limit")
    {
        return match steps < STEPS {
            true => format!(
                "rules in Rego took more than {steps} steps, this thing's share of the {RUN_STEPS} for all that the run asks for"
            ),
            false => format!("rules in Rego took more than {steps} steps"),
        };
    }
    let place = text.lines().find_map(|line| line.strip_prefix("--> "));
    match place {
        Some(place) => format!(
            "rules in Rego have failed at {}: {}",
            aegis_profile::syntax::escape(place),
            first_line(&text)
        ),
        None => format!("rules in Rego have failed: {}", first_line(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::HostPath;

    const MODULE: &str = r#"package aegis
        import rego.v1
        words contains word if some word in input.what.command
        none contains word if { some word in words; word == "none" }
        empty if count(none) == 0
        default first := "?"
        first := input.what.command[0] if not empty
        twice(x) := [x, x]
        allow contains "all"
        review contains "empty" if { empty; count(twice(first)) == 2 }
        block contains "never" if { not empty }
        block contains "short" if every word in words { count(word) < 2 }
    "#;

    fn load(count: u32) -> Rego {
        let module = RegoModule {
            name: "test.rego".into(),
            text: MODULE.into(),
        };
        Rego::load_for(&[module], count).unwrap().unwrap()
    }

    fn ask(rego: &Rego, words: &[&str]) -> Vec<(String, Verdict)> {
        let what = What::Tool {
            command: words.iter().map(|word| HostPath::from(*word)).collect(),
            grants: Vec::new(),
        };
        let said = rego.ask(&Context::default(), &what, 1);
        let pairs = said.iter().map(|said| (said.id.to_string(), said.verdict));
        pairs.collect()
    }

    #[test]
    fn wherever_the_steps_end_the_answer_is_the_whole_one_or_a_block() {
        let words = ["first", "second", "third"];
        let whole = ask(&load(STEPS), &words);
        let expected = [
            ("rego:all", Verdict::Allow),
            ("rego:empty", Verdict::Review),
        ];
        assert_eq!(
            whole,
            expected.map(|(id, verdict)| (id.to_owned(), verdict))
        );
        let blocked = vec![("rego".to_owned(), Verdict::Block)];
        let mut enough = 0;
        for count in 1..300 {
            let rego = load(count);
            let said = ask(&rego, &words);
            assert_eq!(said, ask(&rego, &words), "{count} steps, asked again");
            assert_eq!(
                said,
                ask(&load(count), &words),
                "{count} steps, another engine"
            );
            if said != whole {
                assert_eq!(said, blocked, "{count} steps");
                enough = count + 1;
            }
        }
        assert!((100..250).contains(&enough), "{enough} steps are enough");
    }
}
