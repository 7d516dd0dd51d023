//! What listening sockets drop, and how long their queues are.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use abi::ListeningSocket;
use model::{Endpoint, Interval, Listener, Local, Process, Transport, UnixNanos};

use crate::{clock::Moment, connection::address};

/// More listening sockets than a node has; what comes later is left out, and counted.
const MAX_SOCKETS: usize = 1 << 14;

/// Walks in a row that may miss a socket before it is forgotten: found again as a new one, all it ever dropped would count
/// once more.
const MAX_MISSED: u32 = 16;

/// How often the kernel notes that it answers by cookies, at most: what it notes once stands for as long.
const COOKIE_NOTE: Duration = Duration::from_secs(1);

/// What is known of each listening socket's queue; does no I/O.
#[derive(Debug, Default)]
pub(crate) struct AcceptQueues {
    queues: HashMap<Key, Queue>,
    // Those that there is something to report of, each once.
    due: VecDeque<Key>,
    walk: u64,
    now: Moment,
    walked_at: Option<Moment>,
    // Whether the last walk found every socket, so that one which it did not find is younger.
    knows_all: bool,
    has_left_out: bool,
}

/// Names a listening socket: its inode number, or where it listens if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) netns: u32,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) inode: u64,
}

#[derive(Debug)]
struct Queue {
    cgroup: u64,
    // Whose it is, as long as it is known: when a socket is gone, who listened there is forgotten elsewhere.
    process: Option<Process>,
    // What the socket said when it was found last.
    drops: u32,
    queued: u32,
    limit: u32,
    // Since when nothing was reported, what it has dropped since, and for how long it has answered by cookies.
    reported_at: UnixNanos,
    unreported: u64,
    unreported_cookies: Duration,
    is_due: bool,
    walk: u64,
    n_missed: u32,
}

impl AcceptQueues {
    /// Begins to take what a walk found at a moment.
    pub(crate) fn begin_walk(&mut self, now: Moment) {
        self.walk += 1;
        self.now = now;
        self.has_left_out = false;
    }

    /// Takes a socket that the walk found; `process` tells whose it is, and `cookies_age` how long ago the kernel noted that
    /// it answers by cookies. Returns whether there was room for it.
    pub(crate) fn on_socket(
        &mut self,
        socket: &ListeningSocket,
        process: impl FnOnce(Key) -> Option<Process>,
        cookies_age: Option<Duration>,
    ) -> bool {
        let ListeningSocket { inode, netns, port, drops, queued, queue_limit, cgroup, .. } = *socket;
        let key = Key { netns, address: address(socket.address), port, inode };
        let is_full = self.queues.len() >= MAX_SOCKETS;
        let queue = match self.queues.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.has_left_out = true;
                return false;
            }
            Entry::Vacant(entry) => {
                // What a socket dropped before it could be known is not counted, but of one that is younger it is.
                let (drops, reported_at) = match self.walked_at {
                    Some(walked_at) if self.knows_all => (0, walked_at.wall),
                    _ => (drops, self.now.wall),
                };
                entry.insert(Queue {
                    cgroup,
                    process: None,
                    drops,
                    queued,
                    limit: queue_limit,
                    reported_at,
                    unreported: 0,
                    unreported_cookies: Duration::ZERO,
                    is_due: false,
                    walk: 0,
                    n_missed: 0,
                })
            }
        };
        queue.unreported = queue.unreported.saturating_add(growth(queue.drops, drops).into());
        let since_walk = self.walked_at.map(|it| self.now.since(it));
        if let (Some(age), Some(since_walk)) = (cookies_age, since_walk)
            && age <= since_walk
        {
            queue.unreported_cookies += since_walk.max(COOKIE_NOTE);
        }
        queue.process = queue.process.take().or_else(|| process(key));
        queue.drops = drops;
        queue.queued = queued;
        queue.limit = queue_limit;
        queue.walk = self.walk;
        queue.n_missed = 0;
        queue.enqueue(key, &mut self.due);
        true
    }

    /// Ends a walk. A socket that a complete one did not find listens no more: nobody waits and nobody may. What it dropped
    /// since it was found last is not known.
    pub(crate) fn end_walk(&mut self, is_complete: bool) {
        let Self { queues, due, walk, now, walked_at, knows_all, has_left_out } = self;
        *walked_at = Some(*now);
        *knows_all = is_complete && !*has_left_out;
        queues.retain(|key, queue| {
            if queue.walk == *walk {
                return true;
            }
            queue.n_missed += 1;
            let is_over = is_complete || queue.n_missed >= MAX_MISSED;
            if is_over && (queue.queued, queue.limit) != (0, 0) {
                (queue.queued, queue.limit) = (0, 0);
                queue.enqueue(*key, due);
            }
            queue.is_due || queue.n_missed < MAX_MISSED
        });
    }

    /// Returns how many sockets there is to report of.
    pub(crate) fn n_due(&self) -> usize {
        self.due.len()
    }

    /// Makes up to `max` reports, of sockets that were walked or missed since their last. `local` puts together what is known
    /// of a socket, from the process and the cgroup that it belongs to; without it, it is left out.
    pub(crate) fn take_reports(
        &mut self,
        max: usize,
        mut local: impl FnMut(Key, Option<&Process>, u64) -> Option<Local>,
    ) -> Vec<Listener> {
        let Self { queues, due, now, .. } = self;
        let mut reports = Vec::with_capacity(max.min(due.len()));
        while reports.len() < max
            && let Some(key) = due.pop_front()
        {
            let Some(queue) = queues.get_mut(&key) else { continue };
            queue.is_due = false;
            let interval = Interval { start: queue.reported_at, end: now.wall };
            queue.reported_at = now.wall;
            let dropped = std::mem::take(&mut queue.unreported);
            let cookies = std::mem::take(&mut queue.unreported_cookies);
            let Some(local) = local(key, queue.process.as_ref(), queue.cgroup) else { continue };
            reports.push(Listener {
                transport: Transport::Tcp,
                server: Endpoint::new(key.address, key.port),
                interval,
                dropped,
                cookies,
                queued: queue.queued,
                queue_limit: queue.limit,
                local,
            });
        }
        reports
    }
}

