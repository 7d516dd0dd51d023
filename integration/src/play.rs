//! A case that is being played, and what its peers must have done.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};

use crate::{
    case::{Case, Fault, Outcome},
    edges::{Edge, Edges, Interest, Name, Totals},
    kernel,
    moment::{Latitude, Moment},
    peer::Peer,
    plan::{Ending, Plan, Report, Side, Sockets},
    poll,
    world::{Route, World},
};

/// How long it may take until something moves on a connection whose peer is to be killed.
const MOVING: Duration = Duration::from_secs(10);

/// How long the last segment of a connection may be on its way after both ends have closed it, on a busy machine.
const LAST_SEGMENT: Duration = Duration::from_millis(200);

/// A case that is being played.
#[derive(Debug)]
pub struct Play<'a> {
    case: &'a Case,
    world: &'a World,
    route: Route,
    client_name: String,
    server_name: String,
    proxy_name: String,
    client: Option<Peer>,
    server: Option<Peer>,
    proxy: Option<Peer>,
}

impl<'a> Play<'a> {
    /// Starts the server, if the case has one.
    pub(crate) fn listen(
        case: &'a Case,
        world: &'a World,
        route: Route,
        number: u16,
    ) -> anyhow::Result<Self> {
        let named = |letter| format!("{letter}{number}-{}", std::process::id());
        let mut play = Self {
            case,
            world,
            route,
            client_name: named('c'),
            server_name: named('s'),
            proxy_name: named('p'),
            client: None,
            server: None,
            proxy: None,
        };
        if !matches!(case.outcome, Outcome::Fails(_)) {
            let plan = play.plan(&play.server_name, Side::Server, route.listen)?;
            let server = play.server.insert(Peer::start(world, route.server, &plan)?);
            server.ready()?;
        }
        if let Some(namespace) = route.proxy {
            let mut plan = play.plan(&play.proxy_name, Side::Server, route.dial)?;
            plan.onward = Some(route.listen);
            play.proxy.insert(Peer::start(world, namespace, &plan)?).ready()?;
        }
        Ok(play)
    }

