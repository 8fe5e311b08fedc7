//! Which built-in profiles cover what was seen with little to spare.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegis_profile::{Profile, Program, ReadError, Source, builtin, load};

use crate::cover::{Cover, place};
use crate::evidence::{Did, Evidence, number};
use crate::needs::{Needs, Ran};
use crate::surroundings::Surroundings;

/// How many programs a built-in profile may have that were not executed: this many, and two for each that was.
const SPARE: usize = 32;

/// A built-in profile that is extended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// Its name.
    pub name: String,
    /// What was seen that it covers.
    pub evidence: Evidence,
    /// What it grants on this host that was not seen, in words.
    pub beyond: Vec<String>,
}

/// Built-in profiles need no file.
pub(crate) struct NoFiles;

impl Source for NoFiles {
    fn read(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::NotFound)
    }
}

/// The built-in profile of this name, merged.
pub(crate) fn built_in(name: &str) -> Option<Profile> {
    load(name, &NoFiles).ok().map(|loaded| loaded.profile)
}

/// A built-in profile, held against what was seen.
struct Candidate {
    name: &'static str,
    profile: Profile,
    cover: Cover,
    /// The name of its first program.
    main: PathBuf,
    /// Programs that were executed, and names of those that were not.
    used: usize,
    spare: Vec<String>,
}

fn candidate(
    name: &'static str,
    around: &Surroundings<'_>,
    ran: &BTreeSet<&Path>,
) -> Option<Candidate> {
    let profile = built_in(name)?;
    let mut main = None;
    let (mut used, mut spare) = (0, BTreeSet::new());
    for item in &profile.capabilities.shell_exec {
        let (there, shown) = match &item.value {
            Program::Name { name, optional } => {
                let found = around.look_up(name);
                if !optional && main.is_none() {
                    // Without its main program it is of no use.
                    main = Some(found.clone()?.0);
                }
                let Some((path, fact)) = found else {
                    continue;
                };
                (
                    ran.contains(&*path) || ran.contains(&*fact.real),
                    name.clone(),
                )
            }
            Program::Path(spec) => {
                let Some(tree) =
                    place(spec, around).filter(|tree| around.host.look(tree).is_some())
                else {
                    continue;
                };
                let used = ran.iter().any(|path| path.starts_with(&tree));
                (used, tree.display().to_string())
            }
        };
        match there {
            true => used += 1,
            false => drop(spare.insert(shown)),
        }
    }
    Some(Candidate {
        name,
        cover: Cover::of(&profile, around),
        profile,
        main: main?,
        used,
        spare: spare.into_iter().collect(),
    })
}

/// The profiles to extend, and what they cover.
pub(crate) fn choose(needs: &Needs, around: &Surroundings<'_>) -> (Vec<Extended>, Cover) {
    let programs = needs.programs.keys();
    let ran: BTreeSet<&Path> = programs
        .flat_map(|ran| [ran.asked.as_path(), ran.path.as_path()])
        .collect();
    let mut candidates: Vec<Candidate> = builtin::names()
        .filter_map(|name| candidate(name, around, &ran))
        .filter(|candidate| {
            // Under the same name elsewhere, such as in a virtual environment, it is the same program.
            let is_linked = |ran: &Ran| {
                ran.asked.file_name() == candidate.main.file_name()
                    && around.real(&candidate.main).as_ref() == Some(&ran.path)
            };
            (ran.contains(&*candidate.main) || needs.programs.keys().any(is_linked))
                && candidate.spare.len() <= SPARE + 2 * candidate.used
        })
        .collect();
    candidates.sort_by_key(|candidate| candidate.spare.len());
    let base = built_in("base").expect("a built-in profile");
    let mut cover = Cover::of(&base, around);
    let mut extended: Vec<Extended> = Vec::new();
    let trees = |profile: &Profile| -> BTreeSet<PathBuf> {
        let read = profile.capabilities.files_read.iter();
        let places = read.filter_map(|item| place(&item.value, around));
        places
            .filter(|tree| around.host.look(tree).is_some())
            .collect()
    };
    let of_base = trees(&base);
    for candidate in candidates {
        if cover.has(crate::surroundings::Access::Execute, &candidate.main) {
            continue;
        }
        let mut beyond = Vec::new();
        let spare: Vec<String> = candidate
            .spare
            .into_iter()
            .filter(|name| !name.contains("ld-linux"))
            .collect();
        if !spare.is_empty() {
            beyond.push(format!(
                "{} not executed: {}",
                number(spare.len(), "program"),
                some(&spare)
            ));
        }
        let unread: Vec<String> = trees(&candidate.profile)
            .difference(&of_base)
            .filter(|tree| !needs.read.keys().any(|path| path.starts_with(tree)))
            .map(|tree| tree.display().to_string())
            .collect();
        if !unread.is_empty() {
            beyond.push(format!(
                "{} not read: {}",
                number(unread.len(), "place"),
                some(&unread)
            ));
        }
        let set = candidate.profile.environment.set.iter();
        let set: Vec<String> = set
            .map(|(name, value)| format!("{name}={}", value.value))
            .collect();
        if !set.is_empty() {
            beyond.push(format!("it sets {}", set.join(", ")));
        }
        extended.push(Extended {
            name: candidate.name.to_owned(),
            evidence: covered(needs, &candidate.cover, &cover),
            beyond,
        });
        cover.extend(candidate.cover);
    }
    if extended.is_empty() {
        extended.push(Extended {
            name: "base".into(),
            evidence: covered(needs, &cover, &Cover::default()),
            beyond: Vec::new(),
        });
    }
    (extended, cover)
}

/// What was seen that one covers and another does not.
fn covered(needs: &Needs, by: &Cover, not_by: &Cover) -> Evidence {
    use crate::surroundings::Access::{Execute, Read};
    let mut evidence = Evidence::default();
    for (ran, of_it) in &needs.programs {
        if by.has(Execute, &ran.asked) && !not_by.has(Execute, &ran.asked) {
            evidence.add(of_it.clone());
        }
    }
    for (path, of_it) in &needs.read {
        if by.has(Read, path) && !not_by.has(Read, path) {
            evidence.add(of_it.clone());
        }
    }
    evidence.done.remove(&Did::LookedAt);
    evidence
}

/// The first few of a list.
fn some(list: &[String]) -> String {
    const FEW: usize = 6;
    match list.len() > FEW {
        true => format!("{}, ...", list[..FEW].join(", ")),
        false => list.join(", "),
    }
}
