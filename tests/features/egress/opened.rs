//! TLS that is opened, because a policy tells requests apart: programs trust the run's own authority, and each request is decided.

use std::process::Output;

use aegis_tests::audit_log::{holds_up, of_type, place, records};
use aegis_tests::{EVERYTHING, Workspace, program, text};
use serde_json::Value;

use super::tls::Secure;
use super::{printed, with_hosts};

/// One host whose requests are told apart, and another whose are not.
const RULES: &str = "network-egress:
  - {id: get, hosts: [web.test], methods: [GET], private-addresses: true, verdict: allow}
  - {id: other, hosts: [other.test, localhost], private-addresses: true, verdict: allow}
";

fn run(workspace: &Workspace, web: &Secure, rules: &str, profile: &str, script: &str) -> Output {
    workspace.policy(&format!("{EVERYTHING}\n{rules}"));
    let profile = workspace.profile(profile);
    let mut command = workspace.command(program("aegis-run"));
    (command.env("SSL_CERT_FILE", &web.authority))
        .arg("--audit")
        .arg(place(workspace))
        .arg("--profile")
        .arg(profile)
        .args(["--", "sh", "-c", script]);
    command.output().expect("aegis-run starts")
}

fn profile(port: u16) -> String {
    format!(
        "aegis: 1\nname: opened\nextends: [shell, python]\ncapabilities: {{net.outbound: [\"https://web.test:{port}\", \"https://other.test:{port}\"], shell.exec: [curl, openssl, env]}}\n"
    )
}

#[test]
fn requests_over_tls_are_told_apart_and_programs_trust_who_opens_it() {
    with_hosts(|workspace| {
        let web = Secure::new(workspace);
        let port = web.port;
        let script = format!(
            "
curl -sS -w '%{{http_code}} ' -o /dev/null -o /dev/null https://web.test:{port}/one https://web.test:{port}/two
curl -sS -d a=b https://web.test:{port}/three
env -i /usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://web.test:{port}/four\").status)'
env -i openssl s_client -connect web.test:{port} -servername web.test -verify_return_error -brief </dev/null 2>&1 | tail -n 30
curl -sS https://nowhere.test/"
        );
        let output = run(workspace, &web, RULES, &profile(port), &script);
        let said = text(&output);
        assert!(
            printed(&output).starts_with("200 200 {\"error\":\"refused by the sandbox\""),
            "{said}"
        );
        assert!(said.contains("\n200\n"), "{said}");
        assert!(said.contains("Verification: OK"), "{said}");
        assert!(
            said.contains("the profile does not ask for https://nowhere.test"),
            "{said}"
        );
        let paths: Vec<Value> = web
            .asked()
            .iter()
            .map(|asked| asked["path"].clone())
            .collect();
        assert_eq!(paths, ["/one", "/two", "/four"], "{said}");
        let log = place(workspace);
        let records = of_type(&log, "net.req");
        let told: Vec<(Value, Value)> = records
            .iter()
            .map(|record| &record["request"]["what"])
            .filter(|what| what["host"] == "web.test" && !what["method"].is_null())
            .map(|what| (what["method"].clone(), what["path"].clone()))
            .collect();
        for (method, path) in [
            ("GET", "/one"),
            ("GET", "/two"),
            ("POST", "/three"),
            ("GET", "/four"),
        ] {
            let known = told.contains(&(method.into(), path.into()));
            assert!(known, "{method} {path}: {told:?}");
        }
        holds_up(workspace, &log);
    });
}

#[test]
fn a_plan_says_whose_tls_is_opened_and_why() {
    with_hosts(|workspace| {
        workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
        let profile = workspace.profile(&profile(443));
        let explained = |words: &[&str]| {
            let mut command = workspace.command(program("aegis-run"));
            command
                .args(words)
                .arg("--profile")
                .arg(&profile)
                .args(["--", "true"]);
            let output = command.output().expect("aegis-run starts");
            assert!(output.status.success(), "{}", text(&output));
            printed(&output)
        };
        let plan = explained(&["--explain"]);
        assert!(
            plan.contains("look into TLS to web.test:443, for rules about requests (get)"),
            "{plan}"
        );
        assert!(
            plan.contains("what is said over TLS to others is not looked into"),
            "{plan}"
        );
        let plan: Value = serde_json::from_str(&explained(&["--explain=json"])).expect("JSON");
        let opened = &plan["plan"]["opened"];
        assert_eq!(opened.as_array().map(Vec::len), Some(1), "{opened}");
        assert_eq!(
            (&opened[0]["host"], &opened[0]["rules"][0]),
            (&"web.test".into(), &"get".into())
        );
    });
}

#[test]
fn a_server_that_the_host_does_not_trust_is_not_spoken_to() {
    with_hosts(|workspace| {
        let web = Secure::new(workspace);
        let port = web.port;
        workspace.policy(&format!("{EVERYTHING}\n{RULES}"));
        let profile = workspace.profile(&profile(port));
        // Whom the host trusts has not signed it.
        let mut command = workspace.aegis(
            &profile,
            &["curl", "-sS", &format!("https://web.test:{port}/")],
        );
        let output = command.output().expect("aegis-run starts");
        let said = text(&output);
        assert!(
            printed(&output).contains("invalid peer certificate"),
            "{said}"
        );
        assert!(web.asked().is_empty(), "{said}");
        // What the caller names has to be there.
        let none = workspace.outside().join("none.pem");
        let output = command
            .env("SSL_CERT_FILE", &none)
            .output()
            .expect("aegis-run starts");
        let said = text(&output);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(
            said.contains("SSL_CERT_FILE: ") && said.contains("none.pem"),
            "{said}"
        );
    });
}

#[test]
fn a_program_with_roots_of_its_own_is_told_of_and_what_passes_is_not_signed_by_the_run() {
    with_hosts(|workspace| {
        let web = Secure::new(workspace);
        let port = web.port;
        let script = format!(
            "
curl -sS --cacert /etc/ssl/certs/ISRG_Root_X1.pem --capath /nowhere https://web.test:{port}/ || echo pinned
for host in web.test other.test; do
  echo | openssl s_client -connect $host:{port} -servername $host -showcerts 2>/dev/null | openssl x509 -noout -issuer
done
openssl x509 -noout -text -in /etc/ssl/certs/aegis-authority.pem"
        );
        let output = run(workspace, &web, RULES, &profile(port), &script);
        let said = text(&output);
        assert!(printed(&output).contains("pinned\n"), "{said}");
        let recorded = Value::from(records(&place(workspace))).to_string();
        let why = "does not accept the certificate of this run's authority";
        assert!(recorded.contains(why), "{recorded}");
        assert!(
            said.contains("issuer=CN = Aegis\nissuer=CN = company\n"),
            "{said}"
        );
        // The authority is good for nothing where TLS passes through.
        let constraints = said
            .split("Name Constraints: critical")
            .nth(1)
            .unwrap_or_default();
        assert!(
            constraints.contains("DNS:other.test") && !constraints.contains("DNS:web.test"),
            "{said}"
        );
        // Nobody inside has its key, nor can they change whom they trust.
        assert!(!said.contains("PRIVATE KEY"), "{said}");
        let output = run(
            workspace,
            &web,
            RULES,
            &profile(port),
            "echo x >> /etc/ssl/certs/ca-certificates.crt; echo x > /etc/ssl/certs/new.pem; echo x > /etc/ssl/certs/aegis-authority.pem",
        );
        assert_eq!(
            text(&output)
                .matches("cannot create /etc/ssl/certs/")
                .count(),
            3,
            "{}",
            text(&output)
        );
    });
}
