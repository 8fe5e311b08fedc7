//! Nothing is left of a run: no process, control group, mount or temporary file; whether it ends
//! by itself or `aegis-run` is killed at any moment; one at a time or five hundred at once.

mod groups;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use aegis_tests::host::{self, Mark, eventually};
use aegis_tests::{User, Workspace};

/// Number of runs to kill, for each user.
const KILLS: usize = 300;

/// Sandboxes at once.
const CROWD: usize = 500;

/// Processes that have left their session and parent, and the command beside them.
const CROWDED: &str = "(setsid sleep 600 &); (setsid sh -c \"trap '' TERM HUP; sleep 600; :\" &); \
                       echo ready; sleep 600; :";

/// A host of a test's own: private mounts and temporary files, a workspace, the program.
struct Host {
    workspace: Workspace,
    program: PathBuf,
    mark: Mark,
    mounts: String,
    files: Vec<PathBuf>,
    /// Groups of other runs: pids are reused.
    groups: Vec<(u32, PathBuf)>,
}

impl Host {
    /// Makes one. Only within [`host::in_private_mounts`].
    fn new(user: User, test: &str) -> Self {
        // The programs are staged below /tmp, and the machine's key is made by one of them.
        drop(Workspace::new(User::Root));
        let dir = Path::new("/mnt");
        host::tmpfs(dir, "mode=755");
        // Not a copy: a new copy may be "busy", held open by the fork of another test.
        let program = dir.join("aegis-run");
        std::fs::File::create(&program).expect("a place for the program");
        host::bind(&aegis_tests::program("aegis-run"), &program);
        for shared in ["/tmp", "/var/tmp", "/dev/shm", "/run"] {
            host::tmpfs(Path::new(shared), "mode=1777");
        }
        // Records stay, and do not count as temporary files.
        let workspace = Workspace::with_records(user, dir, dir);
        workspace.outside();
        Self {
            workspace,
            program,
            mark: Mark::new(&format!("{test}-{user:?}")),
            mounts: host::mounts(),
            files: temporary_files(),
            groups: host::groups(),
        }
    }

    /// `aegis-run` under a profile with these limits, marked.
    fn command(&self, limits: &str) -> Command {
        let text = format!(
            "aegis: 1\nname: leftovers\nextends: [shell]\n\
             capabilities: {{files.write: [$WORK]}}\n\
             environment: {{pass: [{}]}}\n\
             limits: {{{limits}}}\n",
            Mark::NAME
        );
        let profile = self.workspace.profile(&text);
        let mut command = self.workspace.command(&self.program);
        command.arg("--profile").arg(profile);
        self.mark.put(&mut command);
        command
    }

    /// The control groups of runs with these pids.
    fn groups(&self, pids: &[u32]) -> Vec<String> {
        let groups = host::groups().into_iter();
        groups
            .filter(|group| pids.contains(&group.0) && !self.groups.contains(group))
            .map(|(_, dir)| dir.display().to_string())
            .collect()
    }

    /// What is left of runs with these pids, in words.
    fn left(&self, pids: &[u32]) -> Vec<String> {
        let mut left = self.mark.processes();
        left.extend(self.groups(pids));
        left
    }

    /// Asserts that nothing is left of runs with these pids.
    #[track_caller]
    fn clean(&self, pids: &[u32], what: &str) {
        assert_eq!(self.left(pids), [""; 0], "{what}");
        assert_eq!(host::mounts(), self.mounts, "{what}");
        assert_eq!(temporary_files(), self.files, "{what}");
    }
}

/// Temporary files. The directory of root's registry of running sandboxes is not one; its files are.
fn temporary_files() -> Vec<PathBuf> {
    let mut files = host::temporary_files();
    files.retain(|path| path != Path::new("/run/aegis"));
    files
}

/// Limits that put a run of this user into control groups, if the user may make some.
fn limits(user: User) -> &'static str {
    match user {
        User::Root => "memory: 256M, pids: 32, cpu: 2, time: 1m",
        User::Ordinary => "pids: 32, time: 1m",
    }
}

fn users(test: impl Fn(User) + Sync) {
    for user in aegis_tests::USERS {
        host::in_private_mounts(|| test(user));
    }
}

