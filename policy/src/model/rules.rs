//! The rules of the three contracts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::forms::{
    self, ALIAS, ANY_PATTERN, Flag, HOST_OR_ANY, ID, List, METHOD, Maybe, Nested, PER_MINUTE, PORT,
    REASON, SIZE, URL_PATH, Word,
};
use super::keys::{Form, Key, Keyed, first, is_default, keyed};
use super::{Action, Document, Inject, Mode, Scheme, Verdict};

keyed! {
    /// A rule about what a profile asks for, and about runs as a whole.
    pub struct CapabilityRule,
        written ["id", "on", "match", "verdict", "mode", "otherwise", "reason"],
        conditions json!({"allOf": forms::patterns_by_action()});

    /// Its name, unique in the policy.
    "id" id: String = ID, need "give the rule a name: `id: work`";
    /// Patterns. Of `files.read` and `files.write`: paths from `/`, `$WORK`, `$SKILL` or `$HOME`, with `*`
    /// for any part of a name and `**` for any number of directories. Of `shell.exec`: such paths, or names
    /// of programs with `*`. Of `net.listen`: ports and ranges. Of `net.host`: `host`. Of `tool.exec`: paths
    /// that hold `$SKILL`, `sha256:` and a profile's hash, or profiles' names. Of the others: names with `*`.
    "match" matches: BTreeSet<String> = List(ANY_PATTERN), as "match",
        need "say what it matches: `match: [$WORK/**]`";
    /// Whether it is in force.
    "mode" mode: Mode = Word, unless "is_default";
    /// What it is about.
    "on" on: BTreeSet<Action> = List(Word), need "say what it is about: `on: files.read`";
    /// It speaks only where no other rule covers the request.
    "otherwise" otherwise: bool = Flag, unless "is_default";
    /// Why, for whoever meets it.
    "reason" reason: Option<String> = Maybe(REASON), unless "is_default";
    /// What it says of what it matches.
    "verdict" verdict: Verdict = Word,
        need "say what becomes of what it matches: `verdict: allow`, `warn`, `review` or `block`";
}

keyed! {
    /// A rule about destinations.
    pub struct EgressRule,
        written [
            "id", "hosts", "schemes", "ports", "methods", "paths", "budget", "private-addresses", "verdict", "mode",
            "otherwise", "reason",
        ],
        conditions forms::named_hosts("hosts");

    /// How much may be used; more is blocked.
    "budget" budget: Budget = Nested("a budget"), unless "is_default";
    /// Host names, `*.` and a name for all below it, IP addresses; `*` for any, where the verdict is not
    /// `allow`.
    "hosts" hosts: BTreeSet<String> = List(HOST_OR_ANY), need "say where to: `hosts: [api.github.com]`";
    /// Its name, unique in the policy.
    "id" id: String = ID, need "give the rule a name: `id: work`";
    /// HTTP methods. Absent: any.
    "methods" methods: BTreeSet<String> = List(METHOD), unless "is_default";
    /// Whether it is in force.
    "mode" mode: Mode = Word, unless "is_default";
    /// It speaks only where no other rule covers the request.
    "otherwise" otherwise: bool = Flag, unless "is_default";
    /// Paths of URLs, with `*` and `**` as for files. Absent: any.
    "paths" paths: BTreeSet<String> = List(URL_PATH), unless "is_default";
    /// Absent: any.
    "ports" ports: BTreeSet<u16> = List(PORT), unless "is_default";
    /// It also lets through where the name stands for an address that is not public.
    "private-addresses" private_addresses: bool = Flag, unless "is_default";
    /// Why, for whoever meets it.
    "reason" reason: Option<String> = Maybe(REASON), unless "is_default";
    /// How they are spoken to. Absent: any way.
    "schemes" schemes: BTreeSet<Scheme> = List(Word), unless "is_default";
    /// What it says of what it matches.
    "verdict" verdict: Verdict = Word,
        need "say what becomes of what it matches: `verdict: allow`, `warn`, `review` or `block`";
}

