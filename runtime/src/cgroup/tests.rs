//! Both hierarchies against a made-up tree: plain directories, in which the kernel's files are
//! plain files.

use super::*;
use crate::facts::cgroups::GroupParent;

fn limits() -> GroupLimits {
    GroupLimits {
        memory: Some(512 << 20),
        cpu: Some(1500),
        pids: Some(64),
        disk_read: Some(50 << 20),
        disk_write: None,
        disks: vec![(254, 0)],
    }
}

#[test]
fn v1_writes_each_limit_to_its_controller() {
    assert_eq!(
        v1::settings(&limits()),
        [
            ("memory.limit_in_bytes", "536870912".to_string()),
            ("memory.memsw.limit_in_bytes", "536870912".to_string()),
            ("memory.kmem.tcp.limit_in_bytes", "536870912".to_string()),
            ("cpu.cfs_period_us", "100000".to_string()),
            ("cpu.cfs_quota_us", "150000".to_string()),
            ("pids.max", "64".to_string()),
            (
                "blkio.throttle.read_bps_device",
                "254:0 52428800".to_string()
            ),
        ]
    );
}

#[test]
fn v2_writes_each_limit_to_the_one_group() {
    assert_eq!(
        v2::settings(&limits()),
        [
            ("memory.max", "536870912".to_string()),
            ("memory.swap.max", "0".to_string()),
            ("cpu.max", "150000 100000".to_string()),
            ("pids.max", "64".to_string()),
            ("io.max", "254:0 rbps=52428800".to_string()),
        ]
    );
}

#[test]
fn v2_enables_controllers_from_the_top_and_reports_what_happened() {
    let tree = tempfile::tempdir().unwrap();
    let place = tree.path();
    std::fs::create_dir(place.join(PARENT)).unwrap();
    for dir in [place.to_path_buf(), place.join(PARENT)] {
        std::fs::write(dir.join("cgroup.subtree_control"), "memory cpu io").unwrap();
    }
    let group = V2::new(place, "run", limits());
    group.create().unwrap();
    let dir = place.join(PARENT).join("run");
    assert_eq!(std::fs::read_to_string(dir.join("pids.max")).unwrap(), "64");
    assert_eq!(
        std::fs::read_to_string(place.join("cgroup.subtree_control")).unwrap(),
        "+pids"
    );
    std::fs::write(
        dir.join("memory.events"),
        "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\n",
    )
    .unwrap();
    std::fs::write(dir.join("pids.events"), "max 3\n").unwrap();
    std::fs::write(dir.join("memory.peak"), "1048576\n").unwrap();
    let usage = group.usage();
    assert_eq!(usage.oom_kills, Some(2));
    assert_eq!(usage.memory_limit_hits, Some(7));
    assert_eq!(usage.memory_peak, Some(1 << 20));
    assert_eq!(usage.pids_refused, Some(3));
}

#[test]
fn on_a_hybrid_host_v1_takes_what_it_can_and_leaves_the_rest() {
    let tree = tempfile::tempdir().unwrap();
    let mut layout = Layout::default();
    for (controller, writable) in [("memory", true), ("pids", false)] {
        let dir = tree.path().join(controller);
        std::fs::create_dir(&dir).unwrap();
        layout
            .v1
            .insert(controller.into(), GroupParent { dir, writable });
    }
    let v1 = V1::new(&layout, &limits(), "run");
    assert_eq!(v1.directories(), [tree.path().join("memory/aegis-run")]);
    let rest = v1.leaves(&limits());
    assert_eq!(rest.memory, None);
    assert_eq!(rest.pids, Some(64));
    assert_eq!(rest.cpu, Some(1500));
}

#[test]
fn the_processes_of_a_group_that_is_to_hand_controllers_on_move_to_a_child_of_it() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("cgroup.procs"), "12\n13\n").unwrap();
    for _ in 0..2 {
        v2::make_room(tree.path()).unwrap();
        // The kernel takes a process at each write; a plain file has the last.
        let moved = std::fs::read_to_string(tree.path().join("aegis-callers/cgroup.procs"));
        assert_eq!(moved.unwrap(), "13");
    }
}
