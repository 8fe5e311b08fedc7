//! Vault's key-value store, version 2, over HTTP: `GET /v1/MOUNT/data/PATH`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aegis_profile::syntax::quote;
use aegis_sys::private::Others;
use rustix::fs::OFlags;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

use crate::identity::parts;
use crate::sources::{Address, VaultPath};
use crate::value::{self, Value};

/// The longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 4096;

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// Until when it is good, in seconds since 1970, where the server says it.
    pub expires: Option<u64>,
    /// When it was written, in seconds since 1970.
    pub written: Option<u64>,
}

/// Asks a server for a field of a secret.
pub fn get(
    url: &Address,
    path: &VaultPath,
    field: &str,
    token: &Path,
    limit: Duration,
) -> Result<Found, String> {
    let token = read_token(token)?;
    let agent = agent(url, limit)?;
    let request = agent.get(format!("{url}{}", path.data()));
    let request = request
        .header("X-Vault-Token", &*token)
        .header("X-Vault-Request", "true");
    let mut answer = request
        .call()
        .map_err(|error| unreachable_because(&error, limit))?;
    let status = answer.status();
    if status.is_redirection() {
        let to = answer
            .headers()
            .get("location")
            .and_then(|to| to.to_str().ok());
        return Err(format!(
            "it says to ask elsewhere ({}), and the token is for it alone\n  help: name the server that is active",
            quote(to.unwrap_or("nowhere"))
        ));
    }
    let body = value::read(answer.body_mut().as_reader(), LONGEST);
    let body = body.map_err(|error| match error.kind() {
        std::io::ErrorKind::TimedOut => late(limit),
        _ => format!("its answer ends early: {error}"),
    })?;
    if body.len() > LONGEST {
        return Err("its answer is longer than 1 MiB".into());
    }
    match status.as_u16() {
        200 => found(&body, field),
        404 => Err(format!(
            "there is nothing at {path} (status 404), or it is not a key-value store of version 2"
        )),
        status => Err(format!("it refuses (status {status}){}", errors(&body))),
    }
}

fn late(limit: Duration) -> String {
    format!("it took longer than {}s", limit.as_secs_f32())
}

fn unreachable_because(error: &ureq::Error, limit: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => late(limit),
        error => format!("it cannot be asked: {}", quote(&error.to_string())),
    }
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let file = parts(path).and_then(|found| match found {
        None => Ok(None),
        Some((dir, name)) => Ok(dir.file(&name, OFlags::RDONLY, Others::MayNothing)?),
    });
    let file = file.map_err(|error| error.to_string())?;
    let token = file.map(|file| value::read(file, LONGEST_TOKEN));
    let token = token
        .transpose()
        .map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let token = token.ok_or_else(|| {
        format!("there is no token in {shown}\n  help: `vault login` writes one to ~/.vault-token")
    })?;
    let text = std::str::from_utf8(&token).unwrap_or("").trim();
    if text.is_empty() || token.len() > LONGEST_TOKEN || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(format!("what is in {shown} is not a token"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn agent(url: &Address, limit: Duration) -> Result<ureq::Agent, String> {
    let builder = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        // The token is for this server alone.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("aegis/", env!("CARGO_PKG_VERSION")));
    // What is on this host needs no proxy, which could read what goes to it.
    let builder = match url.is_loopback() {
        true => builder.proxy(None),
        false => builder,
    };
    let builder = match url.to_string().starts_with("https") {
        true => builder.https_only(true).tls_config(tls()?),
        false => builder,
    };
    Ok(builder.build().new_agent())
}

/// The host's store of authorities, or the one that SSL_CERT_FILE and SSL_CERT_DIR name.
fn tls() -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err("this host has no certificates of authorities\n  help: install the package ca-certificates, or set SSL_CERT_FILE".into());
    }
    let roots: Vec<_> = found
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Data {
    data: Option<HashMap<String, Field>>,
    metadata: Option<Metadata>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    deletion_time: String,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// What the server says of a request that it refuses.
fn errors(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Errors>(body).map(|said| said.errors);
    match said {
        Ok(said) if !said.is_empty() => format!(": {}", quote(&said.join("; "))),
        _ => String::new(),
    }
}

fn found(body: &[u8], field: &str) -> Result<Found, String> {
    // Nothing of the answer is told: it may be the value.
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        format!(
            "its answer is not that of a key-value store of version 2 (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let data = answer.data.ok_or("there is no data in its answer")?;
    let mut fields = data.data.ok_or("this version of the secret was deleted")?;
    let value = match fields.remove(field) {
        Some(Field::Text(text)) => {
            Value::text(&text).map_err(|why| format!("the field `{field}`: {why}"))?
        }
        Some(Field::Other) => return Err(format!("the field `{field}` is not text")),
        None => return Err(format!("the secret has no field `{field}`")),
    };
    let metadata = data.metadata.unwrap_or_default();
    let leased = (answer.lease_duration > 0).then(|| now().saturating_add(answer.lease_duration));
    let deleted = seconds(&metadata.deletion_time);
    Ok(Found {
        value,
        expires: leased.into_iter().chain(deleted).min(),
        written: seconds(&metadata.created_time),
    })
}

fn seconds(time: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

/// A value of a secret: only text is kept, and wiped.
enum Field {
    Text(Zeroizing<String>),
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Field, E> {
                Ok(Field::Text(Zeroizing::new(text)))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
