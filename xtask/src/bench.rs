//! What Ridley costs, measured against the promises it makes, and written into docs/performance.md.
//!
//! Everything runs on this host: the load's two ends and the agent share its cores. The load is a child process for
//! the server and threads of this one for the client.

mod bulk;
mod report;
mod rounds;
mod web;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use clap::ValueEnum;

use self::report::{Budget, Report};
use crate::{
    command,
    lab::{
        agent::Agent,
        far::FarServer,
        kernel::StatsGuard,
        load::{Client, Server},
        machine, pause,
    },
    packages,
    workspace::Workspace,
};

/// How long and how often to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds that each quantity is observed.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Rounds of runs, without and with the agent, of what measures throughput.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Measure only these, and print the figures instead of writing docs/performance.md.
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The binary, and the agent on an idle host.
    Idle,
    /// Many live connections.
    Live,
    /// Connections that open and close.
    Churn,
    /// A busy web server, without and with the agent.
    Web,
    /// One connection that is busy, without and with the agent.
    Bulk,
}

/// Live connections of the sampling bench.
const LIVE_CONNECTIONS: u32 = 20_000;
/// Processes that hold them, and servers: one may open some thousand files on any machine.
const N_HOLDERS: u32 = 4;
/// How long the kernel remembers a connection that is over.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Connections opened and closed per second in the churn bench.
const CHURN_PER_SEC: u32 = 5_000;
/// The agent's default, which the benches keep.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// Measures, and writes what was measured.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if !command::is_root() {
        bail!("the bench loads kernel programs and reads what they cost, which needs root; run it as root");
    }
    packages::install(web::INSTALLED)?;
    packages::install(bulk::INSTALLED)?;
    let tools = workspace.tools();
    packages::unpack(web::UNPACKED, &tools)?;
    let binary = command::agent(&workspace.target)?;

    let mut report = Report::default();
    let observed = Duration::from_secs(options.seconds);
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        match part {
            Part::Idle => {
                size(&binary, &mut report)?;
                idle(&binary, observed, &mut report)?;
            }
            Part::Live => live(&binary, observed, &mut report)?,
            Part::Churn => churn(&binary, observed, &mut report)?,
            Part::Web => web::throughput(&binary, &tools, options.rounds, &mut report)?,
            Part::Bulk => bulk::throughput(&binary, options.rounds, &mut report)?,
        }
    }

    let text = report.markdown(&machine::describe(&workspace.root)?, &options.how());
    if !options.only.is_empty() {
        eprintln!("{text}");
        return Ok(());
    }
    let path = workspace.root.join("docs/performance.md");
    fs::create_dir_all(workspace.root.join("docs"))?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("bench: wrote docs/performance.md");
    Ok(())
}

impl Options {
    fn how(&self) -> String {
        format!("`cargo xtask bench --seconds {} --rounds {}`", self.seconds, self.rounds)
    }
}

fn size(binary: &Path, report: &mut Report) -> anyhow::Result<()> {
    let bytes = fs::metadata(binary).with_context(|| format!("cannot read {}", binary.display()))?.len();
    report.add("binary, stripped", bytes as f64 / 1e6, "MB", Budget::AtMost(25.0));
    Ok(())
}

fn idle(binary: &Path, observed: Duration, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("bench: an idle host");
    let agent = Agent::start(binary)?;
    let (metrics, links) = (agent.first_metrics_in().as_secs_f64(), agent.first_link_in().as_secs_f64());
    report.add("start to first metrics", metrics, "s", Budget::AtMost(1.0));
    report.add("start to first link", links, "s", Budget::None);
    pause(SAMPLE_INTERVAL);
    let busy = machine::busy_time()?;
    let cpu = agent.cpu_share(observed)?;
    let others = (machine::busy_time()? - busy).as_secs_f64() / observed.as_secs_f64() - cpu;
    // What else the machine did: the more, the less the other figures say.
    report.add("this machine without load: CPU of all others", others * 100.0, "% of a core", Budget::None);
    let sockets = agent.sockets()?;
    report.add("this machine without load: live sockets", sockets, "", Budget::None);
    report.add("agent, idle host: CPU", cpu * 100.0, "% of a core", Budget::AtMost(0.3));
    report.add("agent, idle host: resident memory", agent.resident_mib()?, "MiB", Budget::AtMost(16.0));
    report.add("agent: kernel memory at default sizes", agent.maps_mib()?, "MiB", Budget::AtMost(8.0));
    agent.stop()
}

fn live(binary: &Path, observed: Duration, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("bench: {LIVE_CONNECTIONS} live connections, one end here");
    let far = FarServer::start()?;
    let clients: Vec<_> = (0..N_HOLDERS).map(|_| far.client()).collect();
    live_with(binary, observed, "one end here", 1, &clients, report)?;
    drop(far);
    eprintln!("bench: {LIVE_CONNECTIONS} live connections, both ends here");
    let servers: Vec<_> = (0..N_HOLDERS).map(|_| Server::start()).collect::<anyhow::Result<_>>()?;
    let clients: Vec<_> = servers.iter().map(Client::new).collect();
    live_with(binary, observed, "both ends here", 2, &clients, report)?;
    report.note(
        "Of the connections with one end here no socket is at the other end: a process answers each packet by itself. Most of what \
         the sample of a live socket takes outside of the kernel is waiting for memory: its record passes four components, each of \
         which finds the connection in a table of its own, and so many connections are in no cache. It differs with the machine's \
         memory. Resident memory is that after a scrape; what an idle agent has is in it, most of which are pages of the binary \
         and the kernel's buffer of events, which counts twice."
            .to_owned(),
    );
    Ok(())
}

