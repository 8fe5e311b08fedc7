//! The sections of the file, one function each.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::{Layer, net, paths};
use crate::error::{nearest, quote};
use crate::limits::{LimitKey, Limits};
use crate::model::{
    Capabilities, Declared, Environment, Outbound, Profile, SecretUse, SyscallBase, Syscalls,
};
use crate::shape;
use crate::units::Wrong;
use crate::yaml::{Kind, Node, Value, kind_of};

/// A whole file: begins with `aegis: 1`.
pub(super) fn file(tree: &mut Tree<'_, '_>, root: &Node) -> Option<Layer> {
    let mut layer = Layer {
        profile: Profile::default(),
        closes_outbound: false,
    };
    layer.profile.name = stem(&tree.out.file);
    layer.profile.sources.insert(tree.out.file.clone());
    if let Value::Map(entries) = &root.value {
        version(
            tree,
            root,
            entries.first().map(|(k, v)| (k.text.as_str(), v)),
        );
    }
    body(tree, root, &mut layer);
    Some(layer)
}

fn version(tree: &mut Tree<'_, '_>, root: &Node, first: Option<(&str, &Node)>) {
    let Some(("aegis", value)) = first else {
        tree.out
            .report(root.span, "a profile begins with its version")
            .help("make `aegis: 1` the first line");
        return;
    };
    match &value.value {
        Value::Scalar { text, plain: true } if text == "1" => {}
        Value::Refused => {}
        Value::Scalar { text, plain: true } if kind_of(text) == Kind::Int => {
            let text = quote(text);
            tree.out
                .report(
                    value.span,
                    format!("version {text} of the profile format is not known"),
                )
                .expected("this Aegis knows version 1")
                .help("write `aegis: 1`, or use an Aegis that knows the version");
        }
        _ => {
            tree.out
                .report(value.span, "not a version")
                .help("write `aegis: 1`");
        }
    }
}

/// The keys of a file, or of an overlay.
pub(super) fn body(tree: &mut Tree<'_, '_>, root: &Node, layer: &mut Layer) {
    let profile = &mut layer.profile;
    for (key, node) in tree.known(root, "a profile: a map of keys", shape::File::KEYS) {
        match key {
            "name" => {
                if let Some(text) = tree.text(node, "a name") {
                    if text.is_empty() || text.contains(['\n', '\t']) {
                        tree.out
                            .report(node.span, "a name is one line, and not empty");
                    }
                    profile.name = text.to_owned();
                }
            }
            "description" => {
                profile.description = tree.text(node, "a description").map(str::to_owned);
            }
            "extends" => profile.extends = extends(tree, node),
            "run" => profile.run = run(tree, node),
            "capabilities" => {
                profile.capabilities = capabilities(tree, node, &mut layer.closes_outbound);
            }
            "environment" => profile.environment = environment(tree, node),
            "limits" => profile.limits = limits(tree, node),
            "syscalls" => profile.syscalls = syscalls(tree, node),
            _ => {} // `aegis`, which `version` has looked at
        }
    }
}

fn stem(file: &str) -> String {
    let name = file.strip_prefix("builtin:").unwrap_or(file);
    let name = name.rsplit('/').next().unwrap_or(name);
    let stem = name
        .strip_suffix(".yaml")
        .or_else(|| name.strip_suffix(".yml"))
        .unwrap_or(name);
    match stem {
        "" | "-" => "stdin".to_owned(),
        stem => crate::error::escape(stem),
    }
}

fn extends(tree: &mut Tree<'_, '_>, node: &Node) -> Vec<Declared<String>> {
    let found = tree.items(node, "extends", "a profile's name or file", |text| {
        if text.is_empty() || text.contains(['\n', '\t']) {
            return wrong(
                "not a profile's name or file",
                "name a built-in profile, or a file",
            );
        }
        if text == "-" || text.starts_with(['~', '$']) {
            return wrong(
                "not a profile's name or file",
                "write the file's path, relative to this one",
            );
        }
        Ok(text.to_owned())
    });
    if let Value::List(items) = &node.value
        && let Some(twice) = items.iter().enumerate().find_map(|(i, item)| {
            items[..i]
                .iter()
                .any(|earlier| same_text(earlier, item))
                .then_some(item)
        })
    {
        tree.out
            .report(twice.span, "extended twice")
            .help("keep one of them");
    }
    found
}

fn same_text(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, .. }, Value::Scalar { text: b, .. }) => a == b,
        _ => false,
    }
}

