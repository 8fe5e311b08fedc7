//! Loading and attaching the probes.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use aya::maps::{Array, HashMap, MapData, RingBuf};
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::links::CgroupAttachMode;
use aya::programs::lsm::LsmLink;
use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::{BtfTracePoint, CgroupSockAddr, Lsm, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfError, EbpfLoader};

use aegis_runtime::seccomp::Arch;

use crate::calls;
use crate::note::COUNTERS;

#[cfg(target_arch = "x86_64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../probes/x86_64.o");
#[cfg(target_arch = "aarch64")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("../probes/aarch64.o");

/// The tracepoints without which nothing is observed.
const NEEDED: [&str; 4] = [
    "sys_exit",
    "sched_process_exec",
    "sched_process_fork",
    "sched_process_exit",
];

/// Tracepoints that some kernels lack, and what cannot be seen without them.
const WANTED: [(&str, &str); 3] = [
    ("signal_generate", "signals to processes outside"),
    (
        "cap_capable",
        "capabilities that the kernel checks for (Linux 6.14)",
    ),
    ("sock_send_length", "bytes that are sent (Linux 6.3)"),
];

/// `QUICK` of `probes/notes.h`.
const QUICK: u32 = 1024;

/// `BPF_NOEXIST` of `linux/bpf.h`.
const NOEXIST: u64 = 1;

const HOOKS: [&str; 6] = [
    "connect4", "connect6", "sendmsg4", "sendmsg6", "bind4", "bind6",
];

/// Programs at hooks of BPF LSM, with the names of the hooks.
const LSM: [(&str, &str); 4] = [
    ("executes", "bprm_creds_from_file"),
    ("opens", "file_open"),
    ("connects", "socket_connect"),
    ("binds", "socket_bind"),
];

/// Why the probes cannot be used here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel says nothing of its types.
    #[error(
        "the kernel's type information (/sys/kernel/btf/vmlinux) cannot be read: {0}\n  help: it takes a kernel with CONFIG_DEBUG_INFO_BTF, and /sys"
    )]
    Types(#[source] BtfError),
    /// The object cannot be loaded: mostly for want of privilege.
    #[error(
        "the probes cannot be loaded: {0}\n  help: it takes root of the host (in a container: CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_PTRACE), and a kernel that is not locked down"
    )]
    Load(#[source] EbpfError),
    /// A probe that is needed is refused.
    #[error("the kernel refuses the probe {0}: {1}")]
    Probe(&'static str, #[source] ProgramError),
    /// A map of the probes cannot be used.
    #[error("the probes' maps cannot be used: {0}")]
    Map(#[from] aya::maps::MapError),
    /// As many sandboxes are observed as there is room for.
    #[error(
        "{0} sandboxes are observed already, and there is no room for more\n  help: try again when one has ended"
    )]
    Full(u32),
    /// The sandbox's namespace cannot be told.
    #[error("the sandbox's pid namespace cannot be told: {0}")]
    Namespace(#[source] io::Error),
    /// No randomness.
    #[error("no random numbers: {0}")]
    Random(#[source] io::Error),
}

/// Loaded probes, which are not attached yet, and their maps.
pub(crate) struct Probes {
    ebpf: Ebpf,
    observed: HashMap<MapData, u32, u32>,
    quick: Array<MapData, [u32; 3]>,
    pub sandboxes: Array<MapData, [u8; COUNTERS]>,
    pub permitted: HashMap<MapData, [u8; 16], u32>,
    secret: u64,
    pub seen: HashMap<MapData, [u8; 64], u32>,
    pub ring: RingBuf<MapData>,
    /// What cannot be seen here.
    pub unobserved: Vec<String>,
    tracepoints: Vec<&'static str>,
    root: Option<File>,
    /// Whether the hooks of BPF LSM see what is done, and can refuse it.
    pub has_lsm: bool,
}

/// What a guarded sandbox may do: `struct permitted` of `probes/notes.h`.
pub(crate) enum Permitted<'p> {
    Program(&'p Path),
    Address(SocketAddr),
}

/// `WANTS_*` of `probes/notes.h`.
pub(crate) const WANTS_NEWS: u32 = 1;
pub(crate) const WANTS_PROGRAMS: u32 = 2;
pub(crate) const WANTS_ADDRESSES: u32 = 4;
pub(crate) const WANTS_REFUSAL: u32 = 8;
/// `HAS_HOOKS` of the same.
pub(crate) const HAS_HOOKS: u32 = 16;

impl Permitted<'_> {
    /// As the probes compute it: see `mix` and `forbids_address` of `probes/noting.h`.
    fn key(&self, slot: u32, secret: u64) -> [u8; 16] {
        let own = |x: u64| (x ^ secret).wrapping_mul(0x9fb2_1c65_1e98_df25);
        let (of, hash) = match self {
            Self::Program(path) => {
                let mut bytes = Vec::new();
                for name in path.components().rev() {
                    if let Component::Normal(name) = name {
                        bytes.extend_from_slice(name.as_bytes());
                        bytes.push(0);
                    }
                }
                let hash = bytes.chunks(8).fold(secret, |hash, chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    let hash = own(hash ^ u64::from_le_bytes(word));
                    hash ^ hash >> 29
                });
                (WANTS_PROGRAMS, hash)
            }
            Self::Address(address) => {
                let (family, octets) = match address.ip() {
                    IpAddr::V4(ip) => {
                        let mut octets = [0; 16];
                        octets[..4].copy_from_slice(&ip.octets());
                        (libc::AF_INET, octets)
                    }
                    IpAddr::V6(ip) => (libc::AF_INET6, ip.octets()),
                };
                let (first, second) = octets.split_at(8);
                let half = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("8 bytes"));
                let hash = own(secret ^ (family as u64) << 16 ^ u64::from(address.port()));
                let hash = own(hash ^ hash >> 29 ^ half(first));
                (WANTS_ADDRESSES, own(hash ^ hash >> 29 ^ half(second)))
            }
        };
        let mut key = [0; 16];
        key[..4].copy_from_slice(&slot.to_ne_bytes());
        key[4..8].copy_from_slice(&of.to_ne_bytes());
        key[8..].copy_from_slice(&hash.to_ne_bytes());
        key
    }
}

