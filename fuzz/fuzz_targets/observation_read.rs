//! A saved observation, which anybody may have written: read, written again, and read as the same.
#![no_main]

use aegis_observation::Observation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(observation) = Observation::from_json(bytes) {
        let again = Observation::from_json(observation.to_json().as_bytes());
        assert_eq!(again.expect("what was written is read"), observation);
    }
});
