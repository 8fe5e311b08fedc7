//! Takes what a command asks for and what a policy permits to a finished, recorded run, for any front end.
//!
//! ```text
//! Launch --prepare--> Prepared --decide--> Permitted --start--> Session --finish--> Outcome
//! ```
//!
//! A [`Launch`] says what to run: a command under a profile, or a plan that a front end has put together from
//! [operations](aegis_runtime::plan::Operation). [`Launch::prepare`] reads profile, policy and host and returns what
//! would happen: the plan, and the policy's decision. [`Prepared::decide`] asks a person if the policy wants
//! that. Only a [`Permitted`] run can be started, and starting it records it before the command executes: there
//! is no other way to a [`Session`].
//!
//! A front end implements [`FrontEnd`]: it answers questions, and gets every [`Event`] from `prepare` to `finish`.
//! `()` is one that has nobody to ask.
//!
//! ```no_run
//! use aegis_launch::{Launch, Options};
//!
//! let mut front_end = ();
//! let launch = Launch::profile("skill.yaml", ["python3", "main.py"]);
//! let mut session = launch.prepare(&mut front_end)?.decide()?.start(Options::default())?;
//! while session.poll(&mut [], None).is_running() {}
//! let outcome = session.finish()?;
//! println!("{}", outcome.exit_status);
//! # Ok::<(), aegis_launch::Error>(())
//! ```
//!
//! **The process.** Processes are cloned without `exec`, so the caller must have only one thread; with more,
//! [`Launch::prepare`] fails. A process may launch one run after another. No async runtime is needed; one can be
//! used around [`Session::poll`], in a process of its own.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod ask;
mod broker;
mod error;
mod helper;
mod launch;
pub mod learning;
mod observing;
mod passphrases;
mod policies;
mod prepared;
mod record;
pub mod registry;
mod review;
mod run;
mod session;
mod surroundings;
mod watching;

pub use aegis_runtime::supervise::{Built, Event as RunEvent, Progress, Watched};
pub use ask::{Answer, Event, FrontEnd, Question, WantedPassphrase};
pub use error::{Error, Refusal};
pub use launch::Explained;
pub use observing::{ObserveBy, who_has_probes};
pub use policies::{held, in_force};
pub use prepared::{Permitted, Prepared};
pub use run::{Declaration, Launch, Reference};
pub use session::{Options, Outcome, Session};
pub use watching::baseline;
