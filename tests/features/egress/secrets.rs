//! Secrets that the command never holds: put in on their way out, taken out of what comes back, decided and recorded.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use aegis_tests::audit_log::{holds_up, of_type, place};
use aegis_tests::{EVERYTHING, Workspace, host, program, text};
use serde_json::Value;

use super::tls::Secure;
use super::{printed, with_hosts};

const VALUE: &str = "s3cr3t-Va1ue/with+signs=";

const RULES: &str = "network-egress:
  - {id: web, hosts: [web.test, other.test, localhost], private-addresses: true, verdict: allow}
secrets-boundary:
  - {id: key, alias: key, to: [web.test], inject: [header], verdict: allow}
";

/// Stores a value.
fn set(workspace: &Workspace, alias: &str, value: &str) {
    let mut command = workspace.command(program("aegis"));
    command
        .args(["secrets", "set", alias])
        .stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().expect("aegis starts");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(value.as_bytes()).expect("written");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn init(workspace: &Workspace) {
    let output = workspace
        .command(program("aegis"))
        .args(["secrets", "init"])
        .output();
    let output = output.expect("aegis starts");
    assert!(output.status.success(), "{}", text(&output));
}

fn profile(port: u16, secret: &str) -> String {
    format!(
        "aegis: 1\nname: keys\nextends: [shell, python]\ncapabilities:\n  net.outbound: [\"https://web.test:{port}\", \"https://other.test:{port}\"]\n  shell.exec: [curl, env, grep, cat, ls, find]\n  files.write: [$WORK]\n  secrets.use: {{key: {{to: \"web.test:{port}\", {secret}}}}}\n"
    )
}

/// Runs a script under a policy; the report is beside the workspace.
fn run(workspace: &Workspace, web: &Secure, rules: &str, profile: &str, script: &str) -> Output {
    workspace.policy(&format!("{EVERYTHING}\n{rules}"));
    let profile = workspace.profile(profile);
    let mut command = workspace.command(program("aegis-run"));
    (command.env("SSL_CERT_FILE", &web.authority))
        .arg("--audit")
        .arg(place(workspace))
        .arg("--report")
        .arg(workspace.outside().join("report.json"))
        .arg("--profile")
        .arg(profile)
        .args(["--", "sh", "-c", script]);
    command.output().expect("aegis-run starts")
}

/// Every file below a directory that has these bytes.
fn having(directory: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(having(&path, bytes));
        } else if std::fs::read(&path)
            .is_ok_and(|all| all.windows(bytes.len()).any(|part| part == bytes))
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn the_server_gets_the_value_and_nothing_else_does() {
    with_hosts(|workspace| {
        init(workspace);
        set(workspace, "key", VALUE);
        let web = Secure::new(workspace);
        let port = web.port;
        let script = format!(
            "
env
tr '\\0' '\\n' < /proc/self/environ
for path in echo basic escaped gzip deflate pieces; do curl -sSi --compressed https://web.test:{port}/$path; echo; done
curl -sS -H \"X-Key: $KEY\" https://web.test:{port}/header
curl -sS -u \"me:$KEY\" https://web.test:{port}/user
curl -sS --data \"a conversation about $KEY\" https://web.test:{port}/body
curl -sS https://web.test:{port}/unknown
cat /proc/1/environ /proc/1/cmdline 2>/dev/null
echo \"$KEY\" > kept"
        );
        let secret = "header: \"Authorization: Bearer {}\", env: KEY, like: \"sk-{}\"";
        let output = run(workspace, &web, RULES, &profile(port, secret), &script);
        let said = text(&output);
        // What was sent.
        let asked = web.asked();
        let of = |path: &str| -> Value {
            let found = asked.iter().find(|asked| asked["path"] == path);
            found.unwrap_or_else(|| panic!("{path}: {said}")).clone()
        };
        let bearer = format!("Bearer {VALUE}");
        for path in [
            "/echo", "/basic", "/escaped", "/gzip", "/deflate", "/pieces", "/header", "/body",
        ] {
            assert_eq!(of(path)["headers"]["authorization"], bearer, "{path}");
        }
        assert_eq!(of("/header")["headers"]["X-Key"], VALUE);
        // Bodies are left as they are.
        let placeholder = std::fs::read_to_string(workspace.work().join("kept")).expect("written");
        let placeholder = placeholder.trim();
        assert!(
            placeholder.starts_with("sk-") && placeholder.len() == 39,
            "{placeholder}"
        );
        assert_eq!(
            of("/body")["body"],
            format!("a conversation about {placeholder}")
        );
        // What came back, and all that there is of the run.
        let encoded = data_encoding::BASE64.encode(VALUE.as_bytes());
        for spelling in [
            VALUE,
            &encoded[..20],
            "s3cr3t-Va1ue\\/with",
            "s3cr3t-Va1ue%2Fwith",
        ] {
            assert!(!said.contains(spelling), "{spelling}: {said}");
            for directory in [workspace.work(), workspace.home(), workspace.state()] {
                assert_eq!(
                    having(&directory, spelling.as_bytes()),
                    [""; 0],
                    "{spelling}"
                );
            }
            let report =
                std::fs::read_to_string(workspace.outside().join("report.json")).expect("a report");
            assert!(!report.contains(spelling), "{report}");
        }
        let inner = data_encoding::BASE64.encode(format!("user:{VALUE}:more").as_bytes());
        assert!(!said.contains(&inner[8..32]), "{said}");
        assert!(
            said.matches("X-Told: ************************").count() >= 6,
            "{said}"
        );
        assert!(
            said.contains("secret-code") && said.contains("nobody can look for secrets in it"),
            "{said}"
        );
        // Each use is recorded, with the version alone.
        let log = place(workspace);
        let uses = of_type(&log, "secret.use");
        assert_eq!(uses.len(), asked.len(), "{uses:?}");
        assert!(
            uses.iter()
                .all(|used| used["detail"]["version"].is_string()),
            "{uses:?}"
        );
        assert_eq!(uses[0]["request"]["what"]["inject"], "header");
        holds_up(workspace, &log);
    });
}

#[test]
fn what_stands_for_a_secret_leads_nowhere_else() {
    with_hosts(|workspace| {
        init(workspace);
        set(workspace, "key", VALUE);
        let web = Secure::new(workspace);
        let port = web.port;
        let rules = RULES.replace("[web.test, other.test, localhost]", "[web.test, localhost]").replace(
            "secrets-boundary",
            "  - {id: other, hosts: [other.test], methods: [GET], private-addresses: true, verdict: allow}\nsecrets-boundary",
        );
        let script = format!(
            "
curl -sS -H \"X-Key: $KEY\" https://other.test:{port}/header
curl -sS -u \"$KEY:x\" https://other.test:{port}/basic
curl -sS \"https://other.test:{port}/$KEY\"
curl -sS \"https://web.test:{port}/?k=$KEY\"
curl -sS \"https://web.test:{port}/$KEY\"
curl -sS https://other.test:{port}/plain -o /dev/null -w '%{{http_code}}'"
        );
        let output = run(workspace, &web, &rules, &profile(port, "env: KEY"), &script);
        let said = text(&output);
        assert!(
            said.matches(&format!("is for web.test:{port} alone"))
                .count()
                >= 3,
            "{said}"
        );
        assert!(said.contains("which is put into headers alone"), "{said}");
        assert!(said.contains("which is never put into paths"), "{said}");
        assert!(printed(&output).ends_with("200"), "{said}");
        let paths: Vec<Value> = web
            .asked()
            .iter()
            .map(|asked| asked["path"].clone())
            .collect();
        assert_eq!(paths, ["/plain"], "{said}");
    });
}

#[test]
fn a_secret_in_the_query_takes_the_place_of_what_was_there() {
    with_hosts(|workspace| {
        init(workspace);
        set(workspace, "key", VALUE);
        let web = Secure::new(workspace);
        let port = web.port;
        let rules = RULES.replace("inject: [header]", "inject: [header, query]");
        let script = format!(
            "curl -sS \"https://web.test:{port}/a?x=1&api_key=mine&y=$KEY\" -o /dev/null; curl -sS https://web.test:{port}/b; curl -sS \"https://web.test:{port}/c/$KEY?x=1\""
        );
        let output = run(
            workspace,
            &web,
            &rules,
            &profile(port, "query: api_key, env: KEY"),
            &script,
        );
        let asked = web.asked();
        let encoded = "s3cr3t%2DVa1ue%2Fwith%2Bsigns%3D";
        assert_eq!(
            asked[0]["path"],
            format!("/a?x=1&y={encoded}&api_key={encoded}"),
            "{}",
            text(&output)
        );
        assert_eq!(asked[1]["path"], format!("/b?api_key={encoded}"));
        // The policy decides by the path as it was.
        assert_eq!(asked.len(), 2, "{}", text(&output));
        assert!(
            text(&output).contains("never put into paths"),
            "{}",
            text(&output)
        );
        assert!(!text(&output).contains("Va1ue"), "{}", text(&output));
        // The policy decides on each place.
        let output = run(
            workspace,
            &web,
            RULES,
            &profile(port, "query: api_key"),
            &script,
        );
        assert_eq!(output.status.code(), Some(125), "{}", text(&output));
        assert_eq!(web.asked().len(), 2);
    });
}

#[test]
fn without_a_secret_nothing_is_started_and_no_sandbox_reaches_the_store() {
    with_hosts(|workspace| {
        let web = Secure::new(workspace);
        let port = web.port;
        let secret = "header: \"X-Key: {}\"";
        let output = run(
            workspace,
            &web,
            RULES,
            &profile(port, secret),
            "echo started",
        );
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("the secret key: ") && !printed(&output).contains("started"),
            "{said}"
        );
        init(workspace);
        set(workspace, "other", VALUE);
        let output = run(
            workspace,
            &web,
            RULES,
            &profile(port, secret),
            "echo started",
        );
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("key.age") && !printed(&output).contains("started"),
            "{said}"
        );
        // Whatever a profile asks for.
        let config = workspace
            .work()
            .parent()
            .expect("beside")
            .join("config/aegis");
        for (grant, path) in [
            ("files.read", config.join("secrets.key")),
            ("files.write", config.join("secrets.yaml")),
            (
                "files.read",
                workspace.home().join(".local/share/aegis/secrets"),
            ),
            (
                "files.write",
                workspace
                    .home()
                    .join(".local/share/aegis/secrets/other.age"),
            ),
        ] {
            let text_of = format!(
                "aegis: 1\nname: thief\nextends: [shell]\ncapabilities: {{{grant}: [{:?}]}}\n",
                path.display().to_string()
            );
            let output = run(workspace, &web, RULES, &text_of, "echo started");
            assert_eq!(
                output.status.code(),
                Some(125),
                "{path:?}: {}",
                text(&output)
            );
            assert!(!printed(&output).contains("started"), "{path:?}");
        }
    });
}