#[test]
fn what_is_looked_for_is_there_while_a_run_lasts() {
    users(|user| {
        let host = Host::new(user, "looked-for");
        let mut child = ready(host.command(limits(user)).args(["--", "sh", "-c", CROWDED]));
        let pids = [child.id()];
        // aegis-run, the sandbox's PID 1, the janitor of its control groups, the command, and its
        // children: some of them start only after the command's line.
        let own = if user == User::Root { 3 } else { 2 };
        let mut there = vec!["aegis-run"; own];
        there.extend(["sh", "sh", "sleep", "sleep", "sleep"]);
        eventually("started", || {
            let mut names: Vec<_> = host.mark.processes().into_iter().map(name).collect();
            names.sort();
            if names == there { vec![] } else { names }
        });
        // The number depends on the hierarchies of the host.
        assert_eq!(!host.groups(&pids).is_empty(), user == User::Root);
        child.kill().expect("a child of ours");
        child.wait().expect("a child of ours");
        eventually("killed", || host.left(&pids));
    });
}

/// The name in a string of pid and name.
fn name(process: String) -> String {
    let (_, name) = process.split_once(' ').expect("a pid and a name");
    name.to_owned()
}

/// Starts a command and waits for the first line it prints.
fn ready(command: &mut Command) -> Child {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped"))
        .read_line(&mut line)
        .expect("standard output can be read");
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn nothing_is_left_of_a_run_however_it_ends() {
    users(|user| {
        let host = Host::new(user, "ends");
        let eats = "tail /dev/zero";
        let ends: [(&str, &str, &[i32]); 11] = [
            ("", "true", &[0]),
            ("", "exit 3", &[3]),
            ("", "kill -KILL $$", &[137]),
            ("", "kill -SEGV $$", &[139]),
            ("", "(setsid sleep 600 &); exit 4", &[4]),
            ("", "mkdir -p /tmp/a/b; echo x > /tmp/a/b/c; exit 5", &[5]),
            ("memory: 32M", eats, &[137, 1]),
            ("time: 100ms", CROWDED, &[124]),
            ("output: 1K", "(setsid yes &); sleep 600", &[137]),
            ("file-size: 1K", "exec dd if=/dev/zero of=/tmp/x", &[153]),
            ("pids: 4", "bomb() { bomb & bomb; }; bomb", &[2]),
        ];
        for (limits, script, statuses) in ends {
            let mut command = host.command(limits);
            command.args(["--quiet", "--", "sh", "-c", script]);
            end(&host, &mut command, script, statuses);
        }
        // What a policy blocks, leaves to a person who cannot be asked, or cannot record is being built already when it is
        // refused.
        let refusals: [(&[&str], i32); 8] = [
            (
                &[
                    "--policy",
                    "standard",
                    "--set",
                    "capabilities.files.read=[/etc/shadow]",
                    "true",
                ],
                125,
            ),
            (
                &[
                    "--policy",
                    "standard",
                    "--set",
                    "capabilities.net.outbound=host",
                    "true",
                ],
                125,
            ),
            (&["--policy", "standard", "--audit", "none", "true"], 125),
            (&["--", "/nowhere/to/be/found"], 127),
            (&["--", "/etc"], 126),
            (
                &["--set", "capabilities.files.read=[/nowhere]", "true"],
                125,
            ),
            (&["--set", "limits.frobnicate=1", "true"], 125),
            (&["--explain", "true"], 0),
        ];
        for (words, status) in refusals {
            let mut command = host.command(limits(user));
            end(&host, command.args(words), &format!("{words:?}"), &[status]);
        }
        // An executable that the kernel refuses, after everything else is set up.
        let odd = host.workspace.write("work/odd", "\x7fELF, but no more");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(odd, mode).expect("chmod");
        let mut command = host.command(limits(user));
        end(&host, command.args(["--", "./odd"]), "./odd", &[126]);
    });
}

/// Runs a command to its end, with one of these statuses; nothing may be left at that moment.
fn end(host: &Host, command: &mut Command, what: &str, statuses: &[i32]) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("aegis-run starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("a child of ours");
    let status = output.status.code();
    assert!(
        status.is_some_and(|status| statuses.contains(&status)),
        "{what}: {}",
        aegis_tests::text(&output)
    );
    host.clean(&[pid], what);
}

#[test]
fn nothing_is_left_of_a_run_that_a_signal_ends() {
    users(|user| {
        let host = Host::new(user, "signals");
        let script = "(setsid sleep 600 &); echo ready; exec sleep 600";
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            let mut command = host.command(limits(user));
            command.args(["--quiet", "--", "sh", "-c", script]);
            let mut child = ready(heeding(&mut command));
            send(&child, signal);
            let status = child.wait().expect("a child of ours");
            // Like any other program, so that a shell's loop ends with it.
            assert_eq!(status.signal(), Some(signal), "{status} as {user:?}");
            host.clean(&[child.id()], &format!("signal {signal}"));
        }
    });
}

