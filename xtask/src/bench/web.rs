//! Requests per second of a busy web server, without and with the agent in turn.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    report::{Budget, Report},
    rounds::Rounds,
};
use crate::{
    command,
    lab::{agent::Agent, kernel::StatsGuard, pause},
    packages::Tool,
};

pub(super) const INSTALLED: &[Tool] =
    &[Tool { program: "wrk", package: "wrk", purpose: "requests as fast as the server answers" }];

pub(super) const UNPACKED: &[Tool] =
    &[Tool { program: "nginx", package: "nginx", purpose: "the busy server of the bench" }];

/// How long one run takes; many short ones in turn even out what else the machine does.
const RUN: &str = "5s";
/// The ports of a run are in TIME_WAIT after it, and can be used again after a second.
const REST: Duration = Duration::from_secs(2);
const CONNECTIONS: &str = "16";

/// Compares throughput with a new connection per request.
pub(super) fn throughput(
    binary: &Path,
    tools: &Path,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("bench: a busy web server, {rounds} rounds");
    let server = Nginx::start(tools)?;
    let figures = Rounds::measure(binary, rounds, REST, || server.requests_per_second())?;
    report.add("new connection per request, agent off", figures.off, "requests/s", Budget::None);
    report.add("new connection per request, agent on", figures.on, "requests/s", Budget::None);
    report.add_within(
        "new connection per request, on / off",
        figures.ratio,
        figures.interval(),
        "",
        Budget::AtLeast(0.97),
    );
    report.add(
        "new connection per request: agent's CPU",
        figures.agent_cpu * 100.0,
        "% of a core",
        Budget::None,
    );
    let kernel = programs_share(binary, &server)?;
    report.add(
        "new connection per request: kernel, all programs",
        kernel * 100.0,
        "% of a core",
        Budget::None,
    );
    report.note(format!(
        "Requests are the median of {rounds} rounds of runs of {RUN}: `wrk -c {CONNECTIONS}` with `Connection: close` against \
         nginx with one worker, which keep both processors busy. What the agent's programs and the agent take of them, both \
         in the table, they no longer have; the programs were measured in a run of their own, for the accounting costs too. \
         {}",
        figures.spread()
    ));
    Ok(())
}

/// Returns how much of a core the agent's programs take while the server is busy.
fn programs_share(binary: &Path, server: &Nginx) -> anyhow::Result<f64> {
    let agent = Agent::start(binary)?;
    let stats = StatsGuard::enable()?;
    let (began, before) = (Instant::now(), agent.programs()?);
    server.requests_per_second()?;
    let (spent, observed) = (agent.programs()?.since(&before), began.elapsed());
    drop(stats);
    agent.stop()?;
    Ok((spent.on_events.time + spent.on_demand.time).as_secs_f64() / observed.as_secs_f64())
}

struct Nginx {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Nginx {
    fn start(tools: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = std::env::temp_dir().join(format!("ridley-bench-nginx-{port}"));
        fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        fs::write(&config, config_text(port, &folder))?;
        let unpacked = tools.join("usr/sbin/nginx");
        let program = if unpacked.is_file() { unpacked } else { PathBuf::from("nginx") };
        let child = Command::new(&program)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(folder.join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut this = Self { child, port, folder };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = this.child.try_wait()? {
                bail!("nginx ended during its start: {status}");
            }
            if began.elapsed() > Duration::from_secs(10) {
                bail!("nginx does not answer on port {port}");
            }
            pause(Duration::from_millis(10));
        }
        Ok(this)
    }

    fn requests_per_second(&self) -> anyhow::Result<f64> {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t", "1", "-c", CONNECTIONS, "-d", RUN, "-H", "Connection: close", &url]);
        let output = command::output(&mut wrk)?;
        let line = output.lines().find_map(|it| it.strip_prefix("Requests/sec:"));
        let rate: f64 = line.with_context(|| format!("wrk said {output:?}"))?.trim().parse()?;
        Ok(rate)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A quick stop, so that the master ends its workers too.
        let pid = rustix::process::Pid::from_child(&self.child);
        if let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
            eprintln!("bench: cannot end nginx: {error}");
        }
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn config_text(port: u16, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '0123456789'; }}
    }}
}}
"
    )
}
