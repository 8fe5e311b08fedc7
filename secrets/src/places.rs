//! Where secrets, the key that opens them, and the list of their other sources are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegis_sys::accounts;

/// The places of one user's secrets, root's too. No sandbox is to reach any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The store, a directory: `$XDG_DATA_HOME/aegis/secrets`, else `~/.local/share/aegis/secrets`. A secret is a file in it,
    /// `ALIAS.age`.
    pub store: PathBuf,
    /// The key that opens the store, an identity of age's: `$XDG_CONFIG_HOME/aegis/secrets.key`, else `~/.config/aegis/secrets.key`.
    pub key: PathBuf,
    /// The other sources: `secrets.yaml` beside the key.
    pub sources: PathBuf,
    /// The home directory, if it is known.
    pub home: Option<PathBuf>,
    /// The directory of the user's configuration, in which `aegis` is.
    pub config: PathBuf,
}

impl Places {
    /// For the user of this process, by its environment; see [`Places::of`].
    pub fn here() -> Option<Self> {
        Self::of(&|name| match name {
            "HOME" => accounts::home().map(Into::into),
            name => std::env::var_os(name),
        })
    }

    /// `variable` looks up the environment. A path that is not absolute is ignored, as in the XDG Base Directory Specification.
    /// `None`: there is no home directory, and the environment names no other places.
    pub fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let path = |name| Some(PathBuf::from(variable(name)?)).filter(|path| path.is_absolute());
        let home = path("HOME");
        let below = |name, usual: &Path| path(name).or_else(|| Some(home.as_ref()?.join(usual)));
        let data = below("XDG_DATA_HOME", Path::new(".local/share"))?;
        let config = below("XDG_CONFIG_HOME", Path::new(".config"))?;
        Some(Self {
            store: data.join("aegis/secrets"),
            key: config.join("aegis/secrets.key"),
            sources: config.join("aegis/secrets.yaml"),
            config,
            home,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_where_the_user_keeps_data_and_configuration() {
        let home = ("HOME", "/home/a");
        for (variables, expected) in [
            (
                &[home][..],
                Some((
                    "/home/a/.local/share/aegis/secrets",
                    "/home/a/.config/aegis/secrets.key",
                )),
            ),
            (
                &[home, ("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "c")],
                Some(("/d/aegis/secrets", "/home/a/.config/aegis/secrets.key")),
            ),
            (
                &[("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "/c")],
                Some(("/d/aegis/secrets", "/c/aegis/secrets.key")),
            ),
            (&[("XDG_DATA_HOME", "/d")], None),
            (&[("HOME", "a")], None),
        ] {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let found = Places::of(&lookup).map(|places| (places.store, places.key));
            let expected = expected.map(|(store, key)| (PathBuf::from(store), PathBuf::from(key)));
            assert_eq!(found, expected, "{variables:?}");
        }
    }
}
