//! What a sandbox sees of the host, for formats that show files by mounting them.
//!
//! A plan mounts large trees and narrows them by Landlock, which these formats do not have. So what is shown here is what rules
//! and mounts permit together.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use aegis_profile::Variable;
use aegis_runtime::facts::paths::Kind;
use aegis_runtime::plan::access::READ_TREE;
use aegis_runtime::plan::{Op, Plan};
use aegis_runtime::types::paths::is_below;
use aegis_sys::landlock::fs;

use crate::model::Compiled;

/// What mounting by path loses against a plan, which knows each file by its inode.
pub(crate) const ANEW: &str = "paths are looked up anew at each start, and links followed: whoever may change a directory on the way chooses what is shown";

/// What is kept of `files.overlay`: reading.
pub(crate) const OVERLAY: &str =
    "what is written to it would have no layer of its own to go to: it can only be read";

/// A file or a tree of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub at: PathBuf,
    pub source: PathBuf,
    pub write: bool,
    /// It may be mapped executable; programs need that of libraries.
    pub exec: bool,
}

/// What may be done with something of the host.
pub(crate) struct Reachable {
    /// `LANDLOCK_ACCESS_FS_*`, as far as the mount lets them.
    pub access: u64,
    /// With everything below it.
    pub tree: bool,
    pub shown: Shown,
}

/// Every file and tree of the host that may be read, by path.
pub(crate) fn reachable(plan: &Plan) -> Vec<Reachable> {
    let rules = &plan.landlock.paths;
    let by_rule = rules
        .iter()
        .map(|rule| (&rule.path, rule.access & fs::READ_DIR != 0));
    // A mount for which the rule of a directory above is enough has none of its own.
    let by_mount = plan.root.mounts().filter_map(|made| match &made.op {
        Op::Bind { source, .. } => Some((&made.at, source.kind == Kind::Directory)),
        _ => None,
    });
    let places: BTreeMap<&PathBuf, bool> = by_rule.chain(by_mount).collect();
    let reachable = |(path, tree): (&PathBuf, bool)| {
        let shown = shown(plan, path)?;
        let above = rules.iter().filter(|rule| is_below(path, &rule.path));
        let mut access = above.fold(0, |all, rule| all | rule.access);
        if !shown.write {
            access &= READ_TREE | fs::EXECUTE;
        }
        if !shown.exec {
            access &= !fs::EXECUTE;
        }
        (access & fs::READ_FILE != 0).then_some(Reachable {
            access,
            tree,
            shown,
        })
    };
    places.into_iter().filter_map(reachable).collect()
}

fn shown(plan: &Plan, path: &Path) -> Option<Shown> {
    let mount = plan.root.mount_of(path)?;
    let Op::Bind {
        source,
        write,
        exec,
        // Not to be written: see `OVERLAY`.
        overlay: _,
    } = &mount.op
    else {
        return None;
    };
    let rest = path.strip_prefix(&mount.at).ok()?;
    let source = join(&source.path, rest);
    Some(Shown {
        at: path.to_owned(),
        source,
        write: *write,
        exec: *exec,
    })
}

/// All that is shown, what contains others first.
pub(crate) fn all(plan: &Plan) -> Vec<Shown> {
    let all: Vec<Shown> = reachable(plan)
        .into_iter()
        .map(|found| found.shown)
        .collect();
    // What the tree above shows with the same rights needs no mount of its own, but where mounts keep the ways.
    let again = |inner: &Shown| {
        let above = all
            .iter()
            .filter(|outer| outer.at != inner.at && is_below(&inner.at, &outer.at));
        let nearest = above.max_by_key(|outer| outer.at.as_os_str().len());
        nearest.is_some_and(|outer| {
            !inner.write && (outer.write, outer.exec) == (inner.write, inner.exec)
        })
    };
    all.iter().filter(|inner| !again(inner)).cloned().collect()
}

