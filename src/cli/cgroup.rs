//! What the control group of the process allows it.

use std::path::Path;

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Bytes of memory that this process may use with all others of its control group, or of one that
/// it is in: `memory.max`, in version 1 `memory.limit_in_bytes`. `None`: nobody says.
pub(super) fn memory() -> Option<u64> {
    least_memory(Path::new(ROOT), &std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// `groups` has a line for each hierarchy: its number, its controllers, the group (cgroups(7)).
fn least_memory(root: &Path, groups: &str) -> Option<u64> {
    let bounds = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => least(root, group, "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                least(&root.join("memory"), group, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    bounds.min()
}

/// The least bound of a group and those that it is in. A container may see its own group as the
/// root, whatever it is called outside.
fn least(root: &Path, group: &str, file: &str) -> Option<u64> {
    let groups = Path::new(group.trim_start_matches('/')).ancestors();
    groups.filter_map(|group| bound(&root.join(group).join(file))).min()
}

/// `max` is no bound.
fn bound(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn hierarchy(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_least_bound_of_all_groups_around_the_process_counts() {
        let root = hierarchy(&[
            ("system.slice/memory.max", "1073741824\n"),
            ("system.slice/tollgate.service/memory.max", "2147483648\n"),
        ]);
        let found = least_memory(root.path(), "0::/system.slice/tollgate.service\n");
        assert_eq!(found, Some(1024 * MIB));
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let root = hierarchy(&[("memory.max", "536870912\n")]);
        assert_eq!(least_memory(root.path(), "0::/kubepods/pod1/c2\n"), Some(512 * MIB));
    }

    #[test]
    fn version_1_has_a_hierarchy_for_memory() {
        let root = hierarchy(&[("memory/docker/c2/memory.limit_in_bytes", "268435456\n")]);
        let groups = "4:cpu,cpuacct:/docker/c2\n3:memory:/docker/c2\n";
        assert_eq!(least_memory(root.path(), groups), Some(256 * MIB));
    }

    #[test]
    fn no_bound_is_none() {
        let root = hierarchy(&[("a/memory.max", "max\n")]);
        for groups in ["0::/a\n", "0::/b\n", "", "nonsense\n"] {
            assert_eq!(least_memory(root.path(), groups), None, "{groups:?}");
        }
    }
}
