//! From what a command was seen to do to the least profile that lets it do that.
//!
//! [`propose`](propose()) turns [observations](aegis_observation::Observation) into a [`Proposal`], by [rules](Rule) that a person can
//! print; [`outside`](outside()) says what an observation has that a profile does not grant, [`missing`](missing()) what failed under one;
//! [`difference`](difference()) holds an older profile against what was seen, [`uses`](uses()) each line of one; a [`Baseline`] has what runs
//! ordinarily do, and a [`Watch`] says what of a later run is none of that. Nothing here makes a system call: what has to be known of
//! the host comes from a [`Host`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod anomalies;
mod baseline;
mod calls;
mod cover;
mod difference;
mod evidence;
mod extends;
mod forms;
mod headroom;
mod line;
mod missing;
mod needs;
mod network;
mod outside;
mod places;
mod programs;
mod proposal;
mod propose;
mod reads;
mod rules;
mod surroundings;
mod uses;
mod writes;
mod yaml;

pub use anomalies::{Anomaly, Watch};
pub use baseline::{BadBaseline, Baseline, LONGEST, Most, VERSION};
pub use calls::EQUIVALENT;
pub use difference::{Difference, Unused, difference};
pub use evidence::{About, Did, Evidence, Note};
pub use extends::Extended;
pub use forms::Variables;
pub use headroom::{HEADROOM, Headroom, Limit};
pub use line::{Key, Line};
pub use missing::{Missing, missing};
pub use outside::{Outside, outside, outside_beyond};
pub use proposal::{Head, Proposal};
pub use propose::{is_name, propose};
pub use rules::Rule;
pub use surroundings::{Access, Fact, Host, Kind, Network, Options, Standing, Surroundings, Usage};
pub use uses::{Use, uses};
