//! Requests that are not well-formed, and so are blocked.

use crate::path::HostPath;
use crate::request::{Context, Destination, MAX_EXCEPT, Place, What};

use super::compile::{MAX_NUMBER, is_method};
use super::compiled::split;
use super::pattern::one_spelling;

type Fault = &'static str;

const HOST: Fault = "this is not the name of a host as it is compared: lower case, no trailing dot, an address in its one spelling";
const NUMBER: Fault = "a number above 2^53 - 1";

/// Checks the values of the variables. An empty path is a variable without a value.
pub(super) fn context(context: &Context) -> Result<(), Fault> {
    let Context {
        aliases,
        home,
        skill,
        work,
        ..
    } = context;
    let wrong = |path: &HostPath| !path.as_bytes().is_empty() && !path.is_plain();
    let mut names = aliases.iter().flat_map(|alias| [&alias.name, &alias.place]);
    match () {
        () if !names.all(HostPath::is_plain) => {
            Err("another name of a place is not absolute, or has components that lead elsewhere")
        }
        () if wrong(home) => Err("$HOME is not absolute, or has components that lead elsewhere"),
        () if wrong(work) => Err("$WORK is not absolute, or has components that lead elsewhere"),
        () if skill.as_ref().is_some_and(wrong) => {
            Err("$SKILL is not absolute, or has components that lead elsewhere")
        }
        () => Ok(()),
    }
}

/// Checks what is asked for.
pub(super) fn what(what: &What) -> Result<(), Fault> {
    if let Some(place) = what.place() {
        self::place(place)?;
    }
    let wrong = match what {
        What::Exec { name, .. } => {
            let wrong = |name: &String| name.is_empty() || name.contains(['/', '\0']);
            (name.as_ref().is_some_and(wrong)).then_some("this is not the name of a program")
        }
        What::Device { device } => {
            let plain = device
                .split('/')
                .skip(1)
                .all(|c| !["", ".", ".."].contains(&c));
            let path = device.starts_with("/dev/") && plain;
            (device.contains('/') && !path).then_some("this is not a device, nor a path below /dev")
        }
        What::Environment { name } => (name.is_empty() || name.contains(['=', '\0']))
            .then_some("this is not the name of a variable"),
        What::Limit { value, .. } => value.is_some_and(|n| n > MAX_NUMBER).then_some(NUMBER),
        What::Secret { host, .. } => one_spelling(host).is_err().then_some(HOST),
        What::Net(to) => return destination(to),
        What::Tool { grants, .. } => {
            let is_run = |grant: &What| matches!(grant, What::Tool { .. });
            grants.iter().any(is_run).then_some("a run within a run")
        }
        What::Anomaly { .. }
        | What::Listen { .. }
        | What::NetHost {}
        | What::Read { .. }
        | What::Sockets { .. }
        | What::Syscall { .. }
        | What::Write { .. } => None,
    };
    wrong.map_or(Ok(()), Err)
}

fn place(place: Place<'_>) -> Result<(), Fault> {
    let Place { except, path, tree } = place;
    let lies_in = |hidden: &HostPath| {
        let (hidden, path) = (split(hidden.as_bytes()), split(path.as_bytes()));
        tree && hidden.len() > path.len() && hidden.starts_with(&path)
    };
    match () {
        () if !path.is_plain() || !except.iter().all(HostPath::is_plain) => {
            Err("the path is not absolute, or has components that lead elsewhere")
        }
        () if except.len() > MAX_EXCEPT => Err("more than 256 places are excepted from a tree"),
        () if !except.iter().all(lies_in) => Err("what is excepted does not lie in the tree"),
        () => Ok(()),
    }
}

fn destination(to: &Destination) -> Result<(), Fault> {
    let numbers = [to.request_size, to.requests_last_minute, to.response_size];
    match &to.method {
        _ if one_spelling(&to.host).is_err() => Err(HOST),
        _ if numbers.into_iter().flatten().any(|n| n > MAX_NUMBER) => Err(NUMBER),
        None if to.path.is_some() => Err("a path without a method"),
        Some(_) if !to.scheme.has_requests() => Err("a method where there are no requests"),
        // Servers differ in whether `get` is GET.
        Some(method) if !is_method(method) => {
            Err("this is not an HTTP method: methods are in capitals")
        }
        _ => Ok(()),
    }
}
