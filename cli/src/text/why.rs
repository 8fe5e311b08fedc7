//! The explanation after a failed run: what was denied, and the line that would allow it.

use std::fmt::Write as _;
use std::path::Path;

use aegis_policy::{Opinion, Verdict, What};
use aegis_profile::{Files, LimitKey, Profile, Program, builtin};
use aegis_runtime::supervise::denials::{Denial, Evidence};
use aegis_runtime::supervise::report::{Cause, Report};

use crate::terminal::harmless;

/// At most so many denials are shown; the report has all.
const MOST: usize = 3;

/// The last lines after a failed run; empty if nothing in Aegis explains the failure. `reference` is
/// the profile as named on the command line. What is no question of the profile is said in the name of `program`.
pub(crate) fn explain(
    report: &Report,
    profile: &Profile,
    reference: Option<&str>,
    program: &str,
) -> String {
    let mut out = String::new();
    if report.cause == Cause::OutputLost {
        return format!(
            "{program}: error: what the command wrote could not all be passed on: standard output or error cannot be written, or its disk is full\n  help: make room, or redirect it elsewhere, and run it again\n"
        );
    }
    if report.cause == Cause::Anomaly {
        return "aegis-run: ended, since it did what is out of the ordinary, above\n  help: `aegis audit show` has each with its rule; where it is to be ordinary, learn it anew (aegis-learn)\n".into();
    }
    if let Some(key) = report.cause.limit() {
        let _ = writeln!(out, "aegis-run: ended by {}", limit(key, profile));
        return harmless(&out);
    }
    let ordered = by_likelihood(&report.denials);
    let shown = &ordered[ordered.len().saturating_sub(MOST)..];
    if shown.len() < ordered.len() {
        let more = ordered.len() - shown.len();
        let _ = writeln!(
            out,
            "aegis-run: {more} more refused; --report FILE lists all"
        );
    }
    // A limit on processes makes a program fail, not end; a limit on processor time only makes it slow.
    for key in report.limits_met.iter().filter(|key| **key != "cpu") {
        let _ = writeln!(out, "aegis-run: held back by {}", limit(key, profile));
    }
    let counted = &report.resources.group;
    if counted.oom_kills > Some(0) && counted.own_oom_kills().is_none() {
        out.push_str("aegis-run: the kernel ended processes of the run for want of memory, not at limits.memory: a control group around the run is full, or the machine\n");
    }
    // The command's own words, as for denials.
    for key in &report.limits_guessed {
        let _ = writeln!(
            out,
            "aegis-run: held back, as the command's error message has it, by {}",
            limit(key, profile)
        );
    }
    for denial in shown {
        let _ = writeln!(out, "aegis-run: {}", sentence(denial, reference));
    }
    // What the program is made of, or what it starts.
    let its_own = |denial: &&&Denial| match &denial.asked {
        Some(What::Exec { .. }) => true,
        Some(What::Read { path, .. }) => path.as_bytes().starts_with(b"/usr/"),
        _ => false,
    };
    let program = report
        .command
        .first()
        .map(Path::new)
        .and_then(Path::file_name);
    let program = program.and_then(|name| name.to_str());
    let built_in = reference.is_none_or(|name| builtin::text(name).is_some());
    if let (Some(_), Some(program)) = (shown.iter().find(its_own), program)
        && let Some(made) = made_for(program, profile)
    {
        let own = match reference {
            Some(name) if built_in && name != "base" => format!("{name}, {made}"),
            _ => made.to_owned(),
        };
        let _ = writeln!(
            out,
            "aegis-run: the built-in profile {made} is for {program}: --profile {made}, or `extends: [{own}]` in a profile of your own"
        );
    } else if built_in && shown.iter().any(|denial| addable(denial).is_some()) {
        let begun = reference.unwrap_or("base");
        let _ = writeln!(
            out,
            "aegis-run: a profile of your own is a file, say my.yaml: the lines `aegis: 1` and `extends: [{begun}]`, and what is to be added; it is named with --profile my.yaml"
        );
    }
    harmless(&out)
}

