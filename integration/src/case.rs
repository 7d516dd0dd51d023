//! A case: traffic as data, and how it must end.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    thread,
};

use anyhow::Context;

use crate::{
    edges::Name,
    moment::Moment,
    plan::{Side, Step, Traffic},
    play::Play,
    world::{Family, Path, World},
};

const FIRST_PORT: u16 = 20_000;
/// Cases that have ports of their own, below those that the kernel gives to clients.
const N_PORTS: u16 = 6000;

/// Connections of one kind between two processes, and how they must end.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence without its spaces.
    pub name: &'static str,
    /// How the packets travel.
    pub path: Path,
    /// Which addresses are used.
    pub family: Family,
    /// What stands in the way.
    pub fault: Fault,
    /// What the processes belong to.
    pub home: Home,
    /// What the peers do.
    pub traffic: Traffic,
    /// Which peer is killed (`SIGKILL`) in the midst of [`Step::UntilBroken`], its one connection's last step.
    pub victim: Option<Side>,
    /// How every connection must end. One whose peer was killed may also end normally, if nothing was under way.
    pub outcome: Outcome,
}

/// What stands in the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody listens.
    NobodyListens,
    /// The server's side drops everything.
    ArrivalsDropped,
    /// Nobody listens, but the client hears of it only after a `SYN` that crosses its own.
    RefusalsCrossed,
    /// Both sides lose some packets.
    Loss,
    /// From the first hold on the server's side drops everything.
    Silence,
}

/// What the two processes of a case belong to, which decides how they are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing: they are named by command.
    Host,
    /// A service unit of systemd each.
    Unit,
    /// A container each.
    Container,
    /// A container of a Kubernetes pod each, whose control group has the longest name that is in use.
    Pod,
    /// Containers of these pods, by their uids: the client's and the server's.
    Pods([&'static str; 2]),
}

/// How every connection of a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both ends say goodbye.
    Normal,
    /// The client resets.
    ClientReset,
    /// The server resets.
    ServerReset,
    /// The client gives up what is not answered.
    Timeout,
    /// One end's kernel gives it up, because the harness tells it to: the last step is [`Step::Abort`].
    Aborted(Side),
    /// It is never established, for this reason.
    Fails(&'static str),
}

impl Case {
    /// Makes a case of one IPv4 connection between two nodes that follows a script and ends normally.
    pub fn new(name: &'static str, script: impl Into<Vec<Step>>) -> Self {
        Self {
            name,
            path: Path::TwoNodes,
            family: Family::Ipv4,
            fault: Fault::None,
            home: Home::Host,
            traffic: Traffic { script: script.into(), ..Traffic::default() },
            victim: None,
            outcome: Outcome::Normal,
        }
    }

    /// Plays the case to its end. `judge` is called whenever all connections hold, and at the end.
    ///
    /// # Errors
    ///
    /// The peers or the judge fail, or the peers contradict each other.
    pub fn play(
        &self,
        world: &World,
        judge: &mut dyn FnMut(&Moment) -> anyhow::Result<()>,
    ) -> anyhow::Result<Moment> {
        let mut play = self.start(world)?;
        if self.traffic.n_holds() == 0 {
            return play.finish(judge);
        }
        let moment = play.holding()?;
        judge(&moment).context("at hold 1, with the connections open")?;
        play.go_on(judge)
    }

    /// Starts both peers.
    ///
    /// # Errors
    ///
    /// A peer or a tool cannot be run.
    pub fn start<'a>(&'a self, world: &'a World) -> anyhow::Result<Play<'a>> {
        let mut play = self.listen(world)?;
        play.connect()?;
        Ok(play)
    }

    /// Starts the server alone; [`Play::connect`] adds the client.
    ///
    /// # Errors
    ///
    /// A peer or a tool cannot be run.
    pub fn listen<'a>(&'a self, world: &'a World) -> anyhow::Result<Play<'a>> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let route = world.route(self.path, self.family, FIRST_PORT + 2 * (number % N_PORTS));
        if self.path == Path::Service {
            world.publish(&route)?;
        }
        match self.fault {
            Fault::None | Fault::NobodyListens | Fault::Silence => {}
            Fault::ArrivalsDropped => world.drop_arrivals(&route)?,
            Fault::RefusalsCrossed => world.cross_refusals(&route)?,
            Fault::Loss => world.lose_some(&route)?,
        }
        Play::listen(self, world, route, number)
    }
}

/// Plays cases side by side. `judge` is called for each as by [`Case::play`].
///
/// # Errors
///
/// The first of them that failed.
pub fn play_all(
    cases: &[Case],
    world: &World,
    judge: impl Fn(&Moment) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Vec<Moment>> {
    let play =
        |case: &Case| case.play(world, &mut |moment| judge(moment)).with_context(|| format!("{case:?}"));
    side_by_side(cases.iter().collect(), play)
}

/// Acts on many things at a time, each in a thread of its own.
///
/// # Errors
///
/// The first of them that failed, when all are over.
pub fn side_by_side<T: Send, R: Send>(
    items: Vec<T>,
    act: impl Fn(T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    thread::scope(|scope| {
        let act = &act;
        let acting: Vec<_> = items.into_iter().map(|item| scope.spawn(move || act(item))).collect();
        acting.into_iter().map(|it| it.join().expect("a case does not panic")).collect()
    })
}

impl Home {
    pub(crate) fn control_group(self, world: &World, side: Side, process: &str) -> anyhow::Result<PathBuf> {
        let of_pod = |uid: &str| {
            world.control_group(&format!(
                "system.slice/containerd.service/kubepods-besteffort-pod{}.slice:cri-containerd:{}",
                uid.replace('-', "_"),
                container(process)
            ))
        };
        match self {
            Self::Host => world.control_group(process),
            Self::Unit => world.control_group(&format!("system.slice/{}", unit(process))),
            Self::Container => {
                world.control_group(&format!("system.slice/docker-{}.scope", container(process)))
            }
            Self::Pod => of_pod(POD),
            Self::Pods([client, server]) => of_pod(if side == Side::Client { client } else { server }),
        }
    }

    pub(crate) fn name(self, process: &str) -> Name {
        match self {
            Self::Host => Name { name: process.to_owned(), kind: "Process".to_owned(), ..Name::default() },
            Self::Unit => Name { name: unit(process), kind: "Unit".to_owned(), ..Name::default() },
            Self::Container | Self::Pod | Self::Pods(_) => Name {
                name: process.to_owned(),
                namespace: Some(container(process)[..12].to_owned()),
                kind: "Container".to_owned(),
                ..Name::default()
            },
        }
    }
}

/// A pod's uid.
const POD: &str = "12345678-1234-1234-1234-123456789abc";

fn unit(process: &str) -> String {
    format!("{process}.service")
}

/// Makes up a container id: 64 hexadecimal digits that differ from process to process in the first twelve.
fn container(process: &str) -> String {
    let digits: String = process.bytes().map(|byte| format!("{:x}", byte & 0xf)).collect();
    format!("{digits:0<64}")
}
