//! The arguments of `eval`, `explain` and `diff`: a request, and its context.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use aegis_policy::{Context, HostPath, Policy, Request, ask};
use aegis_runtime::facts::{self, names};
use anyhow::{anyhow, ensure};
use clap::{Args, ValueHint};

use super::{compiled, document};
use crate::aegis::one_stdin;
use crate::names::{actions, policies, profiles};

/// Requests have some kilobytes.
const MAX_BYTES: u64 = 16 << 20;

/// The context of a request, if the request itself has none.
#[derive(Debug, Args)]
pub(in crate::aegis) struct ContextArgs {
    /// What $WORK stands for; without it, the current directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    work: Option<PathBuf>,
    /// What $HOME stands for; without it, your own
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    home: Option<PathBuf>,
    /// What $SKILL stands for; without it, nothing, as under a built-in profile
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    skill: Option<PathBuf>,
    /// The name that the profile gives itself
    #[arg(long, value_name = "NAME", add = profiles())]
    profile: Option<String>,
}

impl ContextArgs {
    /// Whether none of these is given.
    pub fn is_silent(&self) -> bool {
        let places = [&self.work, &self.home, &self.skill];
        places.iter().all(|place| place.is_none()) && self.profile.is_none()
    }

    /// The context of the request.
    pub fn context(&self) -> anyhow::Result<Context> {
        let path = |path: &PathBuf| match std::path::absolute(path) {
            Ok(path) => Ok(HostPath::from(path.as_path())),
            Err(error) => Err(anyhow!("{} is not a path: {error}", path.display())),
        };
        let here = || {
            std::env::current_dir().map_err(|error| {
                anyhow!("the current directory has no name: {error}; say what $WORK is by --work")
            })
        };
        let home = (self.home.clone()).unwrap_or_else(|| facts::this_caller().policy_home);
        Ok(Context {
            home: path(&home)?,
            profile: self.profile.clone().unwrap_or_default(),
            skill: self.skill.as_ref().map(path).transpose()?,
            uid: rustix::process::geteuid().as_raw(),
            work: path(&self.work.clone().map_or_else(here, Ok)?)?,
            ..Context::default()
        })
    }
}

/// A policy, and a request to decide.
#[derive(Debug, Args)]
pub(in crate::aegis) struct RequestArgs {
    /// A file, a directory, `-`, or the name of a template; left out, what is in force here is asked
    #[arg(value_name = "POLICY", value_hint = ValueHint::AnyPath, add = policies())]
    policy: String,
    /// A file, `-`, or an action and words
    #[arg(value_name = "REQUEST", value_hint = ValueHint::FilePath, add = actions())]
    request: Option<String>,
    #[command(flatten)]
    place: ContextArgs,
}

impl RequestArgs {
    pub fn read(&self) -> anyhow::Result<(Policy, Request)> {
        // Of one word alone, that is the request.
        let (policy, asked) = match &self.request {
            Some(asked) => {
                one_stdin([&*self.policy, &**asked])?;
                (compiled(document(&self.policy)?)?, asked)
            }
            None => (super::held::policy()?, &self.policy),
        };
        let request = request(asked, &self.place, &policy)?;
        Ok((policy, request))
    }
}

/// A request: JSON from a file or from standard input, which says all itself, or an action and words, which are understood
/// as a run here would understand them.
fn request(text: &str, place: &ContextArgs, policy: &Policy) -> anyhow::Result<Request> {
    if let Some((action, words)) = in_words(text) {
        let context = place.context()?;
        let what = ask::what(action, words, &context).map_err(|wrong| {
            let help = wrong.help.map(|help| format!("\n  help: {help}"));
            anyhow!("`{text}`: {}{}", wrong.message, help.unwrap_or_default())
        })?;
        let mut request = Request {
            approvals: Vec::new(),
            context,
            what,
        };
        names::resolve(&mut request, policy.documents(), &facts::this_caller())?;
        return Ok(request);
    }
    ensure!(
        place.is_silent(),
        "a request in JSON says itself who asks: leave --work, --home, --skill and --profile out"
    );
    let name = if text == "-" { "standard input" } else { text };
    const HELP: &str =
        "\n  help: a request in words begins with an action, such as `files.read=/etc/hosts`";
    let json = read(text).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => HELP,
            _ => "",
        };
        anyhow!("{name} cannot be read: {error}{help}")
    })?;
    serde_json::from_slice(&json).map_err(|error| anyhow!("{name} is not a request: {error}{HELP}"))
}

/// `files.read=/etc/hosts`, or with a space.
fn in_words(text: &str) -> Option<(&str, &str)> {
    let (action, words) = text.split_once(['=', ' '])?;
    let known = ask::ACTIONS.contains(&action) || action.starts_with("limits.");
    known.then_some((action, words.trim()))
}

fn read(text: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match text {
        "-" => io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
        path => File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)?,
    };
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::other("it is far too large for a request")),
        false => Ok(bytes),
    }
}
