//! Which cgroup a socket belongs to, and its names, without a mount of the cgroup file system.

use abi::{CgroupNames, CgroupRecord, Offsets, RecordKind};

use crate::{
    kernel::{constant, offset, read, read_into, read_str},
    maps::{self, CGROUPS, emit},
    sample::Sock,
};

/// A cgroup (version 2); both zero if unknown.
#[derive(Clone, Copy)]
pub(crate) struct Cgroup {
    pub(crate) id: u64,
    pub(crate) node: u64,
}

/// Returns the cgroup of the process that made the socket; of an accepted socket, that of its listener.
#[inline(always)]
pub(crate) fn of_sock(sock: &Sock) -> Cgroup {
    of_data(sock.at(constant!(sock_cgroup)))
}

/// Like [`of_sock`], of a socket that was not read.
#[inline(always)]
pub(crate) fn of_socket(socket: u64) -> Cgroup {
    if constant!(sock_cgroup) == Offsets::ABSENT {
        return Cgroup { id: 0, node: 0 };
    }
    of_data(read(socket + offset!(sock_cgroup)))
}

/// Returns the cgroup that a socket's `sk_cgrp_data` tells; none if it is zero.
#[inline(always)]
fn of_data(data: u64) -> Cgroup {
    // Before Linux 5.15 the word holds a cgroup's address or, marked by its lowest bit, something else; the second bit
    // is a mark too. Later it is a plain address, whose low bits are zero.
    // https://github.com/torvalds/linux/blob/v5.10/include/linux/cgroup-defs.h#L795
    if data & 1 != 0 || data == 0 {
        return Cgroup { id: 0, node: 0 };
    }
    let node: u64 = read((data & !3) + offset!(cgroup_kn));
    Cgroup { id: read(node + offset!(kernfs_id)), node }
}

/// Records the names of a cgroup that was not seen before.
#[inline(always)]
pub(crate) fn announce(cgroup: Cgroup) {
    if cgroup.id == 0 || CGROUPS.get_ptr(cgroup.id).is_some() {
        return;
    }
    let is_recorded = emit(|record: &mut CgroupRecord| {
        record.kind = RecordKind::Cgroup as u16;
        record.reserved = [0; 3];
        read_names(&mut record.cgroup, cgroup.node);
    });
    if is_recorded {
        // A full map forgets the oldest; at worst, names are recorded twice.
        let _ = CGROUPS.insert(cgroup.id, 0, 0);
    }
}

/// Reads the names of the cgroup at `node` into the map that the receiver reads.
#[inline(always)]
pub(crate) fn answer(node: u64) {
    if let Some(names) = maps::cgroup() {
        read_names(names, node);
    }
}

#[inline(always)]
fn read_names(to: &mut CgroupNames, node: u64) {
    read_into(&mut to.id, node + offset!(kernfs_id));
    let mut node = node;
    // Above the root there is no node: its address is zero, what is read from there is zero, and so are its names.
    for name in &mut to.names {
        read_str(name, read(node + offset!(kernfs_name)));
        node = read(node + offset!(kernfs_parent));
    }
}
