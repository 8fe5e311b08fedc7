//! The profile as a person reads it: lines by key, with why beside them.

use std::fmt::Write as _;
use std::path::Path;

use aegis_observation::Tier;
use aegis_profile::syntax::{escape, scalar};
use aegis_profile::{LimitKey, Profile, ReadError, Source, load};

use crate::evidence::{Note, number};
use crate::line::{Key, Line};
use crate::proposal::Proposal;

/// Values longer than this do not move the comments of the others.
const WIDEST: usize = 44;

/// The longest comment beside a line.
const LONGEST: usize = 160;

/// How wide a list on one line may be.
const WIDTH: usize = 96;

/// The most notes of one kind.
const NOTES: usize = 40;

/// The proposal's own text, as a file.
struct Own(String);

impl Source for Own {
    fn read(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.clone().into_bytes())
    }
}

impl Proposal {
    /// The profile as a person reads it, each line with why.
    pub fn to_yaml(&self) -> String {
        let mut page = Page("aegis: 1\n".into());
        page.head(self);
        if let Some(name) = &self.name {
            page.line(&format!("name: {}", scalar(name)));
        }
        let extends = self.extends.iter().map(|extended| {
            let why = extended.evidence.words(Path::new(""), self.observations);
            let why = match why.is_empty() {
                true => "what nearly every program needs".to_owned(),
                false => why,
            };
            (scalar(&extended.name), why)
        });
        page.list(0, "extends", extends.collect());
        if !self.run.is_empty() {
            let words: Vec<String> = self.run.iter().map(|word| scalar(word)).collect();
            page.line(&format!("run: [{}]", words.join(", ")));
        }
        if let Some(baseline) = &self.baseline {
            page.line(&format!("baseline: {}", scalar(&baseline.to_string())));
        }
        page.capabilities(self);
        let passed: Vec<String> = of(self, Key::Pass)
            .map(|line| scalar(&line.value))
            .collect();
        if !passed.is_empty() {
            page.line("environment:");
            page.flow("  pass", &passed);
        }
        page.limits(self);
        page.calls(self);
        page.notes(&self.notes);
        page.0
    }

    /// The profile, merged with what it extends.
    ///
    /// # Errors
    ///
    /// Never, of what [`propose`](crate::propose()) returns.
    pub fn profile(&self) -> Result<Profile, aegis_profile::Error> {
        load("./learnt.yaml", &Own(self.to_yaml())).map(|loaded| loaded.profile)
    }
}

struct Page(String);

fn of(proposal: &Proposal, key: Key) -> impl Iterator<Item = &Line> {
    proposal.lines.iter().filter(move |line| line.key == key)
}

