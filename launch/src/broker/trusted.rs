//! Whom TLS trusts: on the host, and in a sandbox whose TLS is opened.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aegis_sys::{files, memory};

/// Where distributions have all authorities in one file: Debian and Arch, Fedora, openSUSE, Alpine.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// As many bytes of authorities are read: many times what distributions have.
const MOST: u64 = 8 << 20;

/// The authorities that programs of this caller trust (PEM): those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, as OpenSSL reads them; without
/// these, the host's.
///
/// # Errors
///
/// What the caller names cannot be read.
pub(super) fn roots() -> Result<Vec<u8>, String> {
    let mut roots = Vec::new();
    if let Some(file) = named("SSL_CERT_FILE") {
        add(&mut roots, Path::new(&file)).map_err(|error| {
            let file = Path::new(&file).display();
            format!("SSL_CERT_FILE: {file}: {error}\n  help: name a file of certificates (PEM), or unset it")
        })?;
    }
    for directory in named("SSL_CERT_DIR").iter().flat_map(std::env::split_paths) {
        let files = certificates(&directory).map_err(|error| {
            let directory = directory.display();
            format!("SSL_CERT_DIR: {directory}: {error}\n  help: name directories of certificates (PEM), or unset it")
        })?;
        for file in files {
            // As OpenSSL does: what cannot be read there is nobody.
            let _ = add(&mut roots, &file);
        }
    }
    // Who names a file without any trusts nobody.
    if roots.is_empty() && named("SSL_CERT_FILE").is_none() {
        let _ = (BUNDLES.iter().map(Path::new)).find(|file| add(&mut roots, file).is_ok());
    }
    Ok(roots)
}

/// A variable of the caller's that is not empty.
fn named(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The files of a directory of certificates that OpenSSL would find: named by a hash, and `.0` and on.
fn certificates(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let number = path.extension().and_then(|number| number.to_str());
        if number.is_some_and(|number| number.parse::<u16>().is_ok()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Adds the certificates of a file. Whatever else is in it, such as a private key, is left out.
fn add(roots: &mut Vec<u8>, file: &Path) -> io::Result<()> {
    let left = MOST.saturating_sub(roots.len() as u64);
    let mut bytes = Vec::new();
    let mut file = files::open_regular(file)?.take(left + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > left {
        return Err(io::Error::other("these are too many certificates"));
    }
    add_certificates(roots, &bytes);
    Ok(())
}

/// The words between the dashes of sections that are certificates: OpenSSL reads all three.
const CERTIFICATES: [&[u8]; 3] = [b"CERTIFICATE", b"TRUSTED CERTIFICATE", b"X509 CERTIFICATE"];

/// Adds the sections of a text (PEM, RFC 7468) that are certificates, each whole and with nothing but base64 in it.
fn add_certificates(to: &mut Vec<u8>, text: &[u8]) {
    fn name<'l>(line: &'l [u8], begin: &[u8]) -> Option<&'l [u8]> {
        line.strip_prefix(begin)?.strip_suffix(b"-----")
    }
    let mut section: Option<(&[u8], Vec<u8>)> = None;
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.trim_ascii_end();
        if let Some(begun) = name(line, b"-----BEGIN ") {
            let is_wanted = CERTIFICATES.contains(&begun);
            section = is_wanted.then(|| (begun, [line, b"\n"].concat()));
        } else if let Some((begun, lines)) = &mut section {
            let is_end = name(line, b"-----END ") == Some(*begun);
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
            if !is_end && !line.iter().all(is_base64) {
                section = None;
            } else if is_end || !line.is_empty() {
                lines.extend_from_slice(line);
                lines.push(b'\n');
                if is_end && let Some((_, whole)) = section.take() {
                    to.extend(whole);
                }
            }
        }
    }
}

/// Writes whom a sandbox trusts: the host's authorities and the run's own.
pub(super) fn write(
    files: Vec<OwnedFd>,
    roots: &[u8],
    authority: &str,
    java: Vec<OwnedFd>,
) -> io::Result<()> {
    let mut files = files.into_iter().map(File::from);
    if let Some(mut bundle) = files.next() {
        bundle.write_all(&[roots, authority.as_bytes()].concat())?;
    }
    if let Some(mut own) = files.next() {
        own.write_all(authority.as_bytes())?;
    }
    if let Some(mut for_node) = files.next() {
        let mut all = authority.as_bytes().to_vec();
        // Node.js goes on without what it cannot read, and so do its programs here.
        if let Some(file) = named("NODE_EXTRA_CA_CERTS") {
            let _ = add(&mut all, Path::new(&file));
        }
        for_node.write_all(&all)?;
    }
    if let (Some(mut store), Some(made)) = (files.next(), java.into_iter().next()) {
        let mut bytes = vec![0; memory::length_of_sealed(&made)?.min(2 * MOST) as usize];
        File::from(made).read_exact_at(&mut bytes, 0)?;
        store.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_certificates_of_a_file_is_trusted() {
        let text = b"a comment\n-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\r\n\
-----BEGIN CERTIFICATE-----\r\nQUJD\r\nRA==\r\n-----END CERTIFICATE-----\r\nsecret\n\
-----BEGIN CERTIFICATE-----\nsecret: x\n-----END CERTIFICATE-----\n\
-----BEGIN CERTIFICATE-----\nQQ==\n-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END CERTIFICATE-----\n\
-----BEGIN TRUSTED CERTIFICATE-----\nQg==\n-----END TRUSTED CERTIFICATE-----";
        let mut found = Vec::new();
        add_certificates(&mut found, text);
        assert_eq!(
            String::from_utf8(found).expect("text"),
            "-----BEGIN CERTIFICATE-----\nQUJD\nRA==\n-----END CERTIFICATE-----\n\
-----BEGIN TRUSTED CERTIFICATE-----\nQg==\n-----END TRUSTED CERTIFICATE-----\n"
        );
    }
}
