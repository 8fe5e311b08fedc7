//! The canonical form of requests, written by hand: it is hashed for every decision, and serde takes
//! several times as long for it as the decision itself. Property tests compare the two.

use std::io::Write;
use std::net::IpAddr;

use super::{Approval, Context, Destination, Request, What};
use crate::path::HostPath;
use aegis_profile::hash::Hash;

/// What `serde_json` writes.
pub(super) fn request(request: &Request) -> Vec<u8> {
    let Request {
        approvals,
        context,
        what,
    } = request;
    // Most fit, so that it is allocated once.
    let mut out = Out(Vec::with_capacity(1024));
    out.raw("{");
    if !approvals.is_empty() {
        out.raw(r#""approvals":["#);
        out.list(approvals, Out::approval);
        out.raw("],");
    }
    out.raw(r#""context":"#);
    out.context(context);
    out.raw(r#","what":"#);
    out.what(what);
    out.raw("}");
    out.0
}

/// What `serde_json` writes.
pub(super) fn what(what: &What) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(1024));
    out.what(what);
    out.0
}

struct Out(Vec<u8>);

impl Out {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn text(&mut self, text: &str) {
        let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
        // All of them, so that several are looked at at once.
        if text.bytes().fold(false, |any, byte| any | special(byte)) {
            return self.by_serde(text);
        }
        self.0.push(b'"');
        self.raw(text);
        self.0.push(b'"');
    }

    fn by_serde(&mut self, text: &str) {
        match serde_json::to_writer(&mut self.0, text) {
            Ok(()) => {}
            Err(error) => unreachable!("text has a JSON form, and a vector room: {error}"),
        }
    }

    fn path(&mut self, path: &HostPath) {
        if let Ok(text) = std::str::from_utf8(&path.0) {
            return self.text(text);
        }
        self.raw(r#"{"base16":""#);
        for byte in &path.0 {
            self.display(format_args!("{byte:02x}"));
        }
        self.raw(r#""}"#);
    }

    fn hash(&mut self, hash: &Hash) {
        self.0.push(b'"');
        self.0.extend_from_slice(&hash.hex());
        self.0.push(b'"');
    }

    fn number(&mut self, number: u64) {
        // From the last digit on; 2^64 has 20.
        let mut digits = [0; 20];
        let mut left = number;
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                return self
                    .0
                    .extend_from_slice(digits.get(at..).unwrap_or_default());
            }
        }
    }

    fn display(&mut self, text: std::fmt::Arguments<'_>) {
        match self.0.write_fmt(text) {
            Ok(()) => {}
            Err(error) => unreachable!("a vector has room: {error}"),
        }
    }

    fn bool(&mut self, flag: bool) {
        self.raw(if flag { "true" } else { "false" });
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            each(self, item);
        }
    }

    /// A number that may be left out; `name` with its comma and colon.
    fn told(&mut self, name: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.raw(name);
            self.number(number);
        }
    }

    fn approval(&mut self, approval: &Approval) {
        let Approval {
            at,
            command,
            expires,
            held_for,
            id,
            policy,
            profile_hash,
            skill,
            what,
        } = approval;
        self.raw(r#"{"at":"#);
        self.number(*at);
        self.raw(r#","command":"#);
        self.hash(command);
        self.raw(r#","expires":"#);
        self.number(*expires);
        self.raw(r#","held_for":"#);
        self.hash(held_for);
        self.raw(r#","id":"#);
        self.text(id);
        self.raw(r#","policy":"#);
        self.hash(policy);
        self.raw(r#","profile_hash":"#);
        self.hash(profile_hash);
        if let Some(skill) = skill {
            self.raw(r#","skill":"#);
            self.path(skill);
        }
        self.raw(r#","what":"#);
        self.hash(what);
        self.raw("}");
    }

    fn context(&mut self, context: &Context) {
        let Context {
            home,
            profile,
            profile_hash,
            skill,
            uid,
            work,
        } = context;
        self.raw(r#"{"home":"#);
        self.path(home);
        self.raw(r#","profile":"#);
        self.text(profile);
        self.raw(r#","profile_hash":"#);
        self.hash(profile_hash);
        if let Some(skill) = skill {
            self.raw(r#","skill":"#);
            self.path(skill);
        }
        self.raw(r#","uid":"#);
        self.number(u64::from(*uid));
        self.raw(r#","work":"#);
        self.path(work);
        self.raw("}");
    }

    fn what(&mut self, what: &What) {
        self.raw(r#"{"action":""#);
        self.raw(what.action());
        self.raw(r#"""#);
        match what {
            What::Device { device } => {
                self.raw(r#","device":"#);
                self.text(device);
            }
            What::Environment { name } | What::Syscall { name } => {
                self.raw(r#","name":"#);
                self.text(name);
            }
            What::Read { path, tree } | What::Write { path, tree } => self.tree(path, *tree),
            What::Limit { limit, value } => {
                self.raw(r#","limit":"#);
                self.text(limit);
                self.told(r#","value":"#, *value);
            }
            What::NetHost {} => {}
            What::Listen { port } => {
                self.raw(r#","port":"#);
                self.number(u64::from(*port));
            }
            What::Net(destination) => self.destination(destination),
            What::Secret {
                alias,
                host,
                inject,
            } => {
                self.raw(r#","alias":"#);
                self.text(alias);
                self.raw(r#","host":"#);
                self.text(host);
                if let Some(inject) = inject {
                    self.raw(r#","inject":"#);
                    self.text(inject.name());
                }
            }
            What::Exec { name, path, tree } => {
                if let Some(name) = name {
                    self.raw(r#","name":"#);
                    self.text(name);
                }
                self.tree(path, *tree);
            }
            What::Tool { command, grants } => {
                self.raw(r#","command":["#);
                self.list(command, Self::path);
                self.raw(r#"],"grants":["#);
                self.list(grants, Self::what);
                self.raw("]");
            }
        }
        self.raw("}");
    }

    fn tree(&mut self, path: &HostPath, tree: bool) {
        self.raw(r#","path":"#);
        self.path(path);
        self.raw(r#","tree":"#);
        self.bool(tree);
    }

    fn destination(&mut self, destination: &Destination) {
        let Destination {
            address,
            host,
            method,
            path,
            port,
            request_size,
            requests_last_minute,
            response_size,
            scheme,
        } = destination;
        if let Some(address) = address {
            self.raw(r#","address":""#);
            self.address(*address);
            self.raw(r#"""#);
        }
        self.raw(r#","host":"#);
        self.text(host);
        if let Some(method) = method {
            self.raw(r#","method":"#);
            self.text(method);
        }
        if let Some(path) = path {
            self.raw(r#","path":"#);
            self.text(path);
        }
        self.raw(r#","port":"#);
        self.number(u64::from(*port));
        self.told(r#","request_size":"#, *request_size);
        self.told(r#","requests_last_minute":"#, *requests_last_minute);
        self.told(r#","response_size":"#, *response_size);
        self.raw(r#","scheme":"#);
        self.text(scheme.name());
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                for (at, octet) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        self.raw(".");
                    }
                    self.number(u64::from(octet));
                }
            }
            IpAddr::V6(address) => self.display(format_args!("{address}")),
        }
    }
}
