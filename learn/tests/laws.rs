//! What holds of every observation.

use aegis_learn::{About, Access, Host, Key, Network, Options, outside};
use aegis_observation::{Address, End, How, Observation};
use aegis_profile::{Profile, parse_str};
use proptest::prelude::*;

use crate::host::{HOME, Made, Seen, WORK, text};

/// Names that are ordinary, and names that are not.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,3}",
        1 => "[ -.0-~]{1,6}".prop_filter("no place of its own", |name| name != "." && name != ".."),
        1 => "\\PC{1,3}".prop_filter("no slash", |name| !name.contains('/')),
        1 => prop_oneof![Just("a\nb: c"), Just("\r"), Just("\u{202e}x"), Just("\u{2028}- /"), Just("a #b"), Just("\u{7f}")]
            .prop_map(str::to_owned),
        1 => Just("tmp1234abcd".to_owned()),
        1 => Just(".ssh".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let top = prop_oneof![
        Just("/srv"),
        Just("/etc"),
        Just("/usr/share"),
        Just("/usr/lib/python3.11"),
        Just("/usr/bin"),
        Just("/var/lib"),
        Just("/tmp"),
        Just(WORK),
        Just(HOME),
        Just("/home/ada/.cache"),
    ];
    (top, proptest::collection::vec(name(), 1..4))
        .prop_map(|(top, names)| format!("{top}/{}", names.join("/")))
}

#[derive(Clone, Debug)]
enum Sight {
    Read(String),
    Wrote(String),
    Listed(String),
    Ran(String, bool),
    Looked(String),
    Made(String),
    Missed(String),
    Address(u16),
}

fn sight() -> impl Strategy<Value = Sight> {
    prop_oneof![
        3 => path().prop_map(Sight::Read),
        2 => path().prop_map(Sight::Wrote),
        1 => path().prop_map(Sight::Listed),
        2 => (path(), any::<bool>()).prop_map(|(path, script)| Sight::Ran(path, script)),
        1 => path().prop_map(Sight::Looked),
        1 => path().prop_map(Sight::Made),
        1 => path().prop_map(Sight::Missed),
        1 => any::<u16>().prop_map(Sight::Address),
    ]
}

/// The host on which it happened, and what was seen.
fn world(sights: &[Sight]) -> (Made, Observation) {
    let mut made = Made::new().with_secret();
    let mut seen = Seen::new();
    for sight in sights {
        seen = match sight {
            Sight::Read(path) => {
                made = made.file(path);
                seen.read(path)
            }
            Sight::Wrote(path) => seen.write(path),
            Sight::Listed(path) => {
                made = made.directory(path);
                seen.list(path)
            }
            Sight::Ran(path, script) => {
                made = made.program(path);
                seen.exec_as(path, if *script { "/usr/bin/dash" } else { path })
            }
            Sight::Looked(path) => seen.named("newfstatat", path, None),
            Sight::Made(path) => seen.named("mkdirat", path, None),
            Sight::Missed(path) => seen.named("openat", path, Some("ENOENT")),
            Sight::Address(port) => {
                let of = End::Internet(([203, 0, 113, 7], *port).into());
                seen.0.addresses.insert(Address {
                    how: How::Connect,
                    of,
                    kind: 1,
                });
                seen
            }
        };
    }
    (made, seen.0)
}

