//! `aegis profile export`: what it writes for bubblewrap holds a command as `aegis-run` does, and what it refuses to write.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use aegis_tests::{USERS, Workspace, program, text};

/// Tries what the profile grants and what it does not, and says how each went.
const SCRIPT: &str = r#"
import ctypes, os, socket, sys
data, out, undeclared = sys.argv[1:]
def attempt(name, action):
    try: said = action()
    except OSError as error: said = type(error).__name__
    print(name, said)
def connect():
    with socket.create_server(("127.0.0.1", 0)) as server: socket.create_connection(server.getsockname())
    return "loopback"
attempt("declared", lambda: open(data + "/in.txt").read())
attempt("denied", lambda: open(data + "/key").read() or "nothing")
attempt("undeclared", lambda: open(undeclared).read())
attempt("host", lambda: open("/etc/hostname").read())
attempt("write", lambda: open(out + "/made", "w").write("x"))
attempt("read-only", lambda: open(data + "/new", "w"))
attempt("root", lambda: open("/new", "w"))
attempt("tmp", lambda: open("/tmp/new", "w").write("x"))
attempt("interfaces", socket.if_nameindex)
attempt("network", connect)
attempt("user", lambda: (os.getuid(), os.getgid()))
attempt("name", socket.gethostname)
attempt("process", os.getpid)
attempt("capabilities", lambda: [line for line in open("/proc/self/status") if line.startswith("CapEff")])
attempt("environment", lambda: sorted((name, value) for name, value in os.environ.items() if name not in ("PWD", "LC_CTYPE")))
if "filtered" in os.environ: attempt("namespace", lambda: (ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes.get_errno()))
"#;

/// A skill in a workspace, whose files have names that a shell would act upon.
struct Skill {
    workspace: Workspace,
    words: Vec<String>,
}

impl Skill {
    fn new(user: aegis_tests::User) -> Self {
        let workspace = Workspace::new(user);
        let data = "work/it's $(touch ran) `touch ran` \"x\" %i; touch ran #";
        workspace.write(&format!("{data}/in.txt"), "declared");
        workspace.write(&format!("{data}/key"), "a key");
        workspace.write("work/undeclared", "undeclared");
        workspace.write("work/out/there", "");
        // Root's script becomes another user, who has only what everybody has.
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(workspace.work().join("out"), everybody).expect("chmod");
        let data = data.trim_start_matches("work/").replace('"', "\\\"");
        let profile = format!(
            "aegis: 1\nextends: [python]\ncapabilities:\n  files.read: [\"$WORK/{data}\"]\n  files.write: [$WORK/out]\n  \
             files.deny: [\"$WORK/{data}/key\"]\nenvironment: {{pass: [PASSED, UNSET, filtered], set: {{SET: \"a '$(touch ran)' b\"}}}}\n"
        );
        workspace.profile(&profile);
        let work = workspace.work().canonicalize().expect("the workspace");
        let of_work = |name: &str| work.join(name).to_str().expect("UTF-8").to_owned();
        let data = data.replace("\\\"", "\"");
        let words = ["python3", "-c", SCRIPT].map(str::to_owned).into_iter();
        let words = words.chain([of_work(&data), of_work("out"), of_work("undeclared")]);
        Self {
            words: words.collect(),
            workspace,
        }
    }

    /// `aegis profile export OPTIONS -- COMMAND`.
    fn export(&self, options: &[&str]) -> Output {
        let mut command = self.workspace.command(program("aegis"));
        command
            .args(["profile", "export"])
            .args(options)
            .arg("../profile.yaml");
        command.arg("--").args(&self.words);
        command.output().expect("aegis starts")
    }

