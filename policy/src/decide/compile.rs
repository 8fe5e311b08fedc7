//! From rules as written to rules that are quickly asked.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Policy;
use super::address::is_public;
use super::pattern::{
    BadPattern, HostPattern, NamePattern, PathPattern, Ports, Relation, bad, relation,
};
use super::tally::{Tally, Voice, refusal};
use crate::decision::Opinion;
use crate::hash::Hash;
use crate::model::{
    Action, Budget, CapabilityRule, Document, EgressRule, Inject, Scheme, SecretRule, Verdict,
};
use crate::path::HostPath;
use crate::request::{Approval, Context, Destination, What};

/// What a decision was made by, beside the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// What else takes part in decisions.
    pub features: &'static [&'static str],
    /// The name.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
}

/// This one.
pub const ENGINE: Engine = Engine {
    features: &[],
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};

/// Why a document is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{pattern}", rule.as_ref().map(|rule| format!("rule `{rule}`: ")).unwrap_or_default())]
pub struct BadPolicy {
    /// The document's name.
    pub document: String,
    /// The rule.
    pub rule: Option<String>,
    /// The item of the rule that is wrong.
    pub item: Option<String>,
    /// What is wrong with it.
    pub pattern: BadPattern,
}

/// One document, compiled.
#[derive(Debug)]
pub(super) struct Layer {
    pub document: Document,
    capabilities: BTreeMap<Action, Vec<Capability>>,
    egress: Vec<Egress>,
    secrets: Vec<Secret>,
}

/// A capability rule as far as it is about one action.
#[derive(Debug)]
struct Capability {
    voice: Voice,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
enum Pattern {
    Path(PathPattern),
    Name(NamePattern),
    Ports(Ports),
    Profile(Hash),
}

#[derive(Debug)]
struct Egress {
    voice: Voice,
    /// Said instead when the budget is used up.
    over_budget: Voice,
    /// Said of a connection, where it speaks of single requests only; `None`: nothing.
    opens: Option<Voice>,
    hosts: Vec<HostPattern>,
    /// Of [`EgressRule`]: what needs no compiling.
    schemes: Vec<Scheme>,
    ports: Vec<u16>,
    methods: Vec<String>,
    paths: Vec<PathPattern>,
    private_addresses: bool,
    budget: Budget,
}

#[derive(Debug)]
struct Secret {
    voice: Voice,
    alias: NamePattern,
    to: Vec<HostPattern>,
    inject: Vec<Inject>,
}

/// The directories of programs that belong to the system: what is named there is what it is called.
const SYSTEM_PROGRAMS: [&str; 6] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/sbin",
];

pub(super) fn policy(mut documents: Vec<Document>) -> Result<Policy, BadPolicy> {
    for document in &mut documents {
        document.capabilities.sort_by(|a, b| a.id.cmp(&b.id));
        document.network_egress.sort_by(|a, b| a.id.cmp(&b.id));
        document.secrets_boundary.sort_by(|a, b| a.id.cmp(&b.id));
        document.rego.sort();
    }
    #[derive(Serialize)]
    struct Hashed<'d> {
        documents: &'d [Document],
        engine: Engine,
    }
    let hash = Hash::of_canonical(&Hashed {
        documents: &documents,
        engine: ENGINE,
    });
    let layers = documents.into_iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Policy { layers, hash })
}

