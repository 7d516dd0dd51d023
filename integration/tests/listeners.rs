//! What servers drop before there is a connection, and how long their queues are: the agent says what the kernel does, of the
//! socket and of the namespace that it is alone in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use integration::{
    Agent, World,
    agent::{LIVE, Rights},
    edges::{Edge, Edges, Interest, Name, Totals, as_count},
    exposition::Exposition,
    kernel::{self, Listening},
    peer::Peer,
    plan::{Plan, Report, Side, Sockets, Step, Traffic},
    poll,
    world::{Family, Namespace, Path, Route},
};

/// Once as each user whom the agent may run as, over each family.
const RUNS: [(Rights, Family); 2] = [(Rights::All, Family::Ipv4), (Rights::TwoCapabilities, Family::Ipv6)];

/// How long the agent may take to say what is true.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than its interval a sample may come.
const LATE: Duration = Duration::from_millis(500);
/// How long it must go on saying so: some intervals of the agent's.
const CALM: Duration = Duration::from_millis(800);

/// A server that accepts nothing has room for one connection more than it asked for. Every further attempt is dropped and
/// tried again until it times out, and each drop counts once.
#[test]
fn what_a_full_queue_drops_is_told() -> anyhow::Result<()> {
    for (rights, family) in RUNS {
        overfill(rights, family).with_context(|| format!("{rights:?} {family:?}"))?;
    }
    Ok(())
}

fn overfill(rights: Rights, family: Family) -> anyhow::Result<()> {
    const BACKLOG: u32 = 4;
    const FIT: u64 = 5;
    const REFUSED: u64 = 3;
    let lab = Lab::new(rights, family, 20_000)?;
    let mut server = lab.start(
        "s",
        Side::Server,
        Traffic { sockets: Sockets::NeverAccepted, backlog: Some(BACKLOG), ..Traffic::default() },
    )?;
    let all_at_once = |n, script| Traffic { connections: Some(n), parallel: n, script, ..Traffic::default() };
    let mut waiting = lab.start("c", Side::Client, all_at_once(FIT, vec![Step::Hold]))?;
    waiting.holding()?;
    let waits = Totals { opened: FIT, active: FIT, handshakes: FIT, accepts: FIT, ..Totals::default() };
    let link = lab.link("c", "s");
    lab.expect(Listening { drops: 0, queued: FIT, limit: BACKLOG.into() }, &[(link.clone(), waits.clone())])?;

    let in_vain = Traffic { unanswered_ms: Some(1500), ..all_at_once(REFUSED, Vec::new()) };
    let report = lab.start("d", Side::Client, in_vain)?.done()?;
    let failed = BTreeMap::from([("timeout".to_owned(), REFUSED)]);
    ensure!(report.failed == failed, "there was room for another connection: {report:?}");
    let [drops, overflows] = ["ListenDrops", "ListenOverflows"]
        .map(|it| kernel::further_counter(&lab.world, lab.route.server, it));
    let (drops, overflows) = (drops?, overflows?);
    ensure!(
        drops >= REFUSED && overflows == drops,
        "{overflows} of {drops} drops because the queue was full"
    );
    let attempts = (lab.attempt("d"), Totals { failed, ..Totals::default() });
    lab.expect(
        Listening { drops, queued: FIT, limit: BACKLOG.into() },
        &[(link.clone(), waits.clone()), attempts.clone()],
    )?;

    // It resets what waited. What is said of its queue must not outlive it, what it dropped was dropped.
    server.kill()?;
    let over = Totals {
        active: 0,
        closed: BTreeMap::from([("server_reset".to_owned(), FIT)]),
        lifetimes: FIT,
        ..waits
    };
    lab.expect_exposed(Listening { drops, queued: 0, limit: 0 }, &[(link, over), attempts])?;
    let n_sent = kernel::further_counter(&lab.world, lab.route.server, "SyncookiesSent")?;
    ensure!((n_sent, lab.cookie_seconds()?) == (0, 0.0), "{n_sent} cookies were sent");
    lab.agent.stop().map(drop)
}

/// Half-open attempts fill the queue, until the kernel answers by cookies and remembers nothing of them. Whoever then connects
/// is counted like everybody else, and those that never did are no connections.
#[test]
fn connections_in_a_flood_are_counted() -> anyhow::Result<()> {
    for (rights, family) in RUNS {
        flood(rights, family).with_context(|| format!("{rights:?} {family:?}"))?;
    }
    Ok(())
}

