//! Secrets that the broker puts into requests: what each is put into, and what the command has in its place.

use std::collections::BTreeMap;

use aegis_policy::Hash;
use aegis_policy::model::Scheme;
use aegis_profile::{Declared, Destination, Origin, Outbound, Profile, SecretUse};

use super::Secret;
use crate::error::Error;

/// What stands for the part of a placeholder that differs has so many letters and digits: as many as the longest that programs look at.
const DIFFERS: usize = 36;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The secrets of a profile that was [checked](check).
pub(super) fn secrets(profile: &Profile) -> Vec<Secret> {
    let secrets = &profile.capabilities.secrets_use;
    if secrets.is_empty() {
        return Vec::new();
    }
    let profile = profile.hash();
    let secrets = secrets.iter().map(|(alias, secret)| {
        let secret = &secret.value;
        let header = secret.header.as_ref().and_then(|header| {
            let (name, value) = header.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        });
        let placeholder = secret.env.clone().map(|variable| {
            let like = secret.like.as_deref().unwrap_or("{}");
            let differs = placeholder(&[&profile.to_string(), alias]);
            (variable, like.replacen("{}", &differs, 1))
        });
        Secret {
            alias: alias.clone(),
            to: secret.to.clone(),
            header,
            query: secret.query.clone(),
            placeholder,
            ttl: secret.ttl.as_ref().map(|ttl| ttl.value),
        }
    });
    secrets.collect()
}

/// Letters and digits that are the same for the same words, and for no others. They are no secret.
fn placeholder(words: &[&str]) -> String {
    let first = Hash::of(words.join("\0").as_bytes()).hex();
    let second = Hash::of(&first).hex();
    let pairs = first.chunks_exact(2).chain(second.chunks_exact(2));
    let letters = pairs.map(|pair| {
        let number = pair
            .iter()
            .fold(0, |number, digit| number * 16 + usize::from(digit % 32));
        char::from(LETTERS[number % LETTERS.len()])
    });
    letters.take(DIFFERS).collect()
}