/// The built-in profile that grants a program by its name, where the one in force does not.
fn made_for(program: &str, profile: &Profile) -> Option<&'static str> {
    let grants = |profile: &Profile| {
        let mut programs = profile.capabilities.shell_exec.iter();
        programs.any(|item| matches!(&item.value, Program::Name { name, .. } if name == program))
    };
    if grants(profile) {
        return None;
    }
    let loaded = |name: &str| aegis_profile::load(name, &Files).ok();
    builtin::names().find(|name| loaded(name).is_some_and(|loaded| grants(&loaded.profile)))
}

/// Denials by likelihood of having ended the command. The command's error messages say more than the
/// kernel's denials: many programs try a call and do without. The last messages were found first.
fn by_likelihood(denials: &[Denial]) -> Vec<&Denial> {
    let (seen, named): (Vec<&Denial>, Vec<&Denial>) =
        (denials.iter()).partition(|denial| denial.evidence != Evidence::ErrorMessage);
    seen.into_iter().chain(named.into_iter().rev()).collect()
}

/// What was denied, and how that is known.
pub(crate) fn denied(what: &str, is_proven: bool, times: u64) -> String {
    match (is_proven, times) {
        (false, _) => format!("{what} (the command's error message names it)"),
        (true, 0 | 1) => what.to_owned(),
        (true, times) => format!("{what} ({times} times)"),
    }
}

/// The policy's opinion on what would allow it, if that is to block it.
fn blocked(denial: &Denial) -> Option<&Opinion> {
    let said = denial.decision.as_ref();
    said.filter(|said| said.verdict == Verdict::Block)
}

/// The line that would allow it, if the policy does not block that.
fn addable(denial: &Denial) -> Option<&str> {
    let line = denial.allow.as_deref();
    line.filter(|_| blocked(denial).is_none())
}

fn sentence(denial: &Denial, reference: Option<&str>) -> String {
    let is_proven = denial.evidence != Evidence::ErrorMessage;
    let what = denied(&denial.what, is_proven, denial.times);
    let mut out = format!("refused by {}: {what}", denial.layer);
    match (addable(denial), &denial.allow, blocked(denial)) {
        // The profile asks for it already.
        (None, Some(rule), Some(_)) if rule.starts_with("network-egress:") => {
            let _ = write!(out, "; to allow it add to the policy: {rule}");
        }
        (None, Some(_), Some(said)) => {
            let why = match said.reason.starts_with("blocked") {
                true => "",
                false => "blocked: ",
            };
            let _ = write!(
                out,
                "; a profile that asks for it would be {why}{}",
                said.reason
            );
        }
        // What is guessed may have a line that cannot be named, and the broker has said why.
        (None, ..) if matches!(denial.evidence, Evidence::ErrorMessage | Evidence::Broker) => {}
        (None, ..) => out.push_str("; no profile can allow it"),
        (Some(line), ..) => {
            let with = match denial.asked {
                Some(What::Write { tree: true, .. }) => ", and the rest of its directory,",
                _ => "",
            };
            let _ = write!(
                out,
                "; to allow it{with} add to {}: {line}",
                target(reference)
            );
            if matches!(denial.asked, Some(What::Sockets { .. })) {
                out.push_str(", which is for sockets that it makes itself; one of the host is granted by its own path in files.read");
            }
        }
    }
    out
}

/// The file to add a line to.
fn target(reference: Option<&str>) -> String {
    match reference {
        None => "a profile that says `extends: [base]`".into(),
        Some("-") => "the profile".into(),
        Some(name) if builtin::text(name).is_some() => {
            format!("a profile that says `extends: [{name}]`")
        }
        Some(file) => file.into(),
    }
}

