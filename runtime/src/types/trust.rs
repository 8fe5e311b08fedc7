//! Where programs in a sandbox with hosts by name find whom TLS trusts: the host's authorities, and the run's own.

use std::ffi::CStr;

/// The directory: Debian's, and OpenSSL's there.
pub const DIRECTORY: &str = "/etc/ssl/certs";

/// In it, all authorities in one file (PEM): those of the host, and the run's own.
pub const BUNDLE: &CStr = c"ca-certificates.crt";

/// The run's own authority alone (PEM).
pub const AUTHORITY: &CStr = c"aegis-authority.pem";

/// What Node.js trusts beside the roots that it has (PEM): the run's own authority, and those that the caller's Node.js does.
pub const FOR_NODE: &CStr = c"aegis-node.pem";

/// By this name OpenSSL finds it: the hash of its subject, `CN=Aegis` (`openssl-rehash(1)`).
pub const AUTHORITY_LINK: &CStr = c"27b7e378.0";

/// The authorities of [`BUNDLE`] as Java reads them (JKS).
pub const JAVA: &CStr = c"java/cacerts";

/// Variables by which programs are told of [`BUNDLE`] that do not look there.
pub const BUNDLE_VARIABLES: [&str; 6] = [
    "AWS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// The variable of [`FOR_NODE`].
pub const NODE_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";

/// Whether it is one of these variables.
pub fn is_variable(name: &str) -> bool {
    name == NODE_VARIABLE || BUNDLE_VARIABLES.contains(&name)
}
