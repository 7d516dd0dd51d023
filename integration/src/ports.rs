//! Ports of loopback for servers that are told where to listen.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::Context;

/// Below those that the kernel gives to whoever connects, or asks for any: such a port may be taken before its server starts.
const PORTS: Range<u16> = 15_000..30_000;

/// Returns an address of loopback that nobody listens at, and that nobody else in this process is given.
///
/// # Errors
///
/// There is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    static N_GIVEN: AtomicU16 = AtomicU16::new(0);
    let n_ports = PORTS.end - PORTS.start;
    // Processes that run beside each other begin at different places.
    let first = process::id().wrapping_mul(97) % u32::from(n_ports);
    let mut candidates = (0..n_ports).map(|_| {
        let offset = (first + u32::from(N_GIVEN.fetch_add(1, Ordering::Relaxed))) % u32::from(n_ports);
        let port = PORTS.start + u16::try_from(offset).expect("it is less than the number of ports");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    });
    candidates.find(|it| TcpListener::bind(it).is_ok()).context("every port is in use")
}
