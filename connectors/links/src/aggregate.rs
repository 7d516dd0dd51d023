use std::{
    hash::RandomState,
    mem,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use hashbrown::HashTable;
use model::{ConnectionMap, Flow, Metrics, UnixNanos};

use crate::{
    Buckets, OptionalAttribute, Shape,
    attributes::Selection,
    identity::{self, Identity},
    link::{Link, NanoBounds},
    otlp::Encoder,
};

/// Adds flow records up per link.
///
/// Each connection is counted in one link from its beginning to its end, and each record in exactly one link: the
/// sum over all links is the sum over all records. `active` is how many connections of a link are remembered at
/// present.
#[derive(Debug)]
pub struct Aggregate {
    limits: Limits,
    selection: Selection,
    bounds: NanoBounds,
    encoder: Encoder,
    /// Links by number; a number is used again after its link has expired.
    links: Vec<Option<Link>>,
    free: Vec<LinkIdx>,
    /// Numbers of the links that are kept apart, by identity.
    index: HashTable<LinkIdx>,
    hasher: RandomState,
    /// Links that have expired since totals were sent: whoever reads them is told that they have ended.
    ended: Vec<Link>,
    /// The overflow links: one per transport and observer, outside of the budget.
    overflow: Vec<LinkIdx>,
    /// The link of each connection that has begun and not ended.
    connections: ConnectionMap<LinkIdx>,
    /// When the totals were last sent: the counts of every link made since were zero then.
    sent: UnixNanos,
    report: Report,
}

type LinkIdx = u32;

/// How much an [`Aggregate`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most links kept apart.
    pub links: NonZeroU32,
    /// Most connections remembered.
    pub connections: NonZeroU32,
    /// How long a link without connections is kept.
    pub expire_after: Duration,
}

/// What an [`Aggregate`] did since the last report, beyond counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records counted in an overflow link.
    pub overflowed: u64,
    /// Connections forgotten before their end because there were too many.
    pub forgotten: u64,
    /// Links that expired.
    pub expired: u64,
}

impl Aggregate {
    /// Creates an aggregate whose counts are zero at `start`.
    pub fn new(
        limits: Limits,
        attributes: &[OptionalAttribute],
        buckets: &Buckets,
        shapes: &[Shape],
        start: UnixNanos,
    ) -> Self {
        Self {
            limits,
            selection: Selection::new(attributes),
            bounds: NanoBounds::new(buckets),
            encoder: Encoder::new(buckets, shapes),
            links: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            ended: Vec::new(),
            overflow: Vec::new(),
            connections: ConnectionMap::new(limits.connections.get() as usize),
            sent: start,
            report: Report::default(),
        }
    }

    /// Counts a record.
    pub fn push(&mut self, flow: &Flow, now: Instant) {
        let idx = self.link_of(flow, now);
        let link = link_mut(&mut self.links, idx);
        link.touched = now;
        link.totals.add(flow, &self.bounds);
        self.report.overflowed += u64::from(link.identity.is_overflow());
    }

    /// Forgets links that nothing has happened on for long.
    pub fn expire(&mut self, now: Instant) {
        let Self { limits, links, free, index, ended, report, .. } = self;
        for (idx, slot) in (0..).zip(links) {
            if let Some(link) = slot.take_if(|it| it.is_expired(now, limits.expire_after)) {
                if let Ok(entry) = index.find_entry(link.hash, |it| *it == idx) {
                    entry.remove();
                }
                free.push(idx);
                ended.push(link);
                report.expired += 1;
            }
        }
    }

    /// Encodes links from number `from` on, as many as make a batch of reasonable size.
    ///
    /// Returns the metrics and the number to go on from, or `None` when no link is left.
    pub fn encode(&self, from: usize, time: UnixNanos) -> Option<(Metrics, usize)> {
        let links = self.links.get(from..)?.iter().map(Option::as_ref);
        let (metrics, n) = self.encoder.encode(links, time, &self.selection, false)?;
        Some((metrics, from + n))
    }

    /// Encodes that links have ended which expired since totals were sent, from the one with this number on, in the way of
    /// [`encode`](Self::encode).
    pub fn encode_ended(&self, from: usize, time: UnixNanos) -> Option<(Metrics, usize)> {
        let ended = self.ended.get(from..)?.iter().map(Some);
        let (metrics, n) = self.encoder.encode(ended, time, &self.selection, true)?;
        Some((metrics, from + n))
    }

