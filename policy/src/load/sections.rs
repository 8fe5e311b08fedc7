//! The keys of a policy's file, each declared once: how it is read, printed and described.

use std::collections::BTreeMap;

use aegis_profile::syntax::{Node, Reporter, Span, Wrong, quote, scalar};
use aegis_profile::{LimitKey, Origin};
use serde_json::{Value, json};

use super::judge::judge;
use crate::model::fields::{Fields, unknown};
use crate::model::forms::{self, POLICY_NAME, REGO_FILE, Word};
use crate::model::keys::Form;
use crate::model::{
    CapabilityRule, Document, EgressRule, LAYERS, OnAuditFailure, OnBlockedAnomaly, RegoModule,
    Rule, SecretRule,
};

/// A key of a file.
pub(crate) struct Section {
    pub name: &'static str,
    pub about: &'static str,
    pub read: fn(&Node, &mut Union<'_>, &mut Reporter<'_>),
    /// The text after the name and its colon; `None`: the key may be left out.
    pub show: fn(&Document) -> Option<String>,
    pub schema: fn() -> Value,
}

/// All of them, in the order in which people write them.
pub(crate) const SECTIONS: [Section; 11] = [
    Section {
        name: VERSION,
        about: "The version of this format: always 1.",
        // Its presence is checked before any other key.
        read: |_, _, _| {},
        show: |_| Some(" 1".into()),
        schema: || json!({"const": 1, "format": "uint32", "minimum": 0, "type": "integer"}),
    },
    Section {
        name: "name",
        about: "What the policy is called in decisions and in the audit log. Absent: `unnamed`.",
        read: |node, union, out| {
            if let Some(name) = POLICY_NAME.read(out, node)
                && union.once("name".into(), node.span, "the policy's name", out)
            {
                union.document.name = name;
            }
        },
        show: |document| Some(format!(" {}", scalar(&document.name))),
        schema: || (POLICY_NAME.schema)(),
    },
    contract::<CapabilityRule>(
        "Rules about files, programs, devices, variables, ports, system calls, and runs as a whole.",
    ),
    contract::<EgressRule>("Rules about destinations."),
    contract::<SecretRule>("Rules about secrets."),
    Section {
        name: "limits",
        about: "Ceilings for every profile; and limits that must hold as they say, where they are set.",
        read: limits,
        show: |document| {
            let shown = LimitKey::ALL.iter().filter_map(|key| {
                let value = document.limits.get(key.name())?;
                Some(format!("\n  {key}: {}", key.show(*value)))
            });
            let must_hold = texts(document.must_hold.iter());
            let must_hold = must_hold.map(|list| format!("\n  {MUST_HOLD}:{list}"));
            let shown: String = shown.chain(must_hold).collect();
            (!shown.is_empty()).then_some(shown)
        },
        schema: || json!({"$ref": "#/$defs/Limits"}),
    },
    Section {
        name: "may-be-missing",
        about: "Layers that a host may lack.",
        read: |node, union, out| {
            for node in out.list(node, "may-be-missing") {
                let Some(name) = out.text(node, "a layer's name") else {
                    continue;
                };
                if !LAYERS.contains(&name) {
                    unknown("layer", name, node.span, LAYERS.iter().copied(), out);
                }
                union.document.may_be_missing.insert(name.to_owned());
            }
        },
        show: |document| texts(document.may_be_missing.iter()),
        schema: || json!({"type": "array", "items": {"enum": LAYERS}}),
    },
    Section {
        name: "audit-failure",
        about: "What happens when the audit log cannot be written.",
        read: |node, union, out| {
            if let Some(answer) = Word.read(node, "audit-failure", out)
                && union.once("audit-failure".into(), node.span, "`audit-failure`", out)
            {
                union.document.audit_failure = answer;
            }
        },
        show: |document| {
            (document.audit_failure == OnAuditFailure::Continue).then(|| " continue".into())
        },
        schema: || Form::<OnAuditFailure>::schema(&Word),
    },
    Section {
        name: "blocked-anomaly",
        about: "What becomes of a run that does something out of the ordinary which a rule blocks.",
        read: |node, union, out| {
            if let Some(answer) = Word.read(node, "blocked-anomaly", out)
                && union.once(
                    "blocked-anomaly".into(),
                    node.span,
                    "`blocked-anomaly`",
                    out,
                )
            {
                union.document.blocked_anomaly = answer;
            }
        },
        show: |document| {
            (document.blocked_anomaly == OnBlockedAnomaly::Refuse).then(|| " refuse".into())
        },
        schema: || Form::<OnBlockedAnomaly>::schema(&Word),
    },
    Section {
        name: "approval-passphrase",
        about: "The hash of a passphrase, as `aegis policy passphrase` prints it: a yes to what is reviewed counts only with it.",
        read: |node, union, out| {
            let Some(text) = out.text(node, "the hash of a passphrase") else {
                return;
            };
            match text.parse() {
                Ok(passphrase) => {
                    if union.once(
                        "approval-passphrase".into(),
                        node.span,
                        "`approval-passphrase`",
                        out,
                    ) {
                        union.document.approval_passphrase = Some(passphrase);
                    }
                }
                Err(Wrong { message, help }) => {
                    out.report(node.span, message).maybe_help(help);
                }
            }
        },
        show: |document| {
            let passphrase = document.approval_passphrase.as_ref()?;
            Some(format!(" {}", scalar(passphrase.as_str())))
        },
        schema: || json!({"type": "string", "pattern": PASSPHRASE}),
    },
    Section {
        name: "rego",
        about: "Modules of rules in Rego: files beside this one.",
        read: |node, union, out| {
            for node in out.list(node, "rego") {
                if let Some(name) = REGO_FILE.read(out, node) {
                    union.module(name, node.span, out);
                }
            }
        },
        show: |document| texts(document.rego.iter().map(|module| &module.name)),
        schema: || json!({"type": "array", "items": (REGO_FILE.schema)()}),
    },
];

