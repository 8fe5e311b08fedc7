//! Reading a log from its beginning, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_sys::private::Dir;
use rustix::fs::OFlags;

use super::files::{self, lock_to_read, segment_name, segments};
use super::line::{self, Line, MAX_LINE, Place};
use super::rest::Repeated;
use super::{Error, tail};
use crate::event::Record;

/// How long a reader waits for writers before it reads a line that may be unfinished.
const PATIENCE: Duration = Duration::from_secs(1);
const BUFFER: usize = 256 << 10;

/// The records of a log, in order. Nothing is skipped: a line that is not a record is an error with its
/// place, and the next call continues after it. After an error of the input nothing follows.
pub struct Reader {
    /// Where quarantined files are. `None`: a single segment or a stream is read.
    dir: Option<Dir>,
    /// The current one is last; before it, those still to be read.
    segments: Vec<Segment>,
    line: Vec<u8>,
    repeated: Repeated,
    position: Position,
}

/// Between two lines of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    segment: u32,
    lines: u64,
    offset: u64,
    /// The segment's file, if it must be this one. Pruning replaces it, and then the offset means nothing.
    inode: Option<(u64, u64)>,
}

struct Segment {
    name: Arc<str>,
    input: BufReader<Box<dyn Read + Send>>,
    position: Position,
}

