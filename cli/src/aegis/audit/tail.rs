//! `aegis audit tail`: the last records, and new ones.

use std::fmt::Display;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use aegis_audit::log::{Error, Position, Reader};
use aegis_policy::Hash;
use anyhow::{anyhow, ensure};
use rustix::fs::inotify;

use super::show::Style;
use super::{CommandResult, LogArg, Out, Recorded, failed, last, open, recorded};

pub(super) fn tail(log: &LogArg, lines: usize, follow: bool, json: bool) -> CommandResult {
    let mut out = Out::new();
    let style = Style::of_output(json);
    let path = log.resolve()?;
    // The watch begins before the log is read, so that nothing is missed.
    let watch = match follow {
        true => Some(watch(&path)?),
        false => None,
    };
    let mut reader = open(&path)?;
    let mut seen = None;
    let all = recorded(&mut reader)
        .inspect(|record| seen = record.as_ref().map_or(seen, |record| Some(record.hash)));
    let last = last(all, lines);
    let going = out.lines(last.into_iter().map(|record| style.line(record)))?;
    match watch {
        Some(watch) if going => follow_from(&path, reader.position(), seen, watch, style, &mut out),
        _ => Ok(out.right),
    }
}

fn unfollowed(path: &Path, why: impl Display) -> anyhow::Error {
    anyhow!("{} cannot be followed: {why}", path.display())
}

fn watch(path: &Path) -> anyhow::Result<OwnedFd> {
    ensure!(path.is_dir(), unfollowed(path, "name the log's directory"));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(|e| unfollowed(path, e))?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, path, flags).map_err(|error| unfollowed(path, error))?;
    Ok(watch)
}

fn follow_from(
    path: &Path,
    mut position: Position,
    mut seen: Option<Hash>,
    watch: OwnedFd,
    style: Style,
    out: &mut Out,
) -> CommandResult {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    loop {
        let mut reader = Reader::open_at(path, position).map_err(|error| failed(path, &error))?;
        let mut records: Vec<_> = recorded(&mut reader).collect();
        // After the log was pruned, what is left of its segment is read anew.
        let is_seen = |record: &Result<Recorded, _>| {
            record
                .as_ref()
                .is_ok_and(|record| Some(record.hash) == seen)
        };
        if let Some(last) = records.iter().rposition(is_seen) {
            records.drain(..=last);
        }
        seen = (records.iter().rev().flatten().next()).map_or(seen, |record| Some(record.hash));
        let lines = records.into_iter().filter_map(|record| match record {
            // It is still being written, or will be quarantined.
            Err(Error::Torn { .. }) => None,
            record => Some(style.line(record)),
        });
        if !out.lines(lines)? {
            return Ok(true);
        }
        position = reader.position();
        // The log itself shows what has changed.
        match events.next() {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(unfollowed(path, error)),
        }
        while !events.is_buffer_empty() {
            let _ = events.next();
        }
    }
}
