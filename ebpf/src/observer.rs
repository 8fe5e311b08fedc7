//! Observes sandboxes: which, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use aegis_observation::protocol::Guard;
use aegis_observation::{MOST_BYTES, Observation, Opened, Tier};
use aegis_sys::status;
use aya::maps::{HashMap, MapData, MapError};

use crate::assemble;
use crate::note::{COUNTERS, Counters, decode, kind};
use crate::probes::{
    Attached, Error, HAS_HOOKS, Permitted, Probes, WANTS_ADDRESSES, WANTS_NEWS, WANTS_PROGRAMS,
    WANTS_REFUSAL,
};

/// As many sandboxes are observed at one time: `SANDBOXES` of `probes/notes.h`.
const SANDBOXES: u32 = 64;

/// The pid namespace of a sandbox. As long as this value lives no other one gets its number.
#[derive(Debug)]
pub struct Namespace {
    number: u32,
    _held: fs::File,
}

impl Namespace {
    /// The namespace whose first process this is.
    ///
    /// # Errors
    ///
    /// There is no such process, or it is not the first one of its namespace: its namespace has others in it, which
    /// whoever named the process may not observe.
    pub fn of_init(pid: i32) -> Result<Self, Error> {
        let read = || -> io::Result<Self> {
            let pids = status::numbers(Some(pid), "NSpid")?;
            if pids.len() < 2 || !pids.ends_with(&[1]) {
                return Err(io::Error::other(format!(
                    "process {pid} is not the first one of a pid namespace"
                )));
            }
            let held = fs::File::open(format!("/proc/{pid}/ns/pid"))?;
            let number = u32::try_from(held.metadata()?.ino()).map_err(io::Error::other)?;
            Ok(Self {
                number,
                _held: held,
            })
        };
        read().map_err(Error::Namespace)
    }
}

/// An observed sandbox.
struct Watched {
    namespace: Namespace,
    observation: Observation,
    /// What the hook has seen opened.
    hooked: BTreeSet<Opened>,
    bytes: usize,
    news: Option<News>,
}

/// What is to be told of a sandbox while it runs.
#[derive(Default)]
struct News {
    observation: Observation,
    /// Whether there is anything in it.
    any: bool,
    /// How long the notes in it are, as they were sent.
    bytes: usize,
    /// The counters as they were told.
    told: Counters,
    /// How many notes were not sent at the last look.
    unsent: u64,
}

/// The probes, and the sandboxes that are observed by them.
pub struct Observer {
    probes: Probes,
    attached: Option<Attached>,
    watched: BTreeMap<u32, Watched>,
    /// Places whose notes are still in the probes' maps.
    untidy: BTreeSet<u32>,
    /// Notes that had not the form they should have.
    malformed: u64,
}

impl Observer {
    /// Loads the probes, which takes about a tenth of a second. Nothing is observed yet.
    ///
    /// # Errors
    ///
    /// The kernel refuses them.
    pub fn load() -> Result<Self, Error> {
        Ok(Self {
            probes: Probes::load()?,
            attached: None,
            watched: BTreeMap::new(),
            untidy: BTreeSet::new(),
            malformed: 0,
        })
    }

    /// How well it sees.
    pub fn tier(&self) -> Tier {
        match self.probes.has_lsm {
            true => Tier::BpfLsm,
            false => Tier::Bpf,
        }
    }

    /// Observes a sandbox, from its first execution on. Returns its place among the observed.
    ///
    /// # Errors
    ///
    /// The probes cannot be attached, or there is no room. Nothing is left of it.
    ///
    /// `guard`: there are news of it, and what is forbidden by that is killed or refused.
    pub fn watch(&mut self, namespace: Namespace, guard: Option<&Guard>) -> Result<u32, Error> {
        let taken = |slot: &u32| self.watched.contains_key(slot) || self.untidy.contains(slot);
        let free = (0..SANDBOXES).find(|slot| !taken(slot));
        let slot = free.ok_or(Error::Full(SANDBOXES))?;
        let number = namespace.number;
        let begun = self.begin(slot, number, guard);
        if let Err(error) = begun {
            self.untidy.insert(slot);
            let _ = self.tidy(slot);
            return Err(error);
        }
        let mut observation = Observation::default();
        (observation.losses.unobserved).extend(self.probes.unobserved.iter().cloned());
        let watched = Watched {
            namespace,
            observation,
            hooked: BTreeSet::new(),
            bytes: 0,
            news: guard.map(|_| News::default()),
        };
        self.watched.insert(slot, watched);
        if self.attached.is_none() {
            match self.probes.attach() {
                Ok(attached) => self.attached = Some(attached),
                Err(error) => {
                    let _ = self.finish(slot).and_then(|_| self.tidy(slot));
                    return Err(error);
                }
            }
        }
        Ok(slot)
    }

    /// Writes what the probes need to know of a sandbox to their maps; last, that it is observed.
    fn begin(&mut self, slot: u32, namespace: u32, guard: Option<&Guard>) -> Result<(), Error> {
        let mut wants = match self.probes.has_lsm {
            true => HAS_HOOKS,
            false => 0,
        };
        if let Some(guard) = guard {
            wants |= WANTS_NEWS;
            if guard.refuses {
                wants |= WANTS_REFUSAL;
            }
            if let Some(programs) = &guard.executed {
                wants |= WANTS_PROGRAMS;
                for path in programs {
                    let program = Permitted::Program(path.as_path());
                    self.probes.permit(slot, &program)?;
                }
            }
            if let Some(addresses) = &guard.reached {
                wants |= WANTS_ADDRESSES;
                for address in addresses {
                    self.probes.permit(slot, &Permitted::Address(*address))?;
                }
            }
        }
        let mut counters = [0; COUNTERS];
        counters[COUNTERS - 4..].copy_from_slice(&wants.to_ne_bytes());
        self.probes.sandboxes.set(slot, counters, 0)?;
        self.probes.observe(namespace, slot)
    }

