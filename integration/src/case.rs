//! A case: traffic as data, and the truth about it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    edges::{Edge, Edges, Interest, Name, Totals},
    peer::Peer,
    plan::{Ending, Plan, Report, Side, Sockets, Step, Traffic},
    poll,
    world::{Family, Path, Route, World},
};

const FIRST_PORT: u16 = 20_000;
/// Cases that have ports of their own, below those that the kernel gives to clients.
const N_PORTS: u16 = 6000;
/// How long it may take until something moves on a connection whose peer is to be killed.
const MOVING: Duration = Duration::from_secs(10);

/// Connections of one kind between two processes, and how they must end.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence without its spaces.
    pub name: &'static str,
    /// How the packets travel.
    pub path: Path,
    /// Which addresses are used.
    pub family: Family,
    /// What stands in the way.
    pub fault: Fault,
    /// What the processes belong to.
    pub home: Home,
    /// What the peers do.
    pub traffic: Traffic,
    /// Which peer is killed (`SIGKILL`) in the midst of [`Step::UntilBroken`], its one connection's last step.
    pub victim: Option<Side>,
    /// How every connection must end. One whose peer was killed may also end normally, if nothing was under way.
    pub outcome: Outcome,
}

/// What stands in the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody listens.
    NobodyListens,
    /// The server's side drops everything.
    ArrivalsDropped,
    /// Both sides lose some packets.
    Loss,
    /// From the first hold on the server's side drops everything.
    Silence,
}

/// What the two processes of a case belong to, which decides how they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing: they are named by command.
    Host,
    /// A service unit of systemd each.
    Unit,
    /// A container each.
    Container,
    /// A container of a Kubernetes pod each, whose control group has the longest name that is in use.
    Pod,
}

/// How every connection of a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both ends say goodbye.
    Normal,
    /// The client resets.
    ClientReset,
    /// The server resets.
    ServerReset,
    /// The client gives up what is not answered.
    Timeout,
    /// It is never established, for this reason.
    Fails(&'static str),
}

impl Case {
    /// Makes a case of one IPv4 connection between two nodes that follows a script and ends normally.
    pub fn new(name: &'static str, script: impl Into<Vec<Step>>) -> Self {
        Self {
            name,
            path: Path::TwoNodes,
            family: Family::Ipv4,
            fault: Fault::None,
            home: Home::Host,
            traffic: Traffic { script: script.into(), ..Traffic::default() },
            victim: None,
            outcome: Outcome::Normal,
        }
    }

    /// Plays the case to its end. `judge` is called whenever all connections hold, and at the end.
    ///
    /// # Errors
    ///
    /// The peers or the judge fail, or the peers contradict each other.
    pub fn play(
        &self,
        world: &World,
        judge: &mut dyn FnMut(&Moment) -> anyhow::Result<()>,
    ) -> anyhow::Result<Moment> {
        let mut play = self.start(world)?;
        if self.traffic.n_holds() == 0 {
            return play.finish(judge);
        }
        let moment = play.holding()?;
        judge(&moment).context("at hold 1, with the connections open")?;
        play.go_on(judge)
    }

    /// Starts both peers.
    ///
    /// # Errors
    ///
    /// A peer or a tool cannot be run.
    pub fn start<'a>(&'a self, world: &'a World) -> anyhow::Result<Play<'a>> {
        let mut play = self.listen(world)?;
        play.connect()?;
        Ok(play)
    }

