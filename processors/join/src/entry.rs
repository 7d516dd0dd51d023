use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Attribute, Before, Begin, ConnectionId, End, Endpoint, Flow, Observer, Transport, UnixNanos};

use crate::{
    merge::{Known, append, is_unknown},
    outline::Outline,
    pairing::Report,
};

/// How far the two ends' ideas of when their connection opened may lie apart.
///
/// A server takes the connection as open when the last packet of the handshake arrives, or, if it defers the accept,
/// the first data: both can come a few minutes after the client's own moment.
const START_TOLERANCE: Duration = Duration::from_mins(5);

/// What is remembered of one connection, whichever end reported it.
///
/// | `decision` | `held` | the connection is |
/// | --- | --- | --- |
/// | none | what the first end reported, as one record | undecided: the other end may still report |
/// | made | none | open, or over for its owner: records pass or are merged as they come |
/// | made | the owner's last record | closing: the other end's last record may still add to it |
///
/// A record is held, and a connection that only one end reported is remembered beyond its end, until `due` at most.
#[derive(Debug)]
pub(crate) struct Entry {
    id: ConnectionId,
    transport: Transport,
    started: Option<UnixNanos>,
    due: Option<Instant>,
    decision: Option<Decision>,
    held: Option<Box<Flow>>,
    /// Whether the observer of another node holds the client.
    client_is_elsewhere: bool,
    /// What only the end that does not count knows, until a record that counts can take it.
    untold: Known,
    client: Side,
    server: Side,
}

// The README says what a connection takes: this, its key, its neighbours and its place.
const _: () = assert!(size_of::<Entry>() <= 192);

/// Whose records count.
#[derive(Debug)]
enum Decision {
    /// Both ends reported in time: the client's, with the server as [`described`] by both.
    Paired { server: Endpoint },
    /// Only this end reported in time.
    Alone(Observer),
}

/// What one end has reported so far.
#[derive(Debug, Default)]
struct Side {
    seen: bool,
    /// Whether the counts below begin with the first byte, those that were transferred before the observer came included.
    complete: bool,
    end: Option<End>,
    request_bytes: u64,
    response_bytes: u64,
}

/// What a record or a timer of an entry acts upon.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) report: &'a mut Report,
    pub(crate) out: &'a mut Vec<Flow>,
    /// When a wait that begins now is over.
    pub(crate) due: Instant,
}

impl Entry {
    /// Remembers a connection by the first record of it.
    pub(crate) fn new(id: ConnectionId, first: Flow, due: Instant) -> Self {
        let mut entry = Self {
            id,
            transport: first.transport,
            started: first.started,
            due: Some(due),
            decision: None,
            held: None,
            client_is_elsewhere: false,
            untold: Known::default(),
            client: Side::default(),
            server: Side::default(),
        };
        entry.note(&first);
        entry.held = Some(Box::new(first));
        entry
    }

