//! From a reference (a file, `-`, a built-in name) to one merged profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Diagnostic, Error, escape, quote};
use crate::format::Profile;
use crate::model::Declared;
use crate::named::Named;
use crate::source::Source;
use crate::{builtin, parse};

/// How long a chain of `extends` may be.
const MAX_DEPTH: usize = 8;

/// How many profiles may be merged into one.
const MAX_FILES: usize = 32;

const NAMED: Named = Named {
    kind: "profile",
    one: "built-in profile",
    file: "a file",
    names: || builtin::names().collect(),
};

/// A profile ready for use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The profile, merged with everything that it extends.
    pub profile: Profile,
    /// What `$SKILL` stands for: the directory of the file that the user named. A built-in profile
    /// and standard input have none.
    pub skill_dir: Option<PathBuf>,
}

/// Loads the profile that `reference` names, with everything that it extends.
///
/// A reference with a `/` in it, or ending in `.yaml` or `.yml`, is a file; `-` is standard input; all
/// others are names of built-in profiles.
///
/// ```
/// let base = aegis_profile::load("base", &aegis_profile::Files).unwrap();
/// assert_eq!(base.profile.name, "base");
/// assert!(base.skill_dir.is_none());
/// ```
pub fn load(reference: &str, source: &dyn Source) -> Result<Loaded, Error> {
    load_with::<&str>(reference, &[], source)
}

/// As [`load`], and then each of `sets`, a `KEY=VALUE` as in `limits.memory=1G`, in order: lists add,
/// single values replace.
pub fn load_with<S: AsRef<str>>(
    reference: &str,
    sets: &[S],
    source: &dyn Source,
) -> Result<Loaded, Error> {
    // All of the command line is checked before any file is read.
    let overlays: Vec<_> = sets
        .iter()
        .map(|set| parse::overlay(set.as_ref()))
        .collect::<Result<_, _>>()?;
    load_by(Loader::new(source), reference, &overlays)
}

fn load_by(mut loader: Loader<'_>, reference: &str, overlays: &[Profile]) -> Result<Loaded, Error> {
    let source = loader.source;
    let top = classify(reference, None, source)?;
    let skill_dir = match &top {
        Location::File(path) => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            Some(source.absolute(dir.unwrap_or(Path::new("."))))
        }
        Location::Builtin(..) | Location::Stdin => None,
    };
    let mut profile = loader.merged(&top, None)?;
    for overlay in overlays {
        profile.overlay_with(overlay);
    }
    Ok(Loaded { profile, skill_dir })
}

/// As [`load`], but built-in profiles are always parsed.
#[cfg(test)]
pub(crate) fn load_by_parsing(reference: &str, source: &dyn Source) -> Result<Loaded, Error> {
    let mut loader = Loader::new(source);
    loader.merged = |_| None;
    load_by(loader, reference, &[])
}

/// Where a profile is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    File(PathBuf),
    Builtin(&'static str, &'static str),
    Stdin,
}

impl Location {
    /// As the user would name it.
    fn name(&self) -> String {
        match self {
            Location::File(path) => path.to_string_lossy().into_owned(),
            Location::Builtin(name, _) => format!("builtin:{name}"),
            Location::Stdin => "-".to_owned(),
        }
    }
}

/// An error about a reference: at the line that extends it, or about the file that the user named.
fn reference_error(
    reference: &str,
    named: Option<&Declared<String>>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Error {
    match named {
        Some(entry) => extends_error(entry, message, help),
        None => Error::of_file(reference, message, help),
    }
}

fn classify(
    reference: &str,
    extending: Option<(&Location, &Declared<String>)>,
    source: &dyn Source,
) -> Result<Location, Error> {
    let error = |message: &str, help| {
        reference_error(reference, extending.map(|(_, entry)| entry), message, help)
    };
    let extending = extending.map(|(place, _)| place);
    if reference == "-" {
        return Ok(Location::Stdin);
    }
    let directory = match extending {
        Some(Location::File(path)) => path.parent(),
        _ => None,
    };
    let resolved = directory.unwrap_or(Path::new("")).join(reference);
    if Named::is_file(reference) {
        return match extending {
            Some(Location::Builtin(..)) => Err(error(
                "a built-in profile extends built-in profiles only",
                "name a built-in profile".to_owned(),
            )),
            _ => Ok(Location::File(resolved)),
        };
    }
    if let Some(name) = builtin::names().find(|name| *name == reference)
        && let Some(text) = builtin::text(name)
    {
        return Ok(Location::Builtin(name, text));
    }
    let (message, help) = NAMED.unknown(reference, source.exists(&resolved));
    Err(error(&message, help))
}

struct Loader<'s> {
    source: &'s dyn Source,
    /// Finds built-in profiles that are already merged; the others are parsed.
    merged: fn(&str) -> Option<Profile>,
    /// Profiles that are already merged: one that is extended twice is read once.
    done: Vec<(Location, Profile)>,
    /// The path from the top to the current file.
    chain: Vec<Location>,
}