    /// Starts the server alone; [`Play::connect`] adds the client.
    ///
    /// # Errors
    ///
    /// A peer or a tool cannot be run.
    pub fn listen<'a>(&'a self, world: &'a World) -> anyhow::Result<Play<'a>> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let route = world.route(self.path, self.family, FIRST_PORT + 2 * (number % N_PORTS));
        if self.path == Path::Service {
            world.publish(&route)?;
        }
        match self.fault {
            Fault::None | Fault::NobodyListens | Fault::Silence => {}
            Fault::ArrivalsDropped => world.drop_arrivals(&route)?,
            Fault::Loss => world.lose_some(&route)?,
        }
        let named = |letter| format!("{letter}{number}-{}", std::process::id());
        let (client_name, server_name) = (named('c'), named('s'));
        let mut play =
            Play { case: self, world, route, client_name, server_name, client: None, server: None };
        if !matches!(self.outcome, Outcome::Fails(_)) {
            let plan = play.plan(Side::Server)?;
            let server = play.server.insert(Peer::start(world, route.server, &plan)?);
            server.ready()?;
        }
        Ok(play)
    }
}

/// Plays cases side by side. `judge` is called for each as by [`Case::play`].
///
/// # Errors
///
/// The first of them that failed.
pub fn play_all(
    cases: &[Case],
    world: &World,
    judge: impl Fn(&Moment) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Vec<Moment>> {
    thread::scope(|scope| {
        let play = |case: &Case| case.play(world, &mut |moment| judge(moment)).with_context(|| case.name);
        let playing: Vec<_> = cases.iter().map(|case| scope.spawn(move || play(case))).collect();
        playing.into_iter().map(|it| it.join().expect("a case does not panic")).collect()
    })
}

impl Home {
    fn control_group(self, world: &World, process: &str) -> anyhow::Result<PathBuf> {
        match self {
            Self::Host => world.control_group(process),
            Self::Unit => world.control_group(&format!("system.slice/{}", unit(process))),
            Self::Container => {
                world.control_group(&format!("system.slice/docker-{}.scope", container(process)))
            }
            Self::Pod => world.control_group(&format!(
                "system.slice/containerd.service/kubepods-besteffort-pod{POD}.slice:cri-containerd:{}",
                container(process)
            )),
        }
    }

    fn name(self, process: &str) -> Name {
        match self {
            Self::Host => Name { name: process.to_owned(), namespace: None, kind: "Process".to_owned() },
            Self::Unit => Name { name: unit(process), namespace: None, kind: "Unit".to_owned() },
            Self::Container | Self::Pod => Name {
                name: process.to_owned(),
                namespace: Some(container(process)[..12].to_owned()),
                kind: "Container".to_owned(),
            },
        }
    }
}

/// A pod's uid as it stands in the name of its control group.
const POD: &str = "12345678_1234_1234_1234_123456789abc";

fn unit(process: &str) -> String {
    format!("{process}.service")
}

/// Makes up a container id: 64 hexadecimal digits that differ from process to process in the first twelve.
fn container(process: &str) -> String {
    let digits: String = process.bytes().map(|byte| format!("{:x}", byte & 0xf)).collect();
    format!("{digits:0<64}")
}

/// A case that is being played.
#[derive(Debug)]
pub struct Play<'a> {
    case: &'a Case,
    world: &'a World,
    route: Route,
    client_name: String,
    server_name: String,
    client: Option<Peer>,
    server: Option<Peer>,
}

