//! Any bytes can be read as a log: as a stream, and as the newest segment of a directory. Nothing panics, what is read whole is
//! in canonical form, and a writer either refuses the end of the log or continues it so that it can be read.

#![no_main]

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::LazyLock;

use aegis_audit::event::{Event, EventType};
use aegis_audit::log::{Expected, Log, PublicKey, Reader, canonical, verify};
use aegis_audit::ocsf;
use aegis_audit::replay::{Found, Recorded, Replayer};
use libfuzzer_sys::fuzz_target;

/// A directory in memory, with a log that has something to begin with.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/aegis-fuzz-log-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&place);
    drop(Log::open(&place.join("audit"), &place.join("keys")).expect("a log"));
    place
});

fn expected() -> Expected {
    let key = PublicKey::in_directory(&PLACE.join("keys")).expect("keys");
    Expected {
        keys: key.into_iter().collect(),
        ..Expected::default()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let stream = || Reader::stream("-", Box::new(Cursor::new(bytes.to_vec())));
    verify(stream(), &expected()).expect("a stream in memory is read");
    let mut reader = stream();
    let mut replayer = Replayer::new(|_| Found::No("no policy".into()), false);
    while let Some(line) = reader.next_line() {
        let Ok(line) = line else { continue };
        if let Ok(whole) = line.whole()
            && let Ok(recorded) = Recorded::parse(&whole)
        {
            let _ = replayer.again(&recorded);
            if canonical::check(line.record).is_ok() {
                canonical::check(&whole).expect("whole, it is canonical as well");
            }
        }
        if let Ok(record) = line.record() {
            let _ = (record.detail(), ocsf::event(&record, "host"));
        }
    }

    let (audit, keys) = (PLACE.join("audit"), PLACE.join("keys"));
    let segment = audit.join("000001.jsonl");
    for entry in std::fs::read_dir(&audit).expect("the log").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    for entry in std::fs::read_dir(&keys).expect("the keys").flatten() {
        if entry.file_name().to_string_lossy().starts_with("signed-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    std::fs::write(&segment, bytes).expect("written");
    let Ok(mut log) = Log::open(&audit, &keys) else {
        return;
    };
    let event = Event::new(EventType::SecretUse, "run", Default::default());
    if let Ok(receipt) = log.append_and_sign(&[event]) {
        let last = Reader::open(&audit).expect("the log").filter_map(Result::ok).last();
        assert_eq!(last.map(|record| record.seq), receipt.seqs.last().map(|seq| seq + 1));
        let verified = verify(Reader::open(&audit).expect("the log"), &expected()).expect("it is read");
        assert!(verified.last_checkpoint.is_some(), "what was signed is found");
    }
});
