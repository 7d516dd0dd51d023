use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use integration::{
    payload,
    plan::{Side, Sockets},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::sleep,
};

/// `MSG_FASTOPEN` of `sendto(2)`: connects, and sends what it can with the SYN.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
/// What fits into a SYN.
const FIRST_BYTES: usize = 500;
/// How long a port may be taken by a connection that is over, and how often to try: the kernel has whoever closed first wait
/// for a second or two.
const TAKEN: Duration = Duration::from_secs(10);
const TAKEN_PAUSE: Duration = Duration::from_millis(20);

/// Makes a socket of a kind for an address.
pub(crate) fn make(kind: Sockets, address: SocketAddr) -> io::Result<TcpSocket> {
    match kind {
        Sockets::Multipath => {
            let socket = nonblocking(address, Some(ipproto::MPTCP))?;
            Ok(TcpSocket::from_std_stream(socket.into()))
        }
        _ if address.is_ipv4() => TcpSocket::new_v4(),
        _ => TcpSocket::new_v6(),
    }
}

/// Connects with the first bytes of the payload, and returns how many the kernel took.
pub(crate) async fn connect_with_bytes(address: SocketAddr) -> io::Result<(TcpStream, usize)> {
    let socket = nonblocking(address, None)?;
    let bytes = &payload::from_offset(Side::Client, 0)[..FIRST_BYTES];
    let sent = match sendto(&socket, bytes, FAST_OPEN, &address) {
        Ok(n) => n,
        // Without a cookie the kernel first asks for one, and takes no bytes.
        Err(Errno::INPROGRESS) => 0,
        Err(error) => return Err(error.into()),
    };
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok((stream, sent)),
        Some(error) => Err(error),
    }
}

/// Connects from the port after the address's, as soon as the kernel has forgotten the connection before.
pub(crate) async fn connect_from_next_port(address: SocketAddr) -> io::Result<TcpStream> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let own = SocketAddr::new(any, address.port() + 1);
    let start = Instant::now();
    loop {
        let socket = make(Sockets::SamePort, address)?;
        socket.set_reuseaddr(true)?;
        socket.bind(own)?;
        match socket.connect(address).await {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && start.elapsed() < TAKEN => {
                sleep(TAKEN_PAUSE).await;
            }
            connected => return connected,
        }
    }
}

fn nonblocking(address: SocketAddr, protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, protocol)?)
}
