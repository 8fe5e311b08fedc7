//! `aegis doctor`.
use super::Answer;
pub(super) fn doctor(_json: bool) -> Answer {
    Ok(true)
}
