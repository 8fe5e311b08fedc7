//! The file of approvals: its owner, what counts as broken, and simultaneous changes.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the store is a file, which several processes change at once"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use aegis_audit::approvals::{Entry, Error, FILE, LONGEST, MAX_BYTES, MAX_ENTRIES, Store, Which};
use aegis_policy::What;
use aegis_policy::model::Verdict;

use super::{Case, DAY, NOW, context, fresh, read, request, with_store, yes};

fn some(count: usize) -> Vec<Entry> {
    let one = |i| yes(&request(context(), read(&format!("/srv/{i}")))).remove(0);
    (0..count).map(one).collect()
}

fn dir(store: &Store) -> std::path::PathBuf {
    store.place().parent().expect("it has one").into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn the_store_is_the_users_alone() {
    let (_home, store) = fresh();
    assert_eq!(store.list().expect("nothing is no error"), []);
    assert!(!dir(&store).exists(), "reading makes nothing");
    assert_eq!(store.revoke(&Which::All).expect("nothing"), []);
    assert!(!dir(&store).exists(), "nor does revoking");
    store.add(&some(2), NOW).expect("added");
    assert_eq!(mode(&dir(&store)), 0o700);
    assert_eq!(mode(&store.place()), 0o600);
    assert_eq!(store.list().expect("a list").len(), 2);
}

#[test]
fn what_others_can_reach_counts_as_nothing_and_is_not_written() {
    let entries = some(1);
    let harms: [Case<fn(&Path)>; 7] = [
        ("an open directory", |dir| {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o750)).expect("chmod");
        }),
        ("an open file", |dir| {
            let mode = fs::Permissions::from_mode(0o604);
            fs::set_permissions(dir.join(FILE), mode).expect("chmod");
        }),
        ("a link to a directory", |dir| {
            fs::rename(dir, dir.with_extension("real")).expect("rename");
            symlink(dir.with_extension("real"), dir).expect("a link");
        }),
        ("a file for a directory", |dir| {
            fs::rename(dir, dir.with_extension("real")).expect("rename");
            fs::write(dir, "").expect("a file");
        }),
        ("a link to a file", |dir| {
            fs::rename(dir.join(FILE), dir.join("real")).expect("rename");
            symlink("real", dir.join(FILE)).expect("a link");
        }),
        ("a directory for a file", |dir| {
            fs::remove_file(dir.join(FILE)).expect("rm");
            fs::create_dir(dir.join(FILE)).expect("mkdir");
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(dir.join(FILE), mode).expect("chmod");
        }),
        ("a pipe for a file", |dir| {
            fs::remove_file(dir.join(FILE)).expect("rm");
            let status = Command::new("mkfifo")
                .args(["-m", "600"])
                .arg(dir.join(FILE))
                .status();
            assert!(status.expect("mkfifo starts").success());
        }),
    ];
    for (what, harm) in harms {
        let (_home, store) = fresh();
        store.add(&entries, NOW).expect("added");
        harm(&dir(&store));
        let told = store.list().expect_err(what).to_string();
        assert!(
            told.starts_with("the approvals are ignored: /"),
            "{what}: {told}"
        );
        assert!(store.add(&some(1), NOW).is_err(), "{what}");
        assert!(store.revoke(&Which::All).is_err(), "{what}");
        let asked = request(context(), read("/srv/0"));
        assert!(
            store
                .approvals_for(&asked, super::policy().hash(), super::surroundings(), NOW)
                .is_err(),
            "{what}"
        );
    }
}

#[test]
fn what_belongs_to_another_user_counts_as_nothing() {
    let (_home, store) = fresh();
    store.add(&some(1), NOW).expect("added");
    for path in [store.place(), dir(&store)] {
        let given = std::os::unix::fs::chown(&path, Some(20_000), None);
        given.expect("only root can give files away: run this as root");
        let told = store.list().expect_err("it is another's").to_string();
        assert!(told.contains("belongs to user 20000"), "{told}");
        std::os::unix::fs::chown(&path, Some(0), None).expect("chown");
    }
    store.list().expect("it is ours again");
}