fn layer(document: Document) -> Result<Layer, BadPolicy> {
    let fail = |rule: Option<&str>, item: Option<&str>, pattern: BadPattern| BadPolicy {
        document: document.name.clone(),
        rule: rule.map(Into::into),
        item: item.map(Into::into),
        pattern,
    };
    let ids = (document.capabilities.iter().map(|r| &r.id))
        .chain(document.network_egress.iter().map(|r| &r.id))
        .chain(document.secrets_boundary.iter().map(|r| &r.id));
    let mut seen = std::collections::BTreeSet::new();
    for id in ids {
        if !is_id(id) {
            let help =
                "an id is made of a-z, 0-9, `-`, `_` and `.`, and begins with a letter or digit";
            return Err(fail(Some(id), Some(id), bad_item("this is no id", help)));
        }
        if !seen.insert(id) {
            let help = "a rule is known by its id: give each another";
            return Err(fail(
                Some(id),
                Some(id),
                bad_item("the id is given twice", help),
            ));
        }
    }
    if !document.rego.is_empty() {
        let wrong = bad_item("Rego modules are not part of this build", "remove `rego:`");
        return Err(fail(None, None, wrong));
    }
    let mut capabilities: BTreeMap<Action, Vec<Capability>> = BTreeMap::new();
    for rule in &document.capabilities {
        for action in &rule.on {
            let patterns = rule
                .matches
                .iter()
                .map(|item| pattern(*action, item).map_err(|e| fail(Some(&rule.id), Some(item), e)))
                .collect::<Result<_, _>>()?;
            capabilities.entry(*action).or_default().push(Capability {
                voice: rule.voice(),
                patterns,
            });
        }
    }
    let hosts = |id: &str, items: &std::collections::BTreeSet<String>| {
        items
            .iter()
            .map(|item| HostPattern::parse(item).map_err(|e| fail(Some(id), Some(item), e)))
            .collect::<Result<Vec<_>, _>>()
    };
    let mut egress = Vec::new();
    for rule in &document.network_egress {
        let paths = (rule.paths.iter())
            .map(|item| url_pattern(item).map_err(|e| fail(Some(&rule.id), Some(item), e)))
            .collect::<Result<_, _>>()?;
        if let Some(item) = rule.methods.iter().find(|method| !is_method(method)) {
            let help = "write it in capitals, such as `GET`";
            let wrong = bad_item("this is no HTTP method", help);
            return Err(fail(Some(&rule.id), Some(item), wrong));
        }
        egress.push(rule.compile(hosts(&rule.id, &rule.hosts)?, paths));
    }
    let mut secrets = Vec::new();
    for rule in &document.secrets_boundary {
        secrets.push(Secret {
            voice: rule.voice(),
            alias: NamePattern::parse(&rule.alias)
                .map_err(|e| fail(Some(&rule.id), Some(&rule.alias), e))?,
            to: hosts(&rule.id, &rule.to)?,
            inject: rule.inject.iter().copied().collect(),
        });
    }
    Ok(Layer {
        capabilities,
        egress,
        secrets,
        document,
    })
}

fn bad_item(message: &str, help: &str) -> BadPattern {
    BadPattern {
        message: message.into(),
        help: help.into(),
    }
}

fn is_id(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(known)
        && text.bytes().all(|b| known(b) || b"-_.".contains(&b))
}

fn is_method(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
}

fn pattern(action: Action, text: &str) -> Result<Pattern, BadPattern> {
    let is_path = text.starts_with(['/', '$']);
    Ok(match action {
        Action::FilesRead | Action::FilesWrite => Pattern::Path(PathPattern::parse(text)?),
        Action::ShellExec | Action::ToolExec if is_path => Pattern::Path(PathPattern::parse(text)?),
        Action::ToolExec if text.starts_with("sha256:") => match text["sha256:".len()..].parse() {
            Ok(hash) => Pattern::Profile(hash),
            Err(error) => return bad(error.to_string(), "`aegis profile check --json` prints it"),
        },
        Action::NetListen => Pattern::Ports(Ports::parse(text)?),
        Action::NetHost if text != "host" => {
            return bad("`net.host` has one pattern", "write `match: [host]`");
        }
        Action::ShellExec if text.contains('/') => {
            return bad(
                "a program is a name or an absolute path",
                "begin a path with `/` or a variable",
            );
        }
        _ => Pattern::Name(NamePattern::parse(text)?),
    })
}

/// A pattern of paths of URLs: no variables there.
fn url_pattern(text: &str) -> Result<PathPattern, BadPattern> {
    if !text.starts_with('/') {
        return bad(
            "the path of a URL begins with `/`",
            format!("write `/{text}`"),
        );
    }
    PathPattern::parse(text)
}

impl CapabilityRule {
    fn voice(&self) -> Voice {
        Voice::new(
            &self.id,
            self.verdict,
            self.mode,
            self.otherwise,
            self.reason.as_deref(),
        )
    }
}

impl SecretRule {
    fn voice(&self) -> Voice {
        Voice::new(
            &self.id,
            self.verdict,
            self.mode,
            self.otherwise,
            self.reason.as_deref(),
        )
    }
}

