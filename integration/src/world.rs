//! A small network of namespaces: two nodes with pods, and services that are addresses without a host.
//!
//! ```text
//!   pod client --+                                   +-- pod server
//!                +-- bridge  node a ----- node b  bridge --+
//!   pod neighbor +                                   +-- (more pods)
//! ```
//!
//! Node a rewrites the addresses of services to pods, as kube-proxy does, and says of one network that it cannot be
//! reached. Names carry the process id: what a killed run left behind is removed by the next.

use std::{
    env,
    fs::{self, File},
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path as FilePath, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};

use crate::{
    command::{run, run_with_input},
    plan::Side,
    poll,
};

const PREFIX: &str = "ridley-test-";
const NAMESPACES: &str = "/run/netns";
const LOCK: &str = "/run/ridley-test.lock";

/// How the packets of a case travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Over the loopback interface of one namespace.
    Loopback,
    /// Inside one namespace, but to the address it has towards the outside.
    OwnAddress,
    /// Over a node's bridge.
    OneNode,
    /// From node to node.
    TwoNodes,
    /// To the address of a service, which the client's node rewrites to a pod of the other node.
    Service,
    /// To a proxy in another pod of the client's node, which passes everything on through a unix socket and a connection of its own
    /// to the other node.
    Proxy,
    /// To an address that cannot be reached. The first packet gets no answer, so that the answer to the next one finds
    /// the client waiting.
    Nowhere,
    /// To a service that has no pods: the client's node rejects it while the client is still inside `connect`, which
    /// leaves the kernel with no more than a hint of why the attempt failed.
    EmptyService,
}

/// Which addresses the peers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 sockets.
    Ipv4,
    /// IPv6 sockets.
    Ipv6,
    /// IPv6 sockets with v4-mapped addresses.
    Mapped,
}

/// Where the two peers of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where the client connects to.
    pub dial: SocketAddr,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// From which address the client connects.
    pub source: IpAddr,
    /// The client's namespace.
    pub client: Namespace,
    /// The server's namespace.
    pub server: Namespace,
    /// The namespace of a proxy between the two: where the client connects to, and from where the server is connected to.
    pub proxy: Option<Namespace>,
}

/// A namespace of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The node of the clients, where services are rewritten.
    NodeA,
    /// The other node.
    NodeB,
    /// A pod on node a.
    Client,
    /// Another pod on node a.
    Neighbor,
    /// A pod on node b.
    Server,
}

impl Namespace {
    const ALL: [Self; 5] = [Self::NodeA, Self::NodeB, Self::Client, Self::Neighbor, Self::Server];

    const fn as_str(self) -> &'static str {
        match self {
            Self::NodeA => "node-a",
            Self::NodeB => "node-b",
            Self::Client => "client",
            Self::Neighbor => "neighbor",
            Self::Server => "server",
        }
    }

    const fn ipv4(self) -> Ipv4Addr {
        match self {
            Self::NodeA => Ipv4Addr::new(192, 0, 2, 1),
            Self::NodeB => Ipv4Addr::new(192, 0, 2, 2),
            Self::Client => Ipv4Addr::new(10, 244, 1, 11),
            Self::Neighbor => Ipv4Addr::new(10, 244, 1, 12),
            Self::Server => Ipv4Addr::new(10, 244, 2, 11),
        }
    }

    const fn ipv6(self) -> Ipv6Addr {
        match self {
            Self::NodeA => Ipv6Addr::new(0xfd00, 0xff, 0, 0, 0, 0, 0, 1),
            Self::NodeB => Ipv6Addr::new(0xfd00, 0xff, 0, 0, 0, 0, 0, 2),
            Self::Client => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x11),
            Self::Neighbor => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x12),
            Self::Server => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x11),
        }
    }
}

/// From which MPTCP opens a second subflow, if it is told to.
const SUBFLOW_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 21);
const SERVICE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 96, 0, 10), Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10));
/// In networks that the rules of node a reject.
const EMPTY_SERVICE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 98, 0, 1), Ipv6Addr::new(0xfd00, 0x98, 0, 0, 0, 0, 0, 1));
const NOWHERE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 99, 0, 1), Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 1));

