//! Two agents, one for each node: both know a connection by the same id, whatever address translation shows them, and
//! each alone knows all that travelled.
//!
//! One kernel runs both nodes here, so that each agent sees everything. Of its records only those about the pods of its
//! own node are looked at, which are all that it would have elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, World,
    agent::{RECORD, Rights, with_all_and_two},
    edges::Edges,
    plan::{Side, Step},
    poll,
    record::{self, Record},
    world::{Family, Path},
};
use tempfile::TempDir;

/// Connections of each case.
const N: u64 = 5;
/// What travels on each connection before the first hold, between the two, and after the second.
const TALK: [(u64, u64); 3] = [(10_000, 200_000), (300_000, 777), (0, 5)];
/// Size of the download.
const DOWNLOAD: u64 = 20_000_000;

/// When the connections of a case open: before both agents start, between them, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    OlderThanBoth,
    OlderThanOne,
    YoungerThanBoth,
}

/// One node's view of a case: its connections by the client's address, which translation of the server's leaves alone.
type View = BTreeMap<SocketAddr, Connection>;

/// What one agent's records say of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Connection {
    ids: BTreeSet<String>,
    begin: Option<String>,
    n_ends: usize,
    request: u64,
    response: u64,
    servers: BTreeSet<SocketAddr>,
}

/// The second agent starts in the midst: of each connection, however old, both say the same id, in every record.
#[test]
fn both_nodes_know_a_connection_by_the_same_id() -> anyhow::Result<()> {
    with_all_and_two(check_ids)
}

/// Of a download from a server that no agent observes, the client's side alone knows every byte while it goes on.
#[test]
fn a_download_from_outside_is_counted() -> anyhow::Result<()> {
    with_all_and_two(check_download)
}

fn check_ids(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    let paths = [
        (Path::Service, Family::Ipv4),
        (Path::Service, Family::Ipv6),
        (Path::Service, Family::Mapped),
        (Path::TwoNodes, Family::Ipv4),
        (Path::TwoNodes, Family::Ipv6),
    ];
    let cases = paths.map(|(path, family)| case(path, family));

    let mut plays = Vec::new();
    let mut begin = |age| {
        let mut started = cases.iter().map(|case| case.start(&world)).collect::<Result<Vec<_>, _>>()?;
        started.iter_mut().try_for_each(|play| play.holding().map(drop))?;
        plays.extend(started.into_iter().map(|play| (age, play)));
        anyhow::Ok(())
    };
    begin(Age::OlderThanBoth)?;
    let node_a = Recorder::start(rights)?;
    begin(Age::OlderThanOne)?;
    let node_b = Recorder::start(rights)?;
    begin(Age::YoungerThanBoth)?;

    let mut over = Vec::new();
    for (age, play) in &mut plays {
        play.go()?;
        play.holding()?;
        play.go()?;
        over.push((*age, play.done()?));
    }
    let (records_a, records_b) = (node_a.stop()?, node_b.stop()?);

    let mut ids = BTreeSet::new();
    for (age, moment) in &over {
        let context = || format!("{age:?}, {:?}", moment.route);
        let inode = |namespace| world.inode(namespace);
        let a = view(&records_a, Side::Client, inode(moment.route.client)?, moment).with_context(context)?;
        let b = view(&records_b, Side::Server, inode(moment.route.server)?, moment).with_context(context)?;
        check(*age, moment, &a, &b, &mut ids).with_context(context)?;
    }
    Ok(())
}

fn check_download(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    for family in [Family::Ipv4, Family::Ipv6] {
        let script = [Step::Send { by: Side::Server, bytes: DOWNLOAD }, Step::Hold];
        let case = Case { family, ..Case::new("download", script) };
        let recorder = Recorder::start(rights)?;
        let mut play = case.start(&world)?;
        let moment = play.holding()?;
        await_bytes(&recorder.agent, &moment).context("while the download goes on")?;
        play.go()?;
        let moment = play.done()?;
        let records = recorder.stop()?;
        let inode = world.inode(moment.route.client)?;
        let seen = view(&records, Side::Client, inode, &moment)?;
        let [connection] = seen.values().collect::<Vec<_>>()[..] else {
            anyhow::bail!("the client's node knows other connections than one: {seen:?}");
        };
        ensure!((connection.request, connection.response) == (0, DOWNLOAD), "{connection:?}");
    }
    Ok(())
}

fn case(path: Path, family: Family) -> Case {
    let exchange = |(request, response)| Step::Exchange { request, response };
    let [first, second, third] = TALK.map(exchange);
    let mut case =
        Case { path, family, ..Case::new("two_nodes", [first, Step::Hold, second, Step::Hold, third]) };
    case.traffic.connections = Some(N);
    case.traffic.parallel = N;
    case
}

