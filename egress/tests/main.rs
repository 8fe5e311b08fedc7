//! The broker between two network namespaces: programs inside, servers outside, on real sockets. Needs root.

mod bandwidth;
mod bounds;
mod calls;
mod datagrams;
mod destinations;
mod dns;
mod http;
mod opened;
mod passing;
mod program;
mod proxy;
mod publish;
mod world;
