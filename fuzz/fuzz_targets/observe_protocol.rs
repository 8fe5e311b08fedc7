//! What clients send to the service that observes, and what that answers: read, written again, and read as the same.
#![no_main]

use aegis_observation::Run;
use aegis_observation::protocol::{Guard, Reply, Request, encode};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fn same_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::from_slice::<T>(&encode(&message));
        assert_eq!(again.expect("what was written is read"), message);
    }
}

fuzz_target!(|bytes: &[u8]| {
    same_again::<Request>(bytes);
    same_again::<Reply>(bytes);
    same_again::<Guard>(bytes);
    same_again::<Run>(bytes);
});
