//! The caller's proxy, which a company's network may have in place of a way out: connections are made through it with `CONNECT`
//! (RFC 9110, 9.3.6), to the address that was decided. The variables are those that `curl(1)` reads.

use std::net::{IpAddr, SocketAddr};

use aegis_policy::model::Scheme;
use aegis_policy::request::Destination;
use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::broker::resolve::Resolver;
use crate::protocol;

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// The proxies, and for whom they are not.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Except>,
}

/// One proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
}

/// Who is reached without a proxy.
#[derive(Debug, PartialEq)]
enum Except {
    All,
    /// A name and all below it, or an address.
    Host(String),
    /// Addresses that begin with as many bits.
    Network(IpAddr, u32),
}

impl Except {
    fn of(item: &str) -> Self {
        if item == "*" {
            return Self::All;
        }
        let network = item.split_once('/').and_then(|(address, length)| {
            Some(Self::Network(address.parse().ok()?, length.parse().ok()?))
        });
        let address = item.trim_start_matches('[').split(']').next();
        let name = match item.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => address.unwrap_or_default(),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.');
        network.unwrap_or_else(|| Self::Host(name.to_ascii_lowercase()))
    }

    fn covers(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Host(name) => {
                let below = host.strip_suffix(name.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    || name.parse() == Ok(address)
            }
            Self::Network(network, length) => {
                let bits = |address: IpAddr| match address {
                    IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
                    IpAddr::V6(address) => address.to_bits(),
                };
                let differ = (bits(*network) ^ bits(address)).leading_zeros();
                network.is_ipv4() == address.is_ipv4() && differ >= *length
            }
        }
    }
}

impl Proxies {
    /// Reads what the variables say.
    ///
    /// # Errors
    ///
    /// One of them names no proxy that can be used.
    pub fn of(told: &protocol::Proxies) -> Result<Self, String> {
        let except = told.except.as_deref().unwrap_or_default();
        let proxy = |name: &str, told: &Option<String>| {
            let proxy = told.as_deref().map(Proxy::of).transpose();
            proxy.map_err(|why| format!("the caller's {name}, or all_proxy: {why}"))
        };
        Ok(Self {
            http: proxy("http_proxy", &told.http)?,
            https: proxy("https_proxy", &told.https)?,
            except: (except.split(|c: char| c == ',' || c.is_whitespace()))
                .filter(|item| !item.is_empty())
                .map(Except::of)
                .collect(),
        })
    }

    /// The one that a connection is made through; never one to the host itself.
    pub fn to(&self, to: &Destination, address: IpAddr) -> Option<&Proxy> {
        let proxy = match to.scheme {
            Scheme::Http => &self.http,
            _ => &self.https,
        };
        let real = address.to_canonical();
        let is_direct = real.is_loopback()
            || real.is_unspecified()
            || (self.except.iter()).any(|except| except.covers(&to.host, address));
        proxy.as_ref().filter(|_| !is_direct)
    }
}

impl Proxy {
    fn of(text: &str) -> Result<Self, String> {
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        // It may have a password, and is not repeated.
        let url = Url::parse(&whole).map_err(|error| format!("the proxy's address: {error}"))?;
        if url.scheme() != "http" {
            return Err(format!(
                "the proxy is spoken to by `{}`, and this version speaks `http` to proxies",
                url.scheme()
            ));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err("the proxy's address has no host".to_owned()),
        };
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!url.username().is_empty()).then(|| {
            let mut pair = decoded(url.username());
            pair.push(b':');
            pair.extend(decoded(url.password().unwrap_or_default()));
            format!("Basic {}", BASE64.encode(&pair))
        });
        Ok(Self {
            host,
            port: url.port_or_known_default().unwrap_or(80),
            authorization,
        })
    }

    /// Connects to an address through it. Takes as long as it takes.
    pub async fn connect(&self, resolver: &Resolver, to: SocketAddr) -> Result<TcpStream, String> {
        let Self { host, port, .. } = self;
        let through = |why: String| format!("through the proxy {host} port {port}: {why}");
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => resolver.addresses(host, true).await.map_err(through)?,
        };
        let addresses: Vec<SocketAddr> = (addresses.into_iter())
            .map(|address| SocketAddr::new(address, *port))
            .collect();
        let failed = |error: std::io::Error| through(error.to_string());
        let mut stream = TcpStream::connect(&*addresses).await.map_err(failed)?;
        let authorization = (self.authorization.as_ref())
            .map(|value| format!("Proxy-Authorization: {value}\r\n"))
            .unwrap_or_default();
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        answered(&mut stream).await.map_err(through)?;
        Ok(stream)
    }
}