/// What only a node does: forwards, rewrites services, refuses a network.
const NODE_A_RULES: &str = "
table ip services {
    map endpoints {
        type ipv4_addr . inet_service : ipv4_addr . inet_service
    }
    chain rewrite {
        type nat hook prerouting priority dstnat
        dnat to ip daddr . tcp dport map @endpoints
    }
}
table ip6 services {
    map endpoints {
        type ipv6_addr . inet_service : ipv6_addr . inet_service
    }
    chain rewrite {
        type nat hook prerouting priority dstnat
        dnat to ip6 daddr . tcp dport map @endpoints
    }
}
table inet nowhere {
    set tried4 {
        type ipv4_addr . inet_service
        size 65535
        flags dynamic
    }
    set tried6 {
        type ipv6_addr . inet_service
        size 65535
        flags dynamic
    }
    chain forward {
        type filter hook forward priority filter
        ip daddr 10.98.0.0/16 reject with icmpx port-unreachable
        ip6 daddr fd00:98::/64 reject with icmpx port-unreachable
        ip daddr 10.99.0.0/16 ip saddr . tcp sport @tried4 reject with icmpx host-unreachable
        ip daddr 10.99.0.0/16 add @tried4 { ip saddr . tcp sport } drop
        ip6 daddr fd00:99::/64 ip6 saddr . tcp sport @tried6 reject with icmpx host-unreachable
        ip6 daddr fd00:99::/64 add @tried6 { ip6 saddr . tcp sport } drop
    }
}
";

/// Pods drop what arrives at some ports: everything, or three of a hundred packets that carry payload; and all that comes from
/// some. A handshake that takes seconds would test how long pairing waits, which is a setting. Of some ports the answer to a `SYN`
/// that nobody listens becomes a `SYN`, as if the other end had connected at the same time; the answer to what that brings about
/// is a reset still, which has no `ACK`.
const POD_RULES: &str = "
table inet faults {
    set dropped {
        type inet_service
    }
    set lossy {
        type inet_service
    }
    set unheard {
        type inet_service
    }
    set crossed {
        type inet_service
    }
    chain input {
        type filter hook input priority filter
        tcp dport @dropped drop
        tcp sport @unheard drop
        tcp sport @crossed tcp flags & (rst | ack) == rst | ack tcp flags set syn
        tcp dport @lossy meta length > 100 numgen random mod 100 < 3 drop
        tcp sport @lossy meta length > 100 numgen random mod 100 < 3 drop
    }
}
";

/// An interface can be used at once, instead of after a second in which nobody claimed its address.
const NO_ADDRESS_DETECTION: &str = "net.ipv6.conf.default.dad_transmits=0";

/// Nodes forward, and say of every packet, not of some, that it cannot be delivered.
const NODE_SYSCTLS: [&str; 5] = [
    NO_ADDRESS_DETECTION,
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.icmp_ratelimit=0",
    "net.ipv6.icmp.ratelimit=0",
];

/// Who wants to may send and take payload with a SYN, without a cookie from an earlier connection, and connect again from a port
/// whose connection it has closed a second ago, not only over loopback.
const POD_SYSCTLS: [&str; 3] =
    [NO_ADDRESS_DETECTION, "net.ipv4.tcp_fastopen=1543", "net.ipv4.tcp_tw_reuse=1"];

/// A packet that comes late or twice, which nothing is wrong with, has its addresses rewritten like any other. Otherwise an
/// end now and then gets one from an address that it knows nothing of, and resets the connection.
const LENIENT_TRACKING: &str = "net.netfilter.nf_conntrack_tcp_be_liberal=1";

/// The network, for as long as the value lives.
#[derive(Debug)]
pub struct World {
    name: String,
    cgroup: PathBuf,
}

