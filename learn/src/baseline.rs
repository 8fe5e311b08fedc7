//! What a skill ordinarily does, as a file beside its profile: the sets that later runs are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aegis_observation::{
    Abi, Address, End, Executed, How, Named, Observation, Opened, Refused, Text,
};
use aegis_policy::model::AnomalyKind as Kind;
use serde::{Deserialize, Serialize};

use crate::calls::EQUIVALENT;
use crate::evidence::Did;
use crate::forms::{Variables, is_brokers, is_by_name};
use crate::needs::{done_by, is_absence, is_refusal};

/// The format's version, which every baseline begins with.
pub const VERSION: u32 = 1;

/// The longest baseline that is read, in bytes.
pub const LONGEST: u64 = 16 << 20;

/// What ordinary runs did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Baseline {
    /// [`VERSION`].
    pub aegis_baseline: u32,
    /// How many runs it was made of.
    pub runs: usize,
    /// What was done, by kind: paths from `$SKILL`, `$WORK`, `$HOME` or `/`, in which `*` is a name that changes from run to
    /// run and `**` all that is below; addresses; calls.
    pub done: BTreeMap<Kind, BTreeSet<Text>>,
    /// How much may be done: more than was, by some headroom.
    pub most: Most,
}

/// Counts of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Most {
    /// Executions.
    pub executions: u64,
    /// Different files opened.
    pub files: u64,
    /// Processes and threads made.
    pub processes: u64,
    /// Processes and threads at one time.
    pub tasks: u64,
    /// Bytes sent. This and what was done in a second are missing where whoever observed did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Files opened in one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_in_a_second: Option<u64>,
    /// Processes and threads made in one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes_in_a_second: Option<u64>,
    /// Bytes sent in one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_in_a_second: Option<u64>,
    /// Things that were done and not seen.
    pub lost: u64,
}

/// So many paths of a run may be unreadable: another thread that closes the file, or a process that ends, is quicker than
/// whoever looks, now and then.
const UNREADABLE: u64 = 16;

/// Bytes beside those that were sent: a request more, its headers, a greeting of TLS.
const SENT: u64 = 16 << 10;

/// How many times quicker a machine may be than the one that a run was learnt on. Opening files, an emulated machine beside
/// other work did a hundred and twenty-fourth of what its host did in a second: with the four times of all that is counted,
/// the same run is not flagged there either.
const QUICKER: u64 = 32;

/// How much was done and not seen, beyond what ordinary runs have.
fn lost(seen: &Observation) -> u64 {
    let losses = &seen.losses;
    losses.dropped + losses.truncated + losses.unreadable.saturating_sub(UNREADABLE)
}

impl Most {
    /// What an observation has.
    pub(crate) fn of(seen: &Observation, files: usize) -> Self {
        Self {
            executions: seen.counts.executions,
            files: files as u64,
            processes: seen.counts.forks,
            tasks: seen.counts.most_tasks,
            sent: seen.counts.sent,
            files_in_a_second: seen.counts.opened_in_a_second,
            processes_in_a_second: seen.counts.forks_in_a_second,
            sent_in_a_second: seen.counts.sent_in_a_second,
            lost: lost(seen),
        }
    }

    /// Each with its name.
    pub(crate) fn each(&self) -> [(&'static str, Option<u64>); 8] {
        [
            ("executions", Some(self.executions)),
            ("different files opened", Some(self.files)),
            ("processes and threads made", Some(self.processes)),
            ("processes and threads at one time", Some(self.tasks)),
            ("bytes sent", self.sent),
            ("files opened in a second", self.files_in_a_second),
            (
                "processes and threads made in a second",
                self.processes_in_a_second,
            ),
            ("bytes sent in a second", self.sent_in_a_second),
        ]
    }

    fn widen(&mut self, other: &Self) {
        // Four times as much, and a few more: little is never far from nothing.
        let room = |most: &mut u64, seen: u64| *most = (*most).max(seen.saturating_mul(4) + 16);
        room(&mut self.executions, other.executions);
        room(&mut self.files, other.files);
        room(&mut self.processes, other.processes);
        room(&mut self.tasks, other.tasks);
        let measured = |most: &mut Option<u64>, seen: Option<u64>, times: u64, more: u64| {
            if let Some(seen) = seen {
                *most = (*most).max(Some(seen.saturating_mul(times).saturating_add(more)));
            }
        };
        measured(&mut self.sent, other.sent, 4, SENT);
        // What a run does in a second is also how quick the machine is.
        let quicker = 4 * QUICKER;
        let (files, processes) = (other.files_in_a_second, other.processes_in_a_second);
        measured(&mut self.files_in_a_second, files, quicker, 16);
        measured(&mut self.processes_in_a_second, processes, quicker, 16);
        measured(
            &mut self.sent_in_a_second,
            other.sent_in_a_second,
            quicker,
            SENT,
        );
        // Where nothing was lost, nothing is lost in silence.
        if other.lost > 0 {
            room(&mut self.lost, other.lost);
        }
    }
}

/// Why a baseline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadBaseline {
    /// It is not one.
    #[error("it is no baseline: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it is version {0} of the format, and this program reads version {VERSION}")]
    Version(u32),
}

