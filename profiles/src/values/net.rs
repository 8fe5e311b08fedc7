//! Hosts, ports and destinations, as `net.outbound`, `net.listen` and `secrets.use` name them.
//!
//! There is one spelling of a host: lower case, no trailing dot, an address in its canonical form.
//! Two spellings of one host would let a rule about the one miss the other.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{nearest, quote};
use crate::model::{Destination, Endpoint};
use crate::units::Wrong;

/// The schemes and their own ports.
pub(crate) const SCHEMES: [(&str, Option<u16>); 4] = [
    ("https", Some(443)),
    ("http", Some(80)),
    ("tcp", None),
    ("udp", None),
];

/// A destination of `net.outbound`.
pub fn destination(text: &str) -> Result<Destination, Wrong> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text {
            "none" | "host" => Wrong::new(
                "a word for the whole key",
                format!("write `net.outbound: {text}`"),
            ),
            _ => Wrong::new(
                "a destination needs a scheme",
                format!("write `https://{}`", quote(text)),
            ),
        };
    };
    let Some((_, own_port)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
        let known = "the schemes are https, http, tcp and udp";
        let help = match nearest(scheme, SCHEMES.map(|(name, _)| name)) {
            Some(near) => format!("did you mean `{near}://`?"),
            None => known.to_owned(),
        };
        return Wrong::new(format!("unknown scheme `{}`", quote(scheme)), help);
    };
    if rest.contains('@') {
        return Wrong::new(
            "a user name or password in a destination",
            "remove it: a secret is named under `secrets.use`",
        );
    }
    if let Some(end) = rest.find(['/', '?', '#']) {
        return Wrong::new(
            "a destination is a host and a port, without a path",
            format!("write `{scheme}://{}`", quote(&rest[..end])),
        );
    }
    let (host_text, port_text) = split_port(rest);
    let host = host(host_text, true)?;
    let port = match port_text {
        Some(text) => port(text)?,
        None => match own_port {
            Some(port) => *port,
            None => {
                return Wrong::new(
                    format!("`{scheme}` has no port of its own"),
                    format!("write `{}:PORT`", quote(text)),
                );
            }
        },
    };
    Ok(Destination {
        scheme: scheme.to_owned(),
        host,
        port,
    })
}

/// Where a secret may be sent to.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, Wrong> {
    if let Some((_, rest)) = text.split_once("://") {
        return Wrong::new(
            "a secret is bound to a host, without a scheme",
            format!("write `{}`", quote(rest)),
        );
    }
    let (host_text, port_text) = split_port(text);
    let host = host(host_text, false)?;
    let port = match port_text {
        Some(text) => port(text)?,
        // Whoever listens there at some other port is somebody else.
        None if host == "localhost" => {
            return Wrong::new("`localhost` without a port", "write `localhost:PORT`");
        }
        None => 443,
    };
    Ok(Endpoint { host, port })
}

/// A TCP or UDP port.
pub fn port(text: &str) -> Result<u16, Wrong> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if plain => Ok(port),
        _ => Wrong::new(
            format!("`{}` is not a port", quote(text)),
            "a port is a number from 1 to 65535",
        ),
    }
}

/// A host name or address in its one spelling; `wildcard` allows a leading `*.`.
#[inline]
pub fn host(text: &str, wildcard: bool) -> Result<String, Wrong> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) if address.to_string() == inner => Ok(inner.to_owned()),
            Ok(address) => Wrong::new(
                "an address in a second spelling",
                format!("write `[{address}]`"),
            ),
            Err(_) => Wrong::new("not an IPv6 address", "write it as `[2001:db8::1]`"),
        };
    }
    if text.is_empty() {
        return Wrong::new(
            "a host is missing",
            "write a host name, such as `api.github.com`",
        );
    }
    if text.contains(':') {
        return Wrong::new(
            "not a host",
            "an IPv6 address stands in brackets: `[2001:db8::1]`",
        );
    }
    if let Some(plain) = text.strip_suffix('.') {
        return Wrong::new("a trailing dot", format!("write `{}`", quote(plain)));
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Wrong::new(
            "capital letters in a host",
            format!("write `{}`", quote(&text.to_lowercase())),
        );
    }
    let name = match text.strip_prefix("*.") {
        Some(name) if wildcard => name,
        Some(_) => return Wrong::new("a pattern where one host is meant", "name the host"),
        None => text,
    };
    host_name(name)?;
    let last = name.rsplit('.').next().unwrap_or("");
    // A last label that reads as a number makes the whole an IPv4 address, to every resolver that
    // follows inet_aton: `127.1` and `0x7f000001` are 127.0.0.1.
    if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
        return match text.parse::<Ipv4Addr>() {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Wrong::new(
                "not an IPv4 address in its one spelling",
                "write four numbers from 0 to 255, such as `192.0.2.7`",
            ),
        };
    }
    Ok(text.to_owned())
}

#[inline]
fn host_name(name: &str) -> Result<(), Wrong> {
    if name.len() > 253 {
        let message = "a host name of more than 253 characters";
        return Wrong::new(message, "no host can have such a name");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Wrong::new(
                "an empty part in a host name",
                "write a host name, such as `api.github.com`",
            );
        }
        if label.len() > 63 {
            return Wrong::new(
                "a part of more than 63 characters in a host name",
                "DNS has no such name",
            );
        }
        if label.contains('*') {
            return Wrong::new(
                "a `*` in a host name",
                "only a leading `*.` is allowed, for all names below one",
            );
        }
        if !label.is_ascii() {
            return Wrong::new("a host name beyond ASCII", "write it in its `xn--` form");
        }
        let edge = |b: Option<u8>| b == Some(b'-');
        let known =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if !label.bytes().all(known) {
            return Wrong::new(
                format!("`{}` is not a host name", quote(name)),
                "a host name has letters, digits, `-` and dots",
            );
        }
        if edge(label.bytes().next()) || edge(label.bytes().last()) {
            return Wrong::new(
                "a part that begins or ends with `-` in a host name",
                "DNS has no such name",
            );
        }
    }
    Ok(())
}

fn split_port(rest: &str) -> (&str, Option<&str>) {
    // The colons of an IPv6 address are inside brackets.
    let after = rest.rfind(']').map_or(0, |i| i + 1);
    match rest[after..].rfind(':') {
        Some(i) => (&rest[..after + i], Some(&rest[after + i + 1..])),
        None => (rest, None),
    }
}
