//! What becomes of what is out of the ordinary: as the policy says, as a person says, and where there is no baseline.

use std::fs;
use std::process::Output;

use aegis_tests::audit_log::aegis;
use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{EVERYTHING, User, Workspace, program, repository, text};
use serde_json::Value;

use super::{READ_PASSWD, anomalies, by_probes, grafted, learn, reported, run, skill};
use crate::observation::{follow, observed};
use crate::passphrases::LINE as PASSPHRASE;

/// What is quicker than whoever looks ends the run all the same.
#[test]
fn a_policy_says_what_becomes_of_it() {
    observed(|workspace| {
        skill(workspace);
        grafted(
            workspace,
            &format!("{READ_PASSWD}; print('DONE', flush=True)"),
        );
        let words = ["python3", "skill.py"];
        let by = |policy: &str| -> (Output, Value) {
            let output = run(workspace, "wide.yaml", policy, &words)
                .output()
                .expect("aegis-run starts");
            let report = reported(workspace);
            let reaction = report["anomalies"][0]["reaction"].clone();
            (output, reaction)
        };
        let (output, reaction) = by("permissive");
        assert_eq!(
            (output.status.code(), reaction),
            (Some(0), "recorded".into())
        );
        assert!(!text(&output).contains("ordinary"), "{}", text(&output));
        let (output, reaction) = by("standard");
        assert_eq!((output.status.code(), reaction), (Some(0), "warned".into()));
        assert!(
            text(&output)
                .contains("warning: out of the ordinary: it reads, or looks for, /etc/passwd"),
            "{}",
            text(&output)
        );
        let with = |verdict: &str| {
            let rule = format!(
                "capabilities:\n  - {{id: odd, on: anomaly, match: \"*\", verdict: {verdict}}}\n"
            );
            let policy = workspace.policy(&EVERYTHING.replace("capabilities:\n", &rule));
            policy.to_str().expect("UTF-8").to_owned()
        };
        let (output, reaction) = by(&with("block"));
        assert_eq!(
            (output.status.code(), reaction),
            (Some(137), "killed".into()),
            "{}",
            text(&output)
        );
        // Nobody can be asked here.
        let (output, reaction) = by(&with("review"));
        assert_eq!(
            (output.status.code(), reaction),
            (Some(137), "killed".into()),
            "{}",
            text(&output)
        );
    });
}

/// What comes after more than are recorded is decided and reacted to as any other.
#[test]
fn many_that_are_allowed_hide_none_that_is_not() {
    const MANY: &str = "
for first in 'abcdefghijkl':
    for second in 'abcdefghijkl': tried(os.stat, '/srv/' + first + '/' + second)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
";
    by_probes(|workspace| {
        skill(workspace);
        grafted(workspace, MANY);
        let rules = "capabilities:\n  - {id: odd, on: anomaly, match: socket, verdict: block}\n  - {id: others, on: anomaly, match: \"*\", verdict: allow}\n";
        let policy = workspace.policy(&EVERYTHING.replace("capabilities:\n", rules));
        let policy = policy.display().to_string();
        let output = run(workspace, "wide.yaml", &policy, &["python3", "skill.py"]).output();
        let output = output.expect("aegis-run starts");
        assert_eq!(output.status.code(), Some(137), "{}", text(&output));
        let report = reported(workspace);
        let found = anomalies(&report);
        let (last, others) = found.split_last().expect("one");
        assert_eq!((last.0.as_str(), others.len()), ("socket", 100), "{last:?}");
        let left_out = report["anomalies_left_out"].as_u64().expect("a number");
        assert!(left_out >= 44, "{left_out}");
    });
}

