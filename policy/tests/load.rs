//! From a text to a policy: its meaning, what is refused, and the messages.

use aegis_policy::load::{UNNAMED, parse_str};
use aegis_policy::model::{
    Action, Budget, Document, Documents, OnAuditFailure, OnBlockedAnomaly, Verdict,
};
use aegis_policy::templates;

/// The example of the design, verbatim.
const WORKSHOP: &str = r#"aegis-policy: 1
name: workshop
capabilities:
  - {id: work,  on: files.read, match: ["$WORK/**", "/usr/**"], verdict: allow}
  - {id: keys,  on: [files.read, files.write], match: ["$HOME/.ssh/**"], verdict: block, reason: keys stay out}
  - {id: tools, on: shell.exec, match: [git, "python3*"], verdict: allow}
network-egress:
  - {id: github, hosts: [api.github.com, "*.githubusercontent.com"], ports: [443], methods: [GET], verdict: allow}
  - {id: posts,  hosts: [api.github.com], methods: [POST], verdict: review}
secrets-boundary:
  - {id: gh, alias: github, to: api.github.com, inject: header, verdict: allow}
limits: {memory: 2G, time: 30m, pids: 512}     # ceilings for every profile
may-be-missing: []                             # layers that a host may lack, by name
rego: [extra.rego]
"#;

/// The refusal of a text: line and column of the first mistake, and the whole message.
fn refused(text: &str) -> (u32, u32, String) {
    let error = match parse_str(text, "policy.yaml") {
        Err(error) => error,
        Ok(document) => panic!("{text}\n{document:#?}"),
    };
    let first = &error.diagnostics()[0].origin;
    (first.line, first.column, error.render(false))
}

fn rule(line: &str) -> String {
    format!("aegis-policy: 1\ncapabilities:\n  - {line}\n")
}

#[test]
fn the_example_of_the_design_means_what_it_says() {
    let document = parse_str(WORKSHOP, "workshop.yaml").unwrap();
    assert_eq!(document.name, "workshop");
    let keys = &document.capabilities[1];
    assert_eq!(keys.on, [Action::FilesRead, Action::FilesWrite].into());
    assert_eq!(keys.reason.as_deref(), Some("keys stay out"));
    assert_eq!(document.network_egress[0].ports, [443].into());
    assert_eq!(document.secrets_boundary[0].verdict, Verdict::Allow);
    let limits: Vec<_> = document
        .limits
        .iter()
        .map(|(key, n)| (key.as_str(), *n))
        .collect();
    assert_eq!(
        limits,
        [("memory", 2 << 30), ("pids", 512), ("time", 1_800_000)]
    );
    assert_eq!(document.rego[0].name, "extra.rego");
    assert_eq!(document.audit_failure, OnAuditFailure::Stop);
    assert_eq!(document.blocked_anomaly, OnBlockedAnomaly::Kill);
}

/// The strictest setting of any document: one that says nothing has them killed, and stopped.
#[test]
fn what_is_milder_than_the_default_takes_all_documents() {
    let mild = "aegis-policy: 1\nblocked-anomaly: refuse\naudit-failure: continue\n";
    let of = |texts: &[&str]| {
        let documents = texts.iter().map(|text| parse_str(text, "p").unwrap());
        let documents = Documents::new(documents.collect());
        (documents.on_blocked_anomaly(), documents.on_audit_failure())
    };
    let milder = (OnBlockedAnomaly::Refuse, OnAuditFailure::Continue);
    let default = (OnBlockedAnomaly::Kill, OnAuditFailure::Stop);
    assert_eq!(of(&[mild, mild]), milder);
    assert_eq!(of(&[mild, "aegis-policy: 1\n"]), default);
    assert_eq!(of(&["aegis-policy: 1\n", mild]), default);
    assert_eq!(of(&[]), default);
}

