//! Packages from public registries, fetched once for this machine with their ordinary clients.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The cache kept between runs: owned by root, readable by every user.
const CACHE: &str = "/var/cache/aegis-tests";

/// How often a registry is tried.
const TRIES: usize = 6;

/// A virtual environment of the system's Python with a package written in Python and one with a
/// compiled extension.
pub fn python() -> PathBuf {
    environment(
        "python-pyyaml-6.0.2-rich-14.0.0",
        &["pyyaml==6.0.2", "rich==14.0.0"],
    )
}

/// A virtual environment with an MCP server that knows the time.
pub fn mcp_python() -> PathBuf {
    environment(
        "python-mcp-server-time-2026.10.19",
        &["mcp-server-time==2026.10.19"],
    )
}

/// A virtual environment with MCP servers that read web pages, repositories and the time; and the client library that drives servers.
pub fn mcp_pythons() -> PathBuf {
    environment(
        "python-mcp-servers-2026.10",
        &[
            "mcp-server-fetch==2026.10.24",
            "mcp-server-git==2026.10.19",
            "mcp-server-time==2026.10.19",
        ],
    )
}

/// A virtual environment with MCP servers that are of an older protocol: a calculator and a database.
pub fn mcp_older_pythons() -> PathBuf {
    environment(
        "python-mcp-servers-2025.4",
        &[
            "mcp-server-calculator==0.2.1",
            "mcp-server-sqlite==2025.4.25",
        ],
    )
}

/// A virtual environment whose `bin` has uv.
pub fn uv() -> PathBuf {
    environment("python-uv-0.13.9", &["uv==0.13.9"])
}

fn environment(name: &str, packages: &[&str]) -> PathBuf {
    cached(name, |dir| {
        let venv = dir.join("venv");
        run(Command::new("/usr/bin/python3")
            .args(["-m", "venv", "--without-pip"])
            .arg(&venv))?;
        fetch(|| {
            let mut pip = Command::new("/usr/bin/python3");
            pip.args(["-m", "pip", "--python"])
                .arg(&venv)
                .args([
                    "install",
                    "--quiet",
                    "--only-binary=:all:",
                    "--root-user-action=ignore",
                ])
                .arg("--disable-pip-version-check")
                .args(packages)
                // Precompiled, so that the first run writes nothing.
                .args(["--compile"]);
            pip
        })
    })
    .join("venv")
}

/// A `node_modules` with two packages.
pub fn node() -> PathBuf {
    modules(
        "node-semver-7.7.2-marked-15.0.12",
        &["semver@7.7.2", "marked@15.0.12"],
    )
}

/// A `node_modules` with an MCP server that reads files.
pub fn mcp_node() -> PathBuf {
    modules(
        "node-mcp-server-filesystem-2026.8.31",
        &["@modelcontextprotocol/server-filesystem@2026.8.31"],
    )
}

/// A `node_modules` with MCP servers that read files, remember, think, run commands, and show what the protocol has.
pub fn mcp_nodes() -> PathBuf {
    modules(
        "node-mcp-servers-2026.8.31",
        &[
            "@modelcontextprotocol/server-filesystem@2026.8.31",
            "@modelcontextprotocol/server-memory@2026.8.31",
            "@modelcontextprotocol/server-sequential-thinking@2026.8.31",
            "@modelcontextprotocol/server-everything@2026.8.31",
            "mcp-server-commands@0.5.0",
        ],
    )
}

/// A `node_modules` with these packages, by the name that it is kept under.
fn modules(name: &str, packages: &[&str]) -> PathBuf {
    let place = cached(name, |dir| {
        fetch(|| {
            let mut npm = npm(dir);
            npm.args([
                "install",
                "--no-save",
                "--ignore-scripts",
                "--no-package-lock",
            ])
            .args(packages);
            npm
        })
    });
    place.join("node_modules")
}

/// The directory of a skill in the package `openclaw`, as published.
pub fn skill(name: &str) -> PathBuf {
    packed("openclaw", "2026.5.28", "skills").join(name)
}

/// The directory of a skill in the package `ai-labs-claude-skills`, as published.
pub fn other_skill(name: &str) -> PathBuf {
    packed("ai-labs-claude-skills", "2.0.1", "dist/skills").join(name)
}

/// A directory of an npm package, and its licence.
fn packed(package: &str, version: &str, part: &str) -> PathBuf {
    let name = format!("{package}-{version}");
    cached(&name, |dir| {
        fetch(|| {
            let mut npm = npm(dir);
            npm.arg("pack").arg(format!("{package}@{version}"));
            npm
        })?;
        let archive = dir.join(format!("{name}.tgz"));
        run(Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .args(["--no-same-owner", "--strip-components=1"])
            .args([&format!("package/{part}"), "package/LICENSE"])
            .current_dir(dir))?;
        std::fs::remove_file(archive).map_err(|error| error.to_string())
    })
    .join(part)
}

fn npm(dir: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(dir).args([
        "--loglevel=error",
        "--fetch-retries=1",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]);
    npm
}

/// A directory in the cache, filled by `make` if it is missing. Safe against other tests
/// doing the same: the first one makes it, and it appears complete or not at all.
fn cached(name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> PathBuf {
    let cache = Path::new(CACHE);
    std::fs::create_dir_all(cache).expect("the cache can be made by root");
    std::fs::set_permissions(cache, Permissions::from_mode(0o755)).expect("chmod");
    let owner = cache.metadata().expect("the cache is there").uid();
    assert_eq!(owner, 0, "{CACHE} belongs to somebody else");
    let cached = cache.join(name);
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("flock");
    if !cached.is_dir() {
        let new = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(cache)
            .expect("a new directory in the cache");
        if let Err(reason) = make(new.path()) {
            panic!("{name} could not be fetched, so this test cannot run: {reason}");
        }
        std::fs::rename(new.keep(), &cached).expect("the new directory gets its name");
    }
    cached
}

/// Runs a registry's client; repeats it if it fails.
fn fetch(client: impl Fn() -> Command) -> Result<(), String> {
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        outcome = run(&mut client());
        if outcome.is_ok() {
            return outcome;
        }
    }
    outcome.map_err(|reason| format!("{reason}\n(tried {TRIES} times)"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", crate::text(&output)))
}