#[test]
fn a_new_version_goes_out_with_the_next_request_and_a_removed_one_not_at_all() {
    with_hosts(|workspace| {
        init(workspace);
        set(workspace, "key", VALUE);
        let web = Secure::new(workspace);
        let port = web.port;
        let (asks, goes) = ("asked", "go");
        for name in [asks, goes] {
            let made = std::process::Command::new("mkfifo")
                .arg(workspace.work().join(name))
                .status();
            assert!(made.expect("mkfifo starts").success());
            workspace.own(&workspace.work().join(name));
        }
        let script = format!(
            "
get() {{ curl -sS -o /dev/null -w '%{{http_code}}\\n' https://web.test:{port}/$1; }}
get one; echo > asked; read x < go
get two; echo > asked; read x < go
get three
curl -sS https://web.test:{port}/four"
        );
        let (work, rules) = (workspace.work(), RULES);
        let output = std::thread::scope(|scope| {
            let profile = profile(port, "header: \"X-Key: {}\"");
            let (web, script) = (&web, &script);
            let run = scope.spawn(move || run(workspace, web, rules, &profile, script));
            let turn = |act: &dyn Fn()| {
                std::fs::read(work.join(asks)).expect("it is asked");
                act();
                std::fs::write(work.join(goes), "\n").expect("it goes on");
            };
            turn(&|| set(workspace, "key", "an0ther-value"));
            turn(&|| {
                let mut command = workspace.command(program("aegis"));
                let output = command.args(["secrets", "rm", "key"]).output();
                assert!(output.expect("aegis starts").status.success());
            });
            run.join().expect("it ends")
        });
        let said = text(&output);
        let printed = printed(&output);
        let (codes, told) = printed.split_at(12);
        assert_eq!(codes, "200\n200\n502\n", "{said}");
        // Not where it was looked for.
        assert!(told.contains("the secret key cannot be had"), "{said}");
        assert!(
            !told.contains("age store") && !told.contains("/secrets"),
            "{said}"
        );
        let keys: Vec<Value> = web
            .asked()
            .iter()
            .map(|asked| asked["headers"]["x-key"].clone())
            .collect();
        assert_eq!(keys, [VALUE, "an0ther-value"], "{said}");
        let uses = of_type(&place(workspace), "secret.use");
        assert_ne!(uses[0]["detail"]["version"], uses[1]["detail"]["version"]);
    });
}

#[test]
fn a_supervisor_that_is_killed_leaves_nobody_who_gives_secrets() {
    with_hosts(|workspace| {
        init(workspace);
        set(workspace, "key", VALUE);
        workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
        let profile = workspace.profile(&profile(443, "env: KEY"));
        let mut command = workspace.aegis(&profile, &["sh", "-c", "echo up; read -r line"]);
        let mut run = host::started(&mut command, "up");
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.id()));
        let children = children.expect("it runs");
        let named = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "aegis-secrets")
        };
        let provider = children.split_whitespace().find(named).expect("a provider");
        run.kill().expect("it runs");
        run.wait().expect("it ends");
        host::eventually("the provider", || {
            let stat = std::fs::read_to_string(format!("/proc/{provider}/stat"));
            let is_left = |stat: &String| !stat.contains(") Z");
            stat.ok().filter(is_left).into_iter().collect::<Vec<_>>()
        });
    });
}
