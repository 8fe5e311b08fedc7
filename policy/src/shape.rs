//! The shape of a policy's file: which keys there are, what each means, and what its values look like. The
//! JSON Schemas are derived from these types; they are never filled (see `load`, which reads the same form).

#![allow(
    dead_code,
    reason = "the fields exist for their names, types and documentation"
)]

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::model::{Action, Inject, LAYERS, Mode, OnAuditFailure, Scheme, Verdict};

/// One item, or a list of at least one.
pub(crate) struct OneOrMore<T>(T);

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        one_or_more(&item.to_value())
    }
    fn inline_schema() -> bool {
        true
    }
}

fn one_or_more(item: &Value) -> Schema {
    json_schema!({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})
}

/// A type of text that a pattern describes.
macro_rules! text_form {
    ($($(#[$about:meta])* $name:ident = $pattern:expr;)*) => {$(
        $(#[$about])*
        pub(crate) struct $name;
        impl $name {
            const PATTERN: &'static str = $pattern;
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": Self::PATTERN})
            }
            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

/// `**`, or a name with `*` in it.
macro_rules! component {
    () => {
        r"/(\*\*(?=/|$)|(?!\.\.?(/|$))((?!\*\*)[^/?\[\]{}\\\n\t])+)"
    };
}
/// A pattern of paths from a variable or from `/`.
macro_rules! path {
    () => {
        concat!(
            r"(/|(",
            component!(),
            r")+|\$(WORK|SKILL|HOME)(",
            component!(),
            ")*)"
        )
    };
}
macro_rules! port {
    () => {
        r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}
/// What stands in a name with `*`.
macro_rules! name {
    () => {
        r"[^?\[\]{}\\\n\t]+"
    };
}
macro_rules! octet {
    () => {
        r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}
macro_rules! label {
    () => {
        r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?"
    };
}
/// A host name whose last label is no number, perhaps after `*.`, or an address.
macro_rules! host {
    () => {
        concat!(
            r"((\*\.)?(?!([^*]*\.)?([0-9]+|0x[a-z0-9_\-]*)$)(?!.{254})",
            label!(),
            r"(\.",
            label!(),
            r")*|(",
            octet!(),
            r"\.){3}",
            octet!(),
            r"|[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)"
        )
    };
}

text_form! {
    /// The name of a rule.
    Id = r"^(?!limits\.)[a-z0-9][a-z0-9_.\-]{0,63}$";
    /// Text of one line.
    Line = r"^[^\n\t]+$";
    /// Paths.
    PathForm = concat!("^", path!(), "$");
    /// Programs.
    ProgramForm = concat!("^(", path!(), r"|(?![/$])[^/?\[\]{}\\\n\t]+)$");
    /// Ports.
    PortForm = concat!("^", port!(), "(-", port!(), ")?$");
    /// Runs.
    ToolForm = concat!("^(", path!(), r"|sha256:[0-9a-f]{64}|(?![/$])(?!sha256:)", name!(), ")$");
    /// Names.
    NameForm = concat!("^", name!(), "$");
    /// A host, all hosts below a name, an address.
    Host = concat!("^", host!(), "$");
    /// The same, or any.
    HostOrAny = concat!(r"^(\*|", host!(), ")$");
    /// An HTTP method.
    Method = r"^[A-Z\-]{1,32}$";
    /// The path of a URL.
    UrlPath = concat!("^(/|(", component!(), ")+)$");
    /// A size with its unit.
    Size = r"^[1-9][0-9]*(B|[KMGT](iB)?)$";
    /// A number per minute.
    PerMinute = r"^[1-9][0-9]*/m$";
    /// The name of a Rego file.
    RegoFile = r"^(?!/)(?!.*//)(?!(.*/)?\.\.?/)[^\\\n\t]*\.rego$";
}

/// A pattern of whatever kind; which, the rule's actions say.
pub(crate) struct AnyPattern;

impl JsonSchema for AnyPattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "pattern": Line::PATTERN})
    }
    fn inline_schema() -> bool {
        true
    }
}

/// What the patterns of a rule have to look like, for each of its actions.
fn patterns_by_action() -> Value {
    let form = |actions: &[Action], pattern: &str, numbers: bool| {
        let words: Vec<_> = actions.iter().map(|action| action.name()).collect();
        let item = match numbers {
            true => json!({"anyOf": [{"type": "string", "pattern": pattern}, {"type": "integer"}]}),
            false => json!({"type": "string", "pattern": pattern}),
        };
        json!({
            "if": {"properties": {"on": {"anyOf": [
                {"enum": words},
                {"type": "array", "contains": {"enum": words}},
            ]}}, "required": ["on"]},
            "then": {"properties": {"match": one_or_more(&item)}},
        })
    };
    let ports = json!({
        "if": {"properties": {"on": {"anyOf": [
            {"const": "net.listen"},
            {"type": "array", "contains": {"const": "net.listen"}},
        ]}}, "required": ["on"]},
        "then": {"properties": {"match": one_or_more(&json!({"anyOf": [
            {"type": "string", "pattern": PortForm::PATTERN},
            {"type": "integer", "minimum": 1, "maximum": 65535},
        ]}))}},
    });
    json!([
        form(
            &[Action::FilesRead, Action::FilesWrite],
            PathForm::PATTERN,
            false
        ),
        form(&[Action::ShellExec], ProgramForm::PATTERN, true),
        ports,
        form(&[Action::NetHost], "^host$", false),
        form(&[Action::ToolExec], ToolForm::PATTERN, true),
        form(
            &[
                Action::Devices,
                Action::EnvironmentPass,
                Action::SyscallsAllow
            ],
            NameForm::PATTERN,
            true,
        ),
    ])
}

/// A rule that allows names its hosts.
fn named_hosts(key: &str) -> Value {
    let item = json!({"type": "string", "pattern": Host::PATTERN});
    json!([{
        "if": {"properties": {"verdict": {"const": "allow"}}, "required": ["verdict"]},
        "then": {"properties": {key: one_or_more(&item)}},
    }])
}

/// A rule about what a profile asks for, and about runs as a whole.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("allOf" = patterns_by_action()))]
pub(crate) struct CapabilityRule {
    /// Its name, unique in the policy.
    id: Id,
    /// What it is about.
    on: OneOrMore<Action>,
    /// Patterns. Of `files.read` and `files.write`: paths from `/`, `$WORK`, `$SKILL` or `$HOME`, with `*`
    /// for any part of a name and `**` for any number of directories. Of `shell.exec`: such paths, or names
    /// of programs with `*`. Of `net.listen`: ports and ranges. Of `net.host`: `host`. Of `tool.exec`: paths
    /// that hold `$SKILL`, `sha256:` and a profile's hash, or profiles' names. Of the others: names with `*`.
    #[schemars(rename = "match")]
    matches: OneOrMore<AnyPattern>,
    /// What it says of what it matches.
    verdict: Verdict,
    /// Why, for whoever meets it.
    reason: Option<Line>,
    /// Whether it is in force.
    mode: Option<Mode>,
    /// It speaks only where no other rule covers the request.
    otherwise: Option<bool>,
}

/// A rule about destinations.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("allOf" = named_hosts("hosts")))]
pub(crate) struct EgressRule {
    /// Its name, unique in the policy.
    id: Id,
    /// Host names, `*.` and a name for all below it, IP addresses; `*` for any, where the verdict is not
    /// `allow`.
    hosts: OneOrMore<HostOrAny>,
    /// How they are spoken to. Absent: any way.
    schemes: Option<OneOrMore<Scheme>>,
    /// Absent: any.
    ports: Option<OneOrMore<Port>>,
    /// HTTP methods. Absent: any.
    methods: Option<OneOrMore<Method>>,
    /// Paths of URLs, with `*` and `**` as for files. Absent: any.
    paths: Option<OneOrMore<UrlPath>>,
    /// How much may be used; more is blocked.
    budget: Option<Budget>,
    /// It also lets through where the name stands for an address that is not public.
    private_addresses: Option<bool>,
    /// What it says of what it matches.
    verdict: Verdict,
    /// Why, for whoever meets it.
    reason: Option<Line>,
    /// Whether it is in force.
    mode: Option<Mode>,
    /// It speaks only where no other rule covers the request.
    otherwise: Option<bool>,
}

/// A TCP or UDP port.
pub(crate) struct Port;

impl JsonSchema for Port {
    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
    fn inline_schema() -> bool {
        true
    }
}

/// How much a destination may be used: at least one bound.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case", extend("minProperties" = 1))]
pub(crate) struct Budget {
    /// Requests within a minute.
    requests: Option<PerMinute>,
    /// The size of one request.
    request_size: Option<Size>,
    /// The size of one response.
    response_size: Option<Size>,
}

/// A rule about secrets. No form of it gives a value to the command: the broker outside puts it in.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("allOf" = named_hosts("to")))]
pub(crate) struct SecretRule {
    /// Its name, unique in the policy.
    id: Id,
    /// The secret's alias, with `*` for any part of it.
    alias: NameForm,
    /// The hosts that it may be sent to, as in `network-egress`.
    to: OneOrMore<HostOrAny>,
    /// Where in a request it may be put.
    inject: OneOrMore<Inject>,
    /// What it says of what it matches.
    verdict: Verdict,
    /// Why, for whoever meets it.
    reason: Option<Line>,
    /// Whether it is in force.
    mode: Option<Mode>,
    /// It speaks only where no other rule covers the request.
    otherwise: Option<bool>,
}

/// A layer that a host may lack.
pub(crate) struct LayerName;

impl JsonSchema for LayerName {
    fn schema_name() -> Cow<'static, str> {
        "Layer".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": LAYERS})
    }
    fn inline_schema() -> bool {
        true
    }
}

/// A schema of its own, by its file's name.
macro_rules! elsewhere {
    ($($name:ident = $file:literal;)*) => {$(
        pub(crate) struct $name;
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"$ref": $file})
            }
            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

elsewhere! {
    CapabilityContract = "capabilities.schema.json";
    EgressContract = "network-egress.schema.json";
    SecretContract = "secrets-boundary.schema.json";
}

/// Limits, as a profile has them.
pub(crate) struct Limits;

impl JsonSchema for Limits {
    fn schema_name() -> Cow<'static, str> {
        "Limits".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let profile = aegis_profile::schema::json();
        let mut limits = profile["$defs"]["Limits"].clone();
        if let Value::Object(object) = &mut limits {
            let about = "Ceilings for every profile: what asks for more gets as much as this.";
            object.insert("description".into(), about.into());
        }
        limits.try_into().unwrap_or_default()
    }
}

/// An Aegis policy: what may be granted, whatever a profile asks for. What no rule covers is blocked.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    /// The version of this format: always 1.
    #[schemars(extend("const" = 1))]
    aegis_policy: u32,
    /// What the policy is called in decisions and in the audit log. Absent: `unnamed`.
    name: Option<Line>,
    /// Rules about files, programs, devices, variables, ports, system calls, and runs as a whole.
    capabilities: Option<CapabilityContract>,
    /// Rules about destinations.
    network_egress: Option<EgressContract>,
    /// Rules about secrets.
    secrets_boundary: Option<SecretContract>,
    /// Ceilings for every profile.
    limits: Option<Limits>,
    /// Layers that a host may lack.
    may_be_missing: Option<Vec<LayerName>>,
    /// What happens when the audit log cannot be written.
    audit_failure: Option<OnAuditFailure>,
    /// Modules of rules in Rego: files beside this one.
    rego: Option<Vec<RegoFile>>,
}
