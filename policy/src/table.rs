//! A table of requests and the verdicts that a policy must give them, kept beside the policy.
//!
//! ```yaml
//! aegis-policy-test: 1
//! context: {home: /home/ana, work: /home/ana/work}
//! cases:
//!   - {files.read: [$HOME/.ssh/id_rsa, $HOME/.ssh/**], expect: block, by: keys}
//!   - {shell.exec: git, expect: allow}
//!   - {net.outbound: "GET https://example.org/", expect: block, address: 10.0.0.1}
//!   - {tool.exec: /usr/bin/git, asks: ["files.read $WORK/**", "shell.exec git"], expect: allow}
//! ```

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use aegis_profile::syntax::{
    FileKind, Node, Reporter, Span, Takes, Text, Value, Wrong, count, document, quote,
};
use aegis_profile::{Error, Hash, Origin};
use serde::Serialize;
use serde_json::Value as Json;

use crate::ask;
use crate::decide::{Policy, decide, hash};
use crate::load::version;
use crate::model::Verdict;
use crate::model::fields::{Fields, one_or_more};
use crate::model::forms::{SIZE, Word, one_line};
use crate::model::keys::Form;
use crate::path::HostPath;
use crate::request::{Context, Request, What};

const KIND: FileKind = FileKind {
    name: "table of tests",
    first_line: "aegis-policy-test: 1",
    sections: Vec::new,
};

const KEYS: [&str; 3] = ["aegis-policy-test", "context", "cases"];

const CONTEXT_KEYS: [&str; 6] = ["home", "profile", "profile-hash", "skill", "uid", "work"];

/// The keys of a case, beside its action.
const CASE_KEYS: [&str; 8] = [
    "expect",
    "by",
    "context",
    "address",
    "requests-last-minute",
    "request-size",
    "response-size",
    "asks",
];

/// A table, read.
#[derive(Clone, Debug)]
pub struct Table {
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// One request and its expected verdict.
#[derive(Clone, Debug)]
pub struct Case {
    /// As it was written: `files.read $WORK/**`.
    pub asked: String,
    /// The request.
    pub request: Request,
    /// The expected verdict.
    pub expect: Verdict,
    /// Rules that must be among those that apply.
    pub by: Vec<String>,
    /// Where it stands.
    pub origin: Origin,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// As it was written.
    pub asked: String,
    /// The rules that had to apply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// The expected verdict.
    pub expect: Verdict,
    /// The line of the table.
    pub line: u32,
    /// Whether everything is as expected.
    pub ok: bool,
    /// The reason for the verdict.
    pub reason: Arc<str>,
    /// The rules that applied.
    pub rules: Vec<Arc<str>>,
    /// The verdict that it got.
    pub verdict: Verdict,
}

impl Table {
    /// Reads a table.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Error> {
        document(KIND, &file_name.into(), text.as_bytes(), table)
    }

    /// Asks the policy about each case.
    pub fn run(&self, policy: &Policy) -> Vec<Outcome> {
        (self.cases.iter()).map(|case| case.run(policy)).collect()
    }
}

impl Case {
    fn run(&self, policy: &Policy) -> Outcome {
        let decision = decide(policy, &self.request);
        // For a run, the rules about its grants apply as well.
        let spoke = |id: &String| {
            let parts = decision.parts.iter().flat_map(|part| &part.rules);
            (decision.rules.iter().chain(parts)).any(|rule| **rule == **id)
        };
        Outcome {
            asked: self.asked.clone(),
            ok: decision.verdict == self.expect && self.by.iter().all(spoke),
            by: self.by.clone(),
            expect: self.expect,
            line: self.origin.line,
            reason: decision.reason,
            rules: decision.rules,
            verdict: decision.verdict,
        }
    }
}

