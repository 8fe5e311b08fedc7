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
    /// There is swap, and v1 does not count it: a kernel that was started without `swapaccount=1`.
    pub swap_not_counted: bool,
}

/// What is asked of the host about a directory of control groups.
trait Groups {
    fn is_cgroup2(&self, dir: &Path) -> bool;
    /// Whether this process may make groups in it.
    fn is_writable(&self, dir: &Path) -> bool;
    /// Whether it is all that was delegated here: what is above is somebody else's.
    fn is_delegated(&self, dir: &Path) -> bool;
}

struct Kernel;

impl Kernel {
    fn may(path: &Path, access: Access) -> bool {
        rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
    }
}

impl Groups for Kernel {
    fn is_cgroup2(&self, dir: &Path) -> bool {
        // CGROUP2_SUPER_MAGIC of linux/magic.h.
        rustix::fs::statfs(dir).is_ok_and(|found| found.f_type as u64 == 0x6367_7270)
    }

    fn is_writable(&self, dir: &Path) -> bool {
        Self::may(dir, Access::WRITE_OK | Access::EXEC_OK)
    }

    fn is_delegated(&self, dir: &Path) -> bool {
        // Units of a user's own manager have no mark (systemd.resource-control(5), "Delegate=").
        let marked = || {
            ["trusted.delegate", "user.delegate"].iter().any(|name| {
                rustix::fs::getxattr(dir, *name, &mut [0_u8; 2]).is_ok_and(|length| length > 0)
            })
        };
        let unit = || {
            let name = dir
                .extension()
                .is_some_and(|kind| kind == "scope" || kind == "service");
            name && !rustix::process::geteuid().is_root()
        };
        unit() || marked()
    }
}

impl Layout {
    /// Reads the layout for this process.
    pub fn of_this_process() -> Self {
        let own = text(Path::new("/proc/self/cgroup"));
        Self::read(Path::new(MOUNT), &own, &Kernel)
    }

    /// Reads the layout below `mount` for a process whose `/proc/PID/cgroup` is `own`.
    fn read(mount: &Path, own: &str, groups: &dyn Groups) -> Self {
        let mut layout = Self::default();
        let pure = groups.is_cgroup2(mount);
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
                if pure || groups.is_cgroup2(&root) {
                    layout.unified = Some(unified_place(&root, &below(&root), groups));
                }
            } else if !pure {
                for controller in controllers.split(',') {
                    if V1_CONTROLLERS.contains(&controller) {
                        let dir = below(&mount.join(controller));
                        let writable = groups.is_writable(&dir);
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
        if let Some(place) = layout.v1.get("memory") {
            let counted = || place.dir.join("memory.memsw.limit_in_bytes").exists();
            // After a line of titles.
            let swap = || text(Path::new("/proc/swaps")).lines().count() > 1;
            layout.swap_not_counted = place.writable && !counted() && swap();
        }
        layout
    }
}

/// Where a run's group is made: in the nearest group upwards without processes of its own, since only such may have
/// children with controllers ("no internal processes", `cgroups(7)`; the root of the mount is exempt). Nothing above what was
/// delegated is looked at, so that the limits of a unit hold for what is run in it. Where all have processes, it is the
/// caller's own: they are moved into a child of it (`cgroup/v2.rs`).
fn unified_place(root: &Path, own: &Path, groups: &dyn Groups) -> GroupParent {
    let mut place = None;
    for dir in own.ancestors().take_while(|dir| dir.starts_with(root)) {
        if groups.is_writable(dir) {
            // Listing the processes is not cheap where there are many, as there are in the root.
            if dir == root || is_empty(&dir.join("cgroup.procs")) {
                place = Some(dir);
                break;
            }
            if dir == own {
                place = Some(dir);
            }
        }
        if dir != root && groups.is_delegated(dir) {
            break;
        }
    }
    GroupParent {
        dir: place.unwrap_or(own).to_path_buf(),
        writable: place.is_some(),
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

    struct MadeUp<'a> {
        cgroup2: &'a Path,
        writable: &'a [PathBuf],
    }

    impl Groups for MadeUp<'_> {
        fn is_cgroup2(&self, dir: &Path) -> bool {
            dir.starts_with(self.cgroup2)
        }

        fn is_writable(&self, dir: &Path) -> bool {
            self.writable.iter().any(|place| dir == place)
        }

        fn is_delegated(&self, dir: &Path) -> bool {
            dir.extension().is_some_and(|kind| kind != "slice")
        }
    }

    fn read(mount: &Path, own: &str, cgroup2: &Path, writable: &[PathBuf]) -> Layout {
        Layout::read(mount, own, &MadeUp { cgroup2, writable })
    }

    fn group(dir: &Path, processes: &str, controllers: &str) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("cgroup.procs"), processes).unwrap();
        std::fs::write(dir.join("cgroup.controllers"), controllers).unwrap();
    }

    #[test]
    fn a_delegated_user_gets_the_nearest_empty_group_of_its_own_or_makes_room_in_it() {
        let tree = tempfile::tempdir().unwrap();
        let mount = tree.path();
        let slice = mount.join("user.slice/user-1000.slice/user@1000.service/app.slice");
        let unit = slice.join("agent.service");
        for (dir, processes) in [
            (mount, "1\n"),
            (&slice, ""),
            (&unit, ""),
            (&unit.join("init"), "77\n"),
            (&slice.join("shell.scope"), "78\n"),
            (&mount.join("given"), ""),
            (&mount.join("given/shell"), "79\n"),
            (&mount.join("given/alone"), "80\n"),
        ] {
            group(dir, processes, "memory pids");
        }
        let app = "/user.slice/user-1000.slice/user@1000.service/app.slice";
        let users = |dirs: &[&str]| -> Vec<PathBuf> {
            let mut all = vec![slice.clone()];
            all.extend(
                dirs.iter()
                    .map(|dir| mount.join(dir.trim_start_matches('/'))),
            );
            all
        };
        for (own, writable, place) in [
            // Never above the unit, though the slice is empty and the user's.
            (
                format!("{app}/shell.scope"),
                users(&[&format!("{app}/shell.scope")]),
                format!("{app}/shell.scope"),
            ),
            (
                format!("{app}/agent.service/init"),
                users(&[
                    &format!("{app}/agent.service"),
                    &format!("{app}/agent.service/init"),
                ]),
                format!("{app}/agent.service"),
            ),
            (
                "/given/shell".into(),
                users(&["/given", "/given/shell"]),
                "/given".into(),
            ),
            // Root has given the group alone.
            (
                "/given/alone".into(),
                users(&["/given/alone"]),
                "/given/alone".into(),
            ),
        ] {
            let layout = read(mount, &format!("0::{own}\n"), mount, &writable);
            let dir = mount.join(place.trim_start_matches('/'));
            let found = layout.unified.clone();
            assert_eq!(
                found,
                Some(GroupParent {
                    dir,
                    writable: true
                }),
                "{own}"
            );
            assert!(layout.unified_controllers.contains("memory"));
            assert!(layout.v1.is_empty());
        }
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
