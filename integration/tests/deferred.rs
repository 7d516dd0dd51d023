//! That a server which is given a connection only when there is something to read is not taken for somebody else until then.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::{LIVE, Rights, with_all_and_two},
    command::{self, run},
    edges::{Edges, Interest, Totals},
    poll, ports,
};

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
/// How long whatever is awaited may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it must stay as it is: longer than the kernel defers a connection, which is a second.
const CALM: Duration = Duration::from_secs(2);

/// nginx with `deferred`, which is `TCP_DEFER_ACCEPT`: for the client the connection is open, for the server's end not yet.
#[test]
fn a_server_that_waits_for_data_is_who_listens() -> anyhow::Result<()> {
    with_all_and_two(check)
}

fn check(rights: Rights) -> anyhow::Result<()> {
    // Shorter than the kernel defers.
    let config = LIVE.replace("join: {}", "join: { wait: 200ms }");
    let agent = Agent::start_as(rights, &config, &[])?;
    let address = ports::free_address()?;
    let folder = tempfile::tempdir().context("cannot make a folder for nginx")?;
    let _server = Nginx::start(folder.path(), address)?;
    // The agent must have seen who listens.
    poll::until(PATIENCE, || {
        let port = address.port().to_string();
        let scrape = agent.scrape()?;
        let mut limits = scrape.series("ridley_listener_queue_limit");
        let is_seen = limits.any(|(labels, _)| labels.get("server_port") == Some(&port));
        ensure!(is_seen, "the agent tells nothing of who listens at {address}");
        Ok(())
    })?;

    let mut client = TcpStream::connect(address).context("nginx does not listen")?;
    // What the server's end tells although it comes late is told with the client's.
    let open = Totals { opened: 1, active: 1, handshakes: 1, accepts: 1, ..Totals::default() };
    expect(&agent, address, &open).context("before there is data")?;
    client.write_all(REQUEST)?;
    let mut response = Vec::new();
    client.read_to_end(&mut response)?;
    drop(client);
    let over = Totals {
        request: REQUEST.len() as u64,
        response: response.len() as u64,
        active: 0,
        lifetimes: 1,
        closed: BTreeMap::from([("normal".to_owned(), 1)]),
        ..open
    };
    expect(&agent, address, &over).context("at its end")?;
    agent.stop().map(drop)
}

/// Waits until the agent says what is true of the only link to a server, and goes on saying so.
fn expect(agent: &Agent, server: SocketAddr, totals: &Totals) -> anyhow::Result<()> {
    let interest = Interest { names: Vec::new(), ports: vec![server.port()], ..Interest::default() };
    poll::until_lasting(PATIENCE, CALM, || {
        let edges = Edges::of(&agent.scrape()?, &interest)?;
        let found: Vec<_> = edges.0.iter().map(|(edge, it)| (edge.server.name.as_str(), it)).collect();
        ensure!(found == [("nginx", totals)], "{edges:#?}, expected {totals:#?}");
        Ok(())
    })
}

/// A server of one process, which ends with this.
struct Nginx(Child);

impl Nginx {
    fn start(folder: &Path, address: SocketAddr) -> anyhow::Result<Self> {
        let config = folder.join("nginx.conf");
        let text = include_str!("../configs/deferred.nginx.conf");
        let text = text.replace("ADDRESS", &address.to_string());
        fs::write(&config, text.replace("FOLDER", &folder.display().to_string()))?;
        let mut program = Command::new("nginx");
        program.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
        let child = program.stdin(Stdio::null()).spawn().map_err(|it| command::missing("nginx", it))?;
        let this = Self(child);
        poll::until(PATIENCE, || {
            let listening = run("ss", &["-Hltn", &format!("sport = :{}", address.port())])?;
            ensure!(!listening.is_empty(), "nginx does not listen at {address}");
            Ok(())
        })?;
        Ok(this)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