impl World {
    /// Builds a network, after removing those of runs that are gone.
    ///
    /// # Errors
    ///
    /// Needs root, and the tools `ip`, `nft`, `nsenter` and `sysctl`; says which is missing.
    pub fn new() -> anyhow::Result<Self> {
        let name = new_name()?;
        let cgroup = cgroup_root()?.join(&name);
        let world = Self { name, cgroup };
        fs::create_dir_all(&world.cgroup)
            .with_context(|| format!("cannot make the control group {}", world.cgroup.display()))?;
        world.build().context("cannot build the network of the tests")?;
        Ok(world)
    }

    /// Returns where the peers of a case are; behind a service or a proxy, whose `port` it is, the server listens on the one after it.
    pub fn route(&self, path: Path, family: Family, port: u16) -> Route {
        let (client, server) = match path {
            Path::Loopback | Path::OwnAddress => (Namespace::Client, Namespace::Client),
            Path::OneNode => (Namespace::Client, Namespace::Neighbor),
            Path::TwoNodes | Path::Service | Path::Proxy | Path::Nowhere | Path::EmptyService => {
                (Namespace::Client, Namespace::Server)
            }
        };
        let proxy = (path == Path::Proxy).then_some(Namespace::Neighbor);
        let listen_port = if matches!(path, Path::Service | Path::Proxy) { port + 1 } else { port };
        let own = match path {
            Path::Loopback => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            _ => (server.ipv4(), server.ipv6()),
        };
        let source = match path {
            Path::Loopback => own,
            _ => (client.ipv4(), client.ipv6()),
        };
        let dialed = match path {
            Path::Service => SERVICE,
            Path::Proxy => (Namespace::Neighbor.ipv4(), Namespace::Neighbor.ipv6()),
            Path::EmptyService => EMPTY_SERVICE,
            Path::Nowhere => NOWHERE,
            _ => own,
        };
        let choose = |(ipv4, ipv6): (Ipv4Addr, Ipv6Addr)| -> IpAddr {
            match family {
                Family::Ipv4 => ipv4.into(),
                Family::Ipv6 => ipv6.into(),
                Family::Mapped => ipv4.to_ipv6_mapped().into(),
            }
        };
        Route {
            dial: SocketAddr::new(choose(dialed), port),
            listen: SocketAddr::new(choose(own), listen_port),
            source: choose(source),
            client,
            server,
            proxy,
        }
    }

