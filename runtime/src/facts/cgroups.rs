//! Where this process may make control groups: `cgroups(7)`, on v1, v2 and hybrid hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use aegis_sys::files;
use rustix::fs::{Access, AtFlags, CWD};

/// The conventional mount point.
const MOUNT: &str = "/sys/fs/cgroup";

/// The v1 controllers that limits are made of.
pub const V1_CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "blkio"];

/// A directory below which groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupParent {
    /// The directory.
    pub dir: PathBuf,
    /// Whether this process may make groups in it.
    pub writable: bool,
}

/// The host's control groups, as this process can use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The cgroup2 tree: the whole host's (v2) or the one beside v1 (hybrid).
    pub unified: Option<GroupParent>,
    /// Controllers that groups made there can have.
    pub unified_controllers: BTreeSet<String>,
    /// v1 hierarchies, by controller.
    pub v1: BTreeMap<String, GroupParent>,
}

impl Layout {
    /// Reads the layout for this process.
    pub fn of_this_process() -> Self {
        let own = text(Path::new("/proc/self/cgroup"));
        // CGROUP2_SUPER_MAGIC of linux/magic.h.
        let is_cgroup2 = |dir: &Path| {
            rustix::fs::statfs(dir).is_ok_and(|found| found.f_type as u64 == 0x6367_7270)
        };
        let may_make_groups = |dir: &Path| {
            let access = Access::WRITE_OK | Access::EXEC_OK;
            rustix::fs::accessat(CWD, dir, access, AtFlags::EACCESS).is_ok()
        };
        Self::read(Path::new(MOUNT), &own, &is_cgroup2, &may_make_groups)
    }

    /// Reads the layout below `mount` for a process whose `/proc/PID/cgroup` is `own`.
    fn read(
        mount: &Path,
        own: &str,
        is_cgroup2: &dyn Fn(&Path) -> bool,
        may_make_groups: &dyn Fn(&Path) -> bool,
    ) -> Self {
        let mut layout = Self::default();
        let pure = is_cgroup2(mount);
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let below = |root: &Path| root.join(path.trim_start_matches('/'));
            if controllers.is_empty() {
                let root = match pure {
                    true => mount.to_path_buf(),
                    false => mount.join("unified"),
                };
                if pure || is_cgroup2(&root) {
                    layout.unified = Some(unified_place(&root, &below(&root), may_make_groups));
                }
            } else if !pure {
                for controller in controllers.split(',') {
                    if V1_CONTROLLERS.contains(&controller) {
                        let dir = below(&mount.join(controller));
                        let writable = may_make_groups(&dir);
                        let place = GroupParent { dir, writable };
                        layout.v1.insert(controller.to_owned(), place);
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
fn unified_place(root: &Path, own: &Path, may_make_groups: &dyn Fn(&Path) -> bool) -> GroupParent {
    let mut upwards = own.ancestors().take_while(|dir| dir.starts_with(root));
    let usable = upwards.find(|dir| {
        // Listing the processes is not cheap where there are many, as there are in the root.
        (*dir == root || is_empty(&dir.join("cgroup.procs"))) && may_make_groups(dir)
    });
    GroupParent {
        dir: usable.unwrap_or(own).to_path_buf(),
        writable: usable.is_some(),
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

    fn read(mount: &Path, own: &str, cgroup2: &Path, writable: &[PathBuf]) -> Layout {
        let is_cgroup2 = |dir: &Path| dir.starts_with(cgroup2);
        let may_make_groups = |dir: &Path| writable.iter().any(|place| dir == place);
        Layout::read(mount, own, &is_cgroup2, &may_make_groups)
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
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/shell.scope\n";
        let layout = read(mount, own, mount, std::slice::from_ref(&service));
        assert_eq!(
            layout.unified,
            Some(GroupParent {
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
        let layout = read(mount, "0::/user.slice/session-3.scope\n", mount, &[]);
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
        let unified = mount.join("unified");
        let writable = [mount.join("memory/job/7"), unified.clone()];
        let own = "5:pids:/\n4:memory:/job/7\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";
        let layout = read(mount, own, &unified, &writable);
        assert_eq!(layout.v1["memory"].dir, mount.join("memory/job/7"));
        assert!(layout.v1["memory"].writable);
        assert!(!layout.v1["pids"].writable);
        assert!(layout.v1.contains_key("cpu"));
        assert!(layout.unified.unwrap().writable);
        assert!(!layout.unified_controllers.contains("memory"));
    }
}