#[test]
fn a_file_that_is_not_exactly_right_counts_as_nothing_and_is_left_as_it_is() {
    let (_home, store) = fresh();
    store.add(&some(2), NOW).expect("added");
    let good = fs::read_to_string(store.place()).expect("text");
    let first = store.list().expect("a list").remove(0);
    let twice = {
        let one = serde_json::to_string(&first).expect("JSON");
        format!("{{\"approvals\":[{one},{one}],\"v\":3}}")
    };
    let bad = [
        ("nothing", String::new()),
        ("half of it", good[..good.len() / 2].to_owned()),
        ("more behind it", format!("{good}{{}}")),
        ("another version", good.replace("\"v\":3", "\"v\":4")),
        ("no version", good.replace(",\"v\":3", "")),
        (
            "an unknown key",
            good.replacen("\"granted\"", "\"approve\":\"all\",\"granted\"", 1),
        ),
        (
            "an unknown key of the whole",
            good.replace("\"v\":3", "\"all\":true,\"v\":3"),
        ),
        ("a key twice", good.replace("\"v\":3", "\"v\":3,\"v\":3")),
        (
            "another path under the same hash",
            good.replacen("/srv/0", "/srv/9", 1),
        ),
        ("another id", good.replacen(&first.id, "../../../../", 1)),
        ("a number for text", good.replacen("\"report\"", "1", 1)),
        ("the same id twice", twice),
        (
            "no end",
            good.replacen(
                &(NOW + DAY).to_string(),
                &(NOW + LONGEST + 1).to_string(),
                1,
            ),
        ),
        (
            "an end before its beginning",
            good.replacen(&(NOW + DAY).to_string(), "1", 1),
        ),
        ("too much", " ".repeat(MAX_BYTES as usize) + &good),
        ("deep nesting", "[".repeat(100_000)),
    ];
    for (what, text) in bad {
        assert_ne!(text, good, "{what}: the test changes nothing");
        fs::write(store.place(), &text).expect("a file");
        let told = store.list().expect_err(what);
        assert!(matches!(told, Error::Broken { .. }), "{what}: {told}");
        assert!(
            matches!(store.add(&some(1), NOW), Err(Error::Broken { .. })),
            "{what}"
        );
        let left = fs::read_to_string(store.place()).expect("text");
        assert!(left == text, "{what}: it was overwritten");
    }
    fs::write(store.place(), good).expect("a file");
    assert_eq!(store.list().expect("a list").len(), 2);
}

#[test]
fn approvals_are_revoked_by_id_by_profile_or_all() {
    let (_home, store) = fresh();
    let mut entries = some(4);
    for (entry, id) in entries.iter_mut().zip([
        "aaaa00000000",
        "aaaab0000000",
        "bbbb00000000",
        "cccc00000000",
    ]) {
        entry.id = id.into();
    }
    entries[3].profile = "other".into();
    store.add(&entries, NOW).expect("added");
    let ids = |words: &[&str]| Which::Ids(words.iter().map(|w| (*w).to_owned()).collect());
    let left = || -> Vec<String> {
        store
            .list()
            .expect("a list")
            .into_iter()
            .map(|e| e.id)
            .collect()
    };

    assert!(
        matches!(store.revoke(&ids(&["bbbb00000000", "dddd"])), Err(Error::Unknown(id)) if id == "dddd")
    );
    assert!(matches!(
        store.revoke(&ids(&["aaaa"])),
        Err(Error::Ambiguous(_))
    ));
    assert!(
        matches!(store.revoke(&ids(&["bbb"])), Err(Error::Unknown(_))),
        "too short to be meant"
    );
    assert!(matches!(store.revoke(&ids(&[""])), Err(Error::Unknown(_))));
    assert_eq!(left().len(), 4, "all or none");

    let gone = store
        .revoke(&ids(&["aaaab", "bbbb00000000"]))
        .expect("revoked");
    assert_eq!(gone, entries[1..3]);
    assert_eq!(left(), ["aaaa00000000", "cccc00000000"]);
    assert_eq!(
        store
            .revoke(&Which::Profile("oth".into()))
            .expect("nothing"),
        []
    );
    assert_eq!(
        store
            .revoke(&Which::Profile("other".into()))
            .expect("revoked"),
        entries[3..]
    );
    assert_eq!(store.revoke(&Which::All).expect("revoked"), entries[..1]);
    assert_eq!(left(), [""; 0]);
    assert_eq!(
        with_store(&store, request(context(), read("/srv/0")), NOW),
        Verdict::Review
    );
}

