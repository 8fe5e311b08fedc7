//! A filter as a value, and what it means.
//!
//! [`Filter::evaluate`] is the reference: whatever the compiler emits has to answer the same for
//! every input. It is written to be read, not to be fast.

use serde::Serialize;

use super::{Arch, guards::memfd};

/// The bit that marks an x32 call among those of x86_64 (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// The number -1 is not a call: a tracer writes it to make the kernel skip a call, and the filter
/// sees it afterwards. The kernel runs nothing for it, so it is allowed.
pub(super) const SKIPPED: u32 = u32::MAX;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `SECCOMP_RET_ALLOW`: the call is made.
    Allow,
    /// `SECCOMP_RET_ERRNO`: the call fails with this number, and nobody is notified.
    Errno(u16),
    /// `SECCOMP_RET_USER_NOTIF`: the supervisor is asked, and answers.
    Notify,
    /// `SECCOMP_RET_KILL_PROCESS`: the whole process dies by `SIGSYS`.
    KillProcess,
}

impl Action {
    /// What a program returns to the kernel for this action (`linux/seccomp.h`).
    #[must_use]
    pub const fn to_return(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(number) => libc::SECCOMP_RET_ERRNO | number as u32,
            Self::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// How much of an argument counts: what the kernel's own parameter type keeps of the register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Width {
    /// The low half, for `int`, `unsigned int` and smaller. The high half is garbage that the kernel
    /// ignores, and so must be ignored here (CVE-2019-10063).
    Bits32,
    /// The whole register, for `long`, `size_t` and pointers.
    Bits64,
}

/// A comparison, always unsigned. In [`Width::Bits32`] only the low half of each operand counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Equal to.
    Eq(u64),
    /// Not equal to.
    Ne(u64),
    /// Less than or equal to.
    Le(u64),
    /// Equal to `value` in the bits of `mask`.
    MaskedEq {
        /// The bits that count.
        mask: u64,
        /// The value that they must have.
        value: u64,
    },
}

/// One argument compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, at most 5: a condition cannot point outside `seccomp_data`.
    arg: u8,
    /// How much of it counts.
    pub width: Width,
    /// How it is compared, and with what.
    pub op: Op,
}

impl Condition {
    /// Compares the low half of argument `arg` (0 to 5; more is taken as 5).
    #[must_use]
    pub const fn int(arg: u8, op: Op) -> Self {
        Self::new(arg, Width::Bits32, op)
    }

    /// Compares the whole of argument `arg` (0 to 5; more is taken as 5).
    #[must_use]
    pub const fn long(arg: u8, op: Op) -> Self {
        Self::new(arg, Width::Bits64, op)
    }

    const fn new(arg: u8, width: Width, op: Op) -> Self {
        let arg = if arg > 5 { 5 } else { arg };
        Self { arg, width, op }
    }

    /// Which argument, from 0 to 5.
    #[must_use]
    pub const fn arg(&self) -> u8 {
        self.arg
    }

    /// Whether these arguments meet the condition.
    #[must_use]
    pub const fn holds(&self, args: &[u64; 6]) -> bool {
        let keep = match self.width {
            Width::Bits32 => 0xFFFF_FFFF,
            Width::Bits64 => u64::MAX,
        };
        let actual = args[self.arg as usize] & keep;
        match self.op {
            Op::Eq(value) => actual == value & keep,
            Op::Ne(value) => actual != value & keep,
            Op::Le(value) => actual <= value & keep,
            Op::MaskedEq { mask, value } => actual & mask & keep == value & keep,
        }
    }
}

/// When all of the conditions hold, the action is taken. No conditions: always.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Arm {
    /// The conditions.
    pub when: Vec<Condition>,
    /// The action.
    pub then: Action,
}

/// What is done with one system call: the first arm that holds decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SyscallRule {
    /// The arms, in order; none where the arguments do not matter.
    pub arms: Vec<Arm>,
    /// The action when none of them holds.
    pub otherwise: Action,
}

impl SyscallRule {
    /// Always this.
    #[must_use]
    pub const fn always(action: Action) -> Self {
        Self {
            arms: Vec::new(),
            otherwise: action,
        }
    }

    /// The action for these arguments.
    #[must_use]
    pub fn evaluate(&self, args: &[u64; 6]) -> Action {
        let holds = |arm: &&Arm| arm.when.iter().all(|condition| condition.holds(args));
        let arm = self.arms.iter().find(holds);
        arm.map_or(self.otherwise, |arm| arm.then)
    }
}

/// Rules by number.
///
/// A sorted vector, not a `BTreeMap`: a sandbox makes its filter each time it starts, and a map's
/// nodes took longer to build than everything else about the filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Rules(Vec<(u32, SyscallRule)>);

