//! Copying a socket out of the kernel.
//!
//! Each read of kernel memory costs, so that callers copy only what they need; the rest of a record is zero.

use abi::{COMMON_BYTES, MOVING_BYTES, Offsets, SOCK_BYTES, Socket, TCP_BYTES};
use bytemuck::{Pod, Zeroable};

use crate::{
    cgroup::Cgroup,
    kernel::{constant, offset, read, read_into, read_part_into, ticks},
};

const AF_INET6: u16 = 10;

// https://github.com/torvalds/linux/blob/v6.12/include/uapi/asm-generic/errno.h
const ETIMEDOUT: u32 = 110;

/// How often a socket is read before it is given up as torn.
const ATTEMPTS: u32 = 4;

/// What every socket begins with, in one read.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Common {
    words: [u64; COMMON_BYTES / 8],
}

impl Common {
    #[inline(always)]
    pub(crate) fn of(socket: u64) -> Self {
        read(socket)
    }

    /// Returns the member at an offset.
    #[inline(always)]
    fn at<T: Pod>(&self, offset: u32) -> T {
        member_at(&self.words, offset)
    }

    #[inline(always)]
    fn is_ipv6(&self) -> bool {
        self.at::<u16>(constant!(common_family)) == AF_INET6
    }

    /// Returns the local address.
    #[inline(always)]
    pub(crate) fn local_address(&self) -> [u8; 16] {
        if self.is_ipv6() {
            self.v6(constant!(common_v6_rcv_saddr))
        } else {
            v4_mapped(self.at(constant!(common_rcv_saddr)))
        }
    }

    #[inline(always)]
    fn remote_address(&self) -> [u8; 16] {
        if self.is_ipv6() {
            self.v6(constant!(common_v6_daddr))
        } else {
            v4_mapped(self.at(constant!(common_daddr)))
        }
    }

    /// Returns an address whose alignment is that of its words.
    #[inline(always)]
    fn v6(&self, offset: u32) -> [u8; 16] {
        bytemuck::cast(self.at::<[u32; 4]>(offset))
    }

    #[inline(always)]
    fn remote_port(&self) -> u16 {
        u16::from_be(self.at(constant!(common_dport)))
    }

    /// Returns the socket's state.
    #[inline(always)]
    pub(crate) fn state(&self) -> u8 {
        self.at(constant!(common_state))
    }

    /// Returns the socket's flags.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u64 {
        self.at(constant!(common_flags))
    }

    /// Returns the inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(&self) -> u32 {
        read(self.at::<u64>(constant!(common_net)) + offset!(net_inum))
    }
}

/// A socket's beginning, in one read.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Sock {
    pub(crate) common: Common,
    rest: [u64; (SOCK_BYTES - COMMON_BYTES) / 8],
}

impl Sock {
    /// Reads it. Returns whether it could be read.
    #[inline(always)]
    pub(crate) fn read_from(&mut self, socket: u64) -> bool {
        read_part_into(self, 0, constant!(sock_len), socket)
    }

    /// Returns the member at an offset.
    #[inline(always)]
    pub(crate) fn at<T: Pod>(&self, offset: u32) -> T {
        member_at(self, offset)
    }

    /// Returns the local port, which outlives the socket's binding: at its end `skc_num` is already zero.
    #[inline(always)]
    pub(crate) fn local_port(&self) -> u16 {
        u16::from_be(self.at(constant!(inet_sport)))
    }
}

/// What is needed of a TCP socket, in two reads.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Tcp {
    words: [u64; TCP_BYTES / 8],
}

impl Tcp {
    #[inline(always)]
    pub(crate) fn read_from(&mut self, socket: u64) {
        let len = constant!(tcp_len);
        read_part_into(&mut self.words, 0, len, socket + offset!(tcp_start));
        read_part_into(&mut self.words, len, constant!(tcp_more_len), socket + offset!(tcp_more_start));
    }

    /// Returns the member at an offset.
    #[inline(always)]
    fn at<T: Pod>(&self, offset: u32) -> T {
        member_at(&self.words, offset)
    }
}

/// What moves together while a connection transfers, in one read.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Moving {
    words: [u64; MOVING_BYTES / 8],
}

impl Moving {
    #[inline(always)]
    fn read_from(&mut self, socket: u64) {
        read_part_into(&mut self.words, 0, constant!(moving_len), socket + offset!(moving_start));
    }

    /// Returns the member at an offset.
    #[inline(always)]
    fn at<T: Pod>(&self, offset: u32) -> T {
        member_at(&self.words, offset)
    }
}