fn program<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> &'e mut P
where
    &'e mut P: TryFrom<&'e mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).expect("a program of our own object");
    program.try_into().expect("its section says what it is")
}

impl Probes {
    pub fn load() -> Result<Self, Error> {
        let btf = Btf::from_sys_fs().map_err(Error::Types)?;
        let secret = u64::from_ne_bytes(aegis_sys::private::random().map_err(Error::Random)?);
        let sigreturn = Arch::native().number("rt_sigreturn").unwrap_or(u32::MAX);
        let root = cgroup2();
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .override_global("SECRET", &secret, true)
            .override_global("RT_SIGRETURN", &sigreturn, true)
            .load(OBJECT)
            .map_err(Error::Load)?;
        let (mut tracepoints, mut unobserved) = (NEEDED.to_vec(), Vec::new());
        for name in NEEDED {
            let tracepoint: &mut BtfTracePoint = program(&mut ebpf, name);
            (tracepoint.load(name, &btf)).map_err(|error| Error::Probe(name, error))?;
        }
        for (name, lost) in WANTED {
            let tracepoint: &mut BtfTracePoint = program(&mut ebpf, name);
            match tracepoint.load(name, &btf) {
                Ok(()) => tracepoints.push(name),
                Err(_) => unobserved.push(lost.to_owned()),
            }
        }
        match &root {
            Some(_) => {
                for name in HOOKS {
                    let hook: &mut CgroupSockAddr = program(&mut ebpf, name);
                    hook.load().map_err(|error| Error::Probe(name, error))?;
                }
            }
            None => unobserved
                .push("addresses that no connection came of: no cgroup2 tree is mounted".into()),
        }
        let has_lsm = load_lsm(&mut ebpf, &btf).unwrap_or(false);
        let mut take = |name: &str| ebpf.take_map(name).expect("a map of our own object");
        let mut calls = Array::<_, [u8; 6]>::try_from(take("calls"))?;
        for (number, row) in calls::table() {
            calls.set(number, row, 0)?;
        }
        Ok(Self {
            observed: take("observed").try_into()?,
            quick: take("quick").try_into()?,
            sandboxes: take("sandboxes").try_into()?,
            permitted: take("permitted").try_into()?,
            secret,
            seen: take("seen").try_into()?,
            ring: take("ring").try_into()?,
            unobserved,
            tracepoints,
            root,
            has_lsm,
            ebpf,
        })
    }

