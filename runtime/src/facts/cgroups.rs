//! Where this process may make control groups: `cgroups(7)`, on v1, v2 and hybrid hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use aegis_sys::files;

/// The conventional mount point.
const MOUNT: &str = "/sys/fs/cgroup";

/// The v1 controllers that limits are made of.
pub const V1_CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "blkio"];

/// A directory below which groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub dir: PathBuf,
    /// Whether this process may make groups in it.
    pub writable: bool,
}

/// The host's control groups, as this process can use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The cgroup2 tree: the whole host's (v2) or the one beside v1 (hybrid).
    pub unified: Option<Place>,
    /// Controllers that groups made there can have.
    pub unified_controllers: BTreeSet<String>,
    /// v1 hierarchies, by controller.
    pub v1: BTreeMap<String, Place>,
}

/// What [`Layout::read`] asks of the file system, so that a test can make a tree up.
pub trait Probe {
    /// Whether `dir` is in a cgroup2 mount.
    fn is_cgroup2(&self, dir: &Path) -> bool;
    /// Whether the caller may make directories in `dir`.
    fn writable(&self, dir: &Path) -> bool;
}

struct Kernel;

impl Probe for Kernel {
    fn is_cgroup2(&self, dir: &Path) -> bool {
        // CGROUP2_SUPER_MAGIC of linux/magic.h.
        rustix::fs::statfs(dir).is_ok_and(|found| found.f_type as u64 == 0x6367_7270)
    }

    fn writable(&self, dir: &Path) -> bool {
        rustix::fs::accessat(
            rustix::fs::CWD,
            dir,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
            rustix::fs::AtFlags::EACCESS,
        )
        .is_ok()
    }
}

impl Layout {
    /// Reads the layout for this process.
    pub fn of_this_process() -> Self {
        let own = text(Path::new("/proc/self/cgroup"));
        Self::read(Path::new(MOUNT), &own, &Kernel)
    }

    /// Reads the layout below `mount` for a process whose `/proc/PID/cgroup` is `own`.
    pub fn read(mount: &Path, own: &str, probe: &dyn Probe) -> Self {
        let mut layout = Self::default();
        let pure = probe.is_cgroup2(mount);
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let below = |root: &Path| root.join(path.trim_start_matches('/'));
            if controllers.is_empty() {
                let root = if pure {
                    mount.to_path_buf()
                } else {
                    mount.join("unified")
                };
                if pure || probe.is_cgroup2(&root) {
                    layout.unified = Some(unified_place(&root, &below(&root), probe));
                }
            } else if !pure {
                for controller in controllers.split(',') {
                    let dir = below(&mount.join(controller));
                    if V1_CONTROLLERS.contains(&controller) {
                        let writable = probe.writable(&dir);
                        layout
                            .v1
                            .insert(controller.to_owned(), Place { dir, writable });
                    }
                }
            }
        }
        if let Some(place) = &layout.unified {
            let list = text(&place.dir.join("cgroup.controllers"));
            layout.unified_controllers = list.split_whitespace().map(str::to_owned).collect();
        }
        layout
    }
}

/// The nearest group upwards that may have children with controllers: the root of the mount, or
/// one without processes of its own ("no internal processes", `cgroups(7)`).
fn unified_place(root: &Path, own: &Path, probe: &dyn Probe) -> Place {
    let mut nearest = None;
    for dir in own.ancestors() {
        if !dir.starts_with(root) {
            break;
        }
        // Listing the processes is not cheap where there are many, as there are in the root.
        let empty = || is_empty(&dir.join("cgroup.procs"));
        if (dir == root || empty()) && probe.writable(dir) {
            return Place {
                dir: dir.to_path_buf(),
                writable: true,
            };
        }
        nearest.get_or_insert_with(|| dir.to_path_buf());
    }
    Place {
        dir: nearest.unwrap_or_else(|| root.to_path_buf()),
        writable: false,
    }
}

fn text(file: &Path) -> String {
    files::read_file(file)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

fn is_empty(file: &Path) -> bool {
    let mut first = [0];
    std::fs::File::open(file).is_ok_and(|mut file| matches!(file.read(&mut first), Ok(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct MadeUp {
        cgroup2: Vec<PathBuf>,
        writable: Vec<PathBuf>,
    }

    impl Probe for MadeUp {
        fn is_cgroup2(&self, dir: &Path) -> bool {
            self.cgroup2.iter().any(|root| dir.starts_with(root))
        }
        fn writable(&self, dir: &Path) -> bool {
            self.writable.iter().any(|place| dir == place)
        }
    }

    fn group(dir: &Path, processes: &str, controllers: &str) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("cgroup.procs"), processes).unwrap();
        std::fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
    }

    #[test]
    fn a_delegated_user_gets_the_nearest_empty_group_of_its_own() {
        let tree = tempfile::tempdir().unwrap();
        let mount = tree.path();
        let service = mount.join("user.slice/user-1000.slice/user@1000.service");
        group(mount, "1\n", "memory pids cpu io");
        group(&mount.join("user.slice/user-1000.slice"), "", "memory pids");
        group(&service, "", "memory pids");
        group(
            &service.join("app.slice/shell.scope"),
            "77\n",
            "memory pids",
        );
        group(&service.join("app.slice"), "", "memory pids");
        let probe = MadeUp {
            cgroup2: vec![mount.to_path_buf()],
            writable: vec![service.clone()],
        };
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n";
        let layout = Layout::read(mount, own, &probe);
        assert_eq!(
            layout.unified,
            Some(Place {
                dir: service,
                writable: true
            })
        );
        assert!(layout.unified_controllers.contains("memory"));
        assert!(layout.v1.is_empty());
    }

    #[test]
    fn a_session_without_delegation_is_not_writable() {
        let tree = tempfile::tempdir().unwrap();
        let mount = tree.path();
        group(mount, "", "memory pids");
        group(
            &mount.join("user.slice/session-3.scope"),
            "77\n",
            "memory pids",
        );
        let probe = MadeUp {
            cgroup2: vec![mount.to_path_buf()],
            writable: vec![],
        };
        let layout = Layout::read(mount, "0::/user.slice/session-3.scope\n", &probe);
        assert!(!layout.unified.unwrap().writable);
    }

    #[test]
    fn a_hybrid_host_has_both_and_parents_differ_by_controller() {
        let tree = tempfile::tempdir().unwrap();
        let mount = tree.path();
        for dir in ["memory/job/7", "cpu", "pids"] {
            std::fs::create_dir_all(mount.join(dir)).unwrap();
            std::fs::write(mount.join(dir).join("tasks"), "").unwrap();
        }
        group(&mount.join("unified"), "1\n", "hugetlb");
        let probe = MadeUp {
            cgroup2: vec![mount.join("unified")],
            writable: vec![mount.join("memory/job/7"), mount.join("unified")],
        };
        let own = "5:pids:/\n4:memory:/job/7\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";
        let layout = Layout::read(mount, own, &probe);
        assert_eq!(layout.v1["memory"].dir, mount.join("memory/job/7"));
        assert!(layout.v1["memory"].writable);
        assert!(!layout.v1["pids"].writable);
        assert!(layout.v1.contains_key("cpu"));
        assert!(layout.unified.unwrap().writable);
        assert!(!layout.unified_controllers.contains("memory"));
    }
}
