//! A server that is on no host that an agent sees: no socket is at its end of a connection.
//!
//! In a network namespace of its own a process reads the packets that arrive for an address which nobody has, and answers each by
//! itself, as a TCP server would: it keeps nothing of a connection.

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    process::{self, Child, Command, Stdio},
};

use anyhow::Context;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType, eth, ipproto};

use super::{load::Client, pause};
use crate::{
    command,
    packages::{self, Tool},
};

const INSTALLED: &[Tool] =
    &[Tool { program: "ip", package: "iproute2", purpose: "the other end of connections with one end here" }];

/// Addresses of the network that is set aside for benches, RFC 2544: this host's, the namespace's, and the server's.
const HERE: &str = "198.18.0.1/24";
const THERE: &str = "198.18.0.3/24";
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The link address of the namespace's end, locally administered.
const LINK_ADDRESS: &str = "02:00:00:00:00:02";
const PORT: u16 = 5432;

/// The serving end. Its process and its network end with this.
pub(crate) struct FarServer {
    child: Child,
    _network: Network,
}

/// A network namespace with a link to it; gone when this is.
struct Network(String);

impl FarServer {
    pub(crate) fn start() -> anyhow::Result<Self> {
        packages::install(INSTALLED)?;
        let network = Network::create()?;
        let child = Command::new("ip")
            .args(["netns", "exec", &network.0])
            .arg(env::current_exe()?)
            .arg(crate::FAR_SERVER)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run `ip netns exec`")?;
        Ok(Self { child, _network: network })
    }

    /// Returns who connects to it.
    pub(crate) fn client(&self) -> Client {
        Client::to(SERVER, PORT)
    }
}

impl Drop for FarServer {
    fn drop(&mut self) {
        let Self { child, _network: _ } = self;
        drop(child.kill());
        drop(child.wait());
    }
}

impl Network {
    fn create() -> anyhow::Result<Self> {
        let name = format!("ridley-lab-{}", process::id());
        let link = format!("rl{}", process::id());
        command::output(Command::new("ip").args(["netns", "add", &name]))?;
        let this = Self(name);
        let name = this.0.as_str();
        for line in [
            format!("link add {link} type veth peer name far address {LINK_ADDRESS} netns {name}"),
            format!("addr add {HERE} dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {THERE} dev far"),
            format!("-n {name} link set far up"),
            format!("neigh add {SERVER} lladdr {LINK_ADDRESS} dev {link}"),
            // What is not for the namespace is nobody's: it neither passes it on nor answers.
            format!("netns exec {name} sysctl -qw net.ipv4.ip_forward=0"),
        ] {
            command::output(Command::new("ip").args(line.split(' ')))?;
        }
        // Until the link is up at both ends packets are lost, and sent again a second later.
        pause(super::SETTLED);
        Ok(this)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link ends with it.
        drop(command::output(Command::new("ip").args(["netns", "del", &self.0])));
    }
}

/// The process behind [`FarServer`]: answers until it is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let arriving = net::socket(AddressFamily::PACKET, SocketType::DGRAM, Some(eth::IP))?;
    let leaving = net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW))?;
    let mut packet = vec![0; 1 << 16];
    loop {
        let (_, n) = net::recv(&arriving, &mut packet[..], RecvFlags::empty())?;
        if let Some(segment) = Segment::parse(&packet[..n])
            && let Some(answer) = segment.answer()
        {
            answer.send(&leaving)?;
        }
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What matters of a segment.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    source: SocketAddrV4,
    destination: SocketAddrV4,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    n_payload: usize,
}

