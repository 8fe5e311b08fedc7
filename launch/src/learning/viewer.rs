//! Goes through the host for what a learning run is shown: whatever the policy lets a profile have, split where a part is blocked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegis_audit::places::State;
use aegis_policy::model::{Action, Mode};
use aegis_policy::{Context, Hash, Policy, Request, Verdict, What, decide};
use aegis_profile::{
    Declared, Device, Files, Loaded, Origin, Outbound, PathSpec, Profile, Program, Sockets,
};
use aegis_runtime::facts::mounts::{self, Mount};
use aegis_runtime::facts::paths::{self, Trust};
use aegis_runtime::facts::{self, Caller};
use aegis_runtime::plan::access::Access;
use aegis_runtime::types::paths::is_below;

use super::{Hidden, Learning, View};
use crate::{Error, policies, record, registry};

/// Most places that the policy is asked about reading, and about executing.
const MOST: usize = 20_000;

/// Most places that are shown: each is a mount.
const MOST_SHOWN: usize = 2_000;

/// Why the rest is not shown.
const TOO_MUCH: &str = "there is too much to be decided about one by one";

/// Top directories that every sandbox has of its own, or that are not files.
const OWN: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", "lost+found"];

/// Files that a sandbox has of its own where no profile grants the host's, and no learnt one does: the command is the user that they
/// name.
const OWN_FILES: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/hosts"];

/// Where the homes of users are: of others, nothing is shown.
const HOMES: [&str; 2] = ["/home", "/root"];

/// What a command is shown while it is learnt.
///
/// # Errors
///
/// The policy is wrong, or there is no working directory.
pub fn view(learning: &Learning) -> Result<View, Error> {
    let (policy, _) = policies::in_force(learning.policy.as_deref())?;
    let caller = facts::this_caller();
    let work = std::env::current_dir().map_err(aegis_runtime::Error::WorkingDirectory)?;
    let work = fs::canonicalize(&work).map_err(aegis_runtime::Error::WorkingDirectory)?;
    let skill = (learning.skill.as_deref()).and_then(|skill| fs::canonicalize(skill).ok());
    let state = State::here();
    let mut own = record::places(learning.audit.as_deref(), state.as_ref());
    own.extend(registry::directory());
    let mut router = policies::Router::new();
    let own = own.iter().map(|place| router.route(place).end).collect();
    let context = Context {
        aliases: Vec::new(),
        home: caller.policy_home.as_path().into(),
        profile: NAME.into(),
        profile_hash: Hash::default(),
        skill: skill.as_deref().map(Into::into),
        uid: caller.uid,
        work: work.as_path().into(),
    };
    let zones = [Some(&work), skill.as_ref()].into_iter().flatten();
    let zones = zones.filter(|dir| dir.parent().is_some()).cloned();
    let show: Result<Vec<PathBuf>, Error> = (learning.show.iter())
        .map(|path| {
            let shown = path.display();
            fs::canonicalize(path).map_err(|error| {
                Error::Caller(format!("--show {shown}: it cannot be found: {error}"))
            })
        })
        .collect();
    let mut viewer = Viewer {
        show: show?,
        trust: Trust {
            uid: caller.uid,
            zones: zones.collect(),
            ..Trust::default()
        },
        request: Request {
            approvals: Vec::new(),
            context,
            what: What::NetHost {},
        },
        mounts: mounts::read().map_err(aegis_runtime::Error::Mounts)?,
        policy,
        caller,
        work,
        skill,
        own,
        shown: Vec::new(),
        hidden: Vec::new(),
        left: MOST,
    };
    for place in viewer.places() {
        viewer.show(&place);
    }
    viewer.check()?;
    let executable = viewer.executable();
    let base = aegis_profile::load_with::<&str>("base", &[], &Files)?;
    Ok(viewer.finish(base.profile, learning, executable))
}

/// The name of the profile of a learning run.
const NAME: &str = "learning";

