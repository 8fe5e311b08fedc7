//! The files that a log says were quarantined, and whether they are there.
//!
//! A crash leaves a torn end; so does somebody who writes zero bytes over whole lines, signed ones too. The log
//! goes on behind either, intact. The quarantined files are the evidence of which it was.

use aegis_sys::private::Dir;
use serde::Serialize;

use super::super::line::Place;
use super::super::recover;
use crate::event::{Detail, Record, TornFile};

/// A `log.recovered` record that was met.
#[derive(Clone, Debug, Serialize)]
pub struct SetAside {
    /// Where it is.
    pub place: Place,
    /// Its number.
    pub seq: u64,
    /// What it says was quarantined.
    pub files: Vec<TornFile>,
}

/// Reads what a record says was quarantined.
pub(super) fn read(record: &[u8], place: &Place, seq: u64) -> Option<SetAside> {
    let record: Record = serde_json::from_slice(record).ok()?;
    match record.detail()? {
        Detail::Recovered(note) => Some(SetAside {
            place: place.clone(),
            seq,
            files: note.files,
        }),
        _ => None,
    }
}

/// What is wrong with one of the files, in words.
pub(super) fn what_is_wrong(dir: &Dir, said: &TornFile) -> Option<String> {
    let name = &said.name;
    if !recover::is_torn_name(name) {
        return Some(format!("{name:?} is no name of what a log sets aside"));
    }
    match recover::look(dir, name, said.bytes) {
        Ok(Some(found)) if found == *said => None,
        Ok(Some(_)) => Some(format!(
            "{name} is not what was set aside here: it was changed since"
        )),
        Ok(None) => Some(format!(
            "{name} is missing: it holds what was set aside here ({} bytes)",
            said.bytes
        )),
        Err(error) => Some(format!(
            "{name}, what was set aside here, cannot be read: {error}"
        )),
    }
}