/// Returns the member at an offset of a copy.
#[inline(always)]
fn member_at<C: Pod, T: Pod>(copy: &C, offset: u32) -> T {
    if offset as usize > size_of::<C>() - size_of::<T>() {
        return T::zeroed();
    }
    // SAFETY: in bounds, as checked.
    let member = unsafe { core::ptr::from_ref(copy).byte_add(offset as usize) };
    // SAFETY: the copy is aligned like what it was copied from, and members lie at multiples of their alignment, which
    // the receiver has checked; every pattern is a valid `T`.
    unsafe { member.cast::<T>().read() }
}

/// Copies the identity and the totals of a socket that another CPU may be using.
///
/// Each sequence number advances together with its counter, under the socket's lock, which a program cannot take; from
/// another CPU the two stores can be seen apart. So they are read again after everything else, and all of it is
/// repeated while they moved. Returns whether they stood still.
#[inline(always)]
pub(crate) fn copy_moving(to: &mut Socket, tcp: &mut Tcp, moving: &mut Moving, socket: u64) -> bool {
    to.torn = 1;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        tcp.read_from(socket);
        copy_totals(to, tcp);
        moving.read_from(socket);
        let moved = u64::from(moving.at::<u32>(constant!(moving_snd_una)) ^ to.snd_una)
            | moving.at::<u64>(constant!(moving_bytes_acked)) ^ to.bytes_acked
            | u64::from(moving.at::<u32>(constant!(moving_rcv_nxt)) ^ to.rcv_nxt)
            | moving.at::<u64>(constant!(moving_bytes_received)) ^ to.bytes_received
            | u64::from(window_has_moved(tcp, socket));
        if moved == 0 {
            to.torn = 0;
            return true;
        }
        attempt += 1;
    }
    false
}

/// Copies identity and totals out of what was read of a socket.
#[inline(always)]
pub(crate) fn copy_totals(to: &mut Socket, tcp: &Tcp) {
    to.snd_una = tcp.at(constant!(tcp_snd_una));
    to.bytes_acked = tcp.at(constant!(tcp_bytes_acked));
    to.rcv_nxt = tcp.at(constant!(tcp_rcv_nxt));
    to.bytes_received = tcp.at(constant!(tcp_bytes_received));
    to.snd_nxt = tcp.at(constant!(tcp_snd_nxt));
    to.write_seq = tcp.at(constant!(tcp_write_seq));
    to.bytes_retransmitted = tcp.at(constant!(tcp_bytes_retrans));
    to.segments_retransmitted = tcp.at(constant!(tcp_total_retrans));
    to.segments_in = tcp.at(constant!(tcp_segs_in));
    to.segments_out = tcp.at(constant!(tcp_segs_out));
    to.srtt = tcp.at(constant!(tcp_srtt));
    to.rtt_min = tcp.at(constant!(tcp_rtt_min));
    if constant!(tcp_rcv_ooopack) != Offsets::ABSENT {
        to.segments_out_of_order = tcp.at(constant!(tcp_rcv_ooopack));
    }
    to.window_limited = window_limited(tcp);
}

/// Returns for how many ticks the other end's window has kept data from being sent: what the kernel has added up, and what
/// it adds when the present spell is over.
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>, `tcp_get_info_chrono_stats`
#[expect(clippy::cast_possible_truncation, reason = "the kernel counts in 32 bits too")]
#[inline(always)]
fn window_limited(tcp: &Tcp) -> u32 {
    if constant!(tcp_chrono_stat) == Offsets::ABSENT {
        return 0;
    }
    let past: u32 = tcp.at(constant!(tcp_chrono_stat));
    if !is_window_limited(tcp) {
        return past;
    }
    let since: u32 = tcp.at(constant!(tcp_chrono_start));
    past.wrapping_add((ticks() as u32).wrapping_sub(since))
}

#[inline(always)]
fn is_window_limited(tcp: &Tcp) -> bool {
    let kind = u32::from(tcp.at::<u8>(constant!(tcp_chrono_type)));
    kind & constant!(tcp_chrono_type_mask) == constant!(tcp_chrono_type_limited)
}

/// Returns whether the spell in which the other end's window keeps data from being sent is no longer the one that was read:
/// the kernel ends it by three stores, and between them it would count twice.
#[inline(always)]
fn window_has_moved(tcp: &Tcp, socket: u64) -> bool {
    if constant!(tcp_chrono_stat) == Offsets::ABSENT || !is_window_limited(tcp) {
        return false;
    }
    read::<u32>(socket + offset!(moving_chrono_start)) != tcp.at::<u32>(constant!(tcp_chrono_start))
}

/// Copies what tells the role.
#[inline(always)]
pub(crate) fn copy_backlog(to: &mut Socket, socket: u64) {
    read_into(&mut to.backlog, socket + offset!(sock_max_ack_backlog));
}

/// Copies the error that an established connection ends with, also if the application has fetched it.
///
/// Its totals, its flags and its state must have been copied.
#[inline(always)]
pub(crate) fn copy_error(to: &mut Socket, sock: &Sock, socket: u64) {
    to.error = sock.at(constant!(sock_err));
    // Cheap for nearly all: they have said goodbye.
    if to.error == 0 && to.closes_without_goodbye() && to.awaits_an_answer() {
        to.error = fetched_end(socket);
    }
}

