//! Records that the eBPF programs share with the receiver.
//!
//! Each type is plain old data by derivation: implicit padding or a field with invalid bit patterns does not compile,
//! so both sides agree on the layout, the verifier finds no uninitialised byte, and the receiver reads records without
//! `unsafe`. What a record means (identity, totals) is computed here too, as plain functions that are tested on the
//! host; the programs only copy what the kernel holds.

#![no_std]
#![forbid(unsafe_code)]

mod cgroup;
mod change;
mod handshake;
mod listening;
mod offsets;
mod record;
mod skip;
mod socket;
mod walk;

pub use self::{
    cgroup::{CGROUP_LEVELS, CGROUP_NAME_LEN, CgroupNames},
    change::ChangeCount,
    handshake::Handshake,
    listening::{LISTENING_HASH_BUCKETS, LISTENING_NULLS_BASE, ListeningSocket, MAX_LISTENING},
    offsets::{COMMON_BYTES, MOVING_BYTES, Offsets, SOCK_BYTES, TCP_BYTES},
    record::{CgroupRecord, ConnectionRecord, ListenerRecord, Record, RecordKind},
    skip::SkipReason,
    socket::{Role, Sent, SequenceNumbers, Socket, state},
    walk::{
        BUCKETS_PER_CHUNK, MAX_CHAIN, MAX_ELEMENTS, MAX_FLAT_STEPS, MAX_SOCKETS, MAX_TABLES, MAX_VISITED,
        Table, WalkArguments, WalkState,
    },
};
