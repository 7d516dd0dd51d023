use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Flows, Listeners, Logs, Metrics, Receipt, Traces};

/// The kind of data a pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Observations of connections, and of sockets that wait for them.
    Flows,
    /// OpenTelemetry metrics.
    Metrics,
    /// OpenTelemetry spans.
    Traces,
    /// OpenTelemetry log records.
    Logs,
}

impl Signal {
    /// Every signal, in the order documents list them.
    pub const ALL: [Self; 4] = [Self::Flows, Self::Metrics, Self::Traces, Self::Logs];

    /// Returns the name used in configuration and in attributes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one component hands to the next.
///
/// The graph is checked before it runs, so a component receives only signals that its factory declared.
#[derive(Clone, Debug, PartialEq)]
pub enum Batch {
    /// Observations of connections.
    Flows(Flows),
    /// Observations of listening sockets, which travel with those of connections.
    Listeners(Listeners),
    /// OpenTelemetry metrics.
    Metrics(Metrics),
    /// OpenTelemetry spans.
    Traces(Traces),
    /// OpenTelemetry log records.
    Logs(Logs),
}

impl Batch {
    /// Returns the signal this batch belongs to.
    pub const fn signal(&self) -> Signal {
        match self {
            Self::Flows(_) | Self::Listeners(_) => Signal::Flows,
            Self::Metrics(_) => Signal::Metrics,
            Self::Traces(_) => Signal::Traces,
            Self::Logs(_) => Signal::Logs,
        }
    }

    /// Returns who is told whether it was taken, if somebody waits for that.
    pub const fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Flows(_) | Self::Listeners(_) => None,
            Self::Metrics(metrics) => Some(metrics.receipt()),
            Self::Traces(traces) => Some(traces.receipt()),
            Self::Logs(logs) => Some(logs.receipt()),
        }
    }

    /// Returns how many items are inside: flow records, reports on listening sockets, metric data points, spans or log
    /// records.
    pub fn n_items(&self) -> u64 {
        match self {
            Self::Flows(flows) => flows.records.len() as u64,
            Self::Listeners(listeners) => listeners.records.len() as u64,
            Self::Metrics(metrics) => metrics.n_items(),
            Self::Traces(traces) => traces.n_items(),
            Self::Logs(logs) => logs.n_items(),
        }
    }
}
