//! The broker itself: everything but the protocol that it and its launcher speak.

mod authority;
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
mod java;
mod judge;
mod limits;
pub mod names;
mod packet;
mod proxy;
mod publish;
mod resolve;
mod secrets;
mod server;
mod service;
mod stream;
mod tls;

pub use limits::Limits;
pub use resolve::Files;
pub use service::{Error, serve};
