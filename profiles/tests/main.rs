//! The tests of the crate's public face: one program, a file for each subject.

mod cases;
mod diff;
mod errors;
mod hostile;
mod laws;
mod load;
mod schema;
mod support;
