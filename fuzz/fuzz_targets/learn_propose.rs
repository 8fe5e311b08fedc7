//! What a hostile command was seen to do: whatever its names are, the profile that comes of it is read back, grants no secret, and is
//! the same when it is made again.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use aegis_learn::{Access, Fact, Host, Kind, Options, Standing, Surroundings, outside, propose};
use aegis_observation::{Executed, Kind as Opened, Named, Observation, Opened as Open, Text};
use libfuzzer_sys::fuzz_target;

/// A host that has everything: directories where a name ends in a digit, files elsewhere.
struct Everything;

impl Host for Everything {
    fn look(&self, path: &Path) -> Option<Fact> {
        let last = path.as_os_str().as_bytes().last()?;
        Some(Fact {
            kind: match last.is_ascii_digit() || path.parent().is_none() {
                true => Kind::Directory,
                false => Kind::File,
            },
            real: path.to_owned(),
            executable: last % 2 == 0,
            interpreter: None,
        })
    }

    fn files_below(&self, directory: &Path, most: usize) -> usize {
        directory.as_os_str().len().min(most)
    }

    fn refused(&self, _: Access, path: &Path) -> Option<String> {
        let secret = Path::new("/home/a/.ssh");
        (path.starts_with(secret) || secret.starts_with(path)).then(|| "a secret".to_owned())
    }

    fn standing(&self, _: &str) -> Option<Standing> {
        Some(Standing::Granted)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut seen = Observation::default();
    let bases = ["/home/a/w/", "/home/a/", "/usr/lib/", "/", "/tmp/", "/etc/", "/home/a/.ssh/", "/usr/bin/"];
    for piece in bytes.split(|byte| *byte == 0xff) {
        let Some((how, name)) = piece.split_first() else {
            continue;
        };
        let base = bases[usize::from(how >> 5)];
        let path = Text::from(OsStr::from_bytes(&[base.as_bytes(), name].concat()));
        match how & 7 {
            0 => drop(seen.executed.insert(Executed { asked: path.clone(), path })),
            1 => drop(seen.named.insert(Named { call: "mkdir".into(), path, error: None })),
            2 => drop(seen.named.insert(Named { call: "stat".into(), path, error: None })),
            3 => drop(seen.named.insert(Named { call: "openat".into(), path, error: Some("EACCES".into()) })),
            bits => drop(seen.opened.insert(Open {
                asked: path.clone(),
                path,
                kind: if bits & 1 == 0 { Opened::File } else { Opened::Directory },
                read: true,
                write: bits & 2 != 0,
                deleted: false,
            })),
        }
    }
    let (work, home) = (Path::new("/home/a/w"), Path::new("/home/a"));
    let path = [PathBuf::from("/usr/bin")];
    let around = Surroundings { work, home, skill: None, path: &path, host: &Everything };
    let options = Options::default();
    let proposal = propose(std::slice::from_ref(&seen), &around, None, &options);
    let profile = proposal.profile().expect("what is proposed is a profile");
    for item in profile.capabilities.files_read.iter().chain(&profile.capabilities.files_write) {
        assert!(!item.value.to_string().contains("/.ssh"), "{}", item.value);
    }
    let again = propose(std::slice::from_ref(&seen), &around, None, &options);
    assert_eq!(again.to_yaml(), proposal.to_yaml());
    let _ = outside(&seen, &profile, &around);
});
