//! Which paths mean what on a Linux host: tables of places, and names that change from run to run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What every sandbox has of its own, beside [`NODES`] of `/dev`.
const OWN: [&str; 8] = [
    "/proc",
    "/sys",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/mtab",
    "/dev/fd",
    "/dev/pts",
];

/// Nodes of `/dev` that every sandbox has.
const NODES: [&str; 9] = [
    "null", "zero", "full", "random", "urandom", "tty", "stdin", "stdout", "stderr",
];

/// The sandbox's own, and empty at the start.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Directories that nobody means to grant as a whole.
const BROAD: [&str; 44] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/nix",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/games",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// The same in a home directory.
const BROAD_IN_HOME: [&str; 5] = ["", ".cache", ".config", ".local", ".local/share"];

/// Package directories of languages; `~` is the home directory, a `*` at the end of a component any rest of it.
const PACKAGES: [&str; 54] = [
    "/usr/lib/python3*",
    "/usr/local/lib/python3*",
    "/etc/python3*",
    "/usr/share/python3",
    "/usr/share/python-wheels",
    "/usr/lib/node_modules",
    "/usr/local/lib/node_modules",
    "/usr/share/nodejs",
    "/usr/share/node_modules",
    "/usr/lib/nodejs",
    "/usr/share/npm",
    "/usr/share/perl",
    "/usr/share/perl5",
    "/usr/lib/perl5",
    "/usr/local/share/perl",
    "/usr/local/lib/site_perl",
    "/etc/perl",
    "/usr/lib/ruby",
    "/usr/local/lib/ruby",
    "/usr/share/rubygems-integration",
    "/var/lib/gems",
    "/usr/lib/jvm/*",
    "/usr/share/java",
    "/usr/lib/go*",
    "/usr/share/go*",
    "/usr/local/go",
    "/usr/lib/gcc",
    "/usr/include",
    "/usr/local/include",
    "/usr/share/pkgconfig",
    "/usr/lib/rustlib",
    "/usr/lib/ocaml",
    "/usr/lib/R",
    "/usr/share/R",
    "/usr/lib/php",
    "/usr/share/php",
    "/usr/share/lua",
    "/usr/lib/ghc*",
    "/usr/lib/erlang",
    "/usr/lib/llvm-*",
    "/usr/lib/clang",
    "~/.cargo/registry",
    "~/.cargo/git",
    "~/.rustup",
    "~/go/pkg/mod",
    "~/.gem/ruby",
    "~/.local/share/gem/ruby",
    "~/.local/lib/python3*",
    "~/.m2/repository",
    "~/.nvm/versions/node/*",
    "~/.pyenv/versions/*",
    "~/.local/share/uv/python",
    "~/.local/share/uv/tools/*",
    "~/.local/share/pipx/venvs/*",
];

/// Names of package directories, wherever they are.
const PACKAGE_NAMES: [&str; 3] = ["site-packages", "dist-packages", "node_modules"];

/// Sets of data that are read as a whole.
const DATA_SETS: [&str; 20] = [
    "/usr/lib/locale",
    "/usr/share/locale",
    "/usr/share/i18n",
    "/usr/share/zoneinfo",
    "/usr/share/terminfo",
    "/lib/terminfo",
    "/usr/lib/terminfo",
    "/etc/terminfo",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/usr/share/fontconfig",
    "/etc/fonts",
    "/usr/share/mime",
    "/usr/share/icons",
    "/usr/share/X11/xkb",
    "/usr/share/X11/locale",
    "/usr/share/iso-codes",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/etc/alternatives",
];

/// What a package of the system has of its own below these.
const SYSTEM: [&str; 8] = [
    "/usr/share",
    "/usr/lib",
    "/usr/libexec",
    "/usr/local/share",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/opt",
    "/usr/lib/*-linux-gnu",
];

/// Caches in a home directory: programs make them anew.
const CACHES: [&str; 12] = [
    ".cache",
    ".npm",
    ".local/state",
    ".java",
    ".pki",
    ".dotnet",
    ".nv",
    ".gradle/daemon",
    ".node_repl_history",
    ".python_history",
    ".sqlite_history",
    ".wget-hsts",
];

