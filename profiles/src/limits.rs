//! The limits: one table of their keys, and what a profile sets.
//!
//! Adding a limit takes a line in the table, and the place that enforces it.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value as Json, json};

use crate::error::{Reporter, meant};
use crate::form::{Key, Keyed, Page, Section, Text};
use crate::model::Declared;
use crate::units::{self, Wrong};
use crate::yaml::Node;

/// What the value of a limit is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds, written as `5m`.
    Time,
    /// Bytes, written as `512M`.
    Size,
    /// Bytes per second, written as `20M/s`.
    Rate,
    /// Thousandths of a processor, written as `1.5`.
    Processors,
    /// A plain number, at most this.
    Count(u64),
}

impl Unit {
    /// Whether a value is a plain number, without a unit.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Processors | Self::Count(_))
    }

    pub(crate) fn schema(self) -> Json {
        let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
        match self {
            Self::Time => text(r"^[1-9][0-9]*(ms|s|m|h|d)$"),
            Self::Size => text(r"^[1-9][0-9]*(B|[KMGT](iB)?)$"),
            Self::Rate => text(r"^[1-9][0-9]*(B|[KMGT](iB)?)/s$"),
            Self::Processors => {
                json!({"type": "number", "format": "double", "minimum": 0.01, "maximum": 10000.0})
            }
            Self::Count(max) => {
                json!({"type": "integer", "format": "uint64", "minimum": 1, "maximum": max})
            }
        }
    }

    /// Reads a value as it is written in a profile.
    pub fn parse(self, text: &str) -> Result<u64, Wrong> {
        match self {
            Self::Time => units::time(text),
            Self::Size => units::size(text),
            Self::Rate => units::rate(text),
            Self::Processors => units::cpu(text),
            Self::Count(max) => units::count(text, max),
        }
    }

    /// A value as it is written in a profile.
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Time => units::show_time(value),
            Self::Size => units::show_size(value),
            Self::Rate => units::show_rate(value),
            Self::Processors => units::show_cpu(value),
            Self::Count(_) => value.to_string(),
        }
    }
}

/// `PID_MAX_LIMIT` of `include/linux/threads.h`: the kernel takes no larger `pids.max`.
const MAX_PIDS: u64 = 4_194_304;

/// Far above any `fs.nr_open`.
const MAX_FILES: u64 = 1 << 30;

/// The key that lists limits which are not to be weakened.
const MUST_HOLD: &str = "must-hold";

/// The name of a limit.
const NAME: Text<LimitKey> = Text::new(
    "a limit's name",
    || json!({"type": "string", "enum": LimitKey::NAMES}),
    |text| {
        LimitKey::named(text).ok_or_else(|| {
            let names = LimitKey::NAMES;
            let all = format!("the limits are {}", names.join(", "));
            let help = meant(text, names.iter().copied(), all);
            Wrong::of("unknown limit", help)
        })
    },
);

/// For each limit its documentation, name, key and unit, and for the reference page the form of its values,
/// the default and an example.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $key:literal, $unit:expr, $words:literal, $default:literal, $example:literal;)*) => {
        /// The key of a limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LimitKey {
            $($(#[doc = $doc])+ $name,)*
        }

        impl LimitKey {
            /// Every key, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($key),*];

            /// What its value is counted in.
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$name => $unit,)*
                }
            }
        }

        const KEYS: &[Key] = &[$(Key {
            name: $key,
            about: concat!($($doc),+),
            form: $words,
            default: $default,
            example: $example,
            schema: || $unit.schema(),
            section: || None,
        },)* Key {
            name: MUST_HOLD,
            about: "Limits that hold for the run as they say, or nothing starts: where this host could hold one only in part, as for each \
                    process apart, the run is refused with the remedy. One that is not named here is held as far as it can be, \
                    and a warning says how far.",
            form: "list of the keys above",
            default: "none",
            example: "[memory, cpu]",
            schema: || json!({"type": "array", "items": (NAME.schema)()}),
            section: || None,
        }];
    };
}

