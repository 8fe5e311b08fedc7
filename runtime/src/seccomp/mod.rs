//! System calls: which of them the command may make, and with which arguments.
//!
//! The words are the kernel's (`seccomp(2)`, `Documentation/userspace-api/seccomp_filter.rst`):
//!
//! * An [`Action`] is what the kernel does with a call: let it through, fail it with an error
//!   number, ask the supervisor (user notification), kill the process.
//! * A [`Condition`] compares one argument of a call; an [`Arm`] is "when all of these hold, then
//!   that action"; a [`SyscallRule`] is arms in order, if any, and an action for the rest.
//! * A [`Filter`] holds [`Rules`] for the system calls of one [`Arch`], and a default.
//! * A [`Program`] is the filter compiled to the classic BPF that the kernel takes.
//!
//! The steps are
//!
//! ```text
//! SyscallSpec --filter_for--> Filter --compile--> Program --install--> kernel
//!                               |                    |
//!                               +---- evaluate == interpret (the law that the tests check)
//! ```
//!
//! All but [`install()`] is pure. What each base set holds, and why, is in `sets`; what is narrowed
//! by argument, and why, in `guards`.
//!
//! There is no cache of compiled programs. Making and compiling the `default` filter takes 10
//! microseconds, 30 in a process that has just started; looking up a program by the hash of its filter
//! would take as long, and a file would decide what the kernel refuses.
//!
//! Not here: who answers user notifications, and which files or addresses may be reached. seccomp
//! sees registers only, never what a pointer points to.

mod arch;
mod compile;
mod guards;
mod install;
mod interpret;
mod noted;
mod policy;
mod serialize;
mod sets;
mod spec;
mod table;
mod table_aarch64;
#[cfg(test)]
mod tests;

pub use arch::{Arch, MAX_NUMBER};
pub use compile::{MAX_INSTRUCTIONS, Program, TooLong};
pub use install::{Listener, install};
pub use interpret::interpret;
pub use noted::{AT_EMPTY_PATH, NOTED, Noted, NotedCall, NotedPath};
pub use policy::{Action, Arm, Condition, Filter, Op, Rules, SeccompData, SyscallRule, Width};
pub use sets::Base;
pub use spec::{
    SyscallError, SyscallSpec, UnixSockets, filter_for, is_in_default_set, may_be_allowed,
};