/// The lines of a profile's own, as text.
fn granted(profile: &Profile) -> Vec<(Key, String)> {
    let granted = &profile.capabilities;
    let mut all: Vec<(Key, String)> = Vec::new();
    all.extend(
        granted
            .files_read
            .iter()
            .map(|item| (Key::Read, item.value.to_string())),
    );
    all.extend(
        granted
            .files_write
            .iter()
            .map(|item| (Key::Write, item.value.to_string())),
    );
    all.extend(
        granted
            .shell_exec
            .iter()
            .map(|item| (Key::Execute, item.value.to_string())),
    );
    if let aegis_profile::Outbound::Host(_) = granted.net_outbound {
        all.push((Key::Outbound, "host".into()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is printed means what is proposed, whatever the names are.
    #[test]
    fn what_is_printed_is_what_is_proposed(
        sights in proptest::collection::vec(sight(), 0..12),
        open in any::<bool>(),
        word in "(\\PC|[\n\r\t\u{202e}\u{2028}]){0,4}",
    ) {
        let (made, mut seen) = world(&sights);
        seen.runs[0].command.push(text(&word));
        let network = if open { Network::Host } else { Network::Closed };
        let options = Options { network, name: Some(word), ..Options::default() };
        let proposal = made.learn_with(&[seen], None, &options);
        let page = proposal.to_yaml();
        let read = parse_str(&page, "learnt").map_err(|error| TestCaseError::fail(format!("{error}\n{page}")))?;
        let mut lines: Vec<(Key, String)> = proposal.lines.iter().map(|line| (line.key, line.value.clone())).collect();
        lines.sort();
        let mut found = granted(&read);
        found.sort();
        prop_assert_eq!(found, lines, "{}", page);
        prop_assert_eq!(read.run, proposal.run.clone());
        let extends: Vec<String> = read.extends.iter().map(|item| item.value.clone()).collect();
        let proposed: Vec<String> = proposal.extends.iter().map(|item| item.name.clone()).collect();
        prop_assert_eq!(extends, proposed);
    }

    /// No line grants what policy blocks.
    #[test]
    fn no_line_reaches_a_secret(sights in proptest::collection::vec(sight(), 0..16)) {
        let (made, seen) = world(&sights);
        for line in &made.learn(&seen).lines {
            let access = match line.key {
                Key::Read => Access::Read,
                Key::Write => Access::Write,
                Key::Execute => Access::Execute,
                _ => continue,
            };
            prop_assert!(made.refused(access, &line.place).is_none(), "{:?}", line);
        }
    }

    /// The order of observations makes no difference, nor does learning again.
    #[test]
    fn order_makes_no_difference(
        one in proptest::collection::vec(sight(), 0..8),
        two in proptest::collection::vec(sight(), 0..8),
    ) {
        let both: Vec<Sight> = one.iter().chain(&two).cloned().collect();
        let (made, merged) = world(&both);
        let (one, two) = (world(&one).1, world(&two).1);
        let learn = |seen: &[Observation]| made.learn_with(seen, None, &Options::default());
        let there = learn(&[one.clone(), two.clone()]);
        let back = learn(&[two.clone(), one.clone()]);
        prop_assert_eq!(there.to_yaml(), back.to_yaml());
        prop_assert_eq!(there.to_yaml(), learn(&[one, two]).to_yaml());
        // Merged, it is the same but for how many runs there were.
        let values = |proposal: &aegis_learn::Proposal| -> Vec<(Key, String)> {
            proposal.lines.iter().map(|line| (line.key, line.value.clone())).collect()
        };
        prop_assert_eq!(values(&there), values(&learn(&[merged])));
    }

    /// What was read and executed and is no secret is within the profile, or a note says that it is not.
    #[test]
    fn what_was_seen_is_granted_or_told(sights in proptest::collection::vec(sight(), 0..12)) {
        let (made, seen) = world(&sights);
        let proposal = made.learn(&seen);
        let profile = proposal.profile().unwrap();
        for missing in outside(&seen, &profile, &made.around()) {
            let shown = missing.what.to_string();
            // A cache that is written is the sandbox's own, whatever the host's has.
            let gone = |text: &str| text.split_once(": ").is_some_and(|(place, _)| shown.starts_with(place));
            let told = proposal.notes.iter().any(|note| note.text.contains(&shown) || (note.about == About::Gone && gone(&note.text)));
            prop_assert!(told, "{} is neither granted nor told\n{}", missing, proposal.to_yaml());
        }
    }
}
