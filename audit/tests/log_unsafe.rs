//! Directories, files, keys and locks of a log that others can change, or that were replaced.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aegis_audit::log::{Error, Log, Options};

use crate::log_support;
use log_support::{Scene, event};

#[test]
fn what_others_can_change_is_refused() {
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode")
    };
    let refused = |scene: &Scene, word: &str| {
        let error = Log::open(&scene.dir(), &scene.keys())
            .err()
            .expect("it is refused");
        assert!(error.to_string().contains(word), "{error}");
    };
    let scene = Scene::new();
    drop(scene.open());
    let made = |path: &std::path::Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((made(&scene.dir()), made(&scene.keys())), (0o700, 0o700));
    assert_eq!(
        (
            made(&scene.segment(1)),
            made(&scene.keys().join("audit.key"))
        ),
        (0o600, 0o600)
    );

    for path in [
        scene.dir(),
        scene.keys(),
        scene.segment(1),
        scene.dir().join("lock"),
    ] {
        let before = made(&path);
        mode(&path, before | 0o020);
        refused(&scene, "chmod go-w");
        mode(&path, before);
    }
    mode(&scene.keys().join("audit.key"), 0o640);
    refused(&scene, "others can read it");
    mode(&scene.keys().join("audit.key"), 0o600);
    drop(scene.open());

    // Links, wherever they point.
    for name in [
        "audit",
        "keys",
        "audit/000001.jsonl",
        "audit/lock",
        "keys/audit.key",
    ] {
        let path = scene.root.path().join(name);
        let elsewhere = scene.root.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        symlink(&elsewhere, &path).expect("a link");
        let error = Log::open(&scene.dir(), &scene.keys())
            .err()
            .expect("it is refused");
        assert!(error.to_string().contains("link"), "{name}: {error}");
        fs::remove_file(&path).expect("removed");
        fs::rename(&elsewhere, &path).expect("moved back");
    }
    drop(scene.open());
}

#[test]
fn a_file_with_a_second_name_is_refused() {
    let scene = Scene::new();
    drop(scene.open());
    let second = scene.root.path().join("second");
    for path in [
        scene.segment(1),
        scene.dir().join("lock"),
        scene.keys().join("audit.key"),
    ] {
        fs::hard_link(&path, &second).expect("a second name");
        let error = Log::open(&scene.dir(), &scene.keys())
            .err()
            .expect("it is refused");
        let told = error.to_string();
        assert!(
            told.contains("2 names") && told.contains("-samefile"),
            "{told}"
        );
        fs::remove_file(&second).expect("removed");
    }
    drop(scene.open());
}

#[test]
fn a_directory_above_that_everybody_may_write_is_refused() {
    let scene = Scene::new();
    let above = scene.root.path().join("above");
    let dir = above.join("state/audit");
    fs::create_dir_all(&above).expect("a directory");
    for (mode, is_refused) in [
        (0o777, true),
        (0o1777, false),
        (0o773, true),
        (0o775, false),
        (0o755, false),
    ] {
        fs::set_permissions(&above, Permissions::from_mode(mode)).expect("a mode");
        let opened = Log::open(&dir, &scene.keys());
        match (opened, is_refused) {
            (Ok(_), false) => {}
            (Err(error), true) => {
                let told = error.to_string();
                let names = format!("chmod o-w {}", above.display());
                assert!(told.contains(&names), "{told}");
            }
            (opened, _) => panic!("{mode:o}: {:?}", opened.err()),
        }
    }
    // The real location counts, not the path to it.
    fs::set_permissions(&above, Permissions::from_mode(0o777)).expect("a mode");
    let link = scene.root.path().join("link");
    symlink(above.join("state"), &link).expect("a link");
    Log::open(&link.join("audit"), &scene.keys())
        .err()
        .expect("it is refused");
}

