//! What is inside a sandbox now: its processes, what they have open, and their sockets. All of it is the sandbox's own
//! word where it is a name or a command line, and there is no more of it than can be read in a moment.

use std::collections::{BTreeMap, BTreeSet};

use aegis_sys::proc;
use serde::Serialize;

use super::inside::reaped;
use super::sockets::{self, Socket};
use super::{Running, SHOWN, Usage};

/// How many processes are looked into; more are counted.
const PROCESSES: usize = 2048;

/// How many descriptors are looked at, of all processes together.
const DESCRIPTORS: usize = 65_536;

/// How many processes are named for one thing that is open.
const NAMED: usize = 16;

/// The inside of a sandbox at one moment. What ended while it was looked at may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// What all processes take together.
    pub usage: Usage,
    /// The processes, each after its parent.
    pub processes: Vec<Process>,
    /// How many more there are: of these nothing else is known here.
    pub processes_left_out: u64,
    /// Sockets, those of one kind, state and address together.
    pub sockets: Vec<Socket>,
    /// What else is open, each thing once.
    pub open: Vec<Opened>,
    /// Descriptors that were not looked at, as far as the kernel tells their number.
    pub descriptors_left_out: u64,
}

/// A process inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number outside.
    pub pid: i32,
    /// Its number inside.
    pub pid_inside: Option<u32>,
    /// Its parent's number outside. Whose parent is PID 1 of the sandbox has that one's.
    pub parent: i32,
    /// The name that it has given itself, or that of its program.
    pub name: String,
    /// Its command line, as it has it in its memory: the first words. Empty where it has none.
    pub command: Vec<String>,
    /// Its state, by the letter of `proc_pid_stat(5)`.
    pub state: char,
    /// Threads.
    pub threads: u64,
    /// Processor time of it and of children that it has waited for, in microseconds.
    pub cpu_us: u64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open descriptors. `None`: it hides them from this user, or the kernel does not tell.
    pub descriptors: Option<u64>,
}

/// Something that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// What, in the kernel's words: a path as the sandbox has it, `pipe:[3]`, `anon_inode:[eventpoll]`.
    pub what: String,
    /// By how many descriptors.
    pub descriptors: u64,
    /// Of which processes, by their numbers outside: the first few.
    pub pids: BTreeSet<i32>,
}

impl Opened {
    fn add(&mut self, pid: i32) {
        self.descriptors += 1;
        if self.pids.len() < NAMED {
            self.pids.insert(pid);
        }
    }
}

impl Running {
    /// Looks inside. `None`: it is gone.
    pub fn look(&self) -> Option<Inside> {
        let mut inside = Inside::default();
        let mut left = DESCRIPTORS;
        let mut open: BTreeMap<Vec<u8>, Opened> = BTreeMap::new();
        let mut net: Option<proc::Process> = None;
        let init = self.walk(|process, parent, stat| {
            let usage = Usage::of(stat);
            inside.usage.add(usage);
            if inside.processes.len() == PROCESSES {
                inside.processes_left_out += 1;
                return;
            }
            let descriptors = process.descriptors(left).ok();
            let mut count = None;
            if let Some(descriptors) = descriptors {
                let listed = descriptors.listed.len();
                left -= listed;
                count = descriptors.count;
                inside.descriptors_left_out += count.unwrap_or(0).saturating_sub(listed as u64);
                for (_, what) in descriptors.listed {
                    let opened = open.entry(what).or_insert_with_key(|what| Opened {
                        what: String::from_utf8_lossy(what).into_owned(),
                        descriptors: 0,
                        pids: BTreeSet::new(),
                    });
                    opened.add(process.pid);
                }
            }
            inside.processes.push(Process {
                pid: process.pid,
                pid_inside: process.numbers("NSpid").last().copied(),
                parent,
                name: stat.name.clone(),
                command: command(&process),
                state: stat.field(3).unwrap_or('?'),
                threads: usage.threads,
                cpu_us: usage.cpu_us,
                memory: usage.memory,
                descriptors: count,
            });
            net.get_or_insert(process);
        })?;
        inside.usage.cpu_us += reaped(&init);
        if let Some(net) = net {
            inside.sockets = sockets::of(&net, &mut open);
        }
        inside.open = open.into_values().collect();
        Some(inside)
    }
}

/// The words that a process was started with, or has put in their place.
fn command(process: &proc::Process) -> Vec<String> {
    let (words, whole) = process
        .read("cmdline", SHOWN.0 * SHOWN.1)
        .unwrap_or_default();
    // One that has ended, or is a program's second half, has none.
    let words = match whole {
        true => words.strip_suffix(b"\0").unwrap_or(&words),
        false => &words,
    };
    let text = |word: &[u8]| {
        let mut text = String::from_utf8_lossy(word).into_owned();
        text.truncate(text.floor_char_boundary(SHOWN.1));
        text
    };
    let words = words.split(|byte| *byte == 0).map(text);
    match words.clone().all(|word| word.is_empty()) {
        true => Vec::new(),
        false => words.take(SHOWN.0).collect(),
    }
}