fn origin() -> Origin {
    Origin {
        file: "what is shown to be learnt from".into(),
        line: 1,
        column: 1,
    }
}

pub(super) fn declared<T>(value: T) -> Declared<T> {
    let origin = origin();
    Declared { value, origin }
}

/// What is found, while it is found.
struct Viewer {
    policy: Policy,
    request: Request,
    caller: Caller,
    trust: Trust,
    mounts: Vec<Mount>,
    work: PathBuf,
    skill: Option<PathBuf>,
    /// Aegis's own places.
    own: Vec<PathBuf>,
    /// What is shown if a person says yes.
    show: Vec<PathBuf>,
    shown: Vec<Shown>,
    hidden: Vec<Hidden>,
    left: usize,
}

/// A tree or file that is shown.
struct Shown {
    path: PathBuf,
    tree: bool,
}

impl Viewer {
    /// Where to begin: the working directory and the skill, what is in `/` and in the home directory, and what rules of the policy
    /// that let something through name elsewhere.
    fn places(&self) -> Vec<PathBuf> {
        let home = &self.caller.home;
        let mut places = vec![self.work.clone()];
        places.extend(self.show.iter().cloned());
        places.extend(self.skill.clone());
        places.extend(entries(Path::new("/")));
        let variables = [
            ("$WORK", Some(&self.work)),
            ("$SKILL", self.skill.as_ref()),
            ("$HOME", Some(home)),
        ];
        for rule in self
            .policy
            .documents()
            .iter()
            .flat_map(|document| &document.capabilities)
        {
            let files = [Action::FilesRead, Action::FilesWrite, Action::ShellExec];
            let speaks =
                rule.mode == Mode::default() && files.iter().any(|action| rule.on.contains(action));
            if !speaks || !rule.verdict.lets_through() {
                continue;
            }
            for pattern in &rule.matches {
                // Up to the first component that is a pattern.
                let (base, rest) = pattern.split_once('/').unwrap_or((pattern, ""));
                let base = match variables.iter().find(|(name, _)| *name == base) {
                    Some((_, Some(path))) => (*path).clone(),
                    _ if base.is_empty() => PathBuf::from("/"),
                    _ => continue,
                };
                let plain = rest
                    .split('/')
                    .take_while(|part| !part.contains(['*', '\\', '?', '[']));
                let path: PathBuf = std::iter::once(base)
                    .chain(plain.map(PathBuf::from))
                    .collect();
                if path != *home && path.parent().is_some() {
                    places.push(path);
                }
            }
        }
        if home.parent().is_some() {
            places.extend(entries(home));
        }
        // What holds others comes first.
        places.sort_by_key(|path| path.components().count());
        places
    }

    /// Whether a place is one that every sandbox has of its own, or that is not the caller's: wherever the working directory is.
    fn is_left_out(&self, path: &Path) -> bool {
        let own = |name: &str| path == Path::new("/").join(name);
        let ours = [
            Some(&self.work),
            Some(&self.caller.home),
            self.skill.as_ref(),
        ];
        let is_ours = |ours: &PathBuf| is_below(path, ours) || is_below(ours, path);
        let others = HOMES.iter().any(|homes| is_below(path, Path::new(homes)))
            && !(ours.into_iter().flatten())
                .chain(&self.show)
                .filter(|ours| ours.parent().is_some())
                .any(is_ours);
        let own_file = || OWN_FILES.iter().any(|file| path == Path::new(file));
        OWN.iter().any(|name| own(name)) || others || own_file()
    }

