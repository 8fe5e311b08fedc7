//! The broker itself: everything but the protocol that it and its launcher speak.

mod bandwidth;
pub mod calls;
pub mod confine;
mod connect;
mod connections;
mod datagrams;
mod dial;
pub mod dns;
mod events;
pub mod hello;
mod http;
mod judge;
mod limits;
pub mod names;
mod packet;
mod proxy;
mod publish;
mod resolve;
mod server;
mod service;
mod stream;

pub use limits::Limits;
pub use resolve::Files;
pub use service::{Error, serve};
