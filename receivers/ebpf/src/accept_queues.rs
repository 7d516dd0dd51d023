//! What listening sockets drop, and how long their queues are.

use std::{collections::HashMap, net::IpAddr};

use abi::ListeningSocket;
use model::{Endpoint, Interval, Listener, Local, Transport, UnixNanos};

use crate::connection::address;

/// More listening sockets than a node has; what comes later is left out, and counted.
const MAX_SOCKETS: usize = 1 << 14;

/// What is known of each listening socket's queue; does no I/O.
#[derive(Debug, Default)]
pub(crate) struct AcceptQueues {
    queues: HashMap<Key, Queue>,
    // Whether every socket older than the receiver is known, so that what others have dropped happened since.
    knows_the_old: bool,
    walk: u64,
    walked_at: UnixNanos,
    n_due: usize,
}

/// Names a listening socket: its inode number, or where it listens if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) netns: u32,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) inode: u64,
}

#[derive(Debug)]
struct Queue {
    cgroup: u64,
    // Dropped since it listens: as of now, and as of the last report.
    seen: u32,
    reported: u32,
    reported_at: UnixNanos,
    queued: u32,
    limit: u32,
    walk: u64,
    is_due: bool,
}

impl AcceptQueues {
    /// Begins a walk.
    pub(crate) fn begin_walk(&mut self) {
        self.walk += 1;
    }

    /// Takes a socket that the walk found. Returns whether there was room for it.
    pub(crate) fn on_socket(&mut self, socket: &ListeningSocket, now: UnixNanos) -> bool {
        let ListeningSocket { inode, netns, port, drops, queued, queue_limit, cgroup, .. } = *socket;
        let key = Key { netns, address: address(socket.address), port, inode };
        if self.queues.len() >= MAX_SOCKETS && !self.queues.contains_key(&key) {
            return false;
        }
        // What a socket dropped before the receiver knew of it is not counted, but of one that is younger it is.
        let (reported, reported_at) = if self.knows_the_old { (0, self.walked_at) } else { (drops, now) };
        let queue = self.queues.entry(key).or_insert_with(|| Queue {
            cgroup,
            seen: reported,
            reported,
            reported_at,
            queued,
            limit: queue_limit,
            walk: 0,
            is_due: false,
        });
        queue.seen = drops;
        queue.queued = queued;
        queue.limit = queue_limit;
        queue.walk = self.walk;
        self.n_due += usize::from(!queue.is_due);
        queue.is_due = true;
        true
    }

    /// Ends a walk. Sockets that a complete one did not find are gone; what they dropped since the last one is not known.
    pub(crate) fn end_walk(&mut self, is_complete: bool, now: UnixNanos) {
        self.walked_at = now;
        if !is_complete {
            return;
        }
        self.knows_the_old = true;
        let Self { queues, walk, n_due, .. } = self;
        queues.retain(|_, queue| {
            let is_gone = queue.walk != *walk && queue.seen == queue.reported;
            *n_due -= usize::from(is_gone && queue.is_due);
            !is_gone
        });
    }

    /// Returns how many sockets there is to report of.
    pub(crate) const fn n_due(&self) -> usize {
        self.n_due
    }

    /// Makes a report of each socket that was walked since the last. `local` tells what is known of a socket, by its cgroup
    /// too; without it, it is left out.
    pub(crate) fn take_reports(&mut self, mut local: impl FnMut(Key, u64) -> Option<Local>) -> Vec<Listener> {
        let now = self.walked_at;
        let mut reports = Vec::with_capacity(self.n_due);
        self.n_due = 0;
        for (key, queue) in self.queues.iter_mut().filter(|(_, it)| it.is_due) {
            let Queue { cgroup, seen, reported, reported_at, queued, limit, is_due, .. } = queue;
            *is_due = false;
            let dropped = u64::from(seen.wrapping_sub(*reported));
            let interval = Interval { start: *reported_at, end: now };
            (*reported, *reported_at) = (*seen, now);
            let Some(local) = local(*key, *cgroup) else { continue };
            reports.push(Listener {
                transport: Transport::Tcp,
                server: Endpoint::new(key.address, key.port),
                interval,
                dropped,
                queued: *queued,
                queue_limit: *limit,
                local,
            });
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    /// What happened before the receiver came is not counted, what happened to a socket that came later is.
    #[test]
    fn drops_count_from_the_receivers_start() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 40)]);
        assert_eq!(take(&mut queues), [0]);
        walk(&mut queues, &[socket(1, 42), socket(2, 5)]);
        assert_eq!(take(&mut queues), [2, 5]);
        walk(&mut queues, &[socket(1, 42), socket(2, 6)]);
        assert_eq!(take(&mut queues), [0, 1]);
    }

    /// A pipeline that does not take reports gets what they would have told in a later one.
    #[test]
    fn what_was_not_reported_is_in_the_next_report() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0)]);
        walk(&mut queues, &[socket(1, 3)]);
        walk(&mut queues, &[socket(1, 4)]);
        assert_eq!(queues.n_due(), 1);
        assert_eq!(take(&mut queues), [4]);
        assert_eq!((queues.n_due(), take(&mut queues)), (0, vec![]));
    }

    /// Of a socket that is gone nothing stays, once all that is known of it was told.
    #[test]
    fn a_socket_that_is_gone_is_forgotten() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0), socket(2, 0)]);
        take(&mut queues);
        walk(&mut queues, &[socket(1, 7), socket(2, 0)]);
        queues.begin_walk();
        queues.end_walk(false, UnixNanos(0));
        assert_eq!(queues.queues.len(), 2, "a walk that missed some proves nothing");
        walk(&mut queues, &[]);
        assert_eq!(take(&mut queues), [7]);
        walk(&mut queues, &[]);
        assert_eq!((queues.queues.len(), queues.n_due()), (0, 0));
    }

    #[test]
    fn there_is_no_room_for_any_number() {
        let mut queues = AcceptQueues::default();
        let n = MAX_SOCKETS as u64;
        assert!((0..n).all(|inode| queues.on_socket(&socket(inode, 0), UnixNanos(0))));
        assert!(!queues.on_socket(&socket(n, 0), UnixNanos(0)));
        assert!(queues.on_socket(&socket(0, 0), UnixNanos(0)), "one that is known");
    }

    fn walk(queues: &mut AcceptQueues, sockets: &[ListeningSocket]) {
        queues.begin_walk();
        for socket in sockets {
            assert!(queues.on_socket(socket, UnixNanos(1)));
        }
        queues.end_walk(true, UnixNanos(1));
    }

    /// Returns what each socket dropped, in the order of their inodes.
    fn take(queues: &mut AcceptQueues) -> Vec<u64> {
        let netns =
            |key: Key, _cgroup| Some(Local { netns: u32::try_from(key.inode).unwrap(), ..Local::default() });
        let mut reports = queues.take_reports(netns);
        reports.sort_by_key(|it| it.local.netns);
        reports.iter().map(|it| it.dropped).collect()
    }

    fn socket(inode: u64, drops: u32) -> ListeningSocket {
        ListeningSocket { inode, drops, port: 80, ..ListeningSocket::zeroed() }
    }
}