impl Play<'_> {
    /// Starts the client.
    ///
    /// # Errors
    ///
    /// The peer cannot be run.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        let plan = self.plan(Side::Client)?;
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

    fn finish(&mut self, judge: &mut dyn FnMut(&Moment) -> anyhow::Result<()>) -> anyhow::Result<Moment> {
        if self.case.traffic.sockets == Sockets::NeverAccepted {
            self.server()?.stop()?;
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
        Interest {
            names: [&self.client_name, &self.server_name].map(|it| self.case.home.name(it).name).into(),
            ports: vec![self.route.dial.port(), self.route.listen.port()],
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
        ensure!(self.case.traffic.connections == Some(1), "bounds hold for one connection");
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
        let edges = Edges(BTreeMap::from([(edge, totals)]));
        Ok(Moment { route: self.route, interest: self.interest(), edges, latitude: None })
    }

    fn plan(&self, side: Side) -> anyhow::Result<Plan> {
        let Self { case, world, route, client_name, server_name, client: _, server: _ } = self;
        let (name, address) = match side {
            Side::Client => (client_name, route.dial),
            Side::Server => (server_name, route.listen),
        };
        Ok(Plan {
            name: name.clone(),
            control_group: case.home.control_group(world, name)?,
            side,
            address,
            traffic: case.traffic.clone(),
        })
    }

    fn client(&mut self) -> anyhow::Result<&mut Peer> {
        self.client.as_mut().context("the client has not been started")
    }

    fn server(&mut self) -> anyhow::Result<&mut Peer> {
        self.server.as_mut().context("the case has no server")
    }

    fn failure(&self, reason: &str, client: &Report) -> anyhow::Result<(Edge, Totals)> {
        let expected =
            BTreeMap::from([(reason.to_owned(), self.case.traffic.connections.unwrap_or_default())]);
        ensure!(
            client.failed == expected,
            "the attempts failed with {:?}, expected {expected:?}",
            client.failed
        );
        let address = self.route.dial.ip().to_canonical().to_string();
        let edge = Edge {
            client: self.case.home.name(&self.client_name),
            server: Name { name: address, namespace: None, kind: "external".to_owned() },
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
            Outcome::ServerReset => ("server_reset", closed, 0),
            Outcome::Timeout | Outcome::Fails(_) => unreachable!("they are judged by other rules"),
        };
        for (report, expected) in [(client, client_was_reset), (server, server_was_reset)] {
            let resets = report.ended.get(&Ending::PeerReset).copied().unwrap_or_default();
            ensure!(
                resets == expected,
                "a peer saw {resets} resets, expected {expected} ({:?})",
                report.ended
            );
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
}

/// What is true at a moment when nothing moves.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Where the peers are.
    pub route: Route,
    /// Which edges belong to the case.
    pub interest: Interest,
    /// Those edges with what a correct observer has counted since before the first connection.
    pub edges: Edges,
    /// What the peers cannot know to the byte.
    pub latitude: Option<Latitude>,
}

/// Of a connection whose peer was killed only the kernel knows what was under way: the [`Moment`] has the most, this the
/// least that can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latitude {
    /// Bytes from client to server.
    pub request: u64,
    /// Bytes from server to client.
    pub response: u64,
    /// How the connection may end.
    pub reasons: [&'static str; 2],
}

impl Moment {
    /// Returns the totals of the case's one edge.
    pub fn truth(&self) -> &Totals {
        self.edges.0.values().next().expect("a case has an edge")
    }

    /// Returns what an observer that began at an earlier moment must have counted.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.truth();
        let latitude = self.latitude.map(|it| Latitude {
            request: it.request - before.request,
            response: it.response - before.response,
            ..it
        });
        Self { edges: self.edges.since(&earlier.edges), latitude, ..self.clone() }
    }

    /// Compares what was found with what must be.
    ///
    /// # Errors
    ///
    /// Says for each edge what is missing, unexpected, or different.
    pub fn compare(&self, found: &Edges) -> anyhow::Result<()> {
        let Some(latitude) = self.latitude else { return self.edges.compare(found) };
        let mut nearest = self.edges.clone();
        for (edge, totals) in &mut nearest.0 {
            let Some(found) = found.0.get(edge) else { continue };
            totals.request = found.request.clamp(latitude.request, totals.request);
            totals.response = found.response.clamp(latitude.response, totals.response);
            if latitude.reasons.iter().any(|it| found.closed.keys().eq([it])) {
                let n = totals.closed.values().sum();
                totals.closed = found.closed.keys().map(|reason| (reason.clone(), n)).collect();
            }
        }
        nearest.compare(found)
    }
}

fn agree(what: &str, client: u64, server: u64) -> anyhow::Result<()> {
    ensure!(
        client == server,
        "the peers contradict each other: {client} {what} for the client, {server} for the server"
    );
    Ok(())
}