    /// Makes the service of a route lead to its server.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn publish(&self, route: &Route) -> anyhow::Result<()> {
        let (dial, listen) = (route.dial.ip().to_canonical(), route.listen.ip().to_canonical());
        let table = if dial.is_ipv4() { "ip" } else { "ip6" };
        let element = format!("{{ {dial} . {} : {listen} . {} }}", route.dial.port(), route.listen.port());
        self.run_in(Namespace::NodeA, "nft", &["add", "element", table, "services", "endpoints", &element])
            .map(drop)
    }

    /// Makes the server of a route drop everything that arrives at its port.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn drop_arrivals(&self, route: &Route) -> anyhow::Result<()> {
        self.add_fault(route.server, "dropped", route.listen.port())
    }

    /// Makes the client of a route hear nothing of what its server says.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn drop_answers(&self, route: &Route) -> anyhow::Result<()> {
        self.add_fault(route.client, "unheard", route.dial.port())
    }

    /// Makes a refusal of the server's a `SYN` for the client of a route.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn cross_refusals(&self, route: &Route) -> anyhow::Result<()> {
        self.add_fault(route.client, "crossed", route.dial.port())
    }

    /// Makes both ends of a route lose some of what arrives.
    ///
    /// # Errors
    ///
    /// `nft` fails.
    pub fn lose_some(&self, route: &Route) -> anyhow::Result<()> {
        self.add_fault(route.client, "lossy", route.dial.port())?;
        self.add_fault(route.server, "lossy", route.listen.port())
    }

    /// Has the kernel give up the connections of a route at one end, as `ss -K` does.
    ///
    /// # Errors
    ///
    /// There are none; the kernel cannot, for which it needs `CONFIG_INET_DIAG_DESTROY`; or `ss` fails.
    pub fn abort_connections(&self, route: &Route, of: Side) -> anyhow::Result<()> {
        let (namespace, filter) = match of {
            Side::Client => (route.client, format!("dport = :{}", route.dial.port())),
            Side::Server => (route.server, format!("sport = :{}", route.listen.port())),
        };
        let aborted = self.run_in(namespace, "ss", &["-HKtn", "state", "connected", &filter])?;
        ensure!(!aborted.is_empty(), "`ss -K` gave nothing up; has the kernel `CONFIG_INET_DIAG_DESTROY`?");
        Ok(())
    }

    /// Makes a pod send each segment as a packet of its own. Otherwise the kernel hands many on as one, as far as cables go
    /// that only exist in its memory.
    ///
    /// # Errors
    ///
    /// `ip` fails.
    pub fn keep_segments_apart(&self, pod: Namespace) -> anyhow::Result<()> {
        self.ip_in(pod, "link set dev eth0 gso_max_segs 1")
    }

    /// Gives the client's pod another address, from which MPTCP opens a second subflow.
    ///
    /// # Errors
    ///
    /// The kernel cannot, or `ip` fails.
    pub fn add_subflow_address(&self) -> anyhow::Result<()> {
        for pod in [Namespace::Client, Namespace::Server] {
            self.ip_in(pod, "mptcp limits set subflows 2")?;
        }
        self.ip_in(
            Namespace::Client,
            &format!(
                "address add {SUBFLOW_ADDRESS}/24 dev eth0
                 mptcp endpoint add {SUBFLOW_ADDRESS} dev eth0 subflow"
            ),
        )
    }

    /// Makes what a pod sends late, or some of it lost: `tc netem` with these words.
    ///
    /// # Errors
    ///
    /// The kernel cannot, for which it needs the module `sch_netem`; or `tc` fails.
    pub fn emulate(&self, pod: Namespace, words: &str) -> anyhow::Result<()> {
        let words: Vec<_> = "qdisc replace dev eth0 root netem".split(' ').chain(words.split(' ')).collect();
        self.run_in(pod, "tc", &words).map(drop).with_context(|| {
            format!("cannot make the network `{}`; has the kernel `sch_netem`?", words[5..].join(" "))
        })
    }

    fn add_fault(&self, namespace: Namespace, fault: &str, port: u16) -> anyhow::Result<()> {
        let element = format!("{{ {port} }}");
        self.run_in(namespace, "nft", &["add", "element", "inet", "faults", fault, &element]).map(drop)
    }

    /// Runs a tool inside a namespace and returns what it printed.
    ///
    /// # Errors
    ///
    /// As of [`run`].
    pub fn run_in(&self, namespace: Namespace, tool: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_in_with_input(namespace, tool, arguments, "")
    }

    /// Returns a command that runs a program inside a namespace, as the process that is started.
    pub fn command_in(&self, namespace: Namespace, program: &FilePath) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.enter(namespace)).arg("--").arg(program);
        command
    }

    /// Opens a namespace, for a thread to enter it.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub fn open(&self, namespace: Namespace) -> anyhow::Result<fs::File> {
        let path = FilePath::new(NAMESPACES).join(self.namespace(namespace));
        fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Returns the number that the kernel gave a namespace.
    ///
    /// # Errors
    ///
    /// The namespace is gone.
    pub fn inode(&self, namespace: Namespace) -> anyhow::Result<u64> {
        let path = FilePath::new(NAMESPACES).join(self.namespace(namespace));
        let metadata = fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
        Ok(metadata.ino())
    }

    /// Makes a control group inside this world's.
    ///
    /// # Errors
    ///
    /// The group cannot be made.
    pub fn control_group(&self, path: &str) -> anyhow::Result<PathBuf> {
        let group = self.cgroup.join(path);
        fs::create_dir_all(&group)
            .with_context(|| format!("cannot make the control group {}", group.display()))?;
        Ok(group)
    }

    fn run_in_with_input(
        &self,
        namespace: Namespace,
        tool: &str,
        arguments: &[&str],
        input: &str,
    ) -> anyhow::Result<String> {
        let enter = self.enter(namespace);
        let all: Vec<&str> =
            [enter.as_str(), "--", tool].into_iter().chain(arguments.iter().copied()).collect();
        run_with_input("nsenter", &all, input)
    }

    fn enter(&self, namespace: Namespace) -> String {
        format!("--net={NAMESPACES}/{}", self.namespace(namespace))
    }

    fn namespace(&self, namespace: Namespace) -> String {
        format!("{}-{}", self.name, namespace.as_str())
    }

    fn build(&self) -> anyhow::Result<()> {
        for namespace in Namespace::ALL {
            run("ip", &["netns", "add", &self.namespace(namespace)])?;
        }
        self.build_node(Namespace::NodeA, &[Namespace::Client, Namespace::Neighbor])?;
        self.build_node(Namespace::NodeB, &[Namespace::Server])?;
        let far = self.namespace(Namespace::NodeB);
        self.ip_in(Namespace::NodeA, &format!("link add uplink type veth peer name uplink netns {far}"))?;
        for (node, other, pods) in
            [(Namespace::NodeA, Namespace::NodeB, 2), (Namespace::NodeB, Namespace::NodeA, 1)]
        {
            let (own4, own6, next4, next6) = (node.ipv4(), node.ipv6(), other.ipv4(), other.ipv6());
            self.ip_in(
                node,
                &format!(
                    "address add {own4}/30 dev uplink
                     address add {own6}/64 dev uplink nodad
                     link set uplink up
                     route add 10.244.{pods}.0/24 via {next4}
                     route add fd00:{pods}::/64 via {next6}"
                ),
            )?;
        }
        // What is to be rejected needs a route: without one the kernel answers by itself, to some attempts only.
        let (next4, next6) = (Namespace::NodeB.ipv4(), Namespace::NodeB.ipv6());
        let routes = format!(
            "route add 10.98.0.0/15 via {next4}
             route add fd00:98::/64 via {next6}
             route add fd00:99::/64 via {next6}"
        );
        self.ip_in(Namespace::NodeA, &routes)?;
        self.run_in_with_input(Namespace::NodeA, "nft", &["-f", "-"], NODE_A_RULES)?;
        // There is nothing to set before there are rules.
        self.set(Namespace::NodeA, &[LENIENT_TRACKING])
    }

    fn build_node(&self, node: Namespace, pods: &[Namespace]) -> anyhow::Result<()> {
        self.set(node, &NODE_SYSCTLS)?;
        let subnet = if node == Namespace::NodeA { 1 } else { 2 };
        let (gateway4, gateway6) = (format!("10.244.{subnet}.1"), format!("fd00:{subnet}::1"));
        self.ip_in(
            node,
            &format!(
                "link set lo up
                 link add pods type bridge forward_delay 0
                 address add {gateway4}/24 dev pods
                 address add {gateway6}/64 dev pods nodad
                 link set pods up"
            ),
        )?;
        for pod in pods {
            self.set(*pod, &POD_SYSCTLS)?;
            let (veth, namespace) = (pod.as_str(), self.namespace(*pod));
            self.ip_in(
                node,
                &format!(
                    "link add {veth} type veth peer name eth0 netns {namespace}
                     link set {veth} master pods
                     link set {veth} up"
                ),
            )?;
            let (own4, own6) = (pod.ipv4(), pod.ipv6());
            self.ip_in(
                *pod,
                &format!(
                    "link set lo up
                     address add {own4}/24 dev eth0
                     address add {own6}/64 dev eth0 nodad
                     link set eth0 up
                     route add default via {gateway4}
                     route add default via {gateway6}"
                ),
            )?;
            self.run_in_with_input(*pod, "nft", &["-f", "-"], POD_RULES)?;
        }
        Ok(())
    }

    fn set(&self, namespace: Namespace, sysctls: &[&str]) -> anyhow::Result<()> {
        self.run_in(namespace, "sysctl", &[&["-q", "-w"], sysctls].concat()).map(drop)
    }

    /// Runs commands of `ip`, one per line.
    fn ip_in(&self, namespace: Namespace, commands: &str) -> anyhow::Result<()> {
        self.run_in_with_input(namespace, "ip", &["-batch", "-"], commands).map(drop)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            crate::note(&format!("cannot remove the network {}: {error:#}", self.name));
        }
    }
}