impl Baseline {
    /// What these runs did.
    pub fn of(seen: &[Observation], around: &Variables<'_>) -> Self {
        let mut baseline = Self {
            aegis_baseline: VERSION,
            runs: seen.iter().map(|seen| seen.runs.len()).sum(),
            done: BTreeMap::new(),
            most: Most::default(),
        };
        for seen in seen {
            each(seen, around, is_by_name(seen), |deed| {
                if deed.is_refused {
                    return;
                }
                baseline
                    .done
                    .entry(deed.kind)
                    .or_default()
                    .insert(deed.form);
            });
            // What a link led to may be hidden another time: then it is the link that is asked for.
            let asked = seen
                .opened
                .iter()
                .map(|opened| around.file(opened.asked.as_path()));
            baseline.done.entry(Kind::Read).or_default().extend(asked);
            let files: BTreeSet<&Text> = seen.opened.iter().map(|opened| &opened.path).collect();
            baseline.most.widen(&Most::of(seen, files.len()));
        }
        baseline
    }

    /// Reads a saved baseline.
    ///
    /// # Errors
    ///
    /// It is none, or not of this version.
    pub fn from_json(json: &[u8]) -> Result<Self, BadBaseline> {
        let baseline: Self = serde_json::from_slice(json)?;
        match baseline.aegis_baseline {
            VERSION => Ok(baseline),
            other => Err(BadBaseline::Version(other)),
        }
    }

    /// As it is saved.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("strings and numbers");
        json.push('\n');
        json
    }

    pub(crate) fn has(&self, kind: Kind, form: &Text) -> bool {
        let has = |kind| {
            self.done
                .get(&kind)
                .is_some_and(|forms| forms.contains(form))
        };
        // What is written may be read.
        has(kind) || kind == Kind::Read && has(Kind::Write)
    }
}

/// One thing that was done.
pub(crate) struct Deed {
    pub kind: Kind,
    /// What it is known by.
    pub form: Text,
    /// What it was, for people.
    pub what: Text,
    /// Of a path that is not there, or hidden: it was only asked for.
    pub is_absent: bool,
    /// The kernel refused it, since the run is guarded.
    pub is_refused: bool,
}

/// Calls that say nothing of what a program does: they depend on time, memory and other processes, change what is the
/// process's own, or name a path, which is looked at by itself. By the first of those that do the same.
#[rustfmt::skip]
const INCIDENTAL: [&str; 28] = [
    "arch_prctl", "clock_gettime", "close", "dup", "epoll_wait", "exit", "fcntl", "futex", "getcwd", "getpgrp", "getpid", "getrandom", "getrlimit",
    "getrusage", "getuid", "lseek", "mmap", "nanosleep", "open", "pipe", "poll", "read", "rt_sigaction", "sched_getaffinity", "set_tid_address",
    "stat", "wait4", "write",
];

/// A call, by the first of those that do the same.
fn call(name: &str) -> &str {
    let group = EQUIVALENT.iter().find(|group| group.contains(&name));
    group.map_or(name, |group| group[0])
}

