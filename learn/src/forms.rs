//! One form for paths, addresses and names that differ from run to run, so that what was seen in one run is known again
//! in the next: a pure function of the path and of where the command ran.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use aegis_observation::{End, Observation, Text};
use aegis_profile::{Outbound, Profile};
use aegis_sys::netlink;

use crate::places;
use crate::surroundings::Surroundings;

/// What the variables of a profile stand for where its command ran.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `$WORK`, free of links.
    pub work: &'a Path,
    /// `$HOME`, free of links.
    pub home: &'a Path,
    /// `$SKILL`, free of links.
    pub skill: Option<&'a Path>,
}

/// The port of DNS.
const DNS: u16 = 53;

/// Whether names are looked up here in a run with hosts by name.
fn is_resolver(end: SocketAddr) -> bool {
    end.ip().to_canonical() == netlink::OWN_ADDRESS && end.port() == DNS
}

/// Whether an address is one that the egress broker hands out in a run with hosts by name, or is asked for them at. Which name has
/// which depends on the order of look-ups; and it is the broker that decides and records what is connected to, by name.
pub(crate) fn is_brokers(end: SocketAddr) -> bool {
    let shift = 32 - netlink::NAMES_PREFIX;
    let block = |ip: Ipv4Addr| ip.to_bits() >> shift;
    match end.ip().to_canonical() {
        IpAddr::V4(ip) => block(ip) == block(netlink::NAMES) || is_resolver(end),
        IpAddr::V6(_) => false,
    }
}

/// Whether a run under a profile reaches hosts by name.
pub(crate) fn has_names(profile: &Profile) -> bool {
    matches!(&profile.capabilities.net_outbound, Outbound::Named(list) if !list.is_empty())
}

/// Whether this was seen of a run with hosts by name, which asks for addresses before it has any.
pub(crate) fn is_by_name(seen: &Observation) -> bool {
    (seen.addresses.iter())
        .any(|address| matches!(address.of, End::Internet(end) if is_resolver(end)))
}

/// Ports that the kernel gives to who asks for none begin here (`ip_local_port_range`).
const EPHEMERAL: u16 = 32768;

impl<'a> Variables<'a> {
    /// Those of the surroundings.
    pub fn of(around: &Surroundings<'a>) -> Self {
        Self {
            work: around.work,
            home: around.home,
            skill: around.skill,
        }
    }
}

impl Variables<'_> {
    /// The variables with their places, the innermost first; none that stands for the whole file system. Of one place it is the first, as
    /// in the lines of a profile: so both files can be moved.
    fn variables(&self) -> Vec<(&'static str, &Path)> {
        let all = [
            Some(("$WORK", self.work)),
            self.skill.map(|skill| ("$SKILL", skill)),
            Some(("$HOME", self.home)),
        ];
        let mut all: Vec<_> = (all.into_iter().flatten())
            .filter(|(_, place)| place.components().count() > 1)
            .collect();
        all.sort_by_key(|(_, place)| std::cmp::Reverse(place.components().count()));
        all
    }

    /// The path with the variable that it begins with, and the rest after that.
    fn split<'p>(&self, path: &'p Path) -> Option<(&'static str, &'p Path)> {
        let mut variables = self.variables().into_iter();
        variables.find_map(|(name, place)| Some((name, path.strip_prefix(place).ok()?)))
    }

    /// A program: exactly, but for names that change.
    pub(crate) fn program(&self, path: &Path) -> Text {
        match self.split(path) {
            Some((variable, rest)) => joined(Path::new(variable), rest, named),
            None => joined(Path::new("/"), path, named),
        }
    }

    /// A program's path again, if its form stands for one alone.
    pub(crate) fn program_of(&self, form: &Text) -> Option<PathBuf> {
        let path = form.as_path();
        let mut parts = path.components();
        let first = parts.next()?;
        let path = match first {
            Component::RootDir => path.to_owned(),
            Component::Normal(name) => {
                let (_, place) = (self.variables().into_iter())
                    .find(|(variable, _)| OsStr::new(variable) == name)?;
                place.join(parts.as_path())
            }
            _ => return None,
        };
        let plain = |part: Component<'_>| !matches!(part.as_os_str().as_bytes(), b"*" | b"**");
        path.components().all(plain).then_some(path)
    }

    /// A file or a directory. In `$SKILL` and `$WORK` any name stands for its neighbours, but for those with a dot; a tree of
    /// a language's packages, of data, or of the sandbox's own temporary files stands for all that is in it.
    pub(crate) fn file(&self, path: &Path) -> Text {
        if let Ok(rest) = path.strip_prefix("/proc") {
            let any = |name: &OsStr| match name.as_bytes().iter().all(u8::is_ascii_digit) {
                true => "*".into(),
                false => named(name),
            };
            return joined(Path::new("/proc"), rest, any);
        }
        let tree = |tree: PathBuf| Text::from(&tree.join("**"));
        match self.split(path) {
            Some((variable @ ("$SKILL" | "$WORK"), rest)) => {
                let within = places::package_directory(rest, Path::new("/nonexistent"));
                if let Some(package) = within.filter(|package| !package.as_os_str().is_empty()) {
                    return tree(Path::new(variable).join(package));
                }
                let Some(name) = rest.file_name() else {
                    return Text::from(variable);
                };
                let mut form = joined(Path::new(variable), rest, named);
                if !name.as_bytes().starts_with(b".") {
                    form = Text::from(&form.as_path().with_file_name("*"));
                }
                return form;
            }
            None if places::temporary(path) => {
                let own = path
                    .components()
                    .take(if path.starts_with("/tmp") { 2 } else { 3 });
                return tree(own.collect());
            }
            _ => {}
        }
        let known = places::package_directory(path, self.home).or_else(|| places::data_set(path));
        match (known, self.split(path)) {
            (Some(known), _) => match self.split(&known) {
                Some((variable, rest)) => tree(Path::new(variable).join(rest)),
                None => tree(known),
            },
            (None, Some((variable, rest))) => joined(Path::new(variable), rest, named),
            (None, None) => joined(Path::new("/"), path, named),
        }
    }

    /// An address. Ports that the kernel gives stand for each other.
    pub(crate) fn address(&self, end: &End) -> Text {
        match end {
            End::Internet(address) => {
                let address = canonical(*address);
                let port = match address.port() {
                    port if port == 0 || port >= EPHEMERAL && address.ip().is_loopback() => {
                        "*".to_owned()
                    }
                    port => port.to_string(),
                };
                let ip = address.ip();
                Text::from(&match address.is_ipv6() {
                    true => format!("[{ip}]:{port}"),
                    false => format!("{ip}:{port}"),
                })
            }
            End::Path(path) => self.file(path.as_path()),
            End::Abstract(name) => {
                let mut form = b"@".to_vec();
                let name = OsStr::from_bytes(name.as_bytes());
                // A name that the kernel gave (`autobind`) has five digits.
                form.extend_from_slice(match varies(name) || name.len() == 5 {
                    true => b"*",
                    false => name.as_bytes(),
                });
                Text::from(OsStr::from_bytes(&form))
            }
        }
    }
}

