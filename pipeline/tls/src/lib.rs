//! Who may be at the other end of a connection: certificates, keys, and when they are read again.
//!
//! [`ClientTls`] are the settings of whoever connects, and make a [`Client`] of HTTP; [`ServerTls`] are those of whoever is connected
//! to, and make an [`Acceptor`]. Files that change are read again when a
//! connection is made ([`Watched`]): certificates that expire soon are replaced without an end of what runs.

#![forbid(unsafe_code)]

mod client;
mod config;
mod error;
mod files;
mod server;
mod watched;

pub use self::{
    client::{Client, Connector, Versions},
    config::{ClientTls, MinVersion, ServerTls, check_reload},
    error::TlsError,
    files::Files,
    server::Acceptor,
    watched::Watched,
};
