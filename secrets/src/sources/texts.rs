//! The address of a Vault server, and a path in it.

use std::fmt;

use aegis_profile::syntax::Wrong;

/// The address of a server: its scheme, its host, and its port where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    loopback: bool,
}

impl Address {
    /// Parses an address. Anything but `https` is for this host alone: the token and the value would be readable on the way.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let fix = "write the address of the server, such as `https://vault.example:8200`";
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| Wrong::of("this is not an address", fix))?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        if authority.is_empty() || !authority.bytes().all(allowed) {
            return Wrong::new("this is not the address of a server", fix);
        }
        let (host, port) = match authority
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
            Some(_) => return Wrong::new("this is not the address of a server", fix),
            None => match authority.split_once(':') {
                Some((host, _)) => (host, &authority[host.len()..]),
                None => (authority, ""),
            },
        };
        let number = port.strip_prefix(':').map(str::parse::<u16>);
        if host.is_empty() || !(port.is_empty() || matches!(number, Some(Ok(1..)))) {
            return Wrong::new("this is not the address of a server", fix);
        }
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        match scheme {
            "https" => {}
            "http" if loopback => {}
            "http" => {
                return Wrong::new(
                    "the token would go over the network for everybody to read",
                    format!("write `https://{authority}`"),
                );
            }
            _ => return Wrong::new("this is not an address that Vault has", fix),
        }
        Ok(Self {
            text: format!("{scheme}://{authority}"),
            loopback,
        })
    }

    /// Whether it is on this host.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a secret is in Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPath {
    mount: String,
    below: String,
}

impl VaultPath {
    /// Parses a path: the mount, and what is in it.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~@+=:".contains(&b);
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(known);
        match text.split_once('/') {
            Some((mount, below)) if part(mount) && below.split('/').all(part) => Ok(Self {
                mount: mount.to_owned(),
                below: below.to_owned(),
            }),
            _ => Wrong::new(
                "this is not a path in Vault",
                "write the mount and the path in it, such as `secret/my/app`, without `data`: letters, digits and `-._~@+=:`",
            ),
        }
    }

    /// Where its data is, below the server's address: the API of the key-value store, version 2.
    pub fn data(&self) -> String {
        format!("/v1/{}/data/{}", self.mount, self.below)
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.mount, self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_over_a_network_in_clear() {
        for right in [
            "https://vault.example",
            "https://vault.example:8200/",
            "https://[2001:db8::1]:8200",
            "http://localhost:8200",
            "http://127.0.0.1:8200",
            "http://[::1]:1",
        ] {
            assert_eq!(
                Address::parse(right).unwrap().to_string(),
                right.trim_end_matches('/')
            );
        }
        for wrong in [
            "http://vault.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://10.0.0.1",
            "http://127.0.0.1@vault.example",
            "https://user:pass@vault.example",
            "https://vault.example/path",
            "https://vault.example?x",
            "https://:8200",
            "https://vault.example:",
            "https://vault.example:0",
            "https://vault.example:99999",
            "https://[::1]x",
            "https://[nothing]",
            "ftp://vault.example",
            "vault.example",
            "https://",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_leads_nowhere_else() {
        assert_eq!(
            VaultPath::parse("secret/my/app").unwrap().data(),
            "/v1/secret/data/my/app"
        );
        for wrong in [
            "secret",
            "/secret/a",
            "secret/",
            "secret/../sys",
            "secret/a?b",
            "secret/a//b",
            "secret/%2e%2e",
        ] {
            assert!(VaultPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