fn is_below_any(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// Whether every sandbox has its own of this.
pub(crate) fn own(path: &Path) -> bool {
    is_below_any(path, &OWN)
        || is_node(path)
        || ["/", "/dev", "/run"].map(Path::new).contains(&path)
}

fn is_node(path: &Path) -> bool {
    NODES
        .iter()
        .any(|node| path.strip_prefix("/dev") == Ok(Path::new(node)))
}

/// Whether a path lies in what is empty at the start.
pub(crate) fn temporary(path: &Path) -> bool {
    is_below_any(path, &TEMPORARY)
}

/// Whether it is in the home directory, which a sandbox has of its own wherever it lies, also in `/tmp`.
pub(crate) fn at_home(path: &Path, home: &Path) -> bool {
    path.starts_with(home)
        && TEMPORARY
            .iter()
            .all(|temporary| home != Path::new(temporary))
}

/// Whether nobody means to grant this as a whole.
pub(crate) fn broad(path: &Path, home: &Path) -> bool {
    let in_home = |home: &Path| {
        let rest = path.strip_prefix(home).ok();
        rest.is_some_and(|rest| BROAD_IN_HOME.iter().any(|broad| rest == Path::new(broad)))
    };
    let others = path.parent() == Some(Path::new("/home"));
    let libraries = path.parent() == Some(Path::new("/usr/lib"))
        && path.to_string_lossy().ends_with("-linux-gnu");
    BROAD.iter().any(|broad| path == Path::new(broad)) || others || libraries || in_home(home)
}

/// The first part of a path that a pattern of whole components matches.
fn matched(path: &Path, pattern: &str, home: &Path) -> Option<PathBuf> {
    let pattern = match pattern.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(pattern),
    };
    let mut found = PathBuf::new();
    let mut parts = path.components();
    for wanted in &pattern {
        let part = parts.next()?.as_os_str();
        if !is_like(part, wanted) {
            return None;
        }
        found.push(part);
    }
    Some(found)
}

fn is_like(part: &OsStr, wanted: &OsStr) -> bool {
    let (part, wanted) = (part.as_encoded_bytes(), wanted.as_encoded_bytes());
    match wanted {
        [start @ .., b'*'] => part.starts_with(start) && !part.is_empty(),
        [b'*', end @ ..] => part.ends_with(end),
        _ => part == wanted,
    }
}

/// The package directory of a language that a path lies in.
pub(crate) fn package_directory(path: &Path, home: &Path) -> Option<PathBuf> {
    let known = PACKAGES.iter().find_map(|place| matched(path, place, home));
    known.or_else(|| {
        let named = |part: &&Path| {
            let name = part.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| PACKAGE_NAMES.contains(&name))
        };
        // The outermost: packages have packages.
        path.ancestors().filter(named).last().map(Path::to_owned)
    })
}

/// The set of data that a path lies in.
pub(crate) fn data_set(path: &Path) -> Option<PathBuf> {
    // Read by every program that has a locale, also by those that find no translation.
    let is_alias = path.ends_with("locale.alias");
    let set = DATA_SETS
        .iter()
        .find(|set| path.starts_with(set) && !is_alias);
    set.map(PathBuf::from)
}

/// The directory that a package of the system has of its own, and whether the path lies deeper than directly in it.
pub(crate) fn system_package(path: &Path) -> Option<(PathBuf, bool)> {
    // The longest first: the directory of libraries is none of a package's.
    SYSTEM.iter().rev().find_map(|system| {
        let above = matched(path, system, Path::new("/"))?;
        let mut rest = path.strip_prefix(&above).ok()?.components();
        let found = above.join(rest.next()?);
        let deeper = rest.next().is_some() && rest.next().is_some();
        (found != path && !broad(&found, Path::new("/nonexistent"))).then_some((found, deeper))
    })
}

/// The cache in a home directory that a path lies in. Programs make it anew.
pub(crate) fn cache(path: &Path, home: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(home).ok()?;
    let caches = CACHES.iter().find(|cache| rest.starts_with(cache))?;
    let caches = home.join(caches);
    if !caches.ends_with(".cache") && !caches.ends_with(".local/state") {
        return Some(caches);
    }
    // In these each program has one of its own.
    let mut below = path.strip_prefix(&caches).ok()?.components();
    Some(below.next().map_or(caches.clone(), |own| caches.join(own)))
}

/// Whether Python made it of a source file.
pub(crate) fn byte_code(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str() == "__pycache__")
}

