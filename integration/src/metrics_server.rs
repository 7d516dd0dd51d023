//! Real servers of metrics on loopback.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{self, Running},
    poll,
    ports::free_address,
};

/// Names the folder whose `bin` has servers; Prometheus may be Debian's.
const TOOLS: &str = "RIDLEY_TOOLS";
/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after it was sent a value may take until a query returns it.
const VISIBLE: Duration = Duration::from_secs(15);
/// The tenant, for servers that have some.
const TENANT: &str = "shop";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prometheus, which takes OTLP and remote write, and may scrape.
    Prometheus,
    /// Mimir, all in one process, with tenants.
    Mimir,
    /// VictoriaMetrics, a single one, with names as Prometheus has them.
    VictoriaMetrics,
}

impl Kind {
    const fn program(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Mimir => "mimir",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    /// Returns where below its address it takes OTLP, where remote write, and where it is queried.
    const fn paths(self) -> [&'static str; 3] {
        match self {
            Self::Prometheus => ["/api/v1/otlp", "/api/v1/write", "/api/v1/query"],
            Self::Mimir => ["/otlp", "/api/v1/push", "/prometheus/api/v1/query"],
            Self::VictoriaMetrics => ["/opentelemetry", "/api/v1/write", "/api/v1/query"],
        }
    }
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct MetricsServer {
    kind: Kind,
    address: SocketAddr,
    _running: Running,
    // Removed at the end.
    folder: TempDir,
}

impl MetricsServer {
    /// Starts a server that scrapes nobody.
    ///
    /// # Errors
    ///
    /// Its program is not there, or it does not answer; the message holds what it said.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        Self::start_at(kind, free_address()?, None)
    }

    /// Like [`start`](Self::start), at an address.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn start_later(kind: Kind, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(kind, address, None)
    }

    /// Starts a Prometheus that scrapes an agent.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn scraping(agent: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(Kind::Prometheus, free_address()?, Some(agent))
    }

    fn start_at(kind: Kind, address: SocketAddr, agent: Option<SocketAddr>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for a server")?;
        let mut program = command::bound(None, &program(kind.program()))?;
        match kind {
            Kind::Prometheus => prometheus(&mut program, folder.path(), address, agent)?,
            Kind::Mimir => mimir(&mut program, folder.path(), address)?,
            Kind::VictoriaMetrics => victoria_metrics(&mut program, folder.path(), address),
        }
        let running = Running::start(&mut program, &folder.path().join("log"))?;
        let server = Self { kind, address, _running: running, folder };
        let is_ready = || server.query("vector(1)").map(drop);
        poll::until(PATIENCE, is_ready).with_context(|| server.in_its_words())?;
        Ok(server)
    }

    /// Returns where it takes OTLP over HTTP, as the `otlp` exporter is told it.
    pub fn otlp_endpoint(&self) -> String {
        let [otlp, ..] = self.kind.paths();
        format!("http://{}{otlp}", self.address)
    }

    /// Returns where it takes remote write.
    pub fn write_endpoint(&self) -> String {
        let [_, write, _] = self.kind.paths();
        format!("http://{}{write}", self.address)
    }

    /// Waits until a query returns one value.
    ///
    /// # Errors
    ///
    /// It returns another, or the server does not answer; the message holds what it said.
    pub fn expect(&self, query: &str, expected: u64) -> anyhow::Result<()> {
        self.expect_values(query, &[expected.to_string()])
    }

    /// Waits until a query returns nothing.
    ///
    /// # Errors
    ///
    /// As of [`expect`](Self::expect).
    pub fn expect_nothing(&self, query: &str) -> anyhow::Result<()> {
        self.expect_values(query, &[])
    }

    fn expect_values(&self, query: &str, expected: &[String]) -> anyhow::Result<()> {
        poll::until(VISIBLE, || {
            let found = self.query(query)?;
            ensure!(found == expected, "{query} returns {found:?}, expected {expected:?}");
            Ok(())
        })
        .with_context(|| self.in_its_words())
    }

    /// Returns the values that a query returns.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let [.., path] = self.kind.paths();
        let url = format!("http://{}{path}", self.address);
        let call = ureq::get(url).header("X-Scope-OrgID", TENANT).query("query", query).call();
        let mut response = call.context("cannot query it")?;
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
        let data = &answer["data"];
        let series = data["result"].as_array().context("an answer without a result")?;
        Ok(series.iter().filter_map(|it| it["value"][1].as_str().map(str::to_owned)).collect())
    }

    fn in_its_words(&self) -> String {
        format!("{:?} said last:\n{}", self.kind, command::last_lines(&self.folder.path().join("log")))
    }
}

/// Returns the program in the tools' folder, else the one that the system has.
pub(crate) fn program(name: &str) -> PathBuf {
    let built = env::var_os(TOOLS).map(|it| Path::new(&it).join("bin").join(name));
    built.filter(|it| it.exists()).unwrap_or_else(|| name.into())
}

fn prometheus(
    program: &mut Command,
    folder: &Path,
    address: SocketAddr,
    agent: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let targets = agent.map(|it| format!("'{it}'")).unwrap_or_default();
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs: [{{job_name: ridley, static_configs: [{{targets: [{targets}]}}]}}]\n"
    );
    let path = folder.join("prometheus.yml");
    fs::write(&path, config).context("cannot write Prometheus's configuration")?;
    program
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .args(["--web.enable-otlp-receiver", "--web.enable-remote-write-receiver"]);
    Ok(())
}

fn mimir(program: &mut Command, folder: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let (grpc, gossip) = (free_address()?, free_address()?);
    let template = include_str!("../configs/mimir.yaml");
    let config = template
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@HTTP@", &address.port().to_string())
        .replace("@GRPC@", &grpc.port().to_string())
        .replace("@GOSSIP@", &gossip.port().to_string());
    let path = folder.join("mimir.yaml");
    fs::write(&path, config).context("cannot write Mimir's configuration")?;
    program.arg(format!("-config.file={}", path.display())).arg("-target=all");
    Ok(())
}

fn victoria_metrics(program: &mut Command, folder: &Path, address: SocketAddr) {
    program
        .arg(format!("-storageDataPath={}", folder.join("data").display()))
        .arg(format!("-httpListenAddr={address}"))
        .args(["-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s"]);
}
