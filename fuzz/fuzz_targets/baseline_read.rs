//! A baseline, which whoever wrote the profile beside it may have written: read, written again, and read as the same.
#![no_main]

use aegis_learn::Baseline;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(baseline) = Baseline::from_json(bytes) {
        let again = Baseline::from_json(baseline.to_json().as_bytes());
        assert_eq!(again.expect("what was written is read"), baseline);
    }
});