#[test]
fn one_thing_needs_no_list_and_ports_no_quotes() {
    let text = "aegis-policy: 1\naudit-failure: continue\nblocked-anomaly: refuse\ncapabilities:\n  \
                - {id: web, on: net.listen, match: [8080, 9000-9099], verdict: allow}\n  \
                - {id: env, on: environment.pass, match: LANG, verdict: warn, mode: warn, otherwise: true}\n\
                network-egress:\n  - {id: api, hosts: \"2001:db8::1\", schemes: https, ports: 443, methods: GET, \
                paths: /v1/**, private-addresses: true, verdict: allow,\n     \
                budget: {requests: 60/m, request-size: 1M, response-size: 10M}}\n";
    let document = parse_str(text, "p.yaml").unwrap();
    let web = &document.capabilities[0];
    assert_eq!(
        web.matches,
        ["8080".to_owned(), "9000-9099".to_owned()].into()
    );
    assert!(document.capabilities[1].otherwise);
    let api = &document.network_egress[0];
    assert!(api.private_addresses);
    let budget = Budget {
        request_size: Some(1 << 20),
        requests_per_minute: Some(60),
        response_size: Some(10 << 20),
    };
    assert_eq!(api.budget, budget);
    assert_eq!(document.audit_failure, OnAuditFailure::Continue);
    assert_eq!(document.blocked_anomaly, OnBlockedAnomaly::Refuse);
    assert_eq!(document.name, UNNAMED, "where it gives none");
}

