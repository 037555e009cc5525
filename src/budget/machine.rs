//! What the machine gives: the least of the cgroups' limits over all ancestors, of version 1 and 2, or
//! the memory of the machine.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that the process can have, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Of a cgroup, and the file that says it.
    pub cgroup: Option<(usize, PathBuf)>,
    /// Of the machine; 0 where it is not known.
    pub memory: usize,
}

/// A mounted hierarchy of cgroups that limits memory.
struct Mount {
    /// The cgroup that is mounted.
    root: PathBuf,
    at: PathBuf,
    is_v2: bool,
}

impl Machine {
    /// Of this process.
    pub fn read() -> Self {
        Self::below(Path::new("/"))
    }

    /// As if `root` were the root of the file system.
    fn below(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let groups = text("proc/self/cgroup");
        let mounts = text("proc/self/mountinfo");
        let mounts = mounts.lines().filter_map(Mount::parse);
        let files = mounts.flat_map(|mount| mount.limit_files(&groups));
        let limits = files.filter_map(|file| {
            let below = root.join(file.strip_prefix("/").unwrap_or(&file));
            let limit = fs::read_to_string(below).ok()?.trim().parse::<u64>().ok()?;
            Some((usize::try_from(limit).unwrap_or(usize::MAX), file))
        });
        let memory = text("proc/meminfo").lines().find_map(|line| {
            let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim();
            kib.parse::<usize>().ok()?.checked_mul(1024)
        });
        let memory = memory.unwrap_or_default();
        // Without a limit version 1 says a number beyond all memory, version 2 says `max`.
        let cgroup = limits.min().filter(|(limit, _)| memory == 0 || *limit < memory);
        Self { cgroup, memory }
    }

    /// What may be held where nobody says how much.
    pub fn auto(&self) -> usize {
        match &self.cgroup {
            Some((limit, _)) => limit / 5 * 4,
            None => self.memory / 4,
        }
    }
}

impl Mount {
    /// A line of `mountinfo`: `ID PARENT DEVICE ROOT AT OPTIONS... - TYPE SOURCE SUPER`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, at) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let is_v2 = kind == "cgroup2";
        let is_v1 = kind == "cgroup" && options.split(',').any(|option| option == "memory");
        (is_v1 || is_v2).then(|| Self { root: root.into(), at: at.into(), is_v2 })
    }

    /// The files that hold the limits of the process' cgroup and of its ancestors.
    fn limit_files(&self, groups: &str) -> Vec<PathBuf> {
        let group = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let is_this = match self.is_v2 {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|controller| controller == "memory"),
            };
            is_this.then(|| PathBuf::from(path))
        });
        let Some(group) = group else { return Vec::new() };
        // In a container the path may be told as the host has it, above what is mounted.
        let below = group.strip_prefix(&self.root).unwrap_or_else(|_| Path::new(""));
        let name = if self.is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let own = self.at.join(below);
        let all = own.ancestors().take_while(|path| path.starts_with(&self.at));
        all.map(|path| path.join(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Machine::below(root.path())
    }

    const MEMORY: (&str, &str) = ("proc/meminfo", "MemFree: 5 kB\nMemTotal:        8388608 kB\n");
    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "25 24 0:22 / /proc rw - proc proc rw\n30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
    );
    const V1: (&str, &str) = (
        "proc/self/mountinfo",
        "33 30 0:29 /docker/abc /sys/fs/cgroup/memory ro master:11 - cgroup cgroup rw,memory\n\
         34 30 0:30 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
    );

    #[test]
    fn the_least_limit_of_all_ancestors_counts() {
        let group = ("proc/self/cgroup", "0::/a/b/c\n");
        let found = machine(&[
            MEMORY,
            V2,
            group,
            ("sys/fs/cgroup/a/b/c/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.max", "2000000000\n"),
            ("sys/fs/cgroup/a/memory.max", "1000000000\n"),
        ]);
        let file = PathBuf::from("/sys/fs/cgroup/a/memory.max");
        assert_eq!(found.cgroup, Some((1_000_000_000, file)));
        assert_eq!(found.auto(), 800_000_000);
    }

    #[test]
    fn version_1_is_read_where_a_container_has_it() {
        let group = ("proc/self/cgroup", "5:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000000\n");
        assert_eq!(machine(&[MEMORY, V1, group, limit]).auto(), 400_000_000);
    }

    #[test]
    fn without_a_limit_it_is_a_quarter_of_the_machine() {
        let group = ("proc/self/cgroup", "4:memory:/docker/abc\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        let found = machine(&[MEMORY, V1, group, none]);
        assert_eq!((found.cgroup.clone(), found.auto()), (None, 2 << 30));
        assert_eq!(machine(&[MEMORY]).auto(), 2 << 30);
        assert_eq!(machine(&[]).auto(), 0);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(Machine::read().auto() > 1 << 20);
    }
}
