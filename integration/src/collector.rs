//! A real OpenTelemetry Collector on loopback.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;
use tempfile::TempDir;

use crate::{
    command::{self, Running},
    metrics_server::program,
    poll,
    ports::free_address,
};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a Collector sends every signal on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// By HTTP, as protobuf, to what has `/v1/metrics` and so on behind it.
    Http(&'a str),
    /// By HTTP, as JSON that is not compressed.
    Json(&'a str),
    /// By gRPC.
    Grpc(&'a str),
    /// By gRPC, with further settings of the exporter.
    GrpcWith(&'a str, &'a str),
}

/// A running Collector that takes OTLP. It ends with this value.
#[derive(Debug)]
pub struct Collector {
    grpc: SocketAddr,
    http: SocketAddr,
    _running: Running,
    // Removed at the end.
    _folder: TempDir,
}

impl Collector {
    /// Starts a Collector that changes nothing.
    ///
    /// # Errors
    ///
    /// Its program is not there, or it does not listen; the message holds what it said.
    pub fn sending(to: To<'_>) -> anyhow::Result<Self> {
        Self::sending_at(free_address()?, to)
    }

    /// Like [`sending`](Self::sending), taking OTLP by gRPC at an address.
    ///
    /// # Errors
    ///
    /// As of [`sending`](Self::sending).
    pub fn sending_at(grpc: SocketAddr, to: To<'_>) -> anyhow::Result<Self> {
        Self::sending_with(grpc, "", to)
    }

    /// Like [`sending_at`](Self::sending_at), with further settings of what takes OTLP by gRPC.
    ///
    /// # Errors
    ///
    /// As of [`sending`](Self::sending).
    pub fn sending_with(grpc: SocketAddr, settings_of_grpc: &str, to: To<'_>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for a Collector")?;
        let http = free_address()?;
        let (exporter, settings) = match to {
            To::Http(endpoint) => ("otlp_http", format!("endpoint: '{endpoint}'")),
            To::Json(endpoint) => {
                ("otlp_http", format!("endpoint: '{endpoint}', encoding: json, compression: none"))
            }
            To::Grpc(endpoint) => ("otlp_grpc", format!("endpoint: '{endpoint}', tls: {{ insecure: true }}")),
            To::GrpcWith(endpoint, more) => ("otlp_grpc", format!("endpoint: '{endpoint}', {more}")),
        };
        let config = include_str!("../configs/collector.yaml")
            .replace("@GRPC@", &grpc.to_string())
            .replace("@TLS@", settings_of_grpc)
            .replace("@HTTP@", &http.to_string())
            .replace("@EXPORTER@", exporter)
            .replace("@SETTINGS@", &settings);
        let (path, log) = (folder.path().join("collector.yaml"), folder.path().join("log"));
        fs::write(&path, config).context("cannot write the Collector's configuration")?;
        let mut program = command::bound(None, &program("otelcol-slim"))?;
        let running = Running::start(program.arg("--config").arg(&path), &log)?;
        let is_ready = || {
            let listens = |it| TcpStream::connect(it).map(drop).context("it does not listen");
            listens(grpc).and_then(|()| listens(http))
        };
        poll::until(PATIENCE, is_ready)
            .with_context(|| format!("the Collector said last:\n{}", command::last_lines(&log)))?;
        Ok(Self { grpc, http, _running: running, _folder: folder })
    }

    /// Returns where it takes OTLP by gRPC.
    pub const fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Returns where it takes OTLP by HTTP.
    pub const fn http(&self) -> SocketAddr {
        self.http
    }
}
