//! Groups that nobody has removed: a run's supervisor and janitor were killed together, or the janitor was killed while
//! something inside still had to die. A later run removes those that are empty and belong to nobody alive.

use std::io;
use std::path::{Path, PathBuf};

use super::PARENT;
use aegis_sys::process;

/// Removes what is left of other runs beside these directories of a run.
pub(super) fn sweep(directories: &[PathBuf]) {
    for beside in directories.iter().filter_map(|dir| dir.parent()) {
        let entries = std::fs::read_dir(beside).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| is_left(beside, name)) {
                // If it is empty. Nothing can be moved into it by us, so nothing else needs to be asked.
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }
}

/// Whether a name is that of a run whose supervisor has ended. If another process has its pid by now, it is kept.
fn is_left(beside: &Path, name: &str) -> bool {
    let id = match beside.ends_with(PARENT) {
        true => Some(name),
        false => (name.strip_prefix(PARENT)).and_then(|name| name.strip_prefix('-')),
    };
    let pid = id.and_then(|id| id.split('-').next()?.parse().ok());
    pid.is_some_and(|pid: i32| {
        pid > 0
            && process::kill(pid, 0)
                .is_err_and(|error: io::Error| error.raw_os_error() == Some(libc::ESRCH))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ended_runs_are_removed() {
        let tree = tempfile::tempdir().unwrap();
        let own = std::process::id();
        // No pid is as high as that: `PID_MAX_LIMIT` of `linux/threads.h`.
        let ended = "1073741824-5e1f";
        let alive = format!("{own}-5e1f");
        let v1 = tree.path().join("memory");
        let v2 = tree.path().join("unified").join(PARENT);
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).unwrap();
            let mut all: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            all.sort();
            all
        };
        let occupied = format!("{PARENT}-{ended}2");
        std::fs::create_dir_all(v1.join(&occupied).join("below")).unwrap();
        // The same number elsewhere in a name is nobody's pid.
        let foreign = format!("prod-{ended}");
        for name in [ended, &alive, "other", &foreign] {
            for dir in [
                v1.join(format!("{PARENT}-{name}")),
                v1.join(name),
                v2.join(name),
            ] {
                std::fs::create_dir_all(dir).unwrap();
            }
        }
        sweep(&[v1.join("aegis-mine"), v2.join("mine")]);
        let kept = names(&v1);
        assert_eq!(kept.len(), 8, "{kept:?}");
        assert!(!kept.contains(&format!("{PARENT}-{ended}")), "{kept:?}");
        assert!(kept.contains(&occupied), "{kept:?}");
        let mut kept = vec![alive, "other".to_owned(), foreign];
        kept.sort();
        assert_eq!(names(&v2), kept);
    }
}
