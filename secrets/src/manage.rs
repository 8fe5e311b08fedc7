//! What `aegis secrets` has done by this program: each answers with a value to be printed, in which no secret is.

use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::fetch::{Secrets, modified};
use crate::identity::Identities;
use crate::places::Places;
use crate::protocol::LONGEST_VALUE;
use crate::sources::Source;
use crate::store::{self, Store};
use crate::value::{self, BadValue, Value, Versions};

/// What became of `init`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Key {
    /// The file.
    key: String,
    /// Whether it was made now.
    new: bool,
    /// For whom secrets are encrypted.
    recipient: String,
}

/// Makes the key, where there is none.
pub fn init() -> Result<Key, Error> {
    let places = Places::here().ok_or(Error::NoHome)?;
    let new = Identities::make(&places.key)?;
    let identities = needed(&places)?;
    Ok(Key {
        key: places.key.display().to_string(),
        new,
        recipient: identities.recipient().to_string(),
    })
}

fn needed(places: &Places) -> Result<Identities, Error> {
    Identities::read(&places.key)?.ok_or_else(|| Error::NoKey(places.key.clone()))
}

/// What became of `set` and `rotate`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stored {
    /// Which.
    alias: String,
    /// Whether there was one before.
    replaced: bool,
    /// Where it is.
    source: String,
}

/// Stores what standard input has.
pub fn set(secrets: &Secrets, alias: &str) -> Result<Stored, Error> {
    store::check(alias)?;
    if secrets
        .sources
        .get(alias)
        .is_some_and(|entry| entry.source.is_some())
    {
        return Err(Error::Not(format!(
            "the secret `{alias}` comes from {}, and is changed there\n  help: to have it in the store, remove that source from {}",
            secrets.source(alias),
            secrets.places.sources.display()
        )));
    }
    // What cannot be stored is not asked for.
    let identities = needed(&secrets.places)?;
    let store = Store::create(&secrets.places)?;
    let value = Value::line(input()?).map_err(|why| bad(alias, why))?;
    let _lock = store.lock()?;
    stored(secrets, &store, alias, &value, &identities)
}

fn bad(alias: &str, why: BadValue) -> Error {
    Error::Value {
        alias: alias.to_owned(),
        why,
    }
}

fn stored(
    secrets: &Secrets,
    store: &Store,
    alias: &str,
    value: &Value,
    identities: &Identities,
) -> Result<Stored, Error> {
    Ok(Stored {
        alias: alias.to_owned(),
        replaced: store.put(alias, value, identities)?,
        source: secrets.source(alias),
    })
}

/// Standard input: as much of it as can be a value, and a little more.
fn input() -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::System {
        doing: "reading standard input",
        source,
    };
    // Not by way of a buffer: what that leaves behind is not wiped.
    let file = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3);
    let file = std::fs::File::from(file.map_err(|error| failed(error.into()))?);
    value::read(file, LONGEST_VALUE + 2).map_err(failed)
}

/// A line of `list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Which.
    alias: String,
    /// When this version was written, in seconds since 1970, where that can be known without asking its source.
    changed: Option<u64>,
    /// Whether it is older than its `rotate-every`, where that can be known.
    due: Option<bool>,
    /// How old it may become, in seconds.
    rotate_every: Option<u64>,
    /// Where it comes from.
    source: String,
}

/// All secrets. No source is asked.
pub fn list(secrets: &Secrets) -> Result<Vec<Listed>, Error> {
    let store = Store::open(&secrets.places)?;
    let one = |alias: String| {
        let entry = secrets.sources.get(&alias);
        let changed = match entry.and_then(|entry| entry.source.as_ref()) {
            Some(Source::Sops { file, .. }) => modified(file),
            Some(_) => None,
            None => match &store {
                Some(store) => store.file(&alias)?.map(|(_, stamp)| stamp.written()),
                None => None,
            },
        };
        let rotate_every = entry
            .and_then(|entry| entry.rotate_every)
            .map(|every| every.as_secs());
        Ok(Listed {
            changed,
            due: (rotate_every.is_none() || changed.is_some())
                .then(|| secrets.is_due(&alias, changed)),
            rotate_every,
            source: secrets.source(&alias),
            alias,
        })
    };
    secrets.aliases()?.into_iter().map(one).collect()
}

/// What became of `rm`.
#[derive(Debug, Serialize)]
pub struct Removed {
    alias: String,
}

