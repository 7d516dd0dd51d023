use model::{Begin, ConnectionId, End, Endpoint, Flow, Interval, Local, Observer, Traffic, Transport, UnixNanos};

use crate::{
    merge::{Resent, append, is_unknown},
    pairing::{Due, Step},
};

/// What is remembered of one connection, whichever end reported it.
#[derive(Debug)]
pub(crate) struct Entry {
    id: ConnectionId,
    number: u64,
    decision: Option<Decision>,
    // Before the decision: what the first end reported. After it: the owner's end, while the other end may still
    // know its reason.
    held: Option<Box<Flow>>,
    reason_awaited: bool,
    owed: Owed,
    client: Side,
    server: Side,
}

/// Whose records count, and what the connection looks like in them.
#[derive(Clone, Debug)]
struct Decision {
    owner: Observer,
    paired: bool,
    transport: Transport,
    client: Endpoint,
    server: Endpoint,
    started: Option<UnixNanos>,
}

/// What the other end's records added and no record of the owner has taken yet.
#[derive(Debug, Default)]
struct Owed {
    resent: Resent,
    n_records: u64,
    interval: Interval,
    scheduled: bool,
}

/// What one end has reported so far.
#[derive(Debug, Default)]
struct Side {
    seen: bool,
    complete: bool,
    end: Option<End>,
    request_bytes: u64,
    response_bytes: u64,
}

