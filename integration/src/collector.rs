//! A real OpenTelemetry Collector on loopback.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;

use crate::{
    agent::free_address,
    command::{self, Running},
    metrics_server::program,
    poll,
};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Collector. It ends with this value.
#[derive(Debug)]
pub struct Collector {
    grpc: SocketAddr,
    _running: Running,
    // Removed at the end.
    _folder: TempDir,
}

impl Collector {
    /// Starts a Collector that takes OTLP by gRPC and sends every signal on by HTTP.
    ///
    /// # Errors
    ///
    /// Its program is not there, or it does not listen; the message holds what it said.
    pub fn sending_to(endpoint: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for a Collector")?;
        let grpc = free_address()?;
        let config = include_str!("../configs/collector.yaml")
            .replace("@GRPC@", &grpc.to_string())
            .replace("@TO@", endpoint);
        let (path, log) = (folder.path().join("collector.yaml"), folder.path().join("log"));
        fs::write(&path, config).context("cannot write the Collector's configuration")?;
        let mut program = command::bound(None, &program("otelcol-slim"));
        let running = Running::start(program.arg("--config").arg(&path), &log)?;
        let is_ready = || TcpStream::connect(grpc).map(drop).context("it does not listen");
        poll::until(PATIENCE, is_ready)
            .with_context(|| format!("the Collector said last:\n{}", command::last_lines(&log)))?;
        Ok(Self { grpc, _running: running, _folder: folder })
    }

    /// Returns where it takes OTLP by gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }
}
