//! The policy's opinion on a plan, as a person reads it.

use std::cmp::Reverse;
use std::fmt::Write as _;

use aegis_launch::Refusal;
use aegis_policy::model::AnomalyKind;
use aegis_policy::request::Place;
use aegis_policy::{HostPath, Opinion, Verdict, What};
use aegis_profile::LimitKey;
use aegis_profile::syntax::escape;
use aegis_runtime::plan::{Grant, Less, Plan, authority};
use aegis_runtime::supervise::report::{Anomaly, Report};

use crate::terminal::harmless;

/// At most so many grants that prevent a run are shown; `--explain` has all.
const MOST: usize = 12;

/// The grants that the policy was asked about, with its opinion on each.
fn told(plan: &Plan) -> impl Iterator<Item = (&Grant, &Opinion)> {
    let grants = plan.grants.iter();
    grants.filter_map(|grant| Some((grant, grant.decision.as_ref()?)))
}

/// Where a grant was declared, for a line that says what it is; nothing where that is no file of the person's.
fn from(grant: &Grant, is_declared: bool, before: &str) -> String {
    match is_declared {
        true => format!("{before}({})", harmless(&grant.from.to_string())),
        false => String::new(),
    }
}

/// Why the command was not started. `policy`: the one that was named on the command line. `is_declared`: what was asked for is in a profile
/// of the person's; where it is not, options of `aegis-learn` ask for it.
pub(crate) fn refusal(refusal: &Refusal, policy: Option<&str>, is_declared: bool) -> String {
    let Refusal {
        plan,
        decision,
        unanswered,
    } = refusal;
    let name = plan.policy.as_ref().map_or("", |policy| &*policy.name);
    let mut out = match decision.verdict {
        Verdict::Block => format!("the policy {name} blocks this run"),
        _ => format!("the policy {name} wants a person to review this run"),
    };
    if let Some(why) = unanswered {
        let _ = write!(out, ", and {why}");
    }
    let mut stopped: Vec<_> =
        (told(plan).filter(|(_, said)| !said.verdict.lets_through())).collect();
    stopped.sort_by_key(|(_, said)| Reverse(said.verdict));
    for (grant, said) in stopped.iter().take(MOST) {
        let _ = write!(
            out,
            "\n  {:<6}  {}{}\n          {}",
            said.verdict,
            harmless(&grant.what.to_string()),
            from(grant, is_declared, "  "),
            said.reason,
        );
    }
    if stopped.is_empty() {
        let _ = write!(out, "\n  {}", decision.reason);
    } else if stopped.len() > MOST {
        let more = stopped.len() - MOST;
        let _ = write!(out, "\n  ... and {more} more");
        out += if is_declared {
            ": --explain lists all"
        } else {
            ""
        };
    }
    let help = match decision.verdict {
        Verdict::Block if is_declared => {
            "ask for less in the profile, or have the policy permit it"
        }
        Verdict::Block => {
            "leave out what asks for it (--pass, --show, --allow-net), or have the policy permit it"
        }
        _ => "run it on a terminal and answer with yes, or have the policy permit it",
    };
    let _ = write!(out, "\n  help: {help}");
    if let Some(asked) = (stopped.first()).and_then(|(grant, _)| in_words(&grant.what)) {
        let named = [policy.map(str::to_owned), Some(asked)];
        let skill = plan.variables.iter().find(|(name, _)| name == "$SKILL");
        let skill = skill.map(|(_, skill)| ["--skill".to_owned(), skill.display().to_string()]);
        let words = named
            .into_iter()
            .flatten()
            .chain(skill.into_iter().flatten());
        let words: Vec<String> = words.map(|word| quoted(&word)).collect();
        let _ = write!(
            out,
            "\n  what would: aegis policy explain {}",
            harmless(&words.join(" "))
        );
    }
    out
}

/// Something out of the ordinary, as it is told when it happens. What is only recorded is not; `quiet` silences warnings.
pub(crate) fn anomaly(anomaly: &Anomaly, quiet: bool) -> String {
    let What::Anomaly { kind, of } = &anomaly.what else {
        return String::new();
    };
    let what = match kind {
        AnomalyKind::Bind => "it listens at, or takes as its own,",
        AnomalyKind::Call => "it makes the system call",
        AnomalyKind::Capability => "it asks for",
        AnomalyKind::Connect => "it connects or sends to",
        AnomalyKind::Denied => "it was refused",
        AnomalyKind::Exec => "it executes",
        AnomalyKind::Lost => "it is not seen any more in whole:",
        AnomalyKind::Rate => "it does more than ever:",
        AnomalyKind::Read => "it reads, or looks for,",
        AnomalyKind::Signal => "it signals a process outside:",
        AnomalyKind::Socket => "it makes a socket of",
        AnomalyKind::Write => "it writes, makes or removes",
    };
    let done = match anomaly.reaction {
        "killed" if anomaly.instead_of.is_some() => ": killed, since it could not be refused here",
        "killed" => ": killed",
        "refused" => ": refused",
        "continued" => ": allowed by a person",
        "warned" if !quiet => "",
        _ => return String::new(),
    };
    let head = match anomaly.reaction {
        "killed" => "error",
        _ => "warning",
    };
    let reason = &anomaly.said.reason;
    format!("aegis-run: {head}: out of the ordinary: {what} {of}{done} ({reason})\n")
}

