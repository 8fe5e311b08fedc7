//! What a policy blocks, and asks to be refused instead of killed: by the kernel where it can, else it is killed, and that is said.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Output;

use aegis_tests::audit_log::{holds_up, of_type, place};
use aegis_tests::{EVERYTHING, Workspace, program, text};
use serde_json::Value;

use super::{baseline, by_probes, grafted, reported, run, skill};

/// Without private sockets: what these connect, the supervisor does.
const ITS_OWN: &str = "capabilities: {files.write: [$WORK]}\nsyscalls: {allow: [socket]}\n";

/// A learnt skill under a profile that grants it more.
fn open_skill(workspace: &Workspace, granted: &str) {
    skill(workspace);
    let baseline = baseline(workspace);
    let head = "aegis: 1\nname: open\nextends: [python, shell]";
    workspace.write("work/open.yaml", format!("{head}\n{baseline}\n{granted}"));
}

/// Runs the skill with this grafted onto it, where what it executes and reaches beyond is to be refused.
fn refusing(workspace: &Workspace, code: &str) -> Output {
    blocking(workspace, code, "refuse")
}

/// The same, with what becomes of it.
fn blocking(workspace: &Workspace, code: &str, what: &str) -> Output {
    let rules = "capabilities:\n  - {id: reached, on: anomaly, match: [connect, exec], verdict: block}\n  - {id: others, on: anomaly, match: \"*\", verdict: allow}\n";
    let policy = EVERYTHING.replace("capabilities:\n", rules);
    let policy = format!("{policy}\nblocked-anomaly: {what}\n");
    let policy = workspace.policy(&policy).display().to_string();
    grafted(workspace, code);
    let output = run(workspace, "open.yaml", &policy, &["python3", "skill.py"]).output();
    output.expect("aegis-run starts")
}

/// In every way in which a program does something.
fn from_everywhere(act: &str) -> [String; 3] {
    [
        format!("{act}\nprint('WENT ON')"),
        format!(
            "def act():\n    {act}\nt = threading.Thread(target=act); t.start(); t.join()\nprint('WENT ON')"
        ),
        format!(
            "if os.fork() == 0:\n    {act}\n    sys.stdout.flush(); os._exit(0)\nos.wait()\nprint('WENT ON')"
        ),
    ]
}

/// The reactions to what is of this kind, each with what the policy wanted instead.
fn reactions(report: &Value, kind: &str) -> Vec<(String, Value)> {
    let list = report["anomalies"].as_array().expect("a list").iter();
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    list.filter(|anomaly| anomaly["what"]["kind"] == kind)
        .map(|anomaly| (word(&anomaly["reaction"]), anomaly["instead_of"].clone()))
        .collect()
}

/// Each is recorded as what was done, and decided again.
fn is_recorded(workspace: &Workspace, kind: &str, reaction: &str, instead_of: &Value) {
    let records = of_type(&place(workspace), "anomaly");
    let of_kind = |record: &&Value| record["request"]["what"]["kind"] == kind;
    let last = records.iter().rfind(of_kind).expect("a record");
    assert_eq!(last["detail"]["reaction"], reaction);
    assert_eq!(&last["detail"]["instead-of"], instead_of);
    holds_up(workspace, &place(workspace));
}

/// Whether this kernel has BPF LSM, as `aegis doctor` finds out.
fn has_lsm(workspace: &Workspace) -> bool {
    let doctor = workspace
        .command(program("aegis"))
        .args(["doctor", "--json"])
        .output();
    let doctor: Value =
        serde_json::from_slice(&doctor.expect("aegis starts").stdout).expect("JSON");
    match doctor["observing"]["tier"].as_str() {
        Some("bpf-lsm") => true,
        Some("bpf") => false,
        _ => panic!("{doctor}"),
    }
}

