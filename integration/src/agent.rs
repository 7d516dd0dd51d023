//! Runs the `ridley` binary and reads what it exposes.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    binary,
    case::Home,
    command::missing,
    edges::{Edges, Interest},
    exposition::Exposition,
    kernel::{DirectionQuality, Quality},
    limits,
    moment::Moment,
    poll,
    ports::free_address,
};

/// The usual pipeline, with short intervals.
pub const LIVE: &str = include_str!("../configs/live.yaml");
/// Like [`LIVE`], with names of the API server that the kubeconfig `RIDLEY_KUBECONFIG` names; links show [`CLUSTER_ATTRIBUTES`].
pub const LIVE_IN_CLUSTER: &str = include_str!("../configs/live_in_cluster.yaml");
/// What the links of [`LIVE_IN_CLUSTER`] show beyond the usual.
pub const CLUSTER_ATTRIBUTES: [&str; 5] = ["node", "pod", "process", "service", "zone"];
/// Like [`LIVE`], and records every flow to the file that `RIDLEY_FLOWS` names.
pub const RECORD: &str = include_str!("../configs/record.yaml");
/// Every component that observes or delivers, with small files below the path that `RIDLEY_FLOWS` names.
pub const EVERYTHING: &str = include_str!("../configs/everything.yaml");
/// Replays the file that `RIDLEY_FLOWS` names.
pub const REPLAY: &str = include_str!("../configs/replay.yaml");

/// Whom `setpriv` is told to run the agent as, other than root.
const NOBODY: u32 = 65_534;

/// How long the agent may take to start, to count what happened, and to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the agent waits for the other end's record on a usual machine: its default.
const JOIN_WAIT: Duration = Duration::from_secs(1);
/// Below the agent's intervals, so that it says little that is new.
const RECENT: Duration = Duration::from_millis(100);
/// How long a right count must stay right while connections are open: some intervals of the agent's.
const CALM: Duration = Duration::from_millis(800);
/// As long as a record may wait for its other end, and some intervals more.
const CALM_AT_END: Duration = Duration::from_millis(2500);

/// A running agent. It is killed with this value.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<String>>,
    recent: Mutex<Option<(Instant, Arc<Exposition>)>>,
    // Removed at the end.
    _folder: tempfile::TempDir,
}

impl Agent {
    /// Starts the agent with a configuration, in which `${env:RIDLEY_ENDPOINT}` is the address it is scraped at, and
    /// waits until it observes connections.
    ///
    /// # Errors
    ///
    /// The binary is missing, or ends; the message holds what it said.
    pub fn start(config: &str) -> anyhow::Result<Self> {
        Self::start_as(Rights::All, config, &[])
    }

