//! What becomes of what is out of the ordinary: as the policy says, as a person says, and where there is no baseline.

use std::fs;
use std::process::Output;

use aegis_tests::terminal::{OUTER, Terminal};
use aegis_tests::{EVERYTHING, program, repository, text};
use serde_json::Value;

use super::{READ_PASSWD, anomalies, by_probes, grafted, learn, reported, run, skill};
use crate::observation::{follow, observed};

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

/// Everything inside stands still until a person has answered: nothing that comes after it is done.
#[test]
fn a_person_says_whether_it_may_go_on() {
    by_probes(|workspace| {
        skill(workspace);
        let code = "open('/etc/passwd').read(); print('got ' + input(), flush=True)";
        grafted(workspace, code);
        let asks = EVERYTHING.replace(
            "capabilities:\n",
            "capabilities:\n  - {id: odd, on: anomaly, match: read, verdict: review}\n  - {id: others, on: anomaly, match: \"*\", verdict: allow}\n",
        );
        let asks = workspace.policy(&asks).display().to_string();
        let run = program("aegis-run").display().to_string();
        let line = format!(
            "{run} --observe --profile wide.yaml --policy {asks} -- python3 skill.py; echo status=$?"
        );
        let terminal = Terminal::open(workspace, OUTER);
        terminal.prompt("outer>", 1);
        terminal.line(&line);
        let asked = |screen: &str| screen.trim_end().ends_with("Allow it? [y/a/N]");
        let screen = terminal.wait("the question", asked);
        assert!(screen.contains("anomaly read: /etc/passwd"), "{screen}");
        terminal.line("y");
        terminal.foreground(&["python3"]);
        terminal.line("on");
        let screen = terminal.wait("the end", |screen| {
            screen.contains("status=0") || screen.contains("status=1")
        });
        assert!(
            screen.contains("got on") && screen.contains("status=0"),
            "{screen}"
        );
        terminal.line(&format!("clear; {line}"));
        terminal.wait("the question", asked);
        terminal.line("n");
        let screen = terminal.wait("the end", |screen| {
            screen.contains("status=0") || screen.contains("status=1")
        });
        assert!(screen.contains("status=137"), "{screen}");
    });
}
