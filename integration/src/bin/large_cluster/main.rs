//! Names in a large cluster: `large_cluster <seconds of changes>`.
//!
//! Fills a real API server with 10,000 pods on 300 nodes and 1,000 Services, has an agent learn them, replaces pods all the time,
//! and asks the agent at the end whose each address is. That must be what the API server says. What was found, a [`Summary`]
//! as JSON, goes to standard output.

#![forbid(unsafe_code)]

mod population;
mod writer;

use std::{
    collections::BTreeMap,
    env, fs, iter,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::Rights,
    api_server::{ApiServer, User},
    poll,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    population::{FREE_ADDRESSES, NODES, PODS, Population, SERVICES, pod_address, truth},
    writer::Writer,
};

const CONFIG: &str = include_str!("../../../configs/kubernetes.yaml");

/// Between two replacements of a pod, which are three writes each: 100 writes a second.
const PERIOD: Duration = Duration::from_millis(30);
/// How long the agent may take to learn all objects.
const SYNC_LIMIT: Duration = Duration::from_secs(60);
/// How long its memory is left to settle.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the agent may take to write the names that it is asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Longer than anyone waits.
const FOR_EVER: Duration = Duration::from_hours(1);
/// An address that nobody has, and nobody asks for.
const OUTSIDE: &str = "192.0.2.1";
/// Ticks of `/proc/<pid>/stat` in a second, on every Linux.
const TICKS: f64 = 100.0;
/// Differences that are told; there may be more.
const MOST_TOLD: usize = 5;

/// What was found.
#[derive(Debug, Serialize)]
struct Summary {
    nodes: usize,
    services: usize,
    pods: usize,
    /// From the start of the agent to its knowing every pod, to a tenth.
    first_sync_seconds: f64,
    /// Resident, of an agent whose API server has nothing.
    empty_mib: f64,
    synced_mib: f64,
    changed_mib: f64,
    /// Writes of pods.
    changes: u64,
    changes_seconds: f64,
    /// How much of one core the agent took meanwhile.
    changes_cpu: f64,
    /// Addresses whose owner was asked for, those that nobody has among them.
    asked: usize,
    wrong: usize,
    differences: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    integration::tell(match env::args().nth(1).and_then(|it| it.parse().ok()) {
        Some(seconds) => run(Duration::from_secs(seconds)).await,
        None => Err(anyhow::anyhow!("usage: large_cluster <seconds of changes>")),
    })
}

async fn run(changing: Duration) -> anyhow::Result<Summary> {
    let server = ApiServer::start()?;
    let proxy = server.proxy()?;
    let writer = Writer::new(proxy.url().to_owned());
    let folder = tempfile::tempdir()?;

    let nobody = Lab::start(&server, folder.path(), FOR_EVER)?;
    sleep(SETTLED).await;
    let empty_mib = nobody.resident_mib()?;
    nobody.agent.stop()?;

    let mut population = Population::create(&writer)?;
    let asked_after = SYNC_LIMIT + 2 * SETTLED + changing;
    let began = Instant::now();
    let lab = Lab::start(&server, folder.path(), asked_after)?;
    poll::until(SYNC_LIMIT, || lab.expect_pods())?;
    let first_sync_seconds = began.elapsed().as_secs_f64();
    sleep(SETTLED).await;
    let synced_mib = lab.resident_mib()?;

    let (changes_began, cpu_before) = (Instant::now(), lab.cpu_seconds()?);
    let mut changes = 0;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while changes_began.elapsed() < changing {
        ticks.tick().await;
        population.replace_one(&writer)?;
        changes += 3;
    }
    let changes_seconds = changes_began.elapsed().as_secs_f64();
    let changes_cpu = (lab.cpu_seconds()? - cpu_before) / changes_seconds;
    let changed_mib = lab.resident_mib()?;

    let expected = truth(&writer)?;
    let left = asked_after.saturating_sub(began.elapsed());
    let names = poll::until(left + ANSWER_LIMIT, || lab.names())?;
    let mut differences = Vec::new();
    for (n, owner) in expected.iter().enumerate() {
        let expected = owner.as_ref().map_or("external".to_owned(), |it| format!("Deployment large/{it}"));
        let found = names.get(&pod_address(n)).context("an address has no record")?;
        if *found != expected {
            differences.push(format!("{} is {found}, not {expected}", pod_address(n)));
        }
    }
    lab.agent.stop()?;
    let (asked, wrong) = (expected.len(), differences.len());
    differences.truncate(MOST_TOLD);
    Ok(Summary {
        nodes: NODES,
        services: SERVICES,
        pods: PODS,
        first_sync_seconds,
        empty_mib,
        synced_mib,
        changed_mib,
        changes,
        changes_seconds,
        changes_cpu,
        asked,
        wrong,
        differences,
    })
}