    /// Shows a place, or what the policy lets through in it.
    fn show(&mut self, start: &Path) {
        let mut ahead = vec![start.to_owned()];
        while let Some(path) = ahead.pop() {
            if self.is_shown(&path) || self.hidden.iter().any(|hidden| hidden.path == path) {
                continue;
            }
            let Some(left) = self
                .left
                .checked_sub(1)
                .filter(|_| self.shown.len() < MOST_SHOWN)
            else {
                for path in [path].into_iter().chain(ahead) {
                    self.hide(path, TOO_MUCH, false);
                }
                return;
            };
            self.left = left;
            if self.is_left_out(&path) {
                continue;
            }
            let Ok(found) = paths::resolve(&path, &self.trust) else {
                continue;
            };
            let tree = found.kind == paths::Kind::Directory;
            if tree && path != found.real {
                // By its own name, if it is shown at all.
                continue;
            }
            if self.own.iter().any(|own| is_below(&found.real, own)) {
                self.hide(path, "it is Aegis's own", true);
                continue;
            }
            if (mounts::of(&found.real, &self.mounts)).is_some_and(Mount::is_of_the_kernel) {
                continue;
            }
            let home = &self.caller.home;
            let holds = |inner: &PathBuf| inner.starts_with(&found.real);
            let is_split = tree
                && (holds(home)
                    || self.own.iter().any(holds)
                    || OWN_FILES
                        .iter()
                        .any(|file| Path::new(file).starts_with(&found.real))
                    || self
                        .mounts
                        .iter()
                        .any(|mount| mount.at != found.real && holds(&mount.at)));
            if is_split {
                ahead.extend(entries(&path));
                continue;
            }
            let verdict = self.verdict(Access::Read.what(&found.real, tree, None));
            match verdict {
                (verdict, _) if self.lets(verdict, &path) => self.shown.push(Shown { path, tree }),
                (Verdict::Block, _) if tree => {
                    let inside = entries(&path);
                    if inside.is_empty() {
                        self.hide(path, &verdict.1, true);
                    }
                    ahead.extend(inside);
                }
                (verdict, reason) => self.hide(path, &reason, verdict == Verdict::Block),
            }
        }
    }

    /// Refuses what was to be shown, and of which nothing is.
    fn check(&self) -> Result<(), Error> {
        let is_shown = |place: &Path| {
            let inside = |shown: &Shown| is_below(&shown.path, place);
            self.is_shown(place) || self.shown.iter().any(inside)
        };
        let Some(place) = self.show.iter().find(|place| !is_shown(place)) else {
            return Ok(());
        };
        let on_it =
            |hidden: &&Hidden| is_below(place, &hidden.path) || is_below(&hidden.path, place);
        let why = match self.hidden.iter().find(on_it) {
            Some(hidden) if hidden.is_blocked => format!(
                "no profile can have it: {}\n  help: leave it out; `aegis policy explain files.read={}` says which rule that is",
                hidden.reason,
                place.display()
            ),
            Some(hidden) => hidden.reason.clone(),
            None => "it is the kernel's, another user's, or one of those places of which every sandbox has its own".into(),
        };
        Err(Error::Caller(format!("--show {}: {why}", place.display())))
    }

    /// Which of what is shown may be executed.
    fn executable(&mut self) -> Vec<PathBuf> {
        let mut executable = Vec::new();
        let mut ahead: Vec<(PathBuf, bool)> = (self.shown.iter())
            .map(|shown| (shown.path.clone(), shown.tree))
            .collect();
        // Of a directory that a person is asked about, reading is enough: programs in it are named one by one.
        let programs = (self.show.iter()).filter(|show| is_program(show) && self.is_shown(show));
        ahead.extend(programs.map(|program| (program.clone(), false)));
        self.left = MOST;
        while let Some((path, tree)) = ahead.pop() {
            let Some(left) = self
                .left
                .checked_sub(1)
                .filter(|_| executable.len() < MOST_SHOWN)
            else {
                let rest = [path]
                    .into_iter()
                    .chain(ahead.into_iter().map(|(path, _)| path));
                rest.for_each(|path| self.hide(path, TOO_MUCH, false));
                break;
            };
            self.left = left;
            let (verdict, reason) = self.verdict(Access::Exec.what(&path, tree, None));
            let is_asked_for = || !tree && self.show.contains(&path);
            match verdict {
                _ if verdict.lets_through() => executable.push(path),
                Verdict::Review if is_asked_for() => executable.push(path),
                Verdict::Block if tree => {
                    ahead.extend(entries(&path).into_iter().filter_map(|path| {
                        let found = fs::symlink_metadata(&path).ok()?;
                        (!found.is_symlink()).then_some((path, found.is_dir()))
                    }))
                }
                Verdict::Block => self.hide(path, &reason, true),
                _ => {}
            }
        }
        executable.sort();
        executable.dedup();
        executable
    }