/// What is asked for, as `aegis policy explain` understands it; `None`: it has no words for it.
fn in_words(what: &What) -> Option<String> {
    let target = match what {
        What::Exec {
            name: Some(name),
            path,
            tree: false,
            ..
        } if path.to_string() == format!("/usr/bin/{name}") => name.clone(),
        What::Read { .. } | What::Write { .. } | What::Exec { .. } => place(what.place()?)?,
        What::Environment { name } | What::Sockets { name } | What::Syscall { name } => {
            name.clone()
        }
        What::Device { device } => device.clone(),
        What::Listen { port } => port.to_string(),
        What::NetHost {} => "host".into(),
        _ => return None,
    };
    Some(format!("{}={target}", what.action()))
}

fn place(place: Place<'_>) -> Option<String> {
    let plain = |c: char| c != '*' && !c.is_control();
    let text = |path: &HostPath| {
        let path = std::str::from_utf8(path.as_bytes()).ok()?;
        // The word between what is asked for and what is hidden in it.
        let is_plain = path.chars().all(plain) && !path.contains(" except ");
        is_plain.then(|| path.to_owned())
    };
    let mut words = text(place.path)?;
    words += if place.tree { "/**" } else { "" };
    for hidden in place.except {
        words += " except ";
        words += &text(hidden)?;
    }
    Some(words)
}

/// A word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// What is let through with a warning, a line each, in the name of `program`. `is_declared`: as of a [`refusal`].
pub(crate) fn warnings(plan: &Plan, program: &str, is_declared: bool) -> String {
    let mut out = String::new();
    for (grant, said) in told(plan).filter(|(_, said)| said.verdict == Verdict::Warn) {
        let _ = writeln!(
            out,
            "{program}: warning: policy: {}{}: {}",
            harmless(&grant.what.to_string()),
            from(grant, is_declared, " "),
            said.reason
        );
    }
    out
}

/// Limits of the profile that hold for less than they say on this host, in one line; nothing where there are none. A
/// policy's ceilings are its author's concern, who can have them hold.
pub(crate) fn weak_limits(plan: &Plan) -> String {
    let declared =
        (plan.limits.held.iter()).filter(|held| !authority::is_ceiling(plan, held.limit));
    let weak: Vec<_> = declared
        .filter_map(|held| Some((held.limit, held.less.as_ref()?)))
        .collect();
    let Some((_, first)) = weak.first() else {
        return String::new();
    };
    let said = |(limit, less): &(LimitKey, &Less)| format!("limits.{limit} is {}", less.what);
    let all: Vec<String> = weak.iter().map(said).collect();
    format!(
        "aegis-run: warning: {}; for more, {}\n",
        all.join("; "),
        first.fix
    )
}

/// What the command has changed in directories of `files.overlay`. Empty: nothing.
pub(crate) fn changes(report: &Report) -> String {
    let count = report.changed.len() as u64 + report.changes_left_out;
    let Some(first) = report.changed.first() else {
        return String::new();
    };
    let such = match count {
        1 => format!("1 change, {}, was", escape(&first.path)),
        _ => format!("{count} changes, such as {}, were", escape(&first.path)),
    };
    harmless(&format!(
        "aegis-run: note: {such} made in memory and lost (`files.overlay`); --report lists what changed\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_a_word_that_explain_reads_as_the_same() {
        let context = aegis_policy::ask::somebody();
        let path = HostPath::from("/srv/it's here");
        for what in [
            What::Read {
                except: vec!["/srv/it's here/a".into(), "/srv/it's here/b".into()],
                path: path.clone(),
                tree: true,
            },
            What::Write {
                except: Vec::new(),
                path: path.clone(),
                tree: false,
            },
            What::Exec {
                except: Vec::new(),
                name: Some("git".into()),
                path: "/usr/bin/git".into(),
                tree: false,
            },
            What::Exec {
                except: Vec::new(),
                name: None,
                path,
                tree: true,
            },
            What::Environment { name: "A".into() },
            What::Sockets {
                name: "private".into(),
            },
            What::Device {
                device: "gpu".into(),
            },
            What::Syscall { name: "bpf".into() },
            What::Listen { port: 80 },
            What::NetHost {},
        ] {
            let words = in_words(&what).expect("words");
            let (action, target) = words.split_once('=').expect("an action");
            let read = aegis_policy::ask::what(action, target, &context);
            assert_eq!(read.ok(), Some(what));
        }
        for path in ["/srv/*", "/srv/a except /srv/b"] {
            let no_words = What::Read {
                except: Vec::new(),
                path: path.into(),
                tree: false,
            };
            assert_eq!(in_words(&no_words), None);
        }
        assert_eq!(quoted("files.read=/srv/a"), "files.read=/srv/a");
        assert_eq!(quoted("a=/it's/**"), r"'a=/it'\''s/**'");
    }
}
