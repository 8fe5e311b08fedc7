//! Attacks on the sandbox, each a real program (`tests/attacks/*.c`) with arguments, tried in these
//! ways: without a sandbox, where it must succeed for a failure to mean anything; in bubblewrap and
//! firejail with their usual flags, for comparison; and under `aegis-run`, which must hold it.

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

/// The sandbox around an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Nothing.
    Bare,
    /// `bwrap --unshare-all --die-with-parent --ro-bind / / --dev /dev --proc /proc --tmpfs /tmp
    /// --bind $WORK $WORK`.
    Bubblewrap,
    /// `firejail --quiet --noprofile --caps.drop=all --nonewprivs --noroot --seccomp --net=none --ipc-namespace
    /// --private-dev --keep-var-tmp --read-only=/ --read-write=$WORK`.
    Firejail,
    /// `aegis-run` with the attack's profile.
    Aegis,
}

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttackResult {
    /// The attack got what it wanted, in these ways.
    GotOut(Vec<String>),
    /// It did not.
    Held,
    /// It could not be tried, so the result is unknown.
    Broken(String),
}

/// How success is detected.
#[derive(Clone, Copy)]
pub enum Sign {
    /// A line of its output begins with "got out:" or "injected:".
    Says,
    /// The same; a refused set-up (125) also counts as held.
    SaysUnlessRefused,
    /// It exits with 0.
    ExitsWithZero,
    /// Its output contains this.
    Prints(&'static str),
    /// Something has changed on the host; the function says what.
    Host(fn(&Scene) -> Option<String>),
}

/// Whether the attack succeeds without a sandbox.
#[derive(Clone, Copy)]
pub enum Control {
    /// It does, for either user.
    Succeeds,
    /// Only for root; the host itself refuses an ordinary user.
    SucceedsForRoot,
    /// It cannot be shown here; the reason.
    None(&'static str),
}

/// One attack.
pub struct Attack {
    /// The item of `docs/escapes.md`.
    pub item: u8,
    /// What it tries, in words; unique for each attack.
    pub what: &'static str,
    /// The part of Aegis that stops it.
    pub held_by: &'static str,
    /// The program and its arguments, with names in braces that [`Scene`] fills in.
    pub words: &'static [&'static str],
    /// Words before the whole command line, launcher included.
    pub before: &'static [&'static str],
    /// The profile, with names in braces that are filled in.
    pub profile: &'static str,
    /// Sets up what the attack needs on the host.
    pub prepare: fn(&mut Scene),
    /// How success is detected.
    pub sign: Sign,
    /// The expected result without a sandbox.
    pub control: Control,
    /// It also gets out of Aegis, for these users, as the documentation says; the reason.
    pub known: (&'static [User], &'static str),
}

/// The workspace may be written; nothing else is granted.
pub const WRITES_WORK: &str = "aegis: 1\ncapabilities: {files.write: [$WORK]}\n";

/// The most common form of an attack, to be altered with struct update syntax.
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
    let mut list: Vec<_> = [
        files::LIST,
        files::INSIDE_WRITABLE,
        processes::LIST,
        resources::LIST,
        network::LIST,
    ]
    .into_iter()
    .flatten()
    .collect();
    list.sort_by_key(|attack| attack.item);
    list
}

impl Attack {
    /// Tries it once, as `user`.
    pub fn attempt(&self, around: Around, user: User) -> AttackResult {
        let mut scene = Scene::new(user, around);
        (self.prepare)(&mut scene);
        let output = self.run(&mut scene);
        self.judge(&scene, &output)
    }

    /// What is wrong with it as `user`: the control failed, or Aegis did not hold it.
    fn failure(&self, user: User) -> Option<String> {
        let what = self.what;
        let expected = match self.control {
            Control::Succeeds => true,
            Control::SucceedsForRoot => user == User::Root,
            Control::None(_) => false,
        };
        let bare = self.attempt(Around::Bare, user);
        if expected && !matches!(bare, AttackResult::GotOut(_)) {
            return Some(format!(
                "the control of {what:?} as {user:?} proves nothing: {bare:?}"
            ));
        }
        let known = self.known.0.contains(&user);
        match self.attempt(Around::Aegis, user) {
            AttackResult::Held if known => Some(format!(
                "{what:?} is held by now for {user:?}: say so in the documentation"
            )),
            AttackResult::Held => None,
            AttackResult::GotOut(_) if known => None,
            AttackResult::GotOut(ways) => Some(format!(
                "{what:?} got out of aegis-run started by {user:?}: {ways:?}"
            )),
            AttackResult::Broken(text) => Some(format!(
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
            // With another process in the group: killing that counts as getting out too.
            .process_group(scene.group());
        command.output().expect("the attack starts")
    }

    fn judge(&self, scene: &Scene, output: &Output) -> AttackResult {
        let text = String::from_utf8_lossy(&output.stdout);
        let broken = || AttackResult::Broken(crate::text(output));
        // How shells report a signal, and how launchers report that they could not start it.
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
            Sign::Says | Sign::SaysUnlessRefused if !said.is_empty() => AttackResult::GotOut(said),
            Sign::SaysUnlessRefused if status == 125 => AttackResult::Held,
            Sign::Says | Sign::SaysUnlessRefused => {
                let killed = status == 128 + libc::SIGSYS;
                if text.contains("held: ") || killed {
                    AttackResult::Held
                } else {
                    broken()
                }
            }
            Sign::ExitsWithZero if status == 0 => AttackResult::GotOut(vec!["it got all".into()]),
            Sign::ExitsWithZero if not_started || status == 2 => broken(),
            Sign::ExitsWithZero => AttackResult::Held,
            Sign::Prints(secret) if text.contains(secret) => {
                AttackResult::GotOut(vec![format!("it printed {secret:?}")])
            }
            Sign::Prints(_) => AttackResult::Held,
            Sign::Host(changed) => match changed(scene) {
                Some(how) => AttackResult::GotOut(vec![how]),
                None if not_started => broken(),
                None => AttackResult::Held,
            },
        }
    }
}

/// Tries the attacks of an item without a sandbox and under Aegis, as both users, and panics
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