/// The form of a passphrase's hash.
const PASSPHRASE: &str = r"^\$scrypt\$ln=1[4-8],r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$";

/// The key, below `limits`, that lists those which are not to be weakened.
const MUST_HOLD: &str = "must-hold";

/// The key that every file begins with.
pub(super) const VERSION: &str = "aegis-policy";

const fn contract<R: Rule>(about: &'static str) -> Section {
    Section {
        name: R::CONTRACT,
        about,
        read: |node, union, out| {
            for node in out.list(node, R::CONTRACT) {
                if let Some(rule) = rule::<R>(node, union, out) {
                    R::of(&mut union.document).push(rule);
                }
            }
        },
        show: |document| {
            let mut rules: Vec<&R> = R::all(document).iter().collect();
            rules.sort_by_key(|rule| rule.head().id);
            let keys = rules.iter().flat_map(|rule| {
                let keys = rule.shown().into_iter().enumerate();
                keys.map(|(at, (key, value))| match at {
                    0 => format!("\n  - {key}: {value}"),
                    _ => format!("\n    {key}: {value}"),
                })
            });
            (!rules.is_empty()).then(|| keys.collect())
        },
        schema: || json!({"$ref": format!("{}.schema.json", R::CONTRACT)}),
    }
}

fn texts<'t>(items: impl ExactSizeIterator<Item = &'t String>) -> Option<String> {
    let any = items.len() > 0;
    any.then(|| format!(" {}", forms::list(items.map(|item| scalar(item)))))
}

/// Reads the text of a named Rego file.
type Modules<'m> = Box<dyn Fn(&str) -> Result<String, Wrong> + 'm>;

/// The union of the files of one policy, and where each single thing was given first.
pub(crate) struct Union<'m> {
    pub(super) document: Document,
    /// Where the files name each Rego file.
    pub(super) rego: BTreeMap<String, Origin>,
    said: BTreeMap<String, Origin>,
    pub(super) modules: Modules<'m>,
}