/// Waits for this process's turn, and returns a name for what is made outside of it: network namespaces and control groups, and a
/// folder for temporary files.
pub(crate) fn new_name() -> anyhow::Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    ensure!(rustix::process::geteuid().is_root(), "the oracle makes network namespaces and needs root");
    await_turn()?;
    Ok(format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Returns the path of a network namespace.
pub(crate) fn network(name: &str) -> PathBuf {
    FilePath::new(NAMESPACES).join(name)
}

/// Waits until no other process runs the oracle, because the machine's time and the ports of cases are shared; then
/// removes what killed runs left behind. The turn ends with this process.
///
/// # Errors
///
/// Something that was left behind cannot be removed.
pub fn await_turn() -> anyhow::Result<()> {
    static TURN: OnceLock<Result<File, String>> = OnceLock::new();
    let turn = TURN.get_or_init(|| {
        let taken = File::create(LOCK).and_then(|file| {
            if file.try_lock().is_err() {
                crate::note(&format!("another run holds {LOCK}; waiting for its end"));
                file.lock()?;
            }
            Ok(file)
        });
        let taken = taken.context("cannot take the lock");
        let clean = taken.and_then(|file| remove_stale().map(|()| file));
        clean.map_err(|error| format!("{error:#}"))
    });
    turn.as_ref().map(drop).map_err(|error| anyhow!("{LOCK}: {error}"))
}

/// Removes what killed runs left behind.
///
/// # Errors
///
/// Something cannot be removed.
pub fn remove_stale() -> anyhow::Result<()> {
    let mut places = hierarchies()?;
    places.extend([PathBuf::from(NAMESPACES), env::temp_dir()]);
    let entries = places.into_iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let mut parts = rest.splitn(3, '-');
        let (Some(owner), Some(number)) = (parts.next(), parts.next()) else { continue };
        if !FilePath::new("/proc").join(owner).exists() {
            remove(&format!("{PREFIX}{owner}-{number}"))?;
        }
    }
    Ok(())
}

