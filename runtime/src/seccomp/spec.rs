//! From a sandbox's requirements to its filter.

use crate::types::Network;

use super::{
    Action, Arch, Base, Filter, NOTED, Rules, SyscallRule,
    guards::{Guard, no_sockets},
    sets::{CallEntry, Standing, entries},
};

/// Which Unix sockets may be made; pairs always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnixSockets {
    /// None.
    None,
    /// Streams and sequenced packets, which a supervisor binds and connects: the filter refuses both calls.
    Private,
    /// All, with which whatever listens on a visible path can be connected to.
    Any,
}

/// What a filter is made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct SyscallSpec {
    /// The set to start from.
    pub base: Base,
    /// Calls to grant besides. A call that is narrowed by argument stays narrowed.
    pub allow: Vec<String>,
    /// Calls to refuse although the base grants them.
    pub deny: Vec<String>,
    /// Whether a supervisor listens. If so, refused calls go to it: it records them and answers as
    /// [`SyscallSpec::unattended`] says.
    pub notify: bool,
    /// The sandbox's network.
    pub network: Network,
    /// Whether the supervisor wants to see what is written to descriptor 2. Has no effect without
    /// `notify`.
    pub watch_stderr: bool,
    /// Whether the supervisor is asked about each call of [`NOTED`] that is allowed, too: it observes the run. Has no
    /// effect without `notify`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Unix sockets.
    pub unix_sockets: UnixSockets,
    /// Whether the processors that it runs on stay as they are: they stand in for a limit.
    pub pinned: bool,
    /// Whether ports of the host's network may be listened on; those of a private network always may.
    pub listens: bool,
}

impl SyscallSpec {
    /// A base with nothing named, for a network of the sandbox's own and without a supervisor.
    #[must_use]
    pub const fn new(base: Base) -> Self {
        Self {
            base,
            allow: Vec::new(),
            deny: Vec::new(),
            notify: false,
            network: Network::None,
            watch_stderr: false,
            observed: false,
            unix_sockets: UnixSockets::None,
            listens: false,
            pinned: false,
        }
    }

    /// The same without a supervisor. The supervisor answers a call with what [`Filter::evaluate`] says of
    /// it under *this* filter.
    #[must_use]
    pub fn unattended(&self) -> Self {
        Self {
            notify: false,
            ..self.clone()
        }
    }

    /// The action for a refused call.
    pub(super) const fn refusal(&self, errno: i32) -> Action {
        if self.notify {
            Action::Notify
        } else {
            Action::Errno(errno as u16)
        }
    }

    /// Whether the base grants calls of this standing.
    const fn grants(&self, standing: Standing) -> bool {
        match standing {
            Standing::Start => true,
            Standing::Minimal => !matches!(self.base, Base::Learned),
            Standing::Default => matches!(self.base, Base::Default),
            Standing::Connect => match self.base {
                Base::Default => true,
                Base::Minimal => {
                    matches!(self.network, Network::Host)
                        || matches!(self.unix_sockets, UnixSockets::Private)
                }
                Base::Learned => false,
            },
            Standing::OnRequest
            | Standing::OnRequestQuiet
            | Standing::Never
            | Standing::NeverQuiet => false,
        }
    }

    /// The rule for a call that the profile does not mention.
    fn rule(&self, entry: &CallEntry) -> SyscallRule {
        if self.grants(entry.standing) {
            return self.granted(entry);
        }
        SyscallRule::always(match entry.standing {
            Standing::OnRequestQuiet | Standing::NeverQuiet => ENOSYS,
            _ if entry.guard == Some(Guard::Socket) => return no_sockets(self),
            _ => self.refusal(libc::EPERM),
        })
    }

    /// The rule for a call that is granted, by the base or by the profile.
    fn granted(&self, entry: &CallEntry) -> SyscallRule {
        entry
            .guard
            .map_or(SyscallRule::always(Action::Allow), |guard| guard.rule(self))
    }
}

/// As if the kernel were too old for the call. Never asks the supervisor.
const ENOSYS: Action = Action::Errno(libc::ENOSYS as u16);

/// Why no filter could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SyscallError {
    /// The call, as it was written.
    pub name: String,
    why: String,
}

impl SyscallError {
    fn new(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            why: why.into(),
        }
    }
}

/// Whether a profile may name this call in `allow`: check this before suggesting or learning a line.
/// False for unknown names, and for calls that would undo the sandbox.
#[must_use]
pub fn may_be_allowed(name: &str) -> bool {
    allowed(Arch::native(), name).is_ok()
}

/// Whether naming a call in `allow` grants no more than every profile has that does not choose a smaller set. Not so `socket`, which is
/// for Unix sockets of the host too where it is named.
#[must_use]
pub fn is_in_default_set(name: &str) -> bool {
    let default = SyscallSpec::new(Base::Default);
    let found = known(Arch::native(), name).ok().flatten();
    name != "socket" && found.is_some_and(|(_, entry)| default.grants(entry.standing))
}