fn run(tree: &mut Tree<'_, '_>, node: &Node) -> Vec<String> {
    let items = tree.list(node, "run");
    if let (Value::List(_), []) = (&node.value, items) {
        tree.out
            .report(node.span, "`run` is empty")
            .help("name the command, such as `run: [python3, main.py]`, or remove the key");
    }
    let words: Vec<String> = items
        .iter()
        .filter_map(|item| {
            tree.scalar(item, "a word of the command")
                .map(str::to_owned)
        })
        .collect();
    if let Some(Node {
        value: Value::Scalar { text, plain: false },
        span,
    }) = items.first()
        && text.is_empty()
    {
        tree.out
            .report(*span, "the command's name is empty")
            .help("name the program to run");
    }
    words
}

fn capabilities(tree: &mut Tree<'_, '_>, node: &Node, closes_outbound: &mut bool) -> Capabilities {
    let mut found = Capabilities::default();
    for (key, node) in tree.known(node, "a map of capabilities", shape::Capabilities::KEYS) {
        match key {
            "files.read" => {
                found.files_read = tree.items(node, key, "a path", |text| {
                    paths::path(text, paths::Use::Read)
                });
            }
            "files.write" => {
                found.files_write = tree.items(node, key, "a path", |text| {
                    paths::path(text, paths::Use::Write)
                });
            }
            "shell.exec" => {
                found.shell_exec =
                    tree.items(node, key, "a program's name or path", paths::program);
            }
            "net.outbound" => found.net_outbound = outbound(tree, node, closes_outbound),
            "net.listen" => found.net_listen = listen(tree, node),
            "secrets.use" => found.secrets_use = secrets(tree, node),
            "devices" => found.devices = tree.items(node, key, "a device", paths::device),
            _ => {}
        }
    }
    crate::merge::settle_optional(&mut found);
    found
}

fn outbound(tree: &mut Tree<'_, '_>, node: &Node, closes: &mut bool) -> Outbound {
    match &node.value {
        Value::Scalar { text, .. } if text == "none" => {
            *closes = true;
            Outbound::None
        }
        Value::Scalar { text, .. } if text == "host" => Outbound::Host(tree.out.origin(node.span)),
        Value::Scalar { text, plain }
            if text.contains("://") || !plain || kind_of(text) == Kind::Text =>
        {
            let help = match nearest(text, ["none", "host"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write it as a list: `net.outbound: [\"{}\"]`", quote(text)),
            };
            tree.out
                .report(
                    node.span,
                    format!("`net.outbound` cannot be `{}`", quote(text)),
                )
                .expected("expected `none`, `host` or a list")
                .help(help);
            Outbound::None
        }
        _ => {
            let named = tree.items(node, "net.outbound", "a destination", net::destination);
            if named.is_empty() {
                Outbound::None
            } else {
                Outbound::Named(named)
            }
        }
    }
}

fn listen(tree: &mut Tree<'_, '_>, node: &Node) -> Vec<Declared<u16>> {
    let mut ports: Vec<Declared<u16>> = Vec::new();
    for item in tree.list(node, "net.listen") {
        let Some(text) = tree.number(item, "a port from 1 to 65535") else {
            continue;
        };
        let Some(port) = tree.accept(item.span, text, net::port(text)) else {
            continue;
        };
        if !ports.iter().any(|known| known.value == port) {
            ports.push(tree.declared(item.span, port));
        }
    }
    ports
}

fn secrets(tree: &mut Tree<'_, '_>, node: &Node) -> BTreeMap<String, Declared<SecretUse>> {
    let mut found = BTreeMap::new();
    for (alias, node) in tree.map(node, "a map of secrets by alias") {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let first = alias
            .text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if !first || alias.text.len() > 64 || !alias.text.bytes().all(known) {
            tree.out
                .report(
                    alias.span,
                    format!("`{}` cannot be an alias", quote(&alias.text)),
                )
                .help("an alias has up to 64 letters, digits, `_`, `.` and `-`");
            continue;
        }
        if let Some(secret) = secret(tree, node) {
            found.insert(alias.text.clone(), tree.declared(alias.span, secret));
        }
    }
    found
}

fn secret(tree: &mut Tree<'_, '_>, node: &Node) -> Option<SecretUse> {
    let (mut to, mut header, mut env, mut named) = (None, None, None, (false, false));
    for (key, node) in tree.known(
        node,
        "a map with `to`, `header` and `env`",
        shape::SecretUse::KEYS,
    ) {
        let Some(text) = tree.text(node, "text") else {
            named = (named.0 || key == "to", true);
            continue;
        };
        match key {
            "to" => {
                named.0 = true;
                to = tree.accept(node.span, text, net::host(text, false));
            }
            "header" => {
                named.1 = true;
                header = tree.accept(node.span, text, header_form(text));
            }
            "env" => {
                named.1 = true;
                env = tree.accept(node.span, text, variable_name(text));
            }
            _ => {}
        }
    }
    if let Value::Map(_) = &node.value {
        if !named.0 {
            tree.out
                .report(node.span, "a secret without `to`")
                .help("name the one host that it may be sent to: `to: api.github.com`");
        }
        if !named.1 {
            tree.out
                .report(node.span, "a secret that goes nowhere")
                .help("give `header: \"Authorization: Bearer {}\"`, `env: NAME`, or both");
        }
    }
    Some(SecretUse {
        to: to?,
        header,
        env,
    })
}

fn header_form(text: &str) -> Result<String, Wrong> {
    let fix = "write `Name: value` with one `{}`, such as `Authorization: Bearer {}`";
    let Some((name, value)) = text.split_once(':') else {
        return wrong("not a header", fix);
    };
    // A token, as RFC 9110 section 5.6.2 has it.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let braces = value.matches(['{', '}']).count();
    if name.is_empty() || !name.bytes().all(token) || text.contains(['\n', '\t']) {
        return wrong("not a header", fix);
    }
    if braces != 2 || !value.contains("{}") {
        return wrong("the header needs one `{}`, where the secret goes", fix);
    }
    Ok(text.to_owned())
}

fn environment(tree: &mut Tree<'_, '_>, node: &Node) -> Environment {
    let mut found = Environment::default();
    for (key, node) in tree.known(
        node,
        "a map with `pass` and `set`",
        shape::Environment::KEYS,
    ) {
        if key == "pass" {
            found.pass = tree.items(node, key, "a variable's name", variable_name);
            continue;
        }
        for (name, value) in tree.map(node, "a map of variables to values") {
            let valid = tree.accept(name.span, &name.text, variable_name(&name.text));
            let text = tree.scalar(value, "a value");
            if let (Some(valid), Some(text)) = (valid, text) {
                found
                    .set
                    .insert(valid, tree.declared(name.span, text.to_owned()));
            }
        }
    }
    found
}

fn variable_name(text: &str) -> Result<String, Wrong> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.contains('*') {
        return wrong("a pattern for variables", "name each variable");
    }
    if let Some((name, _)) = text.split_once('=') {
        return wrong(
            "a value in the list of names",
            format!("write `{}` under `set:`", quote(name)),
        );
    }
    if text.is_empty() || text.as_bytes()[0].is_ascii_digit() || !text.bytes().all(known) {
        return wrong(
            "not a variable's name",
            "a name has letters, digits and `_`",
        );
    }
    Ok(text.to_owned())
}

