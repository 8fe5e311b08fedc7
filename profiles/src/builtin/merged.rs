//! Built-in profiles as lines, parsed and merged beforehand: `builtin/merged/NAME.txt`.
//!
//! A line is a key, its value, and the origin where there is one, separated by tabs. The files are
//! written by the test below, which also compares them with the parser. Reading them does not check
//! again what the parser has checked.

use std::sync::Arc;

use crate::format::Profile;
use crate::model::{Declared, Origin, PathSpec, Program, Variable};
use crate::values::names;
use crate::values::paths::strip_optional;

/// What a file starts with.
#[cfg(test)]
const PREFACE: &str = "\
# Written by a test from the profiles in the directory above: AEGIS_BLESS=1 cargo test -p aegis-profile
";

/// `None`: not in this format.
pub(super) fn read(text: &str) -> Option<Profile> {
    let mut profile = Profile::default();
    let mut files = Files::default();
    for line in text.lines() {
        let (granted, variables) = (&mut profile.capabilities, &mut profile.environment);
        let (key, said) = line.split_once('\t').unwrap_or((line, ""));
        match key {
            "name" => profile.name = said.to_owned(),
            "description" => profile.description = Some(said.to_owned()),
            "run" => profile.run.push(said.to_owned()),
            "source" => drop(files.named(said)),
            "extends" => profile.extends.push(files.declared(said, text_of)?),
            "files.read" => granted.files_read.push(files.declared(said, path)?),
            "files.write" => granted.files_write.push(files.declared(said, path)?),
            "shell.exec" => granted.shell_exec.push(files.declared(said, program)?),
            "sockets" => {
                let sockets = |said: &str| names::sockets(said).ok();
                granted.sockets = Some(files.declared(said, sockets)?);
            }
            "environment.pass" => variables.pass.push(files.declared(said, text_of)?),
            "environment.set" => {
                let (name, said) = said.split_once('\t')?;
                let item = files.declared(said, text_of)?;
                variables.set.insert(name.to_owned(), item);
            }
            _ if key.is_empty() || key.starts_with('#') => {}
            _ => return None,
        }
    }
    profile.sources = files.0.into_iter().collect();
    (!profile.name.is_empty()).then_some(profile)
}

/// File names, shared between origins.
#[derive(Default)]
struct Files(Vec<Arc<str>>);

impl Files {
    fn named(&mut self, name: &str) -> Arc<str> {
        if let Some(file) = self.0.iter().find(|file| &***file == name) {
            return file.clone();
        }
        self.0.push(name.into());
        self.0[self.0.len() - 1].clone()
    }

    /// `VALUE <tab> FILE:LINE:COLUMN`.
    fn declared<T>(&mut self, said: &str, value: fn(&str) -> Option<T>) -> Option<Declared<T>> {
        let (said, origin) = said.rsplit_once('\t')?;
        let (rest, column) = origin.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some(Declared {
            value: value(said)?,
            origin: Origin {
                file: self.named(file),
                line: line.parse().ok()?,
                column: column.parse().ok()?,
            },
        })
    }
}

fn text_of(said: &str) -> Option<String> {
    Some(said.to_owned())
}

/// As [`PathSpec`] is shown.
fn path(said: &str) -> Option<PathSpec> {
    let (optional, said) = strip_optional(said);
    let (base, rest) = said.split_once('/').unwrap_or((said, ""));
    let base = match base.strip_prefix('$') {
        Some(name) => Some(Variable::named(name)?),
        None if base.is_empty() => None,
        None => return None,
    };
    Some(PathSpec {
        base,
        rest: rest.to_owned(),
        optional,
    })
}