    /// Notes that every link was sent with the totals as of `time`.
    pub fn sent(&mut self, time: UnixNanos) {
        self.sent = time;
        self.ended.clear();
        self.links.iter_mut().flatten().for_each(Link::sent);
    }

    /// Returns what happened since the last call.
    pub fn take_report(&mut self) -> Report {
        mem::take(&mut self.report)
    }

    /// Returns how many links are kept apart.
    pub fn n_links(&self) -> usize {
        self.index.len()
    }

    /// Returns how many connections are remembered: the sum of `active` over all links.
    pub fn n_connections(&self) -> usize {
        self.connections.len()
    }

    /// Finds the link that a record is counted in, and keeps track of the connection.
    fn link_of(&mut self, flow: &Flow, now: Instant) -> LinkIdx {
        let Some(id) = flow.id else { return self.link_by_names(flow, now) };
        let known = self.connections.get_mut(id, flow.observer).copied();
        match known {
            Some(idx) => {
                if flow.end.is_some() {
                    self.connections.remove(id, flow.observer);
                    link_mut(&mut self.links, idx).active -= 1;
                }
                idx
            }
            None => {
                let idx = self.link_by_names(flow, now);
                if flow.end.is_none() && is_alive(flow) {
                    link_mut(&mut self.links, idx).active += 1;
                    if let Some(forgotten) = self.connections.insert(id, flow.observer, idx) {
                        link_mut(&mut self.links, forgotten).active -= 1;
                        self.report.forgotten += 1;
                    }
                }
                idx
            }
        }
    }

    fn link_by_names(&mut self, flow: &Flow, now: Instant) -> LinkIdx {
        let Self { limits, selection, links, index, hasher, sent, .. } = self;
        let hash = identity::hash(flow, selection, hasher);
        let is_same = |idx: &LinkIdx| link(links, *idx).identity.is_of(flow, selection);
        if let Some(idx) = index.find(hash, is_same) {
            return *idx;
        }
        if index.len() >= limits.links.get() as usize {
            return self.overflow_link(flow, now);
        }
        let identity = Identity::of(flow, selection);
        let new = Link::new(identity, hash, *sent, now);
        let idx = insert(links, &mut self.free, new);
        index.insert_unique(hash, idx, |it| link(links, *it).hash);
        idx
    }

    fn overflow_link(&mut self, flow: &Flow, now: Instant) -> LinkIdx {
        let Self { links, overflow, sent, .. } = self;
        let of_flow = |idx: &&LinkIdx| match link(links, **idx).identity {
            Identity::Overflow { transport, observer } => {
                (transport, observer) == (flow.transport, flow.observer)
            }
            Identity::Known { .. } => false,
        };
        if let Some(idx) = overflow.iter().find(of_flow) {
            return *idx;
        }
        let identity = Identity::Overflow { transport: flow.transport, observer: flow.observer };
        let idx = insert(links, &mut self.free, Link::new(identity, 0, *sent, now));
        overflow.push(idx);
        idx
    }
}

/// Returns whether a record without an end belongs to a connection that lives.
///
/// Besides its first record, a round-trip time says so: only live sockets are sampled. Retransmissions of the other
/// end may still be reported after the end of a connection.
fn is_alive(flow: &Flow) -> bool {
    flow.begin.is_some() || flow.rtt.is_some()
}

fn insert(links: &mut Vec<Option<Link>>, free: &mut Vec<LinkIdx>, link: Link) -> LinkIdx {
    match free.pop() {
        Some(idx) => {
            links[idx as usize] = Some(link);
            idx
        }
        None => {
            links.push(Some(link));
            LinkIdx::try_from(links.len() - 1).expect("the budget is a 32-bit number")
        }
    }
}

fn link(links: &[Option<Link>], idx: LinkIdx) -> &Link {
    links[idx as usize].as_ref().expect("a link that is referred to does not expire")
}

fn link_mut(links: &mut [Option<Link>], idx: LinkIdx) -> &mut Link {
    links[idx as usize].as_mut().expect("a link that is referred to does not expire")
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
