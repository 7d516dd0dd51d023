use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use integration::plan::{Event, Plan, Side, Sockets};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::{conversation::Conversation, ledger::Ledger, sockets};

/// Opens connections until the plan is fulfilled or the harness says stop.
pub(crate) async fn run(plan: &Plan, ledger: &Arc<Ledger>) -> anyhow::Result<()> {
    crate::tell(&Event::Ready)?;
    let plan = Arc::new(plan.clone());
    let taken = Arc::new(AtomicU64::new(0));
    // Missed ticks come in a burst, so that the rate holds however long the runtime was busy elsewhere.
    let pace = plan.traffic.per_second.map(|per_second| {
        let mut pace = interval(Duration::from_secs(1) / per_second.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        pace
    });
    let pace = Arc::new(Mutex::new(pace));
    let mut workers = JoinSet::new();
    for _ in 0..plan.traffic.parallel {
        workers.spawn(work(Arc::clone(&plan), Arc::clone(ledger), Arc::clone(&taken), Arc::clone(&pace)));
    }
    while let Some(worked) = workers.join_next().await {
        worked.context("a worker panicked")??;
    }
    Ok(())
}

async fn work(
    plan: Arc<Plan>,
    ledger: Arc<Ledger>,
    taken: Arc<AtomicU64>,
    pace: Arc<Mutex<Option<Interval>>>,
) -> anyhow::Result<()> {
    let connections = plan.traffic.connections.unwrap_or(u64::MAX);
    while taken.fetch_add(1, Ordering::Relaxed) < connections && !ledger.is_stopped() {
        if let Some(pace) = pace.lock().await.as_mut() {
            pace.tick().await;
        }
        if let Some((stream, sent)) = connect(&plan, &ledger).await? {
            let conversation = Conversation::new(stream, Side::Client, &ledger).having_sent(sent);
            conversation.follow(&plan.traffic.script).await?;
        }
    }
    Ok(())
}

/// Connects, and returns the connection with the number of bytes that were sent at once.
async fn connect(plan: &Plan, ledger: &Ledger) -> anyhow::Result<Option<(TcpStream, usize)>> {
    let connecting = async {
        match plan.traffic.sockets {
            Sockets::FastOpen => sockets::connect_with_bytes(plan.address).await,
            Sockets::SamePort => Ok((sockets::connect_from_next_port(plan.address).await?, 0)),
            kind => {
                let socket = sockets::make(kind, plan.address)?;
                if let Some(millis) = plan.traffic.unanswered_ms {
                    set_tcp_user_timeout(&socket, millis)?;
                }
                Ok((socket.connect(plan.address).await?, 0))
            }
        }
    };
    let begin = Instant::now();
    let connected = match plan.traffic.cancel_after_ms {
        None => connecting.await,
        Some(millis) => match timeout(Duration::from_millis(millis), connecting).await {
            Ok(connected) => connected,
            Err(_elapsed) => {
                ledger.failed("canceled");
                return Ok(None);
            }
        },
    };
    let error = match connected {
        Ok(connected) => {
            ledger.connected(begin.elapsed());
            return Ok(Some(connected));
        }
        Err(error) => error,
    };
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::TimedOut => "timeout",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable",
        ErrorKind::ConnectionReset => "reset",
        _ => return Err(error).with_context(|| format!("cannot connect to {}", plan.address)),
    };
    ledger.failed(reason);
    Ok(None)
}
