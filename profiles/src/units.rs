//! Durations, sizes, rates and counts, written as people write them: `5m`, `512M`, `20M/s`, `1.5`.
//!
//! A number without the unit that it needs is an error: `memory: 512` is 512 bytes to one reader and
//! 512 megabytes to another.

/// What is wrong with a text, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|help| format!("\n{help}")).unwrap_or_default())]
pub struct Wrong {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Wrong {
    /// A mistake and its fix.
    pub fn of(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// The same, as an error.
    pub fn new<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Self> {
        Err(Self::of(message, help))
    }
}

/// Units of time, in milliseconds.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Units of size, in bytes. Powers of 1024, as in `ls -h`, systemd and Docker.
const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The largest safe integer of canonical JSON (RFC 8785), whose numbers are doubles: limits are hashed and
/// recorded in that form.
const MAX: u64 = (1 << 53) - 1;

/// A wall time, in milliseconds.
pub fn time(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split(text);
    let fix = "write a whole number and one of ms, s, m, h, d, such as `30s` or `5m`";
    if unit.is_empty() && !number.is_empty() {
        return Wrong::new(
            "a time needs a unit",
            format!("write `{number}s` for seconds"),
        );
    }
    scaled(number, unit, &TIMES, "a time", fix)
}

/// A size, in bytes.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split(text);
    let fix = "write a whole number and one of B, K, M, G, T, such as `512M`";
    if unit.is_empty() && !number.is_empty() {
        return Wrong::new(
            "a size needs a unit",
            format!("write `{number}M`, or `{number}B` for bytes"),
        );
    }
    if let Some(known) = SIZES.iter().find(|(name, _)| meant(name, unit)) {
        return Wrong::new(
            format!("`{unit}` is not a unit of size"),
            format!("write `{number}{}` (powers of 1024)", known.0),
        );
    }
    scaled(number, unit, &SIZES, "a size", fix)
}

/// A rate, in bytes per second.
pub fn rate(text: &str) -> Result<u64, Wrong> {
    match text.strip_suffix("/s") {
        Some(size_text) => size(size_text).map_err(|e| Wrong {
            message: e.message.replace("size", "rate"),
            help: e
                .help
                .map(|h| h.replace('`', "").replace("write ", "before `/s`, write ")),
        }),
        None => {
            let (number, unit) = split(text);
            if number.is_empty() {
                return Wrong::new(
                    "this is not a rate",
                    "write a size per second, such as `50M/s`",
                );
            }
            let unit = if unit.is_empty() { "M" } else { unit };
            Wrong::new("a rate is per second", format!("write `{number}{unit}/s`"))
        }
    }
}

/// Processor time, in thousandths of one processor, from a plain number.
pub fn cpu(text: &str) -> Result<u64, Wrong> {
    let fix = "write a number of processors from 0.01 to 10000, such as `1.5`";
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let decimal = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !decimal(whole) || !decimal(part) {
        return Wrong::new("this is not a number of processors", fix);
    }
    let part = part.trim_end_matches('0');
    if part.len() > 3 {
        return Wrong::new(
            "more than three decimals",
            "the smallest step is 0.001 of a processor",
        );
    }
    let Ok(whole) = whole.parse::<u64>() else {
        return Wrong::new("too many processors", fix);
    };
    let part: u64 = format!("{part:0<3}").parse().unwrap_or(0);
    match whole.checked_mul(1000).and_then(|n| n.checked_add(part)) {
        Some(n) if n > 10_000_000 => Wrong::new("too many processors", fix),
        None => Wrong::new("too many processors", fix),
        Some(n) if n < 10 => Wrong::new("too little processor time to run anything", fix),
        Some(n) => Ok(n),
    }
}

/// A plain positive whole number, at most `max`.
pub fn count(text: &str, max: u64) -> Result<u64, Wrong> {
    let fix = format!("write a whole number from 1 to {max}, without a unit");
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Wrong::new("this is not a whole number", fix);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Wrong::new("a number may not begin with 0", fix);
    }
    match text.parse::<u64>() {
        Ok(0) => Wrong::new("zero is not a limit", "remove the key, or give at least 1"),
        Ok(n) if n <= max => Ok(n),
        _ => Wrong::new(format!("more than {max}"), fix),
    }
}

/// A time as [`time`] reads it, in the largest unit that divides it.
pub fn show_time(ms: u64) -> String {
    shown(ms, TIMES.iter().rev())
}

/// A size as [`size`] reads it, in the largest unit that divides it.
pub fn show_size(bytes: u64) -> String {
    shown(bytes, SIZES[..5].iter().rev())
}

/// A rate as [`rate`] reads it.
pub fn show_rate(bytes: u64) -> String {
    format!("{}/s", show_size(bytes))
}

/// Thousandths of a processor as [`cpu`] reads them.
pub fn show_cpu(thousandths: u64) -> String {
    let (whole, part) = (thousandths / 1000, thousandths % 1000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{part:03}").trim_end_matches('0'))
}

fn shown<'u>(n: u64, mut units: impl Iterator<Item = &'u (&'u str, u64)>) -> String {
    match units.find(|(_, factor)| n != 0 && n.is_multiple_of(*factor)) {
        Some((name, factor)) => format!("{}{name}", n / factor),
        None => n.to_string(),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(end)
}

/// Whether `unit` is a misspelling of `name`: `mb`, `MB`, `m`, `mib`.
fn meant(name: &str, unit: &str) -> bool {
    name != unit
        && !SIZES.iter().any(|(known, _)| *known == unit)
        && (unit.eq_ignore_ascii_case(name)
            || (name.len() == 1
                && name != "B"
                && unit.len() == 2
                && unit.eq_ignore_ascii_case(&format!("{name}B"))))
}

fn scaled(
    number: &str,
    unit: &str,
    units: &[(&str, u64)],
    what: &str,
    fix: &str,
) -> Result<u64, Wrong> {
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Wrong::new(format!("this is not {what}"), fix);
    };
    if number.is_empty() {
        return Wrong::new(format!("this is not {what}"), fix);
    }
    if number.len() > 1 && number.starts_with('0') {
        return Wrong::new("a number may not begin with 0", fix);
    }
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*factor))
    {
        Some(0) => Wrong::new("zero is not a limit", "remove the key, or give at least 1"),
        Some(n) if n <= MAX => Ok(n),
        _ => Wrong::new("this number is too large", "remove the key for no limit"),
    }
}
