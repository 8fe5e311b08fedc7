//! `aegis audit tail`: the last records, and those to come.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::path::Path;

use aegis_audit::log::{Error, Position, Reader};
use rustix::fs::inotify;

use super::show::Style;
use super::{Answer, Failure, Going, Out, Place, failed, tell};

pub(super) fn tail(log: &Place, lines: usize, follow: bool, json: bool) -> Answer {
    let mut out = Out::new();
    let style = Style::of_output(json);
    let path = log.resolve()?;
    // Watched before it is read: nothing falls in between.
    let watch = match follow {
        true => Some(watch(&path)?),
        false => None,
    };
    let mut reader = log.reader()?;
    let mut last = VecDeque::new();
    let mut right = true;
    for record in reader.by_ref() {
        if last.len() == lines {
            last.pop_front();
        }
        if lines > 0 {
            last.push_back(record);
        }
    }
    for record in last {
        match record {
            Ok(record) if !out.write(style.line(&record).as_bytes())? => return Ok(true),
            Ok(_) => {}
            Err(error) => {
                out.flush()?;
                tell(&error);
                right = false;
            }
        }
    }
    let going = out.flush()?;
    match watch {
        Some(watch) if going => follow_from(&path, reader.position(), watch, style, &mut out),
        _ => Ok(right),
    }
}

fn watch(path: &Path) -> Result<rustix::fd::OwnedFd, Failure> {
    let refused = |error| Failure::Other(format!("{} cannot be followed: {error}", path.display()));
    if !path.is_dir() {
        return Err(Failure::Other(format!(
            "{} cannot be followed: name the log's directory",
            path.display()
        )));
    }
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(refused)?;
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
    inotify::add_watch(&watch, path, flags).map_err(refused)?;
    Ok(watch)
}

fn follow_from(
    path: &Path,
    mut position: Position,
    watch: rustix::fd::OwnedFd,
    style: Style,
    out: &mut Out,
) -> Answer {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut buffer);
    loop {
        if !more(path, &mut position, style, out)? {
            return Ok(true);
        }
        // What it was is seen from the log itself.
        match events.next() {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                let what = format!("{} cannot be followed: {error}", path.display());
                return Err(Failure::Other(what));
            }
        }
        while !events.is_buffer_empty() {
            let _ = events.next();
        }
    }
}

/// Prints what is behind the position.
fn more(path: &Path, position: &mut Position, style: Style, out: &mut Out) -> Going {
    let mut reader = Reader::open_at(path, *position).map_err(|error| failed(path, &error))?;
    for record in reader.by_ref() {
        match record {
            Ok(record) if !out.write(style.line(&record).as_bytes())? => return Ok(false),
            // It is being written, or will be set aside.
            Ok(_) | Err(Error::Torn { .. }) => {}
            Err(error) => {
                out.flush()?;
                tell(&error);
            }
        }
    }
    *position = reader.position();
    out.flush()
}