/// Whether a host as a profile names it, which may be `*.` and a name, is or contains a host.
pub(super) fn reaches(named: &str, host: &str) -> bool {
    match named.strip_prefix("*.") {
        Some(name) => {
            (host.strip_suffix(name)).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        None => named == host,
    }
}

/// Refuses secrets that could not be put in, or not in one way alone.
///
/// # Errors
///
/// The line, why, and what to write in its place.
pub(super) fn check(profile: &Profile) -> Result<(), Error> {
    let refuse = |origin: &Origin, alias: &str, reason: String, help: String| {
        let what = format!("the secret {alias:?}");
        Err(Error::unenforceable(origin, &what, &reason, &help))
    };
    let named = match &profile.capabilities.net_outbound {
        Outbound::Named(list) => &**list,
        Outbound::None(_) | Outbound::Host(_) => &[],
    };
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    for (alias, Declared { value, origin }) in &profile.capabilities.secrets_use {
        let SecretUse {
            to,
            header,
            query,
            env,
            ..
        } = value;
        let is_sent = |item: &Declared<Destination>| {
            let scheme = Scheme::named(&item.value.scheme);
            let is_safe = scheme == Some(Scheme::Https)
                || (scheme == Some(Scheme::Http) && item.value.host == "localhost");
            is_safe && item.value.port == to.port && reaches(&item.value.host, &to.host)
        };
        if !named.iter().any(is_sent) {
            let reason =
                format!("`net.outbound` names no way to {to} over TLS, by which it could be sent");
            let help = format!("add `net.outbound: [\"https://{to}\"]`");
            return refuse(origin, alias, reason, help);
        }
        let header = header.as_ref().and_then(|header| header.split_once(':'));
        let header = header.map(|(name, _)| format!("{} to {to}", name.to_ascii_lowercase()));
        let query = query.as_ref().map(|query| format!("?{query} to {to}"));
        let variable = env.as_ref().map(|env| format!("${env}"));
        for place in [header, query, variable].into_iter().flatten() {
            if let Some(other) = places.insert(place.clone(), alias) {
                let reason = format!("{place} is the place of the secret {other:?} too");
                let help = "give each a place of its own".to_owned();
                return refuse(origin, alias, reason, help);
            }
        }
        if let Some(set) = (env.as_ref()).and_then(|env| profile.environment.set.get(env)) {
            let reason = format!(
                "`environment.set` gives {} another value",
                env.as_deref().unwrap_or_default()
            );
            let help = "remove one of both lines".to_owned();
            return refuse(&set.origin, alias, reason, help);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::profile;

    #[test]
    fn a_placeholder_is_the_same_for_the_same_profile_and_looks_as_is_asked() {
        let of = |like: &str| {
            let text = format!(
                "capabilities: {{net.outbound: [\"https://api.github.com\"], secrets.use: {{gh: {{to: api.github.com, env: TOKEN, like: \"{like}\"}}}}}}"
            );
            let secrets = secrets(&profile(&text));
            secrets[0].placeholder.clone().unwrap()
        };
        let (variable, value) = of("ghp_{}");
        assert_eq!(variable, "TOKEN");
        assert!(
            value.starts_with("ghp_") && value.len() == 4 + DIFFERS,
            "{value}"
        );
        assert_eq!(of("ghp_{}").1, value);
        assert_ne!(of("gho_{}").1[4..], value[4..]);
        assert!(value[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_secret_is_sent_over_tls_to_a_host_that_is_named_and_has_a_place_of_its_own() {
        let refused = |text: &str| {
            let checked = check(&profile(&format!("capabilities: {{{text}}}")));
            checked.err().map(|error| error.to_string())
        };
        let gh = "secrets.use: {gh: {to: api.github.com, header: \"Authorization: Bearer {}\"}}";
        for ways in ["https://api.github.com", "https://*.github.com"] {
            assert_eq!(
                refused(&format!("net.outbound: [\"{ways}\"], {gh}")),
                None,
                "{ways}"
            );
        }
        for ways in [
            "http://api.github.com",
            "tcp://api.github.com:443",
            "https://github.com",
            "https://*.api.github.com",
        ] {
            let error = refused(&format!("net.outbound: [\"{ways}\"], {gh}")).unwrap();
            assert!(error.contains("over TLS"), "{ways}: {error}");
        }
        assert!(refused(gh).is_some());
        assert!(refused(&format!("net.outbound: host, {gh}")).is_some());
        let local = "net.outbound: [\"http://localhost:8080\"], secrets.use: {a: {to: \"localhost:8080\", query: key}}";
        assert_eq!(refused(local), None);
        // Another port is another server.
        assert!(refused(&local.replace("p://localhost:8080", "p://localhost:9000")).is_some());
        let port = gh.replace("api.github.com", "\"api.github.com:8443\"");
        let ways = "net.outbound: [\"https://api.github.com:8443\"]";
        assert_eq!(refused(&format!("{ways}, {port}")), None);
        assert!(refused(&format!("{ways}, {gh}")).is_some());
        let two = "net.outbound: [\"https://a.example\"], secrets.use: {a: {to: a.example, header: \"X-Key: {}\"}, b: {to: a.example, header: \"x-key: {}\"}}";
        assert!(refused(two).unwrap().contains("x-key to a.example"));
        let two = "net.outbound: [\"https://a.example\", \"https://b.example\"], secrets.use: {a: {to: a.example, env: KEY}, b: {to: b.example, env: KEY}}";
        assert!(refused(two).unwrap().contains("$KEY"));
        let set = "net.outbound: [\"https://a.example\"], secrets.use: {a: {to: a.example, env: KEY}}}\nenvironment: {set: {KEY: x}";
        assert!(refused(set).unwrap().contains("environment.set"));
    }
}
