//! A case: traffic as data, and the truth about it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    thread,
};

use anyhow::{Context, ensure};

use crate::{
    edges::{Edge, Edges, Interest, Name, Totals},
    peer::Peer,
    plan::{Ending, Plan, Report, Side, Step, Traffic},
    world::{Family, Path, Route, World},
};

/// Below the ports that the kernel gives to clients.
const FIRST_PORT: u16 = 20_000;

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
    /// How every connection must end.
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
        for nth in 1..=self.traffic.n_holds() {
            let moment = play.holding()?;
            judge(&moment).with_context(|| format!("at hold {nth}, with the connections open"))?;
            play.go()?;
        }
        let moment = play.done()?;
        judge(&moment).context("after the end of all connections")?;
        Ok(moment)
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
        let route = world.route(self.path, self.family, FIRST_PORT + 2 * number);
        if self.path == Path::Service {
            world.publish(&route)?;
        }
        match self.fault {
            Fault::None | Fault::NobodyListens => {}
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
        if let Some(server) = &mut self.server {
            server.go()?;
        }
        self.client()?.go()
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
        self.client()?.stop()?;
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

    /// When one peer fails, the other mostly fails for that reason: both say what they know.
    fn moment(&mut self, ask: fn(&mut Peer) -> anyhow::Result<Report>) -> anyhow::Result<Moment> {
        let client = ask(self.client()?);
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
            (outcome, Some(server)) => self.connections(outcome, &client, &server)?,
            (_, None) => unreachable!("a server is started for every case that connects"),
        };
        let edges = Edges(BTreeMap::from([(edge, totals)]));
        Ok(Moment { route: self.route, interest: self.interest(), edges })
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
            Outcome::Fails(_) => unreachable!("an attempt that fails has no server"),
        };
        for (report, expected) in [(client, client_was_reset), (server, server_was_reset)] {
            let resets = report.ended.get(&Ending::PeerReset).copied().unwrap_or_default();
            ensure!(
                resets == expected,
                "a peer saw {resets} resets, expected {expected} ({:?})",
                report.ended
            );
        }
        let edge = Edge {
            client: self.case.home.name(&self.client_name),
            server: self.case.home.name(&self.server_name),
            // The port that the server listens on, also when the client knows another.
            port: self.route.listen.port(),
            observer: "client".to_owned(),
        };
        let closed_by_reason = (closed > 0).then(|| (reason.to_owned(), closed));
        let totals = Totals {
            request: client.wrote,
            response: server.wrote,
            opened: client.opened,
            closed: closed_by_reason.into_iter().collect(),
            failed: BTreeMap::new(),
            active: client.open,
            handshakes: client.opened,
            lifetimes: closed,
        };
        Ok((edge, totals))
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
}

impl Moment {
    /// Returns the totals of the case's one edge.
    pub fn truth(&self) -> &Totals {
        self.edges.0.values().next().expect("a case has an edge")
    }
}

fn agree(what: &str, client: u64, server: u64) -> anyhow::Result<()> {
    ensure!(
        client == server,
        "the peers contradict each other: {client} {what} for the client, {server} for the server"
    );
    Ok(())
}