impl<'s> Loader<'s> {
    fn new(source: &'s dyn Source) -> Self {
        Self {
            source,
            merged: builtin::merged,
            done: Vec::new(),
            chain: Vec::new(),
        }
    }

    /// The profile at `place`, merged. `named` is the line that extends it.
    fn merged(
        &mut self,
        place: &Location,
        named: Option<&Declared<String>>,
    ) -> Result<Profile, Error> {
        if let Some((_, profile)) = self.done.iter().find(|(done, _)| done == place) {
            return Ok(profile.clone());
        }
        if let Some(entry) = named {
            self.check_chain(place, entry)?;
        }
        let ready = match place {
            Location::Builtin(name, _) => (self.merged)(name),
            Location::File(_) | Location::Stdin => None,
        };
        let result = match ready {
            Some(profile) => profile,
            None => {
                self.chain.push(place.clone());
                let own = self.read(place, named)?;
                let result = self.with_extended(place, own)?;
                self.chain.pop();
                result
            }
        };
        // Only an extended profile can be extended again.
        if named.is_some() {
            self.done.push((place.clone(), result.clone()));
        }
        Ok(result)
    }

    fn with_extended(&mut self, place: &Location, own: Profile) -> Result<Profile, Error> {
        let mut extended = own.extends.iter();
        let Some(first) = extended.next() else {
            return Ok(own);
        };
        let mut result = self.extended(place, first)?;
        for entry in extended {
            let next = self.extended(place, entry)?;
            result.extend_with(&next);
        }
        result.extend_with(&own);
        Ok(result)
    }

    fn extended(&mut self, by: &Location, entry: &Declared<String>) -> Result<Profile, Error> {
        let place = classify(&entry.value, Some((by, entry)), self.source)?;
        self.merged(&place, Some(entry))
    }

    fn check_chain(&self, place: &Location, entry: &Declared<String>) -> Result<(), Error> {
        if let Some(at) = self.chain.iter().position(|p| p == place) {
            let round: Vec<String> = self.chain[at..]
                .iter()
                .chain([place])
                .map(|p| escape(&p.name()))
                .collect();
            return Err(extends_error(
                entry,
                format!("profiles that extend each other: {}", round.join(" -> ")),
                "remove one of these `extends`",
            ));
        }
        if self.chain.len() >= MAX_DEPTH {
            return Err(extends_error(
                entry,
                format!("a chain of `extends` longer than {MAX_DEPTH}"),
                "merge some of these files into one",
            ));
        }
        if self.done.len() + self.chain.len() >= MAX_FILES {
            return Err(extends_error(
                entry,
                format!("more than {MAX_FILES} profiles in one"),
                "merge some of these files into one",
            ));
        }
        Ok(())
    }

    fn read(&self, place: &Location, named: Option<&Declared<String>>) -> Result<Profile, Error> {
        let file: Arc<str> = place.name().into();
        let bytes = match place {
            Location::Builtin(_, text) => return parse::parse(text.as_bytes(), &file),
            Location::File(path) => self.source.read(path),
            Location::Stdin => self.source.read_stdin(),
        };
        match bytes {
            Ok(bytes) => parse::parse(&bytes, &file).map_err(|error| match named {
                // A profile could name any file that its reader may read: nothing of it is told.
                Some(entry) if !is_profile(&bytes) => extends_error(
                    entry,
                    format!("`{}` is not a profile", quote(&file)),
                    "name a file that begins with `aegis: 1`",
                ),
                _ => error,
            }),
            Err(error) => {
                let (message, help) = NAMED.unreadable(&file, &error);
                Err(reference_error(&file, named, message, help))
            }
        }
    }
}

/// Whether a file claims to be a profile.
fn is_profile(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#") && *line != b"---");
    first.is_some_and(|line| line.starts_with(b"aegis: "))
}

fn extends_error(
    entry: &Declared<String>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Error {
    let mut diagnostic = Diagnostic::at(entry.origin.clone(), message).with_help(help);
    diagnostic.expected = Some(format!("extended here: `{}`", quote(&entry.value)));
    diagnostic.into()
}
