//! Any text is a list of sources or an error that can be printed; what is read is whole: programs that can be started, files that are found
//! from anywhere.

#![no_main]

use std::path::Path;

use aegis_secrets::sources::{Source, parse};
use libfuzzer_sys::fuzz_target;

fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n')
}

fuzz_target!(|bytes: &[u8]| {
    let file = Path::new("/home/a/.config/aegis/secrets.yaml");
    match parse(file, Some(Path::new("/home/a")), bytes) {
        Err(error) => assert!(is_harmless(&error.to_string()), "{error}"),
        Ok(sources) => {
            for (alias, entry) in sources {
                assert!(!alias.is_empty() && !alias.starts_with('.') && !alias.contains('/'));
                let commands = entry.on_rotate.iter().chain(match &entry.source {
                    Some(Source::Exec { command, .. }) => Some(command),
                    _ => None,
                });
                for command in commands {
                    assert!(command[0].starts_with('/') || !command[0].contains('/'));
                    assert!(!command[0].is_empty());
                }
                match &entry.source {
                    Some(Source::Sops { file, key }) => {
                        assert!(file.is_absolute() && !key.is_empty());
                    }
                    Some(Source::Vault { url, path, token, .. }) => {
                        let url = url.to_string();
                        assert!(token.is_absolute() && !url.contains(['@', '?', '#', ' ']));
                        assert!(url.starts_with("https://") || url.starts_with("http://"));
                        let data = path.data();
                        assert!(!data.split('/').any(|part| part == "..") && !data.contains(['?', '#', '%', ' ']));
                    }
                    Some(Source::Exec { .. }) | None => {}
                }
                if let Some(source) = entry.source {
                    assert!(is_harmless(&source.to_string()));
                }
            }
        }
    }
});