/// Resets signals that whoever started the tests may have ignored, since that is inherited.
fn heeding(command: &mut Command) -> &mut Command {
    let heed = || {
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            // SAFETY: SIG_DFL runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: signal(2) may be called between fork and exec.
    unsafe { command.pre_exec(heed) }
}

fn send(child: &Child, signal: i32) {
    // SAFETY: no pointers; the pid is that of a child not yet waited for.
    unsafe { libc::kill(child.id() as i32, signal) };
}

#[test]
fn a_signal_is_never_too_early() {
    users(|user| {
        let host = Host::new(user, "early");
        let began = Instant::now();
        end(&host, host.command(limits(user)).arg("true"), "true", &[0]);
        let start = began.elapsed();
        for round in 0..60 {
            // In steps through the whole start.
            let after = start * round / 60;
            // Lets the test end if the signal is lost.
            let mut command = host.command("time: 1m");
            let mut child = command
                .args(["--quiet", "--", "sleep", "600"])
                .spawn()
                .expect("aegis-run starts");
            std::thread::sleep(after);
            send(&child, libc::SIGTERM);
            let status = child.wait().expect("a child of ours");
            let told = format!("{status} for a signal after {after:?} as {user:?}");
            assert_eq!(status.signal(), Some(libc::SIGTERM), "{told}");
            // Before aegis-run has blocked the signal, it ends aegis-run like any other program.
            eventually("a signal", || host.left(&[child.id()]));
        }
    });
}

#[test]
fn nothing_is_left_when_aegis_run_is_killed_at_any_moment() {
    users(|user| {
        let host = Host::new(user, "kills");
        let report = host.workspace.outside().join("report.json");
        let command = || {
            let mut command = host.command(limits(user));
            command.arg("--report").arg(&report);
            command.args(["--", "sh", "-c", CROWDED]);
            command
        };
        let began = Instant::now();
        kill(&host, ready(&mut command()), Duration::ZERO, "once ready");
        // The longest start; half of the kills come during a start, half after it.
        let start = began.elapsed();
        let mut random = Random::new();
        let seed = random.0;
        for round in 0..KILLS {
            let (child, after) = if round % 2 == 0 {
                let child = command()
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("aegis-run starts");
                (child, random.below(start))
            } else {
                (ready(&mut command()), random.below(start / 8))
            };
            let what = format!("round {round} of seed {seed}, as {user:?}: killed after {after:?}");
            kill(&host, child, after, &what);
        }
        // A killed supervisor cannot remove its run from the registry: the file is stale, and the next listing
        // removes it.
        let _ = std::fs::remove_dir_all("/run/aegis");
        host.clean(&[], "after all kills");
        let reports = std::fs::read_dir(host.workspace.outside()).expect("a directory of ours");
        let reports: Vec<_> = reports.flatten().map(|entry| entry.path()).collect();
        assert!(
            reports.is_empty(),
            "{reports:?} as {user:?}, of seed {seed}"
        );
    });
}

/// Kills `aegis-run` after a time, and waits until everything of it is gone.
fn kill(host: &Host, mut child: Child, after: Duration, what: &str) {
    // The moment is under test: nothing relies on its length.
    std::thread::sleep(after);
    child.kill().expect("a child of ours");
    let status = child.wait().expect("a child of ours");
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{what}: {status}");
    let pids = [child.id()];
    // Twice: one look may miss a process that is being forked.
    eventually(what, || host.left(&pids));
    eventually(what, || host.left(&pids));
}

/// Xorshift (Marsaglia 2003): which moments, in the same order for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(now.expect("a clock after 1970").as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_nanos(self.0 % (limit.as_nanos() as u64).max(1))
    }
}

