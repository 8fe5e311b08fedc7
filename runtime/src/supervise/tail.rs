//! The end of what a command writes to standard error, for finding out what was denied.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use aegis_sys::files;

use super::error_messages;

/// How much is kept.
const MOST: usize = 8192;

/// The end of a text.
#[derive(Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Adds to it.
    pub fn keep(&mut self, text: &[u8]) {
        self.0
            .extend_from_slice(&text[text.len().saturating_sub(MOST)..]);
        if self.0.len() > 2 * MOST {
            self.0.drain(..self.0.len() - MOST);
        }
    }

    /// Adds what one call has written. Calls that write a single byte are not seen: where a program writes its message piece
    /// by piece, as `error(3)` does, that was the end of the line.
    pub fn keep_piece(&mut self, text: &[u8]) {
        if error_messages::ends(&self.0) {
            self.0.push(b'\n');
        }
        self.keep(text);
    }

    /// Adds what was written to standard error, a file, since it was at this [`files::position`]. If the caller may
    /// not read it, nothing.
    pub fn read(&mut self, before: u64) -> io::Result<()> {
        let end = files::position(2)?;
        if end == before {
            return Ok(());
        }
        let file = files::open_regular(Path::new("/proc/self/fd/2"))?;
        // Who has gone back has written what is there.
        let begin = if before <= end { before } else { 0 };
        let kept = (end - begin).min(MOST as u64);
        let mut text = vec![0; kept as usize];
        file.read_exact_at(&mut text, end - kept)?;
        self.keep(&text);
        Ok(())
    }

    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_written_is_kept() {
        let mut tail = Tail::default();
        for _ in 0..3 * MOST {
            tail.keep(b"a");
        }
        tail.keep(&[b'b'; 3 * MOST]);
        tail.keep(b"c");
        assert!(tail.text().len() <= 2 * MOST);
        let end = [&[b'b'; MOST - 1][..], b"c"].concat();
        assert!(tail.text().ends_with(&end));
    }
}
