//! The policies in force, and where they were read from: whoever can write there decides over the next run.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aegis_policy::Policy;
use aegis_policy::load::{self, Found, Held};
use aegis_policy::model::Documents;
use aegis_policy::places;
use aegis_profile::{Files, ReadError};
use aegis_secrets::places::Places;
use aegis_sys::{accounts, files, walk};

/// The policy of a run: the system's, and the user's or the one that `--policy` names. Also returns the paths
/// that decide: directories of configuration, the named path, and each file that was read, Rego too.
///
/// # Errors
///
/// A policy is wrong, or cannot be read.
pub fn in_force(named: Option<&str>) -> Result<(Policy, Vec<PathBuf>), aegis_profile::Error> {
    let (documents, places) = documents(named)?;
    Ok((load::compile(documents)?, places))
}

/// The documents of a run's policy, each with where it was read from.
///
/// # Errors
///
/// A policy is wrong, or cannot be read.
pub fn held(named: Option<&str>) -> Result<Vec<Held>, aegis_profile::Error> {
    held_by(named, &Files)
}

fn held_by(
    named: Option<&str>,
    source: &dyn load::Source,
) -> Result<Vec<Held>, aegis_profile::Error> {
    let (home, config) = (accounts::home(), std::env::var_os("XDG_CONFIG_HOME"));
    let (home, config) = (home.as_deref(), config.as_deref().map(Path::new));
    let uid = rustix::process::geteuid().as_raw();
    load::held(named, uid, home, config, source)
}

/// The same policies, not yet compiled.
pub(crate) fn documents(
    named: Option<&str>,
) -> Result<(Documents, Vec<PathBuf>), aegis_profile::Error> {
    let files = Noted::default();
    let held = held_by(named, &files)?;
    let documents = held.into_iter().map(|held| held.document).collect();
    let mut places = files.read.into_inner();
    places.push(places::SYSTEM_CONFIG.into());
    let (home, config) = (accounts::home(), std::env::var_os("XDG_CONFIG_HOME"));
    let config = config.as_deref().map(Path::new);
    places.extend(places::user_config(home.as_deref(), config));
    places.extend(
        named
            .filter(|named| load::is_path(named))
            .map(PathBuf::from),
    );
    Ok((Documents::new(documents), places))
}

/// [`Files`] that notes which of them were read.
#[derive(Default)]
pub(crate) struct Noted {
    pub read: RefCell<Vec<PathBuf>>,
}

impl aegis_profile::Source for Noted {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.read.borrow_mut().push(path.to_owned());
        Files.read(path)
    }

    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        Files.read_stdin()
    }

    fn exists(&self, path: &Path) -> bool {
        Files.exists(path)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        Files.absolute(path)
    }
}

impl load::Source for Noted {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        Files.names(directory)
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        Files.look(path)
    }

    fn link(&self, path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
        Files.link(path)
    }
}

/// Where a path leads. Unlike [`aegis_runtime::facts::paths::resolve`], which looks for what is granted, it
/// refuses nothing, and a missing file has a route too: somebody could create it.
pub(crate) struct Route {
    /// Directories that are left again by `..`, free of links.
    pub passed: Vec<PathBuf>,
    /// The links on the way, each at its real path: whoever changes one leads elsewhere.
    pub links: Vec<PathBuf>,
    /// Where the path ends, free of links; where it would end if the file is missing.
    pub end: PathBuf,
}

/// Follows paths, most of which begin alike.
pub(crate) struct Router {
    /// How far the path is followed.
    at: PathBuf,
    links: Vec<PathBuf>,
    passed: Vec<PathBuf>,
    /// What was found to be no link.
    plain: Vec<PathBuf>,
}

impl Router {
    pub fn new() -> Self {
        Self {
            at: "/".into(),
            links: Vec::new(),
            passed: Vec::new(),
            plain: vec!["/".into()],
        }
    }

    /// Follows a path.
    pub fn route(&mut self, path: &Path) -> Route {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let Ok(end) = walk::walk(Path::new("/"), &path, self);
        Route {
            links: std::mem::take(&mut self.links),
            passed: std::mem::take(&mut self.passed),
            end,
        }
    }
}

impl walk::Visit for Router {
    type Error = Infallible;