    fn verdict(&mut self, what: What) -> (Verdict, String) {
        self.request.what = what;
        let decision = decide(&self.policy, &self.request);
        (decision.verdict, decision.reason.to_string())
    }

    fn lets(&self, verdict: Verdict, path: &Path) -> bool {
        let is_asked_for = || self.show.iter().any(|show| is_below(path, show));
        verdict.lets_through() || (verdict == Verdict::Review && is_asked_for())
    }

    fn is_shown(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| is_below(path, &shown.path))
    }

    fn hide(&mut self, path: PathBuf, reason: &str, is_blocked: bool) {
        self.hidden.push(Hidden {
            path,
            reason: reason.to_owned(),
            is_blocked,
        });
    }

    /// Adds what is shown to the profile.
    fn finish(self, mut profile: Profile, learning: &Learning, executable: Vec<PathBuf>) -> View {
        let is_changed = |shown: &Shown| {
            let mut own = [&self.work, &self.caller.home].into_iter();
            shown.tree && own.any(|own| is_below(&shown.path, own) || is_below(own, &shown.path))
        };
        let (mut overlays, read): (Vec<&Shown>, Vec<&Shown>) =
            self.shown.iter().partition(|shown| is_changed(shown));
        if learning.keep {
            overlays.retain(|shown| !is_below(&shown.path, &self.work));
        }
        let specs = |shown: &[&Shown]| -> Vec<Declared<PathSpec>> {
            shown
                .iter()
                .filter_map(|shown| spec(&shown.path))
                .map(declared)
                .collect()
        };
        let shell_exec: Vec<Declared<Program>> = (executable.iter())
            .filter_map(|path| spec(path))
            .map(|spec| declared(Program::Path(spec)))
            .collect();
        profile.name = NAME.into();
        let capabilities = &mut profile.capabilities;
        capabilities.files_read.extend(specs(&read));
        capabilities.files_overlay = specs(&overlays);
        let kept = learning.keep.then(|| spec(&self.work)).flatten();
        capabilities.files_write = kept.map(declared).into_iter().collect();
        capabilities.shell_exec.extend(shell_exec);
        capabilities.sockets = Some(declared(Sockets::Private));
        capabilities.devices = vec![declared(Device::Pty)];
        if learning.network {
            capabilities.net_outbound = Outbound::Host(origin());
        }
        let pass = learning.pass.iter().cloned().map(declared);
        profile.environment.pass.extend(pass);
        View {
            profile: Loaded {
                profile,
                skill_dir: self.skill,
            },
            hidden: self.hidden,
            work: self.work,
            home: self.caller.home,
            policy: self.policy,
            request: self.request,
            own: self.own,
        }
    }
}

/// Whether this is a file that may be executed.
fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A path as a profile has it, skipped where it is missing by then. `None`: a profile cannot name it.
fn spec(path: &Path) -> Option<PathSpec> {
    let rest = path.to_str()?.strip_prefix('/')?.to_owned();
    (!rest.is_empty() && !rest.contains(['\n', '\t'])).then_some(PathSpec {
        base: None,
        rest,
        optional: true,
    })
}

/// What is in a directory, as far as the caller may look.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = fs::read_dir(dir)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    list.sort();
    list
}
