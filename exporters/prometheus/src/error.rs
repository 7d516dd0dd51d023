use std::{io, net::SocketAddr};

use component::Id;

/// The exporter could not listen where it was told to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint}; set `exporters.{id}.endpoint` to a free address")]
pub struct BindError {
    /// Address from the configuration.
    pub endpoint: SocketAddr,
    /// The exporter's id in the configuration.
    pub id: Id,
    /// What the operating system answered.
    #[source]
    pub source: io::Error,
}
