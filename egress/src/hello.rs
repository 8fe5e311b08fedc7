//! The first message of TLS (RFC 8446, 4.1.2), in as many pieces as it comes in: which server the client wants to reach.
//!
//! What comes after it passes through unread.

use rustls::server::Acceptor;

/// The longest that may come before the message is complete. rustls takes messages of up to 64 KiB.
pub const LONGEST: usize = 72 << 10;

/// A message that is being received.
#[derive(Default)]
pub struct Hello {
    acceptor: Acceptor,
    bytes: Vec<u8>,
}

/// Why there is no server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHello {
    /// It is something else.
    #[error("this is not the beginning of a TLS connection")]
    NotTls,
    /// It does not end.
    #[error("the first message of TLS does not end")]
    TooLong,
}

impl Hello {
    /// Adds what has come. Returns `None` until the message is complete, and then the name in it, if it has one.
    ///
    /// # Errors
    ///
    /// It will not become such a message.
    pub fn add(&mut self, piece: &[u8]) -> Result<Option<Option<String>>, BadHello> {
        if self.bytes.len() + piece.len() > LONGEST {
            return Err(BadHello::TooLong);
        }
        self.bytes.extend_from_slice(piece);
        let mut unread = piece;
        // It takes as much as it has room for.
        while !unread.is_empty() {
            let read = self.acceptor.read_tls(&mut unread);
            if read.map_err(|_| BadHello::TooLong)? == 0 {
                return Err(BadHello::TooLong);
            }
            if let Some(hello) = self.acceptor.accept().map_err(|_| BadHello::NotTls)? {
                return Ok(Some(hello.client_hello().server_name().map(str::to_owned)));
            }
        }
        Ok(None)
    }

    /// All that has come, to be passed on.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
