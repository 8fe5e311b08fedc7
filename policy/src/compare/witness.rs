//! Requests that represent all requests, as far as two policies can distinguish them.

mod net;
mod seeds;

use std::collections::BTreeSet;

use super::explore::{self, Pattern};
use super::names::{classes, singly};
use crate::decide::Policy;
use crate::model::{Action, AnomalyKind, Inject};
use crate::path::{HostPath, SYSTEM_PROGRAMS};
use crate::request::{Context, MAX_EXCEPT, Request, What};
use aegis_profile::hash::Hash;
use seeds::{Patterned, Seeds};

/// Limit on requests for one action in one context; beyond it, the answer is not complete.
const MAX_REQUESTS: usize = 200_000;

/// Gives each request to `ask`. Returns whether they are all that native rules can distinguish.
pub(super) fn each(
    a: &Policy,
    b: &Policy,
    contexts: &[Context],
    ask: &mut dyn FnMut(Request),
) -> bool {
    let seeds = Seeds::of(a, b);
    let mut try_out = Tried {
        ask,
        complete: !seeds.has_rego,
        left: 0,
    };
    for (at, context) in contexts.iter().enumerate() {
        files(&seeds, context, &mut try_out);
        programs(&seeds, context, &mut try_out);
        runs(&seeds, context, &mut try_out);
        if at > 0 {
            // The other actions do not depend on the context.
            continue;
        }
        others(&seeds, context, &mut try_out);
        net::destinations(&seeds, context, &mut try_out);
        secrets(&seeds, context, &mut try_out);
    }
    try_out.complete
}

/// Where requests go, and how many more one action may have.
struct Tried<'t> {
    ask: &'t mut dyn FnMut(Request),
    complete: bool,
    left: usize,
}

impl Tried<'_> {
    /// Begins the requests of another action.
    fn next_action(&mut self) {
        self.left = MAX_REQUESTS;
    }

    fn ask(&mut self, context: &Context, what: What) {
        let Some(left) = self.left.checked_sub(1) else {
            self.complete = false;
            return;
        };
        self.left = left;
        (self.ask)(Request {
            approvals: Vec::new(),
            context: context.clone(),
            what,
        });
    }

    fn paths(&mut self, patterns: &Patterns) -> Vec<String> {
        let (paths, complete) = explore::paths(&patterns.all, &patterns.groups);
        self.complete &= complete;
        paths
    }

    /// All that can be hidden in a tree to keep rules from speaking of it. Where hiding some of it tells two policies apart,
    /// and no request without it does, one of them covers the tree and the other does not; so hiding all of it does, too.
    fn hidden(&mut self, tree: &str, patterns: &Patterns) -> Option<Vec<HostPath>> {
        let top = tree.trim_end_matches('/');
        let names: Vec<&str> = top.split('/').skip(1).collect();
        let below: BTreeSet<&str> = (patterns.all.iter())
            .flat_map(|pattern| explore::names_below(pattern, &names))
            .collect();
        self.complete &= below.len() <= MAX_EXCEPT;
        let hidden = below.iter().take(MAX_EXCEPT);
        let hidden = hidden.map(|name| format!("{top}/{name}").as_str().into());
        (!below.is_empty()).then(|| hidden.collect())
    }

    /// Names that `rules`, each a set of patterns, can distinguish.
    fn names(&mut self, rules: &[BTreeSet<&str>]) -> Vec<String> {
        let all: BTreeSet<&str> = rules.iter().flatten().copied().collect();
        let all: Vec<&str> = all.into_iter().collect();
        let groups: Vec<Vec<usize>> = (rules.iter())
            .map(|rule| {
                rule.iter()
                    .filter_map(|p| all.binary_search(p).ok())
                    .collect()
            })
            .collect();
        let (names, complete) = classes(&all, &groups);
        self.complete &= complete;
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// Patterns of paths, and which of them belong together.
#[derive(Default)]
struct Patterns {
    all: Vec<Pattern>,
    groups: Vec<Vec<usize>>,
}

impl Patterns {
    /// Each pattern as its own group.
    fn singly(all: Vec<Pattern>) -> Self {
        let groups = singly(all.len());
        Self { all, groups }
    }

    fn push(&mut self, pattern: Pattern) {
        self.groups.push(vec![self.all.len()]);
        self.all.push(pattern);
    }

    /// The patterns of rules, in a context.
    fn of_rules(rules: &[Patterned<'_>], context: &Context) -> Self {
        let mut patterns = Self::default();
        for rule in rules {
            let (mut group, mut below) = (Vec::new(), Vec::new());
            for item in rule.patterns.iter().filter(|item| is_path(item)) {
                let Some((pattern, everywhere)) = explore::read(item, context) else {
                    continue;
                };
                if rule.reaches_below && pattern.last().is_none_or(|part| part != "**") {
                    let reached = [&*pattern, &["**".to_owned()]].concat();
                    patterns.add(reached, everywhere, &mut below);
                }
                patterns.add(pattern, everywhere, &mut group);
            }
            patterns.groups.extend([group, below]);
        }
        patterns
    }

    /// Adds a pattern to a group, or as its own where it only overlaps.
    fn add(&mut self, pattern: Pattern, everywhere: bool, group: &mut Vec<usize>) {
        match everywhere {
            true => self.push(pattern),
            false => {
                group.push(self.all.len());
                self.all.push(pattern);
            }
        }
    }
}

fn is_path(item: &str) -> bool {
    item.starts_with(['/', '$'])
}

/// The patterns of each rule that are neither paths nor hashes.
fn names_of<'p>(rules: &[Patterned<'p>]) -> Vec<BTreeSet<&'p str>> {
    let is_name = |item: &&str| !is_path(item) && !item.starts_with("sha256:");
    (rules.iter())
        .map(|rule| rule.patterns.iter().copied().filter(is_name).collect())
        .collect()
}