/// An agent that names records of connections to every address, when it has run for a time.
struct Lab {
    agent: Agent,
    named: PathBuf,
}

impl Lab {
    fn start(server: &ApiServer, folder: &Path, asked_after: Duration) -> anyhow::Result<Self> {
        let [flows, named] = ["flows.jsonl", "named.jsonl"].map(|it| folder.join(it));
        fs::write(&flows, records(asked_after)?).context("cannot write the records")?;
        drop(fs::remove_file(&named));
        let kubeconfig = server.kubeconfig(User::Admin);
        let variables: [(&str, &Path); 3] =
            [("RIDLEY_FLOWS", &flows), ("RIDLEY_NAMED", &named), ("RIDLEY_KUBECONFIG", &kubeconfig)];
        Ok(Self { agent: Agent::launch(CONFIG, Rights::All, &variables)?, named })
    }

    /// Fails unless the agent knows all pods, and their addresses with those of Services and nodes.
    fn expect_pods(&self) -> anyhow::Result<()> {
        let scraped = self.agent.scrape()?;
        let of = |name| scraped.series(name).map(|(_, value)| value).sum::<f64>();
        let (pods, addresses) = (of("ridley_kubernetes_pods"), of("ridley_kubernetes_addresses"));
        let least = (PODS + SERVICES + NODES) as f64;
        ensure!(pods == PODS as f64 && addresses >= least, "{pods} pods and {addresses} addresses are known");
        Ok(())
    }

    fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent.pid()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Time on a processor of all threads so far.
    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.agent.pid()))?;
        let (_, fields) = stat.rsplit_once(')').context("an unusual stat")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |idx: usize| fields.get(idx).and_then(|it| it.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("an unusual stat")?;
        Ok((user + system) / TICKS)
    }

    /// Returns the names of the addresses that were asked for, when all have been.
    fn names(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let text = fs::read_to_string(&self.named).context("nothing has names yet")?;
        let mut names = BTreeMap::new();
        for line in text.lines().filter(|it| it.ends_with('}')) {
            let record: Value = serde_json::from_str(line)?;
            let server = &record["server"];
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            let entity = &server["entity"];
            let name = match entity["namespace"].as_str() {
                Some(namespace) => format!("{} {namespace}/{}", text(&entity["kind"]), text(&entity["name"])),
                None => text(&entity["name"]),
            };
            names.insert(text(&server["address"]), name);
        }
        let n_asked = (0..PODS + FREE_ADDRESSES).filter(|n| names.contains_key(&pod_address(*n))).count();
        ensure!(n_asked == PODS + FREE_ADDRESSES, "{n_asked} addresses have been named");
        Ok(names)
    }
}

/// Makes a record for now, one of a connection to each address for when a time has passed, and one for long after, which keeps
/// the agent waiting.
fn records(after: Duration) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let [now, later, last] = [now, now + after, now + after + FOR_EVER].map(|it| it.as_nanos());
    let asked = (0..PODS + FREE_ADDRESSES).map(|n| record(&pod_address(n), later));
    let all = iter::once(record(OUTSIDE, now)).chain(asked).chain([record(OUTSIDE, last)]);
    Ok(all.map(|it| it.to_string() + "\n").collect())
}

/// A record of somebody outside who connects.
fn record(server: &str, at: u128) -> Value {
    let at = u64::try_from(at).expect("it is not the year 2554 yet");
    json!({
        "observer": "client", "transport": "tcp", "begin": "opened",
        "client": { "address": "198.51.100.7", "port": 40_000 }, "server": { "address": server, "port": 8_080 },
        "started": at, "interval": { "start": at, "end": at },
        "request": { "bytes": 1 }, "response": { "bytes": 1 }, "local": { "netns": 1 },
    })
}