    fn visit(&mut self, step: walk::Step<'_>) -> Result<Option<PathBuf>, Infallible> {
        let left = std::mem::replace(&mut self.at, step.path.to_owned());
        if step.name == ".." {
            self.passed.push(left);
            return Ok(None);
        }
        let is_step = |known: &PathBuf| known.as_os_str() == step.path.as_os_str();
        if self.plain.iter().any(is_step) {
            return Ok(None);
        }
        let target = std::fs::read_link(step.path).ok();
        let known = match target {
            Some(_) => {
                self.at = left;
                &mut self.links
            }
            None => &mut self.plain,
        };
        known.push(step.path.to_owned());
        Ok(target)
    }

    fn too_many_links(&mut self, _: &Path) -> Result<(), Infallible> {
        self.links.pop();
        Ok(())
    }
}

/// The files that the commands of `secrets.yaml` name: programs, and arguments that are absolute paths. They run outside, as the caller.
/// What shells are told by `-c` is not looked into. Where the list is wrong, nothing of it is run.
pub(crate) fn of_commands(secrets: &Places) -> Vec<PathBuf> {
    const LONGEST: u64 = 1 << 20;
    let mut text = String::new();
    let read = files::open_regular(&secrets.sources)
        .and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let list = aegis_profile::yaml_to_json(&text, "secrets.yaml").unwrap_or_default();
    let entries = list.as_object().into_iter().flat_map(|list| list.values());
    let commands = entries.flat_map(|entry| ["exec", "on-rotate"].map(|key| &entry[key]));
    let words = commands.filter_map(|command| command.as_array()).flatten();
    let files = words.filter_map(|word| {
        let word = word.as_str()?;
        let at_home =
            (word.strip_prefix("~/")).and_then(|rest| Some(secrets.home.as_ref()?.join(rest)));
        let path = at_home.unwrap_or_else(|| word.into());
        (path.is_absolute() && path.is_file()).then_some(path)
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_way_has_every_link_and_ends_where_the_kernel_says() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("dotfiles/aegis")).unwrap();
        fs::create_dir_all(dir.join("home/.config")).unwrap();
        fs::write(dir.join("dotfiles/policy.yaml"), "").unwrap();
        symlink("../../dotfiles/aegis", dir.join("home/.config/aegis")).unwrap();
        symlink("./../policy.yaml", dir.join("dotfiles/aegis/policy.yaml")).unwrap();
        symlink(dir.join("home"), dir.join("me")).unwrap();

        let path = dir.join("me/.config/aegis/policy.yaml");
        let route = Router::new().route(&path);
        let end = path.canonicalize().unwrap();
        assert_eq!(route.end.as_os_str(), end.as_os_str());
        let links = ["me", "home/.config/aegis", "dotfiles/aegis/policy.yaml"];
        assert_eq!(route.links, links.map(|link| dir.join(link)));

        let absent = Router::new().route(&dir.join("me/.config/aegis/policy.d/10.yaml"));
        assert_eq!(absent.end, dir.join("dotfiles/aegis/policy.d/10.yaml"));
        assert_eq!(absent.links.len(), 2);

        symlink("round", dir.join("round")).unwrap();
        let round = Router::new().route(&dir.join("round/x"));
        assert_eq!((round.links.len(), round.end), (40, dir.join("round/x")));
    }

    #[test]
    fn the_files_of_commands_are_found() {
        let home = std::env::temp_dir().join(format!("aegis-commands-{}", std::process::id()));
        std::fs::create_dir_all(home.join(".config/aegis")).unwrap();
        for name in ["get", "argument"] {
            std::fs::write(home.join(name), "x").unwrap();
        }
        let argument = home.join("argument").display().to_string();
        let places = Places {
            store: home.join("store"),
            key: home.join("key"),
            sources: home.join(".config/aegis/secrets.yaml"),
            home: Some(home.clone()),
            config: home.join(".config"),
        };
        assert!(of_commands(&places).is_empty());
        let text = format!(
            "# A comment.\na: {{exec: [~/get, {argument}, ~/none, plain]}}\nb: {{rotate-every: 90d, on-rotate: [{argument}]}}\nc: {{sops: ~/get, key: x}}\n"
        );
        std::fs::write(&places.sources, text).unwrap();
        let found = of_commands(&places);
        std::fs::remove_dir_all(&home).unwrap();
        let argument = home.join("argument");
        assert_eq!(found, [home.join("get"), argument.clone(), argument]);
    }
}