    /// Whether bytes that are sent are counted.
    pub fn counts_sent(&self) -> bool {
        self.tracepoints.contains(&"sock_send_length")
    }

    /// Notes what is done in a pid namespace in this place of `sandboxes`.
    pub fn observe(&mut self, namespace: u32, slot: u32) -> Result<(), Error> {
        self.observed.insert(namespace, slot, NOEXIST)?;
        let at = namespace % QUICK;
        let entry = match self.quick.get(&at, 0)? {
            [0, _, others] => [namespace, slot, others],
            [inum, slot, _] => [inum, slot, 1],
        };
        Ok(self.quick.set(at, entry, 0)?)
    }

    /// Permits a guarded sandbox a program or an address.
    pub fn permit(&mut self, slot: u32, permitted: &Permitted<'_>) -> Result<(), Error> {
        Ok((self.permitted).insert(permitted.key(slot, self.secret), 1, 0)?)
    }

    /// Ends what [`Probes::observe`] began.
    pub fn leave(&mut self, namespace: u32) -> Result<(), Error> {
        let at = namespace % QUICK;
        if let [inum, _, others] = self.quick.get(&at, 0)?
            && inum == namespace
        {
            self.quick.set(at, [0, 0, others], 0)?;
        }
        Ok(self.observed.remove(&namespace)?)
    }

    /// From here on they see what happens, until what this returns is dropped. At other times they cost the machine
    /// nothing.
    pub fn attach(&mut self) -> Result<Attached, Error> {
        let mut attached = Attached::default();
        for name in &self.tracepoints {
            let tracepoint: &mut BtfTracePoint = program(&mut self.ebpf, name);
            let link = tracepoint.attach().and_then(|id| tracepoint.take_link(id));
            (attached.tracepoints).push(link.map_err(|error| Error::Probe(name, error))?);
        }
        if let Some(root) = &self.root {
            for name in HOOKS {
                let hook: &mut CgroupSockAddr = program(&mut self.ebpf, name);
                let link = hook
                    // A link is beside others in any case.
                    .attach(root, CgroupAttachMode::Single)
                    .and_then(|id| hook.take_link(id));
                (attached.hooks).push(link.map_err(|error| Error::Probe(name, error))?);
            }
        }
        for (name, _) in LSM.iter().filter(|_| self.has_lsm) {
            let link = attach_lsm(&mut self.ebpf, name);
            (attached.lsm).push(link.map_err(|error| Error::Probe(name, error))?);
        }
        Ok(attached)
    }
}

/// Whether the programs at hooks of BPF LSM can be used. A kernel that was not started with `bpf` among its security modules
/// loads and attaches them all the same, and never calls them: so one is tried.
fn load_lsm(ebpf: &mut Ebpf, btf: &Btf) -> Result<bool, Box<dyn std::error::Error>> {
    program::<Lsm>(ebpf, "is_called").load("file_open", btf)?;
    {
        let _link = attach_lsm(ebpf, "is_called")?;
        File::open("/dev/null")?;
    }
    let called = ebpf.map("called").expect("a map of our own object");
    if Array::<_, u32>::try_from(called)?.get(&0, 0)? == 0 {
        return Ok(false);
    }
    for (name, hook) in LSM {
        program::<Lsm>(ebpf, name).load(hook, btf)?;
    }
    Ok(true)
}

fn attach_lsm(ebpf: &mut Ebpf, name: &str) -> Result<LsmLink, ProgramError> {
    let hook: &mut Lsm = program(ebpf, name);
    hook.attach().and_then(|id| hook.take_link(id))
}

/// Probes that see what happens. Dropping it detaches them.
#[derive(Default)]
pub(crate) struct Attached {
    tracepoints: Vec<BtfTracePointLink>,
    hooks: Vec<CgroupSockAddrLink>,
    lsm: Vec<LsmLink>,
}

/// The root of the cgroup2 tree, which the hooks on addresses are attached to.
fn cgroup2() -> Option<File> {
    let root = |path: &&str| -> Option<File> {
        let root = File::open(path).ok()?;
        let kind = rustix::fs::fstatfs(&root).ok()?.f_type;
        (kind == libc::CGROUP2_SUPER_MAGIC).then_some(root)
    };
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .find_map(root)
}
