//! What others, other programs of the same user, and bad luck do to the store.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use crate::home::{Home, USER, mode};

/// Puts something else in place of a file, and returns why the secret cannot be had. Then the file is put back.
fn in_place(home: &Home, file: &Path, put: impl FnOnce(&Path)) -> String {
    let aside = home.path("aside");
    fs::rename(file, &aside).unwrap();
    put(file);
    let (_, why) = home.provider().failure("a");
    match fs::symlink_metadata(file).unwrap().is_dir() {
        true => fs::remove_dir(file).unwrap(),
        false => fs::remove_file(file).unwrap(),
    }
    fs::rename(&aside, file).unwrap();
    assert_eq!(home.provider().value("a", None).0, "value");
    why
}

#[test]
fn a_file_that_others_have_made_or_can_read_is_not_read() {
    let home = Home::ready(0);
    home.set("a", "value");
    let copy = home.path("copy");
    for file in [home.secret("a"), home.key()] {
        fs::copy(&file, &copy).unwrap();
        let why = in_place(&home, &file, |file| symlink(&copy, file).unwrap());
        assert!(why.contains("it is a symbolic link"), "{why}");
        let why = in_place(&home, &file, |file| fs::hard_link(&copy, file).unwrap());
        assert!(why.contains("2 names"), "{why}");
        // Opening it would wait.
        let why = in_place(&home, &file, |file| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                file,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        });
        assert!(why.contains("it is not a regular file"), "{why}");
        let why = in_place(&home, &file, |file| fs::create_dir(file).unwrap());
        assert!(why.contains("it is not a regular file"), "{why}");
        let why = in_place(&home, &file, |file| {
            fs::copy(&copy, file).unwrap();
            mode(file, 0o600);
            std::os::unix::fs::chown(file, Some(USER), Some(USER)).unwrap();
        });
        assert!(why.contains("belongs to user 20000"), "{why}");
        for bits in [0o640, 0o604, 0o660, 0o602] {
            let why = in_place(&home, &file, |file| {
                fs::copy(&copy, file).unwrap();
                mode(file, bits);
            });
            let fix = format!("chmod go= {}", file.display());
            assert!(why.contains(&fix), "{bits:o}: {why}");
        }
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn a_directory_that_others_can_change_is_not_used() {
    let home = Home::ready(0);
    home.set("a", "value");
    let store = home.secret("a").parent().unwrap().to_owned();
    let config = home.key().parent().unwrap().to_owned();
    for (directory, bits, fix) in [(&store, 0o750, "chmod go="), (&config, 0o770, "chmod go-w")] {
        mode(directory, bits);
        assert!(home.provider().failure("a").1.contains(fix));
        assert!(home.try_set("a", b"other").unwrap_err().contains(fix));
        mode(directory, 0o700);
    }
    // Whoever may write a directory above could put another one in its place.
    mode(&home.path("home"), 0o777);
    assert!(
        home.provider()
            .failure("a")
            .1
            .contains("everybody can write it")
    );
    mode(&home.path("home"), 0o755);
    let moved = home.path("moved");
    fs::rename(&store, &moved).unwrap();
    symlink(&moved, &store).unwrap();
    assert!(home.provider().failure("a").1.contains("symbolic link"));
    assert!(
        home.try_set("a", b"other")
            .unwrap_err()
            .contains("symbolic link")
    );
}

#[test]
fn a_list_of_sources_that_others_can_write_is_not_read() {
    let home = Home::ready(0);
    home.set("a", "value");
    home.sources("b: {exec: [echo, b]}");
    let file = home.path("home/.config/aegis/secrets.yaml");
    mode(&file, 0o644);
    assert_eq!(home.provider().value("b", None).0, "b");
    mode(&file, 0o666);
    assert!(home.provider().failure("b").1.contains("chmod go-w"));
    mode(&file, 0o600);
    std::os::unix::fs::chown(&file, Some(USER), Some(USER)).unwrap();
    assert!(
        home.provider()
            .failure("b")
            .1
            .contains("belongs to user 20000")
    );
}

#[test]
fn of_several_who_store_at_once_each_stores_all_or_nothing() {
    let home = Home::ready(0);
    home.set("a", "value0");
    let values: Vec<String> = (0..8).map(|n| format!("value{n}").repeat(500)).collect();
    std::thread::scope(|scope| {
        for value in &values {
            scope.spawn(|| {
                for _ in 0..8 {
                    home.set("a", value);
                    let (value, _) = home.provider().value("a", None);
                    assert!(values.contains(&value));
                }
            });
        }
    });
    let store = home.secret("a").parent().unwrap().to_owned();
    assert_eq!(
        fs::read_dir(store).unwrap().count(),
        1,
        "nothing is left over"
    );
}

#[test]
fn who_is_killed_leaves_the_old_one_or_the_new_one() {
    let home = Home::ready(0);
    home.set("a", "value0");
    let mut possible = vec!["value0".to_owned()];
    for n in 1..40 {
        let mut command = home.program(&["set", "a"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let value = format!("value{n}").repeat(3000);
        let mut input = child.stdin.take().unwrap();
        input.write_all(value.as_bytes()).unwrap();
        if n % 4 > 0 {
            drop(input);
        }
        // At another point each time: as far as another program takes to start.
        for _ in 0..n % 3 {
            assert!(home.command("/bin/true").status().unwrap().success());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        possible.push(value);
        let (found, _) = home.provider().value("a", None);
        assert!(possible.contains(&found));
        if n % 4 == 0 {
            assert!(
                !found.starts_with(&format!("value{n}value")),
                "half of it was given"
            );
        }
    }
    home.set("a", "last");
    let names = fs::read_dir(home.secret("a").parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a.age"]);
}

/// A command that looks at every process while a secret is rotated, whose old and new values it has.
#[test]
fn a_value_is_in_no_argument_variable_or_message() {
    let home = Home::ready(0);
    home.set("a", "old-sesame");
    let seen = home.path("seen");
    home.sources(&format!(
        "a: {{on-rotate: [sh, -c, 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ >{} 2>/dev/null; read -r v || true; printf %s%s new-ses ame']}}",
        seen.display()
    ));
    let output = home
        .program(&["rotate", "a"])
        .env("MARK", "of-the-rotation")
        .output()
        .unwrap();
    assert!(output.status.success());
    let seen = fs::read(&seen).unwrap();
    let has = |needle: &str| {
        seen.windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(
        has("of-the-rotation") && has("rotate\0a"),
        "it has seen the program"
    );
    assert!(!has("old-sesame") && !has("new-sesame"));
    assert_eq!(home.provider().value("a", None).0, "new-sesame");
    for words in [&["list"][..], &["check"], &["check", "a"], &["rm", "a"]] {
        let output = home.program(words).output().unwrap();
        for said in [output.stdout, output.stderr] {
            assert!(
                !String::from_utf8_lossy(&said).contains("sesame"),
                "{words:?}"
            );
        }
    }
}

/// What is on the disk is not the value, nor is it for a moment.
#[test]
fn no_file_ever_has_a_value() {
    let home = Home::ready(0);
    let trace = home.path("trace");
    let mut command = home.command("/usr/bin/strace");
    let mut child = command
        .args([
            "-f",
            "-s",
            "100",
            "-e",
            "trace=write,writev,pwrite64,sendmsg,openat",
            "-o",
        ])
        .arg(&trace)
        .arg(home.path("aegis-secrets"))
        .args(["set", "a"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"sesame").unwrap();
    assert!(child.wait().unwrap().success());
    let trace = fs::read_to_string(trace).unwrap();
    assert!(
        trace.contains("age-encryption.org"),
        "it has seen what was written"
    );
    assert!(!trace.contains("sesame"), "{trace}");
}
