//! Metrics of OpenTelemetry as Prometheus has them: names, labels, types, and which series there are.
//!
//! Names, units and labels follow the OpenTelemetry specification's translation, so that a scrape, a remote write and an
//! OTLP export of the same metrics yield the same series. [`Store`] keeps the series apart, notices what contradicts what is
//! there already, and forgets those that have ended. It does no I/O: what is done with the series is the exporters' part.

#![forbid(unsafe_code)]

mod drops;
mod float;
mod identity;
mod labels;
mod names;
mod store;
mod value;

pub use self::{
    drops::{DropReason, Drops},
    float::write as write_float,
    identity::{Identity, add_scope},
    labels::{append, parse},
    names::Type,
    store::{Cursor, Family, Follow, Limits, Shown, Size, Source, Store, Swept},
    value::{Bounds, Histogram, Summary, Value},
};
