use std::{pin::Pin, sync::Arc};

use crate::{BoxError, Id, Input, Notices, Output, Registry, Shutdown, Telemetry};

/// A future that is made where its type cannot be named.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a component is given when it is created.
#[derive(Clone, Debug)]
pub struct Context {
    /// The component's id in the configuration.
    pub id: Id,
    /// The component's own counters and gauges.
    pub telemetry: Telemetry,
    /// Every component's counters and gauges, for exporters that publish them.
    pub registry: Arc<Registry>,
    /// Tells that the pipeline drains, and until when.
    pub shutdown: Shutdown,
    /// Tells the user where to look.
    pub notices: Notices,
}

/// A component that is ready to run: it holds every resource that could have been refused.
pub enum Created {
    /// Feeds pipelines.
    Receiver(Box<dyn Receiver>),
    /// Stands inside a pipeline, or between two as a connector.
    Processor(Box<dyn Processor>),
    /// Ends pipelines.
    Exporter(Box<dyn Exporter>),
}

/// Brings data into pipelines.
pub trait Receiver: Send {
    /// Runs until shutdown is requested, or until there is nothing more to receive.
    ///
    /// What was received before shutdown is sent before this returns. Of what the pipeline does not take until the
    /// deadline nothing is waited for: it counts as dropped, reason `shutdown`.
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>>;
}

/// Turns batches into batches. A connector is a processor whose output is of another signal.
pub trait Processor: Send {
    /// Runs until the input ends, then sends what it still holds.
    ///
    /// Whoever runs it drops it at the deadline of a drain: what it holds then is its own to count as dropped, reason
    /// `shutdown`.
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>>;
}

/// Delivers data.
pub trait Exporter: Send {
    /// Runs until the input ends, then delivers what it still holds.
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>>;
}