fn flood(rights: Rights, family: Family) -> anyhow::Result<()> {
    const BACKLOG: u32 = 32;
    const FLOOD: u64 = 400;
    const N: u64 = 20;
    let lab = Lab::new(rights, family, 20_010)?;
    lab.world.run_in(lab.route.server, "sysctl", &["-q", "-w", "net.ipv4.tcp_syncookies=1"])?;
    let talk = Traffic {
        connections: Some(N),
        parallel: N,
        script: vec![Step::Exchange { request: 300, response: 700 }, Step::Hold],
        ..Traffic::default()
    };
    let mut server = lab.start("s", Side::Server, Traffic { backlog: Some(BACKLOG), ..talk.clone() })?;
    lab.world.drop_answers(&lab.route)?;
    let silent =
        Traffic { connections: Some(FLOOD), parallel: 100, cancel_after_ms: Some(100), ..Traffic::default() };
    let begin = Instant::now();
    let report = lab.start("f", Side::Client, silent)?.done()?;
    let failed = BTreeMap::from([("canceled".to_owned(), FLOOD)]);
    ensure!(report.failed == failed, "something was answered: {report:?}");

    let mut client = lab.start_at(Namespace::Neighbor, "g", Side::Client, lab.route.dial, talk)?;
    client.holding()?;
    server.holding()?;
    let flooded = begin.elapsed();
    let n_cookies = kernel::further_counter(&lab.world, lab.route.server, "SyncookiesRecv")?;
    let Listening { drops, .. } = lab.listening()?;
    ensure!((1..=N).contains(&n_cookies), "{n_cookies} of {N} connections were made by cookies");
    let open = Totals {
        request: 300 * N,
        response: 700 * N,
        opened: N,
        active: N,
        handshakes: N,
        // A cookie keeps no time, but the segments that carry it do.
        accepts: N,
        ..Totals::default()
    };
    let attempts = (lab.attempt("f"), Totals { failed, ..Totals::default() });
    let link = lab.link("g", "s");
    lab.expect(
        Listening { drops, queued: 0, limit: BACKLOG.into() },
        &[(link.clone(), open.clone()), attempts.clone()],
    )?;
    client.go()?;
    server.go()?;
    for report in [client.done()?, server.done()?] {
        let Report { opened, open, .. } = report;
        ensure!((opened, open) == (N, 0), "{opened} connections were opened and {open} are left");
    }
    let closed = BTreeMap::from([("normal".to_owned(), N)]);
    let over = Totals { active: 0, closed, lifetimes: N, ..open };
    lab.expect_exposed(Listening { drops, queued: 0, limit: 0 }, &[(link, over), attempts])?;
    let n_sent = kernel::further_counter(&lab.world, lab.route.server, "SyncookiesSent")?;
    let seconds = lab.cookie_seconds()?;
    // The kernel notes a cookie once a second, and what it notes last stands for another; a sample that is late may add more.
    let most = flooded + Duration::from_secs(1) + poll::patient(LATE);
    ensure!(
        (1.0..=most.as_secs_f64()).contains(&seconds),
        "{n_sent} cookies in {seconds} s, of {flooded:?} in which there can have been any"
    );
    lab.agent.stop().map(drop)
}

/// A network in which nothing else listens, and an agent. Ports tell the tests' peers apart, of which all agents know.
struct Lab {
    world: World,
    agent: Agent,
    route: Route,
}

impl Lab {
    fn new(rights: Rights, family: Family, port: u16) -> anyhow::Result<Self> {
        let world = World::new()?;
        let agent = Agent::start_as(rights, LIVE, &[])?;
        let route = world.route(Path::TwoNodes, family, port);
        let lab = Self { world, agent, route };
        for namespace in [route.client, Namespace::Neighbor] {
            lab.acquaint(namespace)?;
        }
        Ok(lab)
    }

    /// Has a namespace connect to the server's once: the first packets may take a second, until everyone on the way knows whose
    /// address is whose, and a socket counts what is sent again meanwhile as dropped.
    fn acquaint(&self, namespace: Namespace) -> anyhow::Result<()> {
        let mut route = self.route;
        route.dial.set_port(self.port() + 1);
        route.listen.set_port(self.port() + 1);
        let one = Traffic::default;
        let mut server = self.start_at(route.server, "w", Side::Server, route.listen, one())?;
        let mut client = self.start_at(namespace, "v", Side::Client, route.dial, one())?;
        client.done()?;
        server.done().map(drop)
    }