impl EgressRule {
    fn compile(&self, hosts: Vec<HostPattern>, paths: Vec<PathPattern>) -> Egress {
        let over = "its budget is used up";
        let voice = Voice::new(
            &self.id,
            self.verdict,
            self.mode,
            self.otherwise,
            self.reason.as_deref(),
        );
        Egress {
            over_budget: Voice::new(
                &self.id,
                Verdict::Block,
                self.mode,
                self.otherwise,
                Some(over),
            ),
            opens: (voice.effective() < Verdict::Block && !voice.is_softened()).then(|| {
                let why = "each request on the connection is decided for itself";
                Voice::new(
                    &self.id,
                    Verdict::Allow,
                    self.mode,
                    self.otherwise,
                    Some(why),
                )
            }),
            voice,
            hosts,
            schemes: self.schemes.iter().copied().collect(),
            ports: self.ports.iter().copied().collect(),
            methods: self.methods.iter().cloned().collect(),
            paths,
            private_addresses: self.private_addresses,
            budget: self.budget.clone(),
        }
    }
}

/// What cannot be decided because it is not what it should be.
pub(super) fn well_formed(what: &What) -> Result<(), &'static str> {
    match what {
        What::Read { path, .. } | What::Write { path, .. } | What::Exec { path, .. }
            if !path.is_plain() =>
        {
            Err("the path is not absolute, or has components that lead elsewhere")
        }
        What::Net(destination) if HostPattern::parse(&destination.host).is_err() => {
            Err("this is not the name of a host as it is compared: lower case, no trailing dot")
        }
        What::Secret { host, .. } if HostPattern::parse(host).is_err() => {
            Err("this is not the name of a host as it is compared: lower case, no trailing dot")
        }
        What::Net(destination) if destination.method.is_none() && destination.path.is_some() => {
            Err("a path without a method")
        }
        What::Net(destination)
            if destination.method.is_some() && !destination.scheme.has_requests() =>
        {
            Err("a method where there are no requests")
        }
        What::Tool { grants, .. } if grants.iter().any(|g| matches!(g, What::Tool { .. })) => {
            Err("a run within a run")
        }
        _ => Ok(()),
    }
}

impl Layer {
    /// What this document says of one thing that is [`well_formed`].
    pub fn opinion(&self, context: &Context, what: &What, approval: Option<&Approval>) -> Opinion {
        match what {
            What::Read { path, tree } => self.capability(Action::FilesRead, approval, |p| {
                p.of_path(context, path, *tree)
            }),
            What::Write { path, tree } => self.capability(Action::FilesWrite, approval, |p| {
                p.of_path(context, path, *tree)
            }),
            What::Exec { name, path, tree } => {
                self.capability(Action::ShellExec, approval, |pattern| {
                    pattern.of_program(context, name.as_deref(), path, *tree)
                })
            }
            What::Listen { port } => {
                self.capability(Action::NetListen, approval, |p| p.of_port(*port))
            }
            What::NetHost {} => self.capability(Action::NetHost, approval, |p| p.of_name("host")),
            What::Device { device } => {
                self.capability(Action::Devices, approval, |p| p.of_name(device))
            }
            What::Environment { name } => {
                self.capability(Action::EnvironmentPass, approval, |p| p.of_name(name))
            }
            What::Syscall { name } => {
                self.capability(Action::SyscallsAllow, approval, |p| p.of_name(name))
            }
            What::Limit { limit, value } => self.limit(limit, *value),
            What::Net(destination) => self.egress(context, destination, approval),
            What::Secret {
                alias,
                host,
                inject,
            } => self.secret(alias, host, *inject, approval),
            What::Tool { .. } => self.tool(context, approval),
        }
    }

    fn capability(
        &self,
        action: Action,
        approval: Option<&Approval>,
        relation: impl Fn(&Pattern) -> Relation,
    ) -> Opinion {
        let rules = self
            .capabilities
            .get(&action)
            .map_or(&[][..], Vec::as_slice);
        hear(rules, |rule| {
            let relation = rule.patterns.iter().map(&relation).max();
            (&rule.voice, relation.unwrap_or(Relation::Apart))
        })
        .opinion(approval)
    }

