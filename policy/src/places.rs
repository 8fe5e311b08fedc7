//! Where policies are.

use std::path::{Path, PathBuf};

/// The directory of the system's configuration.
pub const SYSTEM_CONFIG: &str = "/etc/aegis";

/// The directory of a user's configuration: `$XDG_CONFIG_HOME/aegis`, else `~/.config/aegis`. A relative path
/// is ignored, as in the XDG Base Directory Specification. `None`: neither is known.
pub fn user_config(home: Option<&Path>, xdg_config_home: Option<&Path>) -> Option<PathBuf> {
    match xdg_config_home.filter(|path| path.is_absolute()) {
        Some(path) => Some(path.join("aegis")),
        None => Some(home?.join(".config/aegis")),
    }
}
