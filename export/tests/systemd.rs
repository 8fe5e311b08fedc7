//! What `systemd-analyze` makes of an export.

use std::process::Command;

use aegis_export::Format;

use crate::support::{Case, said, text};

const EVERYTHING: &str = "extends: [base]
capabilities: {files.read: [/etc/fstab], files.write: [/var/lib/dpkg], files.deny: [/var/lib/dpkg/info], shell.exec: [cat]}
environment: {pass: [LANG], set: {WEIRD: \"%i $HOME \\\"x\\\" 'y' \\\\ z\\n\"}}
limits: {time: 1m, memory: 64M, cpu: 0.25, pids: 9, files: 64, file-size: 1M, tmp: 1M}
";

/// What is said of a unit, without what it says of system calls that are newer than systemd.
fn analyze(words: &[&str], unit: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("demo.service");
    std::fs::write(&file, unit).expect("write");
    let said = said(Command::new("systemd-analyze").args(words).arg(&file));
    let lines = said.lines().filter(|line| !line.contains("ystem call"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn systemd_knows_every_directive_and_value() {
    for command in [
        &["/bin/true"][..],
        &[
            "/bin/true",
            "%i $HOME ${HOME} \"q\" 'q' \\ ; # \n\t",
            ";",
            "",
        ],
    ] {
        for lines in [
            EVERYTHING,
            "extends: [base]\ncapabilities: {net.outbound: host, net.listen: [8080], sockets: private, devices: [pty]}\nlimits: {disk-read: 1M/s}",
        ] {
            let export = Case::running(lines, command).export(Format::Systemd);
            assert_eq!(
                analyze(&["verify", "--man=no"], text(&export)),
                "",
                "{}",
                text(&export)
            );
        }
    }
    // The check can fail: an unknown directive, a wrong value.
    let wrong = "[Service]\nExecStart=/bin/true\nNoSuchThing=yes\nMemoryMax=much\n";
    let said = analyze(&["verify", "--man=no"], wrong);
    assert!(
        said.contains("NoSuchThing") && said.contains("memory limit"),
        "{said}"
    );
}

#[test]
fn systemd_calls_the_unit_safe() {
    let export = Case::of(EVERYTHING).export(Format::Systemd);
    let said = analyze(
        &["security", "--offline=true", "--threshold=30", "--no-pager"],
        text(&export),
    );
    assert!(said.contains("OK"), "{said}");
}

#[test]
fn the_root_is_empty_and_nothing_takes_its_place() {
    let directives = Case::of(EVERYTHING).directives(Format::Systemd);
    assert!(directives.contains("\nTemporaryFileSystem=/:ro,"));
    for line in directives
        .lines()
        .filter(|line| !line.starts_with("TemporaryFileSystem=/:"))
    {
        // systemd keeps one entry a path, and would not keep the empty root.
        let (key, value) = line.split_once('=').unwrap_or(("", line));
        assert!(
            !["/", "\"/\""].contains(&value) || key == "WorkingDirectory",
            "{key}={value}"
        );
        assert!(
            !["DynamicUser", "ProtectSystem", "RootDirectory"].contains(&key),
            "{line}"
        );
    }
}
