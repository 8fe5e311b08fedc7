//! `aegis show`: a run for people. What it has named itself is escaped, like everything that comes from a record.

use std::fmt::Write as _;

use aegis_audit::event::{Cause, RunEnd};
use aegis_launch::registry::Usage;
use aegis_observation::Counts;
use aegis_policy::Verdict;
use aegis_profile::LimitKey;
use aegis_profile::syntax::escape;

use super::inside::{self, MOST};
use super::record::Recorded;
use super::used::{Observed, Used};
use super::{Limit, Shown, State};
use crate::aegis::audit::show::{in_words, name_of};
use crate::text::page::{Page, Row, painted, seconds, size, span};

pub(in crate::aegis) fn text(shown: &Shown, colour: bool) -> String {
    let mut page = Page {
        out: head(shown, colour),
        colour,
    };
    if let Some(record) = &shown.record {
        degraded(&mut page, record);
        violations(&mut page, record);
        traffic(&mut page, record);
    }
    limits(&mut page, &shown.limits);
    if let Some(inside) = &shown.inside {
        inside::add(&mut page, inside);
    }
    if let Some(record) = &shown.record {
        denied(&mut page, shown, record);
    }
    if let Some(observed) = &shown.observed {
        seen(&mut page, observed);
    }
    page.out
}

/// The first lines: which run, how it stands, and what it is.
fn head(shown: &Shown, colour: bool) -> String {
    let record = shown.record.as_ref();
    let running = shown.running.as_ref();
    let start = record.and_then(|record| record.start.as_ref());
    let end = record.and_then(|record| record.end.as_ref());
    let (code, state) = match shown.state {
        State::Running => {
            let started = running.map_or(shown.now_us, |running| running.started_us);
            let age = shown.now_us.saturating_sub(started) / 1_000_000;
            ("32", format!("runs, for {}", span(age)))
        }
        State::Ended | State::Refused => ("1", end.map_or("was not started".into(), ended)),
        State::Ending => ("33", "is ending".into()),
        State::Lost => (
            "33",
            "does not run, and its end was not recorded: what watched it was killed".into(),
        ),
        State::Unrecorded => ("33", "is not recorded here".into()),
    };
    let mut out = format!(
        "{}  {}\n",
        painted(colour, "1", &escape(&shown.run)),
        painted(colour, code, &escape(&state))
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:9}  {}", escape(&text));
    };
    if let Some(record) = record {
        line("started", time(&record.time));
        if let Some(ended) = &record.ended {
            line("ended", time(ended));
        }
    }
    let profile = (running.map(|running| running.profile.clone()))
        .or_else(|| start.map(|start| start.profile.clone()));
    if let Some(profile) = profile {
        let file = start.and_then(|start| start.file.clone());
        let file = file.filter(|file| *file != profile);
        line(
            "profile",
            profile + &file.map_or_else(String::new, |file| format!(" ({file})")),
        );
    }
    let policy = (running.and_then(|running| running.policy.clone()))
        .or_else(|| start.map(|start| start.policy.clone()));
    if let Some(policy) = policy {
        let said = record.and_then(|record| {
            let verdict = record.verdict.map(|verdict| verdict.to_string());
            let answer = record
                .answer
                .map(|answer| format!("a person: {}", name_of(answer)));
            let said: Vec<String> = verdict.into_iter().chain(answer).collect();
            (!said.is_empty()).then(|| format!(": {}", said.join(", ")))
        });
        line("policy", policy + &said.unwrap_or_default());
    }
    if let Some(uid) = (running.map(|running| running.uid)).or(start.map(|start| start.uid)) {
        line("user", uid.to_string());
    }
    let command = (running.map(|running| running.command.join(" ")))
        .or_else(|| start.map(|start| start.argv.join(" ")));
    if let Some(command) = command {
        line("command", command);
    }
    if let Some(context) = record.and_then(|record| record.context.as_ref()) {
        line("directory", context.work.to_string());
    }
    if let Some(running) = running {
        line("network", network(&running.network).into());
        let published: Vec<String> = (running.published.iter()).map(u16::to_string).collect();
        if !published.is_empty() {
            line("published", published.join(" "));
        }
    }
    if let Some(inside) = &shown.inside {
        line("takes", takes(&inside.usage));
    }
    if let Some(refused) = record.and_then(|record| record.refused.as_ref()) {
        line("refused", one_line(&refused.error));
    }
    if let Some(error) = end.and_then(|end| end.error.as_ref()) {
        line("error", one_line(error));
    }
    if let Some(end) = end {
        for (name, list) in [("limits", &end.limits_met), ("planted", &end.planted)] {
            if !list.is_empty() {
                line(name, list.join(" "));
            }
        }
    }
    out
}

fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("; ")
}

/// To the second.
fn time(time: &str) -> String {
    format!("{} UTC", time.get(..19).unwrap_or(time).replace('T', " "))
}

/// The network of a running sandbox, by the registry's word for it.
fn network(word: &str) -> &str {
    match word {
        "own" => "its own, where nothing is but itself",
        "named" => "its own, in which the profile's hosts are reached by name",
        "host" => "the host's",
        other => other,
    }
}

fn ended(end: &RunEnd) -> String {
    let how = match end.cause {
        Cause::Exited => format!("exited with {}", end.exit_status),
        cause => format!("ended by {}, status {}", name_of(cause), end.exit_status),
    };
    let after = end
        .wall_us
        .map(|us| format!(", after {:.2}s", us as f64 / 1e6));
    let memory = end
        .max_rss_kib
        .map(|kib| format!(", {} at most in one process", size(kib << 10)));
    how + &after.unwrap_or_default() + &memory.unwrap_or_default()
}

fn takes(usage: &Usage) -> String {
    let of = |number: u64, one: &str, more: &str| match number {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    };
    format!(
        "{} processor, {} memory, {} with {}",
        seconds(usage.cpu_us),
        size(usage.memory),
        of(usage.processes, "process", "processes"),
        of(usage.threads, "thread", "threads"),
    )
}

fn degraded(page: &mut Page, record: &Recorded) {
    let start = record.start.iter();
    let rows = start
        .flat_map(|start| &start.degraded)
        .flat_map(|degraded| {
            [
                Row::new(degraded.layer.as_str(), &degraded.what),
                Row::new("", &format!("fix: {}", one_line(&degraded.fix))),
            ]
        });
    page.section("Degraded on this host", "", &rows.collect::<Vec<_>>());
}

fn violations(page: &mut Page, record: &Recorded) {
    let rows = record.violations.iter().map(|violation| {
        let text = format!(
            "{}: {}: {}",
            violation.verdict, violation.what, violation.reason
        );
        Row::new(violation.from.as_str(), &text)
    });
    let rows: Vec<Row> = rows.collect();
    page.section("What the policy says of grants", "", &rows);
    let anomalies = record.anomalies.iter().map(|anomaly| Row::new("", anomaly));
    page.section("Anomalies", "", &anomalies.collect::<Vec<_>>());
}

/// What was exchanged with the hosts that it reached by name.
fn traffic(page: &mut Page, record: &Recorded) {
    let all = record.end.iter().flat_map(|end| &end.traffic);
    let rows = all.map(|traffic| {
        let failed = match (traffic.failed, &traffic.error) {
            (0, _) => String::new(),
            (failed, None) => format!(", {failed} failed"),
            (failed, Some(error)) => format!(", {failed} failed ({error})"),
        };
        let text = format!(
            "{} times{failed}, {} sent, {} received",
            traffic.times,
            size(traffic.sent),
            size(traffic.received)
        );
        Row::new(traffic.to.as_str(), &text)
    });
    page.section("Hosts reached", "", &rows.collect::<Vec<_>>());
}

fn limits(page: &mut Page, limits: &[Limit]) {
    let row = |limit: &Limit| {
        let shown = |value: u64| match LimitKey::named(&limit.limit) {
            Some(key) => key.show(value),
            None => value.to_string(),
        };
        // What is used is seldom a round number.
        let used = |value: u64| match LimitKey::named(&limit.limit) {
            Some(LimitKey::Time) => span(value / 1000),
            Some(LimitKey::Memory | LimitKey::Tmp) => size(value),
            _ => shown(value),
        };
        let value = limit.value.map_or("none".into(), shown);
        let used = limit
            .used
            .map(|value| format!(", {} used now", used(value)));
        Row::new(limit.limit.as_str(), &(value + &used.unwrap_or_default()))
    };
    page.section("Limits", "", &limits.iter().map(row).collect::<Vec<_>>());
}