    /// A run as such is let through by what it asks for; rules can say worse.
    fn tool(&self, context: &Context, approval: Option<&Approval>) -> Opinion {
        let rules = self
            .capabilities
            .get(&Action::ToolExec)
            .map_or(&[][..], Vec::as_slice);
        let tally = hear(rules, |rule| {
            let relation = rule.patterns.iter().map(|p| p.of_tool(context)).max();
            (&rule.voice, relation.unwrap_or(Relation::Apart))
        });
        tally
            .opinion_unless_silent(approval)
            .unwrap_or_else(|| Opinion {
                reason: "all that it asks for is let through".into(),
                rules: Vec::new(),
                verdict: Verdict::Allow,
            })
    }

    fn limit(&self, limit: &str, value: Option<u64>) -> Opinion {
        let Some(ceiling) = self.document.limits.get(limit) else {
            return Opinion {
                reason: "a limit only takes away, and there is no ceiling".into(),
                rules: Vec::new(),
                verdict: Verdict::Allow,
            };
        };
        let within = value.is_some_and(|value| value <= *ceiling);
        Opinion {
            reason: match within {
                true => format!("within the ceiling `limits.{limit}`"),
                false => format!("above the ceiling `limits.{limit}`, which is {ceiling}"),
            }
            .into(),
            rules: vec![format!("limits.{limit}").into()],
            verdict: if within {
                Verdict::Allow
            } else {
                Verdict::Block
            },
        }
    }

    fn egress(&self, context: &Context, to: &Destination, approval: Option<&Approval>) -> Opinion {
        let literal = to.host.parse().ok();
        let inside = (to.address.or(literal)).is_some_and(|address| !is_public(address));
        let mut private_permitted = false;
        let tally = hear(&self.egress, |rule| {
            let (voice, relation) = rule.of(context, to);
            private_permitted |= rule.private_addresses && relation == Relation::Covers;
            (voice, relation)
        });
        let opinion = tally.opinion(approval);
        if inside && !private_permitted && opinion.verdict < Verdict::Block {
            return refusal(
                "it stands for an address that is not public, and no rule that covers it has `private-addresses`",
            );
        }
        opinion
    }

    fn secret(
        &self,
        alias: &str,
        host: &str,
        inject: Option<Inject>,
        approval: Option<&Approval>,
    ) -> Opinion {
        hear(&self.secrets, |rule| {
            let to = rule.to.iter().map(|to| to.relation(host)).max();
            let applies = rule.alias.matches(alias.as_bytes())
                && inject.is_none_or(|inject| rule.inject.contains(&inject));
            let relation = to.filter(|_| applies).unwrap_or(Relation::Apart);
            (&rule.voice, relation)
        })
        .opinion(approval)
    }
}

/// Hears ordinary rules, and those marked `otherwise` if none of the first covers.
fn hear<'r, R>(rules: &'r [R], mut of: impl FnMut(&'r R) -> (&'r Voice, Relation)) -> Tally<'r> {
    let mut tally = Tally::default();
    let mut others = Vec::new();
    for rule in rules {
        let (voice, relation) = of(rule);
        match voice.otherwise {
            true => others.push((voice, relation)),
            false => tally.hear(voice, relation),
        }
    }
    if !tally.is_covered() {
        for (voice, relation) in others {
            tally.hear(voice, relation);
        }
    }
    tally
}

impl Pattern {
    fn of_path(&self, context: &Context, path: &HostPath, tree: bool) -> Relation {
        match self {
            Self::Path(pattern) => pattern.relation(context, path, tree),
            _ => Relation::Apart,
        }
    }