/// Each thing that was done, in the one form that it is known by. `by_name`: in a run with hosts by name, whose broker's addresses are
/// not spoken of.
pub(crate) fn each(
    seen: &Observation,
    around: &Variables<'_>,
    by_name: bool,
    mut add: impl FnMut(Deed),
) {
    let is_of_broker = |address: &Address| match (address.how, &address.of) {
        (How::Connect | How::Send, End::Internet(end)) => by_name && is_brokers(*end),
        _ => false,
    };
    let mut done = |kind, form: Text, what: Text| {
        add(Deed {
            kind,
            form,
            what,
            is_absent: false,
            is_refused: false,
        });
    };
    let text = |text: String| Text::from(&text);
    for ran in &seen.executed {
        executed(ran, around, &mut done);
    }
    for opened in &seen.opened {
        let kind = if opened.write {
            Kind::Write
        } else {
            Kind::Read
        };
        done(kind, around.file(own_proc(opened)), opened.path.clone());
    }
    for socket in &seen.sockets {
        let refused = if socket.refused { ", refused" } else { "" };
        let form = text(format!(
            "family {}, type {}, protocol {}{refused}",
            socket.family, socket.kind, socket.protocol
        ));
        done(Kind::Socket, form.clone(), form);
    }
    let reached = seen.addresses.iter();
    for address in reached.filter(|address| !is_of_broker(address)) {
        used(address, around, &mut done);
    }
    for (abi, calls) in &seen.calls {
        for name in calls {
            let (form, what) = match abi {
                Abi::Native if INCIDENTAL.contains(&call(name)) => continue,
                Abi::Native => (text(call(name).to_owned()), text(name.clone())),
                Abi::Compat => {
                    let what = text(format!("{name} of the 32-bit ABI"));
                    (what.clone(), what)
                }
            };
            done(Kind::Call, form, what);
        }
    }
    let by_path = |call: &str, error: &str| {
        let same = |named: &&Named| named.call == call && named.error.as_deref() == Some(error);
        seen.named.iter().any(|named| same(&named))
    };
    for refused in &seen.refused_calls {
        // Libraries try what a kernel may not have, and do without: that it was called is among the calls.
        if refused.error != "ENOSYS" && !by_path(&refused.call, &refused.error) {
            let form = text(format!("{}: {}", refused.call, refused.error));
            done(Kind::Denied, form.clone(), form);
        }
    }
    for name in seen.capabilities.keys() {
        done(Kind::Capability, text(name.clone()), text(name.clone()));
    }
    for signal in &seen.signals_outside {
        let form = text(signal.to_string());
        done(Kind::Signal, form.clone(), form);
    }
    for named in &seen.named {
        add(of_named(named, around));
    }
    let mut refused = |kind, form, what| {
        add(Deed {
            kind,
            form,
            what,
            is_absent: false,
            is_refused: true,
        });
    };
    for thing in &seen.refused {
        match thing {
            Refused::Executed(ran) => executed(ran, around, &mut refused),
            Refused::Address(address) if is_of_broker(address) => {}
            Refused::Address(address) => used(address, around, &mut refused),
        }
    }
}

fn executed(ran: &Executed, around: &Variables<'_>, done: &mut impl FnMut(Kind, Text, Text)) {
    for path in BTreeSet::from([&ran.path, &ran.asked]) {
        done(Kind::Exec, around.program(path.as_path()), path.clone());
    }
}

fn used(address: &Address, around: &Variables<'_>, done: &mut impl FnMut(Kind, Text, Text)) {
    let kind = match address.how {
        How::Connect | How::Send => Kind::Connect,
        How::Bind | How::Listen => Kind::Bind,
    };
    let what = Text::from(&address.of.to_string());
    done(kind, around.address(&address.of), what);
}

/// A file of the process itself is known by the name that it was asked for by: its number differs.
fn own_proc(opened: &Opened) -> &Path {
    let asked = opened.asked.as_path();
    let own = asked.starts_with("/proc/self") || asked.starts_with("/proc/thread-self");
    match own && opened.path.as_path().starts_with("/proc") {
        true => asked,
        false => opened.path.as_path(),
    }
}

fn of_named(named: &Named, around: &Variables<'_>) -> Deed {
    let path = named.path.as_path();
    let kind = match done_by(&named.call) {
        Did::Made | Did::Wrote | Did::Changed => Kind::Write,
        _ => Kind::Read,
    };
    let error = named.error.as_deref().unwrap_or_default();
    if is_refusal(error) {
        let words = |path: &Text| {
            let bytes = [
                named.call.as_bytes(),
                b" ",
                path.as_bytes(),
                b": ",
                error.as_bytes(),
            ];
            Text::from(
                <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&bytes.concat()),
            )
        };
        return Deed {
            kind: Kind::Denied,
            form: words(&around.file(path)),
            what: words(&named.path),
            is_absent: false,
            is_refused: false,
        };
    }
    Deed {
        kind,
        form: around.file(path),
        what: named.path.clone(),
        is_absent: is_absence(error),
        is_refused: false,
    }
}
