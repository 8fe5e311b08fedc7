//! What a run does that is out of the ordinary: not in its baseline, or, where it has none, refused by its sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use aegis_observation::protocol::Guard;
use aegis_observation::{Observation, Text};
use aegis_policy::model::AnomalyKind as Kind;
use aegis_profile::Profile;

use crate::baseline::{Baseline, Deed, Most, each};
use crate::forms::{Variables, canonical, has_names};

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// Which kind of thing.
    pub kind: Kind,
    /// What it was: a path, an address, a call.
    pub what: Text,
    /// Whether the kernel has refused it, before it happened.
    pub refused: bool,
}

/// Holds what a run does against what is ordinary: each thing is told once.
#[derive(Debug, Default)]
pub struct Watch {
    baseline: Option<Baseline>,
    by_name: bool,
    told: BTreeSet<(Kind, bool, Text)>,
    files: BTreeSet<Text>,
}

impl Watch {
    /// By a baseline; without one, by what the sandbox refuses.
    pub fn new(baseline: Option<Baseline>) -> Self {
        Self {
            baseline,
            ..Self::default()
        }
    }

    /// Of a run under this profile: where `net.outbound` lists hosts, what is reached through the broker is decided and recorded there.
    #[must_use]
    pub fn under(mut self, profile: &Profile) -> Self {
        self.by_name = has_names(profile);
        self
    }

    /// What is out of the ordinary in what was seen since the last call. `is_forbidden` says whether policy blocks reading a
    /// path by a rule: one that was asked for in vain is out of the ordinary if it does. `is_asked`: whether a person is asked
    /// about a kind. A yes is for one thing, so what is of the same form is told too, and what was counted when it has doubled.
    pub fn look(
        &mut self,
        news: &Observation,
        around: &Variables<'_>,
        is_forbidden: &dyn Fn(&Path) -> bool,
        is_asked: &dyn Fn(Kind) -> bool,
    ) -> Vec<Anomaly> {
        let mut found: BTreeMap<(Kind, bool, Text), Text> = BTreeMap::new();
        each(news, around, self.by_name, |deed| {
            let is_odd = match &self.baseline {
                Some(baseline) => !baseline.has(deed.kind, &deed.form),
                None => is_odd(&deed, is_forbidden),
            };
            if is_odd {
                let told = match is_asked(deed.kind) {
                    true => deed.what.clone(),
                    false => deed.form,
                };
                let key = (deed.kind, deed.is_refused, told);
                found.entry(key).or_insert(deed.what);
            }
        });
        (self.files).extend(news.opened.iter().map(|opened| opened.path.clone()));
        let now = Most::of(news, self.files.len());
        let counted = |kind, name: &str, count: u64| match is_asked(kind) {
            true => Text::from(&format!("{name}, 2^{}", count.ilog2())),
            false => Text::from(name),
        };
        if let Some(baseline) = &self.baseline {
            for ((name, now), (_, most)) in now.each().into_iter().zip(baseline.most.each()) {
                // What was not counted, now or then, is compared with nothing.
                if let (Some(now), Some(most)) = (now, most)
                    && now > most
                {
                    let what = Text::from(&format!("{name}: {now}, and never more than {most}"));
                    found.insert((Kind::Rate, false, counted(Kind::Rate, name, now)), what);
                }
            }
        }
        let most_lost = self
            .baseline
            .as_ref()
            .map_or(0, |baseline| baseline.most.lost);
        if now.lost > most_lost {
            let what = Text::from("things were done that were not seen, or not whole");
            found.insert((Kind::Lost, false, counted(Kind::Lost, "", now.lost)), what);
        }
        let new = (found.into_iter()).filter(|(told, _)| self.told.insert(told.clone()));
        new.map(|((kind, refused, _), what)| Anomaly {
            kind,
            what,
            refused,
        })
        .collect()
    }

    /// What the kernel is to kill or refuse: what is executed or reached outside of the baseline. It knows whole paths and addresses alone;
    /// where the baseline has a form for several, or too many, or names have addresses of their own, this is left to whoever looks.
    pub fn guard(&self, around: &Variables<'_>, programs: bool, addresses: bool) -> Guard {
        let Some(baseline) = &self.baseline else {
            return Guard::default();
        };
        let of = |kind| baseline.done.get(&kind).into_iter().flatten();
        let executed: Option<BTreeSet<Text>> = of(Kind::Exec)
            .map(|form| Some(Text::from(&around.program_of(form)?)))
            .collect();
        let reached: Option<BTreeSet<SocketAddr>> = of(Kind::Connect)
            .filter_map(|form| {
                form.as_str()
                    .filter(|form| !form.starts_with(['/', '$', '@']))
            })
            .map(|form| form.replace(":*", ":0").parse().ok())
            .collect();
        // By an IPv6 socket, an IPv4 address has another form.
        let reached = reached.map(|reached| reached.into_iter().flat_map(both_forms).collect());
        Guard {
            executed: executed.filter(|set| programs && set.len() <= Guard::MOST / 2),
            reached: reached.filter(|set: &BTreeSet<_>| {
                addresses && !self.by_name && set.len() <= Guard::MOST / 2
            }),
            refuses: false,
        }
    }
}

fn both_forms(address: SocketAddr) -> Vec<SocketAddr> {
    let address = canonical(address);
    match address {
        SocketAddr::V4(v4) => {
            let mapped = v4.ip().to_ipv6_mapped();
            vec![address, SocketAddr::new(mapped.into(), v4.port())]
        }
        SocketAddr::V6(_) => vec![address],
    }
}

/// Without a baseline: what was refused, and what nobody grants.
fn is_odd(deed: &Deed, is_forbidden: &dyn Fn(&Path) -> bool) -> bool {
    match deed.kind {
        Kind::Denied | Kind::Signal => true,
        Kind::Call => deed.what.as_bytes().ends_with(b"of the 32-bit ABI"),
        Kind::Read | Kind::Write => deed.is_absent && is_forbidden(deed.what.as_path()),
        _ => false,
    }
}