/// Whether a name will be another one in the next run: a temporary name, a hash, a timestamp, a number.
pub(crate) fn changes(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let text = String::from_utf8_lossy(name).to_lowercase();
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let random = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let run = word
            .split(|c: char| !c.is_ascii_digit())
            .map(str::len)
            .max();
        let hexadecimal = word.bytes().all(|b| b.is_ascii_hexdigit());
        run.unwrap_or(0) >= 4 || (hexadecimal && word.len() >= 8 && digits > 0)
    };
    let temporary = |word: &str| {
        let rest = word.strip_prefix("tmp");
        word == "temp" || rest.is_some_and(|rest| rest.is_empty() || rest.len() >= 4)
    };
    words.any(|word| random(word) || temporary(word))
}

/// Whether a file is a library by its name: `*.so`, `*.so.6.2`, `*.node`.
pub(crate) fn is_library(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let numbers = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    name.ends_with(".so")
        || name.ends_with(".node")
        || name
            .rsplit_once(".so.")
            .is_some_and(|(_, rest)| numbers(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "/home/ada";

    #[test]
    fn package_directories_are_found_from_outside() {
        let of = |path: &str| package_directory(Path::new(path), Path::new(HOME));
        let found = [
            (
                "/usr/lib/python3.11/json/__init__.py",
                "/usr/lib/python3.11",
            ),
            ("/usr/lib/python3/dist-packages/x.py", "/usr/lib/python3"),
            (
                "/srv/a/node_modules/b/node_modules/c.js",
                "/srv/a/node_modules",
            ),
            (
                "/home/ada/.cargo/registry/src/x",
                "/home/ada/.cargo/registry",
            ),
            ("/usr/lib/jvm/java-17/lib/x", "/usr/lib/jvm/java-17"),
        ];
        for (path, package) in found {
            assert_eq!(of(path), Some(package.into()), "{path}");
        }
        for path in [
            "/usr/lib/jvm",
            "/usr/lib/x.so",
            "/home/ada/.cargo/credentials.toml",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn packages_of_the_system_have_a_directory() {
        let of = |path: &str| system_package(Path::new(path));
        assert_eq!(
            of("/usr/share/misc/magic"),
            Some(("/usr/share/misc".into(), false))
        );
        assert_eq!(
            of("/usr/share/pandoc/data/x"),
            Some(("/usr/share/pandoc".into(), true))
        );
        assert_eq!(
            of("/usr/lib/x86_64-linux-gnu/perl/5/x.so"),
            Some(("/usr/lib/x86_64-linux-gnu/perl".into(), true))
        );
        assert_eq!(of("/usr/lib/x86_64-linux-gnu/libc.so.6"), None);
        assert_eq!(of("/usr/share/x"), None);
        assert_eq!(of("/etc/x/y"), None);
    }

    #[test]
    fn names_that_change_are_known() {
        let changing = [
            "tmpab12cd",
            "tmp.Xy12",
            "core.12345",
            "a-1f3b9c00d2e4.json",
            "2024-01-31.log",
            ".tmpfile",
            "550e8400-e29b-41d4-a716-446655440000",
        ];
        for name in changing {
            assert!(changes(OsStr::new(name)), "{name}");
        }
        for name in [
            "main.py",
            "libc.so.6",
            "python3.11",
            "x86_64",
            "template.html",
            "templates",
            "deadbeef",
            "en_US",
        ] {
            assert!(!changes(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_cache_is_of_one_program() {
        let of = |path: &str| cache(Path::new(path), Path::new(HOME));
        for (path, expected) in [
            ("/home/ada/.npm/_cacache/tmp/x", Some("/home/ada/.npm")),
            ("/home/ada/.cache/pip/http/x", Some("/home/ada/.cache/pip")),
            ("/home/ada/.cache", Some("/home/ada/.cache")),
            (
                "/home/ada/.gradle/daemon/8/x",
                Some("/home/ada/.gradle/daemon"),
            ),
            ("/home/ada/.npmrc", None),
            ("/srv/.cache/x", None),
        ] {
            assert_eq!(of(path), expected.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn what_is_broad_is_never_meant() {
        for path in [
            "/",
            "/usr/lib",
            "/usr/lib/x86_64-linux-gnu",
            HOME,
            "/home/eve",
            "/home/ada/.config",
        ] {
            assert!(broad(Path::new(path), Path::new(HOME)), "{path}");
        }
        assert!(!broad(Path::new("/home/ada/.config/x"), Path::new(HOME)));
    }
}
