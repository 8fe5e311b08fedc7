//! The entry `sops` of a file: how the rest of it is encrypted, and for whom.

use std::time::SystemTime;

use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_automata::util::syntax;

use super::cipher::DataKey;
use super::tree::Tree;
use crate::identity::Identities;
use crate::store;

/// The most recipients of a file that are tried.
const MOST: usize = 256;

/// What a key of a file decrypts to, in bytes.
const KEY: usize = 32;

/// The most memory that a rule's expression may take, in bytes.
const LARGEST: usize = 1 << 20;

/// Which leaves are encrypted.
enum Rule {
    /// All but below keys that end so.
    UnencryptedSuffix(String),
    /// Those alone below keys that end so.
    EncryptedSuffix(String),
    /// All but below keys that match.
    UnencryptedRegex(Box<PikeVM>),
    /// Those alone below keys that match.
    EncryptedRegex(Box<PikeVM>),
}

/// What the entry says.
pub(super) struct Metadata {
    rule: Rule,
    /// Its own key, for each recipient.
    sealed: Vec<(String, String)>,
    /// The MAC, encrypted.
    pub mac: String,
    /// What it is encrypted with as additional data.
    pub last_modified: String,
    /// The MAC is over encrypted leaves alone.
    pub only_encrypted: bool,
}

impl Metadata {
    /// Takes the entry out of the tree.
    pub fn take(tree: &mut Tree) -> Result<Self, String> {
        let Tree::Map(entries) = tree else {
            return Err("it is not a map".into());
        };
        let at = entries.iter().position(|(key, _)| key == "sops");
        let at = at.ok_or("it is not a file of SOPS: it has no entry `sops`\n  help: encrypt it with `sops encrypt --in-place`")?;
        let (_, entry) = entries.remove(at);
        if entries.iter().any(|(key, _)| key == "sops") {
            return Err("it has two entries `sops`".into());
        }
        let text = |name: &str| entry.text(name).filter(|text| !text.is_empty());
        let needed = |name: &str| {
            text(name)
                .map(str::to_owned)
                .ok_or(format!("`sops.{name}` is missing"))
        };
        let other = ["kms", "gcp_kms", "azure_kv", "hc_vault", "pgp", "hckms"];
        for name in ["unencrypted_comment_regex", "encrypted_comment_regex"] {
            if text(name).is_some() {
                return Err(format!(
                    "which of its values are encrypted depends on comments (`{name}`), which Aegis does not read"
                ));
            }
        }
        if entry.has("key_groups") || entry.has("shamir_threshold") {
            return Err(
                "its key is split among groups (`key_groups`), and Aegis joins none".into(),
            );
        }
        let sealed = entry
            .entry("age")
            .map(sealed)
            .transpose()?
            .unwrap_or_default();
        if sealed.is_empty() {
            let whom = other
                .iter()
                .filter(|name| entry.has(name))
                .copied()
                .collect::<Vec<_>>();
            let whom = if whom.is_empty() {
                "nobody".into()
            } else {
                whom.join(", ")
            };
            return Err(format!(
                "it is encrypted for {whom}, and Aegis opens what is encrypted for age\n  help: `sops rotate --add-age RECIPIENT --in-place` adds a recipient"
            ));
        }
        let only_encrypted = match entry.text("mac_only_encrypted") {
            None | Some("False" | "") => false,
            Some("True") => true,
            Some(_) => return Err("`sops.mac_only_encrypted` is neither true nor false".into()),
        };
        Ok(Self {
            rule: rule(&text)?,
            sealed,
            mac: needed("mac")?,
            last_modified: needed("lastmodified")?,
            only_encrypted,
        })
    }

    /// When the file was changed last, in seconds since 1970.
    pub fn modified(&self) -> Option<u64> {
        let time = humantime::parse_rfc3339(&self.last_modified).ok()?;
        Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
    }

    /// The key of the file.
    pub fn data_key(&self, identities: &Identities) -> Result<DataKey, String> {
        let mut why = String::new();
        for (_, sealed) in &self.sealed {
            match store::decrypted(sealed.as_bytes(), KEY, identities) {
                Ok(key) => return DataKey::new(&key),
                Err(error) => why = error,
            }
        }
        let whom: Vec<&str> = self
            .sealed
            .iter()
            .take(4)
            .map(|(whom, _)| whom.as_str())
            .collect();
        let more = if self.sealed.len() > 4 {
            " and others"
        } else {
            ""
        };
        Err(format!(
            "none of your identities opens it ({why}): it is encrypted for {}{more}",
            aegis_profile::syntax::escape(&whom.join(", "))
        ))
    }

    /// Whether the leaf to which these keys lead is encrypted.
    pub fn is_encrypted(&self, keys: &[&str]) -> bool {
        let any = |matches: &dyn Fn(&str) -> bool| keys.iter().any(|key| matches(key));
        match &self.rule {
            Rule::UnencryptedSuffix(suffix) => !any(&|key| key.ends_with(suffix.as_str())),
            Rule::EncryptedSuffix(suffix) => any(&|key| key.ends_with(suffix.as_str())),
            Rule::UnencryptedRegex(regex) => !any(&|key| matches(regex, key)),
            Rule::EncryptedRegex(regex) => any(&|key| matches(regex, key)),
        }
    }
}

/// The encrypted keys of the file, by their recipients.
fn sealed(age: &Tree) -> Result<Vec<(String, String)>, String> {
    let items = match age {
        Tree::List(items) => items,
        Tree::Null => return Ok(Vec::new()),
        _ => return Err("`sops.age` is not a list".into()),
    };
    if items.len() > MOST {
        return Err(format!("it has more than {MOST} recipients"));
    }
    let one = |item: &Tree| {
        let text = |name: &str| item.text(name).map(str::to_owned);
        (text("recipient").zip(text("enc")))
            .ok_or_else(|| "an entry of `sops.age` has no `recipient` or `enc`".to_owned())
    };
    items.iter().map(one).collect()
}

fn rule<'t>(text: &dyn Fn(&str) -> Option<&'t str>) -> Result<Rule, String> {
    let mut rules = Vec::new();
    if let Some(suffix) = text("unencrypted_suffix") {
        rules.push(Rule::UnencryptedSuffix(suffix.into()));
    }
    if let Some(suffix) = text("encrypted_suffix") {
        rules.push(Rule::EncryptedSuffix(suffix.into()));
    }
    if let Some(pattern) = text("unencrypted_regex") {
        rules.push(Rule::UnencryptedRegex(compiled(pattern)?));
    }
    if let Some(pattern) = text("encrypted_regex") {
        rules.push(Rule::EncryptedRegex(compiled(pattern)?));
    }
    let rule = rules.pop();
    match rules.is_empty() {
        // What SOPS does where nothing is said.
        true => Ok(rule.unwrap_or_else(|| Rule::UnencryptedSuffix("_unencrypted".into()))),
        false => Err("it has two rules for which of its values are encrypted".into()),
    }
}

/// An expression as Go reads it, in which `\w` and its like are of ASCII. What is read otherwise here ends in a value that cannot be
/// decrypted, or in a MAC that is wrong.
fn compiled(pattern: &str) -> Result<Box<PikeVM>, String> {
    let built = PikeVM::builder()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(
            thompson::Config::new()
                .nfa_size_limit(Some(LARGEST))
                .utf8(false),
        )
        .build(pattern);
    Ok(Box::new(built.map_err(
        |_| "its rule is an expression that Aegis does not know",
    )?))
}

fn matches(regex: &PikeVM, key: &str) -> bool {
    regex.is_match(&mut regex.create_cache(), key)
}
