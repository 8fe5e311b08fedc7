//! Where each secret comes from, and getting it from there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use aegis_sys::private::Others;
use rustix::fs::OFlags;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::command::{Commands, Failure};
use crate::error::Error;
use crate::identity::{Identities, parts};
use crate::places::Places;
use crate::sources::{self, Entry, Source, Sources};
use crate::store::{self, Stamp, Store};
use crate::value::Value;
use crate::{sops, vault};

/// How long what Vault said is used, where it does not say that it ends before.
const VAULT_TTL: Duration = Duration::from_secs(60);

/// The secrets of a user.
#[derive(Debug)]
pub struct Secrets {
    /// Where they are.
    pub places: Places,
    /// Those of other sources, and what is said of those in the store.
    pub sources: Sources,
    /// The commands of other sources.
    pub commands: Commands,
}

/// A secret that was got.
#[derive(Debug)]
pub struct Got {
    /// Its value.
    pub value: Value,
    /// Until when it is good.
    pub dates: Dates,
    /// Until when it need not be got again.
    pub fresh: Fresh,
}

/// What is known of a version of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dates {
    /// Until when it is good, in seconds since 1970.
    pub expires: Option<u64>,
    /// When it was written, in seconds since 1970.
    pub written: Option<u64>,
    /// Whether it is older than its `rotate-every`.
    pub due: bool,
}

/// How it is known that a secret is still the same.
#[derive(Clone, Copy, Debug)]
pub enum Fresh {
    /// Its file is the same.
    Stamp(Stamp),
    /// It is used until then.
    Until(Instant),
}

/// Why a secret could not be got.
#[derive(Debug)]
pub struct Failed {
    /// Where it was looked for.
    pub source: String,
    /// Why. Nothing that a command said is in it.
    pub why: String,
    /// The last line that a command said, for its caller alone.
    pub said: Option<String>,
}

impl Secrets {
    /// Those of the user of this process. `program` is this program.
    pub fn open(program: PathBuf) -> Result<Self, Error> {
        let places = Places::here().ok_or(Error::NoHome)?;
        let sources = sources::read(&places)?;
        let commands = Commands::new(program);
        Ok(Self {
            places,
            sources,
            commands,
        })
    }