fn denied(page: &mut Page, shown: &Shown, record: &Recorded) {
    let mut rows = Vec::new();
    for denied in record.denials.iter().take(MOST) {
        let denial = &denied.denial;
        rows.push(Row::new(denial.layer.as_str(), &in_words(denial)));
        let reason = denied.reason.as_deref().unwrap_or_default();
        rows.push(match (&denial.allow, denied.verdict) {
            (_, Some(Verdict::Block)) => Row::new("", &format!("the policy blocks it: {reason}")),
            (Some(line), _) => Row::whole("", format!("allow: {line}")),
            (None, _) => Row::new("", "no line of a profile would allow it"),
        });
        if let (Some(_), Some(verdict @ Verdict::Review)) = (&denial.allow, denied.verdict) {
            rows.push(Row::new("", &format!("policy: {verdict}: {reason}")));
        }
    }
    let more = record.denials.len().saturating_sub(MOST);
    if more > 0 {
        rows.push(Row::new("", &format!("and {more} more")));
    }
    if let (State::Running, Some(running)) = (shown.state, &shown.running)
        && running.denials > 0
    {
        let text = format!(
            "{} up to now; which, is recorded at the end",
            running.denials
        );
        rows.push(Row::new("", &text));
    }
    page.section("Denied", "", &rows);
}

/// What was counted, and the most of it in one second.
fn counted(counts: &Counts) -> Vec<Row> {
    let row = |name: &str, all: Option<String>, in_a_second: Option<String>| {
        let most = in_a_second.map(|most| format!("{most} in a second at most"));
        let parts: Vec<String> = all.into_iter().chain(most).collect();
        (!parts.is_empty()).then(|| Row::new(name, &parts.join(", ")))
    };
    let Counts {
        executions,
        forks,
        most_tasks,
        sent,
        opened_in_a_second,
        forks_in_a_second,
        sent_in_a_second,
    } = *counts;
    let plain = |number: u64| number.to_string();
    // The listener counts executions alone.
    let made = forks_in_a_second.map(|_| format!("{forks} made, {most_tasks} at one time"));
    let rows = [
        row("executed", Some(plain(executions)), None),
        row("processes", made, forks_in_a_second.map(plain)),
        row("opened", None, opened_in_a_second.map(plain)),
        row("bytes sent", sent.map(size), sent_in_a_second.map(size)),
    ];
    rows.into_iter().flatten().collect()
}

fn seen(page: &mut Page, observed: &Observed) {
    let list = |words: &[String]| {
        let mut rows: Vec<Row> = words
            .iter()
            .take(MOST)
            .map(|text| Row::whole("", text))
            .collect();
        let more = words.len().saturating_sub(MOST);
        if more > 0 {
            rows.push(Row::new("", &format!("and {more} more")));
        }
        rows
    };
    if let Some(why) = &observed.without_grants {
        page.section("Grants", "", &[Row::new("", &format!("not known: {why}"))]);
    }
    let grants = || observed.grants.iter().flatten();
    let row = |used: &Used| {
        let done = used.used.iter().map(|(did, paths)| match paths.as_slice() {
            [one, two, _, ..] => format!("{did} {} such as {one}, {two}", paths.len()),
            few => format!("{did} {}", few.join(", ")),
        });
        let text = format!("{}: {}", used.grant, done.collect::<Vec<_>>().join("; "));
        Row::new(used.from.as_str(), &text)
    };
    let used: Vec<Row> = grants()
        .filter(|used| !used.used.is_empty())
        .map(row)
        .collect();
    page.section("Grants, and what they were used for", "", &used);
    let never = grants().filter(|used| used.used.is_empty());
    let (built_in, own): (Vec<&Used>, Vec<&Used>) = never.partition(|used| used.built_in);
    let mut rows: Vec<Row> = (own.iter())
        .map(|used| Row::whole(used.from.as_str(), used.grant.as_str()))
        .collect();
    if !built_in.is_empty() {
        let text = format!(
            "and {} of built-in profiles; --json has them",
            built_in.len()
        );
        rows.push(Row::new("", &text));
    }
    page.section("Grants never used", "", &rows);
    page.section("Executed", "", &list(&observed.executed));
    page.section("Addresses", "", &list(&observed.addresses));
    page.section("Refused, as it was seen", "", &list(&observed.refused));
    page.section("How much", "", &counted(&observed.counts));
    let losses = &observed.losses;
    let lost = match losses.lost() {
        0 => None,
        lost => Some(format!("{lost} things were seen and lost")),
    };
    // A grant that only these used is among those never used.
    let missing: Vec<Row> = (lost.iter().chain(&losses.unobserved))
        .map(|text| Row::new("", text))
        .collect();
    page.section("What was not seen", "", &missing);
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn each_network_is_told_in_words() {
        for word in ["own", "named", "host"] {
            assert!(network(word).contains(' '), "{word}");
        }
    }
}
