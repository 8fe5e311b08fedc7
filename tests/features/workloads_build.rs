//! Compilers and the programs that they make.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_tests::Workspace;
use aegis_tests::workload::Workload;

fn directory(workspace: &Workspace, name: &str) {
    let path = workspace.work().join(name);
    std::fs::create_dir(&path).expect("mkdir");
    workspace.own(&path);
}

fn c_project(workspace: &Workspace) {
    directory(workspace, "out");
    workspace.write(
        "work/Makefile",
        "CFLAGS = -O2 -Wall -Werror\n\
         all: out/primes\n\tout/primes 30\n\
         out/primes: out/main.o out/libsieve.a\n\t$(CC) -o $@ out/main.o -Lout -lsieve -lm\n\
         out/%.o: src/%.c src/sieve.h\n\t$(CC) $(CFLAGS) -c -o $@ $<\n\
         out/libsieve.a: out/sieve.o\n\tar rcsD $@ $^\n",
    );
    workspace.write("work/src/sieve.h", "int next_prime(int after);\n");
    workspace.write(
        "work/src/sieve.c",
        "#include <math.h>\n#include \"sieve.h\"\n\
         int next_prime(int n) { for (;;) { n++; int ok = n > 1;\n\
         for (int d = 2; d <= (int)sqrt(n); d++) if (n % d == 0) ok = 0;\n\
         if (ok) return n; } }\n",
    );
    workspace.write(
        "work/src/main.c",
        "#include <stdio.h>\n#include <stdlib.h>\n#include \"sieve.h\"\n\
         int main(int argc, char **argv) { int end = argc > 1 ? atoi(argv[1]) : 0;\n\
         for (int p = next_prime(0); p < end; p = next_prime(p)) printf(\"%d \", p);\n\
         puts(\"\"); return end == 30 ? 0 : 1; }\n",
    );
}

#[test]
fn a_c_program_is_built_and_run_the_same() {
    Workload::new("tests/profiles/c-build.yaml")
        .prepare(c_project)
        .runs_the_same(&["make"], |outcome| {
            assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
            assert!(
                outcome.stdout.ends_with("2 3 5 7 11 13 17 19 23 29 \n"),
                "{}",
                outcome.stdout
            );
            assert!(
                outcome.files[Path::new("out/primes")]
                    .content
                    .starts_with(b"\x7fELF")
            );
        });
}

#[test]
fn a_c_compilers_errors_are_the_same() {
    Workload::new("tests/profiles/c-build.yaml")
        .prepare(|workspace| {
            c_project(workspace);
            workspace.write(
                "work/src/sieve.c",
                "int next_prime(int n) { return undeclared; }\n",
            );
        })
        .runs_the_same(&["make"], |outcome| {
            assert_eq!(outcome.status, Some(2));
            assert!(outcome.stderr.contains("undeclared"), "{}", outcome.stderr);
        });
}

/// The caller's Rust, where rustup puts it in a home. The toolchain's files are hard-linked where
/// possible, so nothing here may change them.
pub(crate) fn rust(workspace: &Workspace) {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .expect("rustc starts");
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    let sysroot = sysroot.canonicalize().expect("the toolchain is there");
    let rustup = sysroot.join("../..").canonicalize().expect("its home");
    let name = sysroot
        .file_name()
        .expect("a toolchain's name")
        .to_string_lossy();
    let made_by = "this test needs a Rust that was installed by rustup";
    assert!(rustup.join("settings.toml").exists(), "{made_by}");

    workspace.write(
        "home/.rustup/settings.toml",
        format!("version = \"12\"\ndefault_toolchain = \"{name}\"\nprofile = \"minimal\"\n"),
    );
    // rustup makes these if they are missing, and otherwise leaves them alone.
    for kept in ["update-hashes", "downloads", "tmp"] {
        workspace.write(&format!("home/.rustup/{kept}/.keep"), "");
    }
    let toolchain = workspace.home().join(".rustup/toolchains").join(&*name);
    std::fs::create_dir_all(&toolchain).expect("mkdir");
    for part in ["bin", "lib"] {
        let linked = |how: &str| {
            let mut cp = Command::new("cp");
            cp.arg(how).arg(sysroot.join(part)).arg(&toolchain);
            cp.stderr(std::process::Stdio::null());
            cp.status().is_ok_and(|status| status.success())
        };
        assert!(linked("-al") || linked("-a"), "{part} of the toolchain");
    }
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| rustup.with_file_name(".cargo"), PathBuf::from);
    let program = std::fs::read(cargo.join("bin/rustup")).expect(made_by);
    let program = workspace.write("home/.cargo/bin/rustup", program);
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
    for tool in ["cargo", "rustc"] {
        std::os::unix::fs::symlink("rustup", program.with_file_name(tool)).expect("a link");
    }
}

fn crate_with_dependency(workspace: &Workspace) {
    rust(workspace);
    directory(workspace, "target");
    workspace.write(
        "work/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nwords = { path = \"words\" }\n",
    );
    workspace.write(
        "work/Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"words\",\n]\n\n\
         [[package]]\nname = \"words\"\nversion = \"0.1.0\"\n",
    );
    workspace.write(
        "work/build.rs",
        "fn main() {\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         std::fs::write(format!(\"{out}/made.rs\"), \"const MADE: u32 = 7;\").unwrap();\n    \
         println!(\"cargo::rerun-if-changed=build.rs\");\n}\n",
    );
    workspace.write(
        "work/src/main.rs",
        "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
         fn main() {\n    println!(\"{} {MADE}\", words::join(&[\"built\", \"inside\"]));\n    std::process::exit(5);\n}\n",
    );
    workspace.write(
        "work/words/Cargo.toml",
        "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    workspace.write(
        "work/words/src/lib.rs",
        "pub fn join(words: &[&str]) -> String {\n    words.join(\" \")\n}\n",
    );
}

/// `cargo` prints how long it took; the rest of its output is compared.
const BUILD_AND_RUN: &str = r"
    cargo build --offline --locked 2> target/log || { cat target/log >&2; exit 1; }
    sed 's/ in [0-9.]*s$//' target/log >&2
    target/debug/app
";

#[test]
fn cargo_builds_a_crate_offline_and_runs_it_the_same() {
    Workload::new("tests/profiles/cargo-build.yaml")
        .prepare(crate_with_dependency)
        .env("PATH", "{home}/.cargo/bin:/usr/local/bin:/usr/bin:/bin")
        // Fingerprints and dependency files contain times; the program itself is compared.
        .ignoring(|path| {
            let compared = ["target", "target/debug", "target/debug/app"];
            path.starts_with("target") && !compared.iter().any(|kept| path == Path::new(kept))
        })
        .runs_the_same(&["sh", "-c", BUILD_AND_RUN], |outcome| {
            assert_eq!(outcome.status, Some(5), "{}", outcome.stderr);
            assert_eq!(outcome.stdout, "built inside 7\n");
            assert!(
                outcome.stderr.contains("Compiling words v0.1.0"),
                "{}",
                outcome.stderr
            );
            assert!(outcome.files.contains_key(Path::new("target/debug/app")));
        });
}
