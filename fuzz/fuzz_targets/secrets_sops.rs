//! A file of SOPS that anybody may have changed: what it gives is a value that was encrypted there, or nothing. Begin with the files in
//! `secrets/tests/sops`.

#![no_main]

use std::sync::OnceLock;

use aegis_secrets::identity::Identities;
use aegis_secrets::sops::File;
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

const KEY: &[u8] = include_bytes!("../../secrets/tests/sops/key.txt");

fn identities() -> &'static Identities {
    static IDENTITIES: OnceLock<Identities> = OnceLock::new();
    IDENTITIES.get_or_init(|| Identities::parse(Zeroizing::new(KEY.to_vec())).expect("a key"))
}

fuzz_target!(|bytes: &[u8]| {
    let file = match File::parse(bytes) {
        Ok(file) => file,
        Err(why) => return assert!(!why.contains("Synthetic"), "{why}"),
    };
    for (key, value) in [
        (&["github", "token"][..], "ghp_SyntheticTokenOfTheTests0001"),
        (&["list", "1"], "second"),
        (&["data"], "whole file value"),
    ] {
        let key: Vec<String> = key.iter().map(|key| (*key).to_owned()).collect();
        match file.value(&key, identities()) {
            Ok(found) => assert_eq!(found.value.bytes(), value.as_bytes()),
            Err(why) => assert!(!why.contains("Synthetic"), "{why}"),
        }
    }
});
