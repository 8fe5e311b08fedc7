//! The first message of TLS: the same name in one piece as in many, and no more of it is kept than may come.
#![no_main]

use aegis_egress::hello::{Hello, LONGEST};
use libfuzzer_sys::fuzz_target;

/// The name, if the message was complete, and how much had come by then. Errors come earlier or later by the pieces.
fn read(bytes: &[u8], piece: usize) -> Option<Option<String>> {
    let mut hello = Hello::default();
    for piece in bytes.chunks(piece) {
        match hello.add(piece) {
            Ok(None) => {}
            Ok(Some(name)) => {
                assert!(hello.into_bytes().len() <= LONGEST);
                return Some(name);
            }
            Err(_) => return None,
        }
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = read(bytes, LONGEST);
    let pieces = read(bytes, usize::from(*piece) + 1);
    if let (Some(whole), Some(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
});
