//! Whom Java trusts: a key store in its own format (JKS, version 2), of nothing but certificates.

use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
/// An entry that is a trusted certificate.
const TRUSTED: u32 = 2;

/// The password with which every list of authorities is sealed, and which everybody knows.
const PASSWORD: &str = "changeit";

/// Begins what the digest is over (`JavaKeyStore.getPreKeyedHash`).
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// The store of some certificates.
pub(crate) fn store<'c>(certificates: impl Iterator<Item = &'c CertificateDer<'c>>) -> Vec<u8> {
    let mut store = Vec::new();
    for word in [MAGIC, VERSION, 0] {
        store.extend(word.to_be_bytes());
    }
    let mut count = 0_u32;
    for certificate in certificates {
        store.extend(TRUSTED.to_be_bytes());
        text(&mut store, &format!("a{count}"));
        // When it was added, which nobody looks at.
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend((certificate.len() as u32).to_be_bytes());
        store.extend_from_slice(certificate);
        count += 1;
    }
    store[8..12].copy_from_slice(&count.to_be_bytes());
    let mut digest = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        digest.update(unit.to_be_bytes());
    }
    digest.update(WHITENER);
    digest.update(&store);
    store.extend(digest.finalize());
    store
}

fn text(store: &mut Vec<u8>, text: &str) {
    store.extend((text.len() as u16).to_be_bytes());
    store.extend(text.as_bytes());
}
