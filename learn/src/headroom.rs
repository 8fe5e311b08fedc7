//! From what was used to limits.

use aegis_observation::Observation;
use aegis_profile::LimitKey;

use crate::surroundings::Usage;

/// How a limit is made of what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Headroom {
    /// The limit.
    pub limit: LimitKey,
    /// How often what was measured.
    pub times: u64,
    /// At least this: in the base of the limit's unit.
    pub least: u64,
    /// What it is rounded up to a step of: steps are 1, 1.5, 2, 3, 4, 6, 8 ... of these, or those of a clock.
    pub unit: u64,
}

const M: u64 = 1 << 20;
const SECOND: u64 = 1000;

/// Each limit that is proposed.
pub const HEADROOM: [Headroom; 3] = [
    Headroom {
        limit: LimitKey::Time,
        times: 10,
        least: 30 * SECOND,
        unit: SECOND,
    },
    Headroom {
        limit: LimitKey::Memory,
        times: 2,
        least: 256 * M,
        unit: M,
    },
    Headroom {
        limit: LimitKey::Pids,
        times: 4,
        least: 64,
        unit: 1,
    },
];

/// Steps of wall time, in seconds.
const CLOCK: [u64; 16] = [
    30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    2_592_000,
];

/// A limit with what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which.
    pub key: LimitKey,
    /// What is proposed, in the base of its unit.
    pub value: u64,
    /// What was measured.
    pub measured: u64,
}

/// The limits for what was used.
pub(crate) fn limits(usage: Option<&Usage>, seen: &[&Observation]) -> Vec<Limit> {
    let Some(usage) = usage else {
        return Vec::new();
    };
    let most = seen.iter().map(|seen| seen.counts.most_tasks).max();
    let tasks = usage.tasks.max(most.filter(|most| *most > 0));
    let measured = |key: LimitKey| match key {
        LimitKey::Time => usage.time.filter(|_| !usage.interrupted),
        LimitKey::Memory => usage.memory,
        LimitKey::Pids => tasks,
        _ => None,
    };
    let limit = |row: &Headroom| {
        let measured = measured(row.limit)?;
        // What is larger than a profile can say needs no limit.
        let value = rounded(row, measured.checked_mul(row.times)?.max(row.least))?;
        row.limit.parse(&row.limit.show(value)).ok()?;
        Some(Limit {
            key: row.limit,
            value,
            measured,
        })
    };
    HEADROOM.iter().filter_map(limit).collect()
}

fn rounded(row: &Headroom, value: u64) -> Option<u64> {
    if row.limit == LimitKey::Time {
        let seconds = value.div_ceil(row.unit);
        return CLOCK
            .into_iter()
            .find(|step| *step >= seconds)?
            .checked_mul(row.unit);
    }
    let units = value.div_ceil(row.unit);
    let power = units.checked_next_power_of_two()?;
    let between = power / 4 * 3;
    let step = if between >= units { between } else { power };
    step.checked_mul(row.unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_room_and_are_round() {
        let usage = Usage {
            memory: Some(41 * M),
            tasks: Some(3),
            time: Some(1400),
            interrupted: false,
        };
        let limits = limits(Some(&usage), &[]);
        let shown: Vec<String> = limits
            .iter()
            .map(|limit| limit.key.show(limit.value))
            .collect();
        assert_eq!(shown, ["30s", "256M", "64"]);
        let usage = Usage {
            memory: Some(3 << 30),
            tasks: Some(70),
            time: Some(61_000),
            interrupted: false,
        };
        let shown = |usage| -> Vec<String> {
            let limits = super::limits(Some(&usage), &[]);
            let shown = limits.iter().map(|limit| limit.key.show(limit.value));
            shown.collect()
        };
        assert_eq!(shown(usage), ["15m", "6G", "384"]);
        let interrupted = Usage {
            interrupted: true,
            ..usage
        };
        assert_eq!(shown(interrupted), ["6G", "384"], "it might go on for ever");
        assert!(super::limits(None, &[]).is_empty());
    }

    #[test]
    fn what_is_too_large_has_no_limit() {
        let usage = Usage {
            memory: Some(u64::MAX),
            tasks: Some(u64::MAX),
            time: Some(u64::MAX),
            interrupted: false,
        };
        assert!(limits(Some(&usage), &[]).is_empty());
    }
}
