//! What `apparmor_parser` makes of an export.

use std::process::Command;

use aegis_export::Format;

use crate::support::{Case, said, text};

/// The entries that the parser understood, as `MODE PATTERN`.
fn entries(case: &Case) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("profile");
    std::fs::write(&file, text(&case.export(Format::Apparmor))).expect("write");
    let mut parser = Command::new("apparmor_parser");
    // No kernel, no cache: the file alone.
    let parser = parser.args(["-Q", "-K", "--debug"]).arg(&file);
    let said = said(parser.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    let entries = said.lines().filter_map(|line| {
        let (mode, name) = line.strip_prefix("Mode:\t")?.split_once("\tName:\t")?;
        let (_, owner) = mode.rsplit_once(':')?;
        Some(format!(
            "{owner} {}",
            name.trim_start_matches('(').trim_end_matches(')')
        ))
    });
    entries.collect()
}

#[test]
fn the_parser_reads_every_rule_as_it_is_meant() {
    let lines = "capabilities:\n  net.outbound: host\n  files.read: [/etc/fstab]\n  files.write: [/var/lib/dpkg]\n  \
                 files.deny: [/var/lib/dpkg/info, '**/.env']\n  shell.exec: [cat]\n";
    let entries = entries(&Case::of(&format!(
        "name: \"a name\"\nextends: [base]\n{lines}"
    )));
    let has = |wanted: &str| {
        let (path, modes) = wanted.split_once(' ').expect("a path and its modes");
        let all = "rwamlkix".chars().filter(|c| modes.contains(*c));
        let found: Vec<&String> = entries
            .iter()
            .filter(|entry| entry.ends_with(&format!(" {path}")))
            .collect();
        assert!(!found.is_empty(), "{path}: {entries:#?}");
        for mode in all {
            assert!(
                found
                    .iter()
                    .any(|entry| entry.split(' ').next().expect("modes").contains(mode)),
                "{wanted}: {found:?}"
            );
        }
    };
    has("/etc/fstab rk");
    has("/var/lib/dpkg/{,**} rwlk");
    has("/usr/bin/cat rx");
    has("/var/lib/dpkg/info/{,**} rw");
    has("/{,**/}.env{,/**} rw");
    has("/dev/null rw");
    // What is not granted has no rule.
    assert!(
        !entries
            .iter()
            .any(|entry| entry.ends_with(" /etc/passwd") || entry.ends_with("/usr/bin/env"))
    );
    assert!(
        !entries
            .iter()
            .any(|entry| entry.contains('w') && entry.ends_with(" /etc/fstab"))
    );
}
