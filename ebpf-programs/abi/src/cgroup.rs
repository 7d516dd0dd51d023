use bytemuck::{Pod, Zeroable};

/// How many levels of a cgroup's path are kept, counted from the leaf.
pub const CGROUP_LEVELS: usize = 10;

/// Bytes kept of each level's name, the terminating zero included: as long as a name can be (`NAME_MAX`).
///
/// The cgroup of a Kubernetes container can be 145 bytes long, and tells the container at its end.
pub const CGROUP_NAME_LEN: usize = 256;

/// The names on the way from a cgroup (version 2) to the root of its hierarchy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CgroupNames {
    /// Id of the cgroup: the inode number of its directory.
    pub id: u64,
    /// Names of the cgroup, its parent and so on, each ended by a zero; the root's name is empty.
    pub names: [[u8; CGROUP_NAME_LEN]; CGROUP_LEVELS],
}

impl CgroupNames {
    /// Returns the names from the root to the cgroup, the root left out; none if the path was not readable to the root.
    ///
    /// A path deeper than [`CGROUP_LEVELS`] begins at the uppermost level that was kept.
    pub fn from_root(&self) -> impl Iterator<Item = &[u8]> {
        let depth = self.names.iter().position(|name| name[0] == 0).unwrap_or(CGROUP_LEVELS);
        self.names[..depth].iter().rev().map(|name| match name.iter().position(|&byte| byte == 0) {
            Some(len) => &name[..len],
            None => &name[..],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_from_the_root() {
        check(&["init.scope"], &["init.scope"]);
        check(&["cron.service", "system.slice"], &["system.slice", "cron.service"]);
        check(&[], &[]);
        let longest = "n".repeat(CGROUP_NAME_LEN - 1);
        check(&[&longest], &[&longest]);
    }

    #[test]
    fn a_path_deeper_than_kept_begins_at_the_uppermost_level_kept() {
        let leaf_first = ["9", "8", "7", "6", "5", "4", "3", "2", "1", "0", "lost"];
        check(&leaf_first, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }

    #[track_caller]
    fn check(leaf_first: &[&str], expected: &[&str]) {
        let mut names = CgroupNames::zeroed();
        for (slot, name) in names.names.iter_mut().zip(leaf_first) {
            slot[..name.len()].copy_from_slice(name.as_bytes());
        }
        assert!(names.from_root().eq(expected.iter().map(|name| name.as_bytes())));
    }
}
