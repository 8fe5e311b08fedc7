//! Where policies are.

use std::path::{Path, PathBuf};

/// The directory of the system's configuration.
pub const SYSTEM_CONFIG: &str = "/etc/aegis";

/// The directory of a user's configuration: `$XDG_CONFIG_HOME/aegis`, else `~/.config/aegis`. As the XDG
/// Base Directory Specification has it, a relative path counts as none. `None`: nothing says where.
pub fn user_config(home: Option<&Path>, xdg_config_home: Option<&Path>) -> Option<PathBuf> {
    match xdg_config_home.filter(|path| path.is_absolute()) {
        Some(path) => Some(path.join("aegis")),
        None => Some(home?.join(".config/aegis")),
    }
}