/// Measures an agent with live connections, each of which has so many ends here.
fn live_with(
    binary: &Path,
    observed: Duration,
    what: &str,
    n_ends: u32,
    clients: &[Client],
    report: &mut Report,
) -> anyhow::Result<()> {
    let agent = Agent::start(binary)?;
    pause(SAMPLE_INTERVAL);
    let idle = agent.cpu_share(observed)?;
    let hold = |it: &Client| it.hold(LIVE_CONNECTIONS / N_HOLDERS);
    let held = clients.iter().map(hold).collect::<anyhow::Result<Vec<_>>>()?;
    // The connections' birth is another bench's subject: wait until it is digested.
    pause(3 * SAMPLE_INTERVAL);

    let stats = StatsGuard::enable()?;
    let (walks, before) = (agent.walks()?, agent.programs()?);
    let cpu = agent.cpu_share(observed)?;
    let (spent, samples) = (agent.programs()?.since(&before), agent.walks()? - walks);
    drop(stats);

    let sockets = f64::from(n_ends * LIVE_CONNECTIONS);
    let followed = agent.sockets()?;
    if followed < sockets {
        bail!("the agent follows {followed} of {sockets} sockets");
    }
    let per_socket = |share: f64| share * observed.as_secs_f64() / samples / sockets * 1e6;
    let kernel = spent.on_demand.time.as_secs_f64() / samples / sockets * 1e6;
    let row = |of: &str| format!("20,000 live connections, {what}: {of}");
    report.add(row("one sample of one socket, kernel"), kernel, "us", Budget::AtMost(1.0));
    let agents = per_socket((cpu - idle).max(0.0));
    report.add(row("one sample of one socket, whole agent"), agents, "us", Budget::AtMost(2.0));
    report.add(row("agent's CPU"), cpu * 100.0, "% of a core", Budget::AtMost(2.0));
    report.add(row("agent's resident memory"), agent.resident_mib()?, "MiB", Budget::AtMost(32.0));
    drop(held);
    agent.stop()
}

fn churn(binary: &Path, observed: Duration, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("bench: {CHURN_PER_SEC} connections per second");
    let agent = Agent::start(binary)?;
    let server = Server::start()?;
    let warm = Client::new(&server).churn(CHURN_PER_SEC, TIME_WAIT)?;
    let stats = StatsGuard::enable()?;
    let (before, cpu_before) = (agent.programs()?, agent.cpu_time()?);
    let done = Client::new(&server).churn(CHURN_PER_SEC, observed)?;
    let (spent, cpu) = (agent.programs()?.since(&before), agent.cpu_time()?.saturating_sub(cpu_before));
    drop(stats);

    let (n, secs) = (done.connections as f64, done.took.as_secs_f64());
    let kernel = spent.on_events.time + spent.on_demand.time;
    report.add("load that was reached", n / secs, "connections/s", Budget::None);
    report.add(
        "one connection, both ends: kernel, its events",
        spent.on_events.time.as_nanos() as f64 / n,
        "ns",
        Budget::None,
    );
    report.add("5,000 connections/s: left in TIME_WAIT", machine::n_in_time_wait()? as f64, "", Budget::None);
    let runs = spent.on_events.runs as f64 / n;
    report.add("one connection, both ends: runs of programs", runs, "", Budget::None);
    let idle_run = spent.last_on_events.nanos_per_run();
    report.add("one run that finds nothing to do: kernel", idle_run, "ns", Budget::None);
    let walks = spent.on_demand.time.as_secs_f64() * 1e3 / secs;
    report.add("5,000 connections/s: kernel, samples", walks, "ms/s", Budget::None);
    report.note(format!(
        "Of what the events of a connection cost in the kernel, {:.0} ns go into {runs:.0} runs even if they find nothing to \
         do: a socket changes its state five times at either end, and at each change the kernel runs more than one program, \
         for it gives none to a program that its processor is in the middle of. Most of such a run is the kernel's accounting \
         that measures it, which is switched off outside of this bench. What is left makes four records, two of a begin and \
         two of an end, each of about a dozen calls into the kernel: to read the socket, its network namespace and cgroup, \
         the clock, and for room in the buffer. A sample passes by all that is left of connections that are over, \
         for a minute each: the load runs for as long before it is measured.",
        idle_run * runs
    ));
    // Scaled to the load that was asked for, should the machine not have reached it.
    let per_second = kernel.as_secs_f64() * 1e3 / n * f64::from(CHURN_PER_SEC);
    report.add("5,000 connections/s: kernel, all programs", per_second, "ms/s", Budget::AtMost(15.0));
    report.add(
        "5,000 connections/s: agent's CPU",
        cpu.as_secs_f64() / secs * 100.0,
        "% of a core",
        Budget::AtMost(6.0),
    );
    // The last of them must have passed through every component before they are counted.
    pause(3 * SAMPLE_INTERVAL);
    let counted = agent.opened_to(server.port())?;
    let n = n + warm.connections as f64;
    report.add(
        "5,000 connections/s: counted too few or too many",
        (n - counted).abs(),
        "connections",
        Budget::AtMost(0.0),
    );
    agent.stop()
}
