use std::sync::Arc;

use anyhow::Context;
use integration::plan::{Event, Plan, Side};
use tokio::{net::TcpSocket, task::JoinSet};

use crate::{conversation::Conversation, ledger::Ledger};

/// Connections that may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: u32 = 4096;

/// Accepts connections until the plan is fulfilled or the harness says stop, and follows each to its end.
pub(crate) async fn run(plan: &Plan, ledger: &Arc<Ledger>) -> anyhow::Result<()> {
    let socket = if plan.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("cannot make a socket")?;
    socket.set_reuseaddr(true).context("cannot set the socket's options")?;
    socket.bind(plan.address).with_context(|| format!("cannot bind {}", plan.address))?;
    let listener = socket.listen(BACKLOG).context("cannot listen")?;
    crate::tell(&Event::Ready)?;
    let script: Arc<[_]> = plan.traffic.script.clone().into();
    let mut rest = plan.traffic.connections.unwrap_or(u64::MAX);
    let mut conversations = JoinSet::new();
    while rest > 0 {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept")?.0,
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
