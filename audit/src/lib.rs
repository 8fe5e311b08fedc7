//! Records of runs, and what can be proved from them.
//!
//! An [`event`] is one thing that happened, with the request and the decision about it. The [`log`] appends
//! events as a signed chain of records; [`approvals`] stores what persons have approved; [`archive`] copies each
//! policy beside the log that refers to it, so that [`replay`] can decide every recorded request again.
//! [`ocsf`] exports records.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod approvals;
pub mod archive;
pub mod event;
pub mod log;
pub mod ocsf;
pub mod places;
pub mod replay;