    /// Like [`start`](Self::start), with other rights and further variables of the environment.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn start_as(rights: Rights, config: &str, variables: &[(&str, &Path)]) -> anyhow::Result<Self> {
        let agent = Self::launch(config, rights, variables)?;
        agent.await_observation(&[])?;
        Ok(agent)
    }

    /// Like [`start_as`](Self::start_as), but waits only until the agent can be scraped.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn launch(config: &str, rights: Rights, variables: &[(&str, &Path)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the configuration")?;
        let path = folder.path().join("ridley.yaml");
        fs::write(&path, config).context("cannot write the configuration")?;
        let program = rights.program(folder.path())?;
        let address = free_address()?;
        // The agent ends with the thread that started it, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(rights.arguments())
            .arg("--")
            .arg(program)
            .arg("run")
            .arg("--config")
            .arg(&path)
            .args(on_slow_machine())
            .envs(variables.iter().copied())
            .env("RIDLEY_ENDPOINT", address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing("setpriv", error))
            .context("cannot start the agent")?;
        let stderr = child.stderr.take().expect("standard error is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("nobody panics while appending");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut agent = Self { child, address, log, recent: Mutex::default(), _folder: folder };
        poll::until(PATIENCE, || {
            agent.check_alive()?;
            agent.scrape().map(drop)
        })
        .with_context(|| agent.in_its_words())?;
        Ok(agent)
    }

    /// Returns the address that the agent is scraped at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the agent's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what the agent has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics while appending").clone()
    }

    /// Scrapes the agent as text.
    ///
    /// # Errors
    ///
    /// The agent does not answer, or not with 200.
    pub fn scrape_text(&self, accept: &str) -> anyhow::Result<String> {
        self.scrape_text_over(&ureq::Agent::new_with_defaults(), accept)
    }

    fn scrape_text_over(&self, client: &ureq::Agent, accept: &str) -> anyhow::Result<String> {
        let url = format!("http://{}/metrics", self.address);
        let mut response =
            client.get(url).header("Accept", accept).call().context("cannot scrape the agent")?;
        response.body_mut().with_config().limit(256 << 20).read_to_string().context("cannot read the scrape")
    }

    /// Scrapes the agent.
    ///
    /// # Errors
    ///
    /// The agent does not answer, or with something that is not as specified.
    pub fn scrape(&self) -> anyhow::Result<Exposition> {
        self.scrape_over(&ureq::Agent::new_with_defaults())
    }

    /// Like [`scrape`](Self::scrape), over the connection that a client keeps open between its scrapes.
    ///
    /// # Errors
    ///
    /// As of [`scrape`](Self::scrape).
    pub fn scrape_over(&self, client: &ureq::Agent) -> anyhow::Result<Exposition> {
        Exposition::parse(&self.scrape_text_over(client, "text/plain;version=0.0.4")?)
    }

    /// Returns a scrape that is hardly older than now. Many cases wait for one agent, which has better things to do than to
    /// answer each of them.
    ///
    /// # Errors
    ///
    /// As of [`scrape`](Self::scrape).
    pub fn recent_scrape(&self) -> anyhow::Result<Arc<Exposition>> {
        let mut recent = self.recent.lock().expect("nobody panics while scraping");
        if let Some((at, scrape)) = &*recent
            && at.elapsed() < poll::patient(RECENT)
        {
            return Ok(Arc::clone(scrape));
        }
        let scrape = Arc::new(self.scrape()?);
        *recent = Some((Instant::now(), Arc::clone(&scrape)));
        Ok(scrape)
    }

    /// Waits until the agent has counted the truth, and checks that it stays so.
    ///
    /// # Errors
    ///
    /// Says what differs, with what the agent logged.
    pub fn expect(&self, moment: &Moment) -> anyhow::Result<()> {
        self.expect_all(std::slice::from_ref(moment))
    }

    /// Like [`expect`](Self::expect) for many at a time.
    ///
    /// # Errors
    ///
    /// As of [`expect`](Self::expect).
    pub fn expect_all(&self, moments: &[Moment]) -> anyhow::Result<()> {
        let is_over = moments.iter().all(|it| it.edges.0.values().all(|totals| totals.active == 0));
        let calm = if is_over { CALM_AT_END } else { CALM };
        poll::until_lasting(PATIENCE, calm, || {
            let scrape = self.recent_scrape()?;
            moments.iter().try_for_each(|moment| {
                moment.compare(&Edges::of(&scrape, &moment.interest)?)?;
                check_lifetimes(&scrape, moment)
            })
        })
        .with_context(|| self.in_its_words())
    }

    /// Checks what is said of connections while they are open: what was sent again, arrived out of order or waited for the
    /// other end's window is what the kernel counts, handshakes took no longer than the client's calls to connect, and
    /// round-trip times keep coming that are the kernel's.
    ///
    /// # Errors
    ///
    /// Says what differs, with what the agent logged.
    pub fn expect_quality(
        &self,
        moment: &Moment,
        truth: impl Fn() -> anyhow::Result<Quality>,
    ) -> anyhow::Result<()> {
        let name = &moment.interest.names[0];
        let (mut last, mut wrong) = (None, None);
        poll::until(PATIENCE, || {
            // Each time anew: the acknowledgement of what came last may be on its way.
            let Quality { request, response, rtt: (least, greatest), min_rtt, server_rtt: _ } = truth()?;
            let scrape = self.recent_scrape()?;
            let of_case = |metric: &str, label: (&str, &str)| -> f64 {
                let series = scrape.series(metric).filter(|(labels, _)| {
                    labels.get("client_name") == Some(name)
                        && (label.0.is_empty() || labels.get(label.0).is_some_and(|it| it == label.1))
                });
                series.map(|(_, value)| value).sum()
            };
            for (direction, expected) in [("request", request), ("response", response)] {
                let DirectionQuality { retransmits, retransmitted_bytes, out_of_order, limited_ms } =
                    expected;
                // `ss` cuts off what is less than a millisecond, of each socket.
                let cut = moment.truth().active as f64 / 1e3;
                for (metric, expected, tolerance) in [
                    ("ridley_link_retransmits_total", retransmits as f64, 0.0),
                    ("ridley_link_retransmitted_bytes_total", retransmitted_bytes as f64, 0.0),
                    ("ridley_link_out_of_order_segments_total", out_of_order as f64, 0.0),
                    ("ridley_link_receive_window_limited_time_seconds_total", limited_ms as f64 / 1e3, cut),
                ] {
                    let found = of_case(metric, ("direction", direction));
                    ensure!(
                        (found - expected).abs() <= tolerance,
                        "{metric} of the {direction}: {found} instead of {expected}"
                    );
                }
            }
            let found = of_case("ridley_link_min_rtt_seconds", ("", ""));
            // Whole microseconds, of which `ss` tells six digits.
            ensure!(
                (found - min_rtt).abs() < 1e-7 + min_rtt * 1e-5,
                "a least round-trip time of {found} s instead of {min_rtt} s"
            );
            // The first round trip is within the handshake, and that within the application's call to connect.
            let found = of_case("ridley_link_connect_duration_seconds_sum", ("", ""));
            let all_least = moment.truth().handshakes as f64 * (min_rtt * (1.0 - 1e-5) - 1e-9);
            let all_most = moment.connecting.as_secs_f64();
            ensure!(
                (all_least..=all_most).contains(&found),
                "handshakes took {found} s in all instead of {all_least} s to {all_most} s"
            );
            let n = of_case("ridley_link_rtt_seconds_count", ("", ""));
            let sum = of_case("ridley_link_rtt_seconds_sum", ("", ""));
            let (n_before, sum_before) = last.unwrap_or((n, sum));
            // The first ones may have been taken before the connections came to rest.
            last = Some((n, sum));
            if n > n_before {
                // `ss` cuts off what is less than a microsecond, and rounds to six digits.
                let mean = (sum - sum_before) / (n - n_before);
                let (least_possible, most_possible) =
                    (least * (1.0 - 1e-5) - 1e-9, greatest * (1.0 + 1e-5) + 1e-6);
                if (least_possible..most_possible).contains(&mean) {
                    return Ok(());
                }
                wrong = Some(format!("round-trip times of {mean} s instead of {least} to {greatest} s"));
            }
            bail!("{}", wrong.as_deref().unwrap_or("no further round-trip times"))
        })
        .with_context(|| self.in_its_words())
    }

    /// Checks that the agent has left itself nothing but the two capabilities that observing needs.
    ///
    /// # Errors
    ///
    /// Names a thread that may do more.
    pub fn expect_limits(&self) -> anyhow::Result<()> {
        // At its start it looks up who holds the sockets that exist, as far as it may.
        poll::until(PATIENCE, || limits::check(self.pid(), limits::TWO_CAPABILITIES))
            .with_context(|| self.in_its_words())
    }

    /// Asks the agent to end, and returns its last word.
    ///
    /// # Errors
    ///
    /// As of [`last_word`](Self::last_word).
    pub fn stop(self) -> anyhow::Result<Exposition> {
        // Who has been scraped waits at its end for one more scrape.
        self.scrape()?;
        self.signal(Signal::TERM)?;
        self.last_word()
    }

    /// Scrapes the agent until it no longer answers, waits for its end, and returns the last scrape.
    ///
    /// # Errors
    ///
    /// The agent does not end in time, or not with exit code 0.
    pub fn last_word(mut self) -> anyhow::Result<Exposition> {
        let start = Instant::now();
        let mut last = None;
        while let Ok(scrape) = self.scrape() {
            last = Some(scrape);
            ensure!(
                start.elapsed() < poll::patient(PATIENCE),
                "the agent does not end\n{}",
                self.in_its_words()
            );
        }
        // The endpoint closes first, the process ends soon after.
        let status = self.await_end(PATIENCE.saturating_sub(start.elapsed()))?;
        ensure!(status.success(), "the agent ended with {status}\n{}", self.in_its_words());
        last.with_context(|| format!("the agent was never scraped\n{}", self.in_its_words()))
    }

    /// Sends a signal to the agent.
    ///
    /// # Errors
    ///
    /// The agent is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the agent has no process id")?;
        kill_process(pid, signal).context("cannot signal the agent")
    }

    /// Waits until the agent has ended by itself.
    ///
    /// # Errors
    ///
    /// It runs on.
    pub fn await_end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        let ended = poll::until(limit, || child.try_wait()?.context("the agent runs on"));
        ended.with_context(|| self.in_its_words())
    }

    /// Opens connections until the agent shows one: from then on it misses none. `attributes` tell its links apart beyond the usual.
    ///
    /// # Errors
    ///
    /// It shows none.
    pub fn await_observation(&self, attributes: &[String]) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr().context("a listener without an address")?;
        let interest =
            Interest { names: Vec::new(), ports: vec![address.port()], attributes: attributes.to_vec() };
        poll::until(PATIENCE, || {
            let client = TcpStream::connect(address).context("cannot connect to itself")?;
            let server = listener.accept().context("cannot accept")?;
            drop((client, server));
            ensure!(!Edges::of(&self.scrape()?, &interest)?.0.is_empty(), "the agent shows no connection");
            Ok(())
        })
        .with_context(|| self.in_its_words())
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("cannot wait for the agent")? {
            None => Ok(()),
            Some(status) => bail!("the agent ended with {status}"),
        }
    }

    /// Returns what the agent logged and what it says of itself, as far as it is not zero.
    fn in_its_words(&self) -> String {
        let mut words = match self.log() {
            log if log.is_empty() => "the agent logged nothing".to_owned(),
            log => format!("the agent logged:\n{}", log.trim_end()),
        };
        let Ok(scrape) = self.scrape() else { return words };
        words.push_str("\nand says of itself:");
        for name in scrape.names().filter(|name| !name.starts_with("ridley_link_")) {
            for (labels, value) in scrape.series(name).filter(|(_, value)| *value != 0.0) {
                let values: Vec<_> = labels.values().map(String::as_str).collect();
                words.push_str(&format!("\n  {name} {value} ({})", values.join(", ")));
            }
        }
        words
    }
}