/// `the time limit of 5m (skill.yaml:12:9: limits.time)`.
fn limit(key: &str, profile: &Profile) -> String {
    let limits = &profile.limits;
    let declared = LimitKey::named(key).and_then(|key| Some((key, limits.get(key)?)));
    match declared {
        Some((key, limit)) => format!(
            "the {key} limit of {} ({}: limits.{key})",
            key.show(limit.value),
            limit.origin
        ),
        // Private files are in memory, and may use as much as the memory limit.
        None if key == "tmp" && limits.get(LimitKey::Memory).is_some() => {
            format!("{}, which bounds private files", limit("memory", profile))
        }
        None => format!("the {key} limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(what: &str, evidence: Evidence, allow: Option<&str>) -> Denial {
        Denial {
            asked: None,
            layer: "Landlock",
            what: what.into(),
            times: 1,
            evidence,
            allow: allow.map(str::to_owned),
            decision: None,
        }
    }

    #[test]
    fn a_refusal_inferred_from_the_commands_words_says_so() {
        let denial = denial(
            "reading /etc/shadow",
            Evidence::ErrorMessage,
            Some("capabilities: {files.read: [/etc/shadow]}"),
        );
        assert_eq!(
            sentence(&denial, Some("skill.yaml")),
            "refused by Landlock: reading /etc/shadow (the command's error message names it); \
             to allow it add to skill.yaml: capabilities: {files.read: [/etc/shadow]}"
        );
    }

    #[test]
    fn a_refusal_that_the_kernel_told_of_is_certain() {
        let mut seen = denial("the system call bpf", Evidence::Kernel, None);
        seen.times = 3;
        assert_eq!(
            sentence(&seen, None),
            "refused by Landlock: the system call bpf (3 times); no profile can allow it"
        );
    }

    #[test]
    fn a_line_that_the_policy_would_block_is_not_proposed() {
        let line = "capabilities: {files.read: [$HOME/.ssh]}";
        let mut denial = denial("reading x", Evidence::ErrorMessage, Some(line));
        let said = Opinion {
            reason: "blocked by rule `keys`: private keys".into(),
            rules: vec!["keys".into()],
            verdict: Verdict::Block,
        };
        denial.decision = Some(said);
        let told = "refused by Landlock: reading x (the command's error message names it); \
             a profile that asks for it would be blocked";
        assert_eq!(
            sentence(&denial, None),
            format!("{told} by rule `keys`: private keys")
        );
        assert_eq!(addable(&denial), None);
        let holds = "it may hold what is blocked by rule `keys`";
        if let Some(said) = &mut denial.decision {
            said.reason = holds.into();
        }
        assert_eq!(sentence(&denial, None), format!("{told}: {holds}"));
    }

    #[test]
    fn a_socket_of_the_host_is_not_to_be_had_by_private_ones() {
        let line = "capabilities: {sockets: private}";
        let mut denial = denial("a Unix socket", Evidence::ErrorMessage, Some(line));
        denial.asked = Some(What::Sockets {
            name: "private".into(),
        });
        let said = sentence(&denial, Some("a.yaml"));
        assert!(
            said.contains(line) && said.ends_with("granted by its own path in files.read"),
            "{said}"
        );
    }

    #[test]
    fn what_most_likely_ended_the_command_is_told_last() {
        let list = [
            denial("a", Evidence::Kernel, None),
            denial("last words", Evidence::ErrorMessage, None),
            denial("earlier words", Evidence::ErrorMessage, None),
        ];
        let order: Vec<&str> = by_likelihood(&list)
            .iter()
            .map(|denial| &*denial.what)
            .collect();
        assert_eq!(order, ["a", "earlier words", "last words"]);
    }

    #[test]
    fn a_limit_is_told_with_its_line() {
        let profile =
            aegis_profile::parse_str("aegis: 1\nlimits: {time: 5m}\n", "skill.yaml").unwrap();
        assert_eq!(
            limit("time", &profile),
            "the time limit of 5m (skill.yaml:2:16: limits.time)"
        );
    }

    #[test]
    fn a_program_that_a_built_in_profile_is_for_is_told_of_it() {
        let of = |name: &str| aegis_profile::load(name, &Files).unwrap().profile;
        for (program, under, made) in [
            ("python3", "shell", Some("python")),
            ("python3", "python", None),
            ("npm", "base", Some("node")),
            ("git", "python", Some("git")),
            ("sh", "shell", None),
            ("no-such-program", "base", None),
        ] {
            assert_eq!(made_for(program, &of(under)), made, "{program}");
        }
    }

    #[test]
    fn the_line_to_add_names_a_file_that_can_be_edited() {
        assert_eq!(target(Some("a/skill.yaml")), "a/skill.yaml");
        assert_eq!(
            target(Some("python")),
            "a profile that says `extends: [python]`"
        );
    }
}