#[test]
fn no_half_made_report_is_left_when_aegis_run_is_killed_while_it_makes_one() {
    users(|user| {
        let host = Host::new(user, "report");
        let report = host.workspace.outside().join("report.json");
        // Killed when about to create, remove, or rename a file: the moments between two calls.
        for call in ["unlink,unlinkat", "rename,renameat,renameat2", "linkat"] {
            let mut command = host.workspace.command("strace");
            command
                .args(["-qq", "-o", "/dev/null", "-e"])
                .arg(format!("trace={call}"))
                .arg("-e")
                .arg(format!("inject={call}:signal=KILL:when=1"))
                .arg(&host.program)
                .arg("--report")
                .arg(&report)
                .args(["--", "true"]);
            host.mark.put(&mut command);
            let output = command.output().expect("strace starts");
            eventually(call, || host.mark.processes());
            let left = std::fs::read_dir(host.workspace.outside()).expect("a directory of ours");
            let left: Vec<_> = left.flatten().map(|entry| entry.path()).collect();
            let unfinished = left.iter().any(|path| *path != report);
            assert!(
                !unfinished,
                "{call}: {left:?} {}",
                aegis_tests::text(&output)
            );
            let _ = std::fs::remove_file(&report);
        }
    });
}

#[test]
fn five_hundred_sandboxes_run_at_once_and_nothing_is_left_of_them() {
    host::in_private_mounts(|| {
        let root = Host::new(User::Root, "crowd");
        let ordinary =
            Workspace::with_records(User::Ordinary, Path::new("/mnt"), Path::new("/mnt"));
        let (input, release) = std::io::pipe().expect("a pipe");
        let (out, end) = std::io::pipe().expect("a pipe");
        let errors = root.workspace.write("errors", "");
        // Each reports that it is up, and stays until all are: until nobody holds `release`.
        let script = "echo there; read line; exit 0";
        let profile = root.command("memory: 64M, pids: 8");
        let profile: Vec<_> = profile.get_args().map(|word| word.to_owned()).collect();
        let free = ordinary.profile(&format!(
            "aegis: 1\nname: crowd\nextends: [shell]\nenvironment: {{pass: [{}]}}\n",
            Mark::NAME
        ));
        let mut children: Vec<Child> = (0..CROWD)
            .map(|number| {
                let mut command = if number % 2 == 0 {
                    let mut command = root.workspace.command(&root.program);
                    command.args(&profile);
                    command
                } else {
                    let mut command = ordinary.command(&root.program);
                    command.arg("--profile").arg(&free);
                    command
                };
                root.mark.put(&mut command);
                let errors = std::fs::OpenOptions::new().append(true).open(&errors);
                command
                    .args(["--", "sh", "-c", script])
                    .stdin(input.try_clone().expect("a descriptor"))
                    .stdout(end.try_clone().expect("a descriptor"))
                    .stderr(errors.expect("a file of ours"))
                    .spawn()
                    .expect("aegis-run starts")
            })
            .collect();
        drop((input, end));
        let (tell, told) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let _ = tell.send(line.expect("text"));
            }
        });
        let there = (0..CROWD)
            .map_while(|_| told.recv_timeout(Duration::from_secs(60)).ok())
            .count();
        let processes = root.mark.processes().len();
        // Lets them all end, even if not all are up.
        drop(release);
        let statuses: BTreeSet<_> = children
            .iter_mut()
            .map(|child| child.wait().expect("a child of ours").code())
            .collect();
        reader
            .join()
            .expect("the reader ends with the last of them");
        let errors = std::fs::read_to_string(&errors).expect("a file of ours");
        assert_eq!(there, CROWD, "{errors}");
        assert_eq!(statuses, BTreeSet::from([Some(0)]), "{errors}");
        assert!(processes >= 3 * CROWD, "{processes} at once");
        let pids: Vec<u32> = children.iter().map(Child::id).collect();
        assert_eq!(root.left(&pids), [""; 0], "{errors}");
        assert_eq!(host::mounts(), root.mounts);
        assert_eq!(temporary_files(), root.files);
    });
}