limits! {
    /// Wall time of the whole run.
    Time = "time", Unit::Time, "time: ms, s, m, h, d", "not limited", "5m";
    /// Memory and swap of all processes together.
    Memory = "memory", Unit::Size, "size: B, K, M, G, T (powers of 1024)", "not limited", "512M";
    /// Processor time per wall time, in processors.
    Cpu = "cpu", Unit::Processors, "number from 0.01 to 10000 with up to three decimals", "not limited", "1.5";
    /// Processes and threads at one time.
    Pids = "pids", Unit::Count(MAX_PIDS), "whole number", "not limited", "64";
    /// Open files of one process.
    Files = "files", Unit::Count(MAX_FILES), "whole number", "as for the caller", "256";
    /// Size of any one file that is written.
    FileSize = "file-size", Unit::Size, "size", "not limited", "100M";
    /// Bytes of standard output and standard error together.
    Output = "output", Unit::Size, "size", "not limited", "1M";
    /// Size of the private temporary file system.
    Tmp = "tmp", Unit::Size, "size", "the runtime's own", "64M";
    /// Reads from disks.
    DiskRead = "disk-read", Unit::Rate, "size per second", "not limited", "50M/s";
    /// Writes to disks.
    DiskWrite = "disk-write", Unit::Rate, "size per second", "not limited", "20M/s";
    /// Bytes exchanged with other hosts, sent and received together and over all connections, as the egress broker counts them: without the headers
    /// of TCP and IP, and without the look-up of names. With the host's network (`net.outbound: host`) nobody could hold it, and it is an error.
    Net = "net", Unit::Rate, "size per second", "not limited", "10M/s";
}

impl LimitKey {
    /// The key as it is written below `limits`.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The key of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// Reads a value as it is written in a profile.
    pub fn parse(self, text: &str) -> Result<u64, Wrong> {
        self.unit().parse(text)
    }

    /// Reads a value from a file. A mistake is reported.
    pub fn read(self, out: &mut Reporter<'_>, node: &Node) -> Option<u64> {
        let text = match self.unit().is_number() {
            true => out.number(node, "a number without a unit"),
            // A bare number goes on to its own parser, which knows the unit to suggest.
            false => out.scalar(node, "a number with its unit"),
        }?;
        out.accept(node.span, text, self.parse(text))
    }

    /// A value as it is written in a profile.
    pub fn show(self, value: u64) -> String {
        self.unit().show(value)
    }
}

impl std::fmt::Display for LimitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for LimitKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// `limits`. An absent key is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    values: [Option<Declared<u64>>; LimitKey::ALL.len()],
    must_hold: Vec<Declared<LimitKey>>,
}

impl Limits {
    /// The limit, and where it was declared.
    pub fn get(&self, key: LimitKey) -> Option<&Declared<u64>> {
        self.values[key as usize].as_ref()
    }

    /// The limit, in the base of its unit.
    pub fn value(&self, key: LimitKey) -> Option<u64> {
        self.get(key).map(|limit| limit.value)
    }

    /// Sets a limit, or replaces it.
    pub fn set(&mut self, key: LimitKey, limit: Declared<u64>) {
        self.values[key as usize] = Some(limit);
    }

    /// The limits that must hold as they say, each once.
    pub fn must_hold(&self) -> &[Declared<LimitKey>] {
        &self.must_hold
    }

    /// Has a limit hold as it says, or nothing start.
    pub fn insist_on(&mut self, limit: Declared<LimitKey>) {
        if !self.must_hold.contains(&limit) {
            self.must_hold.push(limit);
        }
    }

    /// All that are set, in the order of [`LimitKey::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (LimitKey, &Declared<u64>)> {
        let set = |&key| Some((key, self.get(key)?));
        LimitKey::ALL.iter().filter_map(set)
    }
}

/// A map from keys to values.
impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, limit) in self.iter() {
            map.serialize_entry(&key, limit)?;
        }
        if !self.must_hold.is_empty() {
            map.serialize_entry(MUST_HOLD, &self.must_hold)?;
        }
        map.end()
    }
}

impl Keyed for Limits {
    const SECTION: &'static Section = &Section {
        name: "Limits",
        about: "How much the command may use. A limit that is not given is not set.",
        what: "a map of limits",
        keys: KEYS,
    };

    fn read(out: &mut Reporter<'_>, node: &Node) -> Self {
        let mut found = Self::default();
        for (name, node) in Self::entries(out, node) {
            if let Some(key) = LimitKey::named(&name.text)
                && let Some(value) = key.read(out, node)
            {
                found.set(key, out.declared(node.span, value));
            }
            if name.text == MUST_HOLD {
                for node in out.list(node, MUST_HOLD) {
                    if let Some(key) = NAME.read(out, node) {
                        found.insist_on(out.declared(node.span, key));
                    }
                }
            }
        }
        found
    }

    fn merge(&mut self, later: &Self) {
        for (key, limit) in later.iter() {
            self.set(key, limit.clone());
        }
        for limit in later.must_hold() {
            self.insist_on(limit.clone());
        }
    }

    fn show(&self, page: &mut Page) {
        for (key, limit) in self.iter() {
            page.entry(key.name(), &key.show(limit.value), Some(&limit.origin));
        }
        page.section(MUST_HOLD, None, &self.must_hold, |page, limit| {
            page.item(limit.value.name(), Some(&limit.origin));
        });
    }
}
