//! A request as people write it: an action and its target, in words.
//!
//! | action | words |
//! |---|---|
//! | `files.read`, `files.write` | a path from `/`, `$WORK`, `$SKILL` or `$HOME`; with `/**` at its end all below it, and after that ` except ` and what is hidden in it, once or more |
//! | `shell.exec` | a program's name (`git` is `/usr/bin/git`), or such a path |
//! | `net.outbound` | `https://host`, `GET https://host/path`, `tcp://host:5432`; `host`, for the host's whole network |
//! | `net.listen` | a port |
//! | `net.host` | `host` |
//! | `secrets.use` | `github to api.github.com`, and where known `in header` or `in query` |
//! | `environment.pass`, `devices`, `sockets`, `syscalls.allow` | a name |
//! | `anomaly` | a kind, and what it is about: `exec /tmp/x` |
//! | `limits.memory` and so on | a value in a profile's unit, or `none` |

use aegis_profile::LimitKey;
use aegis_profile::syntax::{self, Wrong, host, meant, nearest, port, quote};

use crate::decide::Base;
use crate::model::{AnomalyKind, Inject, Scheme};
use crate::path::HostPath;
use crate::request::{Context, Destination, What};

/// The actions of requests in words, except limits and whole runs.
pub const ACTIONS: [&str; 12] = [
    "anomaly",
    "devices",
    "environment.pass",
    "files.read",
    "files.write",
    "net.host",
    "net.listen",
    "net.outbound",
    "secrets.use",
    "shell.exec",
    "sockets",
    "syscalls.allow",
];

/// The context of a request that gives none.
pub fn somebody() -> Context {
    Context {
        home: "/home/ana".into(),
        profile: "example".into(),
        skill: Some("/home/ana/skills/example".into()),
        uid: 1000,
        work: "/home/ana/work".into(),
        ..Context::default()
    }
}

/// Reads a request from an action and its words.
///
/// ```
/// use aegis_policy::ask::{somebody, what};
/// let asked = what("files.read", "$HOME/.ssh/**", &somebody()).unwrap();
/// assert_eq!(asked.to_string(), "files.read /home/ana/.ssh and below");
/// ```
pub fn what(action: &str, words: &str, context: &Context) -> Result<What, Wrong> {
    if words.is_empty() {
        return Wrong::new("nothing is asked for", "say what, in words");
    }
    let name = || words.to_owned();
    Ok(match action {
        "anomaly" => anomaly(words)?,
        "devices" => What::Device { device: name() },
        "environment.pass" => What::Environment { name: name() },
        "sockets" => What::Sockets { name: name() },
        "syscalls.allow" => What::Syscall { name: name() },
        "files.read" => {
            let (except, path, tree) = place(words, context)?;
            What::Read { except, path, tree }
        }
        "files.write" => {
            let (except, path, tree) = place(words, context)?;
            What::Write { except, path, tree }
        }
        "shell.exec" if words.starts_with(['/', '$']) => {
            let (except, path, tree) = place(words, context)?;
            What::Exec {
                except,
                name: None,
                path,
                tree,
            }
        }
        "shell.exec" if words.contains('/') => {
            return Wrong::new(
                "a program is a name or an absolute path",
                "begin a path with `/` or a variable",
            );
        }
        "shell.exec" => What::Exec {
            except: Vec::new(),
            name: Some(name()),
            path: format!("/usr/bin/{words}").as_str().into(),
            tree: false,
        },
        "net.host" if words == "host" => What::NetHost {},
        "net.host" => return Wrong::new("`net.host` has one word", "write `host`"),
        "net.listen" => What::Listen { port: port(words)? },
        // As in a profile.
        "net.outbound" if words == "host" => What::NetHost {},
        "net.outbound" => What::Net(destination(words)?),
        "secrets.use" => secret(words)?,
        action => match action.strip_prefix("limits.") {
            Some(key) => of_limit(key, words)?,
            None => return unknown(action),
        },
    })
}

/// Reads a request from one line: the action, then its words.
pub fn line(text: &str, context: &Context) -> Result<What, Wrong> {
    match text.trim().split_once(' ') {
        Some((action, words)) => what(action, words.trim(), context),
        None => Wrong::new(
            "an action and its target, in words",
            "write it like `files.read $WORK/**`",
        ),
    }
}

fn unknown<T>(action: &str) -> Result<T, Wrong> {
    let all = format!("the actions are {}, and `limits.KEY`", ACTIONS.join(", "));
    let help = meant(action, ACTIONS, all);
    Wrong::new(format!("unknown action `{}`", quote(action)), help)
}

