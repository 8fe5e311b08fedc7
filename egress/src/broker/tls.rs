//! TLS that is opened: to the server it is spoken as a client that trusts whom the host trusts, and to the client as that server, by
//! the run's own authority.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::broker::authority::{Authority, Unmade};
use crate::broker::java;
use crate::broker::names::is_or_is_below;

/// HTTP/1.1 in ALPN (RFC 7301).
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// HTTP/2 there.
pub(crate) const HTTP2: &[u8] = b"h2";

/// As many servers' settings are kept, with what their clients need to begin again more quickly.
const MOST_KEPT: usize = 256;

/// As many of their sessions.
const SESSIONS: usize = 32;

/// Protocols, as they are offered.
type Protocols = Vec<Vec<u8>>;

/// A host, and what is spoken with its clients.
type Server = (Arc<str>, Protocols);

/// Both ends.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    authority: Authority,
    except: Vec<String>,
    /// Whom the host trusts (PEM). Reading it takes milliseconds, and is left until it is needed.
    roots: Vec<u8>,
    verifier: OnceLock<Result<Arc<dyn ServerCertVerifier>, String>>,
    outside: Mutex<HashMap<Protocols, Arc<ClientConfig>>>,
    inside: Mutex<HashMap<Server, Arc<ServerConfig>>>,
}

impl Tls {
    /// `roots`: whom the host trusts (PEM). `except`: names below which nothing is opened.
    pub fn new(roots: Vec<u8>, except: &[&str]) -> Result<Self, Unmade> {
        Ok(Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            authority: Authority::new(except)?,
            except: except.iter().map(|name| (*name).to_owned()).collect(),
            roots,
            verifier: OnceLock::new(),
            outside: Mutex::default(),
            inside: Mutex::default(),
        })
    }

    /// The authority's certificate (PEM).
    pub fn authority(&self) -> &str {
        self.authority.pem()
    }

    /// Whether clients can take the broker for a host: not below a name at which TLS passes through.
    pub fn speaks_for(&self, host: &str) -> bool {
        !self.except.iter().any(|name| is_or_is_below(host, name))
    }

    /// All authorities, as Java reads them.
    pub fn for_java(&self) -> Vec<u8> {
        let roots: Vec<_> = self.roots().collect();
        java::store(roots.iter().chain([self.authority.certificate()]))
    }

    fn roots(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(&self.roots).filter_map(Result::ok)
    }

    /// Speaks TLS to a server, which has to prove that it is this host.
    ///
    /// # Errors
    ///
    /// It does not, or does not speak TLS.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
        offered: Protocols,
    ) -> io::Result<client::TlsStream<S>> {
        let config = self.client(offered).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }

    /// Speaks TLS to a client, as this host.
    ///
    /// # Errors
    ///
    /// It does not trust the run's authority, or does not speak TLS.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &Arc<str>,
        spoken: Protocols,
    ) -> io::Result<server::TlsStream<S>> {
        let config = self.server(host, spoken).map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }

    fn client(&self, offered: Protocols) -> Result<Arc<ClientConfig>, String> {
        let mut known = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(&offered) {
            return Ok(config.clone());
        }
        let verifier = self.verifier.get_or_init(|| self.verifier());
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = config
            .dangerous()
            // The library's own verifier, which all configurations share.
            .with_custom_certificate_verifier(verifier.clone()?)
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&offered);
        let config = Arc::new(config);
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        known.insert(offered, config.clone());
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let mut roots = RootCertStore::empty();
        // What is no authority is left out, as everywhere.
        roots.add_parsable_certificates(self.roots());
        let made = WebPkiServerVerifier::builder_with_provider(roots.into(), self.provider.clone());
        match made.build() {
            Ok(verifier) => Ok(verifier),
            Err(error) => Err(format!("the host trusts nobody: {error}")),
        }
    }

    fn server(&self, host: &Arc<str>, spoken: Protocols) -> Result<Arc<ServerConfig>, String> {
        let key = (host.clone(), spoken);
        let mut known = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(&key) {
            return Ok(config.clone());
        }
        let certified = self.authority.server(host);
        let certified = certified.map_err(|error| error.to_string())?;
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = config
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from((*certified).clone())));
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        config.alpn_protocols.clone_from(&key.1);
        let config = Arc::new(config);
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        known.insert(key, config.clone());
        Ok(config)
    }
}
