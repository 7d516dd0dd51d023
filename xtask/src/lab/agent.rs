//! The agent under test: a real `ridley` with the default pipeline, without its table.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    kernel::{self, Programs},
    machine, pause,
};

/// How long a start may take before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Agent {
    child: Child,
    endpoint: SocketAddr,
    first_metrics_in: Duration,
    first_link_in: Duration,
}

impl Agent {
    /// Starts an agent, and waits until it serves its first link.
    pub(crate) fn start(binary: &Path) -> anyhow::Result<Self> {
        let endpoint = free_endpoint()?;
        let config = std::env::temp_dir().join(format!("ridley-lab-{}.yaml", endpoint.port()));
        fs::write(&config, config_text(endpoint))?;
        let began = Instant::now();
        let child = Command::new(binary)
            .args(["run", "--log-level", "warn", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let (first_metrics_in, first_link_in) = (Duration::ZERO, Duration::ZERO);
        let mut this = Self { child, endpoint, first_metrics_in, first_link_in };
        // The agent leaves its own connections out, and an idle host may have no others.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        loop {
            drop((TcpStream::connect(listener.local_addr()?)?, listener.accept()?));
            if let Ok(answer) = this.scrape() {
                if this.first_metrics_in.is_zero() {
                    this.first_metrics_in = began.elapsed();
                }
                if answer.contains("ridley_link_connections_opened_total{") {
                    this.first_link_in = began.elapsed();
                    break;
                }
            }
            if let Some(status) = this.child.try_wait()? {
                bail!("the agent ended during its start: {status}");
            }
            if began.elapsed() > START_LIMIT {
                bail!("the agent served no link within {START_LIMIT:?}");
            }
            pause(Duration::from_millis(20));
        }
        fs::remove_file(config)?;
        Ok(this)
    }

    /// Time from the start to the first answered scrape.
    pub(crate) fn first_metrics_in(&self) -> Duration {
        self.first_metrics_in
    }

    /// Time from the start to the first scrape that told of a link.
    pub(crate) fn first_link_in(&self) -> Duration {
        self.first_link_in
    }

    /// Asks the agent to end, and fails unless it ends cleanly.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the agent did not end cleanly: {status}");
        }
        Ok(())
    }

    /// How much of one core the agent takes while this waits.
    pub(crate) fn cpu_share(&self, observed: Duration) -> anyhow::Result<f64> {
        let (began, before) = (Instant::now(), self.cpu_time()?);
        pause(observed);
        Ok((self.cpu_time()?.saturating_sub(before)).as_secs_f64() / began.elapsed().as_secs_f64())
    }

    /// Time on a processor of all of its threads, those that have ended too.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        machine::cpu_time(&stat)
    }

    pub(crate) fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS in status")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Memory of the kernel that the maps of the agent's programs take.
    pub(crate) fn maps_mib(&self) -> anyhow::Result<f64> {
        Ok(kernel::maps_bytes(self.child.id())? as f64 / 1024.0 / 1024.0)
    }

    /// How many entries are in use of each map of the agent's programs that can fill up, by the map's name.
    pub(crate) fn map_entries(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        kernel::map_entries(self.child.id())
    }

    /// What the agent says of itself, and the kernel of its programs, as far as it is not zero: what one needs to know to
    /// find out what it counted wrong.
    pub(crate) fn account(&self) -> anyhow::Result<Vec<String>> {
        let mut account = told_of_itself(&self.scrape()?);
        account.extend(kernel::refused_runs(self.child.id())?);
        Ok(account)
    }

    /// What the agent's programs have cost so far.
    pub(crate) fn programs(&self) -> anyhow::Result<Programs> {
        Programs::of(self.child.id())
    }

    /// Connections counted as opened to a port.
    pub(crate) fn opened_to(&self, port: u16) -> anyhow::Result<f64> {
        sum(&self.scrape()?, "ridley_link_connections_opened_total", &format!("server_port=\"{port}\""))
    }

    /// Connections counted as closed to a port, whatever the reason.
    pub(crate) fn closed_to(&self, port: u16) -> anyhow::Result<f64> {
        sum(&self.scrape()?, "ridley_link_connections_closed_total", &format!("server_port=\"{port}\""))
    }

    /// What the agent's programs could not record, for whatever reason.
    pub(crate) fn skipped(&self) -> anyhow::Result<f64> {
        sum(&self.scrape()?, "ridley_ebpf_skipped_total", "reason=")
    }

    /// Live sockets that the agent follows.
    pub(crate) fn sockets(&self) -> anyhow::Result<f64> {
        sum(&self.scrape()?, "ridley_ebpf_connections", "{")
    }

    /// How often the agent has walked the kernel's sockets.
    pub(crate) fn walks(&self) -> anyhow::Result<f64> {
        sum(&self.scrape()?, "ridley_ebpf_walks_total", "outcome=")
    }

    fn scrape(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.endpoint)?;
        // HTTP/1.0 has no chunks, and the connection ends with the answer.
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.0 200") && !answer.starts_with("HTTP/1.1 200") {
            bail!("the scrape was answered with {:?}", answer.lines().next());
        }
        Ok(answer)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // After `stop` it is gone already; after a failed bench it must not stay.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the samples that are of the agent and not zero, not those of what it observes.
fn told_of_itself(exposition: &str) -> Vec<String> {
    let is_of_itself = |it: &&str| {
        it.starts_with("ridley_") && !["ridley_link_", "ridley_listener_"].iter().any(|of| it.starts_with(of))
    };
    let samples = exposition.lines().filter(is_of_itself).filter(|it| !it.ends_with(" 0"));
    samples.map(str::to_owned).collect()
}

/// Adds up the series of a metric that have a label.
fn sum(exposition: &str, metric: &str, label: &str) -> anyhow::Result<f64> {
    let series = exposition.lines().filter_map(|it| it.strip_prefix(metric)).filter(|it| it.starts_with('{'));
    let values = series.filter(|it| it.contains(label)).filter_map(|it| it.rsplit(' ').next());
    values.map(|it| it.parse::<f64>().with_context(|| format!("`{it}` is no number"))).sum()
}

fn free_endpoint() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

fn config_text(endpoint: SocketAddr) -> String {
    format!(
        "\
receivers: {{ ebpf: {{}} }}
processors: {{ process: {{}}, join: {{}} }}
connectors: {{ links: {{}} }}
exporters: {{ prometheus: {{ endpoint: '{endpoint}' }} }}
service:
  pipelines:
    flows: {{ receivers: [ebpf], processors: [process, join], exporters: [links] }}
    metrics: {{ receivers: [links], exporters: [prometheus] }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_zero_is_told_of_itself() {
        let exposition = "\
# TYPE ridley_ebpf_torn_total counter
ridley_ebpf_torn_total 0
ridley_ebpf_skipped_total{reason=\"nested\"} 10
ridley_link_io_bytes_total{direction=\"request\"} 7
ridley_listener_queue_limit{port=\"80\"} 128
target_info{service_name=\"ridley\"} 1
";
        assert_eq!(told_of_itself(exposition), ["ridley_ebpf_skipped_total{reason=\"nested\"} 10"]);
    }

    #[test]
    fn series_of_one_metric_with_one_label_are_added_up() {
        let exposition = "\
# TYPE opened_total counter
opened_total{client=\"a b\",port=\"80\"} 3
opened_total{client=\"c\",port=\"80\"} 4
opened_total{client=\"c\",port=\"8080\"} 50
opened_total_other{port=\"80\"} 600
";
        assert_eq!(sum(exposition, "opened_total", "port=\"80\"").unwrap(), 7.0);
    }
}
