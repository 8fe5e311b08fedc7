//! What a sandbox uses now of limits that are held for all of it together.

use std::path::{Component, Path, PathBuf};

use aegis_sys::files;

use super::Running;

/// The conventional mount point of control groups.
const GROUPS: &str = "/sys/fs/cgroup";

impl Running {
    /// Memory of the run's own control group, in bytes: what its limit is held against. `None`: it has no such group.
    pub fn group_memory(&self) -> Option<u64> {
        let (text, _) = self.init()?.read("cgroup", 1 << 16).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let file = text.lines().find_map(|line| memory_file(line, &self.id))?;
        let number = files::read_file(&file).ok()?;
        std::str::from_utf8(&number).ok()?.trim().parse().ok()
    }

    /// Bytes in its private temporary file system. `None`: that cannot be seen.
    pub fn tmp(&self) -> Option<u64> {
        let mut first = None;
        self.walk(|process, _, _| {
            first.get_or_insert(process);
        })?;
        first?.tmpfs("tmp").ok()
    }
}

/// By a line of `/proc/PID/cgroup` (`cgroups(7)`): where the kernel tells the memory of the run's own group.
fn memory_file(line: &str, id: &str) -> Option<PathBuf> {
    let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
    let path = Path::new(path.strip_prefix('/')?);
    let name = path.file_name()?.to_str()?;
    let own = name == id || name.strip_prefix("aegis-") == Some(id);
    let is_plain = |part| matches!(part, Component::Normal(_));
    if !own || !path.components().all(is_plain) {
        return None; // Of what is around the run, or outside of what this process sees.
    }
    let of = |root: &str, file: &str| Path::new(GROUPS).join(root).join(path).join(file);
    match controllers {
        "" => ["", "unified"]
            .map(|root| of(root, "memory.current"))
            .into_iter()
            .find(|file| file.exists()),
        _ if controllers.split(',').any(|name| name == "memory") => {
            Some(of("memory", "memory.usage_in_bytes"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runs_own_group_is_read() {
        let file = |line: &str| memory_file(line, "7-a");
        assert_eq!(
            file("9:memory:/x/aegis-7-a"),
            Some("/sys/fs/cgroup/memory/x/aegis-7-a/memory.usage_in_bytes".into())
        );
        for line in [
            "9:memory:/",
            "9:memory:/x",
            "9:memory:/aegis-7-a/x",
            "9:memory:/../aegis-7-a",
            "9:pids:/aegis-7-a",
            "0::/user.slice",
            "",
        ] {
            assert_eq!(file(line), None, "{line}");
        }
    }
}