    fn said(&self, mut command: Command, filtered: bool) -> String {
        command.env("PASSED", "as it is: $HOME 'x'\n\"y\"");
        if filtered {
            command.env("filtered", "1");
        }
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

#[test]
fn what_is_written_for_bubblewrap_holds_a_command_as_aegis_run_does() {
    for user in USERS {
        for filtered in [false, true] {
            let skill = Skill::new(user);
            let mut options = vec!["--format", "bwrap", "--output", "run.sh"];
            if filtered {
                options.extend(["--seccomp", "filter.bpf"]);
            }
            let output = skill.export(&options);
            assert!(output.status.success(), "{}", text(&output));
            let words: Vec<&str> = skill.words.iter().map(String::as_str).collect();
            let expected = skill.said(
                skill.workspace.aegis(Path::new("../profile.yaml"), &words),
                filtered,
            );
            // It is root's now, and the script another user.
            std::fs::remove_file(skill.workspace.work().join("out/made")).expect("a file");
            let mut script = skill.workspace.command("sh");
            script.arg("run.sh");
            let said = skill.said(script, filtered);
            for said in [&said, &expected] {
                for line in [
                    "declared declared\n",
                    "undeclared FileNotFoundError\n",
                    "host FileNotFoundError\n",
                    "write 1\n",
                    "read-only OSError\n",
                    "interfaces [(1, 'lo')]\n",
                    "network loopback\n",
                ] {
                    assert!(said.contains(line), "{user:?}: no {line} in {said}");
                }
                assert!(!said.contains("a key"), "{user:?}: {said}");
                assert!(
                    !filtered || said.contains("namespace (-1, 1)"),
                    "{user:?}: {said}"
                );
            }
            // What hides a file, and the first process, differ.
            let alike = |said: &str| -> Vec<String> {
                let lines = said
                    .lines()
                    .filter(|line| !line.starts_with("denied ") && !line.starts_with("process "));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(alike(&said), alike(&expected), "{user:?}");
            assert!(
                !skill.workspace.work().join("ran").exists(),
                "{user:?}: a name was run"
            );
            assert!(skill.workspace.work().join("out/made").exists(), "{user:?}");
        }
    }
}

#[test]
fn what_a_format_cannot_express_is_told_and_is_in_the_json() {
    for user in USERS {
        let skill = Skill::new(user);
        for format in ["oci-seccomp", "apparmor", "bwrap"] {
            let output = skill.export(&["--format", format]);
            assert!(output.status.success(), "{}", text(&output));
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let json = skill.export(&["--format", format, "--json"]);
            assert_eq!(String::from_utf8_lossy(&json.stderr), "");
            let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
            let losses = json["losses"].as_array().expect("a list");
            assert!(!losses.is_empty());
            for loss in losses {
                let [effect, key, what] =
                    ["effect", "key", "what"].map(|part| loss[part].as_str().expect("text"));
                assert!(
                    told.contains(&format!("  {effect}: {key}: {what}\n")),
                    "{format}: {loss}: {told}"
                );
            }
            assert_eq!(json["format"], format);
            assert_eq!(
                json["text"].as_str().expect("text").as_bytes(),
                output.stdout,
                "{format}"
            );
        }
        // A name that systemd would lose the quotes of.
        let output = skill.export(&["--format", "systemd"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), &*output.stdout),
            (Some(1), &b""[..]),
            "{told}"
        );
        assert!(
            told.contains("cannot be written for systemd") && told.contains("help:"),
            "{told}"
        );
    }
}

#[test]
fn hosts_by_name_are_told_as_lost_and_the_network_is_closed() {
    for user in USERS {
        let skill = Skill::new(user);
        let named = "capabilities.net.outbound=[\"https://example.org\"]";
        for (format, closed) in [
            ("oci-seccomp", ""),
            ("apparmor", ""),
            ("bwrap", "--unshare-net"),
        ] {
            let output =
                skill.export(&["--policy", "permissive", "--format", format, "--set", named]);
            assert!(output.status.success(), "{}", text(&output));
            let told = String::from_utf8_lossy(&output.stderr);
            let lost = "narrower: capabilities.net.outbound: hosts by name need the egress broker";
            assert!(told.contains(lost), "{user:?}: {format}: {told}");
            let written = String::from_utf8_lossy(&output.stdout);
            assert!(written.contains(closed), "{user:?}: {format}: {written}");
        }
    }
}

#[test]
fn a_profile_that_could_not_be_run_is_not_exported() {
    for user in USERS {
        let skill = Skill::new(user);
        let refused = |skill: &Skill, options: &[&str], why: &str| {
            let output =
                skill.export(&[&["--format", "oci-seccomp", "-o", "file"], options].concat());
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{user:?}: {told}");
            assert!(told.contains(why), "{user:?}: {told}");
            assert!(!skill.workspace.work().join("file").exists(), "{user:?}");
        };
        refused(
            &skill,
            &["--set", "capabilities.files.read=[/no/such/file]"],
            "/no/such/file does not exist",
        );
        refused(&skill, &["--set", "capabilities.no=1"], "unknown key");
        let shadow = [
            "--policy",
            "standard",
            "--set",
            "capabilities.files.read=[/etc/shadow]",
        ];
        refused(&skill, &shadow, "the policy standard blocks this run");
        refused(
            &skill,
            &["--seccomp", "filter.bpf"],
            "--seccomp is for --format bwrap",
        );
        assert!(!skill.workspace.work().join("filter.bpf").exists());
    }
}

#[test]
fn that_a_person_would_be_asked_is_told() {
    let skill = Skill::new(aegis_tests::User::Ordinary);
    for (policy, asks) in [("strict", true), ("permissive", false)] {
        let output = skill.export(&["--format", "apparmor", "--policy", policy]);
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let warned = said.contains(&format!(
            "the policy {policy} wants a person to review each run"
        ));
        assert_eq!(warned, asks, "{said}");
    }
}

#[test]
fn an_export_takes_the_place_of_a_file_and_of_nothing_else() {
    for user in USERS {
        let skill = Skill::new(user);
        let work = skill.workspace.work();
        skill.workspace.write("work/old", "old");
        std::os::unix::fs::symlink("old", work.join("link")).expect("a link");
        let null = std::fs::metadata("/dev/null").expect("a device");
        assert!(null.file_type().is_char_device());
        for place in ["link", "out", "/dev/null"] {
            let output = skill.export(&["--format", "apparmor", "-o", place]);
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                told.contains("is not a regular file") && output.status.code() == Some(1),
                "{told}"
            );
        }
        assert_eq!(
            std::fs::read_to_string(work.join("old")).expect("a file"),
            "old"
        );
        let refused = skill.export(&["--format", "apparmor", "-o", "old"]);
        assert!(
            text(&refused).contains("--force replaces it") && refused.status.code() == Some(1),
            "{}",
            text(&refused)
        );
        let output = skill.export(&["--format", "apparmor", "-o", "old", "--force"]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            std::fs::read_to_string(work.join("old"))
                .expect("a file")
                .contains("profile aegis.profile {")
        );
    }
}
