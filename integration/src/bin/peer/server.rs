use std::{io, sync::Arc};

use anyhow::Context;
use integration::plan::{Event, Plan, Side, Sockets};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{conversation::Conversation, ledger::Ledger, sockets};

/// Connections that may wait to be accepted, unless the plan says how many; the kernel lowers it to its own limit.
const BACKLOG: u32 = 4096;

/// Accepts connections until the plan is fulfilled or the harness says stop, and follows each to its end.
pub(crate) async fn run(plan: &Plan, ledger: &Arc<Ledger>) -> anyhow::Result<()> {
    let listener = listen(plan)?;
    let second = (plan.traffic.sockets == Sockets::SharedPort).then(|| listen(plan)).transpose()?;
    crate::tell(&Event::Ready)?;
    if plan.traffic.sockets == Sockets::NeverAccepted {
        ledger.until_stopped().await;
        return Ok(());
    }
    let script: Arc<[_]> = plan.traffic.script.clone().into();
    let mut rest = plan.traffic.connections.unwrap_or(u64::MAX);
    let mut conversations = JoinSet::new();
    while rest > 0 {
        let stream = tokio::select! {
            accepted = accept(&listener, second.as_ref()) => accepted.context("cannot accept")?,
            Some(over) = conversations.join_next() => {
                over.context("a conversation panicked")??;
                continue;
            }
            () = ledger.until_stopped() => break,
        };
        rest -= 1;
        let (ledger, script) = (Arc::clone(ledger), Arc::clone(&script));
        conversations
            .spawn(async move { Conversation::new(stream, Side::Server, &ledger).follow(&script).await });
    }
    while let Some(over) = conversations.join_next().await {
        over.context("a conversation panicked")??;
    }
    Ok(())
}

pub(crate) fn listen(plan: &Plan) -> anyhow::Result<TcpListener> {
    let socket = sockets::make(plan.traffic.sockets, plan.address).context("cannot make a socket")?;
    socket.set_reuseaddr(true).context("cannot set the socket's options")?;
    let is_shared = plan.traffic.sockets == Sockets::SharedPort;
    socket.set_reuseport(is_shared).context("cannot set the socket's options")?;
    socket.bind(plan.address).with_context(|| format!("cannot bind {}", plan.address))?;
    socket.listen(plan.traffic.backlog.unwrap_or(BACKLOG)).context("cannot listen")
}

async fn accept(listener: &TcpListener, second: Option<&TcpListener>) -> io::Result<TcpStream> {
    let (stream, _) = match second {
        None => listener.accept().await?,
        Some(second) => tokio::select! {
            accepted = listener.accept() => accepted?,
            accepted = second.accept() => accepted?,
        },
    };
    Ok(stream)
}
