//! A profile printed back as canonical YAML: one spelling for each meaning, in the order of the format.
//!
//! What is printed parses to an equal profile. One that has been merged no longer needs what it
//! extends, so that is only mentioned in a comment.

use std::fmt::Write as _;

use crate::error::escape;
use crate::model::{Declared, Origin, Outbound, Profile};
use crate::yaml::{Kind, kind_of};

/// The profile as YAML; with `origins`, each line says in a comment where it was declared.
///
/// ```
/// let profile = aegis_profile::parse_str("aegis: 1\nlimits: {time: 60s}", "skill.yaml").unwrap();
/// assert_eq!(
///     aegis_profile::show(&profile, true),
///     "aegis: 1\nname: skill\nlimits:\n  time: 1m  # from skill.yaml:2\n"
/// );
/// ```
pub fn show(profile: &Profile, origins: bool) -> String {
    let mut page = Page {
        text: String::from("aegis: 1\n"),
        origins,
        section: None,
    };
    page.line(0, &format!("name: {}", scalar(&profile.name)), None);
    if let Some(description) = &profile.description {
        page.line(0, &format!("description: {}", scalar(description)), None);
    }
    if profile.is_merged() {
        if !profile.extends.is_empty() {
            let names: Vec<String> = profile.extends.iter().map(|e| escape(&e.value)).collect();
            page.line(
                0,
                &format!("# extends: {} (merged into what follows)", names.join(", ")),
                None,
            );
        }
    } else {
        page.list(0, "extends", &profile.extends, Clone::clone);
    }
    if !profile.run.is_empty() {
        let words: Vec<String> = profile.run.iter().map(|word| scalar(word)).collect();
        page.line(0, "run:", None);
        words
            .iter()
            .for_each(|word| page.line(1, &format!("- {word}"), None));
    }
    capabilities(&mut page, profile);
    environment(&mut page, profile);
    page.begin("limits");
    for (key, limit) in profile.limits.iter() {
        let line = format!("{key}: {}", key.show(limit.value));
        page.line(1, &line, Some(&limit.origin));
    }
    page.begin("syscalls");
    let syscalls = &profile.syscalls;
    if let Some(base) = &syscalls.base {
        page.line(1, &format!("base: {}", base.value), Some(&base.origin));
    }
    page.list(1, "allow", &syscalls.allow, Clone::clone);
    page.list(1, "deny", &syscalls.deny, Clone::clone);
    page.text
}

fn capabilities(page: &mut Page, profile: &Profile) {
    let c = &profile.capabilities;
    page.begin("capabilities");
    page.list(1, "files.read", &c.files_read, ToString::to_string);
    page.list(1, "files.write", &c.files_write, ToString::to_string);
    page.list(1, "shell.exec", &c.shell_exec, ToString::to_string);
    match &c.net_outbound {
        Outbound::None => {}
        Outbound::Host(origin) => page.line(1, "net.outbound: host", Some(origin)),
        Outbound::Named(named) => page.list(1, "net.outbound", named, ToString::to_string),
    }
    if !c.net_listen.is_empty() {
        page.line(1, "net.listen:", None);
        for port in &c.net_listen {
            page.line(2, &format!("- {}", port.value), Some(&port.origin));
        }
    }
    if !c.secrets_use.is_empty() {
        page.line(1, "secrets.use:", None);
    }
    for (alias, secret) in &c.secrets_use {
        page.line(2, &format!("{}:", scalar(alias)), Some(&secret.origin));
        let secret = &secret.value;
        // An IPv6 address is held without its brackets.
        let to = if secret.to.contains(':') {
            format!("[{}]", secret.to)
        } else {
            secret.to.clone()
        };
        page.line(3, &format!("to: {}", scalar(&to)), None);
        for (key, value) in [("header", &secret.header), ("env", &secret.env)] {
            if let Some(value) = value {
                page.line(3, &format!("{key}: {}", scalar(value)), None);
            }
        }
    }
    page.list(1, "devices", &c.devices, ToString::to_string);
}

fn environment(page: &mut Page, profile: &Profile) {
    page.begin("environment");
    page.list(1, "pass", &profile.environment.pass, Clone::clone);
    if !profile.environment.set.is_empty() {
        page.line(1, "set:", None);
    }
    for (name, value) in &profile.environment.set {
        let line = format!("{}: {}", scalar(name), scalar(&value.value));
        page.line(2, &line, Some(&value.origin));
    }
}

struct Page {
    text: String,
    origins: bool,
    /// The heading of a section of which nothing has been written yet.
    section: Option<&'static str>,
}

impl Page {
    fn begin(&mut self, section: &'static str) {
        self.section = Some(section);
    }

    fn line(&mut self, depth: usize, content: &str, origin: Option<&Origin>) {
        if depth > 0
            && let Some(section) = self.section.take()
        {
            let _ = writeln!(self.text, "{section}:");
        }
        let _ = write!(self.text, "{:indent$}{content}", "", indent = depth * 2);
        if let Some(origin) = origin.filter(|_| self.origins) {
            let _ = write!(
                self.text,
                "  # from {}:{}",
                escape(&origin.file),
                origin.line
            );
        }
        self.text.push('\n');
    }

    fn list<T>(
        &mut self,
        depth: usize,
        key: &str,
        items: &[Declared<T>],
        to: impl Fn(&T) -> String,
    ) {
        if items.is_empty() {
            return;
        }
        self.line(depth, &format!("{key}:"), None);
        for item in items {
            self.line(
                depth + 1,
                &format!("- {}", scalar(&to(&item.value))),
                Some(&item.origin),
            );
        }
    }
}

/// Text as a YAML scalar: plain where no reader of YAML 1.1 or 1.2 could take it for anything else.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'$' | b'.');
    let begins = match bytes {
        [b'-', second, ..] => word(*second) && !second.is_ascii_digit() && *second != b'.',
        [first, ..] => word(*first),
        [] => false,
    };
    let follows = |i: usize| bytes.get(i + 1).is_some_and(|b| word(*b));
    let safe = bytes.iter().enumerate().all(|(i, b)| match b {
        b':' | b' ' => follows(i),
        b'+' | b'=' | b'@' | b'~' | b'-' | b',' | b';' | b'(' | b')' => true,
        b => word(*b),
    });
    // YAML 1.1 has more truth values, and numbers with underscores, colons and dashes.
    let old_truth = ["y", "n", "yes", "no", "on", "off"]
        .iter()
        .any(|w| text.eq_ignore_ascii_case(w));
    let old_number = bytes
        .iter()
        .all(|b| b.is_ascii_digit() || b"_:.-+,eExo".contains(b));
    begins && safe && !old_truth && !old_number && kind_of(text) == Kind::Text
}
