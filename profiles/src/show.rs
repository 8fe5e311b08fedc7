//! A profile printed back as canonical YAML: one spelling for each meaning, in the order of the format.
//!
//! The output parses to an equal profile. A merged profile no longer needs what it extends, so only a comment
//! mentions that.

use crate::form::{Keyed, Page};
use crate::format::Profile;

/// The profile as YAML; with `origins`, each line says in a comment where it was declared.
///
/// ```
/// let profile = aegis_profile::parse_str("aegis: 1\nlimits: {time: 60s}", "skill.yaml").unwrap();
/// assert_eq!(
///     aegis_profile::show(&profile, true),
///     "aegis: 1\nname: skill\nlimits:\n  time: 1m  # from skill.yaml:2\n"
/// );
/// ```
pub fn show(profile: &Profile, origins: bool) -> String {
    let mut page = Page::new(origins, profile.is_merged());
    Keyed::show(profile, &mut page);
    page.text
}