#[test]
fn without_a_baseline_what_is_refused_and_what_policy_hides_is_out_of_the_ordinary() {
    observed(|workspace| {
        workspace.write("home/.ssh/id_rsa", "a key\n");
        workspace.write("work/p.yaml", "aegis: 1\nname: p\nextends: [shell]\n");
        let home = workspace.home().display().to_string();
        let act = |act: &str| {
            let output = run(workspace, "p.yaml", "permissive", &["sh", "-c", act]).output();
            assert!(output.expect("aegis-run starts").status.success());
            anomalies(&reported(workspace))
        };
        assert_eq!(act("cat /etc/passwd > /dev/null; ls /usr > /dev/null"), []);
        let found = act(&format!("cat {home}/.ssh/id_rsa; :"));
        assert!(
            found
                .iter()
                .any(|(kind, of)| kind == "read" && of.ends_with("/.ssh/id_rsa")),
            "{found:?}"
        );
        let found = act("echo > /usr/bin/x; :");
        assert!(
            found
                .iter()
                .any(|(kind, of)| kind == "denied" && of.contains("/usr/bin/x")),
            "{found:?}"
        );
    });
}

#[test]
fn a_baseline_that_is_missing_or_another_one_is_told_before_anything_starts() {
    observed(|workspace| {
        workspace.write("work/data", "1\n");
        learn(workspace, &["cat", "data"]);
        let run = || {
            run(workspace, "skill.yaml", "standard", &["cat", "data"])
                .output()
                .expect("aegis-run starts")
        };
        assert_eq!(run().status.code(), Some(0));
        let place = workspace.work().join("skill.baseline.json");
        let text_of = fs::read_to_string(&place).expect("it is there");
        for change in [Some(format!("{text_of} ")), None] {
            match change {
                Some(text) => fs::write(&place, text).expect("written"),
                None => fs::remove_file(&place).expect("removed"),
            }
            let output = run();
            assert_eq!(output.status.code(), Some(125), "{}", text(&output));
            let said = text(&output);
            assert!(
                said.contains("the baseline ") && said.contains("help: learn it anew"),
                "{said}"
            );
            assert!(!String::from_utf8_lossy(&output.stdout).contains('1'));
            let checked = aegis(workspace, &["profile", "check", "skill.yaml"]);
            assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
            let said = text(&checked);
            assert!(
                said.contains("warning: ") && said.contains(": the baseline "),
                "{said}"
            );
        }
        // It grants nothing, and a run that is not observed does without.
        let profile = workspace.work().join("skill.yaml");
        let output = workspace
            .aegis(&profile, &["cat", "data"])
            .output()
            .expect("aegis-run starts");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    });
}

/// The commands of the page's section, one after the other, by a user.
#[test]
fn the_commands_of_the_page_do_as_they_say() {
    observed(|workspace| {
        workspace.write("work/data.csv", "1 2 3\n");
        workspace.write("work/main.py", "print(open('data.csv').read())\n");
        let standard = repository("policy/templates/standard.yaml");
        workspace.policy(&fs::read_to_string(standard).expect("it is there"));
        let output = follow(workspace, "## Anomalies");
        assert!(
            text(&output).contains("out of the ordinary: it reads, or looks for, /etc/passwd"),
            "{}",
            text(&output)
        );
    });
}

/// A terminal in which `aegis-run --observe` has what reads, or looks for, something out of the ordinary asked about.
struct Asking<'a> {
    terminal: Terminal<'a>,
    line: String,
}

impl<'a> Asking<'a> {
    fn open(workspace: &'a Workspace) -> Self {
        Self::open_with(workspace, "")
    }

    /// `line`: another line of the policy.
    fn open_with(workspace: &'a Workspace, line: &str) -> Self {
        let asks = EVERYTHING.replace(
            "capabilities:\n",
            "capabilities:\n  - {id: odd, on: anomaly, match: read, verdict: review}\n  - {id: others, on: anomaly, match: \"*\", verdict: allow}\n",
        );
        let asks = asks.replacen("capabilities:", &format!("{line}capabilities:"), 1);
        let asks = workspace.policy(&asks).display().to_string();
        let run = program("aegis-run").display().to_string();
        let line = format!(
            "clear; {run} --observe --profile wide.yaml --policy {asks} -- python3 skill.py; echo status=$?"
        );
        let terminal = Terminal::open(workspace, OUTER);
        terminal.prompt("outer>", 1);
        Self { terminal, line }
    }

    fn start(&self) {
        self.terminal.line(&self.line);
    }

    fn question(&self) -> String {
        let asked = |screen: &str| screen.trim_end().ends_with("Allow it? [y/N]");
        self.terminal.wait("the question", asked)
    }

