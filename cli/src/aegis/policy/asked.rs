//! What `eval`, `explain` and `diff` take on their command lines: a request, and who asks.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aegis_policy::{Context, HostPath, Request, ask};
use clap::{Args, ValueHint};

use super::Failure;

/// A request is some kilobytes.
const MAX_BYTES: u64 = 16 << 20;

/// Who asks, where the request does not say so itself.
#[derive(Debug, Args)]
pub(in crate::aegis) struct Place {
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
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl Place {
    /// Whether nothing is said.
    pub fn is_silent(&self) -> bool {
        let Self {
            work,
            home,
            skill,
            profile,
        } = self;
        work.is_none() && home.is_none() && skill.is_none() && profile.is_none()
    }

    /// Who asks.
    pub fn context(&self) -> Result<Context, Failure> {
        let path = |path: &Path| {
            std::path::absolute(path)
                .map(|path| HostPath::from(path.as_path()))
                .map_err(|error| Failure::Other(format!("{} is no path: {error}", path.display())))
        };
        let work = match &self.work {
            Some(work) => path(work)?,
            None => match std::env::current_dir() {
                Ok(work) => HostPath::from(work.as_path()),
                Err(error) => {
                    return Err(Failure::Other(format!(
                        "the current directory has no name: {error}; say what $WORK is by --work"
                    )));
                }
            },
        };
        let home = match &self.home {
            Some(home) => path(home)?,
            None => std::env::home_dir()
                .map(|home| HostPath::from(home.as_path()))
                .unwrap_or_default(),
        };
        Ok(Context {
            home,
            profile: self.profile.clone().unwrap_or_default(),
            skill: self.skill.as_deref().map(path).transpose()?,
            uid: rustix::process::getuid().as_raw(),
            work,
            ..Context::default()
        })
    }
}

/// A request: JSON of a file or of standard input, or an action and words.
pub(super) fn request(text: &str, place: &Place) -> Result<Request, Failure> {
    if let Some((action, words)) = in_words(text) {
        let context = place.context()?;
        let what = ask::what(action, words, &context).map_err(|wrong| {
            let help = wrong.help.map(|help| format!("\n  help: {help}"));
            let help = help.unwrap_or_default();
            Failure::Other(format!("`{text}`: {}{help}", wrong.message))
        })?;
        return Ok(Request {
            approvals: Vec::new(),
            context,
            what,
        });
    }
    if !place.is_silent() {
        return Err(Failure::Other(
            "a request in JSON says itself who asks: leave --work, --home, --skill and --profile out"
                .into(),
        ));
    }
    let name = if text == "-" { "standard input" } else { text };
    let json = read(text).map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "\n  help: a request in words begins with an action, such as `files.read=/etc/hosts`"
            }
            _ => "",
        };
        Failure::Other(format!("{name} cannot be read: {error}{help}"))
    })?;
    serde_json::from_slice(&json)
        .map_err(|error| Failure::Other(format!("{name} is no request: {error}")))
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