fn limits(tree: &mut Tree<'_, '_>, node: &Node) -> Limits {
    let mut found = Limits::default();
    for (key, node) in tree.known(node, "a map of limits", LimitKey::NAMES) {
        let Some(key) = LimitKey::named(key) else {
            continue;
        };
        let text = match key.unit().is_number() {
            true => tree.number(node, "a number without a unit"),
            // A bare number goes on to its own parser, which knows the unit to suggest.
            false => tree.scalar(node, "a number with its unit"),
        };
        if let Some(text) = text
            && let Some(value) = tree.accept(node.span, text, key.parse(text))
        {
            found.set(key, tree.declared(node.span, value));
        }
    }
    found
}

fn syscalls(tree: &mut Tree<'_, '_>, node: &Node) -> Syscalls {
    let mut found = Syscalls::default();
    for (key, node) in tree.known(
        node,
        "a map with `base`, `allow` and `deny`",
        shape::Syscalls::KEYS,
    ) {
        match key {
            "base" => {
                if let Some(text) = tree.text(node, "the name of a set")
                    && let Some(base) = tree.accept(node.span, text, syscall_base(text))
                {
                    found.base = Some(tree.declared(node.span, base));
                }
            }
            "allow" => found.allow = tree.items(node, key, "a system call's name", syscall_name),
            "deny" => found.deny = tree.items(node, key, "a system call's name", syscall_name),
            _ => {}
        }
    }
    found
}

fn syscall_base(text: &str) -> Result<SyscallBase, Wrong> {
    match text {
        "default" => Ok(SyscallBase::Default),
        "minimal" => Ok(SyscallBase::Minimal),
        "learned" => Ok(SyscallBase::Learned),
        _ => wrong(
            "unknown set of system calls",
            "write `default`, `minimal` or `learned`",
        ),
    }
}

fn syscall_name(text: &str) -> Result<String, Wrong> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if text.is_empty() || !text.bytes().all(known) {
        return wrong(
            "not a system call's name",
            "write the kernel's name, such as `openat2`",
        );
    }
    Ok(text.to_owned())
}

fn wrong<T>(message: &str, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        message: message.to_owned(),
        help: Some(help.into()),
    })
}
