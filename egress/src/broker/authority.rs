//! The authority of one run: its key is nowhere but here, and only that run's sandbox trusts it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

/// The subject of every run's authority. OpenSSL finds it by a hash of this.
const NAME: &str = "Aegis";

/// Clocks differ, also that of the sandbox.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// The longest that all programs accept of a server (CA/Browser Forum, 6.3.2), less [`BEFORE`].
const VALID: Duration = Duration::from_secs(396 * 24 * 3600);

/// As many certificates are kept. Who asks for more has them made again.
const MOST_KEPT: usize = 256;

/// Something cannot be made: the error is of the library.
pub(crate) type Unmade = rcgen::Error;

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// The key of all servers.
    servers: KeyPair,
    signing: Arc<dyn SigningKey>,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    last: u64,
    by_host: HashMap<Arc<str>, Arc<CertifiedKey>>,
}

impl Authority {
    /// A new one, which is good for nothing below the names in `except`: there the server is spoken to directly.
    pub fn new(except: &[&str]) -> Result<Self, Unmade> {
        let mut params = params(NAME)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if !except.is_empty() {
            let names = except.iter();
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: Vec::new(),
                excluded_subtrees: names
                    .map(|name| GeneralSubtree::DnsName((*name).to_owned()))
                    .collect(),
            });
        }
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        let servers = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(servers.serialize_der()));
        let signing = any_ecdsa_type(&der).map_err(|_| Unmade::CouldNotParseKeyPair)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            pem,
            servers,
            signing,
            made: Mutex::default(),
        })
    }

    /// Its certificate, as text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate of a server: a name, or an address.
    pub fn server(&self, host: &str) -> Result<Arc<CertifiedKey>, Unmade> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.by_host.get(host) {
            return Ok(known.clone());
        }
        let mut params = params(host)?;
        made.last += 1;
        // Number 1 is the authority's own.
        params.serial_number = Some(SerialNumber::from(made.last + 1));
        params.subject_alt_names = vec![match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.servers, &self.issuer)?;
        let chain = vec![certificate.der().clone()];
        let server = Arc::new(CertifiedKey::new(chain, self.signing.clone()));
        if made.by_host.len() >= MOST_KEPT {
            made.by_host.clear();
        }
        made.by_host.insert(host.into(), server.clone());
        Ok(server)
    }
}

fn params(name: &str) -> Result<CertificateParams, Unmade> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut subject = DistinguishedName::new();
    // Longer ones are not allowed there (RFC 5280, appendix A), and are in the other place alone.
    if name.len() <= 64 {
        subject.push(DnType::CommonName, name);
    }
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from(1_u64));
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + VALID).into();
    Ok(params)
}
