//! The text of the question.
//!
//! Paths, names and reasons come from a profile that may be hostile, or from names of files that it made. They are
//! shown in printable ASCII only: other Unicode characters can steer a terminal, hide or reorder
//! text, or look like something else, and are shown as their numbers. Anything that could be mistaken for our own
//! words is quoted. Lines are broken at the width of the terminal and indented, so that only our own words begin
//! a line. Different texts look different, even where they are broken.
//!
//! The greatest risk comes first. A yes is accepted only if everything has been shown: see [`Page::cut`].

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use aegis_audit::approvals::{Asked, LASTS};
use aegis_policy::request::Destination;
use aegis_policy::{Context, HostPath, What};

use super::Question;
use crate::text::page::painted;

/// Maximum number of things shown, unless all are requested.
const SHOWN: usize = 5;

/// Maximum number of lines for one thing, unless all are requested.
const LINES: usize = 6;

/// In fewer columns the question could be misread.
const NARROWEST: usize = 40;

/// The column where texts from outside begin.
const INDENT: usize = 12;

/// Bold and yellow (ECMA-48, "SGR").
const BOLD: &str = "1";
const YELLOW: &str = "33";

/// The question, in the name of `program`.
pub(super) fn question(
    question: &Question<'_>,
    program: &str,
    columns: usize,
    colour: bool,
    all: bool,
) -> Page {
    let mut page = Page {
        text: String::new(),
        columns: columns.max(NARROWEST),
        colour,
        most: if all { usize::MAX } else { LINES },
        cut: false,
    };
    let context = question.context;
    let mut asked: Vec<&Asked> = question.asked.iter().collect();
    asked.sort_by_key(|asked| Reverse(weight(&asked.what, context)));
    let stands = match question.is_running {
        false => "",
        true => ", and the command stands still",
    };
    let heading = match asked.len() {
        1 => format!("\n{program}: the policy leaves this to you{stands}:"),
        n => format!("\n{program}: the policy leaves {n} things to you{stands}:"),
    };
    page.text += &(painted(colour, BOLD, &heading) + "\n");
    let profile = match question.file {
        Some(file) => format!("{}, from {}", quoted(&context.profile), quoted(file)),
        None => quoted(&context.profile),
    };
    page.row("profile", &profile);
    page.row("policy", &quoted(question.policy));
    let who = match &question.by.name {
        Some(account) => format!("{}, uid {}", quoted(account), question.by.uid),
        None => format!("uid {}", question.by.uid),
    };
    page.row("for", &format!("{who}, in {}", quoted(&context.work.0)));
    let command: Vec<String> = question
        .command
        .iter()
        .map(|word| quoted(&word.0))
        .collect();
    page.row("command", &command.join(" "));
    let shown = if all { asked.len() } else { SHOWN };
    for (number, asked) in asked.iter().take(shown).enumerate() {
        page.text.push('\n');
        page.item(number + 1, asked, context);
    }
    if let Some(rest) = asked.get(shown..).filter(|rest| !rest.is_empty()) {
        let mut counts = BTreeMap::new();
        for asked in rest {
            *counts.entry(asked.what.action()).or_insert(0_usize) += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(a, n)| format!("{n} {a}")).collect();
        let _ = write!(
            page.text,
            "\n  ... and {} more: {}\n",
            rest.len(),
            counts.join(", ")
        );
        page.cut = true;
    }
    page.text.push('\n');
    for policy in question.passphrases {
        let policy = quoted(policy);
        page.row(
            "then",
            &format!("the passphrase of {policy} is asked for: only with it a yes counts"),
        );
    }
    if page.cut {
        page.text
            .push_str("  l   show all of it: only then can it be allowed\n");
    } else {
        page.text.push_str("  y   yes, this once\n");
        if !question.is_running {
            let days = LASTS / 86_400;
            let _ = writeln!(
                page.text,
                "  a   yes, for {days} days (`a 7d`: for 7): this command here, profile and policy"
            );
        }
    }
    page.text.push_str(match question.is_running {
        false => "  N   no: nothing is started\n",
        true => "  N   no: it is killed\n",
    });
    page
}

/// The prompt for a policy's passphrase.
pub(super) fn passphrase(policy: &str) -> String {
    format!("Passphrase of the policy {}: ", quoted(policy))
}

/// The prompt for the answer; `cut` as in the page shown, `once` where a yes is for this once.
pub(super) fn prompt(colour: bool, cut: bool, once: bool) -> String {
    let text = match (cut, once) {
        (false, false) => "Allow it? [y/a/N]",
        (false, true) => "Allow it? [y/N]",
        (true, _) => "Show all of it? [l/N]",
    };
    painted(colour, BOLD, text) + " "
}

/// The question as it is shown.
pub(super) struct Page {
    /// Without the prompt.
    pub text: String,
    columns: usize,
    colour: bool,
    /// Maximum number of lines for one text.
    most: usize,
    /// Whether something was left out: then a yes is not accepted yet.
    pub cut: bool,
}