    fn of_program(
        &self,
        context: &Context,
        name: Option<&str>,
        path: &HostPath,
        tree: bool,
    ) -> Relation {
        let pattern = match self {
            Self::Path(pattern) => return pattern.relation(context, path, tree),
            Self::Name(pattern) => pattern,
            _ => return Relation::Apart,
        };
        let (directory, own_name) = match path.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path.0[..at], &path.0[at + 1..]),
            None => return Relation::Apart,
        };
        if tree {
            // It may hold a program of that name.
            let whole = path.components();
            let system = SYSTEM_PROGRAMS.iter().any(|system| {
                let mut parts = system.split('/').skip(1);
                whole
                    .clone()
                    .all(|c| parts.next().is_some_and(|p| p.as_bytes() == c))
            });
            return if system {
                Relation::Touches
            } else {
                Relation::Apart
            };
        }
        let of_system = SYSTEM_PROGRAMS
            .iter()
            .any(|system| system.as_bytes() == directory);
        let by_name = name.is_some_and(|name| pattern.matches(name.as_bytes()));
        let by_own_name = pattern.matches(own_name);
        match (by_name, by_own_name) {
            (true, _) => Relation::Covers,
            (false, true) if of_system => Relation::Covers,
            (false, true) => Relation::Touches,
            (false, false) => Relation::Apart,
        }
    }

    fn of_tool(&self, context: &Context) -> Relation {
        match self {
            Self::Path(pattern) => match &context.skill {
                Some(skill) => pattern.relation(context, skill, false),
                None => Relation::Apart,
            },
            Self::Name(pattern) => Relation::of_one(pattern.matches(context.profile.as_bytes())),
            Self::Profile(hash) => Relation::of_one(*hash == context.profile_hash),
            Self::Ports(_) => Relation::Apart,
        }
    }

    fn of_port(&self, port: u16) -> Relation {
        match self {
            Self::Ports(ports) => Relation::of_one(ports.contains(port)),
            _ => Relation::Apart,
        }
    }

    fn of_name(&self, name: &str) -> Relation {
        match self {
            Self::Name(pattern) => Relation::of_one(pattern.matches(name.as_bytes())),
            _ => Relation::Apart,
        }
    }
}

impl Egress {
    /// Whether it speaks of single requests only.
    fn is_narrow(&self) -> bool {
        !self.methods.is_empty() || !self.paths.is_empty()
    }

    fn of(&self, _: &Context, to: &Destination) -> (&Voice, Relation) {
        let apart = (&self.voice, Relation::Apart);
        let scheme = self.schemes.is_empty() || self.schemes.contains(&to.scheme);
        let port = self.ports.is_empty() || self.ports.contains(&to.port);
        if !scheme || !port {
            return apart;
        }
        let hosts = self.hosts.iter().map(|host| host.relation(&to.host)).max();
        let host = hosts.unwrap_or(Relation::Apart);
        if host == Relation::Apart {
            return apart;
        }
        let Some(method) = &to.method else {
            return match (self.is_narrow(), to.scheme.has_requests()) {
                (false, _) => (&self.voice, host),
                // Each request on the connection will be asked about.
                (true, true) => match &self.opens {
                    Some(opens) => (opens, host),
                    None => apart,
                },
                (true, false) => apart,
            };
        };
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return apart;
        }
        let path = self.of_url(to.path.as_deref().unwrap_or("/"));
        match self.within_budget(to) {
            _ if path == Relation::Apart => apart,
            true => (&self.voice, host.min(path)),
            false => (&self.over_budget, host.min(path)),
        }
    }

    /// A path that a server may read in another way than we do is in no pattern for sure.
    fn of_url(&self, path: &str) -> Relation {
        if self.paths.is_empty() {
            return Relation::Covers;
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let plain = path.starts_with('/')
            && !path.contains("//")
            && !path.contains(['\\', ';', '%'])
            && path.bytes().all(|b| b.is_ascii_graphic())
            && path.split('/').all(|part| part != "." && part != "..");
        if !plain {
            return Relation::Touches;
        }
        let components = path.split('/').filter(|c| !c.is_empty()).map(str::as_bytes);
        let of = |pattern: &PathPattern| relation(&pattern.parts, components.clone(), false);
        self.paths.iter().map(of).max().unwrap_or(Relation::Apart)
    }

    /// What is not told cannot be held against a budget, and is over it.
    fn within_budget(&self, to: &Destination) -> bool {
        let Budget {
            request_size,
            requests_per_minute,
            response_size,
        } = &self.budget;
        let size = |limit: &Option<u64>, told: Option<u64>| {
            limit.is_none_or(|limit| told.is_some_and(|told| told <= limit))
        };
        let rate = |limit: &Option<u64>, told: Option<u64>| {
            limit.is_none_or(|limit| told.is_some_and(|told| told < limit))
        };
        size(request_size, to.request_size)
            && rate(requests_per_minute, to.requests_last_minute)
            // Not known before it comes.
            && to.response_size.is_none_or(|told| size(response_size, Some(told)))
    }
}
