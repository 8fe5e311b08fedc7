//! What the crate does, seen from outside: made-up observations on a made-up host, and real ones.

mod host;

mod anomalies;
mod difference;
mod documents;
mod files;
mod laws;
mod network;
mod page;
mod programs;
mod real;
