//! Where Aegis keeps its files.

use std::ffi::OsString;
use std::path::PathBuf;

use aegis_sys::accounts;

/// The directories in which Aegis keeps one user's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The audit log's directory: `/var/log/aegis/audit` for root, `audit` in `dir` for others.
    pub audit: PathBuf,
    /// The directory of everything that Aegis keeps for a user: `/var/lib/aegis` for root,
    /// `$XDG_STATE_HOME/aegis` for others, else `~/.local/state/aegis`. Only the user can access it (0700), and no
    /// sandbox can reach it.
    pub dir: PathBuf,
    /// The directory of the keys that sign audit logs: `keys` in `dir`, beside a user's log
    /// and not in it, so that a log can be copied without them.
    pub keys: PathBuf,
}

impl State {
    /// For the user of this process, by its environment; see [`State::of`].
    #[allow(
        clippy::disallowed_methods,
        reason = "the places are those of this process"
    )]
    pub fn here() -> Option<Self> {
        let uid = rustix::process::geteuid().as_raw();
        Self::of(uid, &|name| match name {
            "HOME" => accounts::home().map(Into::into),
            name => std::env::var_os(name),
        })
    }

    /// For a user; `variable` looks up the environment. `None`: there is no home directory, and the
    /// environment names no other place.
    pub fn of(uid: u32, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let path = |name| Some(PathBuf::from(variable(name)?)).filter(|path| path.is_absolute());
        let (dir, audit) = match uid {
            0 => ("/var/lib/aegis".into(), "/var/log/aegis/audit".into()),
            _ => {
                let dir = match path("XDG_STATE_HOME") {
                    Some(state) => state.join("aegis"),
                    None => path("HOME")?.join(".local/state/aegis"),
                };
                let audit = dir.join("audit");
                (dir, audit)
            }
        };
        let keys = dir.join("keys");
        Some(Self { audit, dir, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit_of(uid: u32, variables: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        State::of(uid, &lookup).map(|state| state.audit.to_string_lossy().into_owned())
    }

    #[test]
    fn the_log_is_where_the_user_keeps_state() {
        let home = ("HOME", "/home/a");
        for (uid, variables, expected) in [
            (0, &[home][..], Some("/var/log/aegis/audit")),
            (0, &[], Some("/var/log/aegis/audit")),
            (7, &[home], Some("/home/a/.local/state/aegis/audit")),
            (7, &[home, ("XDG_STATE_HOME", "/s")], Some("/s/aegis/audit")),
            (7, &[("XDG_STATE_HOME", "/s")], Some("/s/aegis/audit")),
            (
                7,
                &[home, ("XDG_STATE_HOME", "s")],
                Some("/home/a/.local/state/aegis/audit"),
            ),
            (7, &[("HOME", "a")], None),
            (7, &[], None),
        ] {
            assert_eq!(
                audit_of(uid, variables).as_deref(),
                expected,
                "{uid} {variables:?}"
            );
        }
    }
}