impl Entry {
    pub(crate) fn new(id: ConnectionId, number: u64) -> Self {
        Self {
            id,
            number,
            decision: None,
            held: None,
            reason_awaited: false,
            owed: Owed::default(),
            client: Side::default(),
            server: Side::default(),
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether both ends have reported.
    pub(crate) fn both_seen(&self) -> bool {
        self.client.seen && self.server.seen
    }

    /// Returns whether both ends have reported their end.
    pub(crate) fn is_over(&self) -> bool {
        self.client.end.is_some() && self.server.end.is_some()
    }

    /// Returns by how many bytes the two ends' totals differ, if both were seen from the first byte on.
    pub(crate) fn difference(&self) -> u64 {
        let Self { client, server, .. } = self;
        if !(client.complete && server.complete) {
            return 0;
        }
        let request = client.request_bytes.abs_diff(server.request_bytes);
        request.saturating_add(client.response_bytes.abs_diff(server.response_bytes))
    }

    pub(crate) fn push(&mut self, flow: Flow, step: &mut Step<'_>) {
        let side = match flow.observer {
            Observer::Client => &mut self.client,
            Observer::Server => &mut self.server,
        };
        if side.note(&flow) {
            step.schedule(Due::Forget);
        }
        match &self.decision {
            None => match self.held.take() {
                None => {
                    self.held = Some(Box::new(flow));
                    step.schedule(Due::Decision);
                }
                Some(mut held) if held.observer == flow.observer => {
                    append(&mut held, flow);
                    self.held = Some(held);
                    step.report.merged += 1;
                }
                Some(held) => self.pair(*held, flow, step),
            },
            Some(decision) if decision.owner == flow.observer => self.pass(flow, step),
            Some(decision) => {
                step.report.late += u64::from(!decision.paired);
                self.absorb(&flow, step);
            }
        }
    }

    pub(crate) fn fire(&mut self, due: Due, step: &mut Step<'_>) {
        match due {
            Due::Decision if self.decision.is_none() => self.release(step),
            Due::Reason => self.release_held(step),
            Due::Owed => {
                self.owed.scheduled = false;
                self.release_owed(step);
            }
            Due::Decision | Due::Forget => {}
        }
    }

    /// Passes on everything that is held back, undecided records as they are.
    pub(crate) fn release(&mut self, step: &mut Step<'_>) {
        if self.decision.is_none()
            && let Some(held) = &self.held
        {
            self.decision = Some(Decision::new(held, false, held.server.clone()));
        }
        self.release_held(step);
        self.release_owed(step);
    }

    fn pair(&mut self, held: Flow, arrived: Flow, step: &mut Step<'_>) {
        let (client, server) = match held.observer {
            Observer::Client => (held, arrived),
            Observer::Server => (arrived, held),
        };
        step.report.paired += 1;
        self.decision = Some(Decision::new(&client, true, server.server.clone()));
        // The server's first: the client's record then takes what the server adds.
        self.owe(&server, step);
        self.pass(client, step);
    }

    /// Passes on a record of the owner.
    fn pass(&mut self, mut flow: Flow, step: &mut Step<'_>) {
        self.release_held(step);
        let Self { decision, owed, client, server, .. } = self;
        if let Some(decision) = decision
            && decision.paired
        {
            flow.server = decision.server.clone();
        }
        step.report.merged += owed.n_records;
        owed.take().add_to_receiver(&mut flow);
        let other = match flow.observer {
            Observer::Client => server,
            Observer::Server => client,
        };
        if is_unknown(flow.end) && other.seen {
            if other.end.is_some() {
                flow.end = other.end;
            } else if !self.reason_awaited {
                self.reason_awaited = true;
                self.held = Some(Box::new(flow));
                step.schedule(Due::Reason);
                return;
            }
        }
        step.out.push(flow);
    }

    /// Merges a record of the end that does not own the connection.
    fn absorb(&mut self, flow: &Flow, step: &mut Step<'_>) {
        self.owe(flow, step);
        if let Some(held) = &mut self.held {
            if flow.end.is_some() {
                held.end = flow.end;
                self.release_held(step);
            }
        }
        let owner_is_over = self.decision.as_ref().is_some_and(|it| match it.owner {
            Observer::Client => self.client.end.is_some(),
            Observer::Server => self.server.end.is_some(),
        });
        if owner_is_over && self.held.is_none() {
            self.release_owed(step);
        }
    }

    fn owe(&mut self, flow: &Flow, step: &mut Step<'_>) {
        let resent = Resent::of_sender(flow);
        if resent.is_zero() {
            step.report.merged += 1;
            return;
        }
        let owed = &mut self.owed;
        owed.resent.add(resent);
        if owed.n_records == 0 {
            owed.interval.start = flow.interval.start;
        }
        owed.interval.end = flow.interval.end;
        owed.n_records += 1;
        if !owed.scheduled {
            owed.scheduled = true;
            step.schedule(Due::Owed);
        }
    }

    fn release_held(&mut self, step: &mut Step<'_>) {
        if let Some(mut held) = self.held.take() {
            step.report.merged += self.owed.n_records;
            self.owed.take().add_to_receiver(&mut held);
            step.out.push(*held);
        }
    }

    /// Sends what is owed as a record of its own, because the owner has no record that could take it.
    fn release_owed(&mut self, step: &mut Step<'_>) {
        let Some(decision) = self.decision.as_ref().filter(|_| self.owed.n_records > 0) else { return };
        let Decision { owner, paired: _, transport, client, server, started } = decision.clone();
        // One of the merged records lives on as this one.
        step.report.merged += self.owed.n_records - 1;
        let mut flow = Flow {
            id: Some(self.id),
            observer: owner,
            transport,
            client,
            server,
            started,
            interval: self.owed.interval,
            begin: None,
            end: None,
            request: Traffic::default(),
            response: Traffic::default(),
            rtt: None,
            connect: None,
            local: Local::default(),
        };
        self.owed.take().add_to_receiver(&mut flow);
        step.out.push(flow);
    }
}

impl Decision {
    fn new(first: &Flow, paired: bool, server: Endpoint) -> Self {
        Self {
            owner: first.observer,
            paired,
            transport: first.transport,
            client: first.client.clone(),
            server,
            started: first.started,
        }
    }
}

impl Owed {
    fn take(&mut self) -> Resent {
        self.n_records = 0;
        std::mem::take(&mut self.resent)
    }
}

impl Side {
    /// Adds a record, and returns whether it is the one that ends the connection on this side.
    fn note(&mut self, flow: &Flow) -> bool {
        self.seen = true;
        self.complete |= flow.begin == Some(Begin::Opened);
        self.request_bytes = self.request_bytes.saturating_add(flow.request.bytes);
        self.response_bytes = self.response_bytes.saturating_add(flow.response.bytes);
        let ended = self.end.is_none() && flow.end.is_some();
        self.end = self.end.or(flow.end);
        ended
    }
}