    fn start(&self, letter: &str, side: Side, traffic: Traffic) -> anyhow::Result<Peer> {
        let Route { dial, listen, client, server, .. } = self.route;
        let (namespace, address) = match side {
            Side::Client => (client, dial),
            Side::Server => (server, listen),
        };
        self.start_at(namespace, letter, side, address, traffic)
    }

    fn start_at(
        &self,
        namespace: Namespace,
        letter: &str,
        side: Side,
        address: SocketAddr,
        traffic: Traffic,
    ) -> anyhow::Result<Peer> {
        let name = self.name(letter);
        let control_group = Some(self.world.control_group(&name)?);
        let mut peer = Peer::start(
            &self.world,
            namespace,
            &Plan { name, control_group, side, address, onward: None, traffic },
        )?;
        peer.ready()?;
        Ok(peer)
    }

    fn port(&self) -> u16 {
        self.route.listen.port()
    }

    fn name(&self, letter: &str) -> String {
        format!("{letter}{}-{}", self.port(), std::process::id())
    }

    /// Returns the edge of connections between two peers.
    fn link(&self, client: &str, server: &str) -> Edge {
        self.edge(client, Name { name: self.name(server), kind: "Process".to_owned(), ..Name::default() })
    }

    /// Returns the edge of attempts that failed: whose the other end is does not show.
    fn attempt(&self, client: &str) -> Edge {
        let name = self.route.dial.ip().to_canonical().to_string();
        self.edge(client, Name { name, kind: "external".to_owned(), ..Name::default() })
    }

    fn edge(&self, client: &str, server: Name) -> Edge {
        let client = Name { name: self.name(client), kind: "Process".to_owned(), ..Name::default() };
        Edge { client, server, port: self.port(), observer: "client".to_owned() }
    }

    /// Asks the kernel.
    fn listening(&self) -> anyhow::Result<Listening> {
        kernel::listening(&self.world, self.route.server, self.port())
    }

    /// Expects that the kernel and the agent agree on the socket that listens, and that these are all edges at its port.
    fn expect(&self, listening: Listening, edges: &[(Edge, Totals)]) -> anyhow::Result<()> {
        let found = self.listening()?;
        ensure!(found == listening, "the kernel says {found:?}, expected {listening:?}");
        self.expect_exposed(listening, edges)
    }

    fn expect_exposed(&self, listening: Listening, edges: &[(Edge, Totals)]) -> anyhow::Result<()> {
        let edges = Edges(edges.iter().cloned().collect());
        let interest = Interest { names: Vec::new(), ports: vec![self.port()], ..Interest::default() };
        poll::until_lasting(PATIENCE, CALM, || {
            let scrape = self.agent.scrape()?;
            let found = self.exposed(&scrape)?;
            ensure!(found == listening, "the agent says {found:?}, expected {listening:?}");
            edges.compare(&Edges::of(&scrape, &interest)?)
        })
        .with_context(|| format!("the agent logged:\n{}", self.agent.log()))
    }

    /// Returns for how long the agent says that the server has answered by cookies.
    fn cookie_seconds(&self) -> anyhow::Result<f64> {
        self.value(&self.agent.scrape()?, "syn_cookies_time_seconds_total")
    }

    /// Reads what is exposed of the one server that listens at the port.
    fn exposed(&self, scrape: &Exposition) -> anyhow::Result<Listening> {
        let count = |metric| as_count(self.value(scrape, metric)?);
        Ok(Listening {
            drops: count("drops_total")?,
            queued: count("queue_length")?,
            limit: count("queue_limit")?,
        })
    }

    fn value(&self, scrape: &Exposition, metric: &str) -> anyhow::Result<f64> {
        let port = self.port().to_string();
        let expected = BTreeSet::from([
            ("network_transport", "tcp".to_owned()),
            ("server_kind", "Process".to_owned()),
            ("server_name", self.name("s")),
            ("server_port", port.clone()),
        ]);
        let name = format!("ridley_listener_{metric}");
        let at_port = scrape.series(&name).filter(|(it, _)| it.get("server_port") == Some(&port));
        let all: Vec<_> = at_port.collect();
        let [(labels, value)] = all[..] else { bail!("{} series of {metric} at port {port}", all.len()) };
        let labels: BTreeSet<_> = labels.iter().map(|(name, it)| (name.as_str(), it.clone())).collect();
        ensure!(labels == expected, "{metric} has the labels {labels:?}");
        Ok(value)
    }
}