    /// Starts the client.
    ///
    /// # Errors
    ///
    /// The peer cannot be run.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        let plan = self.plan(&self.client_name, Side::Client, self.route.dial)?;
        let client = self.client.insert(Peer::start(self.world, self.route.client, &plan)?);
        client.ready()
    }

    /// Waits until all connections hold, and returns the truth about them.
    ///
    /// # Errors
    ///
    /// A peer fails, or the peers contradict each other.
    pub fn holding(&mut self) -> anyhow::Result<Moment> {
        self.moment(Peer::holding)
    }

    /// Lets the connections go on.
    ///
    /// # Errors
    ///
    /// A peer is gone.
    pub fn go(&mut self) -> anyhow::Result<()> {
        if self.case.fault == Fault::Silence {
            self.world.drop_arrivals(&self.route)?;
        }
        if let Some(server) = &mut self.server {
            server.go()?;
        }
        self.client()?.go()
    }

    /// Goes on after the first hold to the end. `judge` is called whenever all connections hold, and at the end.
    ///
    /// # Errors
    ///
    /// The peers or the judge fail, or the peers contradict each other.
    pub fn go_on(&mut self, judge: &mut dyn FnMut(&Moment) -> anyhow::Result<()>) -> anyhow::Result<Moment> {
        for nth in 2..=self.case.traffic.n_holds() {
            self.go()?;
            let moment = self.holding()?;
            judge(&moment).with_context(|| format!("at hold {nth}, with the connections open"))?;
        }
        self.go()?;
        self.finish(judge)
    }

    /// Returns what is played.
    pub fn case(&self) -> &Case {
        self.case
    }

    pub(crate) fn finish(
        &mut self,
        judge: &mut dyn FnMut(&Moment) -> anyhow::Result<()>,
    ) -> anyhow::Result<Moment> {
        if self.case.traffic.sockets == Sockets::NeverAccepted {
            self.server()?.stop()?;
        }
        if let Outcome::Aborted(side) = self.case.outcome {
            self.world.abort_connections(&self.route, side)?;
        }
        let moment = match self.case.victim {
            Some(victim) => self.kill(victim)?,
            None if self.case.outcome == Outcome::Timeout => self.stop()?,
            None => self.done()?,
        };
        judge(&moment).context("after the end of all connections")?;
        Ok(moment)
    }

    /// Waits until everything is over, and returns the truth about it.
    ///
    /// # Errors
    ///
    /// A peer fails, or the peers contradict each other.
    pub fn done(&mut self) -> anyhow::Result<Moment> {
        self.moment(Peer::done)
    }

    /// Ends endless traffic, and returns the truth about it.
    ///
    /// # Errors
    ///
    /// A peer fails, or the peers contradict each other.
    pub fn stop(&mut self) -> anyhow::Result<Moment> {
        // Who waits for an answer ends by itself.
        if self.case.outcome != Outcome::Timeout {
            self.client()?.stop()?;
        }
        let client = self.client()?.done()?;
        // Only now: until then the server accepts what the client has begun.
        self.server()?.stop()?;
        let server = self.server()?.done()?;
        self.truth(client, Some(server))
    }

    /// Asks the client what it has done so far.
    ///
    /// # Errors
    ///
    /// The client fails.
    pub fn report(&mut self) -> anyhow::Result<Report> {
        self.client()?.report()
    }

    /// Returns which edges belong to this case.
    pub fn interest(&self) -> Interest {
        let proxy = self.route.proxy.map(|_| &self.proxy_name);
        let names = [&self.client_name, &self.server_name].into_iter().chain(proxy);
        Interest {
            names: names.map(|it| self.case.home.name(it).name).collect(),
            ports: vec![self.route.dial.port(), self.route.listen.port()],
            ..Interest::default()
        }
    }

    /// Kills both peers where they hold, and returns the truth about it: the kernel says goodbye for them.
    ///
    /// # Errors
    ///
    /// The peers cannot be waited for.
    pub fn abandon(mut self, held: &Moment) -> anyhow::Result<Moment> {
        let mut moment = held.clone();
        self.client()?.kill()?;
        self.server()?.kill()?;
        let totals = moment.edges.0.values_mut().next().expect("a case has an edge");
        let n_open = std::mem::take(&mut totals.active);
        totals.lifetimes += n_open;
        *totals.closed.entry("normal".to_owned()).or_default() += n_open;
        Ok(moment)
    }

    fn kill(&mut self, victim: Side) -> anyhow::Result<Moment> {
        let is_one = self.case.traffic.connections == Some(1) && self.route.proxy.is_none();
        ensure!(is_one, "bounds hold for one connection");
        let at_first = self.server()?.report()?;
        let server = poll::until(MOVING, || {
            let server = self.server()?.report()?;
            ensure!(server.read > at_first.read, "nothing arrives at the server: {server:?}");
            Ok(server)
        })?;
        // What the client has read arrived there. Some of it was written after the server had told what it had read, and so
        // acknowledged that as well.
        let client = poll::until(MOVING, || {
            let client = self.client()?.report()?;
            ensure!(client.read > server.wrote, "nothing arrives at the client: {client:?}");
            Ok(client)
        })?;
        let least = (server.read, client.read);
        let connecting = Duration::from_nanos(client.connecting);
        match victim {
            Side::Client => self.client()?.kill()?,
            Side::Server => self.server()?.kill()?,
        }
        let (most, opened) = match victim {
            // What the client's kernel knew to have arrived, and what arrived there without being read.
            Side::Client => {
                let server = self.server()?.done()?;
                ((server.read, server.wrote), server.opened)
            }
            Side::Server => {
                let client = self.client()?.done()?;
                ((client.wrote, client.read), client.opened)
            }
        };
        let reasons = match victim {
            Side::Client => ["client_reset", "normal"],
            Side::Server => ["server_reset", "normal"],
        };
        let totals = Totals {
            request: most.0,
            response: most.1,
            opened,
            closed: BTreeMap::from([(reasons[0].to_owned(), opened)]),
            handshakes: opened,
            accepts: opened,
            lifetimes: opened,
            ..Totals::default()
        };
        Ok(Moment {
            route: self.route,
            interest: self.interest(),
            edges: Edges(BTreeMap::from([(self.edge(), totals)])),
            connecting,
            lifetimes: None,
            latitude: Some(Latitude { request: least.0, response: least.1, reasons }),
        })
    }

    /// When one peer fails, the other mostly fails for that reason: both say what they know.
    fn moment(&mut self, ask: fn(&mut Peer) -> anyhow::Result<Report>) -> anyhow::Result<Moment> {
        let client = ask(self.client()?);
        if self.case.traffic.sockets == Sockets::NeverAccepted {
            // The server knows of nothing.
            return self.truth(client?, None);
        }
        if client.is_err() {
            self.server.iter_mut().for_each(Peer::hurry);
        }
        let server = self.server.as_mut().map(ask).transpose();
        match (client, server) {
            (Ok(client), Ok(server)) => self.truth(client, server),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
            (Err(client), Err(server)) => Err(client.context(format!("{server:#}"))),
        }
    }

    fn truth(&self, client: Report, server: Option<Report>) -> anyhow::Result<Moment> {
        let connecting = Duration::from_nanos(client.connecting);
        let lifetimes = server.as_ref().and_then(|server| self.lifetimes(&client, server));
        let (edge, totals) = match (self.case.outcome, server) {
            (Outcome::Fails(reason), None) => self.failure(reason, &client)?,
            (Outcome::Timeout, Some(server)) => self.timeouts(&client, &server)?,
            (outcome, Some(server)) => self.connections(outcome, &client, &server)?,
            // What is never accepted has no payload, so that the client knows all there is.
            (outcome, None) => {
                let server = Report { ended: BTreeMap::new(), ..client.clone() };
                self.connections(outcome, &client, &server)?
            }
        };
        let edges = match self.route.proxy {
            None => BTreeMap::from([(edge, totals)]),
            Some(_) => self.legs(edge).map(|leg| (leg, totals.clone())).into(),
        };
        Ok(Moment {
            route: self.route,
            interest: self.interest(),
            edges: Edges(edges),
            connecting,
            lifetimes,
            latitude: None,
        })
    }

    fn plan(&self, name: &str, side: Side, address: SocketAddr) -> anyhow::Result<Plan> {
        Ok(Plan {
            name: name.to_owned(),
            control_group: Some(self.case.home.control_group(self.world, side, name)?),
            side,
            address,
            onward: None,
            traffic: self.case.traffic.clone(),
        })
    }

    fn client(&mut self) -> anyhow::Result<&mut Peer> {
        self.client.as_mut().context("the client has not been started")
    }

    fn server(&mut self) -> anyhow::Result<&mut Peer> {
        self.server.as_mut().context("the case has no server")
    }

    fn failure(&self, reason: &str, client: &Report) -> anyhow::Result<(Edge, Totals)> {
        let all = |reason: &str| {
            BTreeMap::from([(reason.to_owned(), self.case.traffic.connections.unwrap_or_default())])
        };
        let is_called_refusal = self.case.fault == Fault::RefusalsCrossed && kernel::release()? >= (7, 3);
        let expected = all(if is_called_refusal { "refused" } else { reason });
        ensure!(
            client.failed == expected,
            "the attempts failed with {:?}, expected {expected:?}",
            client.failed
        );
        let address = self.route.dial.ip().to_canonical().to_string();
        let edge = Edge {
            client: self.case.home.name(&self.client_name),
            server: Name { name: address, kind: "external".to_owned(), ..Name::default() },
            port: self.route.dial.port(),
            observer: "client".to_owned(),
        };
        Ok((edge, Totals { failed: expected, ..Totals::default() }))
    }

    /// What was sent in vain is no payload of the connection: it never arrived.
    fn timeouts(&self, client: &Report, server: &Report) -> anyhow::Result<(Edge, Totals)> {
        agree("connections", client.opened, server.opened)?;
        agree("response bytes", client.read, server.wrote)?;
        let n_timed_out = client.ended.get(&Ending::TimedOut).copied().unwrap_or_default();
        let closed = client.opened - client.open;
        ensure!(n_timed_out == closed, "{n_timed_out} timeouts, expected {closed} ({:?})", client.ended);
        let totals = Totals {
            request: server.read,
            response: server.wrote,
            opened: client.opened,
            closed: (closed > 0).then(|| ("timeout".to_owned(), closed)).into_iter().collect(),
            active: client.open,
            handshakes: client.opened,
            accepts: client.opened,
            lifetimes: closed,
            ..Totals::default()
        };
        Ok((self.edge(), totals))
    }

    fn connections(
        &self,
        outcome: Outcome,
        client: &Report,
        server: &Report,
    ) -> anyhow::Result<(Edge, Totals)> {
        agree("connections", client.opened, server.opened)?;
        agree("request bytes", client.wrote, server.read + server.unread)?;
        agree("response bytes", client.read + client.unread, server.wrote)?;
        ensure!(client.failed.is_empty(), "attempts failed: {:?}", client.failed);
        let closed = client.opened - client.open;
        agree("closed connections", closed, server.opened - server.open)?;
        let (reason, client_was_reset, server_was_reset) = match outcome {
            Outcome::Normal => ("normal", 0, 0),
            Outcome::ClientReset => ("client_reset", 0, closed),
            // The client hears of a reset, and not why.
            Outcome::ServerReset | Outcome::Aborted(Side::Server) => ("server_reset", closed, 0),
            Outcome::Aborted(Side::Client) => ("aborted", 0, closed),
            Outcome::Timeout | Outcome::Fails(_) => unreachable!("they are judged by other rules"),
        };
        let aborts = |side| if outcome == Outcome::Aborted(side) { closed } else { 0 };
        for (report, ending, what, expected) in [
            (client, Ending::PeerReset, "resets", client_was_reset),
            (server, Ending::PeerReset, "resets", server_was_reset),
            (client, Ending::Aborted, "aborts", aborts(Side::Client)),
            (server, Ending::Aborted, "aborts", aborts(Side::Server)),
        ] {
            let found = report.ended.get(&ending).copied().unwrap_or_default();
            ensure!(found == expected, "a peer saw {found} {what}, expected {expected} ({:?})", report.ended);
        }
        let closed_by_reason = (closed > 0).then(|| (reason.to_owned(), closed));
        let totals = Totals {
            request: client.wrote,
            response: server.wrote,
            opened: client.opened,
            closed: closed_by_reason.into_iter().collect(),
            failed: BTreeMap::new(),
            active: client.open,
            handshakes: client.opened,
            accepts: client.opened,
            lifetimes: closed,
        };
        Ok((self.edge(), totals))
    }

    /// Returns the least and the most that the connections can have lived in all, as the client's kernel sees it: from its handshake,
    /// which is over when the client's call is, to the goodbye or the reset that ends the client's socket.
    fn lifetimes(&self, client: &Report, server: &Report) -> Option<(Duration, Duration)> {
        // What the client's kernel waits for is sent again if it gets lost, and a proxy closes at its leisure.
        if client.open > 0 || self.case.fault != Fault::None || self.route.proxy.is_some() {
            return None;
        }
        let first = match self.case.outcome {
            Outcome::Normal | Outcome::ClientReset => client.closing_at,
            Outcome::ServerReset => server.closing_at,
            Outcome::Timeout | Outcome::Aborted(_) | Outcome::Fails(_) => return None,
        };
        // A server may have closed before the client hears that it is connected.
        let since_connected =
            |at: u64| at.wrapping_sub(client.connected_at).cast_signed().max(0).cast_unsigned();
        // On each connection of a script the same end is the last, unless both close at once.
        let last = since_connected(client.closed_at).max(since_connected(server.closed_at));
        let n = u32::try_from(client.opened).expect("no case has billions of connections");
        let most = Duration::from_nanos(last + client.connecting) + poll::patient(LAST_SEGMENT) * n;
        Some((Duration::from_nanos(since_connected(first)), most))
    }

    /// Returns the edge of established connections.
    fn edge(&self) -> Edge {
        Edge {
            client: self.case.home.name(&self.client_name),
            server: self.case.home.name(&self.server_name),
            // The port that the server listens on, also when the client knows another.
            port: self.route.listen.port(),
            observer: "client".to_owned(),
        }
    }

    /// Returns the two edges that a proxy makes of one, the client's first.
    fn legs(&self, edge: Edge) -> [Edge; 2] {
        let proxy = self.case.home.name(&self.proxy_name);
        let first = Edge { server: proxy.clone(), port: self.route.dial.port(), ..edge.clone() };
        [first, Edge { client: proxy, ..edge }]
    }
}

fn agree(what: &str, client: u64, server: u64) -> anyhow::Result<()> {
    ensure!(
        client == server,
        "the peers contradict each other: {client} {what} for the client, {server} for the server"
    );
    Ok(())
}
