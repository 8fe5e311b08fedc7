//! From a reference (a file, a directory, `-`, a template's name) to a policy. Everything fails closed:
//! anything that is not understood, to the last key, is an error.
//!
//! A directory stands for all of its `*.yaml` and `*.yml` files together, in the order of their names;
//! tables of tests (`*.test.yaml`) and hidden files are not part of it. Two files must not both set a single
//! thing, such as a rule's id or a ceiling.

mod judge;
mod read;
mod sections;
mod source;
mod trust;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_profile::syntax::{MAX_BYTES, Wrong, escape, quote};
use aegis_profile::{Diagnostic, Error, Named, ReadError};

use crate::decide::Policy;
use crate::model::{Document, Documents};
use crate::{places, templates};
pub(crate) use read::{KIND, version};
pub(crate) use sections::SECTIONS;
use sections::Union;
use trust::Ownership;

pub use source::{Found, Source};

/// The name of a policy that gives itself none, wherever it was read from: the name is part of the hash, and a
/// copy elsewhere is the same policy.
pub const UNNAMED: &str = "unnamed";

/// How many files a directory of policies may hold.
const MAX_FILES: usize = 256;

const NAMED: Named = Named {
    kind: "policy",
    one: "policy template",
    file: "a file or directory",
    names: || {
        templates::ALL
            .iter()
            .map(|template| template.name)
            .collect()
    },
};

/// Reads the policy that `reference` names.
///
/// A reference with a `/` in it, or ending in `.yaml` or `.yml`, is a file or a directory; `-` is standard
/// input; all others are names of templates.
///
/// ```
/// let standard = aegis_policy::load::load("standard", &aegis_profile::Files).unwrap();
/// assert_eq!(standard.name, "standard");
/// let error = aegis_policy::load::load("standart", &aegis_profile::Files).unwrap_err();
/// assert!(error.to_string().contains("did you mean `standard`?"));
/// ```
pub fn load(reference: &str, source: &dyn Source) -> Result<Document, Error> {
    Ok(read(reference, source)?.document)
}

/// A document, and where it was read from.
#[derive(Clone, Debug)]
pub struct Held {
    /// The document.
    pub document: Document,
    /// What it is to the caller.
    pub held_as: HeldAs,
    /// The directory or file, or the template's name.
    pub place: String,
    /// The files of policy and Rego that it was read from.
    pub files: Vec<PathBuf>,
}

/// Why a document is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldAs {
    /// No policy is configured.
    Default,
    /// It was named.
    Named,
    /// The system's: it applies to everybody.
    System,
    /// The caller's own.
    User,
}

impl Held {
    fn named(document: Document, place: &str, files: Vec<PathBuf>) -> Self {
        Self {
            document,
            held_as: HeldAs::Named,
            place: place.to_owned(),
            files,
        }
    }
}

/// [`load`], with the files that were read.
fn read(reference: &str, source: &dyn Source) -> Result<Held, Error> {
    let path = Path::new(reference);
    if reference == "-" {
        let bytes = source.read_stdin();
        let bytes = bytes.map_err(|error| unreadable(path, &error))?;
        let mut union = Union::new(|_| {
            Wrong::new(
                "a policy on standard input has no directory, and so no Rego files",
                "write it to a file beside them",
            )
        });
        read::add(&bytes, &reference.into(), &mut union)?;
        return Ok(Held::named(
            finish(union, reference)?,
            reference,
            Vec::new(),
        ));
    }
    if is_path(reference) {
        let files = match source.look(path) {
            Ok(found) if found.is_directory => files_of(path, source)?,
            // Reading it reports anything else.
            _ => vec![path.into()],
        };
        return from_files(&files, reference, source, None);
    }
    if let Some(template) = templates::find(reference) {
        return Ok(Held::named(template.document(), reference, Vec::new()));
    }
    let (message, help) = NAMED.unknown(reference, source.exists(path));
    Err(Error::of_file(reference, message, help))
}

/// Reads one file's text. Rego files that it names are not read: the document has their names, but not their
/// text.
pub fn parse_str(text: &str, file_name: &str) -> Result<Document, Error> {
    let mut union = Union::new(|_| Ok(String::new()));
    read::add(text.as_bytes(), &Arc::from(file_name), &mut union)?;
    if union.document.name.is_empty() {
        union.document.name = UNNAMED.into();
    }
    Ok(union.document)
}

