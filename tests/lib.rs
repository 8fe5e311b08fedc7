//! What the tests of whole programs are written with: `support` starts programs and looks at what became of
//! them, [`attacks`] has what a hostile program tries. The tests are in `features`, a file for each feature.

pub mod attacks;
mod support;

pub use support::*;