/// As [`Program`] is shown.
fn program(said: &str) -> Option<Program> {
    if said.contains('/') || said.starts_with(['$']) || said.starts_with("-$") {
        return path(said).map(Program::Path);
    }
    let (optional, name) = strip_optional(said);
    Some(Program::Name {
        name: name.to_owned(),
        optional,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::{Display, Write as _};
    use std::path::Path;

    use super::*;
    use crate::format::{Capabilities, Environment, Syscalls};
    use crate::limits::Limits;
    use crate::load::{Loaded, load_by_parsing};
    use crate::model::Outbound;
    use crate::source::Files;
    use crate::{builtin, load};

    fn show<T: Display>(out: &mut String, key: &str, item: &Declared<T>) {
        let value = item.value.to_string();
        assert!(!value.contains(['\t', '\n']), "{key}: {value:?}");
        writeln!(out, "{key}\t{value}\t{}", item.origin).unwrap();
    }

    /// The text that [`read`] reads. Fails for a profile with a key that is unknown here.
    fn write(profile: &Profile) -> String {
        let mut out = PREFACE.to_owned();
        let Profile {
            name,
            description,
            extends,
            run,
            args,
            baseline,
            capabilities,
            environment,
            limits,
            syscalls,
            sources,
            aegis: _,
        } = profile;
        writeln!(out, "name\t{name}").unwrap();
        if let Some(description) = description {
            writeln!(out, "description\t{description}").unwrap();
        }
        for word in run {
            writeln!(out, "run\t{word}").unwrap();
        }
        for source in sources {
            writeln!(out, "source\t{source}").unwrap();
        }
        extends.iter().for_each(|i| show(&mut out, "extends", i));
        let Capabilities {
            files_read,
            files_write,
            files_overlay,
            files_deny,
            shell_exec,
            net_outbound,
            net_listen,
            secrets_use,
            devices,
            sockets,
        } = capabilities;
        let read = files_read.iter();
        read.for_each(|i| show(&mut out, "files.read", i));
        let write = files_write.iter();
        write.for_each(|i| show(&mut out, "files.write", i));
        let exec = shell_exec.iter();
        exec.for_each(|i| show(&mut out, "shell.exec", i));
        let sockets = sockets.iter();
        sockets.for_each(|i| show(&mut out, "sockets", i));
        let Environment { pass, set } = environment;
        let pass = pass.iter();
        pass.for_each(|i| show(&mut out, "environment.pass", i));
        for (name, item) in set {
            show(&mut out, &format!("environment.set\t{name}"), item);
        }
        let more = net_outbound != &Outbound::default()
            || !net_listen.is_empty()
            || !secrets_use.is_empty()
            || !devices.is_empty()
            || !files_overlay.is_empty()
            || !files_deny.is_empty()
            || args.is_some()
            || baseline.is_some()
            || limits != &Limits::default()
            || syscalls != &Syscalls::default();
        assert!(!more, "{name}: teach `builtin/merged.rs` the new keys");
        out
    }

    /// Everything, including the origins, which equality ignores.
    fn all_of(loaded: &Loaded) -> String {
        format!("{loaded:#?}")
    }

    #[test]
    fn the_committed_texts_are_those_of_the_profiles() {
        for name in builtin::names() {
            let parsed = load_by_parsing(name, &Files).unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("builtin/merged")
                .join(format!("{name}.txt"));
            let expected = write(&parsed.profile);
            if std::env::var_os("AEGIS_BLESS").is_some() {
                std::fs::write(&path, &expected).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == expected,
                "{} is out of date: run the tests with AEGIS_BLESS=1 to write it anew",
                path.display()
            );
        }
    }

    #[test]
    fn loading_is_the_same_as_parsing() {
        for name in builtin::names() {
            let parsed = load_by_parsing(name, &Files).unwrap();
            let loaded = load(name, &Files).unwrap();
            assert!(builtin::merged(name).is_some(), "{name}");
            assert_eq!(all_of(&loaded), all_of(&parsed), "{name}");
            assert_eq!(loaded.profile.hash(), parsed.profile.hash());
        }
    }

    #[test]
    fn extending_is_the_same_as_parsing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skill.yaml");
        for list in ["base", "python", "python, shell", "build, git, node, shell"] {
            let text = format!(
                "aegis: 1\nextends: [{list}]\ncapabilities:\n  files.read: [/usr/lib/locale, $WORK]\n  shell.exec: [git]\n"
            );
            std::fs::write(&file, text).unwrap();
            let name = file.to_str().unwrap();
            let (loaded, parsed) = (load(name, &Files), load_by_parsing(name, &Files));
            let (loaded, parsed) = (loaded.unwrap(), parsed.unwrap());
            assert_eq!(all_of(&loaded), all_of(&parsed), "{list}");
            assert_eq!(loaded.profile.hash(), parsed.profile.hash());
        }
    }

    #[test]
    fn what_is_not_understood_is_left_to_the_parser() {
        for text in ["", "name\tx\nlimits.time\t1\n", "name\tx\nextends\tbase\n"] {
            assert!(read(text).is_none(), "{text:?}");
        }
    }
}
