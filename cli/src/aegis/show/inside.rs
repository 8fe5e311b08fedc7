//! What is in a run now: its processes, its sockets, what is open.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use aegis_launch::registry::{Inside, Process};

use crate::text::page::{Page, painted, seconds, shortened, size, table};

/// At most so many lines of a kind are shown; `--json` has all.
pub(super) const MOST: usize = 40;

/// The widest that a command line is shown.
const WIDE: usize = 80;

/// Adds it to a page.
pub(super) fn add(page: &mut Page, inside: &Inside) {
    processes(page, inside);
    sockets(page, inside);
    open(page, inside);
}

/// A title of its own above a table.
fn titled(page: &mut Page, title: &str, table: &str, more: u64) {
    if table.is_empty() && more == 0 {
        return;
    }
    let _ = writeln!(page.out, "\n{}", painted(page.colour, "1", title));
    for line in table.lines() {
        let _ = writeln!(page.out, "  {line}");
    }
    if more > 0 {
        let _ = writeln!(page.out, "  and {more} more");
    }
}

fn processes(page: &mut Page, inside: &Inside) {
    let mut depths: BTreeMap<i32, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    for process in &inside.processes {
        let depth = depths.get(&process.parent).map_or(0, |depth| depth + 1);
        depths.insert(process.pid, depth);
        if rows.len() < MOST {
            rows.push(process_row(process, depth));
        }
    }
    let more = (inside.processes.len() - rows.len()) as u64 + inside.processes_left_out;
    let head = ["PID", "INSIDE", "TIME", "MEMORY", "OPEN", "COMMAND"];
    titled(page, "Processes", &table(Some(head), rows), more);
}

fn process_row(process: &Process, depth: usize) -> [String; 6] {
    let known = |number: Option<String>| number.unwrap_or_else(|| "-".into());
    let name = match process.command.is_empty() {
        true => format!("[{}]", process.name),
        false => shortened(&process.command.join(" "), WIDE),
    };
    let state = match process.state {
        'Z' => " (has ended)",
        'T' | 't' => " (stopped)",
        _ => "",
    };
    // Deeper ones are not set in further.
    let indent = match depth {
        0 => String::new(),
        depth => format!("{}\\_ ", "  ".repeat((depth - 1).min(8))),
    };
    [
        process.pid.to_string(),
        known(process.pid_inside.map(|pid| pid.to_string())),
        seconds(process.cpu_us),
        size(process.memory),
        known(process.descriptors.map(|count| count.to_string())),
        format!("{indent}{name}{state}"),
    ]
}

fn pids(pids: &BTreeSet<i32>) -> String {
    let mut words: Vec<String> = pids.iter().take(4).map(i32::to_string).collect();
    if pids.len() > words.len() {
        words.push("...".into());
    }
    words.join(" ")
}

fn sockets(page: &mut Page, inside: &Inside) {
    let rows = inside.sockets.iter().take(MOST).map(|socket| {
        let address = match (&socket.local, &socket.remote) {
            (Some(local), Some(remote)) => format!("{local} - {remote}"),
            (Some(local), None) => local.clone(),
            (None, _) => "unnamed".into(),
        };
        let times = match socket.count {
            1 => String::new(),
            count => format!("{count} times"),
        };
        [
            socket.protocol.into(),
            socket.state.into(),
            address,
            times,
            pids(&socket.pids),
        ]
    });
    let more = inside.sockets.len().saturating_sub(MOST) as u64;
    let head = ["PROTOCOL", "STATE", "ADDRESS", "", "PID"];
    titled(page, "Sockets now", &table(Some(head), rows), more);
}

fn open(page: &mut Page, inside: &Inside) {
    let rows = inside.open.iter().take(MOST).map(|open| {
        [
            shortened(&open.what, WIDE),
            open.descriptors.to_string(),
            pids(&open.pids),
        ]
    });
    let more = inside.open.len().saturating_sub(MOST) as u64;
    let head = ["WHAT", "DESCRIPTORS", "PID"];
    titled(page, "Open now", &table(Some(head), rows), more);
    if inside.descriptors_left_out > 0 {
        let _ = match inside.descriptors_left_out {
            1 => writeln!(page.out, "  1 descriptor was not looked at"),
            more => writeln!(page.out, "  {more} descriptors were not looked at"),
        };
    }
}
