//! Asking a person, on a pseudo-terminal: `pty(7)`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit::approvals::Asked;
use aegis_audit::event::Person;
use aegis_cli::run::ask::ask;
use aegis_launch::Question;
use aegis_policy::{Context, HostPath, Opinion, Verdict, What};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

const PATIENCE: Duration = Duration::from_secs(30);

/// Signals that end programs.
const ENDING: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// The end of the question.
const PROMPT: &str = "Allow it? [y/a/N] ";

/// The end of a question that is not shown as a whole.
const CUT: &str = "Show all of it? [l/N] ";

/// Not a test by itself: the process that asks. It writes the outcome to a file.
#[test]
#[ignore = "started by others"]
fn the_side_that_asks() {
    let file = std::env::var_os("AEGIS_TEST_ANSWER").expect("started by another test");
    if std::env::var_os("AEGIS_TEST_BACKGROUND").is_some() {
        let status = asker(file.as_ref()).process_group(0).status();
        assert!(status.expect("another one starts").success());
        return;
    }
    let count = std::env::var("AEGIS_TEST_COUNT").map_or(1, |n| n.parse().expect("a number"));
    let asked: Vec<Asked> = (0..count)
        .map(|i| Asked {
            opinion: Opinion {
                reason: "for a person to approve by rule `rest`".into(),
                rules: vec!["rest".into()],
                verdict: Verdict::Review,
            },
            what: What::Read {
                except: Vec::new(),
                path: format!("/srv/{i}").as_str().into(),
                tree: false,
            },
        })
        .collect();
    let command: [HostPath; 1] = ["cat".into()];
    let modes = || {
        let terminal = File::open("/dev/tty").ok()?;
        let modes = tcgetattr(terminal).ok()?;
        Some(format!("{modes:?}"))
    };
    let before = modes();
    let question = Question {
        asked: &asked,
        by: &Person { name: None, uid: 7 },
        command: &command,
        context: &Context::default(),
        is_running: false,
        file: None,
        passphrases: &[],
        policy: "standard",
    };
    let answer = ask(&question, "aegis-run");
    let mut text = match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(why) => why.to_string(),
    };
    // After a hangup the terminal has no modes.
    if let Some(after) = modes()
        && before.as_ref() != Some(&after)
    {
        text.push_str(", but the modes of the terminal are other ones");
    }
    fs::write(file, text).expect("the answer is written");
}

/// The process that asks, without a terminal of its own.
fn asker(file: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our path"));
    command
        .args(["--exact", "ask::the_side_that_asks", "--ignored"])
        .env("AEGIS_TEST_ANSWER", file)
        .env_remove("AEGIS_TEST_BACKGROUND")
        .env("TERM", "dumb")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn timeout(time: Duration) -> Timespec {
    time.try_into().expect("a time")
}

/// A terminal whose keys and screen this test has.
struct Pty {
    keys: Option<File>,
    line: OwnedFd,
    shown: String,
}

impl Pty {
    fn open() -> Self {
        let (mut keys, mut line) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: both numbers outlive the call; the rest may be null.
        let status = unsafe { libc::openpty(&mut keys, &mut line, none, none.cast(), none.cast()) };
        assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: both are new, and owned by nothing else.
        let (keys, line) = unsafe { (OwnedFd::from_raw_fd(keys), OwnedFd::from_raw_fd(line)) };
        for fd in [&keys, &line] {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).expect("fcntl");
        }
        Self {
            keys: Some(keys.into()),
            line,
            shown: String::new(),
        }
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.line).expect("modes")
    }

    /// Starts a command with this as its controlling terminal.
    fn start(&self, mut command: Command) -> Child {
        let line = self.line.as_raw_fd();
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 || libc::ioctl(line, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                // Unlike `aegis-run`, it has more threads than the one that asks: none of them may take the signals.
                let mut signals = std::mem::zeroed();
                libc::sigemptyset(&mut signals);
                for signal in ENDING {
                    libc::sigaddset(&mut signals, signal);
                }
                libc::sigprocmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
                Ok(())
            });
        }
        command.spawn().expect("the side that asks starts")
    }

    fn keys(&mut self) -> &mut File {
        self.keys.as_mut().expect("not hung up")
    }

    fn types(&mut self, keys: &str) {
        self.keys().write_all(keys.as_bytes()).expect("keys");
    }

    /// Waits until so many prompts have been shown and the screen ends with one.
    fn prompts(&mut self, count: usize) {
        self.prompted(PROMPT, count);
    }

    fn prompted(&mut self, prompt: &str, count: usize) {
        self.wait(|shown| shown.matches(prompt).count() >= count && shown.ends_with(prompt));
    }

    fn wait(&mut self, passes: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !passes(&self.shown) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not shown: {:?}", self.shown);
            let timeout = left.try_into().expect("a time");
            let ready = poll(
                &mut [PollFd::new(self.keys(), PollFlags::IN)],
                Some(&timeout),
            );
            if ready.expect("poll") > 0 {
                let mut buffer = [0; 4096];
                let read = self.keys().read(&mut buffer).expect("the screen");
                self.shown
                    .push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    }
}

/// A question on a terminal, and the process that asks.
struct Asking {
    pty: Pty,
    child: Child,
    dir: tempfile::TempDir,
}

impl Asking {
    /// Starts it after some input was typed.
    fn after(pty: Pty, change: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = asker(&dir.path().join("answer"));
        change(&mut command);
        let child = pty.start(command);
        Self { pty, child, dir }
    }

