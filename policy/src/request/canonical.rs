//! The canonical form of requests, written by hand: it is hashed for every decision, and serde would take
//! several times as long as the decision itself. Property tests compare the two.

use std::io::Write;
use std::net::IpAddr;

use super::{Alias, Approval, Context, Destination, Request, What};
use crate::model::{AnomalyKind, Inject, Scheme};
use crate::path::HostPath;
use aegis_profile::hash::Hash;

/// What `serde_json` writes.
pub(super) fn request(request: &Request) -> Vec<u8> {
    written(request)
}

/// What `serde_json` writes.
pub(super) fn what(what: &What) -> Vec<u8> {
    written(what)
}

fn written(value: &impl Canonical) -> Vec<u8> {
    // Most requests fit, and allocate once.
    let mut out = Vec::with_capacity(1024);
    value.write(&mut out);
    out
}

/// A value with a canonical form.
trait Canonical {
    fn write(&self, out: &mut Vec<u8>);

    /// As a member of an object; `key` with a comma before it, its quotes and its colon.
    fn member(&self, key: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
        self.write(out);
    }
}

/// An object: the first member's comma becomes its brace.
fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    members(out);
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Members of an object, in the order of their names.
macro_rules! members {
    ($out:ident: $($field:ident),*) => {
        $($field.member(concat!(",\"", stringify!($field), "\":"), $out);)*
    };
}

/// Structs whose canonical form is an object of all their fields.
macro_rules! objects {
    ($($type:ident { $($field:ident),* })*) => {$(
        impl $type {
            fn members(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                members!(out: $($field),*);
            }
        }

        impl Canonical for $type {
            fn write(&self, out: &mut Vec<u8>) {
                object(out, |out| self.members(out));
            }
        }
    )*};
}

objects! {
    Approval { at, command, expires, held_for, id, policy, profile_hash, skill, what }
    Alias { name, place, trusted }
    Destination {
        address, host, method, path, port, request_size, requests_last_minute, response_size, scheme
    }
}

impl Canonical for Context {
    fn write(&self, out: &mut Vec<u8>) {
        let Self {
            aliases,
            home,
            profile,
            profile_hash,
            skill,
            uid,
            work,
        } = self;
        object(out, |out| {
            if !aliases.is_empty() {
                members!(out: aliases);
            }
            members!(out: home, profile, profile_hash, skill, uid, work);
        });
    }
}

impl Canonical for Request {
    fn write(&self, out: &mut Vec<u8>) {
        let Self {
            approvals,
            context,
            what,
        } = self;
        object(out, |out| {
            if !approvals.is_empty() {
                members!(out: approvals);
            }
            members!(out: context, what);
        });
    }
}

/// The members of each variant.
macro_rules! variants {
    ($what:ident, $out:ident: $($variant:ident { $($field:ident),* })*) => {
        match $what {
            $(What::$variant { $($field),* } => { members!($out: $($field),*); })*
            What::Net(destination) => destination.members($out),
            What::Read { except, path, tree } | What::Write { except, path, tree } => {
                if !except.is_empty() {
                    members!($out: except);
                }
                members!($out: path, tree);
            }
            What::Exec { except, name, path, tree } => {
                if !except.is_empty() {
                    members!($out: except);
                }
                members!($out: name, path, tree);
            }
        }
    };
}

impl Canonical for What {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"action":""#);
        out.extend_from_slice(self.action().as_bytes());
        out.push(b'"');
        variants! {
            self, out:
            Anomaly { kind, of }
            Device { device }
            Environment { name }
            Limit { limit, value }
            Listen { port }
            NetHost {}
            Secret { alias, host, inject }
            Sockets { name }
            Syscall { name }
            Tool { command, grants }
        }
        out.push(b'}');
    }
}

/// An absent value is left out.
impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn member(&self, key: &str, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.member(key, out);
        }
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, item) in self.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            item.write(out);
        }
        out.push(b']');
    }
}

impl Canonical for str {
    fn write(&self, out: &mut Vec<u8>) {
        let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
        // Without an early exit, so that the compiler can check several at once.
        if self.bytes().fold(false, |any, byte| any | special(byte)) {
            match serde_json::to_writer(out, self) {
                Ok(()) => return,
                Err(error) => unreachable!("text has a JSON form, and a vector room: {error}"),
            }
        }
        out.push(b'"');
        out.extend_from_slice(self.as_bytes());
        out.push(b'"');
    }
}

impl Canonical for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl Canonical for HostPath {
    fn write(&self, out: &mut Vec<u8>) {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return text.write(out);
        }
        out.extend_from_slice(br#"{"base16":""#);
        for byte in &self.0 {
            display(format_args!("{byte:02x}"), out);
        }
        out.extend_from_slice(br#""}"#);
    }
}

impl Canonical for Hash {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&self.hex());
        out.push(b'"');
    }
}

impl Canonical for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        // From the last digit on; 2^64 has 20.
        let mut digits = [0; 20];
        let mut left = *self;
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return out.extend_from_slice(digits.get(at..).unwrap_or_default());
            }
        }
    }
}

macro_rules! as_others {
    ($($type:ty: |$value:ident| $other:expr;)*) => {$(
        impl Canonical for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let $value = self;
                $other.write(out);
            }
        }
    )*};
}

as_others! {
    u32: |number| u64::from(*number);
    u16: |number| u64::from(*number);
    AnomalyKind: |kind| kind.name();
    Inject: |inject| inject.name();
    Scheme: |scheme| scheme.name();
}

impl Canonical for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Canonical for IpAddr {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self {
            // Several times as fast as its `Display`, and part of every request with a resolved host.
            Self::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    u64::from(octet).write(out);
                }
            }
            Self::V6(address) => display(format_args!("{address}"), out),
        }
        out.push(b'"');
    }
}

fn display(text: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    match out.write_fmt(text) {
        Ok(()) => {}
        Err(error) => unreachable!("a vector has room: {error}"),
    }
}