    /// The descriptor that is readable when the probes have sent something of a sandbox of which there are news.
    pub fn sent(&self) -> BorrowedFd<'_> {
        self.probes.ring.as_fd()
    }

    /// What was seen of a sandbox since the last call, if it was anything. What was counted is in it from the beginning, once
    /// that has grown by an eighth.
    ///
    /// # Errors
    ///
    /// The probes' maps cannot be read.
    pub fn news(&mut self, slot: u32) -> Result<Option<Observation>, Error> {
        let Some(news) = self
            .watched
            .get_mut(&slot)
            .and_then(|watched| watched.news.as_mut())
        else {
            return Ok(None);
        };
        let counters = Counters::decode(&self.probes.sandboxes.get(&slot, 0)?);
        let mut counters = counters.expect("the length is the type's");
        // What is not sent for the first time may be at the next look.
        let unsent = std::mem::replace(&mut news.unsent, counters.unsent);
        counters.unsent = counters.unsent.min(unsent);
        let counted = counters.is_news_after(&news.told);
        if !(news.any || counted) {
            return Ok(None);
        }
        let mut observation = std::mem::take(&mut news.observation);
        (news.any, news.bytes) = (false, 0);
        if counted {
            assemble::count(&mut observation, &counters, self.probes.counts_sent());
            news.told = counters;
        }
        Ok(Some(observation))
    }

    /// Takes in what the probes have sent. To be called some twenty times a second while anything is observed: what
    /// finds no room in the ring buffer until then waits in the probes for its next occasion, and is counted as lost
    /// if there is none.
    pub fn drain(&mut self) {
        while let Some(item) = self.probes.ring.next() {
            let Some(note) = decode(&item) else {
                self.malformed += 1;
                continue;
            };
            // Of a sandbox that was forgotten meanwhile nobody asks.
            let Some(watched) = self.watched.get_mut(&note.slot) else {
                continue;
            };
            watched.bytes += item.len();
            let fits = watched.bytes <= MOST_BYTES;
            // A file of the process itself is known by what was asked for, which comes when the call returns.
            let is_early = note.kind == kind::OPENED
                && (note.path.as_ref()).is_some_and(|path| path.starts_with("/proc"));
            if let Some(news) = watched.news.as_mut().filter(|_| !is_early) {
                news.any = true;
                news.bytes += item.len();
                match fits && news.bytes <= MOST_BYTES / 4 {
                    true => assemble::add(&mut news.observation, note.clone()),
                    false => news.observation.losses.dropped += 1,
                }
            }
            match fits {
                true if note.kind == kind::OPENED => watched.hooked.extend(assemble::opened(&note)),
                true => assemble::add(&mut watched.observation, note),
                false => watched.observation.losses.dropped += 1,
            }
        }
    }

    /// Ends the observation of a sandbox.
    ///
    /// # Errors
    ///
    /// The probes' maps cannot be read. `None`: nothing is observed at this place. Its place is free only once
    /// [`Observer::tidy`] was called.
    pub fn finish(&mut self, slot: u32) -> Result<Option<Observation>, Error> {
        let Some(Watched { namespace, .. }) = self.watched.get(&slot) else {
            return Ok(None);
        };
        // First, so that nothing is added any more.
        self.probes.leave(namespace.number)?;
        self.drain();
        let watched = self.watched.remove(&slot).expect("found above");
        self.untidy.insert(slot);
        let counters = Counters::decode(&self.probes.sandboxes.get(&slot, 0)?);
        let mut observation = watched.observation;
        assemble::add_hooked(&mut observation, watched.hooked);
        assemble::count(
            &mut observation,
            &counters.expect("the length is the type's"),
            self.probes.counts_sent(),
        );
        observation.losses.dropped += std::mem::take(&mut self.malformed);
        Ok(Some(observation))
    }

    /// Whether probes are attached, and nothing is observed by them any more.
    pub fn is_at_rest(&self) -> bool {
        self.attached.is_some() && self.watched.is_empty()
    }

    /// Detaches the probes, where nothing is observed by them any more: from then on they cost the machine nothing.
    pub fn detach(&mut self) {
        if self.watched.is_empty() {
            self.attached = None;
        }
    }

    /// Forgets what was noted and permitted at a place whose observation has ended: only then is it free.
    ///
    /// # Errors
    ///
    /// The probes' maps cannot be changed. The place stays taken.
    pub fn tidy(&mut self, slot: u32) -> Result<(), Error> {
        if self.untidy.contains(&slot) {
            sweep(&mut self.probes.seen, slot)?;
            sweep(&mut self.probes.permitted, slot)?;
            self.untidy.remove(&slot);
        }
        Ok(())
    }
}

/// Removes each key of a place: they begin with its number.
fn sweep<const LENGTH: usize>(
    map: &mut HashMap<MapData, [u8; LENGTH], u32>,
    slot: u32,
) -> Result<(), MapError>
where
    [u8; LENGTH]: aya::Pod,
{
    let of_slot = |key: &[u8; LENGTH]| key[..4] == slot.to_ne_bytes();
    // A key that was added meanwhile can have one met twice.
    let keys: BTreeSet<_> = map.keys().collect::<Result<_, _>>()?;
    for key in keys.iter().filter(|key| of_slot(key)) {
        map.remove(key)?;
    }
    Ok(())
}
