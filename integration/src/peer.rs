//! Runs a peer and speaks with it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    binary,
    plan::{Event, Order, Plan, Report},
    poll,
    world::{Namespace, World},
};

/// Longer than any script takes, also where other tests take the processor's time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that plays one end of a case's connections. It ends with this value.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    orders: ChildStdin,
    events: Receiver<Event>,
    complaints: Option<JoinHandle<String>>,
    patience: Duration,
}

impl Peer {
    /// Starts a peer inside a namespace.
    ///
    /// # Errors
    ///
    /// The program is not built, or cannot be started.
    pub fn start(world: &World, namespace: Namespace, plan: &Plan) -> anyhow::Result<Self> {
        Self::start_by(world.command_in(namespace, &program()?), plan)
    }

    /// Starts a peer by a command that runs its program somewhere.
    ///
    /// # Errors
    ///
    /// The command cannot be run.
    pub fn start_by(mut command: Command, plan: &Plan) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the peer {}", plan.name))?;
        let orders = child.stdin.take().expect("standard input is piped");
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut stderr = child.stderr.take().expect("standard error is piped");
        let (events_in, events) = sync_channel(16);
        thread::spawn(move || {
            // A line that is no event ends the conversation; the peer's complaints then say more.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { return };
                if events_in.send(event).is_err() {
                    return;
                }
            }
        });
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read cannot be quoted.
            let _read = stderr.read_to_string(&mut text);
            text
        });
        let mut peer = Self {
            name: plan.name.clone(),
            child,
            orders,
            events,
            complaints: Some(complaints),
            patience: poll::patient(PATIENCE),
        };
        peer.write(&serde_json::to_string(plan)?)?;
        Ok(peer)
    }

    /// Waits until the server listens, or until the client is about to begin.
    ///
    /// # Errors
    ///
    /// The peer failed or did something else.
    pub fn ready(&mut self) -> anyhow::Result<()> {
        match self.next()? {
            Event::Ready => Ok(()),
            other => bail!("peer {} should be ready, but says {other:?}", self.name),
        }
    }

    /// Waits until all connections hold.
    ///
    /// # Errors
    ///
    /// The peer failed or did something else.
    pub fn holding(&mut self) -> anyhow::Result<Report> {
        match self.next()? {
            Event::Holding(report) => Ok(report),
            other => bail!("peer {} should hold, but says {other:?}", self.name),
        }
    }

    /// Waits until everything is over.
    ///
    /// # Errors
    ///
    /// The peer failed or did something else.
    pub fn done(&mut self) -> anyhow::Result<Report> {
        match self.next()? {
            Event::Done(report) => Ok(report),
            other => bail!("peer {} should be done, but says {other:?}", self.name),
        }
    }

    /// Asks what has happened so far.
    ///
    /// # Errors
    ///
    /// The peer failed or did something else.
    pub fn report(&mut self) -> anyhow::Result<Report> {
        self.order(Order::Report)?;
        match self.next()? {
            Event::Underway(report) => Ok(report),
            other => bail!("peer {} should report, but says {other:?}", self.name),
        }
    }

    /// Expects an answer soon or never: the other peer has failed.
    pub fn hurry(&mut self) {
        self.patience = poll::patient(Duration::from_secs(1));
    }

    /// Lets the connections go on after a hold.
    ///
    /// # Errors
    ///
    /// The peer is gone.
    pub fn go(&mut self) -> anyhow::Result<()> {
        self.order(Order::Go)
    }

    /// Lets the peer finish what it has begun and begin nothing more.
    ///
    /// # Errors
    ///
    /// The peer is gone.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.order(Order::Stop)
    }

    /// Kills the peer, and waits until the kernel has closed its sockets.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("cannot kill the peer {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for the peer {}", self.name)).map(drop)
    }

    fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.write(&serde_json::to_string(&order)?)
    }

    fn write(&mut self, line: &str) -> anyhow::Result<()> {
        if writeln!(self.orders, "{line}").is_err() {
            let words = self.last_words();
            bail!("peer {} is gone{words}", self.name);
        }
        Ok(())
    }

    fn next(&mut self) -> anyhow::Result<Event> {
        match self.events.recv_timeout(self.patience) {
            Ok(event) => Ok(event),
            Err(RecvTimeoutError::Timeout) => {
                bail!("peer {} says nothing for {:?}", self.name, self.patience)
            }
            Err(RecvTimeoutError::Disconnected) => {
                let words = self.last_words();
                bail!("peer {} ended{words}", self.name)
            }
        }
    }

    fn last_words(&mut self) -> String {
        let text = self.complaints.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if text.is_empty() { " without a word".to_owned() } else { format!(": {}", text.trim()) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Returns the path of the peers' program.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    binary("peer").context("the peer's program is missing; `cargo test -p integration` builds it")
}