fn table(root: &Node, out: &mut Reporter<'_>) -> Option<Table> {
    let fields = Fields::of(root, "a table of tests: a map of keys", &KEYS, out)?;
    version(&fields, "aegis-policy-test", out);
    let head = match fields.get("context") {
        Some(node) => context(node, ask::somebody(), out),
        None => ask::somebody(),
    };
    let mut cases = Vec::new();
    let node = fields.need("cases", "add `cases:`, a list of requests", out)?;
    let nodes = out.list(node, "cases");
    if nodes.is_empty() {
        out.report(node.span, "a table without cases tests nothing");
    }
    for node in nodes {
        case(node, &head, &mut cases, out);
    }
    Some(Table { cases })
}

fn context(node: &Node, mut context: Context, out: &mut Reporter<'_>) -> Context {
    let Some(fields) = Fields::of(node, "a context", &CONTEXT_KEYS, out) else {
        return context;
    };
    let mut place = |key: &str| -> Option<HostPath> {
        let node = fields.get(key)?;
        let text = out.text(node, "a path")?;
        let path = HostPath::from(text);
        if !path.is_plain() {
            out.report(node.span, "not an absolute path without `.` and `..`");
        }
        Some(path)
    };
    context.home = place("home").unwrap_or(context.home);
    context.work = place("work").unwrap_or(context.work);
    context.skill = place("skill").or(context.skill);
    if let Some(node) = fields.get("profile")
        && let Some(name) = out.text(node, "a profile's name")
    {
        context.profile = name.to_owned();
    }
    if let Some(node) = fields.get("profile-hash") {
        context.profile_hash = HASH.read(out, node).unwrap_or_default();
    }
    if let Some(node) = fields.get("uid") {
        context.uid = UID.read(out, node).unwrap_or_default();
    }
    context
}

/// Adds the cases of one line: each thing that it asks for is a case.
fn case(node: &Node, head: &Context, cases: &mut Vec<Case>, out: &mut Reporter<'_>) {
    let Value::Map(entries) = &node.value else {
        if !matches!(node.value, Value::Refused) {
            let found = node.describe();
            out.report(node.span, format!("expected a case, found {found}"))
                .help("write it like `{files.read: $WORK/**, expect: allow}`");
        }
        return;
    };
    let mut asking = (entries.iter()).filter(|(key, _)| !CASE_KEYS.contains(&key.text.as_str()));
    let Some((action, wanted)) = asking.next() else {
        out.report(node.span, "nothing is asked for")
            .help("write it like `{files.read: $WORK/**, expect: allow}`");
        return;
    };
    if let Some((second, _)) = asking.next() {
        out.report(
            second.span,
            "a second thing is asked for, or an unknown key",
        )
        .expected(format!(
            "`{}` is what this case asks for",
            quote(&action.text)
        ))
        .help(format!(
            "write a case for each; what else a case may say: {}",
            CASE_KEYS.join(", ")
        ));
        return;
    }
    let keys: Vec<&str> = CASE_KEYS
        .into_iter()
        .chain([action.text.as_str()])
        .collect();
    let Some(fields) = Fields::of(node, "a case", &keys, out) else {
        return;
    };
    let expect = fields.need(
        "expect",
        "say which verdict it has to get: `expect: block`",
        out,
    );
    let expect: Option<Verdict> = expect.and_then(|node| Word.read(node, "expect", out));
    let by = fields
        .get("by")
        .map(|node| one_or_more(node, "by", out, |node, out| WORD.read(out, node)));
    let by: Vec<String> = by.into_iter().flatten().collect();
    let context = match fields.get("context") {
        Some(node) => self::context(node, head.clone(), out),
        None => head.clone(),
    };
    let whats = match action.text.as_str() {
        "tool.exec" => tool(wanted, &fields, &context, out),
        action_name => {
            if let Some(node) = fields.get("asks") {
                out.report(node.span, "`asks` belongs to `tool.exec`");
            }
            things(action_name, action.span, wanted, &context, out)
        }
    };
    let Some(expect) = expect else { return };
    for (asked, mut what, span) in whats {
        facts(&fields, &mut what, out);
        cases.push(Case {
            asked,
            request: Request {
                approvals: Vec::new(),
                context: context.clone(),
                what,
            },
            expect,
            by: by.clone(),
            origin: out.origin(span),
        });
    }
}

