use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use abi::CgroupNames;
use component::Counter;

/// More cgroups than a node has at a time; one that no connection asked for of late makes room.
const MAX_CGROUPS: usize = 1 << 13;

/// Paths of cgroups by id. Connections of one cgroup share one path.
#[derive(Debug)]
pub(crate) struct Cgroups {
    paths: HashMap<u64, Known>,
    // Each cgroup once. A record names a cgroup once and not again while the programs remember that, so that those in
    // use must stay, however many came and went since.
    order: VecDeque<u64>,
    forgotten: Counter,
}

#[derive(Debug)]
struct Known {
    // `None` if the names cannot be had, so that it is not tried again.
    path: Option<Arc<str>>,
    // Whether it was asked for since it was last spared.
    is_used: bool,
}

impl Cgroups {
    /// Knows none yet; `forgotten` counts those that make room.
    pub(crate) fn new(forgotten: Counter) -> Self {
        Self { paths: HashMap::new(), order: VecDeque::new(), forgotten }
    }

    /// Remembers the names of a cgroup.
    pub(crate) fn insert(&mut self, names: &CgroupNames) {
        self.remember(names.id, Some(path(names).into()));
    }

    /// Remembers that the names of a cgroup cannot be had.
    pub(crate) fn insert_unknown(&mut self, id: u64) {
        self.remember(id, None);
    }

    /// Returns whether it is settled what the path of a cgroup is.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.paths.contains_key(&id)
    }

    /// Returns the path of a cgroup from the root of the hierarchy, if it is known.
    pub(crate) fn path(&mut self, id: u64) -> Option<Arc<str>> {
        let known = self.paths.get_mut(&id)?;
        known.is_used = true;
        known.path.clone()
    }

    fn remember(&mut self, id: u64, path: Option<Arc<str>>) {
        if self.paths.insert(id, Known { path, is_used: false }).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_CGROUPS
            && let Some(oldest) = self.order.pop_front()
        {
            match self.paths.get_mut(&oldest) {
                // Spared once; after a whole round none is marked any more.
                Some(known) if known.is_used => {
                    known.is_used = false;
                    self.order.push_back(oldest);
                }
                _ => {
                    self.paths.remove(&oldest);
                    self.forgotten.add(1);
                }
            }
        }
    }
}

/// Returns the path of a cgroup from the root of the hierarchy.
pub(crate) fn path(names: &CgroupNames) -> String {
    let mut path = String::new();
    for name in names.from_root() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[test]
    fn a_path_reads_as_the_kernel_writes_it() {
        let mut cgroups = Cgroups::new(Counter::default());
        cgroups.insert(&names(7, &["cron.service", "system.slice"]));
        cgroups.insert(&names(1, &[]));
        cgroups.insert_unknown(9);
        assert_eq!(cgroups.path(7).as_deref(), Some("/system.slice/cron.service"));
        assert_eq!(cgroups.path(1).as_deref(), Some("/"));
        assert_eq!((cgroups.path(9), cgroups.contains(9)), (None, true));
        assert_eq!((cgroups.path(8), cgroups.contains(8)), (None, false));
    }

    /// Services live for months, jobs for seconds: those must not push these out.
    #[test]
    fn a_cgroup_in_use_stays() {
        let mut cgroups = Cgroups::new(Counter::default());
        cgroups.insert(&names(1, &["nginx.service"]));
        for id in 2..4 * MAX_CGROUPS as u64 {
            cgroups.insert(&names(id, &["job"]));
            assert_eq!(cgroups.path(1).as_deref(), Some("/nginx.service"), "after {id}");
        }
        assert_eq!((cgroups.paths.len(), cgroups.order.len()), (MAX_CGROUPS, MAX_CGROUPS));
    }

    /// If all are in use the oldest goes all the same.
    #[test]
    fn the_bound_holds_when_all_are_in_use() {
        let mut cgroups = Cgroups::new(Counter::default());
        for id in 0..=MAX_CGROUPS as u64 {
            cgroups.insert(&names(id, &["leaf"]));
            cgroups.path(id);
        }
        assert_eq!((cgroups.paths.len(), cgroups.order.len()), (MAX_CGROUPS, MAX_CGROUPS));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut cgroups = Cgroups::new(Counter::default());
        for id in 0..=MAX_CGROUPS as u64 {
            cgroups.insert(&names(id, &["leaf"]));
            cgroups.insert(&names(id, &["leaf"]));
        }
        assert!(!cgroups.contains(0));
        assert!(cgroups.contains(1));
        assert_eq!((cgroups.paths.len(), cgroups.order.len()), (MAX_CGROUPS, MAX_CGROUPS));
        assert_eq!(cgroups.forgotten.value(), 1);
    }

    fn names(id: u64, leaf_first: &[&str]) -> CgroupNames {
        let mut names = CgroupNames { id, ..CgroupNames::zeroed() };
        for (slot, name) in names.names.iter_mut().zip(leaf_first) {
            slot[..name.len()].copy_from_slice(name.as_bytes());
        }
        names
    }
}