keyed! {
    /// How much a destination may be used: at least one bound.
    pub struct Budget,
        written ["requests", "request-size", "response-size"],
        conditions json!({"minProperties": 1});

    /// The size of one request.
    "request-size" request_size: Option<u64> = Maybe(SIZE), unless "is_default";
    /// Requests within a minute.
    "requests" requests_per_minute: Option<u64> = Maybe(PER_MINUTE), unless "is_default";
    /// The size of one response.
    "response-size" response_size: Option<u64> = Maybe(SIZE), unless "is_default";
}

keyed! {
    /// A rule about secrets. No form of it gives a value to the command: the broker outside puts it in.
    pub struct SecretRule,
        written ["id", "alias", "to", "inject", "verdict", "mode", "otherwise", "reason"],
        conditions forms::named_hosts("to");

    /// The secret's alias, with `*` for any part of it.
    "alias" alias: String = ALIAS, need "say which secret: `alias: github`";
    /// Its name, unique in the policy.
    "id" id: String = ID, need "give the rule a name: `id: work`";
    /// Where in a request it may be put.
    "inject" inject: BTreeSet<Inject> = List(Word), need "say where it is put: `inject: header`";
    /// Whether it is in force.
    "mode" mode: Mode = Word, unless "is_default";
    /// It speaks only where no other rule covers the request.
    "otherwise" otherwise: bool = Flag, unless "is_default";
    /// Why, for whoever meets it.
    "reason" reason: Option<String> = Maybe(REASON), unless "is_default";
    /// The hosts that it may be sent to, as in `network-egress`.
    "to" to: BTreeSet<String> = List(HOST_OR_ANY), need "say which host it may be sent to: `to: api.github.com`";
    /// What it says of what it matches.
    "verdict" verdict: Verdict = Word,
        need "say what becomes of what it matches: `verdict: allow`, `warn`, `review` or `block`";
}

/// The keys that rules of every contract have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'r> {
    pub id: &'r str,
    pub mode: Mode,
    pub otherwise: bool,
    pub reason: Option<&'r str>,
    pub verdict: Verdict,
}

/// A rule of any contract.
pub(crate) trait Rule: Clone + Keyed + Serialize {
    /// The contract's key in a policy.
    const CONTRACT: &str;

    fn head(&self) -> Head<'_>;

    /// Its patterns, or its hosts.
    fn patterns(&self) -> &BTreeSet<String>;

    /// The rules of its contract.
    fn all(document: &Document) -> &[Self];

    /// The same, mutable.
    fn of(document: &mut Document) -> &mut Vec<Self>;

    /// A document of this rule alone.
    fn alone(self) -> Document {
        let mut document = Document::default();
        Self::of(&mut document).push(self);
        document
    }
}

macro_rules! rules {
    ($($rule:ident: $patterns:ident in $contract:ident, $key:literal;)*) => {$(
        impl Rule for $rule {
            const CONTRACT: &str = $key;

            fn head(&self) -> Head<'_> {
                Head {
                    id: &self.id,
                    mode: self.mode,
                    otherwise: self.otherwise,
                    reason: self.reason.as_deref(),
                    verdict: self.verdict,
                }
            }

            fn patterns(&self) -> &BTreeSet<String> {
                &self.$patterns
            }

            fn all(document: &Document) -> &[Self] {
                &document.$contract
            }

            fn of(document: &mut Document) -> &mut Vec<Self> {
                &mut document.$contract
            }
        }
    )*};
}

rules! {
    CapabilityRule: matches in capabilities, "capabilities";
    EgressRule: hosts in network_egress, "network-egress";
    SecretRule: to in secrets_boundary, "secrets-boundary";
}

impl Document {
    /// What the rules of all contracts have in common.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let capabilities = self.capabilities.iter().map(Rule::head);
        let egress = self.network_egress.iter().map(Rule::head);
        let secrets = self.secrets_boundary.iter().map(Rule::head);
        capabilities.chain(egress).chain(secrets)
    }
}

/// Whether a text may be the id of a rule, native or in Rego.
pub(crate) fn is_id(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(known)
        && text.bytes().all(|b| known(b) || b"-_.".contains(&b))
}
