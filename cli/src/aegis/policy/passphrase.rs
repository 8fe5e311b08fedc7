//! `aegis policy passphrase`: the hash of a passphrase, for a policy.

use aegis_policy::model::Passphrase;
use anyhow::{Context as _, anyhow, ensure};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::aegis::{CommandResult, print};
use crate::run::ask::secret;

/// The fewest bytes of a passphrase: whoever can read the policy can try many.
const SHORTEST: usize = 8;

pub(super) fn passphrase() -> CommandResult {
    let ask = |prompt: &str| {
        let given = secret("", prompt).map_err(|why| anyhow!("{why}"))?;
        given.context("no passphrase was given")
    };
    let first = ask("New passphrase: ")?;
    ensure!(
        first.len() >= SHORTEST,
        "the passphrase has fewer than {SHORTEST} characters, and whoever can read the policy can try many: take several words"
    );
    ensure!(
        *ask("The same again: ")? == *first,
        "these are two different passphrases"
    );
    let mut salt = [0; 16];
    let length = getrandom(&mut salt, GetRandomFlags::empty()).context("no random numbers")?;
    ensure!(length == salt.len(), "no random numbers");
    let hashed = Passphrase::new(&first, &salt).context("the passphrase cannot be hashed")?;
    print(&format!("approval-passphrase: {}\n", hashed.as_str()))?;
    Ok(true)
}
