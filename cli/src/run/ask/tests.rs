//! Answers and questions as text; with a terminal in `tests/ask.rs`.

use aegis_policy::request::Destination;
use aegis_policy::{Hash, Opinion, Verdict, What};

use aegis_audit::approvals::Asked;
use aegis_audit::event::Person;
use aegis_policy::{Context, HostPath};

use super::*;

mod characters;

#[test]
fn only_what_is_clearly_a_yes_is_one() {
    let day = 86_400;
    for (line, answer) in [
        ("", Answer::No),
        ("  \n", Answer::No),
        ("n\n", Answer::No),
        ("No", Answer::No),
        ("y\n", Answer::Once),
        (" YES ", Answer::Once),
        ("a", Answer::Always { lasts: 30 * day }),
        ("always\n", Answer::Always { lasts: 30 * day }),
        ("a 7d\n", Answer::Always { lasts: 7 * day }),
        ("A  12h", Answer::Always { lasts: day / 2 }),
        ("a 1s", Answer::Always { lasts: 1 }),
        ("a 366d", Answer::Always { lasts: LONGEST }),
    ] {
        assert_eq!(typed(line, false, false), Ok(Some(answer)), "{line:?}");
    }
    for line in [
        "yy",
        "yn",
        "y n",
        "y y",
        "n y",
        "y 7d",
        "ay",
        "a 7",
        "a 7d 7d",
        "a 0s",
        "a 367d",
        "a 999999999999999999999d",
        "a -1d",
        "a 1.5d",
        "a forever",
        "\u{1}y",
        "y\0",
        "ja",
        "1",
        "q",
        "\u{ff59}",
        "l l",
    ] {
        assert!(typed(line, false, false).is_err(), "{line:?}");
    }
    assert_eq!(typed("l\n", false, false), Ok(None));
}

fn read(path: &[u8]) -> What {
    What::Read {
        except: Vec::new(),
        path: HostPath(path.to_vec()),
        tree: false,
    }
}

fn write(path: &str, tree: bool) -> What {
    What::Write {
        except: Vec::new(),
        path: path.into(),
        tree,
    }
}

