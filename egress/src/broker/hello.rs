//! The first message of TLS (RFC 8446, 4.1.2), in as many pieces as it comes in: which server the client wants to reach.
//!
//! What comes after it passes through unread, unless TLS is opened.

use rustls::server::Acceptor;

/// The longest that may come before the message is complete. rustls takes messages of up to 64 KiB.
pub const LONGEST: usize = 72 << 10;

/// What a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The server's name, if it gives one.
    pub server: Option<String>,
    /// The protocols that it offers to speak (ALPN).
    pub protocols: Vec<Vec<u8>>,
}

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
    /// Adds what has come. Returns `None` until the message is complete.
    ///
    /// # Errors
    ///
    /// It will not become such a message.
    pub fn add(&mut self, piece: &[u8]) -> Result<Option<Wanted>, BadHello> {
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
                let hello = hello.client_hello();
                let protocols = hello.alpn().into_iter().flatten();
                return Ok(Some(Wanted {
                    server: hello.server_name().map(str::to_owned),
                    protocols: protocols.map(<[u8]>::to_vec).collect(),
                }));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An extension.
    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [
            &kind.to_be_bytes(),
            &(body.len() as u16).to_be_bytes(),
            body,
        ]
        .concat()
    }

    /// A hello that names a server, with so many bytes of padding, in records of at most so many bytes.
    fn hello(server: Option<&str>, padding: usize, record: usize) -> Vec<u8> {
        let mut extensions = Vec::new();
        if let Some(server) = server {
            let length = server.len() as u16;
            let name = [
                &(length + 3).to_be_bytes(),
                &[0][..],
                &length.to_be_bytes(),
                server.as_bytes(),
            ];
            extensions.extend(extension(0, &name.concat()));
        }
        extensions.extend(extension(13, b"\0\x02\x04\x03"));
        extensions.extend(extension(43, b"\x02\x03\x04"));
        extensions.extend(extension(10, b"\0\x02\0\x1d"));
        extensions.extend(extension(21, &vec![0; padding]));
        let mut body = [&b"\x03\x03"[..], &[7; 32], b"\0\0\x02\x13\x01\x01\0"].concat();
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let length = (body.len() as u32).to_be_bytes();
        let message = [&[1], &length[1..], &body].concat();
        let records = message.chunks(record).map(|piece| {
            [
                &b"\x16\x03\x01"[..],
                &(piece.len() as u16).to_be_bytes(),
                piece,
            ]
            .concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Option<Option<String>>, BadHello> {
        let mut hello = Hello::default();
        for piece in bytes.chunks(piece) {
            if let Some(wanted) = hello.add(piece)? {
                return Ok(Some(wanted.server));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_name_is_read_in_pieces_of_any_size_and_no_byte_is_lost() {
        let name = Some(Some("a.example".to_owned()));
        for (padding, record) in [(0, 16_384), (0, 40), (30_000, 16_384), (60_000, 16_384)] {
            let bytes = hello(Some("a.example"), padding, record);
            for piece in [1, 7, 4096, bytes.len()] {
                assert_eq!(
                    read(&bytes, piece),
                    Ok(name.clone()),
                    "{padding} {record} {piece}"
                );
            }
            assert_eq!(read(&bytes[..bytes.len() - 1], 4096), Ok(None));
            // What is sent early comes along with it.
            let more = [&bytes[..], b"early"].concat();
            let mut hello = Hello::default();
            let (most, last) = more.split_at(bytes.len() - 1);
            assert_eq!(hello.add(most), Ok(None));
            assert_eq!(
                hello
                    .add(last)
                    .map(|wanted| wanted.map(|wanted| wanted.server)),
                Ok(name.clone())
            );
            assert_eq!(hello.into_bytes(), more);
        }
        assert_eq!(read(&hello(None, 0, 16_384), 4096), Ok(Some(None)));
        // An address, and what DNS cannot have, are no names of servers.
        for no_name in ["10.0.0.1", "a b", "a\0.example", ""] {
            let read = read(&hello(Some(no_name), 0, 16_384), 4096);
            assert!(!matches!(read, Ok(Some(Some(_)))), "{no_name:?}: {read:?}");
        }
    }

    #[test]
    fn what_is_no_hello_or_does_not_end_is_told_so() {
        for bytes in [
            "GET / HTTP/1.1\r\n\r\n",
            "SSH-2.0-x\r\n",
            "\x15\x03\x01\0\x02\x01\0",
        ] {
            assert_eq!(
                read(bytes.as_bytes(), 4096),
                Err(BadHello::NotTls),
                "{bytes}"
            );
        }
        // A message whose length is 16 MiB, and records without end.
        let record = [&b"\x16\x03\x01\x40\0"[..], &[0; 1 << 14]].concat();
        let mut endless = record.repeat(8);
        endless[5..9].copy_from_slice(b"\x01\xff\xff\xff");
        assert!(read(&endless, 4096).is_err());
        let slow = b"\x16\x03\x01\0\x01\x01".repeat(LONGEST);
        assert!(read(&slow, 4096).is_err());
    }
}