    fn end(&self) -> String {
        let ended = |screen: &str| {
            let mut lines = screen.lines();
            lines.any(|line| line.starts_with("status="))
        };
        self.terminal.wait("the end", ended)
    }
}

/// Whether a run of this workspace's user has a control group to be held by, as the test's machines are: root's.
fn can_be_held(workspace: &Workspace) -> bool {
    workspace.user == User::Root
}

/// Everything inside stands still until a person has answered: nothing that comes after it is done.
#[test]
fn a_person_says_whether_it_may_go_on() {
    by_probes(|workspace| {
        skill(workspace);
        let code = "open('/etc/passwd').read(); print('got ' + input(), flush=True)";
        grafted(workspace, code);
        let asking = Asking::open(workspace);
        asking.start();
        if !can_be_held(workspace) {
            let screen = asking.end();
            assert!(
                screen.contains("nothing holds the command still") && screen.contains("status=137"),
                "{screen}"
            );
            return;
        }
        let screen = asking.question();
        assert!(screen.contains("anomaly read: /etc/passwd"), "{screen}");
        asking.terminal.line("y");
        asking.terminal.foreground(&["python3"]);
        asking.terminal.line("on");
        let screen = asking.end();
        assert!(
            screen.contains("got on") && screen.contains("status=0"),
            "{screen}"
        );
        asking.start();
        asking.question();
        asking.terminal.line("n");
        let screen = asking.end();
        assert!(screen.contains("status=137"), "{screen}");
    });
}

/// A yes counts with the passphrase that the policy wants, as for a run.
#[test]
fn a_yes_to_what_is_out_of_the_ordinary_counts_with_the_passphrase() {
    by_probes(|workspace| {
        if !can_be_held(workspace) {
            return;
        }
        skill(workspace);
        // It has not ended when it is asked about.
        grafted(workspace, &format!("{READ_PASSWD}; input()"));
        let asking = Asking::open_with(workspace, PASSPHRASE);
        for (typed, status) in [("correct horse", "status=0"), ("", "status=137")] {
            asking.start();
            asking.question();
            asking.terminal.line("y");
            let asks = |screen: &str| {
                screen
                    .trim_end()
                    .ends_with("Passphrase of the policy everything:")
            };
            asking.terminal.wait("the passphrase", asks);
            asking.terminal.line(typed);
            if status == "status=0" {
                asking.terminal.foreground(&["python3"]);
                asking.terminal.line("on");
            }
            let screen = asking.end();
            assert!(screen.contains(status), "{screen}");
        }
    });
}

/// Continues itself by a timer, has itself continued by a child, and waits for another one that shares its memory (`vfork(2)`),
/// which nothing but the end of that ends.
const RESTLESS: &str = r#"
import platform, signal, struct
CONTINUED = struct.pack("QiiQQQQQQ", 0, signal.SIGCONT, 0, 0, 0, 0, 0, 0, 0)
timer = ctypes.c_void_p()
assert libc.timer_create(1, CONTINUED, ctypes.byref(timer)) == 0
assert libc.timer_settime(timer, 0, struct.pack("qqqq", 0, 1000000, 0, 1000000), None) == 0
if os.fork() == 0:
    while True: os.kill(os.getppid(), signal.SIGCONT)
ticks = os.open("out/ticks", os.O_WRONLY | os.O_CREAT)
CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
VFORK = 0x100 | 0x4000 | signal.SIGCHLD
assert libc.syscall(CLONE, VFORK, 0, 0, 0, 0) == 0
open("/etc/passwd").read()
while True: os.write(ticks, b".")
"#;

#[test]
fn nobody_inside_goes_on_by_itself() {
    by_probes(|workspace| {
        if !can_be_held(workspace) {
            return;
        }
        skill(workspace);
        grafted(workspace, RESTLESS);
        let asking = Asking::open(workspace);
        asking.start();
        asking.question();
        let ticks = || {
            let file = fs::metadata(workspace.work().join("out/ticks"));
            file.expect("it has begun").len()
        };
        let before = ticks();
        asking.terminal.line("n");
        let screen = asking.end();
        assert!(screen.contains("status=137"), "{screen}");
        assert_eq!(before, ticks());
    });
}