/// Compares what the two nodes know of the connections of a case, whose ids no other connection may have.
fn check(
    age: Age,
    moment: &Moment,
    node_a: &View,
    node_b: &View,
    ids: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    let Moment { route, .. } = moment;
    ensure!(node_a.len() as u64 == N, "the client's node knows {} connections: {node_a:#?}", node_a.len());
    ensure!(node_b.len() as u64 == N, "the server's node knows {} connections: {node_b:#?}", node_b.len());
    for (client, a) in node_a {
        let b = node_b.get(client).with_context(|| format!("the server's node does not know {client}"))?;
        let [id] = a.ids.iter().collect::<Vec<_>>()[..] else {
            anyhow::bail!("{client} has the ids {:?} on the client's node", a.ids);
        };
        let expected = |is_older: bool, server: SocketAddr| {
            let counted = if is_older { &TALK[1..] } else { &TALK[..] };
            Connection {
                ids: BTreeSet::from([id.clone()]),
                begin: Some(if is_older { "found" } else { "opened" }.to_owned()),
                n_ends: 1,
                request: counted.iter().map(|(request, _)| request).sum(),
                response: counted.iter().map(|(_, response)| response).sum(),
                servers: BTreeSet::from([SocketAddr::new(server.ip().to_canonical(), server.port())]),
            }
        };
        let expected_a = expected(age == Age::OlderThanBoth, route.dial);
        let expected_b = expected(age != Age::YoungerThanBoth, route.listen);
        ensure!(*a == expected_a, "{client} on the client's node: {a:#?}, expected {expected_a:#?}");
        ensure!(*b == expected_b, "{client} on the server's node: {b:#?}, expected {expected_b:#?}");
        ensure!(ids.insert(id.clone()), "{id} is the id of two connections");
    }
    Ok(())
}

/// Gathers what records say of the connections of a case, as one end in one namespace reports them.
fn view(records: &[Record], side: Side, netns: u64, moment: &Moment) -> anyhow::Result<View> {
    let (observer, port) = match side {
        Side::Client => ("client", moment.route.dial.port()),
        Side::Server => ("server", moment.route.listen.port()),
    };
    let mut view = View::new();
    let own = |it: &&Record| it.observer == observer && it.local.netns == netns && it.server.port == port;
    for record in records.iter().filter(own) {
        let Record { id, client, server, begin, end, request, response, .. } = record;
        let connection = view.entry(SocketAddr::new(client.address, client.port)).or_default();
        connection.ids.insert(id.clone().context("a connection without an id")?);
        if let Some(begin) = begin {
            ensure!(connection.begin.is_none(), "a connection begins twice: {records:?}");
            connection.begin = Some(begin.clone());
        }
        connection.n_ends += usize::from(end.is_some());
        connection.request += request.bytes;
        connection.response += response.bytes;
        connection.servers.insert(SocketAddr::new(server.address, server.port));
    }
    Ok(view)
}

/// Waits until the link that the client's end alone makes has the bytes of a moment.
fn await_bytes(agent: &Agent, moment: &Moment) -> anyhow::Result<()> {
    poll::until(Duration::from_secs(10), || {
        let edges = Edges::of(&agent.scrape()?, &moment.interest)?;
        let of_client = edges.0.iter().filter(|(edge, _)| edge.observer == "client");
        let found: Vec<_> = of_client
            .map(|(edge, totals)| (edge.server.name.clone(), totals.request, totals.response))
            .collect();
        let truth = moment.truth();
        let address = moment.route.dial.ip().to_canonical().to_string();
        let expected = [(address, truth.request, truth.response)];
        ensure!(found == expected, "the client's links are {found:?}, expected {expected:?}");
        Ok(())
    })
}

/// An agent that records what each end reports, before anything pairs the two.
struct Recorder {
    agent: Agent,
    folder: TempDir,
}

impl Recorder {
    fn start(rights: Rights) -> anyhow::Result<Self> {
        let config = RECORD.replace("[process, join]", "[process]");
        assert_ne!(config, RECORD, "both ends would be one record");
        let folder = tempfile::tempdir()?;
        rights.own(folder.path())?;
        let flows = folder.path().join("flows.jsonl");
        let agent = Agent::start_as(rights, &config, &[("RIDLEY_FLOWS", &flows)])?;
        Ok(Self { agent, folder })
    }

    fn stop(self) -> anyhow::Result<Vec<Record>> {
        let Self { agent, folder } = self;
        agent.stop()?;
        record::read(&folder.path().join("flows.jsonl"))
    }
}
