//! Every map, and the only ways into them.

use core::cell::UnsafeCell;

use abi::{
    BUCKETS_PER_CHUNK, CgroupNames, ChangeCount, Handshake, ListeningSocket, MAX_ELEMENTS, MAX_LISTENING,
    MAX_SOCKETS, MAX_TABLES, SkipReason, Socket, Table, WalkState,
};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use bytemuck::{AnyBitPattern, Pod, Zeroable};

use crate::{
    kernel::{atomic_add, offset, random},
    sample::{Moving, Sock, Tcp},
};

/// Bytes of the ring buffer; the receiver sets another size when it loads the programs.
const RING_BYTES: u32 = 2 << 20;

/// Places of handshakes that clients have begun and not finished; a power of two.
const HANDSHAKE_PLACES: u32 = 1 << 12;

/// Handshakes that find room in one place; a power of two. With a thousand under way all find room, with four thousand 99
/// of a hundred.
const HANDSHAKES_PER_PLACE: usize = 4;

/// Sockets share a place for their notes with those whose addresses are alike; a power of two.
const NOTE_PLACES: u32 = 1 << 10;

/// Notes that find room in one place, a power of two: more than sockets whose addresses are alike change at the same time.
const NOTES_PER_PLACE: usize = 4;

/// Cgroups whose names need not be recorded again.
const MAX_CGROUPS: u32 = 1 << 11;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static SKIPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(SkipReason::COUNT, 0);

#[map]
static HANDSHAKES: Array<[u64; size_of::<HandshakePlace>() / 8]> =
    Array::with_max_entries(HANDSHAKE_PLACES, 0);

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
static NOTES: Array<[u64; NOTES_PER_PLACE]> = Array::with_max_entries(NOTE_PLACES, 0);

#[map]
static CHANGES: PerCpuArray<u64> = PerCpuArray::with_max_entries(ChangeCount::COUNT, 0);

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
    /// The program that is attached to changes of state before all others.
    First,
    /// The one after it, where programs can be preempted.
    Second,
    /// The one after that, where programs can be preempted.
    Third,
    /// The one that is attached after all others.
    Last,
    /// The program that is attached to resets.
    Resets,
}

impl Lodger {
    const COUNT: u32 = 5;

    /// Returns whether it does what one before it was not given.
    pub(crate) const fn takes_over(self) -> bool {
        matches!(self, Self::Second | Self::Third | Self::Last)
    }
}

/// Handshakes of sockets whose addresses are alike.
///
/// An array of these and not a hash map, whose insertion, lookup and removal cost a tenth of all that a short connection
/// costs. It has no lock. Where two CPUs write the same words at the same time, or one after the other when a program is
/// preempted in between, one of the handshakes is lost, uncounted, and never mistaken for another: each is sealed. There are
/// thousands of places, so that it is one of tens of millions at ten thousand connections a second.
#[repr(C)]
pub(crate) struct HandshakePlace {
    /// [`Handshake::seal`] of each; zero where there is none.
    seals: [Word; HANDSHAKES_PER_PLACE],
    known: [[Word; Handshake::WORDS]; HANDSHAKES_PER_PLACE],
}

impl HandshakePlace {
    /// Returns where a socket's handshake is.
    #[inline(always)]
    pub(crate) fn of(socket: u64) -> Option<&'static Self> {
        let place = HANDSHAKES.get_ptr(place_of(socket, HANDSHAKE_PLACES))?;
        // SAFETY: the pointer is a live element, for array maps never move or free one; it is aligned, and of the same size.
        // All of its words may be written by others.
        Some(unsafe { &*place.cast() })
    }

    /// Remembers what is known of a socket's handshake, in place of what was known of one before in the same memory. Where
    /// there is no room it takes that of the oldest, which is counted.
    #[inline(always)]
    pub(crate) fn remember(&self, socket: u64, handshake: Handshake) {
        // What is known since any time comes after these.
        const OWN: u64 = 0;
        const FREE: u64 = 1;

        let (mut chosen, mut first) = (0, u64::MAX);
        let mut idx = HANDSHAKES_PER_PLACE;
        while idx > 0 {
            idx -= 1;
            let (seal, known) = (self.seals[idx].load(), load_all(&self.known[idx]));
            let order = if seal == Handshake::seal(socket, &known) {
                OWN
            } else if seal == 0 {
                FREE
            } else {
                known[0]
            };
            if order <= first {
                (chosen, first) = (idx, order);
            }
        }
        if first > FREE {
            count_skipped(SkipReason::HandshakesFull);
        }
        let chosen = chosen & (HANDSHAKES_PER_PLACE - 1);
        let words: [u64; Handshake::WORDS] = bytemuck::cast(handshake);
        let mut idx = 0;
        while idx < Handshake::WORDS {
            self.known[chosen][idx].store(words[idx]);
            idx += 1;
        }
        self.seals[chosen].store(Handshake::seal(socket, &words));
    }

    /// Returns what is known of a socket's handshake, all zero if nothing is, and forgets it.
    #[inline(always)]
    pub(crate) fn take(&self, socket: u64) -> Handshake {
        let mut taken = [0; Handshake::WORDS];
        let mut idx = 0;
        while idx < HANDSHAKES_PER_PLACE {
            let known = load_all(&self.known[idx]);
            if self.seals[idx].load() == Handshake::seal(socket, &known) {
                self.seals[idx].store(0);
                taken = known;
                break;
            }
            idx += 1;
        }
        bytemuck::cast(taken)
    }
}