/// The policy of a run: the system's, and the user's or the one that `reference` names in its place. Each has
/// to let through what is asked for, so a user cannot widen what the system permits. If there is none: the
/// template `standard`.
///
/// `uid` is the caller's. Their own configuration has to belong to them or to root, the system's to root;
/// neither may be writable by others. A policy that exists but cannot be used is an error, never left out.
pub fn held(
    reference: Option<&str>,
    uid: u32,
    home: Option<&Path>,
    xdg_config_home: Option<&Path>,
    source: &dyn Source,
) -> Result<Vec<Held>, Error> {
    let mut all = Vec::new();
    let mut add = |held: Option<Held>, held_as| {
        all.extend(held.map(|held| Held { held_as, ..held }));
    };
    let system = Path::new(places::SYSTEM_CONFIG);
    add(configured(system, &[0], source)?, HeldAs::System);
    match reference {
        Some(reference) => add(Some(read(reference, source)?), HeldAs::Named),
        None => {
            if let Some(user) = places::user_config(home, xdg_config_home) {
                add(configured(&user, &[uid, 0], source)?, HeldAs::User);
            }
        }
    }
    if all.is_empty() {
        all.push(Held {
            held_as: HeldAs::Default,
            ..read(templates::DEFAULT, source)?
        });
    }
    Ok(all)
}

/// Compiles the policy of a run.
///
/// # Errors
///
/// One of the documents is not valid, which never happens for those of [`held`].
pub fn compile(documents: Documents) -> Result<Policy, Error> {
    let policy = Policy::of(documents);
    policy.map_err(|bad| Diagnostic::of_file(&bad.document, bad.to_string()).into())
}

/// Whether a reference is a file or a directory, and not a template's name.
pub fn is_path(reference: &str) -> bool {
    Named::is_file(reference)
}

