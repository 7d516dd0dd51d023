use std::net::SocketAddr;

use anyhow::Context;
use integration::plan::{Event, Plan};
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use crate::server;

/// Passes on what the plan's connections bring, in both directions and to the end of each.
pub(crate) async fn run(plan: &Plan, onward: SocketAddr) -> anyhow::Result<()> {
    let listener = server::listen(plan)?;
    crate::tell(&Event::Ready)?;
    let mut connections = JoinSet::new();
    for _ in 0..plan.traffic.connections.context("a proxy must know how many connections will come")? {
        let (accepted, _) = listener.accept().await.context("cannot accept")?;
        connections.spawn(pass_on(accepted, onward));
    }
    while let Some(over) = connections.join_next().await {
        over.context("a connection panicked")??;
    }
    Ok(())
}

/// Two halves, as of a proxy that is two processes: they know each other by a unix socket alone.
async fn pass_on(mut accepted: TcpStream, onward: SocketAddr) -> anyhow::Result<()> {
    let (mut near, mut far) = UnixStream::pair().context("cannot make unix sockets")?;
    let front = async { copy_bidirectional(&mut accepted, &mut near).await.context("cannot pass on") };
    let back = async {
        let mut connected =
            TcpStream::connect(onward).await.with_context(|| format!("cannot connect to {onward}"))?;
        copy_bidirectional(&mut far, &mut connected).await.context("cannot pass on")
    };
    tokio::try_join!(front, back).map(|_bytes| ())
}