/// Reads the head of the answer, and no more: what follows is the server's.
async fn answered(stream: &mut TcpStream) -> Result<(), String> {
    let mut head = vec![0; LONGEST_HEAD];
    let mut had = 0;
    loop {
        let failed = |error: std::io::Error| error.to_string();
        let length = stream.peek(&mut head[had..]).await.map_err(failed)?;
        if length == 0 {
            return Err("it was closed, or its answer is too long".to_owned());
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let read = response.parse(&head[..had + length]);
        let status = response.code.unwrap_or_default();
        let taken = match read.map_err(|error| format!("no answer of HTTP: {error}"))? {
            httparse::Status::Complete(end) => end - had,
            httparse::Status::Partial => length,
        };
        let is_complete = read.is_ok_and(|read| read.is_complete());
        stream
            .read_exact(&mut head[had..had + taken])
            .await
            .map_err(failed)?;
        had += taken;
        match (is_complete, status) {
            (false, _) => {}
            (true, 200..300) => return Ok(()),
            (true, 407) => return Err("it wants a name and a password".to_owned()),
            (true, status) => return Err(format!("it answered {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(https: &str, except: &str) -> Proxies {
        let told = protocol::Proxies {
            http: None,
            https: Some(https.to_owned()),
            except: Some(except.to_owned()),
        };
        Proxies::of(&told).unwrap()
    }

    #[test]
    fn a_proxy_is_named_as_for_other_programs() {
        for (text, host, port, authorization) in [
            ("proxy.corp:3128", "proxy.corp", 3128, None),
            ("http://proxy.corp", "proxy.corp", 80, None),
            ("http://[2001:db8::1]:8080/", "2001:db8::1", 8080, None),
            (
                "http://me:a%40b@10.0.0.1:8080",
                "10.0.0.1",
                8080,
                Some("Basic bWU6YUBi"),
            ),
        ] {
            let proxy = Proxy::of(text).unwrap();
            assert_eq!((&*proxy.host, proxy.port), (host, port), "{text}");
            assert_eq!(proxy.authorization.as_deref(), authorization, "{text}");
        }
        for (text, why) in [
            ("socks5://secret@proxy.corp:1080", "socks5"),
            ("http://", "host"),
            ("http://proxy.corp:port", "port"),
        ] {
            let error = Proxy::of(text).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("secret"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn who_is_excepted_is_reached_directly() {
        let public: IpAddr = "203.0.113.9".parse().unwrap();
        let inside: IpAddr = "10.1.2.3".parse().unwrap();
        for (except, host, address, goes_through) in [
            ("", "a.example", public, true),
            ("*", "a.example", public, false),
            ("b.example, a.example", "a.example", public, false),
            (".example", "a.example", public, false),
            ("*.a.example", "x.a.example", public, false),
            ("a.example", "xa.example", public, true),
            ("10.0.0.0/8", "a.example", inside, false),
            ("10.0.0.0/8", "a.example", public, true),
            ("203.0.113.9", "a.example", public, false),
            ("b.example a.example:443", "a.example", public, false),
            (
                "[2001:db8::1], x",
                "a.example",
                "2001:db8::1".parse().unwrap(),
                false,
            ),
            ("", "a.example", "0.0.0.0".parse().unwrap(), false),
            ("", "localhost", "127.0.0.1".parse().unwrap(), false),
            ("", "localhost", "::1".parse().unwrap(), false),
        ] {
            let proxies = proxies("proxy.corp:3128", except);
            let to = Destination::connection(Scheme::Https, host, 443);
            assert_eq!(
                proxies.to(&to, address).is_some(),
                goes_through,
                "{except:?} {host}"
            );
            let plain = Destination::connection(Scheme::Http, host, 80);
            assert!(proxies.to(&plain, address).is_none(), "it has none");
        }
    }
}