impl<'m> Union<'m> {
    pub(super) fn new(modules: impl Fn(&str) -> Result<String, Wrong> + 'm) -> Self {
        Self {
            document: Document::default(),
            rego: BTreeMap::new(),
            said: BTreeMap::new(),
            modules: Box::new(modules),
        }
    }

    /// Checks that a thing is given only once, and reports where it was given first.
    fn once(&mut self, what: String, span: Span, shown: &str, out: &mut Reporter<'_>) -> bool {
        let origin = out.origin(span);
        if let Some(first) = self.said.get(&what) {
            let place = match first.file == origin.file {
                true => format!("first given in line {}", first.line),
                false => format!("first given at {first}"),
            };
            out.report(span, format!("{shown} is given twice"))
                .expected(place)
                .help("keep one of them");
            return false;
        }
        self.said.insert(what, origin);
        true
    }

    fn module(&mut self, name: String, span: Span, out: &mut Reporter<'_>) {
        if !is_rego_name(&name) {
            out.report(span, "not a Rego file beside the policy")
                .expected("a name that ends in .rego, relative to this file")
                .help("put the file into the policy's directory: `..` and `/` lead out of it");
            return;
        }
        let text = match (self.modules)(&name) {
            Ok(text) => text,
            Err(Wrong { message, help }) => {
                out.report(span, message).maybe_help(help);
                return;
            }
        };
        let Some(first) = self.rego.get(&name) else {
            self.rego.insert(name.clone(), out.origin(span));
            self.document.rego.push(RegoModule { name, text });
            return;
        };
        // The same file named twice is one module; two files of one name cannot be told apart.
        let mut modules = self.document.rego.iter();
        if modules.any(|module| module.name == name && module.text != text) {
            out.report(
                span,
                format!("two Rego files are called `{}`", quote(&name)),
            )
            .expected(format!("another one is named at {first}"))
            .help("rename one of them: decisions and records know a module by its name");
        }
    }
}

/// A path that stays in the policy's directory.
fn is_rego_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.ends_with(".rego") && !name.contains('\\') && name.split('/').all(plain)
}

/// A rule of any contract: read even where a part is wrong, so that all mistakes are reported. Missing parts
/// are then empty; they are never used, since a mistake has been reported.
fn rule<R: Rule>(node: &Node, union: &mut Union<'_>, out: &mut Reporter<'_>) -> Option<R> {
    let fields = Fields::of(node, "a rule", R::WRITTEN, out)?;
    let rule = R::read(&fields, out);
    let id = rule.head().id;
    if let Some(node) = fields.get("id").filter(|_| !id.is_empty()) {
        let shown = format!("the id `{}`", quote(id));
        union.once(format!("rule {id}"), node.span, &shown, out);
    }
    judge(rule.clone().alone(), node, out);
    Some(rule)
}

fn limits(node: &Node, union: &mut Union<'_>, out: &mut Reporter<'_>) {
    let keys: Vec<&str> = LimitKey::NAMES.iter().copied().chain([MUST_HOLD]).collect();
    let Some(fields) = Fields::of(node, "a map of limits", &keys, out) else {
        return;
    };
    for node in fields
        .get(MUST_HOLD)
        .map_or(&[][..], |node| out.list(node, MUST_HOLD))
    {
        let Some(name) = out.text(node, "a limit's name") else {
            continue;
        };
        if LimitKey::named(name).is_none() {
            unknown(
                "limit",
                name,
                node.span,
                LimitKey::NAMES.iter().copied(),
                out,
            );
        }
        union.document.must_hold.insert(name.to_owned());
    }
    for key in LimitKey::ALL {
        let Some(node) = fields.get(key.name()) else {
            continue;
        };
        let name = format!("limits.{key}");
        let shown = format!("`{name}`");
        if let Some(value) = key.read(out, node)
            && union.once(name, node.span, &shown, out)
        {
            let limits = BTreeMap::from([(key.to_string(), value)]);
            let alone = Document {
                limits: limits.clone(),
                ..Document::default()
            };
            judge(alone, node, out);
            union.document.limits.extend(limits);
        }
    }
}