impl Segment {
    /// Reads a packet for the server; all others are none.
    fn parse(packet: &[u8]) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes(bytes(packet, 2)?));
        let is_tcp = packet.get(9) == Some(&6);
        let addresses = [12, 16].map(|at| bytes(packet, at).map(Ipv4Addr::from));
        let [Some(source), Some(destination)] = addresses else { return None };
        let tcp = packet.get(header_len..total)?;
        let port = |at| bytes(tcp, at).map(u16::from_be_bytes);
        let number = |at| bytes(tcp, at).map(u32::from_be_bytes);
        let n_payload = tcp.len().checked_sub(usize::from(*tcp.get(12)? >> 4) * 4)?;
        let segment = Self {
            source: SocketAddrV4::new(source, port(0)?),
            destination: SocketAddrV4::new(destination, port(2)?),
            sequence: number(4)?,
            acknowledged: number(8)?,
            flags: *tcp.get(13)?,
            n_payload,
        };
        (is_tcp && segment.destination == SocketAddrV4::new(SERVER, PORT)).then_some(segment)
    }

    /// Returns what a server says to it: what it has to know of the connection is in the segment.
    fn answer(&self) -> Option<Self> {
        let Self { source, destination, sequence, acknowledged, flags, n_payload } = *self;
        let answer = |sequence, n, flags, n_payload| {
            let acknowledged = self.sequence.wrapping_add(n);
            Some(Self {
                source: destination,
                destination: source,
                sequence,
                acknowledged,
                flags: flags | ACK,
                n_payload,
            })
        };
        let n = u32::try_from(n_payload).ok()?;
        match flags & (FIN | SYN | RST) {
            // Connections have different ids, for the client's numbers are different.
            SYN => answer(sequence.rotate_left(16), 1, SYN, 0),
            FIN => answer(acknowledged, n + 1, FIN, 0),
            0 if n_payload > 0 => answer(acknowledged, n, 0, super::load::RESPONSE_LEN),
            _ => None,
        }
    }

    fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        net::sendto(socket, &self.to_bytes(), SendFlags::empty(), &self.destination)?;
        Ok(())
    }

    /// Returns the packet. Of its header the kernel writes the length, the identification and the checksum.
    fn to_bytes(&self) -> Vec<u8> {
        const WORDS: u8 = 5;
        const HOPS: u8 = 64;
        const TCP: u8 = 6;
        const WINDOW: u16 = u16::MAX;
        let Self { source, destination, sequence, acknowledged, flags, n_payload } = self;
        let addresses = [source.ip().octets(), destination.ip().octets()].concat();
        let mut tcp = Vec::new();
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(destination.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([WORDS << 4, *flags]);
        tcp.extend(WINDOW.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.resize(tcp.len() + n_payload, b'r');
        let len = u32::try_from(tcp.len()).expect("a response is short");
        let pseudo_header = [&addresses[..], &[0, 0, 0, TCP], &len.to_be_bytes()].concat();
        let checksum = checksum(&[&pseudo_header, &tcp]);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let header = [4 << 4 | WORDS, 0, 0, 0, 0, 0, 0, 0, HOPS, TCP, 0, 0];
        [&header[..], &addresses, &tcp].concat()
    }
}

/// Returns the checksum of RFC 1071 over parts of even length, the last one of any.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|it| it.chunks(2));
    let sum: u32 = words.map(|it| u32::from(it[0]) << 8 | it.get(1).map_or(0, |&low| low.into())).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = ((folded & 0xffff) + (folded >> 16)).to_be_bytes();
    !u16::from_be_bytes([high, low])
}

fn bytes<const N: usize>(of: &[u8], at: usize) -> Option<[u8; N]> {
    of.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 40_000);
    const FAR: SocketAddrV4 = SocketAddrV4::new(SERVER, PORT);

    #[test]
    fn a_handshake_and_a_request_are_answered() {
        let request = |flags, n_payload| Segment {
            source: CLIENT,
            destination: FAR,
            sequence: 100,
            acknowledged: 7_000,
            flags,
            n_payload,
        };
        let answer = |flags, n_payload| {
            let answer = request(flags, n_payload).answer()?;
            Some((answer.sequence, answer.acknowledged, answer.flags, answer.n_payload))
        };
        assert_eq!(answer(SYN, 0), Some((100 << 16, 101, SYN | ACK, 0)));
        assert_eq!(answer(ACK, 0), None);
        assert_eq!(answer(ACK, 200), Some((7_000, 300, ACK, 1_000)));
        assert_eq!(answer(FIN | ACK, 0), Some((7_000, 101, FIN | ACK, 0)));
        assert_eq!(answer(RST | ACK, 0), None);
    }

    #[test]
    fn a_packet_reads_as_it_was_written() {
        let segment = Segment {
            source: CLIENT,
            destination: FAR,
            sequence: 1,
            acknowledged: 2,
            flags: ACK,
            n_payload: 3,
        };
        let mut packet = segment.to_bytes();
        let len = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        assert_eq!(Segment::parse(&packet), Some(segment));
        packet[9] = 17;
        assert_eq!(Segment::parse(&packet), None, "not TCP");
        assert_eq!(Segment::parse(&packet[..25]), None, "cut off");
    }

    /// The example of RFC 1071.
    #[test]
    fn a_checksum_is_that_of_the_internet() {
        assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(checksum(&[&[0xff]]), !0xff00);
    }
}
