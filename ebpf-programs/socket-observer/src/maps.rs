//! Every map, and the only ways into them.

use abi::{
    BUCKETS_PER_CHUNK, CgroupNames, MAX_ELEMENTS, MAX_SOCKETS, MAX_TABLES, SkipReason, Socket, Table,
    WalkState,
};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use bytemuck::{AnyBitPattern, Pod, Zeroable};

use crate::{kernel::offset, sample::Tcp};

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
static CGROUP: Array<CgroupNames> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// Its elements are visited to repeat something; nothing is in them.
#[map]
pub(crate) static ELEMENTS: Array<u32> = Array::with_max_entries(MAX_ELEMENTS, 0);

#[map]
static TCP: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// Room for what is read of a socket.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Room {
    is_taken: u64,
    tcp: Tcp,
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

/// A part of a table, the buckets of it that are not empty, and what is read of a socket.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Scratch {
    pub(crate) heads: [u64; BUCKETS_PER_CHUNK as usize],
    pub(crate) pending: [u64; BUCKETS_PER_CHUNK as usize],
    pub(crate) pending_bucket: [u32; BUCKETS_PER_CHUNK as usize],
    pub(crate) tcp: Tcp,
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

/// Lends room for what is read of a socket that closes; `None` on a CPU that is doing just that.
///
/// A packet may close a socket while its CPU handles the close of another by a process. Since Linux 6.1 the kernel does
/// not run the program then, and counts it.
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L2386>
#[inline(always)]
pub(crate) fn with_tcp<R>(use_it: impl FnOnce(&mut Tcp) -> R) -> Option<R> {
    let room = TCP.get_ptr_mut(0)?;
    // SAFETY: this CPU's slot of a live element, aligned for its type. Who interrupts this finds it taken, below.
    let Room { is_taken, tcp } = unsafe { &mut *room };
    if *is_taken != 0 {
        return None;
    }
    *is_taken = 1;
    let result = use_it(tcp);
    *is_taken = 0;
    Some(result)
}

/// Returns room for a socket.
#[inline(always)]
pub(crate) fn socket(idx: u32) -> Option<&'static mut Socket> {
    element(&SOCKETS, idx)
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
