//! What a launcher sends to its broker, and what that tells: read, written again, and read as the same.
#![no_main]

use aegis_egress::protocol::{Event, Order, Setup, encode};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fn same_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::from_slice::<T>(&encode(&message));
        assert_eq!(again.expect("what was written is read"), message);
    }
}

fuzz_target!(|bytes: &[u8]| {
    same_again::<Order>(bytes);
    same_again::<Event>(bytes);
    same_again::<Setup>(bytes);
});
