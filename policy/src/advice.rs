//! What a policy says to no effect: rules that can never speak, and modules in Rego that a path gets round.

use std::collections::BTreeSet;

use crate::compare;
use crate::decide::{Policy, name_matches};
use crate::model::{Action, AnomalyKind, Mode, Verdict};

/// A rule, or a module, that does not do what it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The rule's id, or the module's name.
    pub about: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Directories that every sandbox has of its own: what a profile declares there is refused, and no policy is asked.
const OWN_PLACES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// What is said to no effect in a policy. `calls`: the names of the system calls that a policy is asked about.
pub fn of(policy: &Policy, calls: &BTreeSet<&str>) -> Vec<Advice> {
    let mut all = Vec::new();
    let spoke = compare::that_speak(policy);
    for document in policy.documents().iter() {
        for rule in &document.capabilities {
            let mut add = |message: String, help: &str| {
                all.push(Advice {
                    about: rule.id.clone(),
                    message,
                    help: help.into(),
                });
            };
            let silent = |pattern: &&String| {
                (rule.on.iter()).all(|action| never_asked(*action, pattern, calls).is_some())
            };
            let patterns: Vec<&String> = rule.matches.iter().filter(silent).collect();
            for pattern in &patterns {
                let why = (rule.on.iter()).find_map(|action| never_asked(*action, pattern, calls));
                if let Some((why, help)) = why {
                    add(
                        format!("`{pattern}` matches nothing that a policy is asked about: {why}"),
                        help,
                    );
                }
            }
            let is_run = rule.on.iter().eq(&[Action::ToolExec]);
            if rule.verdict == Verdict::Allow && rule.mode == Mode::Warn {
                let message = "a rule that allows, in mode warn, changes nothing";
                add(message.into(), "take `mode: warn` off it, or remove it");
            } else if rule.verdict == Verdict::Allow && is_run {
                let message = "rules about `tool.exec` can only make the verdict on a run worse, and this one allows";
                add(
                    message.into(),
                    "remove it; what a run asks for is allowed grant by grant",
                );
            } else if patterns.is_empty() && !spoke.contains(&*rule.id) {
                add(NEVER.into(), NEVER_HELP);
            }
        }
        let egress = document.network_egress.iter().map(|rule| &rule.id);
        let secrets = document.secrets_boundary.iter().map(|rule| &rule.id);
        all.extend(
            (egress.chain(secrets))
                .filter(|id| !spoke.contains(&***id))
                .map(|id| Advice {
                    about: id.clone(),
                    message: NEVER.into(),
                    help: NEVER_HELP.into(),
                }),
        );
        let by_name = document
            .rego
            .iter()
            .filter(|module| reads_name_alone(&module.text));
        all.extend(by_name.map(|module| Advice {
            about: module.name.clone(),
            message: "it reads the `name` of programs and not their `path`: a copy elsewhere, or a program of another directory, has no name".into(),
            help: "compare `path` as well, or block by a native rule, which knows programs by both".into(),
        }));
    }
    all
}

const NEVER: &str = "it can never speak: whatever is asked for, other rules cover it, or its keys exclude each other";
const NEVER_HELP: &str =
    "remove it, take `otherwise: true` off it, or narrow the rules that cover the same";

/// Why no request about this action is in a pattern, and what to do.
fn never_asked(
    action: Action,
    pattern: &str,
    calls: &BTreeSet<&str>,
) -> Option<(&'static str, &'static str)> {
    let is_own = || {
        let below = |own: &&str| {
            let rest = pattern.strip_prefix(*own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        OWN_PLACES.iter().any(below)
    };
    match action {
        Action::FilesRead | Action::FilesWrite | Action::ShellExec if is_own() => Some((
            "every sandbox has its own there, and a profile that declares it is refused",
            "remove it; devices are declared, and decided, as `devices`",
        )),
        Action::EnvironmentPass if pattern.contains('=') => {
            Some(("the name of a variable has no `=`", "write the name alone"))
        }
        Action::Anomaly => {
            let known = AnomalyKind::ALL.map(AnomalyKind::name);
            (!known.iter().any(|kind| name_matches(pattern, kind))).then_some((
                "there is no anomaly of that kind",
                "the kinds are bind, call, capability, connect, denied, exec, lost, rate, read, signal, socket and write",
            ))
        }
        Action::Devices => {
            let known = ["gpu", "kvm", "pty"]
                .iter()
                .any(|name| name_matches(pattern, name));
            let path = pattern.starts_with("/dev/") || pattern.starts_with('*');
            (!known && !path).then_some((
                "a device is `gpu`, `kvm`, `pty`, or a path below /dev",
                "write one of these",
            ))
        }
        Action::Sockets => (!name_matches(pattern, "private")).then_some((
            "a profile can ask for `private` sockets only",
            "write `match: private`",
        )),
        Action::SyscallsAllow => {
            let known = calls.iter().any(|name| name_matches(pattern, name));
            (!known).then_some((
                "there is no system call of that name, or each sandbox of the default set has it",
                "see syscalls(2); what a profile denies itself is `syscalls.deny`",
            ))
        }
        _ => None,
    }
}

/// Whether a module reads a field `name` and no field `path`, outside of comments.
fn reads_name_alone(module: &str) -> bool {
    let reads = |field: &str| {
        module.lines().any(|line| {
            let code = line.split('#').next().unwrap_or(line);
            let is_whole = |rest: &str| {
                !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '(')
            };
            let dotted = format!(".{field}");
            code.match_indices(&dotted)
                .any(|(at, _)| is_whole(&code[at + dotted.len()..]))
                || code.contains(&format!("[\"{field}\"]"))
                || code.contains(&format!("\"{field}\":"))
        })
    };
    reads("name") && !reads("path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_reads_the_name_alone_is_known() {
        for (text, alone) in [
            ("block contains \"x\" if input.what.name == \"curl\"", true),
            (
                "block contains \"x\" if { some g in input.what.grants; g[\"name\"] == \"curl\" }",
                true,
            ),
            (
                "block contains \"x\" if input.what.name == \"curl\" # .path",
                true,
            ),
            (
                "p if endswith(input.what.path, \"/curl\")\nblock contains \"x\" if input.what.name == \"curl\"",
                false,
            ),
            ("block contains \"x\" if input.what.names == 1", false),
            ("block contains \"x\" if input.what.host == \"x\"", false),
        ] {
            assert_eq!(reads_name_alone(text), alone, "{text}");
        }
    }
}