/// Hooks of control groups refuse addresses on every kernel.
#[test]
fn an_address_is_refused_and_the_command_goes_on() {
    by_probes(|workspace| {
        open_skill(workspace, ITS_OWN);
        for act in [
            "tried(socket.socket().connect, ('127.0.0.1', 80))",
            "tried(socket.socket(socket.AF_INET6).connect, ('::ffff:127.0.0.1', 80))",
            "tried(socket.socket(type=socket.SOCK_DGRAM).sendto, b'x', ('127.0.0.1', 80))",
        ] {
            for code in from_everywhere(act) {
                let output = refusing(workspace, &code);
                let said = text(&output);
                assert_eq!(output.status.code(), Some(0), "{code}: {said}");
                assert!(
                    said.contains("[Errno 1] Operation not permitted"),
                    "{code}: {said}"
                );
                assert!(said.contains("WENT ON"), "{code}: {said}");
                let report = reported(workspace);
                let refused = [("refused".to_owned(), Value::Null)];
                assert_eq!(reactions(&report, "connect"), refused, "{code}: {said}");
                // It is no denial of the sandbox's.
                assert_eq!(reactions(&report, "denied"), [], "{code}: {said}");
                assert_eq!(report["cause"]["exited"], Value::Null);
            }
        }
        is_recorded(workspace, "connect", "refused", &Value::Null);
    });
}

/// The hook refuses what is killed, too: that is nothing that the sandbox has refused.
#[test]
fn an_address_that_is_killed_for_is_no_denial() {
    by_probes(|workspace| {
        open_skill(workspace, ITS_OWN);
        let code = "tried(socket.socket().connect, ('127.0.0.1', 80))";
        let output = blocking(workspace, code, "kill");
        assert_eq!(output.status.code(), Some(137), "{}", text(&output));
        let report = reported(workspace);
        assert_eq!(reactions(&report, "connect").len(), 1, "{report}");
        assert_eq!(reactions(&report, "denied"), [], "{report}");
    });
}

/// Only BPF LSM refuses a program; without it, it is killed before it has run.
#[test]
fn a_program_is_refused_where_there_is_bpf_lsm_and_killed_where_there_is_none() {
    by_probes(|workspace| {
        open_skill(workspace, ITS_OWN);
        let has_lsm = has_lsm(workspace);
        let (status, reaction, instead_of) = match has_lsm {
            true => (0, "refused", Value::Null),
            false => (137, "killed", "refused".into()),
        };
        for code in from_everywhere("tried(os.execv, '/bin/sh', ['sh', '-c', 'echo EXECUTED'])") {
            let output = refusing(workspace, &code);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(status), "{code}: {said}");
            assert!(!said.contains("EXECUTED"), "{code}: {said}");
            // Without, another process may still say so before it is killed as well.
            assert!(!has_lsm || said.contains("WENT ON"), "{code}: {said}");
            let report = reported(workspace);
            // By the name that was asked for, and by its own.
            let done = reactions(&report, "exec");
            let wanted = (reaction.to_owned(), instead_of.clone());
            assert_eq!(done, [wanted.clone(), wanted], "{code}: {said}");
            assert_eq!(reactions(&report, "denied"), [], "{code}: {said}");
            if !has_lsm {
                assert!(
                    said.contains("killed, since it could not be refused here"),
                    "{said}"
                );
            }
        }
        is_recorded(workspace, "exec", reaction, &instead_of);
    });
}

/// With private sockets the supervisor connects, in the host's network, and no hook looks at that.
#[test]
fn what_the_supervisor_is_to_connect_beyond_the_baseline_is_not_connected() {
    by_probes(|workspace| {
        let granted =
            "capabilities: {files.write: [$WORK], net.outbound: host, sockets: private}\n";
        open_skill(workspace, granted);
        let service = TcpListener::bind("127.0.0.1:0").expect("a port");
        service.set_nonblocking(true).expect("a socket");
        let address = service.local_addr().expect("it has one");
        let port = address.port();
        for code in from_everywhere(&format!(
            "tried(socket.socket().connect, ('127.0.0.1', {port}))"
        )) {
            let output = refusing(workspace, &code);
            let said = text(&output);
            assert_eq!(output.status.code(), Some(137), "{code}: {said}");
            let came = service.accept().expect_err("nobody comes");
            assert_eq!(came.kind(), ErrorKind::WouldBlock);
            let report = reported(workspace);
            let of = |anomaly: &Value| anomaly["what"]["of"].as_str().map(str::to_owned);
            let list = report["anomalies"].as_array().expect("a list");
            let is_it = |of: String| of.contains(&address.to_string());
            assert!(list.iter().filter_map(of).any(is_it), "{code}: {list:?}");
        }
    });
}
