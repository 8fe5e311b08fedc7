//! Attacks on the sandbox, each a real program (`tests/attacks/*.c`) with arguments, tried three
//! ways: with nothing around it, where it must succeed for a failure to mean anything; in
//! bubblewrap with its usual flags, for comparison; and under `aegis-run`, which has to hold it.

mod files;
mod network;
mod processes;
mod resources;
mod scene;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output, Stdio};

use crate::{USERS, User};

pub use processes::processes_marked;
pub use scene::Scene;

/// What is around an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Nothing.
    Bare,
    /// `bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp
    /// --bind $WORK $WORK`.
    Bubblewrap,
    /// `aegis-run` with the attack's profile.
    Aegis,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The attack got what it wanted, in these ways.
    GotOut(Vec<String>),
    /// It did not.
    Held,
    /// It could not be tried, so nothing is known.
    Broken(String),
}

/// How success is told.
#[derive(Clone, Copy)]
pub enum Sign {
    /// A line of its output begins with "got out:" or "injected:".
    Says,
    /// The same; where set-up is refused (125) that holds it too.
    SaysUnlessRefused,
    /// It exits with 0.
    ExitsWithZero,
    /// Its output has this in it.
    Prints(&'static str),
    /// Something has changed on the host: what.
    Host(fn(&Scene) -> Option<String>),
}

/// Whether the attack succeeds with nothing around it.
#[derive(Clone, Copy)]
pub enum Control {
    /// It does, for either user.
    Succeeds,
    /// For root; an ordinary user is refused by the host itself.
    SucceedsForRoot,
    /// It cannot be shown here, and why.
    None(&'static str),
}

/// One attack.
pub struct Attack {
    /// The item of `docs/escapes.md`.
    pub item: u8,
    /// What it tries, in words; tells the attacks apart.
    pub what: &'static str,
    /// What of Aegis stops it.
    pub held_by: &'static str,
    /// The program and its arguments, with names in braces that [`Scene`] fills in.
    pub words: &'static [&'static str],
    /// What is put before the whole command line, launcher included.
    pub before: &'static [&'static str],
    /// The profile, names in braces filled in.
    pub profile: &'static str,
    /// Makes what the attack needs on the host.
    pub prepare: fn(&mut Scene),
    /// How success is told.
    pub sign: Sign,
    /// What to expect without a sandbox.
    pub control: Control,
    /// It gets out of Aegis too, for these users, and the documentation says so; why.
    pub known: (&'static [User], &'static str),
}

/// The workspace may be written; nothing else is granted.
pub const WRITES_WORK: &str = "aegis: 1\ncapabilities: {files.write: [$WORK]}\n";

/// An attack of the commonest form, to be altered with struct update syntax.
pub const PLAIN: Attack = Attack {
    item: 0,
    what: "",
    held_by: "",
    words: &[],
    before: &[],
    profile: WRITES_WORK,
    prepare: |_| (),
    sign: Sign::Says,
    control: Control::Succeeds,
    known: (&[], ""),
};

/// Every attack that can be tried in all ways, in the order of the items.
pub fn all() -> Vec<&'static Attack> {
    let mut list: Vec<_> = [files::LIST, processes::LIST, resources::LIST, network::LIST]
        .into_iter()
        .flatten()
        .collect();
    list.sort_by_key(|attack| attack.item);
    list
}

impl Attack {
    /// Tries it, once, as `user`.
    pub fn attempt(&self, around: Around, user: User) -> Outcome {
        let mut scene = Scene::new(user, around);
        (self.prepare)(&mut scene);
        let output = self.run(&mut scene);
        self.judge(&scene, &output)
    }

    /// What is wrong with it as `user`: the control, or that Aegis did not hold it.
    fn failure(&self, user: User) -> Option<String> {
        let what = self.what;
        let expected = match self.control {
            Control::Succeeds => true,
            Control::SucceedsForRoot => user == User::Root,
            Control::None(_) => false,
        };
        let bare = self.attempt(Around::Bare, user);
        if expected && !matches!(bare, Outcome::GotOut(_)) {
            return Some(format!(
                "the control of {what:?} as {user:?} proves nothing: {bare:?}"
            ));
        }
        let known = self.known.0.contains(&user);
        match self.attempt(Around::Aegis, user) {
            Outcome::Held if known => Some(format!(
                "{what:?} is held by now for {user:?}: say so in the documentation"
            )),
            Outcome::Held => None,
            Outcome::GotOut(_) if known => None,
            Outcome::GotOut(ways) => Some(format!(
                "{what:?} got out of aegis-run started by {user:?}: {ways:?}"
            )),
            Outcome::Broken(text) => Some(format!(
                "{what:?} could not be tried under aegis-run as {user:?}: {text}"
            )),
        }
    }

    fn run(&self, scene: &mut Scene) -> Output {
        let words: Vec<String> = self.words.iter().map(|word| scene.fill(word)).collect();
        let launcher = scene.launcher(self.profile);
        let mut line: Vec<String> = self.before.iter().map(|word| scene.fill(word)).collect();
        line.extend(launcher);
        line.extend(words);
        let mut command: Command = scene.workspace.command(&line[0]);
        command
            .args(&line[1..])
            .stdin(Stdio::null())
            // With somebody else in the group: who kills that has got out too.
            .process_group(scene.group());
        command.output().expect("the attack starts")
    }

    fn judge(&self, scene: &Scene, output: &Output) -> Outcome {
        let text = String::from_utf8_lossy(&output.stdout);
        let broken = || Outcome::Broken(crate::text(output));
        // What shells make of a signal, and what launchers say when they could not start it.
        let status = output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let not_started = (125..=127).contains(&status);
        let said: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let line = line.trim();
                line.strip_prefix("got out: ")
                    .map(str::to_owned)
                    .or_else(|| line.starts_with("injected:").then(|| line.to_owned()))
            })
            .collect();
        match self.sign {
            Sign::Says | Sign::SaysUnlessRefused if !said.is_empty() => Outcome::GotOut(said),
            Sign::SaysUnlessRefused if status == 125 => Outcome::Held,
            Sign::Says | Sign::SaysUnlessRefused => {
                let killed = status == 128 + libc::SIGSYS;
                if text.contains("held: ") || killed {
                    Outcome::Held
                } else {
                    broken()
                }
            }
            Sign::ExitsWithZero if status == 0 => Outcome::GotOut(vec!["it got all".into()]),
            Sign::ExitsWithZero if not_started || status == 2 => broken(),
            Sign::ExitsWithZero => Outcome::Held,
            Sign::Prints(secret) if text.contains(secret) => {
                Outcome::GotOut(vec![format!("it printed {secret:?}")])
            }
            Sign::Prints(_) => Outcome::Held,
            Sign::Host(changed) => match changed(scene) {
                Some(how) => Outcome::GotOut(vec![how]),
                None if not_started => broken(),
                None => Outcome::Held,
            },
        }
    }
}

/// Tries the attacks of an item with nothing around them and under Aegis, as both users, and panics
/// with all that did not succeed there or were not held here.
pub fn all_held(item: u8) {
    let mut failures = Vec::new();
    let mut tried = 0;
    for attack in all().into_iter().filter(|attack| attack.item == item) {
        for user in USERS {
            tried += 1;
            failures.extend(attack.failure(user));
        }
    }
    assert!(tried > 0, "no attack belongs to item {item}");
    assert!(
        failures.is_empty(),
        "of {tried} attempts:\n{}",
        failures.join("\n")
    );
}
