//! From files to a policy: what is read, what is refused, and with which words.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules are for what decides, not for what tries it"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use aegis_policy::load::{Found, Source, UNNAMED, effective, load, parse_str};
use aegis_policy::model::{Action, Budget, Document, OnAuditFailure, Verdict};
use aegis_policy::{Policy, ask, templates};
use aegis_profile::{Error, ReadError};

/// Files of a test, with their owners.
#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Of what is not root's own with the mode 0644 (0755).
    owned: BTreeMap<PathBuf, (u32, u32, u32)>,
    /// Symbolic links, where they lead, and whose they are.
    links: BTreeMap<PathBuf, (PathBuf, u32)>,
    closed: Option<PathBuf>,
}

impl Tree {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| (path.into(), text.as_bytes().to_vec()));
        Self {
            files: files.collect(),
            ..Self::default()
        }
    }

    fn owned(mut self, path: &str, uid: u32, gid: u32, mode: u32) -> Self {
        self.owned.insert(path.into(), (uid, gid, mode));
        self
    }

    fn linked(mut self, path: &str, to: &str, uid: u32) -> Self {
        self.links.insert(path.into(), (to.into(), uid));
        self
    }

    /// What a path leads to, links and `..` resolved.
    fn real(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(real.pop()),
                part => real.push(part),
            }
            if let Some((to, _)) = self.links.get(&real) {
                let to = real.parent().unwrap_or(&real).join(to);
                real = self.real(&to);
            }
        }
        real
    }

    fn is_directory(&self, path: &Path) -> bool {
        let below = |file: &PathBuf| file.starts_with(path) && file != path;
        self.files.keys().any(below)
    }
}

impl aegis_profile::Source for Tree {
    fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let path = &self.real(path);
        match self.files.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None if self.is_directory(path) => Err(ReadError::NotAFile("a directory")),
            None => Err(ReadError::NotFound),
        }
    }

    fn read_stdin(&self) -> Result<Vec<u8>, ReadError> {
        self.read(Path::new("-"))
    }

    fn exists(&self, path: &Path) -> bool {
        let path = &self.real(path);
        self.files.contains_key(path) || self.is_directory(path)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        path.into()
    }
}