/// Removes a secret from the store.
pub fn rm(secrets: &Secrets, alias: &str) -> Result<Removed, Error> {
    store::check(alias)?;
    let removed = match Store::open(&secrets.places)? {
        Some(store) => {
            let _lock = store.lock()?;
            store.remove(alias)?
        }
        None => false,
    };
    let alias = alias.to_owned();
    if removed {
        return Ok(Removed { alias });
    }
    match secrets
        .sources
        .get(&alias)
        .is_some_and(|entry| entry.source.is_some())
    {
        true => Err(Error::Not(format!(
            "the secret `{alias}` is not in the store, but comes from {}\n  help: remove it from {}",
            secrets.source(&alias),
            secrets.places.sources.display()
        ))),
        false => Err(Error::Unknown(alias)),
    }
}

/// Has a new version made by `on-rotate`, which has the present one as its standard input. For a secret in the store, what that prints
/// is the new one. Another source has to give a new one afterwards.
pub fn rotate(secrets: &Secrets, alias: &str) -> Result<Stored, Error> {
    store::check(alias)?;
    let entry = secrets.sources.get(alias);
    let Some((entry, command)) = entry.and_then(|entry| Some((entry, entry.on_rotate.as_ref()?)))
    else {
        if !secrets.aliases()?.iter().any(|known| known == alias) {
            return Err(Error::Unknown(alias.to_owned()));
        }
        return Err(Error::Not(format!(
            "nothing is known that makes a new `{alias}`\n  help: name it in {}, `{alias}: {{on-rotate: [program, argument]}}`, or store a new one with `aegis secrets set {alias}`",
            secrets.places.sources.display()
        )));
    };
    let failed = |why: String| Error::Source {
        alias: alias.to_owned(),
        source_name: secrets.source(alias),
        why,
    };
    let get = || {
        secrets
            .get(alias)
            .map_err(|failure| failed(with(failure.why, failure.said)))
    };
    // Nobody else stores one meanwhile, which would be lost.
    let store = match entry.source {
        None => Some(Store::create(&secrets.places)?),
        Some(_) => None,
    };
    let _lock = store.as_ref().map(Store::lock).transpose()?;
    let before = get()?.value;
    let made = secrets.commands.run(command, Some(&before), entry.timeout);
    let made = made.map_err(|failure| {
        let why = with(failure.why, failure.said);
        Error::Not(format!(
            "the secret `{alias}` is as it was: `on-rotate` failed: {why}"
        ))
    })?;
    if let Some(store) = &store {
        let value = Value::line(made).map_err(|why| {
            Error::Not(format!("the secret `{alias}` is as it was: what `on-rotate` printed cannot be a secret: {why}"))
        })?;
        return stored(secrets, store, alias, &value, &needed(&secrets.places)?);
    }
    let versions = Versions::new().map_err(|source| Error::System {
        doing: "getting random bytes",
        source,
    })?;
    if versions.of(&get()?.value) == versions.of(&before) {
        return Err(failed("it is the same as before `on-rotate` ran".into()));
    }
    Ok(Stored {
        alias: alias.to_owned(),
        replaced: true,
        source: secrets.source(alias),
    })
}

fn with(why: String, said: Option<String>) -> String {
    match said {
        Some(said) => format!("{why}: {said}"),
        None => why,
    }
}

/// A line of `check`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// Which.
    alias: String,
    /// When this version was written, in seconds since 1970.
    changed: Option<u64>,
    /// Whether it is older than its `rotate-every`.
    due: bool,
    /// Until when it is good, in seconds since 1970.
    expires: Option<u64>,
    /// Whether it can be had.
    ok: bool,
    /// The last line of what its command said, where it cannot.
    said: Option<String>,
    /// Where it comes from.
    source: String,
    /// Why it cannot be had.
    why: Option<String>,
}

/// Asks the sources of secrets; of all, where none is named. Returns what they say, and whether all can be had.
pub fn check(secrets: &Secrets, aliases: Vec<String>) -> Result<(Vec<Checked>, bool), Error> {
    aliases.iter().try_for_each(|alias| store::check(alias))?;
    let aliases = if aliases.is_empty() {
        secrets.aliases()?
    } else {
        aliases
    };
    let one = |alias: String| match secrets.get(&alias) {
        Ok(got) => Checked {
            changed: got.dates.written,
            due: got.dates.due,
            expires: got.dates.expires,
            ok: true,
            said: None,
            source: secrets.source(&alias),
            why: None,
            alias,
        },
        Err(failed) => Checked {
            changed: None,
            due: false,
            expires: None,
            ok: false,
            said: failed.said,
            source: failed.source,
            why: Some(failed.why),
            alias,
        },
    };
    // One after the other, since each may ask a person.
    let checked: Vec<_> = aliases.into_iter().map(one).collect();
    let all = checked.iter().all(|checked| checked.ok);
    Ok((checked, all))
}
