//! `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`: one encrypted value.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use data_encoding::BASE64;
use zeroize::Zeroizing;

/// SOPS takes nonces of 32 bytes.
type Cipher = AesGcm<Aes256, U32>;

/// The key of a file.
pub(super) struct DataKey(Cipher);

impl DataKey {
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let cipher = Cipher::new_from_slice(bytes);
        Ok(Self(
            cipher.map_err(|_| "the key of the file has not 32 bytes")?,
        ))
    }

    /// Decrypts a value as it is written.
    pub fn decrypt(&self, text: &str, additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let parts =
            Parts::of(text).ok_or("it ought to be encrypted, and is not as SOPS writes it")?;
        let decoded = |text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| "it is damaged (not base64)")
        };
        let (nonce, tag) = (decoded(parts.iv)?, decoded(parts.tag)?);
        if nonce.len() != 32 || tag.len() != 16 {
            return Err("it is encrypted as this version does not know: its nonce has 32 bytes, and its tag 16".into());
        }
        let mut plain = Zeroizing::new(decoded(parts.data)?);
        let (nonce, tag) = (Nonce::from_slice(&nonce), Tag::from_slice(&tag));
        let opened = self
            .0
            .decrypt_in_place_detached(nonce, additional, &mut plain, tag);
        opened.map_err(|_| "it is damaged, or was moved in the file")?;
        Ok(plain)
    }
}

struct Parts<'t> {
    data: &'t str,
    iv: &'t str,
    tag: &'t str,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let mut fields = inner.split(',');
        let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix(':');
        let parts = Self {
            data: field("data")?,
            iv: field("iv")?,
            tag: field("tag")?,
        };
        let kind = field("type")?;
        let known = ["str", "int", "float", "bool", "bytes", "time"].contains(&kind);
        (known && fields.next().is_none()).then_some(parts)
    }
}