    /// All aliases, in the order of their names.
    pub fn aliases(&self) -> Result<Vec<String>, Error> {
        let mut found = self.stored()?;
        found.extend(
            self.sources
                .iter()
                .filter(|(_, entry)| entry.source.is_some())
                .map(|(alias, _)| alias.clone()),
        );
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The aliases in the store.
    pub fn stored(&self) -> Result<Vec<String>, Error> {
        Store::open(&self.places)?.map_or(Ok(Vec::new()), |store| store.aliases())
    }

    /// Where a secret comes from, in words.
    pub fn source(&self, alias: &str) -> String {
        match self
            .sources
            .get(alias)
            .and_then(|entry| entry.source.as_ref())
        {
            Some(source) => source.to_string(),
            None => format!(
                "age store {}",
                self.places.store.join(format!("{alias}.age")).display()
            ),
        }
    }

    /// Whether a version that was got before need not be got again.
    pub fn is_fresh(&self, alias: &str, dates: &Dates, fresh: &Fresh) -> bool {
        if dates.expires.is_some_and(|expires| expires <= now()) {
            return false;
        }
        match fresh {
            Fresh::Until(until) => Instant::now() < *until,
            Fresh::Stamp(stamp) => match self
                .sources
                .get(alias)
                .and_then(|entry| entry.source.as_ref())
            {
                Some(Source::Sops { file, .. }) => {
                    sops_file(file).is_ok_and(|(_, found)| found == *stamp)
                }
                Some(_) => false,
                None => {
                    let file = Store::open(&self.places)
                        .and_then(|store| store.map_or(Ok(None), |store| store.file(alias)));
                    matches!(file, Ok(Some((_, found))) if found == *stamp)
                }
            },
        }
    }

    /// Whether a secret whose version was written then is due.
    pub fn is_due(&self, alias: &str, written: Option<u64>) -> bool {
        let every = self.sources.get(alias).and_then(|entry| entry.rotate_every);
        every
            .zip(written)
            .is_some_and(|(every, written)| written.saturating_add(every.as_secs()) <= now())
    }

    /// Gets a secret.
    pub fn get(&self, alias: &str) -> Result<Got, Failed> {
        let failed = |why: String| Failed {
            source: self.source(alias),
            why,
            said: None,
        };
        let told = |error: Error| failed(error.to_string());
        store::check(alias).map_err(|error| Failed {
            source: "no source".into(),
            why: error.to_string(),
            said: None,
        })?;
        let entry = self.sources.get(alias);
        let stored = Store::open(&self.places)
            .and_then(|store| store.map_or(Ok(None), |store| store.file(alias)));
        let stored = stored.map_err(told)?;
        let mut got = match (
            entry.and_then(|entry| Some((entry, entry.source.as_ref()?))),
            stored,
        ) {
            (Some(_), Some(_)) => {
                return Err(failed(format!(
                    "it is in the store too, and which of the two is meant cannot be known\n  help: remove that one with `aegis secrets rm {alias}`, or this source from {}",
                    self.places.sources.display()
                )));
            }
            (Some((entry, source)), None) => {
                self.from(entry, source)
                    .map_err(|Failure { why, said }| Failed {
                        said,
                        ..failed(why)
                    })?
            }
            (None, None) => return Err(told(Error::Unknown(alias.to_owned()))),
            (None, Some((file, stamp))) => {
                let identities = Identities::read(&self.places.key).map_err(told)?;
                let identities =
                    identities.ok_or_else(|| told(Error::NoKey(self.places.key.clone())))?;
                Got {
                    value: store::open(file, &identities).map_err(failed)?,
                    dates: Dates {
                        written: Some(stamp.written()),
                        ..Dates::default()
                    },
                    fresh: Fresh::Stamp(stamp),
                }
            }
        };
        if got.dates.expires.is_some_and(|expires| expires <= now()) {
            return Err(failed("it has expired".into()));
        }
        if entry.is_some_and(|entry| entry.rotate_every.is_some()) && got.dates.written.is_none() {
            return Err(failed(
                "its source does not say how old it is, so `rotate-every` cannot hold: remove that"
                    .into(),
            ));
        }
        got.dates.due = self.is_due(alias, got.dates.written);
        Ok(got)
    }

    fn from(&self, entry: &Entry, source: &Source) -> Result<Got, Failure> {
        match source {
            Source::Sops { file, key } => {
                let (file, stamp) = sops_file(file)?;
                let file = parsed(file)?;
                let found =
                    file.value(key, &self.identities().map_err(|error| error.to_string())?)?;
                let (expires, due) = (None, false);
                Ok(Got {
                    value: found.value,
                    dates: Dates {
                        expires,
                        written: found.modified,
                        due,
                    },
                    fresh: Fresh::Stamp(stamp),
                })
            }
            Source::Vault {
                url,
                path,
                field,
                token,
            } => {
                let found = vault::get(url, path, field, token, entry.timeout)?;
                Ok(Got {
                    value: found.value,
                    dates: Dates {
                        expires: found.expires,
                        written: found.written,
                        due: false,
                    },
                    fresh: Fresh::Until(Instant::now() + VAULT_TTL),
                })
            }
            Source::Exec { command, ttl } => {
                let printed = self.commands.run(command, None, entry.timeout)?;
                let (value, expires) = printed_value(printed)?;
                let ttl = match (ttl, expires) {
                    (Some(ttl), _) => *ttl,
                    (None, Some(expires)) => Duration::from_secs(expires.saturating_sub(now())),
                    (None, None) => sources::TTL,
                };
                // A time that is further away than a clock goes is as good as a day.
                let now = Instant::now();
                let until = now
                    .checked_add(ttl)
                    .unwrap_or(now + Duration::from_secs(86_400));
                let dates = Dates {
                    expires,
                    ..Dates::default()
                };
                Ok(Got {
                    value,
                    dates,
                    fresh: Fresh::Until(until),
                })
            }
        }
    }

    /// Whoever may open files of SOPS: those whom SOPS finds, and the user of the store.
    fn identities(&self) -> Result<Identities, Error> {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        let mut found = Vec::new();
        if let Ok(keys) = std::env::var("SOPS_AGE_KEY") {
            let parsed = Identities::parse(Zeroizing::new(keys.into_bytes()));
            let path = PathBuf::from("SOPS_AGE_KEY");
            found.push(parsed.map_err(|why| Error::Key { path, why })?);
        }
        if let Some(file) = path("SOPS_AGE_KEY_FILE") {
            let named = Identities::read(&file)?;
            found.push(named.ok_or_else(|| Error::Key {
                path: file,
                why: "there is no such file".into(),
            })?);
        }
        found.extend(Identities::read(
            &self.places.config.join("sops/age/keys.txt"),
        )?);
        found.extend(Identities::read(&self.places.key)?);
        let all = found.into_iter().reduce(Identities::and);
        all.ok_or_else(|| {
            Error::Not(format!(
                "there is no identity of age's to open it with\n  help: make one with `aegis secrets init`, and have the file encrypted for it; or set SOPS_AGE_KEY_FILE, or put one into {}",
                self.places.config.join("sops/age/keys.txt").display()
            ))
        })
    }
}

fn sops_file(path: &Path) -> Result<(std::fs::File, Stamp), String> {
    let opened = parts(path).and_then(|found| match found {
        None => Ok(None),
        Some((dir, name)) => Ok(dir.file(&name, OFlags::RDONLY, Others::MayRead)?),
    });
    let file = opened.map_err(|error| error.to_string())?;
    let file = file.ok_or_else(|| format!("there is no file {}", path.display()))?;
    let stamp = Stamp::of(&file).map_err(|error| error.to_string())?;
    Ok((file, stamp))
}

fn parsed(file: std::fs::File) -> Result<sops::File, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = file.take(sops::LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    sops::File::parse(&bytes)
}

/// When a file of SOPS was changed last, as it says and nobody has checked.
pub fn modified(path: &Path) -> Option<u64> {
    parsed(sops_file(path).ok()?.0).ok()?.modified()
}

/// What a command prints for a value that is good for a time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Printed {
    value: Zeroizing<String>,
    #[serde(default)]
    expires: Option<Expires>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expires {
    Seconds(u64),
    Date(String),
}

/// What a command has printed: the value in a line, or an object with `value` and, if it likes, `expires`.
fn printed_value(printed: Zeroizing<Vec<u8>>) -> Result<(Value, Option<u64>), String> {
    let is_object = || {
        let keys = serde_json::from_slice::<HashMap<String, IgnoredAny>>(&printed);
        keys.is_ok_and(|keys| keys.contains_key("value"))
    };
    if printed.trim_ascii_start().first() != Some(&b'{') || !is_object() {
        let value = Value::line(printed).map_err(|why| format!("what it printed: {why}"))?;
        return Ok((value, None));
    }
    // Nothing of it is told: it may be the value.
    let object: Printed = serde_json::from_slice(&printed).map_err(|error| {
        format!(
            "what it printed is JSON with more or other things than `value` (text) and `expires` (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    let expires = match object.expires {
        None => None,
        Some(Expires::Seconds(seconds)) => Some(seconds),
        Some(Expires::Date(date)) => {
            let time = humantime::parse_rfc3339_weak(&date).ok();
            let time = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            Some(time.ok_or("`expires` is neither seconds since 1970 nor a date such as 2030-01-31T12:00:00Z")?.as_secs())
        }
    };
    let value = Value::text(&object.value).map_err(|why| format!("what it printed: {why}"))?;
    Ok((value, expires))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(printed: &str) -> Result<(String, Option<u64>), String> {
        let (value, expires) = printed_value(Zeroizing::new(printed.as_bytes().to_vec()))?;
        Ok((String::from_utf8_lossy(value.bytes()).into_owned(), expires))
    }

    #[test]
    fn what_a_command_prints_is_a_line_or_an_object() {
        let is = |text: &str, expires| Ok((text.to_owned(), expires));
        assert_eq!(value("abc\n"), is("abc", None));
        assert_eq!(value("{not json"), is("{not json", None));
        assert_eq!(value(r#"{"token":"x"}"#), is(r#"{"token":"x"}"#, None));
        assert_eq!(value("{\"value\": \"abc\"}\n"), is("abc", None));
        assert_eq!(
            value(r#"{"value":"abc","expires":2000000000}"#),
            is("abc", Some(2_000_000_000))
        );
        assert_eq!(
            value(r#"{"value":"abc","expires":"2033-05-18T03:33:20Z"}"#),
            is("abc", Some(2_000_000_000))
        );
        assert_eq!(value(r#"{"value":"abc","expires":null}"#), is("abc", None));
        for wrong in [
            "",
            "a\nb",
            r#"{"value":"sesame","more":1}"#,
            r#"{"value":1}"#,
            r#"{"value":"sesame","expires":"soon"}"#,
            r#"{"value":"sesame","expires":-1}"#,
            r#"{"value":"a\nb"}"#,
            r#"{"value":""}"#,
        ] {
            let why = value(wrong).unwrap_err();
            assert!(!why.contains("sesame"), "{why}");
        }
    }
}