fn files(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    for action in [Action::FilesRead, Action::FilesWrite] {
        tried.next_action();
        let patterns = Patterns::of_rules(seeds.of_action(action), context);
        let paths = tried.paths(&patterns);
        let what = |path: &str, tree, except| {
            let path = HostPath::from(path);
            match action {
                Action::FilesRead => What::Read { except, path, tree },
                _ => What::Write { except, path, tree },
            }
        };
        for path in &paths {
            for tree in [false, true] {
                tried.ask(context, what(path, tree, Vec::new()));
            }
        }
        for path in &paths {
            if let Some(except) = tried.hidden(path, &patterns) {
                tried.ask(context, what(path, true, except));
            }
        }
    }
}

fn programs(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    tried.next_action();
    let rules = seeds.of_action(Action::ShellExec);
    let mut patterns = Patterns::of_rules(rules, context);
    let rules = names_of(rules);
    let names: BTreeSet<&str> = rules.iter().flatten().copied().collect();
    // A name has another meaning in the system's directories than elsewhere.
    let directory = |text: &str| -> Pattern {
        (text.split('/').filter(|c| !c.is_empty()))
            .map(ToOwned::to_owned)
            .collect()
    };
    for name in &names {
        for system in SYSTEM_PROGRAMS {
            patterns.push([directory(system), vec![(*name).to_owned()]].concat());
        }
        patterns.push(vec!["**".to_owned(), (*name).to_owned()]);
    }
    let found_as = tried.names(&rules);
    for path in tried.paths(&patterns) {
        let own = path.rsplit('/').next().unwrap_or_default();
        let exec = |name: Option<&str>, tree| What::Exec {
            except: Vec::new(),
            name: name.map(Into::into),
            path: path.as_str().into(),
            tree,
        };
        tried.ask(context, exec(None, true));
        if let Some(except) = tried.hidden(&path, &patterns) {
            let path = path.as_str().into();
            let hidden = What::Exec {
                except,
                name: None,
                path,
                tree: true,
            };
            tried.ask(context, hidden);
        }
        tried.ask(context, exec(None, false));
        for name in &found_as {
            tried.ask(context, exec(Some(name), false));
        }
        if !own.is_empty() && !found_as.iter().any(|name| name == own) {
            tried.ask(context, exec(Some(own), false));
        }
    }
}

