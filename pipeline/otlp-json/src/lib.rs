//! OTLP's JSON form to protobuf and back.
//!
//! Both directions go over the text or the bytes once, by tables of the messages ([`schema`]), and make no message in
//! memory: what a request takes is its own size and that of the result.
//!
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#json-protobuf-encoding>

#![forbid(unsafe_code)]

mod read;
pub mod schema;
mod write;

pub use self::{
    read::to_protobuf,
    write::{Malformed, to_json},
};

#[cfg(test)]
mod tests;