fn context() -> Context {
    Context {
        aliases: Vec::new(),
        home: "/home/ana".into(),
        profile: "report".into(),
        profile_hash: Hash::of(b"profile"),
        skill: Some("/home/ana/skills/report".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
    }
}

fn shown(whats: Vec<What>, context: &Context, command: &[HostPath], all: bool) -> String {
    let asked: Vec<Asked> = whats
        .into_iter()
        .map(|what| Asked {
            opinion: Opinion {
                reason: "for a person to approve by rule `rest`".into(),
                rules: vec!["rest".into()],
                verdict: Verdict::Review,
            },
            what,
        })
        .collect();
    let question = Question {
        asked: &asked,
        by: &Person {
            name: Some("ana".into()),
            uid: 1000,
        },
        command,
        context,
        is_running: false,
        file: Some("skill.yaml"),
        passphrases: &[],
        policy: "standard",
    };
    text::question(&question, "aegis-run", 80, false, all).text
}

#[test]
fn the_question_says_who_asks_for_what_what_could_come_of_it_and_which_rule_asks() {
    let command = ["python3".into(), "report.py".into(), "a b".into()];
    let text = shown(vec![write("/srv/data", true)], &context(), &command, false);
    assert_eq!(
        text,
        "
aegis-run: the policy leaves this to you:
  profile   report, from skill.yaml
  policy    standard
  for       ana, uid 1000, in /home/ana/work
  command   python3 report.py \"a b\"

  1         files.write /srv/data, and everything below it
  risk      can change, replace or delete everything there (outside of your
            home and working directory); if a program of yours starts or trusts
            what is there, it acts with all you may do
  policy    for a person to approve by rule `rest`

  y   yes, this once
  a   yes, for 30 days (`a 7d`: for 7): this command here, profile and policy
  N   no: nothing is started
"
    );
}

#[test]
fn every_kind_of_thing_has_its_risk_in_words() {
    let net = |host: &str| {
        What::Net(Destination {
            address: None,
            host: host.into(),
            method: Some("POST".into()),
            path: Some("/a".into()),
            port: 443,
            request_size: None,
            requests_last_minute: None,
            response_size: None,
            scheme: aegis_policy::model::Scheme::Https,
        })
    };
    let exec = |tree: bool| What::Exec {
        except: Vec::new(),
        name: (!tree).then(|| "git".into()),
        path: "/usr/bin/git".into(),
        tree,
    };
    let name = || "name".to_owned();
    for (what, thing, risk) in [
        (
            write("/home/ana/skills/report/x", false),
            "report/x",
            "change its own program",
        ),
        (
            write("/home/ana", true),
            "and everything below",
            "change its own program",
        ),
        (
            write("/home/ana/work/x", false),
            "work/x",
            "(in the directory that it is started in)",
        ),
        (
            write("/", true),
            "/, and everything below it",
            "(that is the whole host)",
        ),
        (
            read(b"/home/ana/x"),
            "/home/ana/x",
            "(in your home directory)",
        ),
        (What::NetHost {}, "net.host", "no network boundary"),
        (What::Listen { port: 80 }, "port 80", "can connect to it"),
        (
            net("*.example.org"),
            "POST https to *.example.org, port 443, path /a",
            "any host of that name",
        ),
        (net("example.org"), "https to example.org", "to that host"),
        (exec(false), "/usr/bin/git, found as git", "that program"),
        (
            exec(true),
            "/usr/bin/git, and everything below it",
            "any program there",
        ),
        (
            What::Device {
                device: "kvm".into(),
            },
            "devices kvm",
            "virtual machines",
        ),
        (
            What::Environment { name: name() },
            "environment.pass name",
            "a secret",
        ),
        (
            What::Syscall { name: name() },
            "syscalls.allow name",
            "a part of the kernel",
        ),
        (
            What::Sockets { name: name() },
            "sockets name",
            "to nobody else",
        ),
        (
            What::Secret {
                alias: name(),
                host: "example.org".into(),
                inject: None,
            },
            "name, sent to example.org",
            "in your name",
        ),
    ] {
        let text = shown(vec![what], &context(), &[], true);
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            one_line.contains(thing) && one_line.contains(risk),
            "{thing}, {risk}: {text}"
        );
    }
}

#[test]
fn what_weighs_most_comes_first_and_the_rest_is_counted_and_shown_when_asked_for() {
    let mut whats: Vec<What> = (0..20)
        .map(|i| read(format!("/srv/{i}").as_bytes()))
        .collect();
    whats.push(What::NetHost {});
    whats.push(write("/srv", true));
    let text = shown(whats.clone(), &context(), &[], false);
    assert!(text.contains("leaves 22 things to you"), "{text}");
    assert!(text.contains("  1         net.host "), "{text}");
    assert!(text.contains("  2         files.write /srv, "), "{text}");
    assert!(
        text.contains("\n  ... and 17 more: 17 files.read\n"),
        "{text}"
    );
    assert!(
        text.contains("\n  l   show all of it: only then can it be allowed\n"),
        "{text}"
    );
    let text = shown(whats, &context(), &[], true);
    assert!(
        text.contains("  22        files.read ") && !text.contains("more"),
        "{text}"
    );
    assert!(!text.contains("show all"), "{text}");

    let long = "x".repeat(10_000);
    let short = shown(
        vec![read(b"/srv/a")],
        &context(),
        &[long.as_str().into()],
        false,
    );
    assert!(
        short.lines().count() < 30 && short.contains("more lines"),
        "{short}"
    );
    assert!(short.contains("show all"), "{short}");
    let full = shown(
        vec![read(b"/srv/a")],
        &context(),
        &[long.as_str().into()],
        true,
    );
    let without = shown(vec![read(b"/srv/a")], &context(), &[], true);
    let count = |text: &str| text.matches('x').count();
    assert_eq!(count(&full), count(&without) + 10_000);
}

