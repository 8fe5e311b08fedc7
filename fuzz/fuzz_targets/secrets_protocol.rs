//! What a broker and a provider of secrets say to each other: any message is one of theirs or an error, and what was read is written as
//! what is read again.

#![no_main]

use aegis_secrets::protocol::{Question, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(question) = Question::decode(bytes) {
        assert_eq!(Question::decode(&question.encode()).expect("it is one"), question);
    }
    if let Ok((answer, value)) = decode(bytes) {
        let again = encode(&answer, value);
        // Written, characters may take more bytes.
        if again.len() <= aegis_secrets::protocol::LONGEST {
            assert_eq!(decode(&again).expect("it is one"), (answer, value));
        }
    }
});