    fn new() -> Self {
        let mut asking = Self::after(Pty::open(), |_| {});
        asking.pty.prompts(1);
        asking
    }

    /// The outcome.
    fn answer(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        let flags = rustix::process::PidfdFlags::empty();
        let child = rustix::process::pidfd_open(pid, flags).expect("a descriptor");
        let ended = poll(
            &mut [PollFd::new(&child, PollFlags::IN)],
            Some(&timeout(PATIENCE)),
        );
        if ended.expect("poll") == 0 {
            let _ = self.child.kill();
            panic!("it still waits: {:?}", self.pty.shown);
        }
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}: {}", self.pty.shown);
        fs::read_to_string(self.dir.path().join("answer")).expect("an answer")
    }
}

#[test]
fn keys_make_the_answer() {
    for (keys, answer) in [
        ("y\r", "Once"),
        ("y\n", "Once"),
        ("n\r", "No"),
        ("\r", "No"),
        ("a\r", "Always { lasts: 2592000 }"),
        ("a 7d\r", "Always { lasts: 604800 }"),
        // The line is edited.
        ("n\x7fy\r", "Once"),
        ("y\x15\r", "No"),
        // Ctrl-C, Ctrl-\ and Ctrl-D, even after a yes.
        ("\x03", "No"),
        ("y\x03", "No"),
        ("\x1c", "No"),
        ("y\x1c", "No"),
        ("\x04", "No"),
        ("y\x04", "No"),
    ] {
        let mut asking = Asking::new();
        asking.pty.types(keys);
        assert_eq!(asking.answer(), answer, "{keys:?}");
    }
}

#[test]
fn what_was_typed_before_the_question_is_no_answer() {
    for ahead in ["y\r", "y\r\ry\ry\r", "y", "a 7d"] {
        let mut pty = Pty::open();
        pty.types(ahead);
        let mut asking = Asking::after(pty, |_| {});
        asking.pty.prompts(1);
        asking.pty.types("\r");
        assert_eq!(asking.answer(), "No", "{ahead:?}");
    }
}

#[test]
fn the_answer_is_seen_and_edited_whatever_modes_the_terminal_was_left_in() {
    let pty = Pty::open();
    let mut raw = pty.modes();
    raw.make_raw();
    tcsetattr(&pty.line, OptionalActions::Now, &raw).expect("modes");
    let mut asking = Asking::after(pty, |_| {});
    asking.pty.prompts(1);
    let during = asking.pty.modes().local_modes;
    assert!(during.contains(LocalModes::ECHO | LocalModes::ICANON));
    asking.pty.types("nn");
    asking
        .pty
        .wait(|shown| shown.ends_with(&format!("{PROMPT}nn")));
    asking.pty.types("\x7f\x7fy\r");
    assert_eq!(asking.answer(), "Once");
}

#[test]
fn what_is_no_answer_is_asked_again_and_at_last_a_no() {
    let mut asking = Asking::new();
    for count in 2..=5 {
        asking.pty.types("perhaps\r");
        asking.pty.prompts(count);
    }
    assert_eq!(asking.pty.shown.matches("write y, a or n").count(), 4);
    asking.pty.types("perhaps\r");
    assert_eq!(asking.answer(), "No");

    let mut asking = Asking::new();
    asking.pty.types("yes!\r");
    asking.pty.prompts(2);
    asking.pty.types("y\r");
    assert_eq!(asking.answer(), "Once");
}

#[test]
fn a_long_list_is_cut_and_approved_only_when_all_of_it_was_shown() {
    let mut asking = Asking::after(Pty::open(), |command| {
        command.env("AEGIS_TEST_COUNT", "30");
    });
    asking.pty.prompted(CUT, 1);
    for (count, yes) in [(2, "y\r"), (3, "a 7d\r")] {
        asking.pty.types(yes);
        asking.pty.prompted(CUT, count);
    }
    assert!(asking.pty.shown.contains("not all of it has been shown"));
    assert!(
        !asking.pty.shown.contains("/srv/29"),
        "{}",
        asking.pty.shown
    );
    assert!(
        asking.pty.shown.contains("and 25 more"),
        "{}",
        asking.pty.shown
    );
    asking.pty.types("l\r");
    asking.pty.prompts(1);
    assert!(asking.pty.shown.contains("/srv/29"), "{}", asking.pty.shown);
    asking.pty.types("y\r");
    assert_eq!(asking.answer(), "Once");
}

#[test]
fn a_terminal_that_goes_away_and_signals_that_end_programs_are_a_no() {
    let mut asking = Asking::new();
    asking.pty.keys = None;
    assert_eq!(asking.answer(), "No", "hung up");
    for signal in ENDING {
        let asking = Asking::new();
        // SAFETY: no pointers; the child has not been waited for.
        unsafe { libc::kill(asking.child.id() as i32, signal) };
        assert_eq!(asking.answer(), "No", "signal {signal}");
    }
}

#[test]
fn without_a_terminal_or_in_the_background_nobody_is_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("answer");
    let mut command = asker(&file);
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    assert!(command.status().expect("it starts").success());
    let told = fs::read_to_string(&file).expect("an answer");
    assert_eq!(told, "there is no terminal to ask on");

    let asking = Asking::after(Pty::open(), |command| {
        command.env("AEGIS_TEST_BACKGROUND", "1");
    });
    assert_eq!(
        asking.answer(),
        "it runs in the background, where nobody can be asked"
    );
}
