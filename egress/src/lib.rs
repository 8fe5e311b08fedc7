//! The way out of a sandbox.
//!
//! A **broker** runs beside a sandbox and serves the sockets that were opened in its network namespace, where every address
//! leads to them. It is the only way out, and lets through what the profile asks for **and** the policy says, connection by
//! connection, and over HTTP request by request.
//!
//! - A **name** has one address inside for as long as the run lasts ([`names`]), which the sandbox's DNS server gives ([`dns`]). Nothing
//!   is asked outside before a connection is let through, so nothing leaves in a name that is looked up.
//! - A **connection** arrives at that address. TLS has to name the same server ([`hello`]). It passes through unread, unless requests to
//!   that host have to be seen: then it is **opened**, by an authority of this run that only its sandbox trusts. Each request of
//!   HTTP, in the clear or in TLS that is opened, has to name the same host, and is decided; TCP passes through as it is, and so do
//!   datagrams, flow by flow.
//! - A **decision** is [`aegis_policy::decide()`]'s: first of the name; then the real name is resolved as the host does, each address is
//!   decided, and one that is let through is told to the launcher, and then dialled. What passes through unseen has to be something of which
//!   the policy says nothing request by request ([`aegis_policy::decide::about_requests`]).
//! - A **secret** is put into requests to its one host, where the policy lets it, and taken out of what comes back. The sandbox has a
//!   placeholder; values come from a provider (`aegis_secrets::protocol`) that is asked anew for each request.
//! - A **budget** bounds requests in a minute and their sizes, and `limits.net` how fast all connections together are.
//! - A **published port** leads the other way: from the host's loopback to the sandbox's.
//! - A **refusal** ends things at once. HTTP gets 403 (429 over a budget) with a JSON object: why, by which rule, and the line that would
//!   allow it. So does TLS to a host that is opened or was never asked for; other TLS gets an alert, and all else is closed.
//!
//! What the launcher sends and is told is in [`protocol`]; how much one sandbox may use is in [`Limits`]. The program is
//! `aegis-broker`, whose standard input is the launcher's socket; what it gives up before it serves is in [`confine`], and the
//! system calls that it keeps in [`calls`].
//!
//! Not here: searching what leaves for secrets, a budget of bytes, and looking into what is not HTTP.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "broker")]
mod broker;
pub mod protocol;

#[cfg(feature = "broker")]
pub use broker::{Error, Files, Limits, calls, confine, dns, hello, names, serve};