/// The filter of the native architecture.
///
/// A name that only another architecture knows (`open` is not on aarch64) is accepted and has no effect:
/// a profile must work on other machines too.
///
/// # Errors
/// When the profile names a call that does not exist, that would undo the sandbox, that the launch
/// needs, or that it both allows and denies.
pub fn filter_for(spec: &SyscallSpec) -> Result<Filter, SyscallError> {
    filter_on(Arch::native(), spec)
}

/// [`filter_for`], for any architecture.
pub(super) fn filter_on(arch: Arch, spec: &SyscallSpec) -> Result<Filter, SyscallError> {
    let numbered = (0..).zip(entries(arch));
    let mut rules: Rules = numbered
        .filter_map(|(number, entry)| Some((number, spec.rule(entry.as_ref()?))))
        .collect();
    for name in &spec.allow {
        if let Some((number, entry)) = allowed(arch, name)? {
            rules.insert(number, spec.granted(entry));
        }
    }
    for name in &spec.deny {
        let name = name.as_str();
        // The filter is already in force when the command is executed.
        if name == "execve" {
            let why = "system call `execve` cannot be denied: the command itself is started with it; to keep \
                       the command from executing others, leave `shell.exec` empty";
            return Err(SyscallError::new(name, why));
        }
        if spec.allow.iter().any(|allowed| allowed == name) {
            let why = format!(
                "system call `{name}` is both in `allow` and in `deny`: remove it from one of them"
            );
            return Err(SyscallError::new(name, why));
        }
        if let Some((number, entry)) = known(arch, name)? {
            let quiet = matches!(
                entry.standing,
                Standing::OnRequestQuiet | Standing::NeverQuiet
            );
            if !quiet {
                rules.insert(number, SyscallRule::always(spec.refusal(libc::EPERM)));
            }
        }
    }
    if spec.notify && spec.observed {
        for call in NOTED {
            if let Some(rule) = arch
                .number(call.name)
                .and_then(|number| rules.get_mut(number))
            {
                call.ask(rule);
            }
        }
    }
    Ok(Filter {
        arch,
        default: ENOSYS,
        rules,
    })
}

/// The call by number, unless only another architecture has it.
fn known(arch: Arch, name: &str) -> Result<Option<(u32, &'static CallEntry)>, SyscallError> {
    if let Some(number) = arch.number(name) {
        return Ok(entries(arch)[number as usize]
            .as_ref()
            .map(|entry| (number, entry)));
    }
    if Arch::ALL.iter().any(|other| other.number(name).is_some()) {
        return Ok(None);
    }
    let nearest = arch.nearest(name);
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?"));
    let hint = hint.unwrap_or_default();
    let why = format!("there is no system call `{name}`{hint}");
    Err(SyscallError::new(name, why))
}

