//! The functions that a module may call. The engine's own are allowed where they are pure, their result is no
//! larger than their input, and they take no longer than reading it. Others that rules need are ours: bounded,
//! and charged to the effort of the evaluation.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::util::syntax;
use regorus::{Engine, Value};

use super::limits::{EFFORT, MADE_TEXT, PATTERN_BYTES, PATTERN_DEPTH, PIECES};

/// The result of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    /// A text, a number, a boolean.
    One,
    /// This many texts.
    Texts(usize),
    /// A member of its first argument, a collection, or its third argument.
    Member,
}

/// Name, number of arguments, result.
const ALLOWED: [(&str, usize, Returns); 27] = [
    ("concat", 2, Returns::One),
    ("contains", 2, Returns::One),
    ("count", 1, Returns::One),
    ("endswith", 2, Returns::One),
    ("is_array", 1, Returns::One),
    ("is_boolean", 1, Returns::One),
    ("is_null", 1, Returns::One),
    ("is_number", 1, Returns::One),
    ("is_object", 1, Returns::One),
    ("is_set", 1, Returns::One),
    ("is_string", 1, Returns::One),
    ("lower", 1, Returns::One),
    ("max", 1, Returns::Member),
    ("min", 1, Returns::Member),
    ("net.cidr_contains", 2, Returns::One),
    ("net.cidr_is_valid", 1, Returns::One),
    ("object.get", 3, Returns::Member),
    ("regex.match", 2, Returns::One),
    ("split", 2, Returns::Texts(PIECES)),
    ("sprintf", 2, Returns::One),
    ("startswith", 2, Returns::One),
    ("sum", 1, Returns::One),
    ("trim_prefix", 2, Returns::One),
    ("trim_space", 1, Returns::One),
    ("trim_suffix", 2, Returns::One),
    ("type_name", 1, Returns::One),
    ("upper", 1, Returns::One),
];

pub(super) fn find(name: &str) -> Option<(usize, Returns)> {
    let known = ALLOWED.iter().find(|(known, ..)| *known == name)?;
    Some((known.1, known.2))
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|(name, ..)| *name)
}

/// Why a function of Rego is not allowed, where there is a special reason.
pub(super) fn why_not(name: &str) -> Option<&'static str> {
    let family = name.split('.').next().unwrap_or_default();
    Some(match (family, name) {
        (_, "net.lookup_ip_addr") | ("http", _) => {
            "it reaches the network, and a decision reaches nothing"
        }
        ("time", _) => "a request holds no time, and a decision has no clock",
        ("rand" | "uuid", _) => "it is random, and the same request gets the same answer",
        ("opa", _) => "a decision does not depend on its environment",
        ("crypto" | "io", _) => "a decision handles no keys",
        (_, "print" | "trace") => "a decision writes nothing",
        (_, "walk" | "numbers.range" | "numbers.range_step") | ("graph", _) => {
            "its result may be of any size"
        }
        (_, "glob.match") => "compiling its pattern can take any time: use `regex.match`",
        (_, "net.cidr_expand" | "bits.lsh" | "product" | "format_int" | "to_number") => {
            "its result may be of any size"
        }
        (_, "replace" | "strings.replace_n" | "array.concat" | "object.union" | "union") => {
            "its result may be of any size"
        }
        (_, "json.unmarshal" | "yaml.unmarshal" | "base64.decode" | "regex.replace") => {
            "its result may be of any size"
        }
        _ => return None,
    })
}

/// The effort that an evaluation has spent, of [`EFFORT`].
#[derive(Clone, Debug, Default)]
pub(super) struct Effort(Arc<AtomicU64>);

impl Effort {
    /// Begins an evaluation that may spend this much.
    pub fn allow(&self, effort: u64) {
        self.0
            .store(EFFORT.saturating_sub(effort), Ordering::Relaxed);
    }

    fn spend(&self, steps: usize) -> anyhow::Result<()> {
        let more = u64::try_from(steps).unwrap_or(u64::MAX).min(EFFORT + 1);
        match self
            .0
            .fetch_add(more, Ordering::Relaxed)
            .saturating_add(more)
            > EFFORT
        {
            true => anyhow::bail!("its functions have done more work than is allowed"),
            false => Ok(()),
        }
    }
}

/// A pattern of `regex.match`, for a matcher that takes the same steps in every build: matchers that pick the
/// fastest strategy refuse different patterns, depending on the features that other crates enable.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    matcher: PikeVM,
    cache: Cache,
    /// The most steps that matching a byte takes.
    states: usize,
}

impl Pattern {
    /// Compiles it; the error is text for people.
    pub fn compile(text: &str) -> Result<Self, String> {
        // Unicode tables would cost every start more time than they are worth to rules.
        if switches_unicode_on(text) {
            return Err("patterns match bytes, and have only the classes of ASCII".into());
        }
        let of_syntax =
            (syntax::Config::new().unicode(false).utf8(false)).nest_limit(PATTERN_DEPTH);
        let of_states = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(PATTERN_BYTES))
            .which_captures(thompson::WhichCaptures::None);
        let built = PikeVM::builder()
            .syntax(of_syntax)
            .thompson(of_states)
            .build(text);
        let matcher = built.map_err(|why| match (why.size_limit(), why.source()) {
            (Some(_), _) => "it is too large".to_owned(),
            // The last line of the error, after a drawing of the place.
            (None, Some(source)) => {
                let text = source.to_string();
                text.lines()
                    .last()
                    .unwrap_or_default()
                    .replace("error: ", "")
            }
            (None, None) => why.to_string(),
        })?;
        Ok(Self {
            cache: matcher.create_cache(),
            states: matcher.get_nfa().states().len(),
            matcher,
        })
    }

    fn is_match(&mut self, text: &str) -> bool {
        self.matcher.is_match(&mut self.cache, text)
    }
}