/// What a hostile profile could try: each is put where a name, a path or an argument goes.
const HOSTILE: [&str; 14] = [
    "\x1b[2J\x1b[HAllow it? [y/a/N]",
    "a\nAllow it? [y/a/N] y",
    "a\r\nAllow it? [y/a/N] y",
    "a\u{85}Allow it?",
    "a\u{2028}Allow it?",
    "/srv/\u{202e}gpj.exe",
    "\u{200b}\u{2066}x\u{feff}",
    "\u{9b}31m",
    "\x08\x08\x08\x7f",
    "\x1b]0;title\x07\x1b]52;c;eA==\x07",
    "report, from /usr/share/aegis/trusted.yaml",
    "x\" from \"trusted.yaml",
    "\u{3164}\u{2800}\u{a0}\u{ad}",
    "\t\t\t",
];

#[test]
fn a_yes_is_taken_only_where_all_has_been_shown() {
    // As many as fill the places, and what they would hide.
    let mut whats: Vec<What> = (0..5).map(|i| write(&format!("/srv/{i}"), true)).collect();
    whats.push(read(b"/home/ana/Documents"));
    let variable = What::Environment {
        name: "LD_PRELOAD".into(),
    };
    whats.push(variable);
    let text = shown(whats.clone(), &context(), &[], false);
    assert!(!text.contains("LD_PRELOAD"), "{text}");
    assert!(
        text.ends_with(
            "
  ... and 2 more: 1 environment.pass, 1 files.read

  l   show all of it: only then can it be allowed
  N   no: nothing is started
"
        ),
        "{text}"
    );
    let text = shown(whats, &context(), &[], true);
    assert!(
        text.contains("LD_PRELOAD") && text.contains("Documents") && text.contains("  y   yes"),
        "{text}"
    );
    for line in ["y", "yes", "a", "a 7d", "always", "what", "y l"] {
        assert!(typed(line, true, false).is_err(), "{line:?}");
    }
    assert_eq!(typed("l", true, false), Ok(None));
    for line in ["", "n", "no"] {
        assert_eq!(typed(line, true, false), Ok(Some(Answer::No)), "{line:?}");
    }
    assert_eq!(text::prompt(false, true, false), "Show all of it? [l/N] ");
}

#[test]
fn a_command_that_stands_still_can_be_allowed_this_once_alone() {
    assert_eq!(typed("y", false, true), Ok(Some(Answer::Once)));
    for line in ["a", "a 7d", "always", "what"] {
        let unclear = typed(line, false, true).expect_err("not a yes");
        assert!(!unclear.contains(" a "), "{unclear}");
    }
    assert_eq!(text::prompt(false, false, true), "Allow it? [y/N] ");
}

#[test]
fn what_can_do_most_harm_comes_first() {
    let environment = What::Environment {
        name: "LD_PRELOAD".into(),
    };
    let tree = |path: &str| What::Read {
        except: Vec::new(),
        path: path.into(),
        tree: true,
    };
    let worst_first = [
        What::NetHost {},
        write("/home/ana/.config", true),
        write("/home/ana/.bashrc", false),
        What::Syscall {
            name: "ptrace".into(),
        },
        tree("/home/ana/Documents"),
        read(b"/home/ana/.netrc"),
        environment,
        What::Exec {
            except: Vec::new(),
            name: None,
            path: "/usr/bin/git".into(),
            tree: false,
        },
        write("/home/ana/work/out", true),
        What::Listen { port: 80 },
        tree("/home/ana/work"),
        What::Limit {
            limit: "pids".into(),
            value: Some(1),
        },
    ];
    let mut turned = worst_first.to_vec();
    turned.reverse();
    let things = |whats: Vec<What>| -> Vec<String> {
        let text = shown(whats, &context(), &[], true);
        let number = |line: &&str| line.starts_with("  ") && line.as_bytes()[2].is_ascii_digit();
        text.lines().filter(number).map(str::to_owned).collect()
    };
    assert_eq!(things(turned), things(worst_first.to_vec()));
}
