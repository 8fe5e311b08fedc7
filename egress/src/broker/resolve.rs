//! The real addresses of a name, for connections that are let through: the host's `hosts` file, and then the name servers of its
//! `resolv.conf`. No modules of NSS: a static program has none.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;

/// The host's files.
#[derive(Clone, Debug)]
pub struct Files {
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// As many lookups go on at once. Each has a socket for each kind of address and name server.
const AT_ONCE: usize = 16;

/// As many addresses are taken from an answer.
const MOST: usize = 64;

/// Resolves names as those files say, which are read again when they have changed: a machine moves from one network to another.
pub(crate) struct Resolver {
    files: Files,
    time: Duration,
    read: Mutex<Option<Read>>,
    /// Lookups at once: of names that the profile has, and of others, whose name servers may be anybody's.
    room: [Semaphore; 2],
}

struct Read {
    versions: [Version; 2],
    hosts: Arc<Hosts>,
    /// Or why there are none.
    servers: Result<TokioResolver, String>,
}

/// Tells one state of a file from another.
type Version = Option<(u64, u64, i64, i64)>;

fn version(path: &Path) -> Version {
    let of = std::fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.mtime(), of.mtime_nsec()))
}

impl Resolver {
    pub fn new(files: Files, time: Duration) -> Self {
        Self {
            files,
            time,
            read: Mutex::new(None),
            room: [AT_ONCE; 2].map(Semaphore::new),
        }
    }

    /// The addresses of a name; IPv4 first, which more networks have. `is_named`: the profile has the name itself.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub async fn addresses(&self, host: &str, is_named: bool) -> Result<Vec<IpAddr>, String> {
        let wrong = |error| format!("{host} is no name: {error}");
        let mut name = Name::from_ascii(host).map_err(wrong)?;
        // Only a single word is looked for in the host's own domain.
        name.set_fqdn(host.contains('.'));
        let (hosts, servers) = self.read();
        let mut addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|found| {
                let answers = found.answers().iter();
                answers
                    .filter_map(|record| record.data.ip_addr())
                    .collect::<Vec<_>>()
            })
            .collect();
        if addresses.is_empty() {
            let servers = servers.map_err(|why| format!("{host} cannot be resolved: {why}"))?;
            let lookup = async {
                // Nobody closes it.
                let _room = self.room[usize::from(is_named)].acquire().await;
                servers.lookup_ip(name).await
            };
            let found = tokio::time::timeout(self.time, lookup).await;
            let late = |_| format!("{host} cannot be resolved: no name server answered in time");
            let found = found.map_err(late)?;
            let found = found.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
            addresses = found.iter().take(MOST).collect();
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.dedup();
        Ok(addresses)
    }

    fn read(&self) -> (Arc<Hosts>, Result<TokioResolver, String>) {
        let mut read = self
            .read
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let versions = [&self.files.hosts, &self.files.resolv_conf].map(|path| version(path));
        if read.as_ref().is_none_or(|read| read.versions != versions) {
            *read = Some(Read {
                versions,
                hosts: Arc::new(hosts(&self.files.hosts)),
                servers: servers(&self.files.resolv_conf),
            });
        }
        let read = read.as_ref().expect("just read");
        (read.hosts.clone(), read.servers.clone())
    }
}

fn hosts(path: &Path) -> Hosts {
    let mut hosts = Hosts::default();
    if let Ok(file) = std::fs::File::open(path) {
        // What can be read of it counts, as to everybody else.
        let _ = hosts.read_hosts_conf(file);
    }
    hosts
}

fn servers(path: &Path) -> Result<TokioResolver, String> {
    let path_of = path.display();
    let text = std::fs::read(path);
    let text = text.map_err(|error| format!("{path_of} of the host cannot be read: {error}"))?;
    // What it says of no name server at all is that there are none.
    let parsed = parse_resolv_conf(text);
    let (config, options) = parsed.map_err(|error| format!("{path_of} of the host: {error}"))?;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let to_set = builder.options_mut();
    *to_set = options;
    to_set.use_hosts_file = ResolveHosts::Never;
    to_set.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // The whole of each answer would be kept, and whoever answers chooses how long that is.
    to_set.cache_size = 0;
    let built = builder.build();
    built.map_err(|error| format!("{path_of} of the host: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_nothing_can_be_asked_is_said_with_the_file_that_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.conf");
        let files = Files {
            hosts: directory.path().join("hosts"),
            resolv_conf: path.clone(),
        };
        let why = || {
            let resolver = Resolver::new(files.clone(), Duration::from_secs(60));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let found = runtime
                .unwrap()
                .block_on(resolver.addresses("a.example", true));
            let why = found.unwrap_err();
            assert!(why.contains(&path.display().to_string()), "{why}");
            why
        };
        assert!(why().contains("cannot be read: No such file"));
        std::fs::write(&path, "").unwrap();
        assert!(why().contains("no nameservers"));
        std::fs::write(&path, "nameserver 127.0.0.1\nsearch a..b\n").unwrap();
        assert!(!why().contains("no nameservers"));
    }
}
