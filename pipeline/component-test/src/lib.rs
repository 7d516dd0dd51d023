//! Fakes, and the compliance check that every component runs.
//!
//! [`Harness`] runs one component between channels that the test holds. [`Compliance`] is the list of what is expected
//! of every component, whatever it does. [`flow`] builds flow records in a line, [`listener`] reports on listening sockets,
//! [`otlp`] has the signals of OTLP; [`any_flow`] and [`any_listener`] are for properties.
//!
//! Tests run under paused time (`#[tokio::test(start_paused = true)]`) unless the component talks to real sockets.
//! Helpers panic with a message about what the component did wrong: they are of use in tests only.

#![forbid(unsafe_code)]

mod any;
mod compliance;
pub mod fakes;
mod flow;
mod harness;
mod ledger;
mod listener;
mod otlp;
mod points;
mod yaml;

pub use self::{
    any::{any_flow, any_listener},
    compliance::Compliance,
    flow::{FlowBuilder, flow, flows},
    harness::{Harness, Outcome},
    ledger::{Ledger, value},
    listener::{listener, listeners},
    otlp::otlp,
    points::points,
    yaml::settings,
};
