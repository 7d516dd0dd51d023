use bytemuck::{AnyBitPattern, Pod, Zeroable};

use crate::{CgroupNames, Socket};

/// What a record in the ring buffer is about: its first word.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A [`ConnectionRecord`]: the handshake is complete.
    Opened = 1,
    /// A [`ConnectionRecord`]: an established connection is over; its socket has the final totals.
    Closed = 2,
    /// A [`ConnectionRecord`]: a client's handshake did not succeed.
    Failed = 3,
    /// A [`ListenerRecord`]: a socket listens.
    Listening = 4,
    /// A [`ListenerRecord`]: a socket no longer listens.
    Unlistened = 5,
    /// A [`CgroupRecord`]: a cgroup was seen for the first time.
    Cgroup = 6,
    /// A [`ConnectionRecord`]: a connection that closed a moment ago sends a reset; of its socket the identity is told.
    ResetSent = 7,
}

/// The begin or the end of a connection, or an attempt that failed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConnectionRecord {
    /// A [`RecordKind`].
    pub kind: u16,
    /// 1 if another program than the first recorded this, because those before it seemed not to have run: it may repeat a
    /// record that was written a moment before.
    pub is_taken_over: u16,
    /// Process (thread group) that began the handshake; 0 if that was not observed.
    pub pid: u32,
    /// Nanoseconds since boot, `CLOCK_BOOTTIME`.
    pub time: u64,
    /// When the handshake began, on the same clock; 0 if that was not observed, as on the server's side.
    pub connecting_since: u64,
    /// Command of the process's first thread, ended by a zero.
    pub command: [u8; 16],
    /// The socket; its state is the one it leaves. Without its inode, and of one that closes without its cgroup: each
    /// costs, and is known.
    pub socket: Socket,
}

/// A socket that begins or ceases to listen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ListenerRecord {
    /// A [`RecordKind`].
    pub kind: u16,
    /// Local port in host byte order.
    pub port: u16,
    /// Process (thread group) that called; 0 if unknown.
    pub pid: u32,
    /// Inode number of the socket, its name within the machine.
    pub inode: u64,
    /// Command of the process's first thread, ended by a zero.
    pub command: [u8; 16],
    /// Local address; IPv4 is stored as `::ffff:a.b.c.d`, the unspecified address of IPv4 as `::ffff:0.0.0.0`.
    pub address: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Explicit padding. Always zero.
    pub reserved: [u16; 2],
}

/// The names of a cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CgroupRecord {
    /// A [`RecordKind`].
    pub kind: u16,
    /// Explicit padding. Always zero.
    pub reserved: [u16; 3],
    /// The cgroup.
    pub cgroup: CgroupNames,
}

/// A record of the ring buffer, told apart.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// See [`RecordKind::Opened`].
    Opened(&'a ConnectionRecord),
    /// See [`RecordKind::Closed`].
    Closed(&'a ConnectionRecord),
    /// See [`RecordKind::Failed`].
    Failed(&'a ConnectionRecord),
    /// See [`RecordKind::Listening`].
    Listening(&'a ListenerRecord),
    /// See [`RecordKind::Unlistened`].
    Unlistened(&'a ListenerRecord),
    /// See [`RecordKind::Cgroup`].
    Cgroup(&'a CgroupNames),
    /// See [`RecordKind::ResetSent`].
    ResetSent(&'a ConnectionRecord),
}

impl<'a> Record<'a> {
    /// Reads a record; `None` if the bytes are not one, are misaligned, or are too few.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let kind = u16::from_ne_bytes(*bytes.first_chunk()?);
        Some(match kind {
            it if it == RecordKind::Opened as u16 => Self::Opened(view(bytes)?),
            it if it == RecordKind::Closed as u16 => Self::Closed(view(bytes)?),
            it if it == RecordKind::Failed as u16 => Self::Failed(view(bytes)?),
            it if it == RecordKind::Listening as u16 => Self::Listening(view(bytes)?),
            it if it == RecordKind::Unlistened as u16 => Self::Unlistened(view(bytes)?),
            it if it == RecordKind::Cgroup as u16 => Self::Cgroup(&view::<CgroupRecord>(bytes)?.cgroup),
            it if it == RecordKind::ResetSent as u16 => Self::ResetSent(view(bytes)?),
            _ => return None,
        })
    }
}

fn view<T: AnyBitPattern>(bytes: &[u8]) -> Option<&T> {
    bytemuck::try_from_bytes(bytes.get(..size_of::<T>())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind is found again, and no kind reads past a record that was cut.
    #[test]
    fn a_cut_record_is_refused() {
        let mut words = [0_u64; size_of::<CgroupRecord>() / 8];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let sizes = [
            (RecordKind::Opened, size_of::<ConnectionRecord>()),
            (RecordKind::Closed, size_of::<ConnectionRecord>()),
            (RecordKind::Failed, size_of::<ConnectionRecord>()),
            (RecordKind::Listening, size_of::<ListenerRecord>()),
            (RecordKind::Unlistened, size_of::<ListenerRecord>()),
            (RecordKind::Cgroup, size_of::<CgroupRecord>()),
            (RecordKind::ResetSent, size_of::<ConnectionRecord>()),
        ];
        for (kind, size) in sizes {
            bytes[..2].copy_from_slice(&(kind as u16).to_ne_bytes());
            assert!(Record::parse(&bytes[..size]).is_some(), "{kind:?} of {size} bytes");
            for len in 0..size {
                assert!(Record::parse(&bytes[..len]).is_none(), "{kind:?} of {len} bytes");
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        for kind in [0_u64, 8, u64::from(u16::MAX)] {
            let words = [kind; 256];
            assert!(Record::parse(bytemuck::cast_slice(&words)).is_none());
        }
    }
}