/// The files of a policy's directory, in the order of their names.
pub fn files_of(directory: &Path, source: &dyn Source) -> Result<Vec<PathBuf>, Error> {
    let shown = directory.to_string_lossy();
    let mut names = source.names(directory).map_err(|error| {
        let message = format!("the directory cannot be read: {error}");
        Error::of_file(&shown, message, "check it and its permissions")
    })?;
    let is_yaml = |name: &str| name.ends_with(".yaml") || name.ends_with(".yml");
    let is_table = |name: &str| name.ends_with(".test.yaml") || name.ends_with(".test.yml");
    names.retain(|name| is_yaml(name) && !is_table(name) && !name.starts_with('.'));
    names.sort();
    if names.is_empty() {
        let help = "put a file into it that ends in .yaml and begins with `aegis-policy: 1`";
        return Err(Error::of_file(
            &shown,
            "no policy is in this directory",
            help,
        ));
    }
    if names.len() > MAX_FILES {
        let message = format!("{} files in one directory of policies", names.len());
        let help = format!("no more than {MAX_FILES} are read: put several into one");
        return Err(Error::of_file(&shown, message, help));
    }
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Reads a configuration directory: `policy.yaml`, and the files of `policy.d`.
fn configured(config: &Path, owners: &[u32], source: &dyn Source) -> Result<Option<Held>, Error> {
    let ownership = Ownership { config, owners };
    let mut files = Vec::new();
    if !is_there(config, source)? {
        return reached(config, source).map(|()| None);
    }
    let file = config.join("policy.yaml");
    if is_there(&file, source)? {
        ownership.check(config, source)?;
        files.push(file);
    }
    let misnamed = config.join("policy.yml");
    if is_there(&misnamed, source)? {
        let message = "a file of this name is not read";
        let help = "call it policy.yaml, or remove it";
        return Err(Error::of_file(&misnamed.to_string_lossy(), message, help));
    }
    let directory = config.join("policy.d");
    if is_there(&directory, source)? {
        ownership.check(config, source)?;
        ownership.check(&directory, source)?;
        files.extend(files_of(&directory, source)?);
    }
    if files.is_empty() {
        return reached(config, source).map(|()| None);
    }
    for file in &files {
        ownership.check_path(file, source)?;
    }
    from_files(&files, &config.to_string_lossy(), source, Some(ownership)).map(Some)
}

/// Refuses a link that keeps a directory from being there, be it that or one of those above it.
fn reached(directory: &Path, source: &dyn Source) -> Result<(), Error> {
    let mut missing = directory
        .ancestors()
        .take_while(|path| source.look(path).is_err());
    match missing.find(|path| source.exists(path)) {
        Some(link) => Err(Error::of_file(
            &link.to_string_lossy(),
            "a link that leads nowhere, where policies are looked for",
            "remove it, or put the directory there: a policy that cannot be reached must not count as absent",
        )),
        None => Ok(()),
    }
}

/// Whether something exists at the path, even a dangling link. Not knowing is an error: a policy that cannot be
/// reached must not count as absent.
fn is_there(path: &Path, source: &dyn Source) -> Result<bool, Error> {
    match source.look(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(source.exists(path)),
        Err(error) => Err(Error::of_file(
            &path.to_string_lossy(),
            format!("cannot tell whether there is a policy: {error}"),
            "make its directory readable, or remove what is in the way",
        )),
    }
}

/// Reads one policy from several files; `place` is where they are, for messages. `ownership` also applies to
/// the Rego files that they name, which decide as much as the files themselves.
fn from_files(
    files: &[PathBuf],
    place: &str,
    source: &dyn Source,
    ownership: Option<Ownership<'_>>,
) -> Result<Held, Error> {
    let read = RefCell::new(Vec::new());
    let mut union = Union::new(|_| Ok(String::new()));
    let mut wrong: Option<Error> = None;
    for path in files {
        read.borrow_mut().push(path.clone());
        let read = &read;
        let file: Arc<str> = path.to_string_lossy().into();
        // Names are relative to the file that has them.
        let directory = path.parent().unwrap_or(Path::new(""));
        union.modules = Box::new(move |name| {
            let path = directory.join(name);
            let text = module(&path, source, ownership)?;
            read.borrow_mut().push(path);
            Ok(text)
        });
        let result = match source.read(path) {
            Ok(bytes) => read::add(&bytes, &file, &mut union),
            Err(error) => Err(unreadable(path, &error)),
        };
        if let Err(error) = result {
            wrong = Some(match wrong {
                Some(before) => before.and(error),
                None => error,
            });
        }
    }
    match wrong {
        Some(error) => Err(error),
        None => {
            let document = finish(union, place)?;
            Ok(Held::named(document, place, read.into_inner()))
        }
    }
}

/// The text of a Rego file.
fn module(
    path: &Path,
    source: &dyn Source,
    ownership: Option<Ownership<'_>>,
) -> Result<String, Wrong> {
    let shown = quote(&path.to_string_lossy());
    if let Some(ownership) = ownership {
        let checked = ownership.check_path(path, source);
        checked.map_err(|untrusted| Wrong {
            message: format!("`{}`: {}", quote(&untrusted.origin.file), untrusted.message),
            help: untrusted.help,
        })?;
    }
    let bytes = match source.read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = "put the file beside the policy, readable by whoever runs under it";
            return Wrong::new(format!("cannot read `{shown}`: {error}"), help);
        }
    };
    if bytes.len() > MAX_BYTES {
        let help = "split it, or say it in fewer rules";
        return Wrong::new(format!("`{shown}` is larger than 1 MiB"), help);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Wrong::new(
            format!("`{shown}` is not UTF-8 text"),
            "save the file with the encoding UTF-8",
        ),
    }
}

/// Gives the document a name, and compiles it as the final check.
fn finish(union: Union<'_>, place: &str) -> Result<Document, Error> {
    let mut document = union.document;
    if document.name.is_empty() {
        document.name = UNNAMED.into();
    }
    document.rego.sort();
    if let Err(bad) = Policy::new(vec![document.clone()]) {
        // Rules are already checked one by one: only modules can still be wrong.
        let named = bad.item.as_ref().and_then(|item| union.rego.get(item));
        let Wrong { message, help } = bad.pattern;
        let mut wrong = Diagnostic::of_file(place, escape(&message));
        wrong.help = help;
        if let Some(origin) = named.or(union.rego.values().next()) {
            wrong.origin = origin.clone();
        }
        return Err(wrong.into());
    }
    Ok(document)
}

fn unreadable(path: &Path, error: &ReadError) -> Error {
    let shown = path.to_string_lossy();
    let (message, help) = NAMED.unreadable(&shown, error);
    Error::of_file(&shown, message, help)
}