impl Rules {
    fn find(&self, number: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |(known, _)| *known)
    }

    /// The rule for this number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&SyscallRule> {
        Some(&self.0[self.find(number).ok()?].1)
    }

    /// The rule for this number, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut SyscallRule> {
        let found = self.find(number).ok()?;
        Some(&mut self.0[found].1)
    }

    /// Sets the rule for this number, replacing the one before.
    pub fn insert(&mut self, number: u32, rule: SyscallRule) {
        match self.find(number) {
            Ok(found) => self.0[found].1 = rule,
            Err(place) => self.0.insert(place, (number, rule)),
        }
    }

    /// The rules in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &SyscallRule)> {
        self.0.iter().map(|(number, rule)| (*number, rule))
    }
}

/// If a number has several rules, the last counts.
impl FromIterator<(u32, SyscallRule)> for Rules {
    fn from_iter<I: IntoIterator<Item = (u32, SyscallRule)>>(rules: I) -> Self {
        let rules = rules.into_iter();
        // Allocates once, and not each time it is full.
        let mut sorted = Vec::with_capacity(rules.size_hint().1.unwrap_or_default());
        sorted.extend(rules);
        sorted.sort_by_key(|(number, _)| *number);
        sorted.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self(sorted)
    }
}

/// What the kernel passes to a program about one call (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeccompData {
    /// The number of the call.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the call's ABI.
    pub arch: u32,
    /// The address of the call's instruction.
    pub instruction_pointer: u64,
    /// Its arguments, as the registers hold them.
    pub args: [u64; 6],
}

/// A rule for each system call of one architecture, and a default.
///
/// Calls of other architectures, and of x32, kill the process: no rule can say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The architecture of the numbers.
    pub arch: Arch,
    /// For numbers without a rule.
    pub default: Action,
    /// The rules by number. Those for numbers that [`Filter::evaluate`] settles beforehand (x32,
    /// -1) have no effect.
    pub rules: Rules,
}

impl Filter {
    /// Has memfds made by the supervisor, so that none can be executed, if they are granted at all.
    pub fn supervise_memfds(&mut self) {
        let number = self.arch.number("memfd_create");
        let granted = memfd(Action::Allow);
        if let Some(number) = number.filter(|number| self.rules.get(*number) == Some(&granted)) {
            self.rules.insert(number, memfd(Action::Notify));
        }
    }

    /// Lets an `execve(2)` through whose last register has this value, of which the call knows nothing: the supervisor has no
    /// listener yet when the command itself is executed, and nobody could answer.
    pub fn pass_first_execution(&mut self, token: u64) {
        let number = self.arch.number("execve");
        if let Some(rule) = number.and_then(|number| self.rules.get_mut(number)) {
            let when = vec![Condition::long(5, Op::Eq(token))];
            let then = Action::Allow;
            rule.arms.insert(0, Arm { when, then });
        }
    }

    /// The action for a call.
    #[must_use]
    pub fn evaluate(&self, data: &SeccompData) -> Action {
        if data.arch != self.arch.audit() {
            return Action::KillProcess;
        }
        if data.nr == SKIPPED {
            return Action::Allow;
        }
        if self.arch == Arch::X86_64 && data.nr >= X32_BIT {
            return Action::KillProcess;
        }
        let rule = self.rules.get(data.nr);
        rule.map_or(self.default, |rule| rule.evaluate(&data.args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{Base, SyscallSpec, filter_for, tests::spec};

    fn memfd_create(filter: &Filter, flags: u64) -> Action {
        filter.evaluate(&SeccompData {
            nr: filter.arch.number("memfd_create").expect("a known name"),
            arch: filter.arch.audit(),
            args: [0, flags, 0, 0, 0, 0],
            ..Default::default()
        })
    }

    #[test]
    fn only_memfds_whose_flags_say_nothing_of_execution_are_made_by_the_supervisor() {
        let mut filter = filter_for(&spec(Base::Default)).expect("a valid spec");
        filter.supervise_memfds();
        let invalid = Action::Errno(libc::EINVAL as u16);
        for (flags, action) in [
            (0, Action::Notify),
            (0b11, Action::Notify),
            (1 << 63, Action::Notify), // The flags are an int.
            (0b1011, Action::Allow),
            (0b0100, Action::Errno(libc::ENOMEM as u16)),
            (0b1_0000, Action::Errno(libc::EACCES as u16)),
            (0b1_1000, invalid),
            (0x20, invalid),
            (0x28, invalid),
            (0xFFFF_FFFF, invalid),
        ] {
            assert_eq!(memfd_create(&filter, flags), action, "{flags:#x}");
        }
    }

    #[test]
    fn a_memfd_that_the_profile_denies_stays_denied() {
        let denies = SyscallSpec {
            deny: vec!["memfd_create".into()],
            ..spec(Base::Default)
        };
        let mut filter = filter_for(&denies).expect("a valid spec");
        filter.supervise_memfds();
        let refused = Action::Errno(libc::EPERM as u16);
        assert_eq!(memfd_create(&filter, 0), refused);
    }
}