impl Page {
    fn item(&mut self, number: usize, asked: &Asked, context: &Context) {
        let (kind, thing) = exact(&asked.what);
        let thing = format!("{kind} {thing}");
        self.styled(&number.to_string(), &thing, Some(BOLD));
        self.styled("risk", &risk(&asked.what, context), Some(YELLOW));
        self.row("policy", &escape(asked.opinion.reason.as_bytes(), false));
    }

    /// A label and a text that is already escaped.
    fn row(&mut self, label: &str, text: &str) {
        self.styled(label, text, None);
    }

    fn styled(&mut self, label: &str, text: &str, style: Option<&str>) {
        // The last column stays free: some terminals wrap when it is filled.
        let lines = broken(text, self.columns - INDENT - 1);
        let style = style.filter(|_| self.colour);
        for (i, line) in lines.iter().take(self.most).enumerate() {
            let label = if i == 0 { label } else { "" };
            let line = painted(style.is_some(), style.unwrap_or_default(), line);
            let _ = writeln!(self.text, "  {label:<width$}{line}", width = INDENT - 2);
        }
        if lines.len() > self.most {
            let more = lines.len() - self.most;
            let _ = writeln!(self.text, "{:INDENT$}... and {more} more lines", "");
            self.cut = true;
        }
    }
}

/// Breaks an ASCII text into lines of a width: at blanks, which are dropped there, else after an added
/// `\`. A line never ends with an odd number of the text's own `\`, and no two blanks are adjacent, so that
/// a reader can tell the two kinds of break apart.
pub(super) fn broken(text: &str, width: usize) -> Vec<Cow<'_, str>> {
    let mut lines = Vec::new();
    let mut rest = text;
    while rest.len() > width {
        // The dropped blank may lie just past the end of the line.
        let blank = rest
            .as_bytes()
            .iter()
            .take(width + 1)
            .rposition(|b| *b == b' ');
        if let Some(blank) = blank {
            lines.push(Cow::Borrowed(&rest[..blank]));
            rest = &rest[blank + 1..];
            continue;
        }
        let mut end = width - 1;
        let odd = (rest[..end]
            .bytes()
            .rev()
            .take_while(|b| *b == b'\\')
            .count())
            % 2
            == 1;
        if odd && end > 1 {
            end -= 1;
        }
        lines.push(Cow::Owned(format!("{}\\", &rest[..end])));
        rest = &rest[end..];
    }
    lines.push(Cow::Borrowed(rest));
    lines
}

/// How much harm a yes can do: by the action, and for files by their location.
fn weight(what: &What, context: &Context) -> u8 {
    let here = |path: &HostPath| within(path, &context.work);
    match what {
        What::Tool { .. } => 20,
        What::Anomaly { .. } => 21,
        What::NetHost {} => 19,
        What::Secret { .. } => 18,
        What::Write { path, tree, .. } if !here(path) => 16 + u8::from(*tree),
        What::Device { .. } => 15,
        What::Syscall { .. } => 14,
        What::Read {
            path, tree: true, ..
        } if !here(path) => 13,
        What::Net(_) => 12,
        What::Read { path, .. } if !here(path) => 11,
        // A variable may hold a secret.
        What::Environment { .. } => 10,
        What::Exec { tree, .. } => 7 + u8::from(*tree),
        What::Write { tree, .. } => 5 + u8::from(*tree),
        What::Listen { .. } => 4,
        What::Sockets { .. } => 1,
        What::Read { tree, .. } => 2 + u8::from(*tree),
        What::Limit { .. } => 0,
    }
}

/// The action, and exactly what is asked for.
fn exact(what: &What) -> (&'static str, String) {
    let below = |tree: bool| {
        if tree {
            ", and everything below it"
        } else {
            ""
        }
    };
    let thing = match what {
        What::Anomaly { kind, of } => format!("{kind}: {}", quoted(&of.0)),
        What::Device { device } => quoted(device),
        What::Environment { name: variable } => quoted(variable),
        What::Syscall { name: call } => quoted(call),
        What::Sockets { name } => quoted(name),
        What::Read { path: p, tree, .. } | What::Write { path: p, tree, .. } => {
            format!("{}{}", quoted(&p.0), below(*tree))
        }
        What::Limit { limit, value } => match value {
            Some(value) => format!("{} {value}", quoted(limit)),
            None => format!("{}, as much as there is", quoted(limit)),
        },
        What::NetHost {} => "the host's whole network".into(),
        What::Listen { port } => format!("port {port}"),
        What::Net(destination) => self::destination(destination),
        What::Secret {
            alias,
            host,
            inject,
        } => {
            let place = inject.map_or(String::new(), |inject| {
                format!(", in its {}", inject.name())
            });
            format!("{}, sent to {}{place}", quoted(alias), quoted(host))
        }
        What::Exec {
            name: by,
            path: p,
            tree,
            ..
        } => match by {
            Some(by) => format!("{}, found as {}{}", quoted(&p.0), quoted(by), below(*tree)),
            None => format!("{}{}", quoted(&p.0), below(*tree)),
        },
        What::Tool { grants, .. } => {
            format!(
                "the whole run, with its {} grants (see --explain)",
                grants.len()
            )
        }
    };
    let hidden = what.place().map_or(&[][..], |place| place.except);
    let hidden = hidden
        .iter()
        .map(|path| format!(", except {}", quoted(&path.0)));
    (what.action(), thing + &hidden.collect::<String>())
}

