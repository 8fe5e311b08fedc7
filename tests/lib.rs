//! The support code for tests of whole programs: `support` starts programs and checks their
//! results, [`attacks`] has what a hostile program tries. The tests are in `features`, a file for each feature.

pub mod attacks;
mod support;

pub use support::*;
