use std::{net::Ipv4Addr, time::Duration};

use model::{Batch, Endpoint, Interval, Listener, Listeners, Local, Transport, UnixNanos};

/// Makes a report on a socket that listens on port 80 of every address, drops nothing and lets 128 connections wait, of
/// which there is none; its interval is the first second of 1970.
///
/// ```
/// use component_test::listener;
///
/// let busy = model::Listener { queued: 3, ..listener() };
/// ```
pub fn listener() -> Listener {
    Listener {
        transport: Transport::Tcp,
        server: Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 80),
        interval: Interval { start: UnixNanos(0), end: UnixNanos(1_000_000_000) },
        dropped: 0,
        cookies: Duration::ZERO,
        queued: 0,
        queue_limit: 128,
        local: Local::default(),
    }
}

/// Makes a batch of reports on listening sockets.
pub fn listeners(records: impl IntoIterator<Item = Listener>) -> Batch {
    Batch::Listeners(Listeners { records: records.into_iter().collect() })
}