#[test]
fn the_store_is_bounded_and_forgets_what_has_ended() {
    let (_home, store) = fresh();
    let mut old = some(1);
    old[0].expires = NOW + 1;
    store.add(&old, NOW).expect("added");
    let mut full = some(MAX_ENTRIES);
    full[0].expires = NOW + 2;
    store.add(&full[1..], NOW + 1).expect("added");
    assert_eq!(
        store.list().expect("a list").len(),
        MAX_ENTRIES,
        "what has ended is still listed"
    );
    store
        .add(&full[..1], NOW + 1)
        .expect("what has ended makes room");
    let more = {
        let mut more = some(1);
        more[0].what = read("/srv/more");
        more[0].what_hash = more[0].what.hash();
        more
    };
    assert!(matches!(store.add(&more, NOW + 1), Err(Error::Full { .. })));
    assert_eq!(store.list().expect("a list").len(), MAX_ENTRIES);
    store.add(&more, NOW + 2).expect("there is room");

    let large: Vec<What> = (0..60_000)
        .map(|i| read(&format!("/srv/{i:0>40}")))
        .collect();
    let mut large_one = some(1);
    large_one[0].what = What::Tool {
        command: vec!["cat".into()],
        grants: large,
    };
    large_one[0].what_hash = large_one[0].what.hash();
    assert!(matches!(
        store.add(&large_one, NOW + 2),
        Err(Error::Full { .. })
    ));
    let mut endless = some(1);
    endless[0].expires = NOW + LONGEST + 1;
    assert!(matches!(store.add(&endless, NOW), Err(Error::Term)));
    assert_eq!(store.list().expect("a list").len(), MAX_ENTRIES);
}

/// Not a test by itself: the processes of the next one run it.
#[test]
#[ignore = "started by others"]
fn a_writer_among_several() {
    let dir = std::env::var_os("AEGIS_TEST_STORE").expect("started by another test");
    let number = std::env::var("AEGIS_TEST_WRITER").expect("its number");
    let store = Store::open(Path::new(&dir));
    for i in 0..25 {
        let asked = request(context(), read(&format!("/srv/{number}/{i}")));
        store.add(&yes(&asked), NOW).expect("added");
    }
}

#[test]
fn processes_that_add_at_once_lose_nothing_and_readers_always_see_a_whole_file() {
    let (_home, store) = fresh();
    let mut writers: Vec<_> = (0..6)
        .map(|number: u32| {
            Command::new(std::env::current_exe().expect("our path"))
                .args([
                    "--exact",
                    "approvals::store::a_writer_among_several",
                    "--ignored",
                ])
                .env("AEGIS_TEST_STORE", dir(&store))
                .env("AEGIS_TEST_WRITER", number.to_string())
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("a writer")
        })
        .collect();
    let mut most = 0;
    while !writers.is_empty() {
        let count = store.list().expect("readable at any time").len();
        assert!(count >= most, "{count} after {most}");
        most = count;
        writers.retain_mut(|writer| match writer.try_wait().expect("wait") {
            None => true,
            Some(status) => {
                assert!(status.success());
                false
            }
        });
    }
    assert_eq!(store.list().expect("a list").len(), 6 * 25);
}

#[test]
fn a_link_in_place_of_the_lock_is_not_followed_and_nothing_is_left_over() {
    let (home, store) = fresh();
    store.add(&some(1), NOW).expect("added");
    let lock = dir(&store).join("approvals.lock");
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, "mine").expect("a file");
    fs::remove_file(&lock).expect("the lock");
    symlink(&elsewhere, &lock).expect("a link");
    assert!(store.add(&some(2), NOW).is_err());
    assert_eq!(fs::read(&elsewhere).expect("it is there"), b"mine");
    fs::remove_file(&lock).expect("the link");
    store.add(&some(3), NOW).expect("added");
    let names = fs::read_dir(dir(&store)).expect("a directory");
    assert_eq!(names.count(), 2, "the file and its lock");
}