/// Whether a pattern has a flag `u`: it works only if another crate happens to enable the Unicode tables.
fn switches_unicode_on(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '(' if rest.next_if_eq(&'?').is_some() => {
                while let Some(flag) = rest.next_if(|c| c.is_ascii_alphabetic() || *c == '-') {
                    if flag == 'u' {
                        return true;
                    }
                }
            }
            _ => (),
        }
    }
    false
}

/// Registers our functions with the engine.
pub(super) fn register(
    engine: &mut Engine,
    effort: &Effort,
    mut patterns: BTreeMap<String, Pattern>,
) -> anyhow::Result<()> {
    let spent = effort.clone();
    let concat = move |args: Vec<Value>| {
        let [delimiter, items] = take(args)?;
        let delimiter = delimiter.as_string()?;
        let mut out = BoundedText::default();
        let mut first = true;
        let mut add = |item: &Value| {
            if !std::mem::take(&mut first) {
                out.push(delimiter)?;
            }
            out.push(item.as_string()?)
        };
        match &items {
            Value::Array(items) => items.iter().try_for_each(&mut add)?,
            Value::Set(items) => items.iter().try_for_each(&mut add)?,
            _ => anyhow::bail!("`concat` puts together an array or a set of texts"),
        }
        spent.spend(out.0.len())?;
        Ok(Value::from(out.0))
    };
    engine.add_extension("concat".into(), 2, Box::new(concat))?;

    let spent = effort.clone();
    let split = move |args: Vec<Value>| {
        let [text, delimiter] = take(args)?;
        let (text, delimiter) = (text.as_string()?, delimiter.as_string()?);
        spent.spend(text.len() + delimiter.len() + 50)?;
        if delimiter.is_empty() {
            anyhow::bail!("`split` needs a separator");
        }
        let pieces: Vec<Value> = text
            .split(&**delimiter)
            .take(PIECES + 1)
            .map(Value::from)
            .collect();
        if pieces.len() > PIECES {
            anyhow::bail!("`split` gives more than {PIECES} pieces");
        }
        spent.spend(pieces.len() * 50)?;
        Ok(Value::from(pieces))
    };
    engine.add_extension("split".into(), 2, Box::new(split))?;

    let spent = effort.clone();
    let sprintf = move |args: Vec<Value>| {
        let [format, items] = take(args)?;
        let text = format_text(format.as_string()?, items.as_array()?.iter())?;
        spent.spend(text.len())?;
        Ok(Value::from(text))
    };
    engine.add_extension("sprintf".into(), 2, Box::new(sprintf))?;

    let spent = effort.clone();
    let matches = move |args: Vec<Value>| {
        let [pattern, text] = take(args)?;
        let (pattern, text) = (pattern.as_string()?, text.as_string()?);
        let Some(pattern) = patterns.get_mut(&**pattern) else {
            anyhow::bail!("this pattern was not in the module");
        };
        spent.spend((text.len() + 1).saturating_mul(pattern.states))?;
        Ok(Value::from(pattern.is_match(text)))
    };
    engine.add_extension("regex.match".into(), 2, Box::new(matches))
}

fn take<const N: usize>(args: Vec<Value>) -> anyhow::Result<[Value; N]> {
    <[Value; N]>::try_from(args).map_err(|_| anyhow::anyhow!("a wrong number of arguments"))
}

/// A text under construction, with bounded length.
#[derive(Default)]
struct BoundedText(String);

impl BoundedText {
    fn push(&mut self, text: &str) -> anyhow::Result<()> {
        if self.0.len() + text.len() > MADE_TEXT {
            anyhow::bail!("a text of more than {MADE_TEXT} bytes would be made");
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// `%s`, `%d` and `%v` without width or precision, and `%%`.
fn format_text<'v>(
    format: &str,
    mut items: impl Iterator<Item = &'v Value>,
) -> anyhow::Result<String> {
    let mut out = BoundedText::default();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push(before)?;
        let verb = after.chars().next();
        rest = after.get(1..).unwrap_or_default();
        if verb == Some('%') {
            out.push("%")?;
            continue;
        }
        if !matches!(verb, Some('s' | 'd' | 'v')) {
            anyhow::bail!("`sprintf` knows %s, %d, %v and %%");
        }
        match (verb, items.next()) {
            (_, None) => anyhow::bail!("`sprintf` has too few values for its format"),
            (Some('s' | 'v'), Some(Value::String(text))) => out.push(text)?,
            (Some('d' | 'v'), Some(number @ Value::Number(_))) => out.push(&number.to_string())?,
            (Some('v'), Some(Value::Bool(bool))) => out.push(&bool.to_string())?,
            (Some('v'), Some(Value::Null)) => out.push("null")?,
            (Some(verb), Some(_)) => anyhow::bail!("`sprintf` was given no value for %{verb}"),
            (None, Some(_)) => (),
        }
    }
    if items.next().is_some() {
        anyhow::bail!("`sprintf` has more values than its format");
    }
    out.push(rest)?;
    Ok(out.0)
}
