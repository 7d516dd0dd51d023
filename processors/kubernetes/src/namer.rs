use std::time::{Duration, Instant};

use model::{Flow, Listener, UnixNanos};

use crate::{
    Config,
    held::Held,
    naming::{Naming, Patience},
    watch::Told,
};

/// How often what is held is looked at again at most, however much is told.
const RETRY: Duration = Duration::from_millis(50);

/// Names records, and holds those that cannot be named yet. A state machine: it is told what happens and when.
#[derive(Debug)]
pub(crate) struct Namer {
    pub(crate) naming: Naming,
    held: Held,
    listeners: Vec<(Instant, Listener)>,
    wait: Duration,
    max_held: usize,
    /// Until when everything is held; `None` once all objects have been told of, or the time is over.
    starting_until: Option<Instant>,
    /// Whether something was told since what is held was looked at.
    is_news: bool,
    retried: Instant,
    report: Report,
}

/// What happened since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Records named by what was known because the time to wait was over.
    pub(crate) late: u64,
    /// Records named by what was known because too many were held.
    pub(crate) full: u64,
}

/// What has a name now.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) flows: Vec<Flow>,
    pub(crate) listeners: Vec<Listener>,
}

impl Namer {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            naming: Naming::new(config),
            held: Held::new(config.max_held.get()),
            listeners: Vec::new(),
            wait: config.wait,
            max_held: config.max_held.get(),
            starting_until: Some(now + config.sync_timeout),
            is_news: false,
            retried: now,
            report: Report::default(),
        }
    }

    /// Takes what the API server told. `wall` is the time of the records' clock.
    pub(crate) fn on_told(&mut self, told: Told, wall: UnixNanos) {
        let index = &mut self.naming.index;
        match told {
            Told::Pod(change) => index.on_pod(change, wall),
            Told::Owner(kind, change) => index.on_owner(kind, change),
            Told::Service(change) => index.on_service(change, wall),
            Told::Slice(change) => index.on_slice(change),
            Told::Node(change) => index.on_node(change, wall),
            Told::Namespace(change) => index.on_namespace(change),
            Told::Failed(..) => return,
        }
        self.is_news = true;
        if index.is_complete() {
            self.starting_until = None;
        }
    }

    /// Takes a record; what has a name goes to `named`.
    pub(crate) fn push(&mut self, mut flow: Flow, now: Instant, named: &mut Named) {
        let is_named = !self.is_starting(now)
            && !self.held.holds(&flow)
            && self.naming.name(&mut flow, Patience::Wait).is_ok();
        if is_named {
            named.flows.push(flow);
        } else if let Some(oldest) = self.held.push(flow, now + self.wait) {
            self.report.full += 1;
            self.settle(oldest, named);
        }
    }

    /// Takes a report of a listening socket; what has a name goes to `named`.
    pub(crate) fn push_listener(&mut self, mut listener: Listener, now: Instant, named: &mut Named) {
        if !self.is_starting(now) && self.naming.name_listener(&mut listener, Patience::Wait).is_ok() {
            named.listeners.push(listener);
            return;
        }
        self.listeners.push((now + self.wait, listener));
        if self.listeners.len() > self.max_held {
            let (_, oldest) = self.listeners.remove(0);
            self.report.full += 1;
            self.settle_listener(oldest, named);
        }
    }

    /// Looks again at what is held, if it is time to, and forgets what has been gone for long.
    pub(crate) fn wake(&mut self, now: Instant, wall: UnixNanos, named: &mut Named) {
        self.naming.index.expire(wall);
        if self.is_starting(now) {
            return;
        }
        if self.is_news && now >= self.retried + RETRY {
            self.is_news = false;
            self.retried = now;
            let Self { naming, held, .. } = self;
            held.take_ready(|flow| naming.name(flow, Patience::Wait).is_ok(), |flow| named.flows.push(flow));
            for (until, mut listener) in std::mem::take(&mut self.listeners) {
                match self.naming.name_listener(&mut listener, Patience::Wait) {
                    Ok(()) => named.listeners.push(listener),
                    Err(_) => self.listeners.push((until, listener)),
                }
            }
        }
        while let Some(flow) = self.held.pop_due(now) {
            self.report.late += 1;
            self.settle(flow, named);
        }
        let n_due = self.listeners.partition_point(|(until, _)| *until <= now);
        for (_, listener) in self.listeners.drain(..n_due).collect::<Vec<_>>() {
            self.report.late += 1;
            self.settle_listener(listener, named);
        }
    }

    /// Returns when [`wake`](Self::wake) is to be called, if at all.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = self.held.due().into_iter().chain(self.listeners.first().map(|it| it.0)).min()?;
        Some(match self.starting_until {
            Some(until) => until,
            None if self.is_news => first.min(self.retried + RETRY),
            None => first,
        })
    }

    /// Takes note that no more is to come: what is held is not held for longer than any other record is.
    pub(crate) fn close(&mut self, now: Instant) {
        self.starting_until = self.starting_until.map(|it| it.min(now + self.wait));
    }

    pub(crate) fn n_held(&self) -> usize {
        self.held.len() + self.listeners.len()
    }

    pub(crate) fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    /// Returns whether everything is held, for not all objects have been told of.
    pub(crate) fn is_starting(&mut self, now: Instant) -> bool {
        if self.starting_until.is_some_and(|until| until <= now) {
            self.starting_until = None;
            self.is_news = true;
        }
        self.starting_until.is_some()
    }

    fn settle(&mut self, mut flow: Flow, named: &mut Named) {
        let settled = self.naming.name(&mut flow, Patience::Settle);
        debug_assert!(settled.is_ok(), "who settles waits for nothing");
        named.flows.push(flow);
    }

    fn settle_listener(&mut self, mut listener: Listener, named: &mut Named) {
        let settled = self.naming.name_listener(&mut listener, Patience::Settle);
        debug_assert!(settled.is_ok(), "who settles waits for nothing");
        named.listeners.push(listener);
    }
}

#[cfg(test)]
#[path = "namer_tests.rs"]
mod tests;