    /// Returns when [`fire`](Self::fire) is to be called, if at all.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether both ends have reported their end, so that nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.client.end.is_some() && self.server.end.is_some()
    }

    /// Returns what no record has taken, and none will when the entry is forgotten.
    pub(crate) fn untold(&self) -> Known {
        self.untold
    }

    /// Returns by how many bytes the two ends' totals differ, if both were seen from the first byte to the last.
    pub(crate) fn difference(&self) -> u64 {
        let Self { client, server, .. } = self;
        if !(client.is_whole() && server.is_whole()) {
            return 0;
        }
        let request = client.request_bytes.abs_diff(server.request_bytes);
        request.saturating_add(client.response_bytes.abs_diff(server.response_bytes))
    }

    /// Returns whether a record can belong to this connection, and not to another one with the same id.
    ///
    /// Addresses and ports prove nothing, as NAT changes both of either end.
    pub(crate) fn matches(&self, flow: &Flow) -> bool {
        let near = match (self.started, flow.started) {
            (Some(ours), Some(theirs)) => {
                let apart = ours.saturating_since(theirs).max(theirs.saturating_since(ours));
                apart <= START_TOLERANCE
            }
            _ => true,
        };
        near && self.transport == flow.transport
    }

    /// Takes another record that [`matches`](Self::matches).
    pub(crate) fn push(&mut self, flow: Flow, step: &mut Step<'_>) {
        self.note(&flow);
        match &self.decision {
            None => match self.held.take() {
                Some(mut held) if held.observer == flow.observer => {
                    step.report.merged += 1;
                    append(&mut held, flow);
                    self.held = Some(held);
                }
                Some(held) => self.pair(*held, flow, step),
                None => unreachable!("an undecided connection holds a record"),
            },
            Some(decision) if decision.owner() == flow.observer => self.pass(flow, step),
            Some(_) => self.absorb(&flow, step),
        }
    }

    /// Ends the wait, and returns whether the entry is to be forgotten.
    pub(crate) fn fire(&mut self, step: &mut Step<'_>) -> bool {
        self.due = None;
        if self.held.is_none() {
            // The owner is over. If the other end was seen after all, its own end will come.
            return !(self.client.seen && self.server.seen);
        }
        self.release(step);
        false
    }

    /// Passes on the record that is held, decided or not.
    pub(crate) fn release(&mut self, step: &mut Step<'_>) {
        let Some(held) = self.held.take() else { return };
        if self.decision.is_none() {
            self.decision = Some(Decision::Alone(held.observer));
            self.pass(*held, step);
        } else {
            self.send(*held, step);
        }
    }

    /// Makes room: passes on what is held, and returns what is to be remembered instead. Who has not been seen by now does
    /// not count any more.
    pub(crate) fn condense(mut self, step: &mut Step<'_>) -> (ConnectionId, Outline) {
        self.release(step);
        step.report.condensed += 1;
        step.report.missed.add(self.untold);
        let is_left = self.is_left();
        let Self { id, decision, client, server, .. } = self;
        let owner = decision.expect("what was held has been decided").owner();
        let (client_is_over, server_is_over) = (client.end.is_some(), server.end.is_some());
        (id, Outline { owner, is_left, client_is_over, server_is_over })
    }

    fn pair(&mut self, held: Flow, arrived: Flow, step: &mut Step<'_>) {
        let (client, server) = match held.observer {
            Observer::Client => (held, arrived),
            Observer::Server => (arrived, held),
        };
        self.untold.add(Known::of(&server));
        let server = described(server.server, &client.server);
        self.decision = Some(Decision::Paired { server });
        step.report.paired += 1;
        step.report.merged += 1;
        self.pass(client, step);
    }

    /// Passes on a record of the owner. The last one waits for the other end's last, if there is one to come.
    fn pass(&mut self, mut flow: Flow, step: &mut Step<'_>) {
        // A record after the last is a mistake of the observer; it is counted all the same.
        self.release(step);
        if let Some(Decision::Paired { server }) = &self.decision {
            flow.server = server.clone();
            flow.is_joined = true;
        }
        let other = self.other_side(flow.observer);
        if flow.end.is_none() || other.end.is_some() {
            self.send(flow, step);
        } else if other.seen {
            self.due = Some(step.due);
            self.held = Some(Box::new(flow));
        } else {
            self.due = Some(step.due);
            self.send(flow, step);
        }
    }

    fn send(&mut self, mut flow: Flow, step: &mut Step<'_>) {
        if self.is_left() {
            step.report.left += 1;
            return;
        }
        mem::take(&mut self.untold).add_to_other(&mut flow);
        if flow.end.is_some() {
            let unheard = self.unheard();
            flow.request.bytes = flow.request.bytes.saturating_add(unheard);
            self.client.request_bytes = self.client.request_bytes.saturating_add(unheard);
        }
        if is_unknown(flow.end) {
            flow.end = self.other_side(flow.observer).end.or(flow.end);
        }
        step.out.push(flow);
    }

    /// Returns how many bytes arrived at the server without the client hearing of it.
    ///
    /// Who resets a connection acknowledges nothing on the way out, and the acknowledgement of what came last may just
    /// have been delayed. What arrived is known to the end where it arrived.
    fn unheard(&self) -> u64 {
        let Self { client, server, .. } = self;
        let both_are_known = self.is_over() && client.complete && server.complete;
        match self.decision {
            Some(Decision::Paired { .. }) if both_are_known => {
                server.request_bytes.saturating_sub(client.request_bytes)
            }
            _ => 0,
        }
    }

    /// Merges a record of the end that does not count.
    fn absorb(&mut self, flow: &Flow, step: &mut Step<'_>) {
        self.untold.add(Known::of(flow));
        step.report.merged += 1;
        let owner_is_over = self.held.is_none() && self.other_side(flow.observer).end.is_some();
        if owner_is_over || matches!(self.decision, Some(Decision::Alone(_))) {
            step.report.late += 1;
        }
        if flow.end.is_some() {
            self.release(step);
        }
    }

    /// Returns whether the connection is left to the observer of the node that the client is on.
    fn is_left(&self) -> bool {
        self.client_is_elsewhere && matches!(self.decision, Some(Decision::Alone(Observer::Server)))
    }

    fn note(&mut self, flow: &Flow) {
        self.client_is_elsewhere |= flow.observer == Observer::Server && flow.other_is_observed;
        self.side_mut(flow.observer).note(flow);
    }

    fn side_mut(&mut self, observer: Observer) -> &mut Side {
        match observer {
            Observer::Client => &mut self.client,
            Observer::Server => &mut self.server,
        }
    }

    fn other_side(&self, observer: Observer) -> &Side {
        match observer {
            Observer::Client => &self.server,
            Observer::Server => &self.client,
        }
    }
}

/// Puts together what both ends' records say of the server: who it is by its own, and the service that the client asked for if that
/// tells none, for it may answer for several.
///
/// Where it is, too, is what its own record says, unless both name the same one: then it is what was asked for, which is all that
/// can be said of connections whose client is on another node, and whoever adds up by port must find both in one place.
fn described(own: Endpoint, asked: &Endpoint) -> Endpoint {
    let mut server = match (&own.entity, &asked.entity) {
        (Some(it), Some(same)) if it.is_named_as(same) => Endpoint { entity: own.entity, ..asked.clone() },
        _ => own,
    };
    let service = asked.entity.as_deref().and_then(|it| it.attribute(&Attribute::Service));
    if let (Some(service), Some(entity)) = (service, &mut server.entity)
        && entity.attribute(&Attribute::Service).is_none()
    {
        Arc::make_mut(entity).set_attribute(Attribute::Service, Arc::clone(service));
    }
    server
}

impl Decision {
    fn owner(&self) -> Observer {
        match self {
            Self::Paired { .. } => Observer::Client,
            Self::Alone(observer) => *observer,
        }
    }
}

impl Side {
    /// Returns whether the counts are those of the whole connection. Of an end that nobody was told how it ended the last bytes may be
    /// missing.
    fn is_whole(&self) -> bool {
        self.complete && !is_unknown(self.end)
    }

    fn note(&mut self, flow: &Flow) {
        self.seen = true;
        self.complete |= flow.begin == Some(Begin::Opened) || flow.before.is_some();
        let Before { request, response } = flow.before.unwrap_or_default();
        self.end = self.end.or(flow.end);
        self.request_bytes = self.request_bytes.saturating_add(request).saturating_add(flow.request.bytes);
        self.response_bytes =
            self.response_bytes.saturating_add(response).saturating_add(flow.response.bytes);
    }
}
