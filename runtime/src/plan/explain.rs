//! The plan for a person.

use super::Plan;

/// The plan, as text.
pub fn text(plan: &Plan, _colour: bool) -> String {
    plan.to_json()
}

/// The plan, as text, with the lines of the profile.
pub fn with_origins(plan: &Plan, _profile: &aegis_profile::Profile, colour: bool) -> String {
    text(plan, colour)
}