/// A path, or a tree and what is hidden in it.
fn place(text: &str, context: &Context) -> Result<(Vec<HostPath>, HostPath, bool), Wrong> {
    let mut words = text.split(" except ");
    let (top, tree) = path(words.next().unwrap_or_default(), context)?;
    let lies_in = |hidden: &HostPath| {
        let mut names = hidden.components();
        tree && top.components().all(|name| names.next() == Some(name)) && names.next().is_some()
    };
    let hidden = words.map(|text| match path(text, context)? {
        (hidden, false) if lies_in(&hidden) => Ok(hidden),
        _ => Wrong::new(
            "what is hidden is a path in a tree",
            "write it like `$HOME/** except $HOME/.ssh`",
        ),
    });
    Ok((hidden.collect::<Result<_, _>>()?, top, tree))
}

/// A path with its variable expanded, and whether it stands for all below it.
pub fn path(text: &str, context: &Context) -> Result<(HostPath, bool), Wrong> {
    let (text, tree) = match text.strip_suffix("/**") {
        Some("") => ("/", true),
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (mut path, rest) = match text.starts_with('$') {
        false => (Vec::new(), text),
        true => {
            let (base, rest) = Base::of(text)?;
            let Some((place, _)) = base.place(context) else {
                return Wrong::new(
                    format!(
                        "`{}` stands for nothing here",
                        text.strip_suffix(rest).unwrap_or(text)
                    ),
                    "say where it is in the context",
                );
            };
            (place.to_vec(), rest)
        }
    };
    path.extend_from_slice(rest.as_bytes());
    let path = HostPath(path);
    if rest.contains('*') {
        return Wrong::new(
            "a pattern where one path is meant",
            "name a path; `/**` at its end stands for all below it",
        );
    }
    if !path.is_plain() {
        return Wrong::new(
            "not an absolute path without `.` and `..`",
            "begin it with `/`, `$WORK`, `$SKILL` or `$HOME`",
        );
    }
    Ok((path, tree))
}

fn destination(words: &str) -> Result<Destination, Wrong> {
    let (method, url) = match words.rsplit_once(' ') {
        Some((method, url)) => (Some(method.trim()), url),
        None => (None, words),
    };
    // The part before the path is a destination as in a profile.
    let from = url.find("://").map_or(0, |at| at + 3);
    let (authority, path) = match url[from..].find('/') {
        Some(at) => (&url[..from + at], Some(url[from + at..].to_owned())),
        None => (url, None),
    };
    let to = syntax::destination(authority)?;
    let Some(scheme) = Scheme::named(&to.scheme) else {
        return Wrong::new("unknown scheme", "the schemes are https, http, tcp and udp");
    };
    if method.is_none() && path.is_some() {
        return Wrong::new(
            "a path without a method",
            format!("write `GET {}`, or leave the path out", quote(url)),
        );
    }
    if method.is_some() && !scheme.has_requests() {
        return Wrong::new("a method where there are no requests", "leave it out");
    }
    let path = match (&method, path) {
        (Some(_), None) => Some("/".to_owned()),
        (_, path) => path,
    };
    Ok(Destination {
        method: method.map(str::to_owned),
        path,
        ..Destination::connection(scheme, &to.host, to.port)
    })
}

fn anomaly(words: &str) -> Result<What, Wrong> {
    let (kind, of) = words.split_once(' ').unwrap_or((words, ""));
    let known = |named: &AnomalyKind| named.name() == kind;
    let Some(kind) = AnomalyKind::ALL.into_iter().find(known) else {
        let kinds = AnomalyKind::ALL.map(AnomalyKind::name);
        let all = format!("the kinds are {}", kinds.join(", "));
        let help = meant(kind, kinds, all);
        return Wrong::new(format!("unknown anomaly `{}`", quote(kind)), help);
    };
    let of = of.into();
    Ok(What::Anomaly { kind, of })
}

fn secret(words: &str) -> Result<What, Wrong> {
    let fix = "write it like `github to api.github.com in header`";
    let words: Vec<&str> = words.split_whitespace().collect();
    let (alias, to, inject) = match words.as_slice() {
        [alias, "to", to] => (alias, to, None),
        [alias, "to", to, "in", "header"] => (alias, to, Some(Inject::Header)),
        [alias, "to", to, "in", "query"] => (alias, to, Some(Inject::Query)),
        _ => return Wrong::new("not the use of a secret", fix),
    };
    Ok(What::Secret {
        alias: (*alias).to_owned(),
        host: host(to, false)?,
        inject,
    })
}

fn of_limit(key: &str, words: &str) -> Result<What, Wrong> {
    let Some(limit) = LimitKey::named(key) else {
        let help = match nearest(key, LimitKey::NAMES.iter().copied()) {
            Some(near) => format!("did you mean `limits.{near}`?"),
            None => format!("the limits are {}", LimitKey::NAMES.join(", ")),
        };
        return Wrong::new(format!("unknown limit `{}`", quote(key)), help);
    };
    let value = match words {
        "none" => None,
        words => Some(limit.parse(words)?),
    };
    Ok(What::Limit {
        limit: key.to_owned(),
        value,
    })
}
