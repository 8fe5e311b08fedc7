//! Names of users and groups, as `passwd(5)` and `group(5)` have them. Accounts kept elsewhere have none here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, where that is UTF-8.
    pub name: Option<String>,
    /// Its home directory, as it is written there.
    pub home: Option<PathBuf>,
}

/// The first account of a user id.
pub fn user(uid: u32) -> Option<Account> {
    let text = std::fs::read("/etc/passwd").ok()?;
    let fields = entry(&text, uid)?;
    let path = |field: &&[u8]| OsString::from_vec(field.to_vec()).into();
    Some(Account {
        name: name(&fields),
        home: fields.get(5).map(path),
    })
}

/// The caller's home directory: `$HOME`, where that is absolute, else the one of the account. Unlike
/// [`std::env::home_dir`] it asks no module of the C library's name service, which a static program would have to
/// load.
pub fn home() -> Option<PathBuf> {
    let named = std::env::var_os("HOME").map(PathBuf::from);
    let of_account = || user(rustix::process::geteuid().as_raw())?.home;
    named
        .filter(|home| home.is_absolute())
        .or_else(|| of_account().filter(|home| home.is_absolute()))
}

/// The first name of a group id.
pub fn group(gid: u32) -> Option<String> {
    name(&entry(&std::fs::read("/etc/group").ok()?, gid)?)
}

fn name(fields: &[&[u8]]) -> Option<String> {
    String::from_utf8(fields.first()?.to_vec()).ok()
}

/// The fields of the first line with `id` in the third.
fn entry(text: &[u8], id: u32) -> Option<Vec<&[u8]>> {
    let id = id.to_string();
    text.split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_with_the_id_counts() {
        let text = b"root:x:0:0::/root:/bin/sh\nana:x:1000:100::/home/ana:\nbob:x:1000:1::/b:\n";
        let fields = entry(text, 1000).unwrap();
        assert_eq!(name(&fields).unwrap(), "ana");
        assert_eq!(fields[5], b"/home/ana");
        assert_eq!(entry(text, 100), None);
    }
}