impl Queue {
    fn enqueue(&mut self, key: Key, due: &mut VecDeque<Key>) {
        if !self.is_due {
            self.is_due = true;
            due.push_back(key);
        }
    }
}

/// Returns how much a counter has grown that begins again at zero after 2^32; one that is smaller is another socket's in
/// the same place, which began at zero.
fn growth(before: u32, now: u32) -> u32 {
    let growth = now.wrapping_sub(before);
    if growth <= u32::MAX / 2 { growth } else { now }
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
        check(&mut queues, &[(1, 0, LIMIT)]);
        walk(&mut queues, &[socket(1, 42), socket(2, 5)]);
        check(&mut queues, &[(1, 2, LIMIT), (2, 5, LIMIT)]);
        walk(&mut queues, &[socket(1, 42), socket(2, 6)]);
        check(&mut queues, &[(1, 0, LIMIT), (2, 1, LIMIT)]);
    }

    /// Whether a socket is new does not show after a walk that may have missed it.
    #[test]
    fn what_a_socket_of_unknown_age_dropped_is_not_counted() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 40)]);
        incomplete_walk(&mut queues, &[socket(1, 40)]);
        walk(&mut queues, &[socket(1, 40), socket(2, 7)]);
        walk(&mut queues, &[socket(1, 40), socket(2, 8)]);
        check(&mut queues, &[(1, 0, LIMIT), (2, 1, LIMIT)]);
    }

    /// The kernel tells when it noted that last, and not how often it did it.
    #[test]
    fn the_time_of_cookies_is_that_between_walks_that_see_them_noted() {
        let mut queues = AcceptQueues::default();
        let mut walk = |millisecond: u64, ages: &[Option<u64>]| {
            queues.begin_walk(Moment { boot: millisecond * 1_000_000, wall: UnixNanos(1) });
            for (inode, age) in (1..).zip(ages) {
                queues.on_socket(&socket(inode, 0), |_| None, age.map(Duration::from_secs));
            }
            queues.end_walk(true);
            let reports = queues.take_reports(usize::MAX, local);
            reports.iter().map(|it| it.cookies.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(walk(100_000, &[Some(0)]), [0], "nobody looked before");
        assert_eq!(walk(110_000, &[Some(3), None]), [10, 0]);
        assert_eq!(walk(120_000, &[Some(13), None, Some(1)]), [0, 0, 10], "the last is new");
        assert_eq!(walk(130_000, &[None, Some(500), None]), [0, 0, 0], "the second joined an old group");
        assert_eq!(walk(130_100, &[Some(0), None, None]), [1, 0, 0], "what is noted stands for a second");
    }

    /// A pipeline that does not take reports gets what they would have told in a later one.
    #[test]
    fn what_was_not_reported_is_in_the_next_report() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0)]);
        walk(&mut queues, &[socket(1, 3)]);
        walk(&mut queues, &[socket(1, 4)]);
        assert_eq!(queues.n_due(), 1);
        check(&mut queues, &[(1, 4, LIMIT)]);
        assert_eq!(queues.n_due(), 0);
        check(&mut queues, &[]);
    }

    #[test]
    fn reports_are_taken_in_parts() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[1, 2, 3, 4, 5].map(|inode| socket(inode, 0)));
        let taken: Vec<_> = (0..4).map(|_| queues.take_reports(2, local).len()).collect();
        assert_eq!(taken, [2, 2, 1, 0]);
    }

    /// Nothing shows a server that is gone but the absence of its socket: its queue must not seem to be full for ever.
    #[test]
    fn a_socket_that_is_gone_has_no_queue_and_is_forgotten() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0), socket(2, 0)]);
        walk(&mut queues, &[socket(1, 7), socket(2, 0)]);
        walk(&mut queues, &[socket(2, 0)]);
        check(&mut queues, &[(1, 7, 0), (2, 0, LIMIT)]);
        for _ in 1..MAX_MISSED {
            walk(&mut queues, &[socket(2, 0)]);
            check(&mut queues, &[(2, 0, LIMIT)]);
        }
        assert_eq!(queues.queues.len(), 1);
    }

    /// The report that tells of its end is not lost with it, however late it is taken.
    #[test]
    fn a_socket_that_is_gone_stays_until_that_is_reported() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0)]);
        check(&mut queues, &[(1, 0, LIMIT)]);
        for _ in 0..2 * MAX_MISSED {
            walk(&mut queues, &[]);
        }
        check(&mut queues, &[(1, 0, 0)]);
        walk(&mut queues, &[]);
        assert_eq!((queues.queues.len(), queues.n_due()), (0, 0));
    }

    /// A walk beside which others begin and cease to listen may miss one, and none of its drops count twice for that.
    #[test]
    fn a_socket_that_walks_missed_goes_on_where_it_was() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 40)]);
        for _ in 1..MAX_MISSED {
            walk(&mut queues, &[]);
        }
        walk(&mut queues, &[socket(1, 42)]);
        check(&mut queues, &[(1, 2, LIMIT)]);
    }

    #[test]
    fn a_walk_that_did_not_see_everything_tells_no_end() {
        let mut queues = AcceptQueues::default();
        walk(&mut queues, &[socket(1, 0)]);
        check(&mut queues, &[(1, 0, LIMIT)]);
        for _ in 1..MAX_MISSED {
            incomplete_walk(&mut queues, &[]);
            check(&mut queues, &[]);
        }
        // Should none ever see everything again, what is gone must not stay for ever.
        incomplete_walk(&mut queues, &[]);
        check(&mut queues, &[(1, 0, 0)]);
        incomplete_walk(&mut queues, &[]);
        assert_eq!(queues.queues.len(), 0);
    }

    /// The kernel counts in 32 bits; without an inode number a server that was started again has the name of the old.
    #[test]
    fn a_counter_goes_on_or_begins_anew() {
        assert_eq!(growth(3, 5), 2);
        assert_eq!(growth(u32::MAX - 1, 3), 5);
        assert_eq!(growth(40, 2), 2);
    }

    /// One that there was no room for is not taken for new when there is.
    #[test]
    fn there_is_no_room_for_any_number() {
        let mut queues = AcceptQueues::default();
        let n = MAX_SOCKETS as u64;
        queues.begin_walk(MOMENT);
        let mut find = |inode| queues.on_socket(&socket(inode, 9), |_| None, None);
        assert!((0..n).all(&mut find));
        assert!(!find(n));
        assert!(find(0), "one that is known");
        queues.end_walk(true);
        queues.queues.clear();
        queues.due.clear();
        walk(&mut queues, &[socket(n, 9)]);
        check(&mut queues, &[(n, 0, LIMIT)]);
    }

    const LIMIT: u32 = 128;

    const MOMENT: Moment = Moment { boot: 1, wall: UnixNanos(1) };

    fn walk(queues: &mut AcceptQueues, sockets: &[ListeningSocket]) {
        walk_as(queues, sockets, true);
    }

    fn incomplete_walk(queues: &mut AcceptQueues, sockets: &[ListeningSocket]) {
        walk_as(queues, sockets, false);
    }

    fn walk_as(queues: &mut AcceptQueues, sockets: &[ListeningSocket], is_complete: bool) {
        queues.begin_walk(MOMENT);
        for socket in sockets {
            assert!(queues.on_socket(socket, |_| None, None));
        }
        queues.end_walk(is_complete);
    }

    /// Compares what is reported: inode number, drops, and limit of the queue.
    #[track_caller]
    fn check(queues: &mut AcceptQueues, expected: &[(u64, u64, u32)]) {
        let reports = queues.take_reports(usize::MAX, local);
        let mut found: Vec<_> =
            reports.iter().map(|it| (u64::from(it.local.netns), it.dropped, it.queue_limit)).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Tells the inode number, in a place where a report has room for it.
    fn local(key: Key, _process: Option<&Process>, _cgroup: u64) -> Option<Local> {
        Some(Local { netns: u32::try_from(key.inode).unwrap(), ..Local::default() })
    }

    fn socket(inode: u64, drops: u32) -> ListeningSocket {
        ListeningSocket { inode, drops, port: 80, queue_limit: LIMIT, ..ListeningSocket::zeroed() }
    }
}
