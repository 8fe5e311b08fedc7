//! Names of users and groups, from `passwd(5)` and `group(5)`. Accounts from other sources have no name here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user name, if it is UTF-8.
    pub name: Option<String>,
    /// The home directory, as written in the file.
    pub home: Option<PathBuf>,
}

/// The first account with this user id.
pub fn user(uid: u32) -> Option<Account> {
    let text = std::fs::read("/etc/passwd").ok()?;
    let fields = entry(&text, uid)?;
    let path = |field: &&[u8]| OsString::from_vec(field.to_vec()).into();
    Some(Account {
        name: name(&fields),
        home: fields.get(5).map(path),
    })
}

/// The caller's home directory: `$HOME` if it is absolute, else the account's. Unlike
/// [`std::env::home_dir`] this calls no module of the C library's name service, which a static program would
/// have to load.
pub fn home() -> Option<PathBuf> {
    let named = std::env::var_os("HOME").map(PathBuf::from);
    let of_account = || user(rustix::process::geteuid().as_raw())?.home;
    named
        .filter(|home| home.is_absolute())
        .or_else(|| of_account().filter(|home| home.is_absolute()))
}

/// The name of the first group with this id.
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
