//! Resources: items 18 and 19 of `docs/escapes.md`. Control groups limit root's runs; an
//! ordinary user's are limited by the substitutes.

use std::process::Stdio;

use aegis_tests::attacks::all_held;
use aegis_tests::host::ends;
use aegis_tests::{USERS, User, Workspace, attacks_directory, program, text};

#[test]
fn nothing_gets_more_than_its_limit() {
    all_held(18);
}

#[test]
fn limits_are_not_evaded_by_many_processes_or_other_groups() {
    all_held(19);
}

/// An attack ends by its own alarm after so many seconds. No run under a time limit gets there.
const ALARM: u32 = 60;

const ONE_SECOND: &str = "aegis: 1\nlimits: {time: 1s}\n";

/// Runs `resources last HOW` under a profile; returns the output.
fn last(user: User, how: &str, profile: &str, seconds: u32) -> std::process::Output {
    let workspace = Workspace::new(user);
    let profile = workspace.profile(profile);
    let attack = attacks_directory().join("resources").display().to_string();
    let mut command = workspace.aegis(&profile, &[&attack, "last", how, &seconds.to_string()]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    // If it writes more than a pipe holds, nobody reads it meanwhile: that is the attack.
    if !ends(&child) {
        child.kill().expect("kill");
    }
    child.wait_with_output().expect("its output")
}

#[test]
fn the_time_limit_ends_what_goes_on_for_ever() {
    for user in USERS {
        for how in ["sleep", "spin", "calls", "messages", "starve"] {
            let output = last(user, how, ONE_SECOND, ALARM);
            let told = text(&output);
            assert_eq!(output.status.code(), Some(124), "{user:?} {how}: {told}");
        }
    }
}

#[test]
fn without_a_time_limit_the_same_goes_on_until_its_own_alarm() {
    let output = last(User::Root, "sleep", "aegis: 1\n", 1);
    let alarm = 128 + libc::SIGALRM;
    assert_eq!(output.status.code(), Some(alarm), "{}", text(&output));
}

#[test]
fn the_time_limit_holds_while_nobody_reads_the_output() {
    let profile = "aegis: 1\nlimits: {time: 1s, output: 100M}\n";
    for user in USERS {
        let output = last(user, "output", profile, ALARM);
        assert_eq!(output.status.code(), Some(124), "{user:?}");
    }
}

/// For how many milliseconds others went on, by their own account, after the command stopped itself
/// under a terminal; at most for these seconds.
fn went_on(user: User, how: &str, launcher: &[&str], seconds: u32) -> u32 {
    let workspace = Workspace::new(user);
    workspace.profile("aegis: 1\ncapabilities: {files.write: [$WORK]}\nlimits: {time: 1s}\n");
    let directory = attacks_directory();
    let file = workspace.work().join("beat");
    let output = workspace
        .command(directory.join("onpty"))
        .args(launcher)
        .arg(directory.join("resources"))
        .args(["last", how, &seconds.to_string()])
        .arg(&file)
        .output()
        .expect("onpty starts");
    let said = std::fs::read_to_string(&file).unwrap_or_default();
    let milliseconds = said.trim().parse();
    milliseconds.unwrap_or_else(|_| panic!("{}", text(&output)))
}

#[test]
fn nothing_goes_on_inside_while_the_launcher_is_stopped_with_its_command() {
    let launcher = program("aegis-run").display().to_string();
    let launcher = [&launcher, "--profile", "../profile.yaml", "--"];
    for user in USERS {
        // The control: longer than the time limit.
        let long = went_on(user, "stopped", &[], 3);
        assert!(long > 1_000, "others went on for {long} ms only");
        for how in ["stopped", "unstoppable"] {
            let long = went_on(user, how, &launcher, ALARM);
            // Until the limit, and not until the alarm.
            assert!(long < ALARM * 500, "{user:?} {how}: went on for {long} ms");
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
    // Processes wait for each other's end, so slightly more than the second counts.
    let limited = percent(User::Root, "aegis: 1\nlimits: {cpu: 0.25}\n");
    assert!(limited <= 60, "{limited} percent, where 25 are allowed");
    let limited = percent(User::Ordinary, "aegis: 1\nlimits: {cpu: 1}\n");
    assert!(limited <= 125, "{limited} percent, where 100 are allowed");
}