#[test]
fn every_mistake_is_told_with_its_place_and_fix() {
    for (line, column, words) in [
        (
            "{id: a, on: files.read, match: $WORK/**}",
            5,
            "the key `verdict` is missing",
        ),
        (
            "{on: files.read, match: $WORK/**, verdict: allow}",
            5,
            "the key `id` is missing",
        ),
        (
            "{id: a, match: $WORK/**, verdict: allow}",
            5,
            "the key `on` is missing",
        ),
        (
            "{id: a, on: files.read, verdict: allow}",
            5,
            "the key `match` is missing",
        ),
        (
            "{id: a, on: files.raed, match: $WORK/**, verdict: allow}",
            17,
            "did you mean `files.read`?",
        ),
        (
            "{id: a, on: files.read, match: $WORK/**, verdict: alow}",
            55,
            "did you mean `allow`?",
        ),
        (
            "{id: a, on: files.read, match: [], verdict: allow}",
            36,
            "`match` is an empty list",
        ),
        (
            "{id: a, on: [], match: $WORK/**, verdict: allow}",
            17,
            "`on` is an empty list",
        ),
        (
            "{id: a, on: files.read, mach: $WORK/**, verdict: allow}",
            29,
            "did you mean `match`?",
        ),
        (
            "{id: a, on: files.read, match: [/a, work/**], verdict: allow}",
            41,
            "begins with `/` or a variable",
        ),
        (
            "{id: a, on: files.read, match: $WROK/**, verdict: allow}",
            36,
            "unknown variable `$WROK`",
        ),
        (
            "{id: a, on: files.read, match: /a/../b, verdict: allow}",
            36,
            "`..` in a pattern",
        ),
        (
            "{id: a, on: files.read, match: /a?, verdict: allow}",
            36,
            "`?` in a pattern",
        ),
        (
            "{id: a, on: net.listen, match: [80, 70000], verdict: allow}",
            41,
            "`70000` is not a port",
        ),
        (
            "{id: a, on: net.host, match: all, verdict: allow}",
            34,
            "write `match: [host]`",
        ),
        (
            "{id: a, on: devices, match: true, verdict: allow}",
            33,
            "quote it if you mean the text",
        ),
        (
            "{id: A b, on: devices, match: gpu, verdict: allow}",
            10,
            "invalid rule id",
        ),
        (
            "{id: a, on: devices, match: gpu, verdict: allow, otherwise: yes}",
            65,
            "otherwise",
        ),
        (
            "{id: a, on: devices, match: gpu, verdict: allow, mode: wrn}",
            60,
            "did you mean `warn`?",
        ),
        (
            "{id: a, id: b, on: devices, match: gpu, verdict: allow}",
            13,
            "the key `id` is given twice",
        ),
        ("[a]", 5, "expected a rule, found a list"),
    ] {
        let (at, column_found, text) = refused(&rule(line));
        assert!(text.contains(words), "{line}\n{text}");
        assert_eq!((at, column_found), (3, column), "{line}\n{text}");
        assert!(
            text.contains(&format!("3 |   - {line}")),
            "the line is shown:\n{text}"
        );
        assert!(text.contains('^'), "{text}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = "aegis-policy: 1\nnmae: x\ncapabilities:\n  \
                - {id: a, on: [files.read, files.wirte], match: [work, /b?], verdict: yes}\n\
                network-egress:\n  - {id: a, hosts: [\"*.com\", A.com], ports: [0], methods: [get], verdict: allow}\n\
                secrets-boundary:\n  - {id: c, alias: \"\", to: [\"*\"], inject: body, verdict: allow}\n\
                limits: {memory: 512, cpus: 1, must-hold: [memroy]}\nmay-be-missing: [disk-raed]\naudit-failure: go\nrego: [../x.rego]\n";
    let (_, _, told) = refused(text);
    for words in [
        "unknown key \"nmae\"",
        "files.wirte",
        "begins with `/`",
        "`?` in a pattern",
        "unknown word \"yes\"",
        "the id `a` is given twice",
        "capital letters in a host",
        "not a port",
        "write it in capitals",
        "an alias is one line, and not empty",
        "`*` is every host, and a rule that allows names its hosts",
        "unknown word \"body\"",
        "a size needs a unit",
        "did you mean `cpu`?",
        "did you mean `disk-read`?",
        "did you mean `memory`?",
        "unknown word \"go\"",
        "not a Rego file beside the policy",
    ] {
        assert!(told.contains(words), "{words} is missing:\n{told}");
    }
}

#[test]
fn what_is_no_policy_is_none() {
    for (text, words) in [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("name: x\n", "the key `aegis-policy` is missing"),
        (
            "aegis-policy: 2\n",
            "version 2 of the policy format is not known",
        ),
        ("aegis-policy: \"1\"\n", "not a version"),
        ("aegis: 1\nname: x\n", "this is a profile, not a policy"),
        (
            "- aegis-policy: 1\n",
            "expected a policy: a map of keys, found a list",
        ),
        (
            "aegis-policy: 1\ncapabilities:\n",
            "`capabilities` is a list, and this is nothing",
        ),
        (
            "aegis-policy: 1\nlimits: {cpu: \"2\"}\n",
            "expected a number without a unit",
        ),
        (
            "aegis-policy: 1\nlimits: {pids: 0}\n",
            "zero is not a limit",
        ),
        (
            "aegis-policy: 1\nlimits: {memory: 9007199254740993B}\n",
            "this number is too large",
        ),
        (
            "aegis-policy: 1\n---\naegis-policy: 1\n",
            "a second YAML document",
        ),
        ("aegis-policy: 1\nname: &x a\n", "anchors"),
    ] {
        let (_, _, told) = refused(text);
        assert!(told.contains(words), "{text:?}\n{told}");
    }
    let large = format!("aegis-policy: 1\n{}", "#".repeat(1 << 20));
    assert!(refused(&large).2.contains("larger than 1 MiB"));
}

#[test]
fn a_rego_file_is_named_beside_the_policy() {
    let policy = |rego: &str| format!("aegis-policy: 1\nrego: [{rego}]\n");
    for rego in [
        "../x.rego",
        "/etc/x.rego",
        "a/../../x.rego",
        "./x.rego",
        "x.reg",
        "a//x.rego",
    ] {
        let (line, column, told) = refused(&policy(rego));
        assert!(
            told.contains("not a Rego file beside the policy"),
            "{rego}: {told}"
        );
        assert_eq!((line, column), (2, 8));
    }
}

#[test]
fn a_budget_has_bounds_in_peoples_units() {
    for (budget, words) in [
        ("{}", "a budget without a bound"),
        ("{requests: 60}", "per minute"),
        ("{requests: 60/s}", "write it per minute"),
        (
            "{request-size: 9007199254740993B}",
            "this number is too large",
        ),
        ("{requests: 0/m}", "zero is not a limit"),
        ("{request-size: 5}", "a size needs a unit"),
        ("{request: 60/m}", "did you mean `requests`?"),
        ("60/m", "expected a budget, found text"),
    ] {
        let text = format!(
            "aegis-policy: 1\nnetwork-egress:\n  - {{id: a, hosts: a.org, verdict: allow, budget: {budget}}}\n"
        );
        let (line, _, told) = refused(&text);
        assert!(told.contains(words), "{budget}\n{told}");
        assert_eq!(line, 3);
    }
}

#[test]
fn what_is_shown_reads_as_the_same_policy() {
    let mut documents = vec![parse_str(WORKSHOP, "workshop.yaml").unwrap()];
    documents.extend(
        templates::ALL
            .iter()
            .map(|template| parse_str(template.yaml, "x.yaml").unwrap()),
    );
    for mut document in documents {
        let shown = aegis_policy::show::show(&document);
        document.capabilities.sort_by(|a, b| a.id.cmp(&b.id));
        document.network_egress.sort_by(|a, b| a.id.cmp(&b.id));
        document.secrets_boundary.sort_by(|a, b| a.id.cmp(&b.id));
        let again: Document =
            parse_str(&shown, "shown.yaml").unwrap_or_else(|e| panic!("{shown}\n{e}"));
        assert_eq!(again, document, "{shown}");
    }
}