/// Copies the error of a handshake, also if the socket no longer has it, or never had.
#[inline(always)]
pub(crate) fn copy_handshake_error(to: &mut Socket, sock: &Sock, socket: u64) {
    to.error = sock.at(constant!(sock_err));
    if to.error == 0 {
        to.error = hinted_error(socket);
    }
    if to.error == 0 {
        to.error = fetched_error(socket);
    }
}

/// Returns the error that the kernel only hinted at, or 0.
///
/// The answer of a router, or of a rule of this host, may come while the application is still inside `connect`: then
/// the kernel takes it for a hint and queues it, and an application that polls learns of it and closes the socket.
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c#L621>
#[inline(always)]
fn hinted_error(socket: u64) -> u32 {
    if constant!(sock_error_queue) == Offsets::ABSENT {
        return 0;
    }
    // The queue's head begins with its link to the first entry, and an empty queue's leads to itself.
    let queue = socket + offset!(sock_error_queue);
    let first: u64 = read(queue);
    if first == queue {
        return 0;
    }
    let error: ExtendedError = read(first + offset!(skb_extended_error));
    // Others tell when something was sent.
    if matches!(error.origin, ExtendedError::ICMP | ExtendedError::ICMP6) { error.number } else { 0 }
}

/// Returns the error that the application has fetched of a connection that waits for an answer and ends without a goodbye, or 0
/// if the application itself ends it.
///
/// They are told apart as [`fetched_error`] says. A socket that nobody has accepted has no application that could have fetched
/// anything: it closes with the one that listens, and its own lock is nobody's. A reset closes the socket before it is told, so
/// that only an application that asks at that very moment, without having been told, makes it look like a timeout.
/// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/inet_connection_sock.c#L993>
#[inline(always)]
fn fetched_end(socket: u64) -> u32 {
    if read::<u32>(socket + offset!(sock_lock_owned)) != 0 || read::<u64>(socket + offset!(sock_socket)) == 0
    {
        return 0;
    }
    ETIMEDOUT
}

/// Returns the error that the application has fetched, or 0 if nobody but the application ends the attempt.
///
/// Before Linux 6.10 the kernel tells the application of an error first and closes the socket then, and an application that
/// runs on another CPU may have fetched it in between. But who closes or disconnects a socket owns its lock, and the kernel
/// does not own it when a timer expires or an answer comes. A timer that expires is no longer pending; which answer came,
/// nothing tells any more: one that is no reset, for a reset closes the socket before it is told.
/// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/tcp_timer.c#L68>
#[inline(always)]
fn fetched_error(socket: u64) -> u32 {
    const EHOSTUNREACH: u32 = 113;

    if constant!(icsk_pending) == Offsets::ABSENT || read::<u32>(socket + offset!(sock_lock_owned)) != 0 {
        return 0;
    }
    if read::<u8>(socket + offset!(icsk_pending)) != 0 {
        return EHOSTUNREACH;
    }
    match read(socket + offset!(sock_err_soft)) {
        0 => ETIMEDOUT,
        soft => soft,
    }
}

/// The beginning of `sock_extended_err`, which applications read too.
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/errqueue.h#L14>
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ExtendedError {
    number: u32,
    origin: u8,
    rest: [u8; 3],
}

impl ExtendedError {
    const ICMP: u8 = 2;
    const ICMP6: u8 = 3;
}

/// Copies the addresses and ports of both ends.
#[inline(always)]
pub(crate) fn copy_ends(to: &mut Socket, common: &Common, local_port: u16) {
    to.local_port = local_port;
    to.remote_port = common.remote_port();
    to.local_address = common.local_address();
    to.remote_address = common.remote_address();
}

/// Notes the cgroup.
#[inline(always)]
pub(crate) fn copy_cgroup(to: &mut Socket, cgroup: Cgroup) {
    to.cgroup = cgroup.id;
    to.cgroup_node = cgroup.node;
}

/// Returns the local port of a socket that was not read; see [`Sock::local_port`].
#[inline(always)]
pub(crate) fn local_port(socket: u64) -> u16 {
    u16::from_be(read(socket + offset!(inet_sport)))
}

/// Returns the inode number of the socket; 0 if no process holds it or it is unknown.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u64 {
    if constant!(socket_inode) == Offsets::ABSENT {
        return 0;
    }
    // Zero without a process, and then so is what is read from there.
    let held: u64 = read(socket + offset!(sock_socket));
    read(held + offset!(socket_inode))
}

#[inline(always)]
fn v4_mapped(address: u32) -> [u8; 16] {
    bytemuck::cast([0, 0, u32::from_be(0xffff), address])
}