fn others(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    tried.next_action();
    tried.ask(context, What::NetHost {});
    for port in ports(seeds) {
        tried.ask(context, What::Listen { port });
    }
    tried.next_action();
    for kind in AnomalyKind::ALL {
        let of = HostPath::default();
        tried.ask(context, What::Anomaly { kind, of });
    }
    for action in [
        Action::Devices,
        Action::EnvironmentPass,
        Action::Sockets,
        Action::SyscallsAllow,
    ] {
        tried.next_action();
        let rules = seeds.of_action(action).iter();
        let rules: Vec<_> = rules.map(|rule| rule.patterns.clone()).collect();
        for name in tried.names(&rules) {
            let what = match action {
                Action::Devices => What::Device { device: name },
                Action::EnvironmentPass => What::Environment { name },
                Action::Sockets => What::Sockets { name },
                _ => What::Syscall { name },
            };
            tried.ask(context, what);
        }
    }
}

/// The ends of all ranges, and the ports next to them.
fn ports(seeds: &Seeds<'_>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([1, 8080, u16::MAX]);
    let ends = (seeds.of_action(Action::NetListen).iter())
        .flat_map(|rule| &rule.patterns)
        .flat_map(|item| item.split('-'))
        .filter_map(|end| end.parse::<u16>().ok())
        .chain(seeds.ports.iter().copied());
    for end in ends {
        ports.extend([end.saturating_sub(1), end, end.saturating_add(1)]);
    }
    ports.remove(&0);
    ports
}

fn secrets(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    tried.next_action();
    let aliases: Vec<_> = seeds.aliases.iter().map(|alias| [*alias].into()).collect();
    let aliases = tried.names(&aliases);
    for host in net::hosts(&seeds.secret_hosts) {
        for alias in &aliases {
            for inject in [None, Some(Inject::Header), Some(Inject::Query)] {
                let what = What::Secret {
                    alias: alias.clone(),
                    host: host.clone(),
                    inject,
                };
                tried.ask(context, what);
            }
        }
    }
}

/// A run by itself: every policy lets through what it asks for.
fn runs(seeds: &Seeds<'_>, context: &Context, tried: &mut Tried<'_>) {
    tried.next_action();
    let rules = seeds.of_action(Action::ToolExec);
    let items = rules.iter().flat_map(|rule| &rule.patterns);
    let hashes: BTreeSet<Hash> = items
        .filter_map(|item| item.strip_prefix("sha256:")?.parse().ok())
        .chain([context.profile_hash])
        .collect();
    let mut names = names_of(rules);
    names.extend(seeds.texts.iter().map(|text| [*text].into()));
    let mut names = tried.names(&names);
    if !names.contains(&context.profile) {
        names.push(context.profile.clone());
    }
    // A pattern with `$SKILL` applies to every skill.
    let places = rules.iter().map(|rule| Patterned {
        patterns: (rule.patterns.iter().copied())
            .filter(|item| !item.starts_with("$SKILL"))
            .collect(),
        reaches_below: rule.reaches_below,
    });
    let places: Vec<Patterned<'_>> = places.collect();
    let of_places = Patterns::of_rules(&places, context);
    let mut skills: Vec<Option<HostPath>> = vec![context.skill.clone(), None];
    if !of_places.all.is_empty() {
        let places = tried.paths(&of_places);
        skills.extend(places.iter().map(|path| Some(path.as_str().into())));
    }
    for skill in skills {
        for hash in &hashes {
            for name in &names {
                let context = Context {
                    profile: name.clone(),
                    profile_hash: *hash,
                    skill: skill.clone(),
                    ..context.clone()
                };
                let what = What::Tool {
                    command: vec!["/usr/bin/true".into()],
                    // Within any ceiling.
                    grants: vec![What::Limit {
                        limit: "pids".into(),
                        value: Some(0),
                    }],
                };
                tried.ask(&context, what);
            }
        }
    }
}