fn destination(destination: &Destination) -> String {
    let mut out = String::new();
    if let Some(method) = &destination.method {
        let _ = write!(out, "{} ", quoted(method));
    }
    let scheme = destination.scheme.name();
    let _ = write!(
        out,
        "{scheme} to {}, port {}",
        quoted(&destination.host),
        destination.port
    );
    if let Some(path) = &destination.path {
        let _ = write!(out, ", path {}", quoted(path));
    }
    if let Some(address) = destination.address {
        let _ = write!(out, ", at {address}");
    }
    out
}

/// What a yes could lead to.
fn risk(what: &What, context: &Context) -> String {
    match what {
        What::Read { path, tree, .. } => {
            let of = if *tree { "every file there" } else { "it" };
            let whose = place(path, *tree, context);
            format!("can read {of}{whose}, and give it away wherever it may write or connect to")
        }
        What::Write { path, tree, .. } => {
            let of = if *tree { "everything there" } else { "it" };
            let whose = place(path, *tree, context);
            let acts = match context.skill.as_ref() {
                Some(skill) if within(path, skill) || *tree && within(skill, path) => {
                    "; it can change its own program or profile for the next run"
                }
                _ if within(path, &context.work) => "",
                _ => "; if a program of yours starts or trusts what is there, it acts with all you may do",
            };
            format!("can change, replace or delete {of}{whose}{acts}")
        }
        What::Exec { tree: true, .. } => {
            "can run any program there, also one that is put there later; each within this sandbox".into()
        }
        What::Exec { tree: false, .. } => {
            "can have that program do whatever it does, with any arguments; within this sandbox".into()
        }
        What::NetHost {} => "has no network boundary: can send what it reads anywhere, and reach services of this \
             host and of the network around it, also such as trust whoever is inside"
            .into(),
        What::Listen { .. } => {
            "whoever reaches this host can connect to it, and is answered by it".into()
        }
        What::Net(destination) => {
            let whom = match destination.host.starts_with("*.") {
                true => "any host of that name",
                false => "that host",
            };
            format!("can send what it reads to {whom}, and takes what comes back")
        }
        What::Secret { .. } => "can act there in your name, as far as that secret goes".into(),
        What::Device { device } => match device.as_str() {
            "kvm" => "can run virtual machines: the kernel's code for them is within its reach".into(),
            "gpu" => "can use the graphics driver, a large part of the kernel, and its memory".into(),
            _ => "can do with that device and its driver what you may".into(),
        },
        What::Environment { .. } => {
            "can read that variable of yours, which may hold a secret".into()
        }
        What::Sockets { .. } => {
            "can have its programs talk to each other by Unix sockets of this sandbox, and to nobody else".into()
        }
        What::Syscall { .. } => {
            "can use a part of the kernel that is kept from others: an error there leads out of the sandbox".into()
        }
        What::Limit { .. } => "can use that much of what the host has".into(),
        What::Anomaly { .. } => "goes on, after what it has never done before".into(),
        What::Tool { .. } => "can do all that the profile declares, at once".into(),
    }
}

/// Whose a path is, by its location.
fn place(path: &HostPath, tree: bool, context: &Context) -> &'static str {
    let Context {
        home, work, skill, ..
    } = context;
    if tree && path.components().next().is_none() {
        " (that is the whole host)"
    } else if tree && !home.0.is_empty() && within(home, path) {
        " (that holds all of your home directory)"
    } else if within(path, work) {
        " (in the directory that it is started in)"
    } else if skill.as_ref().is_some_and(|skill| within(path, skill)) {
        " (in the directory of the profile)"
    } else if within(path, home) {
        " (in your home directory)"
    } else {
        " (outside of your home and working directory)"
    }
}

/// Whether a path is another or lies below it.
fn within(path: &HostPath, other: &HostPath) -> bool {
    let mut path = path.components();
    !other.0.is_empty() && other.components().all(|part| path.next() == Some(part))
}

/// A path, an argument or a name, so that different ones look different: unchanged if it consists only of
/// ASCII letters, digits and the marks that are common in paths; else in quotes, with everything but
/// printable ASCII as numbers.
pub(super) fn quoted(text: &(impl AsRef<[u8]> + ?Sized)) -> String {
    let bytes = text.as_ref();
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+@%=:,~$*".contains(b);
    match !bytes.is_empty() && bytes.iter().all(plain) {
        true => escape(bytes, false),
        false => format!("\"{}\"", escape(bytes, true)),
    }
}

/// In printable ASCII. A blank after a blank is shown as its number too, since nobody can count them.
fn escape(bytes: &[u8], quote: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    let mut blank = false;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' if quote => out.push_str("\\\""),
                ' ' if blank => out.extend(c.escape_unicode()),
                ' '..='~' => out.push(c),
                c => out.extend(c.escape_unicode()),
            }
            blank = c == ' ' && !blank;
        }
        for byte in chunk.invalid() {
            blank = false;
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}