/// [`known`], for a call that the profile asks to allow.
fn allowed(arch: Arch, name: &str) -> Result<Option<(u32, &'static CallEntry)>, SyscallError> {
    let found = known(arch, name)?;
    match found {
        Some((_, entry)) if matches!(entry.standing, Standing::Never | Standing::NeverQuiet) => {
            let why = entry.why();
            let why = format!("system call `{name}` cannot be allowed: {why}");
            Err(SyscallError::new(name, why))
        }
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::tests::spec;

    fn action(spec: &SyscallSpec, name: &str) -> Action {
        let nr = Arch::native().number(name).expect("a known name");
        let arch = Arch::native().audit();
        let data = crate::seccomp::SeccompData {
            nr,
            arch,
            ..Default::default()
        };
        filter_for(spec).expect("a valid spec").evaluate(&data)
    }

    fn asking(allow: &[&str], deny: &[&str]) -> SyscallSpec {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        SyscallSpec {
            allow: owned(allow),
            deny: owned(deny),
            ..spec(Base::Default)
        }
    }

    #[test]
    fn refused_calls_ask_the_supervisor_only_when_there_is_one() {
        let quiet = spec(Base::Default);
        let loud = SyscallSpec {
            notify: true,
            ..spec(Base::Default)
        };
        assert_eq!(action(&quiet, "mount"), Action::Errno(libc::EPERM as u16));
        assert_eq!(action(&loud, "mount"), Action::Notify);
        for silent in ["clone3", "openat2", "io_uring_setup", "file_setattr"] {
            assert_eq!(action(&loud, silent), ENOSYS, "{silent}");
        }
    }

    #[test]
    fn the_supervisor_learns_its_answer_from_the_unattended_filter() {
        let attended = SyscallSpec {
            notify: true,
            watch_stderr: true,
            ..spec(Base::Default)
        };
        assert_eq!(action(&attended, "socket"), Action::Notify);
        let answer = action(&attended.unattended(), "socket");
        assert_eq!(answer, Action::Errno(libc::EAFNOSUPPORT as u16));
    }

    /// Observing neither grants nor refuses: a call that is asked about is one that goes on without a supervisor.
    #[test]
    fn an_observed_run_has_the_authority_of_any_other() {
        let plain = SyscallSpec {
            notify: true,
            ..spec(Base::Default)
        };
        let observed = SyscallSpec {
            observed: true,
            ..plain.clone()
        };
        assert_eq!(
            filter_for(&observed.unattended()),
            filter_for(&plain.unattended())
        );
        let (plain, observed) = (
            filter_for(&plain).expect("valid"),
            filter_for(&observed).expect("valid"),
        );
        for (number, rule) in observed.rules.iter() {
            let before = plain.rules.get(number).expect("the same calls");
            let name = observed.arch.name(number).unwrap_or("?");
            let noted = NOTED.iter().any(|call| call.name == name);
            assert!(rule == before || noted, "{name}");
            let refused = |rule: &SyscallRule| {
                let arms = rule.arms.iter().map(|arm| arm.then);
                let errors = arms.filter(|then| matches!(then, Action::Errno(_)));
                errors.collect::<Vec<_>>()
            };
            assert_eq!(refused(rule), refused(before), "{name}");
        }
        assert_eq!(
            observed.rules.get(observed.arch.number("execve").unwrap()),
            Some(&SyscallRule::always(Action::Notify))
        );
    }

    #[test]
    fn base_sets_nest() {
        let grants = |base, network| {
            let filter = filter_for(&SyscallSpec {
                network,
                ..spec(base)
            })
            .expect("a valid spec");
            let refused = SyscallRule::always(Action::Errno(libc::EPERM as u16));
            let quiet = SyscallRule::always(ENOSYS);
            let granted = filter
                .rules
                .iter()
                .filter(|(_, rule)| **rule != refused && **rule != quiet);
            granted
                .map(|(number, _)| number)
                .collect::<std::collections::BTreeSet<_>>()
        };
        for network in [Network::None, Network::Host] {
            assert!(grants(Base::Learned, network).is_subset(&grants(Base::Minimal, network)));
            assert!(grants(Base::Minimal, network).is_subset(&grants(Base::Default, network)));
        }
        assert!(
            grants(Base::Minimal, Network::None).is_subset(&grants(Base::Minimal, Network::Host))
        );
    }

    #[test]
    fn a_typo_is_told_with_the_nearest_name() {
        let error = filter_for(&asking(&["opneat"], &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no system call `opneat`; did you mean `openat`?"
        );
        assert!(filter_for(&asking(&[], &["raed"])).is_err());
    }

    #[test]
    fn what_would_undo_the_sandbox_cannot_be_asked_for() {
        for name in [
            "mount",
            "setns",
            "bpf",
            "clone3",
            "openat2",
            "io_uring_setup",
            "open_by_handle_at",
        ] {
            let error = filter_for(&asking(&[name], &[])).unwrap_err();
            let told = error.to_string();
            assert!(told.contains("cannot be allowed"), "{name}: {told}");
        }
    }

    #[test]
    fn an_allowed_call_is_granted_and_stays_narrowed() {
        assert_eq!(action(&asking(&["keyctl"], &[]), "keyctl"), Action::Allow);
        assert!(may_be_allowed("keyctl") && !may_be_allowed("opneat"));
        let learned = SyscallSpec {
            base: Base::Learned,
            ..asking(&["clone", "ioctl"], &[])
        };
        let filter = filter_for(&learned).expect("a valid spec");
        let number = Arch::native().number("clone").expect("a known name");
        assert!(!filter.rules.get(number).unwrap().arms.is_empty());
    }

    #[test]
    fn naming_a_call_of_the_default_set_grants_nothing_more() {
        let default = filter_for(&asking(&[], &[])).expect("valid");
        let mut more = 0;
        let names = Arch::native().syscalls().iter();
        for (name, _) in names.filter(|(name, _)| may_be_allowed(name)) {
            let named = filter_for(&asking(&[name], &[])).expect("valid");
            match is_in_default_set(name) {
                true => assert_eq!(named, default, "{name}"),
                false => more += 1,
            }
        }
        assert!(more > 20, "{more} calls can be added");
        assert!(!is_in_default_set("socket") && !is_in_default_set("no-such-call"));
    }

    #[test]
    fn a_denied_call_is_refused() {
        assert_eq!(
            action(&asking(&[], &["ptrace"]), "ptrace"),
            Action::Errno(libc::EPERM as u16)
        );
    }

    #[test]
    fn denying_what_is_silent_keeps_it_silent() {
        let spec = SyscallSpec {
            notify: true,
            ..asking(&[], &["clone3"])
        };
        assert_eq!(action(&spec, "clone3"), ENOSYS);
    }

    #[test]
    fn execve_cannot_be_denied_and_the_error_says_what_to_do() {
        let error = filter_for(&asking(&[], &["execve"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot be denied") && error.contains("shell.exec"),
            "{error}"
        );
    }

    #[test]
    fn a_call_cannot_be_both_allowed_and_denied() {
        let error = filter_for(&asking(&["ptrace"], &["ptrace"])).unwrap_err();
        assert!(error.to_string().contains("both in `allow` and in `deny`"));
    }

    #[test]
    fn a_name_of_another_architecture_is_carried_along() {
        let spec = asking(&["open"], &["chmod"]);
        assert!(filter_on(Arch::Aarch64, &spec).is_ok());
        assert!(filter_on(Arch::X86_64, &spec).is_ok());
    }
}
