//! Any bytes as the store of approvals are approvals, or an error that leaves the file as it is. What is read stays the same
//! when something is added and taken back.

#![no_main]

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::LazyLock;

use aegis_audit::approvals::{Store, Which};
use aegis_policy::request::{Context, Request};
use libfuzzer_sys::fuzz_target;

static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = PathBuf::from(format!("/dev/shm/aegis-fuzz-approvals-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&place);
    std::fs::DirBuilder::new().mode(0o700).create(&place).expect("a directory");
    place
});

fuzz_target!(|bytes: &[u8]| {
    let store = Store::open(&PLACE);
    std::fs::write(store.place(), bytes).expect("written");
    std::fs::set_permissions(store.place(), PermissionsExt::from_mode(0o600)).expect("a mode");
    let Ok(entries) = store.list() else {
        store.add(&[], 0).expect_err("what cannot be read is not replaced");
        assert_eq!(std::fs::read(store.place()).expect("it is there"), bytes);
        return;
    };
    for entry in &entries {
        let request = Request {
            approvals: Vec::new(),
            context: Context {
                profile_hash: entry.profile_hash,
                skill: entry.skill.clone(),
                uid: entry.uid,
                ..Context::default()
            },
            what: entry.what.clone(),
        };
        let found = store.approvals_for(&request, entry.policy, entry.surroundings, entry.granted);
        for approval in found.expect("it is read") {
            assert!(approval.at < approval.expires, "only what holds");
        }
    }
    // Written anew, it is the same.
    if let Some(first) = entries.first() {
        let gone = store.revoke(&Which::Ids(vec![first.id.clone()])).expect("revoked");
        assert_eq!(gone, entries[..1]);
        assert_eq!(store.list().expect("a list"), entries[1..]);
    }
});
