//! The programs under test, and the attack programs in C, where every user may execute them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use crate::repository;

/// Set by the runner, the same for all tests of a run.
const RUN: &str = "NEXTEST_RUN_ID";

static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
static ATTACKS: OnceLock<PathBuf> = OnceLock::new();

/// The path of a built program that every user may execute.
pub fn program(name: &str) -> PathBuf {
    let programs = PROGRAMS.get_or_init(|| {
        assert_eq!(
            // SAFETY: no pointers; cannot fail.
            unsafe { libc::geteuid() },
            0,
            "these tests start programs as root and as an ordinary user: run them as root"
        );
        let built = built();
        once_a_run(&built, || {
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--bins", "--examples"])
                .args(["--package", "aegis-cli", "--package", "aegis-egress"])
                .args(["--package", "aegis-launch", "--package", "aegis-secrets"])
                .current_dir(repository("."))
                .status()
                .expect("cargo starts");
            assert!(status.success(), "the programs do not build");
        });
        stage(
            &std::env::temp_dir(),
            "programs",
            &built,
            &[
                "aegis-run",
                "aegis",
                "aegis-learn",
                "aegis-broker",
                "aegis-secrets",
                "examples/confine",
                "examples/front-end",
            ],
        )
    });
    programs.join(name)
}

/// The directory with the attack programs.
pub fn attacks_directory() -> &'static Path {
    const NAMES: [&str; 6] = [
        "files",
        "processes",
        "resources",
        "network",
        "sockets",
        "onpty",
    ];
    ATTACKS.get_or_init(|| {
        let compiled = built().join("attacks");
        fs::create_dir_all(&compiled).expect("a directory for the attacks");
        let _lock = lock(&compiled);
        compile(&NAMES, &compiled);
        // Not in /tmp, which bubblewrap's usual flags hide.
        stage(Path::new("/var/tmp"), "attacks", &compiled, &NAMES)
    })
}

/// The directory where cargo puts the programs that belong to the running test.
fn built() -> PathBuf {
    // target/<triple>/debug/deps/<test>, or .../debug/<program> -> target/<triple>/debug
    let test = std::env::current_exe().expect("the test knows its path");
    let built = test
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"));
    built.expect("a target directory").to_path_buf()
}

/// Does something only for the first test of a run; for every test, if the run has no name.
fn once_a_run(directory: &Path, action: impl FnOnce()) {
    let _lock = lock(directory);
    let done = directory.join(".aegis-tests-run");
    let run = std::env::var(RUN).ok();
    if run.is_some() && fs::read_to_string(&done).ok() == run {
        return;
    }
    action();
    fs::write(done, run.unwrap_or_default()).expect("a file beside the programs");
}

/// Locks until dropped.
fn lock(directory: &Path) -> File {
    let lock = File::create(directory.join(".aegis-tests-lock")).expect("a lock file");
    lock.lock().expect("flock");
    lock
}

/// Compiles the attacks that are missing or older than their source.
fn compile(names: &[&str], to: &Path) {
    let sources = repository("tests/attacks");
    let made = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
    let common = made(sources.join("common.h"));
    let compilers: Vec<(&str, Child)> = names
        .iter()
        .filter(|name| {
            let source = made(sources.join(format!("{name}.c")));
            made(to.join(name)).is_none_or(|made| Some(made) < source.max(common))
        })
        .map(|name| {
            let compiler = Command::new("gcc")
                .args(["-static", "-O1", "-o"])
                .arg(to.join(format!("{name}.new")))
                .arg(sources.join(format!("{name}.c")))
                .args(["-lpthread", "-lrt", "-lutil"])
                .spawn();
            (*name, compiler.expect("gcc starts"))
        })
        .collect();
    for (name, mut compiler) in compilers {
        let status = compiler.wait().expect("gcc ends");
        assert!(status.success(), "the attack {name} does not compile");
        fs::rename(to.join(format!("{name}.new")), to.join(name)).expect("it is there");
    }
}

/// A directory with these programs that every user may search, removed when this process ends.
fn stage(parent: &Path, what: &str, from: &Path, names: &[&str]) -> PathBuf {
    let stage = parent.join(format!("aegis-{what}-{}", std::process::id()));
    fs::create_dir_all(&stage).expect("a stage for the programs");
    fs::set_permissions(&stage, Permissions::from_mode(0o755)).expect("chmod");
    for name in names {
        let from = from.join(name);
        let to = stage.join(from.file_name().expect("a program"));
        // A hard link where possible: they are large.
        if let Err(error) = fs::hard_link(&from, &to) {
            fs::copy(&from, &to).unwrap_or_else(|_| panic!("{}: {error}", from.display()));
        }
    }
    // SAFETY: the function exists as long as the process, and does not unwind.
    unsafe { libc::atexit(unstage) };
    stage
}

/// Removes what this process has staged; does nothing in a fork of it.
extern "C" fn unstage() {
    let own = std::process::id().to_string();
    for stage in [&PROGRAMS, &ATTACKS].into_iter().filter_map(OnceLock::get) {
        if stage.to_string_lossy().rsplit('-').next() == Some(&*own) {
            let _ = fs::remove_dir_all(stage);
        }
    }
}
