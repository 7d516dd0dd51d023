//! Every map, and the only ways into them.

use abi::{
    BUCKETS_PER_CHUNK, CgroupNames, ListeningSocket, MAX_ELEMENTS, MAX_LISTENING, MAX_SOCKETS, MAX_TABLES,
    SkipReason, Socket, Table, WalkState,
};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use bytemuck::{AnyBitPattern, Pod, Zeroable};

use crate::{
    kernel::offset,
    sample::{Moving, Sock, Tcp},
};

/// Bytes of the ring buffer; the receiver sets another size when it loads the programs.
const RING_BYTES: u32 = 2 << 20;

/// Handshakes that clients have begun and not finished.
const MAX_HANDSHAKES: u32 = 1 << 13;

/// Cgroups whose names need not be recorded again.
const MAX_CGROUPS: u32 = 1 << 11;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static SKIPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(SkipReason::COUNT, 0);

#[map]
pub(crate) static HANDSHAKES: HashMap<u64, Handshake> = HashMap::with_max_entries(MAX_HANDSHAKES, 0);

#[map]
pub(crate) static CGROUPS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(MAX_CGROUPS, 0);

#[map]
static WALK: Array<WalkState> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static SOCKETS: Array<Socket> = Array::with_max_entries(MAX_SOCKETS, BPF_F_MMAPABLE);

#[map]
static TABLES: Array<Table> = Array::with_max_entries(MAX_TABLES, BPF_F_MMAPABLE);

#[map]
static LISTENING: Array<ListeningSocket> = Array::with_max_entries(MAX_LISTENING, BPF_F_MMAPABLE);

#[map]
static CGROUP: Array<CgroupNames> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// Its elements are visited to repeat something; nothing is in them.
#[map]
pub(crate) static ELEMENTS: Array<u32> = Array::with_max_entries(MAX_ELEMENTS, 0);

#[map]
static ROOMS: PerCpuArray<Room> = PerCpuArray::with_max_entries(Lodger::COUNT, 0);

#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[map]
static TAKEN_OVER: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Room for what is read of a socket.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Room {
    is_taken: u64,
    pub(crate) sock: Sock,
    pub(crate) tcp: Tcp,
}

/// Who has a room of its own.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lodger {
    /// The first program that is attached to changes of state.
    First,
    /// The second, which is attached after it.
    Second,
    /// The program that is attached to resets.
    Resets,
}

impl Lodger {
    const COUNT: u32 = 3;
}

/// What is known of a handshake that a client began.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Handshake {
    /// Nanoseconds since boot, `CLOCK_BOOTTIME`.
    pub(crate) since: u64,
    /// Command of the process's first thread.
    pub(crate) command: [u8; 16],
    /// Process (thread group).
    pub(crate) pid: u32,
    pub(crate) reserved: u32,
}

impl Handshake {
    /// Returns what is known of a socket's handshake.
    #[inline(always)]
    pub(crate) fn of(socket: u64) -> Option<&'static Self> {
        let handshake = HANDSHAKES.get_ptr(socket)?;
        // SAFETY: the entry is live: only this socket's changes of state remove or replace it, and they do not run
        // concurrently.
        Some(unsafe { &*handshake })
    }
}

/// A part of a table, the buckets of it that are not empty, and what is read of a socket.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Scratch {
    pub(crate) heads: [u64; BUCKETS_PER_CHUNK as usize],
    pub(crate) pending: [u64; BUCKETS_PER_CHUNK as usize],
    pub(crate) pending_bucket: [u32; BUCKETS_PER_CHUNK as usize],
    pub(crate) tcp: Tcp,
    pub(crate) moving: Moving,
}

/// Counts what could not be recorded.
pub(crate) fn count_skipped(reason: SkipReason) {
    if let Some(count) = SKIPPED.get_ptr_mut(reason as u32) {
        // SAFETY: the pointer is this CPU's slot of a live entry, and it is aligned for its type.
        unsafe { *count += 1 };
    }
}

/// Writes one record into the ring buffer; counts it if there is no room.
///
/// Returns whether it was written. Wakes the receiver only when the buffer is more than half full: it comes by itself
/// many times a second.
#[inline(always)]
pub(crate) fn emit<T: Pod>(fill: impl FnOnce(&mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count_skipped(SkipReason::RingFull);
        return false;
    };
    // SAFETY: the entry is `size_of::<T>()` bytes at an address that is a multiple of eight. They are initialised (the
    // kernel allocates the buffer zeroed and only records are written to it), and every pattern is a valid `T`.
    fill(unsafe { &mut *entry.as_mut_ptr() });
    let is_urgent = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > offset!(wake_bytes);
    entry.submit(u64::from(if is_urgent { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
    true
}

/// Returns the state of the walk; not to be held across `bpf_loop`, whose callback asks for it again.
#[inline(always)]
pub(crate) fn walk_state() -> Option<&'static mut WalkState> {
    element(&WALK, 0)
}

/// Returns the walk's copy of a part of a table; not to be held across `bpf_loop`.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    element(&SCRATCH, 0)
}

/// Lends a program its room; `None` on a CPU on which it is there already.
///
/// A packet may change a socket while its CPU is in the middle of the change of another. Since Linux 6.1 the kernel does
/// not run a program then that it is running already, and counts it; before, it does.
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L2386>
#[inline(always)]
pub(crate) fn with_room<R>(of: Lodger, use_it: impl FnOnce(&mut Room) -> R) -> Option<R> {
    let room = ROOMS.get_ptr_mut(of as u32)?;
    // SAFETY: this CPU's slot of a live element, aligned for its type. Who interrupts this finds it taken, below.
    let room = unsafe { &mut *room };
    if room.is_taken != 0 {
        return None;
    }
    room.is_taken = 1;
    let result = use_it(room);
    room.is_taken = 0;
    Some(result)
}

/// Returns this CPU's note of the change that the first program saw last.
#[inline(always)]
pub(crate) fn seen() -> Option<&'static mut u64> {
    let note = SEEN.get_ptr_mut(0)?;
    // SAFETY: this CPU's slot of a live element, aligned for its type; who interrupts this writes one word or another.
    Some(unsafe { &mut *note })
}

/// Counts a change that the second program saw alone.
#[inline(always)]
pub(crate) fn count_taken_over() {
    if let Some(count) = TAKEN_OVER.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
}

/// Returns room for a socket.
#[inline(always)]
pub(crate) fn socket(idx: u32) -> Option<&'static mut Socket> {
    element(&SOCKETS, idx)
}

/// Returns room for a listening socket.
#[inline(always)]
pub(crate) fn listening(idx: u32) -> Option<&'static mut ListeningSocket> {
    element(&LISTENING, idx)
}

/// Returns room for a table.
#[inline(always)]
pub(crate) fn table(idx: u32) -> Option<&'static mut Table> {
    element(&TABLES, idx)
}

/// Returns room for the answer of `name_cgroup`.
#[inline(always)]
pub(crate) fn cgroup() -> Option<&'static mut CgroupNames> {
    element(&CGROUP, 0)
}

#[expect(clippy::mut_from_ref, reason = "a map is a name for memory of the kernel, not what holds it")]
#[inline(always)]
fn element<T: AnyBitPattern>(map: &'static Array<T>, idx: u32) -> Option<&'static mut T> {
    let element = map.get_ptr_mut(idx)?;
    // SAFETY: the pointer is a live element, for array maps never move or free one. The programs that use it are run
    // by the receiver one at a time, and callers do not hold two references to one element.
    Some(unsafe { &mut *element })
}