impl Source for Tree {
    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let directory = &self.real(directory);
        let name = |file: &PathBuf| {
            let below = file.strip_prefix(directory).ok()?;
            Some(
                below
                    .components()
                    .next()?
                    .as_os_str()
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        // As a directory gives them: not in order.
        Ok(self.files.keys().filter_map(name).rev().collect())
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        if self
            .closed
            .as_ref()
            .is_some_and(|closed| path.starts_with(closed))
        {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !aegis_profile::Source::exists(self, path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = &self.real(path);
        let (uid, gid, mode) = self.owned.get(path).copied().unwrap_or((0, 0, 0o644));
        Ok(Found {
            is_directory: self.is_directory(path),
            uid,
            gid,
            mode,
        })
    }

    fn link(&self, path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
        self.look(path)?;
        let parent = self.real(path.parent().unwrap_or(path));
        let name = path.file_name();
        Ok(name.and_then(|name| self.links.get(&parent.join(name)).cloned()))
    }
}

/// The example of the design, as it stands there.
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

fn rule(line: &str) -> String {
    format!("aegis-policy: 1\ncapabilities:\n  - {line}\n")
}

const WORK: &str = "{id: work, on: files.read, match: $WORK/**, verdict: allow}";

fn told(error: &Error) -> String {
    error.render(false)
}

/// What is refused of a text: the line and column of the first mistake, and all that is said.
fn refused(text: &str) -> (u32, u32, String) {
    let error = match parse_str(text, "policy.yaml") {
        Err(error) => error,
        Ok(document) => panic!("{text}\n{document:#?}"),
    };
    let first = &error.diagnostics()[0].origin;
    (first.line, first.column, told(&error))
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
}

#[test]
fn one_thing_needs_no_list_and_ports_no_quotes() {
    let text = "aegis-policy: 1\naudit-failure: continue\ncapabilities:\n  \
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
            "`70000` is no port",
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
            "this is no id",
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
                limits: {memory: 512, cpus: 1}\nmay-be-missing: [disk-raed]\naudit-failure: go\nrego: [../x.rego]\n";
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
        ("aegis-policy: 2\n", "version 2 of the format is not known"),
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
            "expected a number without a unit or quotes",
        ),
        (
            "aegis-policy: 1\nlimits: {pids: 0}\n",
            "zero is not a limit",
        ),
        (
            "aegis-policy: 1\nlimits: {memory: 9007199254740993B}\n",
            "a number above 2^53 - 1",
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
    let tree = Tree::of(&[("p.yaml", &large)]);
    assert!(told(&load("p.yaml", &tree).unwrap_err()).contains("larger than 1 MiB"));
}

#[test]
fn a_budget_has_bounds_in_peoples_units() {
    for (budget, words) in [
        ("{}", "a budget without a bound"),
        ("{requests: 60}", "per minute"),
        ("{requests: 60/s}", "write it per minute"),
        (
            "{request-size: 9007199254740993B}",
            "a number above 2^53 - 1",
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
fn references_are_files_directories_templates_or_standard_input() {
    let tree = Tree::of(&[
        ("./a.yaml", &rule(WORK)),
        ("dir/b.yaml", &rule(WORK)),
        ("-", &rule(WORK)),
        ("standrad", "x"),
    ]);
    for reference in ["./a.yaml", "dir/", "-"] {
        let document = load(reference, &tree).unwrap();
        assert_eq!(document.capabilities.len(), 1, "{reference}");
    }
    assert_eq!(load("strict", &tree).unwrap().name, "strict");
    for (reference, words) in [
        ("strct", "did you mean `strict`?"),
        ("standrad", "write `./standrad`"),
        ("dir", "write `./dir`"),
        ("./none.yaml", "there is no file `./none.yaml`"),
        ("./standard.yaml", "write `standard`"),
        ("", "there is no template"),
    ] {
        let told = told(&load(reference, &tree).unwrap_err());
        assert!(told.contains(words), "{reference}: {told}");
    }
}

#[test]
fn a_directory_is_its_files_together_in_the_order_of_their_names() {
    let tree = Tree::of(&[
        (
            "d/20.yaml",
            "aegis-policy: 1\nname: shop\nlimits: {pids: 5}\n",
        ),
        ("d/10.yml", &rule(WORK)),
        ("d/10.test.yaml", "not a policy"),
        ("d/.hidden.yaml", "not a policy"),
        ("d/notes.md", "not a policy"),
    ]);
    let document = load("d/", &tree).unwrap();
    assert_eq!(document.name, "shop");
    assert_eq!(document.capabilities.len(), 1);
    assert_eq!(document.limits["pids"], 5);
    let empty = Tree::of(&[("d/notes.md", "x"), ("d/a.test.yaml", "x")]);
    assert!(told(&load("d/", &empty).unwrap_err()).contains("no policy is in this directory"));
}

#[test]
fn what_two_files_say_is_said_twice() {
    let twice = "aegis-policy: 1\nname: a\nlimits: {pids: 5}\naudit-failure: stop\ncapabilities:\n  - {id: work, on: devices, match: gpu, verdict: allow}\n";
    let tree = Tree::of(&[("d/1.yaml", twice), ("d/2.yaml", twice)]);
    let told = told(&load("d/", &tree).unwrap_err());
    for words in [
        "the policy's name is given twice",
        "`limits.pids` is given twice",
        "`audit-failure` is given twice",
        "the id `work` is given twice",
        "first given at d/1.yaml:6:10",
        "d/2.yaml:6:10",
    ] {
        assert!(told.contains(words), "{words}:\n{told}");
    }
}

#[test]
fn a_rego_file_has_to_be_there_and_beside_the_policy() {
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
    let missing = Tree::of(&[("d/p.yaml", &policy("x.rego"))]);
    let text = told(&load("d/p.yaml", &missing).unwrap_err());
    assert!(
        text.contains("cannot read `d/x.rego`: there is no such file"),
        "{text}"
    );
    assert!(
        text.contains("d/p.yaml:2:8") && text.contains("^^^^^^"),
        "{text}"
    );
    let stdin = Tree::of(&[("-", &policy("x.rego"))]);
    assert!(told(&load("-", &stdin).unwrap_err()).contains("has no directory"));
}

#[test]
fn names_of_limits_are_those_of_profiles() {
    let keys: Vec<_> = aegis_profile::Limits::default()
        .entries()
        .iter()
        .map(|(key, ..)| *key)
        .collect();
    assert_eq!(keys, aegis_policy::model::LIMITS);
}

/// Where the configuration of a user of the tests is.
fn effective_of(reference: Option<&str>, tree: &Tree) -> Result<Policy, Error> {
    effective(reference, 1000, Some(Path::new("/home/ana")), None, tree)
}

fn names(policy: &Policy) -> Vec<&str> {
    policy
        .documents()
        .map(|document| document.name.as_str())
        .collect()
}

const SYSTEM: &str = "/etc/aegis/policy.yaml";
const USER: &str = "/home/ana/.config/aegis/policy.yaml";

#[test]
fn without_any_policy_the_template_standard_is_in_force() {
    let policy = effective_of(None, &Tree::default()).unwrap();
    assert_eq!(names(&policy), ["standard"]);
    assert_eq!(
        policy.hash(),
        Policy::new(vec![templates::find("standard").unwrap().document()])
            .unwrap()
            .hash()
    );
}

#[test]
fn a_policy_without_a_name_has_one_hash_wherever_it_is_read_from() {
    let text = rule(WORK);
    let hash_of = |document: Document| Policy::new(vec![document]).unwrap().hash();
    let tree = Tree::of(&[("./draft.yaml", &text), ("d/10.yaml", &text), ("-", &text)]);
    let hash = hash_of(parse_str(&text, "other.yaml").unwrap());
    for reference in ["./draft.yaml", "d/", "-"] {
        let document = load(reference, &tree).unwrap();
        assert_eq!(hash_of(document), hash, "{reference}");
    }
    for place in [SYSTEM, USER, "/etc/aegis/policy.d/10.yaml"] {
        let in_force = effective_of(None, &Tree::of(&[(place, &text)])).unwrap();
        assert_eq!(in_force.hash(), hash, "in force as {place}");
    }
}

#[test]
fn the_systems_policy_applies_whatever_a_user_names() {
    let all = rule("{id: all, on: files.read, match: /**, verdict: allow}") + "\nname: own\n";
    let site = rule(WORK) + "\nname: site\n";
    let tree = Tree::of(&[(SYSTEM, &site), (USER, &all), ("./own.yaml", &all)])
        .owned(USER, 1000, 1000, 0o664)
        .owned("/home/ana/.config/aegis", 1000, 1000, 0o775);
    assert_eq!(names(&effective_of(None, &tree).unwrap()), ["site", "own"]);
    for reference in ["./own.yaml", "permissive"] {
        let policy = effective_of(Some(reference), &tree).unwrap();
        assert_eq!(names(&policy)[0], "site");
        let request = |words: &str| aegis_policy::Request {
            approvals: Vec::new(),
            context: ask::somebody(),
            what: ask::what("files.read", words, &ask::somebody()).unwrap(),
        };
        let says = |words: &str| aegis_policy::decide(&policy, &request(words)).verdict;
        assert_eq!(says("$WORK/a"), Verdict::Allow);
        assert_eq!(
            says("/srv/a"),
            Verdict::Block,
            "{reference} does not widen the system's"
        );
    }
}

#[test]
fn the_files_of_policy_d_are_part_of_the_systems_policy() {
    let more = rule("{id: more, on: devices, match: gpu, verdict: allow}");
    let tree = Tree::of(&[
        (SYSTEM, &rule(WORK)),
        ("/etc/aegis/policy.d/10.yaml", &more),
    ]);
    let policy = effective_of(None, &tree).unwrap();
    assert_eq!(names(&policy), [UNNAMED]);
    assert_eq!(policy.documents().next().unwrap().capabilities.len(), 2);
    let empty = Tree::of(&[("/etc/aegis/policy.d/README", "x")]);
    let told = told(&effective_of(None, &empty).unwrap_err());
    assert!(told.contains("no policy is in this directory"), "{told}");
}

#[test]
fn a_wrong_policy_of_the_system_stops_everything() {
    let wrong = Tree::of(&[(SYSTEM, "aegis-policy: 1\nlimit: {}\n")]);
    for reference in [None, Some("permissive")] {
        let told = told(&effective_of(reference, &wrong).unwrap_err());
        assert!(told.contains("did you mean `limits`?"), "{told}");
    }
    let closed = Tree {
        closed: Some("/etc/aegis".into()),
        ..Tree::default()
    };
    let told = told(&effective_of(Some("permissive"), &closed).unwrap_err());
    assert!(
        told.contains("whether there is a policy cannot be told"),
        "{told}"
    );
}

#[test]
fn a_policy_that_others_can_write_binds_nobody_and_is_refused() {
    let tree = || Tree::of(&[(SYSTEM, &rule(WORK))]);
    for (place, uid, gid, mode, words) in [
        (
            SYSTEM,
            1000,
            0,
            0o644,
            "has to belong to root, and this belongs to user 1000",
        ),
        (SYSTEM, 0, 0, 0o646, "others may write it"),
        (SYSTEM, 0, 1000, 0o664, "others may write it"),
        ("/etc/aegis", 1000, 0, 0o755, "has to belong to root"),
        ("/etc/aegis", 0, 0, 0o777, "others may write it"),
    ] {
        let told = told(&effective_of(None, &tree().owned(place, uid, gid, mode)).unwrap_err());
        assert!(told.contains(words) && told.contains(place), "{told}");
    }
    effective_of(None, &tree().owned(SYSTEM, 0, 0, 0o664)).unwrap();
    let user = || Tree::of(&[(USER, &rule(WORK))]);
    for (uid, mode, words) in [
        (1001, 0o644, "has to belong to you or to root"),
        (1000, 0o666, "others may write it"),
    ] {
        let told = told(&effective_of(None, &user().owned(USER, uid, uid, mode)).unwrap_err());
        assert!(told.contains(words), "{told}");
    }
}

/// A policy of the system's whose module is in a directory below.
fn with_a_module() -> Tree {
    Tree::of(&[
        (SYSTEM, "aegis-policy: 1\nrego: [lib/extra.rego]\n"),
        (MODULE, EXTRA),
        ("/etc/aegis/lib/README", "x"),
        ("/srv/by/README", "x"),
    ])
}

const MODULE: &str = "/etc/aegis/lib/extra.rego";
const EXTRA: &str = "package aegis\nblock contains \"extra\" if input.what.port == 80";

#[test]
fn a_rego_file_of_the_systems_policy_is_roots_as_all_of_the_policy_is() {
    effective_of(None, &with_a_module()).unwrap();
    for (place, uid, gid, mode, words) in [
        (MODULE, 1000, 0, 0o644, "this belongs to user 1000"),
        (MODULE, 0, 0, 0o646, "others may write it"),
        (MODULE, 0, 1000, 0o664, "others may write it"),
        (MODULE, 0, 0, 0o1646, "others may write it"),
        (
            "/etc/aegis/lib",
            1000,
            0,
            0o755,
            "this belongs to user 1000",
        ),
        ("/etc/aegis/lib", 0, 0, 0o777, "others may write it"),
    ] {
        let tree = with_a_module().owned(place, uid, gid, mode);
        let told = told(&effective_of(None, &tree).unwrap_err());
        assert!(
            told.contains(words) && told.contains(place),
            "{place}: {told}"
        );
        assert!(told.contains("policy.yaml:2:8"), "{told}");
    }
    // One's own are one's own.
    let tree = Tree::of(&[
        (USER, "aegis-policy: 1\nrego: [a.rego]\n"),
        ("/home/ana/.config/aegis/a.rego", EXTRA),
    ]);
    let module = "/home/ana/.config/aegis/a.rego";
    effective_of(None, &tree.owned(module, 1000, 1000, 0o664)).unwrap();
}

#[test]
fn a_link_in_the_systems_policy_leads_through_what_is_roots_alone() {
    let tree = |link: &str, to: &str, real: &str| {
        let mut tree = with_a_module();
        let text = tree.files.remove(Path::new(link)).unwrap();
        tree.files.insert(real.into(), text);
        tree.linked(link, to, 0)
    };
    let refused = |tree: Tree, place: &str, words: &str| {
        let told = told(&effective_of(None, &tree).unwrap_err());
        assert!(told.contains(words) && told.contains(place), "{told}");
    };
    for link in [MODULE, SYSTEM] {
        let elsewhere = || tree(link, "/srv/site/x", "/srv/site/x");
        effective_of(None, &elsewhere()).unwrap();
        // A file of root's in a directory of somebody else's can be another one tomorrow.
        for place in ["/srv/site/x", "/srv/site", "/srv"] {
            refused(elsewhere().owned(place, 1000, 0, 0o755), place, "user 1000");
            refused(
                elsewhere().owned(place, 0, 0, 0o757),
                place,
                "others may write it",
            );
        }
        // Where nobody else can rename it, it stays what it is.
        effective_of(None, &elsewhere().owned("/srv/site", 0, 0, 0o1777)).unwrap();
        // By way of somebody else's link to what is root's.
        let by_way =
            elsewhere()
                .linked(link, "/srv/by/way", 0)
                .linked("/srv/by/way", "../site/x", 1000);
        refused(
            by_way.owned("/srv/by", 0, 0, 0o1777),
            "/srv/by/way",
            "user 1000",
        );
    }
    let up = || tree(MODULE, "../../site/x", "/etc/site/x");
    effective_of(None, &up()).unwrap();
    refused(
        up().owned("/etc/site", 1000, 0, 0o755),
        "/etc/aegis/lib/../../site",
        "user 1000",
    );
}

#[test]
fn links_of_real_files_are_followed_one_by_one() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("aegis");
    std::fs::create_dir_all(config.join("lib")).unwrap();
    std::fs::create_dir_all(root.path().join("site")).unwrap();
    std::fs::write(
        config.join("policy.yaml"),
        "aegis-policy: 1\nrego: [lib/a.rego]\n",
    )
    .unwrap();
    std::fs::write(root.path().join("site/a.rego"), EXTRA).unwrap();
    std::os::unix::fs::symlink("../../site/a.rego", config.join("lib/a.rego")).unwrap();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&config).unwrap());
    let of = || effective(None, uid, None, Some(root.path()), &aegis_profile::Files);
    of().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(root.path().join("site"), open).unwrap();
    let told = told(&of().unwrap_err());
    assert!(
        told.contains("lib/../../site`: others may write it"),
        "{told}"
    );
    std::fs::remove_file(config.join("lib/a.rego")).unwrap();
    std::os::unix::fs::symlink("a.rego", config.join("lib/a.rego")).unwrap();
    of().unwrap_err();
}

#[test]
fn the_users_configuration_is_where_the_environment_says() {
    let tree = Tree::of(&[("/cfg/aegis/policy.yaml", &rule(WORK))]);
    let of = |home: Option<&str>, xdg: Option<&str>| {
        let policy = effective(None, 1000, home.map(Path::new), xdg.map(Path::new), &tree).unwrap();
        policy.name()
    };
    assert_eq!(of(Some("/home/ana"), Some("/cfg")), UNNAMED);
    assert_eq!(of(None, Some("/cfg")), UNNAMED);
    assert_eq!(
        of(Some("/home/ana"), Some("cfg")),
        "standard",
        "a relative path counts as none"
    );
    assert_eq!(of(None, None), "standard");
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