#[test]
fn who_made_the_key_is_told_and_nobody_after() {
    let scene = Scene::new();
    assert_eq!(scene.open().new_key(), Some(&*scene.keys()));
    assert_eq!(scene.open().new_key(), None);
    let left: Vec<_> = fs::read_dir(scene.keys())
        .expect("the keys")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left.len(), 3, "the keys, and what was signed: {left:?}");
    // Several at the same time, each with its own log.
    fs::remove_dir_all(scene.keys()).expect("removed");
    let begin = std::sync::Barrier::new(8);
    let made = &|n: usize| {
        begin.wait();
        let log = Log::open(&scene.root.path().join(n.to_string()), &scene.keys());
        log.expect("it opens").new_key().is_some()
    };
    let made: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || made(n))).collect();
        let made = |thread: std::thread::ScopedJoinHandle<'_, bool>| thread.join().expect("ended");
        threads.into_iter().map(made).filter(|made| *made).count()
    });
    assert_eq!(made, 1, "one of them has made it");
}

#[test]
fn a_log_of_another_key_is_not_gone_on_with() {
    let scene = Scene::new();
    drop(scene.open());
    fs::remove_dir_all(scene.keys()).expect("removed");
    let error = Log::open(&scene.dir(), &scene.keys())
        .err()
        .expect("it is refused");
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    for broken in [
        "",
        "abc",
        "zz",
        &"g".repeat(64),
        &"a".repeat(65),
        "\u{fffd}",
    ] {
        fs::write(scene.keys().join("audit.key"), broken).expect("written");
        let error = Log::open(&scene.dir(), &scene.keys())
            .err()
            .expect("it is refused");
        assert!(matches!(error, Error::BadKey { .. }), "{broken}: {error}");
    }
}

#[test]
fn whoever_holds_the_lock_too_long_is_told_of() {
    let scene = Scene::new();
    let options = Options {
        patience: Duration::from_millis(20),
        ..Options::default()
    };
    let mut log = scene.open_with(options);
    let lock = fs::File::open(scene.dir().join("lock")).expect("the lock");
    lock.lock().expect("locked");
    let error = log.append(&[event(0)]).expect_err("it waits no longer");
    assert!(
        matches!(error, Error::Locked { .. }) && error.to_string().contains("fuser"),
        "{error}"
    );
    lock.unlock().expect("free again");
    log.append(&[event(0)]).expect("appended");
}

#[test]
fn others_that_append_are_waited_for_longer_but_not_for_ever() {
    // The lines of a log; then the same log with only the first of them.
    let scene = Scene::new();
    let mut log = scene.open();
    for number in 0..2000 {
        log.append(&[event(number)]).expect("appended");
    }
    drop(log);
    let text = fs::read(scene.segment(1)).expect("a segment");
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let segment = fs::OpenOptions::new().write(true).open(scene.segment(1));
    let segment = segment.expect("a segment");
    segment.set_len(lines[0].len() as u64).expect("cut");
    let mut next = 1;

    static TOLD: AtomicUsize = AtomicUsize::new(0);
    // Somebody holds the lock for a time, or until told to stop, and appends a line now and then.
    let mut wait = |patience: Duration, held: Option<Duration>| {
        let options = Options {
            patience,
            waiting: |_| _ = TOLD.fetch_add(1, Ordering::Relaxed),
            ..Options::default()
        };
        let mut log = scene.open_with(options);
        let lock = fs::File::open(scene.dir().join("lock")).expect("the lock");
        lock.lock().expect("locked");
        let (tell, told) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let next = &mut next;
            let (lines, scene) = (&lines, &scene);
            scope.spawn(move || {
                let segment = fs::OpenOptions::new().append(true).open(scene.segment(1));
                let mut segment = segment.expect("a segment");
                let since = Instant::now();
                let pace = Duration::from_millis(5);
                while held.is_none_or(|held| since.elapsed() < held)
                    && told.recv_timeout(pace) == Err(mpsc::RecvTimeoutError::Timeout)
                {
                    segment.write_all(lines[*next]).expect("written");
                    *next += 1;
                }
                lock.unlock().expect("free again");
            });
            let appended = log.append(&[event(0)]);
            drop(tell);
            appended
        })
    };
    let patience = Duration::from_secs(1);
    let appended = wait(patience, Some(patience * 5 / 2));
    assert!(appended.is_ok(), "{appended:?}");
    assert_eq!(TOLD.load(Ordering::Relaxed), 1, "once, after a second");
    let error = wait(Duration::from_millis(20), None).expect_err("it waits no longer");
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert_eq!(TOLD.load(Ordering::Relaxed), 1, "that was soon over");
}
