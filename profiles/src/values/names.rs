//! Short names: of profiles, headers, variables and system calls.

use crate::error::quote;
use crate::model::{Args, BaselineFile, Sockets, SyscallBase};
use crate::units::Wrong;

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\n', '\t'])
}

/// The name of a profile.
pub(crate) fn name(text: &str) -> Result<String, Wrong> {
    if !is_line(text) {
        return Err(Wrong {
            message: "a name is one line, and not empty".to_owned(),
            help: None,
        });
    }
    Ok(text.to_owned())
}

/// What `extends` may name.
pub(crate) fn reference(text: &str) -> Result<String, Wrong> {
    let help = if !is_line(text) {
        "name a built-in profile, or a file"
    } else if text == "-" || text.starts_with(['~', '$']) {
        "write the file's path, relative to this one"
    } else {
        return Ok(text.to_owned());
    };
    Wrong::new("not a profile's name or file", help)
}

/// The alias of a secret.
pub fn alias(text: &str) -> Result<String, Wrong> {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric())
        || text.len() > 64
        || !text.bytes().all(known)
    {
        return Wrong::new(
            "this cannot be an alias",
            "an alias has up to 64 letters, digits, `_`, `.` and `-`, and begins with a letter or digit",
        );
    }
    Ok(text.to_owned())
}

/// Headers that say where a request goes, how long it is, or how its response comes. A value in one of these would change what was decided.
/// Those that begin with `proxy-` or `sec-websocket-` do so too.
const STEERING: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "if-range",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is one of those. Servers that make variables of headers take `_` for `-`.
fn is_steering(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    STEERING.contains(&&*name)
        || ["proxy-", "sec-websocket-"]
            .iter()
            .any(|begin| name.starts_with(begin))
}

/// A header with `{}` where the secret goes.
pub(crate) fn header(text: &str) -> Result<String, Wrong> {
    let fix = "write `Name: value` with one `{}`, such as `Authorization: Bearer {}`";
    let Some((name, value)) = text.split_once(':') else {
        return Wrong::new("not a header", fix);
    };
    // A token, as in RFC 9110 section 5.6.2.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) || !is_line(text) {
        return Wrong::new("not a header", fix);
    }
    if is_steering(name) {
        return Wrong::new(
            format!("`{name}` says where a request goes or how it is read, and holds no secret"),
            "name the header by which the service knows you, such as `Authorization` or `X-Api-Key`",
        );
    }
    if value.matches(['{', '}']).count() != 2 || !value.contains("{}") {
        return Wrong::new("the header needs one `{}`, where the secret goes", fix);
    }
    Ok(text.to_owned())
}

/// Letters that mean nothing in a URL: `unreserved` of RFC 3986.
fn is_unreserved(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().all(known)
}

/// The name of a parameter in the query of a URL.
pub(crate) fn parameter(text: &str) -> Result<String, Wrong> {
    if text.is_empty() || text.len() > 64 || !is_unreserved(text) {
        return Wrong::new(
            "not a parameter's name",
            "a name has up to 64 letters, digits, `_`, `.`, `~` and `-`: `query: api_key`",
        );
    }
    Ok(text.to_owned())
}

/// What a key looks like.
pub(crate) fn like(text: &str) -> Result<String, Wrong> {
    let fix = "write letters, digits, `_`, `.`, `~` and `-`, with one `{}` for the part that differs: `ghp_{}`";
    let Some((before, after)) = text.split_once("{}") else {
        return Wrong::new("what a key looks like needs one `{}`", fix);
    };
    let is_short = [before, after].iter().all(|part| part.len() <= 64);
    if !is_short || !is_unreserved(before) || !is_unreserved(after) {
        return Wrong::new("not what a key looks like", fix);
    }
    Ok(text.to_owned())
}

/// The name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<String, Wrong> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.contains('*') {
        return Wrong::new("a pattern for variables", "name each variable");
    }
    if let Some((name, _)) = text.split_once('=') {
        let help = format!("write `{}` under `set:`", quote(name));
        return Wrong::new("a value in the list of names", help);
    }
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(known) {
        return Wrong::new(
            "not a variable's name",
            "a name has letters, digits and `_`",
        );
    }
    Ok(text.to_owned())
}

/// A baseline: the name of a file, and its hash.
pub(crate) fn baseline(text: &str) -> Result<BaselineFile, Wrong> {
    let read = || {
        let (file, hash) = text.rsplit_once(" sha256:")?;
        let is_name = is_line(file) && !file.contains('/') && !matches!(file, "." | "..");
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_hash = hash.len() == 64 && hash.bytes().all(is_digit);
        (is_name && is_hash).then(|| BaselineFile {
            file: file.to_owned(),
            hash: hash.to_owned(),
        })
    };
    read().ok_or_else(|| {
        Wrong::of(
            "not the name of a file with its hash",
            "`aegis-learn -o` writes both: `skill.baseline.json sha256:` and 64 digits",
        )
    })
}

/// What becomes of words after the profile.
pub(crate) fn args(text: &str) -> Result<Args, Wrong> {
    match text {
        "replace" => Ok(Args::Replace),
        "append" => Ok(Args::Append),
        _ => Wrong::new("unknown word", "write `replace` or `append`"),
    }
}

/// Which Unix sockets may be made.
pub(crate) fn sockets(text: &str) -> Result<Sockets, Wrong> {
    match text {
        "none" => Ok(Sockets::None),
        "private" => Ok(Sockets::Private),
        _ => Wrong::new("unknown word", "write `none` or `private`"),
    }
}

/// The name of a set of system calls.
pub(crate) fn syscall_base(text: &str) -> Result<SyscallBase, Wrong> {
    match text {
        "default" => Ok(SyscallBase::Default),
        "minimal" => Ok(SyscallBase::Minimal),
        "learned" => Ok(SyscallBase::Learned),
        _ => Wrong::new(
            "unknown set of system calls",
            "write `default`, `minimal` or `learned`",
        ),
    }
}

/// The name of a system call. The runtime checks whether the kernel has it.
pub(crate) fn syscall(text: &str) -> Result<String, Wrong> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if text.is_empty() || !text.bytes().all(known) {
        return Wrong::new(
            "not a system call's name",
            "write the kernel's name, such as `openat2`",
        );
    }
    Ok(text.to_owned())
}