/// Returns which of `n` places, a power of two, is that of a socket and of those whose addresses are alike.
#[inline(always)]
fn place_of(socket: u64, n: u32) -> u32 {
    // The highest bits of a product depend on all of the address; its lowest are alike in all, for sockets are large.
    let place = (socket >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - n.ilog2());
    #[expect(clippy::cast_possible_truncation, reason = "all but a few bits were shifted out")]
    let place = place as u32;
    place
}

#[inline(always)]
fn load_all(words: &[Word; Handshake::WORDS]) -> [u64; Handshake::WORDS] {
    let mut values = [0; Handshake::WORDS];
    let mut idx = 0;
    while idx < Handshake::WORDS {
        values[idx] = words[idx].load();
        idx += 1;
    }
    values
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
    increment(&SKIPPED, reason as u32);
}

/// Counts something about changes of state.
#[inline(always)]
pub(crate) fn count_change(what: ChangeCount) {
    increment(&CHANGES, what as u32);
}

/// Adds one. Who interrupts this on its CPU, or is let run there instead of it, may add to the same number.
#[inline(always)]
fn increment(counts: &PerCpuArray<u64>, idx: u32) {
    if let Some(count) = counts.get_ptr_mut(idx) {
        // SAFETY: the pointer is this CPU's slot of a live element, which is aligned for its type, and all who write it do
        // so here.
        unsafe { atomic_add(count, 1) };
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

/// Where programs leave a note of what they have seen for those that are attached after them.
///
/// A note is a socket's, whichever CPU it was left on: a process may go on elsewhere, and others may run in its place. Of
/// each socket there is one at most, and it is of its last change: a socket does not enter a state twice in a row, so
/// that a note that nobody took away cannot be mistaken for that of a change to come, also not of another socket in the
/// same memory. When more sockets than there is room for are at the same place, one loses its note, and is recorded twice.
#[derive(Clone, Copy)]
pub(crate) struct Notes {
    place: &'static [Word; NOTES_PER_PLACE],
    socket: u64,
    change: u64,
}

/// One word that programs on all CPUs read and write, each at once.
///
/// Not an atomic of `core`, whose loads and stores the compiler does not know how to make for this processor.
#[repr(transparent)]
struct Word(UnsafeCell<u64>);

impl Word {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: valid and aligned, as a reference is. The processor reads and writes aligned words whole, and volatile it
        // does so once, here and in `store`, which alone touch it.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: as in `load`.
        unsafe { self.0.get().write_volatile(value) };
    }
}

impl Notes {
    /// Returns where the note of a socket's change to a state is.
    #[inline(always)]
    pub(crate) fn of(socket: u64, new: u8) -> Option<Self> {
        let place = NOTES.get_ptr(place_of(socket, NOTE_PLACES))?;
        // SAFETY: the pointer is a live element, for array maps never move or free one; it is aligned, and written as what
        // it is here and nowhere else.
        let place = unsafe { &*place.cast() };
        // The highest bits of all addresses of the kernel are alike.
        Some(Self { place, socket, change: socket ^ u64::from(new) << 56 })
    }

    /// Returns whether an earlier program has left the note.
    #[inline(always)]
    pub(crate) fn is_left(self) -> bool {
        let mut is_left = false;
        for note in self.place {
            is_left |= note.load() == self.change;
        }
        is_left
    }

    /// Leaves it, in place of what was noted of the socket before. Where there is no room it takes that of another, by
    /// chance: most notes of a place that is full are those that nobody took away.
    #[inline(always)]
    pub(crate) fn leave(self) {
        let mut free = None;
        for (idx, note) in self.place.iter().enumerate() {
            let noted = note.load();
            if self.is_own(noted) {
                note.store(self.change);
                return;
            }
            if noted == 0 {
                free = Some(idx);
            }
        }
        let chosen = free.unwrap_or_else(|| random() as usize);
        self.place[chosen & (NOTES_PER_PLACE - 1)].store(self.change);
    }

    /// Takes away what is noted of the socket.
    #[inline(always)]
    pub(crate) fn clear(self) {
        for note in self.place {
            if self.is_own(note.load()) {
                note.store(0);
                return;
            }
        }
    }

    /// Returns whether a note is of this socket, whatever its state.
    #[inline(always)]
    fn is_own(self, note: u64) -> bool {
        (note ^ self.socket) << 8 == 0
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
