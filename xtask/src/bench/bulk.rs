//! Bytes per second of one connection that sends as fast as it can, without and with the agent in turn.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{
    report::{Budget, Report},
    rounds::Rounds,
};
use crate::{command, lab::pause, packages::Tool};

pub(super) const INSTALLED: &[Tool] =
    &[Tool { program: "iperf3", package: "iperf3", purpose: "one connection as fast as it goes" }];

const RUN_SECS: &str = "10";
/// The processors of the client and of the server. Left to itself the kernel puts both on one or on two, and another choice
/// makes twice the difference that any agent could.
const PINNED: &str = "0,1";
/// How often the client asks whether its server listens, a tenth of a second apart.
const ATTEMPTS: u32 = 50;

/// Compares throughput of one connection over loopback.
pub(super) fn throughput(binary: &Path, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("bench: one connection that is busy, {rounds} rounds");
    let figures = Rounds::measure(binary, rounds, Duration::ZERO, gigabits_per_second)?;
    report.add("one busy connection, agent off", figures.off, "Gbit/s", Budget::None);
    report.add("one busy connection, agent on", figures.on, "Gbit/s", Budget::None);
    report.add_within(
        "one busy connection, on / off",
        figures.ratio,
        figures.interval(),
        "",
        Budget::AtLeast(0.99),
    );
    report.add("one busy connection: agent's CPU", figures.agent_cpu * 100.0, "% of a core", Budget::None);
    report.note(format!(
        "Bulk throughput is the median of {rounds} rounds of runs of {RUN_SECS}s: `iperf3` over loopback, client and server \
         each on a processor of its own. No program of the agent runs while bytes flow, so that it can take only the time \
         of its own samples. {}",
        figures.spread()
    ));
    Ok(())
}

fn gigabits_per_second() -> anyhow::Result<f64> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port().to_string();
    let server = Command::new("iperf3")
        .args(["--server", "--one-off", "--bind", "127.0.0.1", "--port", &port])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start iperf3")?;
    let mut server = Server(server);
    for _ in 0..ATTEMPTS {
        // A connection of another kind would be the one that the server waits for.
        pause(Duration::from_millis(100));
        let mut client = Command::new("iperf3");
        client.args(["--client", "127.0.0.1", "--port", &port, "--time", RUN_SECS, "--json"]);
        client.args(["--affinity", PINNED]);
        if let Ok(answer) = command::output(&mut client) {
            return received(&answer);
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the server of iperf3 ended: {status}");
        }
    }
    bail!("iperf3 does not answer on port {port}")
}

/// Returns the gigabits per second that the server received.
fn received(answer: &str) -> anyhow::Result<f64> {
    let answer: serde_json::Value = serde_json::from_str(answer).context("iperf3 did not answer in JSON")?;
    let bits = answer.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
    Ok(bits.context("iperf3 does not tell bits_per_second")? / 1e9)
}

/// Ends with this value, if it has not after its one connection.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_counts() {
        let answer =
            r#"{"end": {"sum_sent": {"bits_per_second": 3e9}, "sum_received": {"bits_per_second": 2.5e9}}}"#;
        assert_eq!(received(answer).unwrap(), 2.5);
        assert!(received(r#"{"error": "busy"}"#).is_err());
    }
}
