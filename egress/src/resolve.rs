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
    servers: Option<TokioResolver>,
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
            let servers = servers.ok_or_else(|| {
                format!(
                    "{host} cannot be resolved: the host names no name server in /etc/resolv.conf"
                )
            })?;
            let lookup = async {
                // Nobody closes it.
                let _room = self.room[usize::from(is_named)].acquire().await;
                servers.lookup_ip(name).await
            };
            let found = tokio::time::timeout(self.time, lookup).await;
            let late = |_| format!("{host} cannot be resolved: no name server answered in time");
            let found = found.map_err(late)?;
            let found = found.map_err(|error| format!("{host} cannot be resolved: {error}"))?;
            addresses = found.iter().collect();
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.dedup();
        Ok(addresses)
    }

    fn read(&self) -> (Arc<Hosts>, Option<TokioResolver>) {
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

fn servers(path: &Path) -> Option<TokioResolver> {
    let (config, options) = parse_resolv_conf(std::fs::read(path).ok()?).ok()?;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let to_set = builder.options_mut();
    *to_set = options;
    to_set.use_hosts_file = ResolveHosts::Never;
    to_set.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().ok()
}