/// Removes what has a name from [`new_name`], or one that begins with it. The processes that were started there have been killed.
pub(crate) fn remove(name: &str) -> anyhow::Result<()> {
    let prefix = format!("{name}-");
    let namespaces = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for namespace in namespaces.filter_map(|it| it.file_name().into_string().ok()) {
        if namespace.starts_with(&prefix) {
            run("ip", &["netns", "delete", &namespace])?;
        }
    }
    for hierarchy in hierarchies()? {
        remove_group(&hierarchy.join(name))?;
    }
    match fs::remove_dir_all(env::temp_dir().join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the folder {name}"))
        }
        _ => Ok(()),
    }
}

fn remove_group(group: &FilePath) -> anyhow::Result<()> {
    let Ok(children) = fs::read_dir(group) else { return Ok(()) };
    for child in children.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir())) {
        remove_group(&child.path())?;
    }
    // A process that was killed stays in its group until the kernel has put it away.
    poll::until(Duration::from_secs(10), || fs::remove_dir(group).map_err(Into::into))
        .with_context(|| format!("cannot remove the control group {}", group.display()))
}

/// Returns where the hierarchy of control groups (version 2) is mounted.
pub(crate) fn cgroup_root() -> anyhow::Result<&'static FilePath> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let root = ROOT.get_or_init(|| mounted("cgroup2").ok()?.into_iter().next());
    root.as_deref().context("no cgroup2 is mounted; peers need a control group of their own")
}

/// Returns where the hierarchies of control groups of version 1 are mounted, which many machines have none of.
pub(crate) fn first_version_hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    mounted("cgroup")
}

fn hierarchies() -> anyhow::Result<Vec<PathBuf>> {
    let mut all = first_version_hierarchies()?;
    all.push(cgroup_root()?.to_owned());
    Ok(all)
}

fn mounted(kind: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot tell what is mounted")?;
    let kind = format!(" - {kind} ");
    let mounts = mounts.lines().filter(|line| line.contains(&kind));
    Ok(mounts.filter_map(|line| line.split(' ').nth(4).map(PathBuf::from)).collect())
}
