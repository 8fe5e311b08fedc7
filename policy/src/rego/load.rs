//! Checks all modules of a document, one by one and together, and adds them to the engine.

use std::collections::BTreeMap;

use regorus::Engine;

use super::builtins::Pattern;
use super::check::{self, NameKind};
use super::limits::{RULES, TEXT};
use super::scan::{from_engine, scan};
use super::{BadModule, PREFIX, bound, shape};
use crate::model::{RegoModule, Verdict};

/// What the engine is asked for.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The patterns of `regex.match`.
    pub patterns: BTreeMap<String, Pattern>,
    /// Where each of the first entries comes from: the verdict, and the prefix of ids.
    pub sets: Vec<(Verdict, String)>,
    /// All sets, by their paths, those of verdicts first.
    ///
    /// Every set has a value, even if empty. The interpreter loses an error, such as running out of steps,
    /// where a rule of a set has no member: the set then has no value, unless other rules give it one, which is
    /// then right. If one set has no value, all sets together have none.
    pub entries: Vec<String>,
}

pub(super) fn load(modules: &[RegoModule], engine: &mut Engine) -> Result<Loaded, BadModule> {
    let mut loaded = Loaded::default();
    let mut others = Vec::new();
    let mut packages: BTreeMap<Option<String>, &RegoModule> = BTreeMap::new();
    let (mut bytes, mut rules) = (0, 0);
    for (index, module) in modules.iter().enumerate() {
        bytes += module.text.len();
        if bytes > TEXT {
            let message = format!("the modules have more than {TEXT} bytes together");
            return Err(BadModule::of_file(
                module,
                message,
                "put long lists into native rules",
            ));
        }
        scan(module)?;
        engine
            .add_policy(module.name.clone(), module.text.clone())
            .map_err(|error| from_engine(&module.name, &error))?;
        let Some(parsed) = engine.get_modules().get(index).cloned() else {
            return Err(BadModule::of_file(
                module,
                "it was not understood",
                "write it anew",
            ));
        };
        let checked = check::check(&parsed)?;
        bound::check(&parsed, &checked.names)?;
        shape::check(&parsed, &checked)?;
        rules += parsed.policy.len();
        if rules > RULES {
            let message = format!("the modules have more than {RULES} rules together");
            return Err(BadModule::of_file(module, message, "remove some"));
        }
        let (package, prefix) = match &checked.package {
            Some(name) => (format!("aegis.{name}"), format!("{PREFIX}{name}.")),
            None => ("aegis".into(), PREFIX.into()),
        };
        if let Some(other) = packages.insert(checked.package, module) {
            let message = format!("`package {package}` is that of {}", other.name);
            let help = "a package is one file: give this one another name";
            return Err(BadModule::of_file(module, message, help));
        }
        for (name, _) in checked
            .names
            .iter()
            .filter(|(_, kind)| **kind == NameKind::Set)
        {
            if !Verdict::ALL.iter().any(|verdict| verdict.name() == name) {
                others.push(format!("data.{package}.{name}"));
            }
        }
        for verdict in checked.verdicts {
            loaded.entries.push(format!("data.{package}.{verdict}"));
            loaded.sets.push((verdict, prefix.clone()));
        }
        loaded.patterns.extend(checked.patterns);
    }
    loaded.entries.append(&mut others);
    match (
        packages.get(&None),
        packages.iter().find(|(name, _)| name.is_some()),
    ) {
        // `data.aegis` would hold both rules and a package.
        (Some(_), Some((Some(name), module))) => {
            let message = format!("`package aegis` is in use, and so `aegis.{name}` is within it");
            let help = "give each module a name: `package aegis.NAME`";
            Err(BadModule::of_file(module, message, help))
        }
        _ => Ok(loaded),
    }
}
