//! Resources: items 18 and 19 of `docs/escapes.md`. As root they are held by control groups, as an
//! ordinary user by what stands in for those.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use aegis_tests::attacks::{all_held, attacks_directory};
use aegis_tests::{USERS, User, Workspace, program, text};

#[test]
fn nothing_gets_more_than_its_limit() {
    all_held(18);
}

#[test]
fn limits_are_not_evaded_by_many_processes_or_other_groups() {
    all_held(19);
}

/// After this a bare attack ends by its own alarm.
const ALARM: Duration = Duration::from_secs(5);
/// A time limit of one second, the grace of half a second, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(4);

const ONE_SECOND: &str = "aegis: 1\nlimits: {time: 1s}\n";

/// Waits for the end of a child without reaping it.
fn ends_within(child: &Child, patience: Duration) -> bool {
    // SAFETY: no pointers.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) } as i32;
    assert!(
        pidfd >= 0,
        "pidfd_open: {}",
        std::io::Error::last_os_error()
    );
    let mut fd = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one descriptor is given, which outlives the call; it is closed once, and is ours.
    unsafe {
        let ready = libc::poll(&mut fd, 1, patience.as_millis() as i32);
        libc::close(pidfd);
        ready == 1
    }
}

/// Runs `resources last HOW` under a time limit: how long it took, and what came of it.
fn last(user: User, how: &str, profile: &str) -> (Duration, std::process::Output) {
    let workspace = Workspace::new(user);
    let profile = workspace.profile(profile);
    let attack = attacks_directory().join("resources").display().to_string();
    let seconds = ALARM.as_secs().to_string();
    let mut command = workspace.aegis(&profile, &[&attack, "last", how, &seconds]);
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    // Where it writes more than a pipe holds, nobody reads it meanwhile: that is the attack.
    if !ends_within(&child, 2 * ALARM) {
        child.kill().expect("kill");
    }
    let took = began.elapsed();
    (took, child.wait_with_output().expect("its output"))
}

#[test]
fn the_time_limit_ends_what_goes_on_for_ever() {
    for user in USERS {
        for how in ["sleep", "spin", "calls", "messages", "starve"] {
            let (took, output) = last(user, how, ONE_SECOND);
            assert!(
                took < BOUND,
                "{user:?} {how} took {took:?}: {}",
                text(&output)
            );
            assert_eq!(
                output.status.code(),
                Some(124),
                "{user:?} {how}: {}",
                text(&output)
            );
        }
    }
}

#[test]
fn without_a_time_limit_the_same_goes_on_until_its_own_alarm() {
    let (took, output) = last(User::Root, "sleep", "aegis: 1\n");
    assert!(took >= ALARM, "{took:?}: {}", text(&output));
}

#[test]
fn the_time_limit_holds_while_nobody_reads_the_output() {
    let profile = "aegis: 1\nlimits: {time: 1s, output: 100M}\n";
    for user in USERS {
        let (took, output) = last(user, "output", profile);
        assert!(took < BOUND, "{user:?} took {took:?}: {}", output.status);
        assert_eq!(output.status.code(), Some(124), "{user:?}");
    }
}

/// For how long others went on, by their own account, when the command stopped itself under a terminal.
fn went_on(user: User, how: &str, launcher: &[&str]) -> Duration {
    let workspace = Workspace::new(user);
    workspace.profile("aegis: 1\ncapabilities: {files.write: [$WORK]}\nlimits: {time: 1s}\n");
    let directory = attacks_directory();
    let file = workspace.work().join("beat");
    let output = workspace
        .command(directory.join("onpty"))
        .args(launcher)
        .arg(directory.join("resources"))
        .args(["last", how, &ALARM.as_secs().to_string()])
        .arg(&file)
        .output()
        .expect("onpty starts");
    let said = std::fs::read_to_string(&file).unwrap_or_default();
    let milliseconds = said.trim().parse();
    Duration::from_millis(milliseconds.unwrap_or_else(|_| panic!("{}", text(&output))))
}

#[test]
fn nothing_goes_on_inside_while_the_launcher_is_stopped_with_its_command() {
    let bound = BOUND - Duration::from_secs(1);
    let launcher = program("aegis-run").display().to_string();
    let launcher = [&launcher, "--profile", "../profile.yaml", "--"];
    for user in USERS {
        let long = went_on(user, "stopped", &[]);
        assert!(
            long > bound,
            "the control: others went on for {long:?} only"
        );
        for how in ["stopped", "unstoppable"] {
            let long = went_on(user, how, &launcher);
            assert!(long < bound, "{user:?} {how}: went on for {long:?}");
        }
    }
}

/// Processor time of four busy processes in a second, in percent.
fn percent(user: User, profile: &str) -> u32 {
    let workspace = Workspace::new(user);
    let attack = attacks_directory().join("resources").display().to_string();
    let output = workspace.run(profile, &[&attack, "processors", "4"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.trim()
        .strip_prefix("percent: ")
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{}", text(&output)))
}

#[test]
fn processor_time_is_limited_for_all_processes_together() {
    // Processes wait for each other's end, so a little more than the second counts.
    let limited = percent(User::Root, "aegis: 1\nlimits: {cpu: 0.25}\n");
    assert!(limited <= 60, "{limited} percent, where 25 are allowed");
    let limited = percent(User::Ordinary, "aegis: 1\nlimits: {cpu: 1}\n");
    assert!(limited <= 125, "{limited} percent, where 100 are allowed");
}