/// Runs a test with an agent that root starts, and with one that anybody starts with two capabilities.
///
/// # Errors
///
/// The first of the two that failed, with the rights of its agent.
pub fn with_all_and_two(test: impl Fn(Rights) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let tested = |rights| test(rights).with_context(|| format!("with an agent of the rights {rights:?}"));
    [Rights::All, Rights::TwoCapabilities].into_iter().try_for_each(tested)
}

/// As whom the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// As whoever runs the tests: root.
    All,
    /// As nobody, with the two capabilities that observing needs, and no way to more.
    TwoCapabilities,
    /// As root in a container that has been granted these two and nothing else.
    Container,
    /// As nobody.
    None,
}

impl Rights {
    /// Returns what `setpriv` is told.
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::All => &[],
            Self::TwoCapabilities => &[
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all,+bpf,+perfmon",
                "--ambient-caps=-all,+bpf,+perfmon",
                "--bounding-set=-all,+bpf,+perfmon",
                "--no-new-privs",
            ],
            Self::Container => &[
                "--inh-caps=-all",
                "--ambient-caps=-all",
                "--bounding-set=-all,+bpf,+perfmon",
                "--no-new-privs",
            ],
            Self::None => &["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"],
        }
    }

    /// Returns what the ends of connections must belong to so that an agent which starts later can name them. Which process
    /// holds a socket that exists only root can look up; its unit the kernel tells.
    pub const fn home_of_older(self) -> Home {
        match self {
            Self::All => Home::Host,
            Self::TwoCapabilities | Self::Container | Self::None => Home::Unit,
        }
    }

    /// Gives a folder to who has these rights.
    ///
    /// # Errors
    ///
    /// The tests do not run as root.
    pub fn own(self, folder: &Path) -> anyhow::Result<()> {
        let user = match self {
            Self::All | Self::Container => return Ok(()),
            Self::TwoCapabilities | Self::None => NOBODY,
        };
        chown(folder, Some(user), Some(user)).context("cannot give a folder away: that needs root")
    }

    /// Returns a path of the agent that who has these rights may run. The folder that it was built to may be closed to
    /// others; then it is a copy in `folder`, which this opens.
    ///
    /// # Errors
    ///
    /// The agent is missing, or cannot be copied.
    pub fn program(self, folder: &Path) -> anyhow::Result<PathBuf> {
        let built = program()?;
        if self == Self::All {
            return Ok(built);
        }
        let copy = folder.join("ridley");
        fs::copy(built, &copy).context("cannot copy the agent")?;
        for path in [folder, &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .context("cannot open it to others")?;
        }
        Ok(copy)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Checks that connections have lived as long as their peers say.
fn check_lifetimes(scrape: &Exposition, moment: &Moment) -> anyhow::Result<()> {
    let Some((least, most)) = moment.lifetimes else { return Ok(()) };
    let of_case = scrape
        .series("ridley_link_connection_duration_seconds_sum")
        .filter(|(labels, _)| labels.get("client_name") == Some(&moment.interest.names[0]));
    let found: f64 = of_case.map(|(_, value)| value).sum();
    ensure!(
        (least.as_secs_f64()..=most.as_secs_f64()).contains(&found),
        "connections have lived {found} s in all instead of {least:?} to {most:?}"
    );
    Ok(())
}

/// Returns the binary to judge: `RIDLEY_BIN`, else the one in the folder that the tests were built to.
///
/// # Errors
///
/// There is none.
pub fn program() -> anyhow::Result<PathBuf> {
    match env::var_os("RIDLEY_BIN") {
        Some(path) => {
            let path = std::path::absolute(&path).context("RIDLEY_BIN is no path")?;
            // Whoever runs it for us would only say that it ended.
            ensure!(path.is_file(), "RIDLEY_BIN names {}, which is no file", path.display());
            Ok(path)
        }
        None => binary("ridley").context("the agent is missing: build it (`cargo build`), or set RIDLEY_BIN"),
    }
}

/// Returns what the agent is told where everything takes longer: the two ends of a connection are reported further apart.
fn on_slow_machine() -> Vec<String> {
    let wait = poll::patient(JOIN_WAIT);
    let setting = format!("processors.join.wait={}s", wait.as_secs());
    if wait > JOIN_WAIT { vec!["--set".to_owned(), setting] } else { Vec::new() }
}