/// Links on the paths to what is shown, where no mount shows them.
pub(crate) fn links(compiled: &Compiled<'_>, shown: &[Shown]) -> Vec<(PathBuf, PathBuf)> {
    let is_shown = |at: &Path| shown.iter().any(|tree| is_below(at, &tree.at));
    let made = compiled.plan.root.iter().filter_map(|made| match &made.op {
        Op::Symlink { target } => Some((made.at.clone(), target.clone())),
        _ => None,
    });
    let followed = compiled
        .host
        .links
        .iter()
        .map(|link| (link.at.clone(), link.target.clone()));
    let mut links: Vec<_> = made
        .chain(followed)
        .filter(|(at, _)| !is_shown(at))
        .collect();
    links.sort();
    links.dedup_by(|later, kept| later.0 == kept.0);
    links
}

/// What is shown once more under the names that links give it, for a format that cannot make links. Never to be written: mounts that keep
/// parts of a tree from that are not repeated.
pub(crate) fn aliases(compiled: &Compiled<'_>, shown: &[Shown]) -> Vec<Shown> {
    let links = links(compiled, shown);
    let mut all = shown.to_vec();
    // A link can lead to what another one gives a name.
    loop {
        let known = all.len();
        for (at, target) in &links {
            let target = resolve(at, target);
            let through: Vec<Shown> = (all.iter())
                .filter_map(|tree| through(at, &target, tree))
                .filter(|alias| !all.iter().any(|known| known.at == alias.at))
                .collect();
            all.extend(through);
        }
        // A link to a directory above itself gives names without end.
        if all.len() == known || all.len() > MOST_NAMES {
            return all.split_off(shown.len());
        }
    }
}

const MOST_NAMES: usize = 4096;

/// What of a tree is found by a link at `at` that leads to `target`.
fn through(at: &Path, target: &Path, tree: &Shown) -> Option<Shown> {
    let (at, source) = if let Ok(rest) = tree.at.strip_prefix(target) {
        (join(at, rest), tree.source.clone())
    } else {
        (
            at.to_owned(),
            join(&tree.source, target.strip_prefix(&tree.at).ok()?),
        )
    };
    Some(Shown {
        at,
        source,
        write: false,
        exec: tree.exec,
    })
}

fn join(path: &Path, rest: &Path) -> PathBuf {
    match rest.as_os_str().is_empty() {
        true => path.to_owned(),
        false => path.join(rest),
    }
}

/// Where a link leads, as its text says.
fn resolve(at: &Path, target: &Path) -> PathBuf {
    let mut path = at.parent().unwrap_or(at).to_owned();
    for part in target.components() {
        match part {
            Component::RootDir => path = "/".into(),
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}

/// A declared path on this host, as far as it does not lie in `$TMP`.
pub(crate) fn place(plan: &Plan, spec: &aegis_profile::PathSpec) -> Option<PathBuf> {
    let base = match spec.base {
        None => PathBuf::from("/"),
        Some(Variable::Tmp) => return None,
        Some(variable) => {
            let name = variable.to_string();
            plan.variables
                .iter()
                .find(|(known, _)| *known == name)?
                .1
                .clone()
        }
    };
    Some(join(&base, Path::new(&spec.rest)))
}

/// The variables that are passed on from whoever starts it, and those that are set.
pub(crate) fn environment<'c>(
    compiled: &Compiled<'c>,
) -> (
    Vec<&'c str>,
    Vec<(&'c std::ffi::OsStr, &'c std::ffi::OsStr)>,
) {
    let declared = &compiled.profile.environment;
    let passed: Vec<&str> = (declared.pass.iter())
        .map(|item| item.value.as_str())
        .filter(|name| !declared.set.contains_key(*name))
        .collect();
    let set = (compiled.plan.environment.iter())
        .filter(|(name, _)| !passed.iter().any(|passed| name.to_str() == Some(passed)))
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
        .collect();
    (passed, set)
}