/// The risk first: names may be long, and what is too long is cut off.
fn why(line: &Line, observations: usize) -> String {
    let seen = line.evidence.words(&line.place, observations);
    match line.risk {
        None => seen,
        Some(risk) if seen.is_empty() => format!("risk: {risk}"),
        Some(risk) => format!("risk: {risk}; {seen}"),
    }
}

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    /// A comment of its own, made safe.
    fn comment(&mut self, text: &str) {
        self.line(&format!("# {}", escape(text)));
    }

    fn head(&mut self, proposal: &Proposal) {
        let head = &proposal.head;
        let on = match head.date.is_empty() {
            true => String::new(),
            false => format!(" on {}", head.date),
        };
        self.comment(&format!(
            "Written by aegis-learn{on}, from {} of:",
            number(head.runs, "run")
        ));
        for command in &head.commands {
            self.comment(&format!("  {command}"));
        }
        let tiers: Vec<&str> = head.tiers.iter().map(|tier| tier_name(*tier)).collect();
        let kernels: Vec<&str> = head.kernels.iter().map(String::as_str).collect();
        if !tiers.is_empty() {
            self.comment(&format!(
                "Seen by {} on Linux {}.",
                tiers.join(" and "),
                kernels.join(", ")
            ));
        }
        self.comment(&match head.lost {
            0 if proposal.is_complete() => "Nothing that was seen was lost.".to_owned(),
            0 => "INCOMPLETE: what was not seen is at the end.".to_owned(),
            lost => format!(
                "INCOMPLETE: {lost} things were seen and lost. Run it again before trusting this."
            ),
        });
        if let Some(verified) = &head.verified {
            self.comment(&format!("Verified {verified}."));
        }
        let rules: Vec<&str> = proposal
            .rules()
            .into_iter()
            .map(|rule| rule.name())
            .collect();
        self.comment(&format!("Rules: {}.", rules.join(", ")));
        self.line("");
    }

    /// A key with its items, and why beside each.
    fn list(&mut self, depth: usize, key: &str, items: Vec<(String, String)>) {
        if items.is_empty() {
            return;
        }
        let indent = depth * 2;
        self.line(&format!("{:indent$}{key}:", ""));
        let width = items
            .iter()
            .map(|(item, _)| item.chars().count())
            .filter(|width| *width <= WIDEST)
            .max();
        for (item, why) in &items {
            self.beside(
                indent + 2,
                &format!("- {item}"),
                width.unwrap_or(0) + 2,
                why,
            );
        }
    }

    /// A line with a comment beside it.
    fn beside(&mut self, indent: usize, text: &str, width: usize, why: &str) {
        let why = escape(why);
        let why = match why.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &why[..end]),
            None => why,
        };
        match why.is_empty() {
            true => self.line(&format!("{:indent$}{text}", "")),
            false => self.line(&format!("{:indent$}{text:width$}  # {why}", "")),
        }
    }

    fn capabilities(&mut self, proposal: &Proposal) {
        let is_capability = |line: &Line| !matches!(line.key, Key::Pass | Key::Calls);
        if !proposal.lines.iter().any(is_capability) {
            return;
        }
        self.line("capabilities:");
        let items = |key: Key| -> Vec<(String, String)> {
            of(proposal, key)
                .map(|line| (scalar(&line.value), why(line, proposal.observations)))
                .collect()
        };
        for key in [Key::Read, Key::Write, Key::Execute] {
            self.list(1, key.name(), items(key));
        }
        for key in [Key::Outbound, Key::Sockets] {
            for (value, why) in items(key) {
                self.beside(2, &format!("{}: {value}", key.name()), 0, &why);
            }
        }
        // Ports are numbers, which need no quotes.
        let ports = of(proposal, Key::Listen)
            .map(|line| (line.value.clone(), why(line, proposal.observations)));
        self.list(1, Key::Listen.name(), ports.collect());
        self.list(1, Key::Devices.name(), items(Key::Devices));
    }

    fn limits(&mut self, proposal: &Proposal) {
        if proposal.limits.is_empty() {
            return;
        }
        self.line("limits:");
        for limit in &proposal.limits {
            let text = format!("{}: {}", limit.key.name(), limit.key.show(limit.value));
            self.beside(2, &text, 12, &measured(limit.key, limit.measured));
        }
    }

    fn calls(&mut self, proposal: &Proposal) {
        if proposal.tight {
            let calls: Vec<String> = of(proposal, Key::Calls)
                .map(|line| scalar(&line.value))
                .collect();
            self.line("syscalls:");
            self.line("  base: learned  # what every program needs to start, and:");
            if !calls.is_empty() {
                self.flow("  allow", &calls);
            }
        }
        if proposal.possible_calls.is_empty() {
            return;
        }
        let calls: Vec<String> = proposal
            .possible_calls
            .iter()
            .map(|call| scalar(call))
            .collect();
        self.line("");
        self.comment("Tried and refused. Adding them exposes kernel code that few programs need:");
        self.comment(&format!("syscalls: {{allow: [{}]}}", calls.join(", ")));
    }

    /// A list between brackets, over as many lines as it takes.
    fn flow(&mut self, key: &str, items: &[String]) {
        let start = format!("{key}: [");
        let indent = start.len();
        let mut line = start;
        for (at, item) in items.iter().enumerate() {
            let end = if at + 1 == items.len() { "]" } else { "," };
            if line.len() + item.len() > WIDTH && line.len() > indent {
                self.line(&line);
                line = format!("{:indent$}", "");
            }
            let space = if line.len() > indent { " " } else { "" };
            let _ = write!(line, "{space}{item}{end}");
        }
        self.line(&line);
    }

    fn notes(&mut self, notes: &[Note]) {
        for alike in notes.chunk_by(|note, next| note.about == next.about) {
            self.line("");
            let heading = alike[0].about.heading();
            let (first, rest) = heading.split_at(1);
            self.comment(&format!("{}{rest}:", first.to_uppercase()));
            let told = match alike.len() < NOTES {
                true => alike.len(),
                false => NOTES - 1,
            };
            for note in &alike[..told] {
                self.comment(&format!("  {}", note.text));
            }
            if told < alike.len() {
                self.comment(&format!("  and {} more", alike.len() - told));
            }
        }
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Bpf => "probes in the kernel",
        Tier::BpfLsm => "probes and LSM hooks in the kernel",
        Tier::Listener => "the seccomp listener",
    }
}

fn measured(key: LimitKey, value: u64) -> String {
    match key {
        LimitKey::Time => format!("took {}.{:03} s", value / 1000, value % 1000),
        LimitKey::Pids => format!("{value} at one time"),
        LimitKey::Memory => format!("used {}", size(value)),
        _ => size(value),
    }
}

/// A size in the largest unit of which it is more than one.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{}{name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes}B"),
    }
}
