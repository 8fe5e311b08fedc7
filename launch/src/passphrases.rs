//! The passphrases that policies want with a yes: a program at the other end of a pseudo-terminal can type one word, and
//! does not know these.

use aegis_audit::event::Event;
use aegis_policy::model::Documents;

use crate::ask::WantedPassphrase;
use crate::record::Recorder;

/// How often one may be wrong.
const TRIES: u32 = 3;

/// Asks for the passphrase of each policy that has one. The inner error says why the yes does not count, the outer one why
/// nobody could be asked.
pub(crate) fn of(
    recorder: &mut Recorder<'_>,
    documents: &Documents,
    wrong: impl Fn(&str) -> Event,
) -> Result<Result<(), String>, String> {
    for (policy, passphrase) in documents.passphrases() {
        let mut tries = 0;
        loop {
            let wanted = WantedPassphrase {
                policy,
                wrong: tries > 0,
            };
            let Some(given) = recorder.front_end.passphrase(&wanted)? else {
                return Ok(Err(format!("the passphrase of {policy} was not given")));
            };
            if passphrase.is(&given) {
                break;
            }
            tries += 1;
            // On the disk before anybody learns that it was wrong: whoever guesses could end us then.
            let reason = format!("wrong passphrase of {policy}, number {tries} of {TRIES}");
            let recorded = recorder.record_early(&[wrong(&reason)]);
            recorded.map_err(|error| error.to_string())?;
            if tries == TRIES {
                return Ok(Err(format!(
                    "the passphrase of {policy} was wrong {TRIES} times"
                )));
            }
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use aegis_audit::event::EventType;
    use aegis_policy::model::{Document, Passphrase};
    use aegis_policy::{Hash, Policy, load};
    use zeroize::Zeroizing;

    use super::*;
    use crate::FrontEnd;

    /// A person, or a program, with answers to give.
    struct Typing(Vec<Option<&'static str>>, Vec<String>);

    impl FrontEnd for Typing {
        fn passphrase(
            &mut self,
            wanted: &WantedPassphrase<'_>,
        ) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
            self.1.push(format!("{}, {}", wanted.policy, wanted.wrong));
            let given = self.0.remove(0);
            Ok(given.map(|given| Zeroizing::new(given.into())))
        }
    }

    /// Two policies that each want their own, and one that wants none.
    fn policies() -> Rc<Policy> {
        let document = |name: &str, hashed: Option<&str>| Document {
            name: name.into(),
            approval_passphrase: hashed.map(|text| text.parse::<Passphrase>().expect("a hash")),
            ..load::parse_str("aegis-policy: 1", "a file").expect("a policy")
        };
        let all = vec![
            document(
                "site",
                Some(
                    "$scrypt$ln=14,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$JbN2hANm9NOw4h5BRHZnbjzQ6Jr0QwNWojTOC2WgIbU",
                ),
            ),
            document("none", None),
            document(
                "own",
                Some(
                    "$scrypt$ln=14,r=8,p=1$EBESExQVFhcYGRobHB0eHw$Vei6wJxjhZTSRF1tZWVyZuz1csBDbVd6wZNQ4bAs/N8",
                ),
            ),
        ];
        Rc::new(Policy::new(all).expect("a policy"))
    }

    /// Whether the yes counts, what was asked, and what was recorded.
    fn typed(answers: &[Option<&'static str>]) -> (bool, Vec<String>, Vec<String>) {
        let policy = policies();
        let mut front_end = Typing(answers.to_vec(), Vec::new());
        let mut recorder = Recorder::nowhere(&policy, "run", &mut front_end);
        let recorded = std::cell::RefCell::new(Vec::new());
        let wrong = |reason: &str| {
            recorded.borrow_mut().push(reason.to_owned());
            Event::new(EventType::Approval, "run", Hash::default())
        };
        let counts = of(&mut recorder, policy.documents(), wrong).expect("somebody to ask");
        assert!(front_end.0.is_empty(), "all of it is asked for");
        (counts.is_ok(), front_end.1, recorded.into_inner())
    }

    #[test]
    fn a_yes_counts_with_the_passphrase_of_each_policy() {
        let (counts, asked, recorded) = typed(&[Some("correct horse"), Some("other words")]);
        assert!(counts);
        assert_eq!(asked, ["site, false", "own, false"]);
        assert!(recorded.is_empty());
        // One that is right elsewhere.
        let other = Some("other words");
        let (counts, asked, recorded) = typed(&[other, Some("correct horse"), other]);
        assert!(counts);
        assert_eq!(asked, ["site, false", "site, true", "own, false"]);
        assert_eq!(recorded, ["wrong passphrase of site, number 1 of 3"]);
    }

    #[test]
    fn three_wrong_ones_or_none_are_a_no() {
        let right = Some("correct horse");
        for answers in [
            &[Some("y"), Some("correct horse "), Some("Correct horse")][..],
            &[right, Some(""), Some("y"), right],
            &[None],
            &[right, None],
            &[Some("y"), None],
        ] {
            let (counts, asked, recorded) = typed(answers);
            assert!(!counts, "{answers:?}");
            assert_eq!(asked.len(), answers.len());
            let wrong = |given: &&Option<&str>| given.is_some() && **given != right;
            assert_eq!(
                recorded.len(),
                answers.iter().filter(wrong).count() + usize::from(answers.len() == 4),
                "{answers:?}"
            );
        }
    }

    #[test]
    fn a_front_end_that_asks_nobody_cannot_say_yes() {
        let policy = policies();
        let mut recorder_of = ();
        let mut recorder = Recorder::nowhere(&policy, "run", &mut recorder_of);
        let wrong = |_: &str| unreachable!("nothing was given");
        assert!(of(&mut recorder, policy.documents(), wrong).is_err());
    }
}