impl Reader {
    /// Opens a log's directory as it is now, or one segment.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Self::open_at(path, Position::default()),
            Ok(_) => {
                let file = File::open(path).map_err(|error| Error::io("opening", path, error))?;
                let name = path.file_name().unwrap_or(path.as_os_str());
                let mut reader = Self::stream(&name.to_string_lossy(), Box::new(file));
                reader.repeated = Repeated::beside(path.parent().map(Path::to_owned));
                Ok(reader)
            }
            Err(error) => Err(Error::io("reading", path, error)),
        }
    }

    /// Lines from elsewhere, such as standard input: of one or several segments.
    pub fn stream(name: &str, input: Box<dyn Read + Send>) -> Self {
        let position = Position::default();
        Self {
            dir: None,
            segments: vec![Segment::new(name, input, position)],
            line: Vec::new(),
            repeated: Repeated::default(),
            position,
        }
    }

    /// Opens a log's directory at a position: gives what was appended since. Where the segment was replaced meanwhile, because
    /// the log was pruned, all that is left of it is given.
    pub fn open_at(path: &Path, position: Position) -> Result<Self, Error> {
        // A reader may follow a link: it writes nothing.
        let path = &std::fs::canonicalize(path).map_err(|e| Error::io("reading", path, e))?;
        let dir = Dir::open(path)?
            .ok_or_else(|| Error::io("opening", path, std::io::ErrorKind::NotFound))?;
        // While nobody appends, the last line is not half written.
        let _lock = lock_to_read(&dir, PATIENCE);
        Self::of(dir, path, position)
    }

    /// The last lines of a log's newest segment, about so many bytes of them: at once, whoever appends to it.
    pub fn of_end(path: &Path, bytes: u64) -> Result<Self, Error> {
        let missing = || Error::io("opening", path, std::io::ErrorKind::NotFound);
        let dir = Dir::open(path)?.ok_or_else(missing)?;
        let (segment, length) = files::end(&dir).ok_or_else(missing)?;
        let offset = length.saturating_sub(bytes);
        let position = Position {
            segment,
            offset,
            ..Position::default()
        };
        let mut reader = Self::of(dir, path, position)?;
        if offset > 0 {
            // In the middle of a line.
            let _ = reader.raw_line();
        }
        Ok(reader)
    }

    /// The same, for whoever has the lock to append.
    pub(super) fn unlocked(path: &Path, position: Position) -> Result<Self, Error> {
        let dir = Dir::open(path)?
            .ok_or_else(|| Error::io("opening", path, std::io::ErrorKind::NotFound))?;
        Self::of(dir, path, position)
    }

    fn of(dir: Dir, path: &Path, position: Position) -> Result<Self, Error> {
        let mut opened = Vec::new();
        for number in segments(&dir)? {
            if number < position.segment {
                continue;
            }
            let name = segment_name(number);
            let failed = |error| Error::io("reading", &dir.join(&name), error);
            let mut file = dir
                .open_at(&name, OFlags::RDONLY)
                .map_err(|error| failed(error.into()))?;
            let found = file.metadata().map_err(failed)?;
            let mut size = found.len();
            let inode = Some((found.dev(), found.ino()));
            let mut from = Position {
                segment: number,
                inode,
                ..Position::default()
            };
            let same = position.inode.is_none() || position.inode == inode;
            if number == position.segment && same {
                from = Position { inode, ..position };
                file.seek(SeekFrom::Start(from.offset)).map_err(failed)?;
                size = size.saturating_sub(from.offset);
            }
            opened.push(Segment::new(&name, Box::new(file.take(size)), from));
        }
        opened.reverse();
        Ok(Self {
            dir: Some(dir),
            segments: opened,
            line: Vec::new(),
            repeated: Repeated::beside(Some(path.to_owned())),
            position,
        })
    }

    /// The directory of the log, if the log is a directory.
    pub(super) fn take_dir(&mut self) -> Option<Dir> {
        self.dir.take()
    }

    /// After the last whole line that was read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next line. Its content is not checked yet.
    pub fn next_line(&mut self) -> Option<Result<Line<'_>, Error>> {
        let (place, ended) = loop {
            match self.raw_line()? {
                // A stream has what records refer to among its lines.
                Ok((_, true)) if self.dir.is_none() && self.keep_repeated() => {}
                Ok(found) => break found,
                Err(error) => {
                    self.segments.clear();
                    return Some(Err(error));
                }
            }
        };
        // The error is returned with the next line.
        let last = match self.segments.as_mut_slice() {
            [segment] => segment.input.fill_buf().is_ok_and(<[u8]>::is_empty),
            _ => false,
        };
        if last && self.line.len() <= MAX_LINE && tail::is_torn(&self.line, ended) {
            return Some(Err(Error::Torn { place }));
        }
        let what = match line::split(&self.line) {
            Some((hash, record)) if ended => {
                return Some(Ok(Line {
                    place,
                    hash,
                    record,
                    repeated: &self.repeated,
                }));
            }
            _ if self.line.len() > MAX_LINE => {
                "this line is longer than 16 MiB, the maximum in a log"
            }
            _ if !ended => "the line is not whole, although others follow",
            _ => line::NO_LINE,
        };
        Some(Err(Error::BadLine {
            place,
            what: what.into(),
        }))
    }

    /// Keeps what the line holds for records to refer to. Whether it does, with the right hash.
    fn keep_repeated(&self) -> bool {
        line::split_repeated(&self.line)
            .is_some_and(|(hash, bytes)| self.repeated.put(hash, bytes.to_vec()).is_some())
    }

    /// Reads a line into `self.line`. Gives where it begins, and whether it ended with a line feed.
    fn raw_line(&mut self) -> Option<Result<(Place, bool), Error>> {
        loop {
            let segment = self.segments.last_mut()?;
            self.line.clear();
            match segment.read(&mut self.line) {
                Ok(Some(found)) => {
                    if found.1 {
                        self.position = segment.position;
                    }
                    return Some(Ok(found));
                }
                Ok(None) => drop(self.segments.pop()),
                Err(error) => {
                    return Some(Err(Error::io("reading", Path::new(&*segment.name), error)));
                }
            }
        }
    }
}

impl Segment {
    fn new(name: &str, input: Box<dyn Read + Send>, position: Position) -> Self {
        Self {
            name: name.into(),
            input: BufReader::with_capacity(BUFFER, input),
            position,
        }
    }

    fn read(&mut self, line: &mut Vec<u8>) -> std::io::Result<Option<(Place, bool)>> {
        // One byte more than the longest line and its line feed.
        let mut read = (&mut self.input)
            .take(MAX_LINE as u64 + 2)
            .read_until(b'\n', line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        let ended = line.last() == Some(&b'\n');
        if ended {
            line.pop();
        } else if line.len() > MAX_LINE {
            read += self.input.skip_until(b'\n')? as u64;
        }
        self.position.lines += 1;
        let place = Place {
            segment: self.name.clone(),
            line: self.position.lines,
            offset: self.position.offset,
        };
        self.position.offset += read;
        Ok(Some((place, ended)))
    }
}

impl Iterator for Reader {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_line()?.and_then(|line| line.record()))
    }
}