/// An IPv4 address in IPv6's clothes is that address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A beginning, and each name after it in its form.
fn joined(beginning: &Path, rest: &Path, form: impl Fn(&OsStr) -> Vec<u8>) -> Text {
    let mut path = beginning.as_os_str().as_bytes().to_vec();
    let names: Vec<&OsStr> = (rest.components())
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    for (at, name) in names.iter().enumerate() {
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        // Stores that are sharded by the first digits of a hash.
        let is_shard = name.len() <= 3 && name.as_bytes().iter().all(u8::is_ascii_hexdigit);
        let next_varies = names.get(at + 1).is_some_and(|next| varies(next));
        match is_shard && next_varies {
            true => path.push(b'*'),
            false => path.extend(form(name)),
        }
    }
    Text::from(OsStr::from_bytes(&path))
}

/// A name, or what stands for it where it changes from run to run.
fn named(name: &OsStr) -> Vec<u8> {
    match (varies(name), name.as_bytes()) {
        (true, [b'.', ..]) => b".*".to_vec(),
        (true, _) => b"*".to_vec(),
        (false, name) => name.to_vec(),
    }
}

fn varies(name: &OsStr) -> bool {
    places::changes(name) || (!name.is_empty() && name.as_bytes().iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Variables<'static> {
        Variables {
            work: Path::new("/home/ada/work"),
            home: Path::new("/home/ada"),
            skill: Some(Path::new("/home/ada/skills/x")),
        }
    }

    #[test]
    fn one_form_for_what_is_the_same_from_run_to_run() {
        let of = |path: &str| around().file(Path::new(path)).to_string();
        for (path, form) in [
            ("/home/ada/work/in.csv", "$WORK/*"),
            ("/home/ada/work", "$WORK"),
            ("/home/ada/work/.env", "$WORK/.env"),
            ("/home/ada/work/.git/HEAD", "$WORK/.git/*"),
            (
                "/home/ada/work/.git/hooks/post-commit",
                "$WORK/.git/hooks/*",
            ),
            (
                "/home/ada/work/.git/objects/4f/9a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
                "$WORK/.git/objects/*/*",
            ),
            (
                "/home/ada/work/node_modules/a/b.js",
                "$WORK/node_modules/**",
            ),
            ("/home/ada/skills/x/main.py", "$SKILL/*"),
            ("/home/ada/.ssh/id_rsa", "$HOME/.ssh/id_rsa"),
            (
                "/home/ada/.cargo/registry/src/x",
                "$HOME/.cargo/registry/**",
            ),
            ("/tmp/tmpab12/x", "/tmp/**"),
            ("/dev/shm/a", "/dev/shm/**"),
            ("/etc/passwd", "/etc/passwd"),
            ("/proc/12/environ", "/proc/*/environ"),
            ("/proc/self/environ", "/proc/self/environ"),
            (
                "/usr/lib/python3.11/json/__init__.py",
                "/usr/lib/python3.11/**",
            ),
            ("/var/cache/x/20240131.dat", "/var/cache/x/*"),
        ] {
            assert_eq!(of(path), form, "{path}");
        }
    }

    #[test]
    fn a_form_of_one_program_leads_back_to_it() {
        for path in [
            "/usr/bin/git",
            "/home/ada/work/tool",
            "/home/ada/skills/x/run.sh",
        ] {
            let form = around().program(Path::new(path));
            assert_eq!(around().program_of(&form).as_deref(), Some(Path::new(path)));
        }
        let form = around().program(Path::new("/tmp/tmpab12cd/x"));
        assert_eq!(around().program_of(&form), None);
    }

    #[test]
    fn ports_that_the_kernel_gives_are_one() {
        let of = |text: &str| {
            around()
                .address(&End::Internet(text.parse().unwrap()))
                .to_string()
        };
        assert_eq!(of("127.0.0.1:45123"), of("127.0.0.1:38000"));
        assert_ne!(of("127.0.0.1:80"), of("127.0.0.1:8080"));
        assert_eq!(of("[::ffff:192.0.2.1]:443"), of("192.0.2.1:443"));
        assert_eq!(of("192.0.2.1:45123"), "192.0.2.1:45123");
    }
}
