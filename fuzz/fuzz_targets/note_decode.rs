//! What the probes send: its lengths are checked, and every path in it is absolute.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(note) = aegis_ebpf::decode(bytes) {
        let paths = [note.asked, note.path];
        assert!(paths.into_iter().flatten().all(|path| path.is_absolute()));
    }
});