/// One or more things of an action, with how each was written and where.
fn things(
    action: &str,
    key: Span,
    wanted: &Node,
    context: &Context,
    out: &mut Reporter<'_>,
) -> Vec<(String, What, Span)> {
    let nodes = wanted.items();
    let mut found = Vec::new();
    for node in nodes {
        let Value::Scalar { text: words, .. } = &node.value else {
            // Refuses it with the message for a value that is not text.
            out.text(node, "what is asked for");
            continue;
        };
        match ask::what(action, words, context) {
            Ok(what) => found.push((format!("{action} {words}"), what, node.span)),
            Err(Wrong { message, help }) => {
                let span = match message.starts_with("unknown action") {
                    true => key,
                    false => node.span,
                };
                out.report(span, message).maybe_help(help);
            }
        }
    }
    if nodes.is_empty() {
        out.report(wanted.span, "nothing is asked for");
    }
    found
}

/// A run as a whole: its command, and what its profile asks for.
fn tool(
    wanted: &Node,
    fields: &Fields<'_>,
    context: &Context,
    out: &mut Reporter<'_>,
) -> Vec<(String, What, Span)> {
    let words = wanted.items();
    let command: Vec<String> = (words.iter())
        .filter_map(|node| WORD.read(out, node))
        .collect();
    let help = "say what its profile asks for: `asks: [\"files.read $WORK/**\"]`";
    let Some(asks) = fields.need("asks", help, out) else {
        return Vec::new();
    };
    let mut grants = Vec::new();
    for node in out.list(asks, "asks") {
        let Some(line) = out.text(node, "an action and its target") else {
            continue;
        };
        match ask::line(line, context) {
            Ok(what) => grants.push(what),
            Err(Wrong { message, help }) => {
                out.report(node.span, message).maybe_help(help);
            }
        }
    }
    let what = What::Tool {
        command: command.iter().map(|word| word.as_str().into()).collect(),
        grants,
    };
    vec![(
        format!("tool.exec {}", command.join(" ")),
        what,
        wanted.span,
    )]
}

/// Adds further facts of a connection.
fn facts(fields: &Fields<'_>, what: &mut What, out: &mut Reporter<'_>) {
    let keys = [
        "address",
        "requests-last-minute",
        "request-size",
        "response-size",
    ];
    let What::Net(destination) = what else {
        for key in keys {
            if let Some(node) = fields.get(key) {
                out.report(node.span, format!("`{key}` belongs to `net.outbound`"));
            }
        }
        return;
    };
    if let Some(node) = fields.get("address") {
        destination.address = ADDRESS.read(out, node);
    }
    let mut quantity =
        |key: &str, quantity: Text<u64>| fields.get(key).and_then(|node| quantity.read(out, node));
    destination.requests_last_minute = quantity("requests-last-minute", REQUESTS);
    destination.request_size = quantity("request-size", SIZE);
    destination.response_size = quantity("response-size", SIZE);
}

/// A word, or a number as one.
const WORD: Text<String> = Text {
    takes: Takes::TextOrInt,
    ..value("a word", |text| one_line("a word", text))
};

const HASH: Text<Hash> = value("a hash", hash);

const ADDRESS: Text<IpAddr> = value("an IP address", |text| {
    text.parse()
        .or_else(|_| Wrong::new("not an IP address", "write it without brackets or a port"))
});

const UID: Text<u32> = Text {
    takes: Takes::Number,
    ..value("a user id", |text| {
        text.parse()
            .or_else(|_| Wrong::new("not a user id", "`id -u` prints it"))
    })
};

const REQUESTS: Text<u64> = Text {
    takes: Takes::TextOrInt,
    ..value("a quantity", |text| match text {
        "0" => Ok(0),
        text => count(text, 1 << 40),
    })
};

/// Tables have no schema.
const fn value<T: Display>(what: &'static str, parse: fn(&str) -> Result<T, Wrong>) -> Text<T> {
    Text::new(what, || Json::Null, parse)
}
