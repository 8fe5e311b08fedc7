//! `aegis top`: the sandboxes that run now, again and again.

mod screen;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use aegis_launch::registry::{Running, Usage};
use aegis_runtime::supervise::report;
use anyhow::bail;
use clap::{Args, ValueEnum};
use rustix::termios::isatty;
use serde::Serialize;

use super::{CommandResult, ps};
use crate::terminal::harmless;
use crate::terminal::unwritten;
use screen::{Heard, Screen};

/// The command line.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: P sorts by processor, M by memory; the arrows choose a sandbox, k asks whether to end it; space looks again; q quits.

CPU is the share of one processor since the time before; the first time, since the sandbox was started. In batch mode and with
--json nothing is asked of a terminal.

Examples:
  aegis top
  aegis top -d 5 --sort memory
  aegis top -b -n 1
  aegis top --json -n 60 | jq -c '.runs[] | [.profile, .share]'")]
pub(super) struct Options {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = delay)]
    delay: Duration,
    /// Ends after so many
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Prints one list after the other
    #[arg(short, long)]
    batch: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Processor)]
    sort: Sort,
    /// Those of all users; for root only
    #[arg(long)]
    all: bool,
    /// Prints JSON: one line each time
    #[arg(long)]
    json: bool,
}

/// By what the list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Sort {
    /// Those first that take most processor time
    Processor,
    /// Those first that take most memory
    Memory,
}

fn delay(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    seconds
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds, from 0.1 to 86400".into())
}

/// One look at what runs.
#[derive(Debug, Serialize)]
struct Look {
    /// When, in microseconds since 1970.
    time_us: u64,
    runs: Vec<Row>,
    /// What could not be read.
    errors: Vec<String>,
}

/// A sandbox, and what it takes.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    run: Running,
    usage: Usage,
    /// The share of one processor: since the look before, or since its start.
    share: f64,
}

/// Looks again and again.
struct Watch {
    all: bool,
    sort: Sort,
    /// Of the look before: when, and the processor time of each by then.
    before: Option<(Instant, BTreeMap<String, u64>)>,
}

impl Watch {
    fn look(&mut self) -> anyhow::Result<Look> {
        let (running, errors) = ps::listed(self.all)?;
        let (now, time_us) = (Instant::now(), report::now());
        let mut times = BTreeMap::new();
        let mut runs = Vec::new();
        for run in running {
            let Some(usage) = run.usage() else { continue };
            let since = self.before.as_ref().and_then(|(then, times)| {
                Some((now.duration_since(*then).as_micros(), times.get(&run.id)?))
            });
            let (us, took) = match since {
                Some((us, before)) => (us, usage.cpu_us.saturating_sub(*before)),
                None => (time_us.saturating_sub(run.started_us).into(), usage.cpu_us),
            };
            times.insert(run.id.clone(), usage.cpu_us);
            let share = took as f64 / us.max(1) as f64;
            runs.push(Row { run, usage, share });
        }
        self.before = Some((now, times));
        let mut look = Look {
            time_us,
            runs,
            errors,
        };
        look.sort(self.sort);
        Ok(look)
    }
}

impl Look {
    fn sort(&mut self, by: Sort) {
        self.runs.sort_by(|a, b| {
            let order = match by {
                Sort::Processor => b.share.total_cmp(&a.share),
                Sort::Memory => b.usage.memory.cmp(&a.usage.memory),
            };
            order.then_with(|| a.run.id.cmp(&b.run.id))
        });
    }
}

impl Options {
    pub(super) fn run(self) -> CommandResult {
        let watch = Watch {
            all: self.all,
            sort: self.sort,
            before: None,
        };
        let on_screen = !(self.batch || self.json);
        if on_screen && !isatty(io::stdout()) {
            bail!("standard output is no terminal\n  help: -b prints one list after the other");
        }
        match on_screen {
            true => self.on_screen(watch),
            false => self.in_batch(watch),
        }
    }

    fn in_batch(&self, mut watch: Watch) -> CommandResult {
        let mut right = true;
        for number in 1.. {
            let look = watch.look()?;
            right &= look.errors.is_empty();
            let text = match self.json {
                true => serde_json::to_string(&look)? + "\n",
                false => {
                    let text = table::batch(&look, number > 1);
                    harmless(&text)
                }
            };
            match io::stdout().write_all(text.as_bytes()) {
                // Nobody reads any more.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                written => written.map_err(unwritten)?,
            }
            if self.count == Some(number) {
                break;
            }
            std::thread::sleep(self.delay);
        }
        Ok(right)
    }

    fn on_screen(&self, mut watch: Watch) -> CommandResult {
        let mut look = watch.look()?;
        let mut screen = Screen::open()?;
        let mut shown = table::Shown::default();
        let mut number = 1;
        let mut next = Instant::now() + self.delay;
        loop {
            shown.keep_to(&look);
            let (lines, columns) = screen.size();
            let text = shown.text(&look, watch.sort, self.delay, lines, columns);
            if screen.draw(&text).is_err() {
                return Ok(true); // The terminal has gone.
            }
            match screen.hear(next.saturating_duration_since(Instant::now())) {
                Heard::Nothing => {
                    if self.count == Some(number) {
                        return Ok(true);
                    }
                    number += 1;
                    look = watch.look()?;
                    next = Instant::now() + self.delay;
                }
                Heard::Change => {}
                Heard::Gone => return Ok(true),
                Heard::Signal(signal) => {
                    drop(screen);
                    aegis_sys::signal::die_of(signal);
                    return Ok(false);
                }
                Heard::Keys(keys) => {
                    for key in keys {
                        match shown.key(key, &look) {
                            table::Does::Nothing => {}
                            table::Does::Quit => return Ok(true),
                            table::Does::Stop => screen.stop()?,
                            table::Does::LookAgain => next = Instant::now(),
                            table::Does::Sort(sort) => {
                                watch.sort = sort;
                                look.sort(sort);
                            }
                        }
                    }
                }
            }
        }
    }
}
