//! Both ends by name in a real cluster: the manifests of `deploy/kubernetes`, and traffic of known bytes between its pods.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    slice::from_ref,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, ensure};
use integration::{
    Peer,
    cluster::{self, Cluster, ControlGroups, Image, OUTSIDE, PEER_IMAGE},
    edges::{Edge, Edges, Interest, Name, Totals},
    exposition::Exposition,
    plan::{Event, Plan, Report, Side, Step, Traffic},
    poll,
};
use serde_json::{Value, json};

/// Where the manifests are that users apply.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes");
/// The image that they name.
const IMAGE: &str = concat!("ridley:", env!("CARGO_PKG_VERSION"));
/// What the test adds to them: it does not wait for the usual intervals, and asks for more attributes.
const SETTINGS: [&str; 3] = [
    "receivers.ebpf.sample_interval=200ms",
    "connectors.links.interval=200ms",
    "connectors.links.attributes=[node, zone, service]",
];
const ATTRIBUTES: [&str; 3] = ["node", "zone", "service"];

/// How long all may take to be counted on a busy machine, and how long it must stay so: longer than a record may wait for its other
/// end or for names.
const PATIENCE: Duration = Duration::from_secs(20);
const CALM: Duration = Duration::from_millis(3500);

/// The addresses of the Services `web`, `rolling`, `empty` and `neighbor`, and the node port of `front`.
const SERVICE: &str = "10.96.100.1";
const ROLLING_SERVICE: &str = "10.96.100.2";
const EMPTY_SERVICE: &str = "10.96.100.3";
const NEIGHBOR_SERVICE: &str = "10.96.100.4";
const NODE_PORT: u16 = 30_713;
/// Where the pods of `rolling` listen.
const ROLLING_PORT: u16 = 7017;

// Ends of edges.
const NODE: &str = "Node kn1 node=kn1 zone=a";
const CLIENT: &str = "Deployment shop/client node=kn1 zone=a";
const WEB: &str = "Deployment shop/web node=kn2 zone=b";
/// Asked through a Service, as the agent of its own node knows it.
const WEB_ASKED: &str = "Deployment shop/web node=kn2 zone=b service=web";
/// Of a workload behind a Service on another node it is not known which of its pods answers.
const WEB_BEHIND: &str = "Deployment shop/web service=web";

#[test]
fn both_ends_have_names_with_control_groups_of_version_1() -> anyhow::Result<()> {
    both_ends_have_names(ControlGroups::V1)
}

#[test]
fn both_ends_have_names_with_control_groups_of_version_2() -> anyhow::Result<()> {
    both_ends_have_names(ControlGroups::V2)
}

/// Every edge is there once in what the agents of both nodes count together, with the bytes that the applications moved.
fn both_ends_have_names(groups: ControlGroups) -> anyhow::Result<()> {
    // Two clusters at a time are too much for a small machine.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let agent = PathBuf::from(env::var_os("RIDLEY_BIN").context("RIDLEY_BIN does not name the agent")?);
    let cluster = Cluster::start(groups, &[Image { name: IMAGE, programs: &[("ridley", &agent)] }])?;
    deploy(&cluster)?;
    cluster.apply(&shop().to_string())?;
    let workloads = ["web", "client", "neighbor", "host-client", "host-server", "rolling"];
    cluster.await_rollout("shop", &workloads.map(|it| format!("deployment/{it}")))?;
    let mut shop = Shop { cluster: &cluster, expected: Edges::default(), ports: Vec::new() };
    let pod = |app: &str| anyhow::Ok(pods(&cluster, app)?.remove(0));
    let (client, web) = (pod("client")?, pods(&cluster, "web")?);
    let (neighbor, host_client) = (pod("neighbor")?, pod("host-client")?);
    let at = |site: &Site, port: u16| SocketAddr::new(site.address, port);
    let service = |port: u16| SocketAddr::new(SERVICE.parse().expect("an address"), port);
    let rolling_service = SocketAddr::new(ROLLING_SERVICE.parse()?, 7016);
    let neighbor_service = SocketAddr::new(NEIGHBOR_SERVICE.parse()?, 7024);

    // Pods of two nodes: to the Service, and to one of them.
    let through_service = Conversations { port: 7002, ..Conversations::new(service(7001), 30) };
    shop.play(&through_service, &client, &web, (CLIENT, WEB_BEHIND, Seen::Client))?;
    let to_a_pod = Conversations::new(at(&web[0], 7003), 5);
    shop.play(&to_a_pod, &client, &web[..1], (CLIENT, WEB, Seen::Client))?;
    // Pods of one node: both ends tell their agent.
    let neighbor_name = "Deployment shop/neighbor node=kn2 zone=b";
    let on_one_node = Conversations { port: 7005, ..Conversations::new(service(7004), 12) };
    shop.play(&on_one_node, &neighbor, &web, (neighbor_name, WEB_ASKED, Seen::Both))?;

    // Pods in the nodes' network.
    let host_client_name = "Deployment shop/host-client node=kn1 zone=a";
    let from_host = Conversations::new(at(&web[0], 7006), 6);
    shop.play(&from_host, &host_client, &web[..1], (host_client_name, WEB, Seen::Client))?;
    let from_host_to_service = Conversations { port: 7019, ..Conversations::new(service(7018), 19) };
    let edge = (host_client_name, WEB_BEHIND, Seen::Client);
    shop.play(&from_host_to_service, &host_client, &web, edge)?;
    let from_own_host = Conversations::new(at(&client, 7007), 7);
    shop.play(&from_own_host, &host_client, from_ref(&client), (host_client_name, CLIENT, Seen::Both))?;
    let to_host = Conversations::new(SocketAddr::new(cluster::address(1).into(), 7008), 8);
    let host_server_name = "Deployment shop/host-server node=kn2 zone=b";
    shop.play(&to_host, &client, &[pod("host-server")?], (CLIENT, host_server_name, Seen::Client))?;

    // Processes of a node.
    let nodes = [Site::on_node(0), Site::on_node(1)];
    let from_node = Conversations::new(at(&web[0], 7026), 26);
    shop.play(&from_node, &nodes[0], &web[..1], (NODE, WEB, Seen::Client))?;
    let to_node = Conversations::new(at(&nodes[1], 7027), 27);
    let other_node = "Node kn2 node=kn2 zone=b";
    shop.play(&to_node, &client, &nodes[1..], (CLIENT, other_node, Seen::Client))?;

    // Outside of the cluster.
    let outside = Site::outside();
    let out = Conversations::new(at(&outside, 7009), 9);
    shop.play(&out, &client, from_ref(&outside), (CLIENT, "external", Seen::Client))?;
    let into = Conversations::new(at(&web[1], 7010), 10);
    shop.play(&into, &outside, &web[1..], ("external", WEB, Seen::Server))?;
    let node_port = SocketAddr::new(cluster::address(0).into(), NODE_PORT);
    let through_a_node = Conversations { port: 7011, ..Conversations::new(node_port, 11) };
    let front = "Deployment shop/web node=kn2 zone=b service=front";
    shop.play(&through_a_node, &outside, &web, (NODE, front, Seen::Server))?;

    // A port of a node that leads to a pod, and a pod that asks a Service which leads back to it.
    let host_port = SocketAddr::new(cluster::address(1).into(), 7022);
    let to_host_port = Conversations { port: 7023, ..Conversations::new(host_port, 22) };
    shop.play(&to_host_port, &client, from_ref(&neighbor), (CLIENT, neighbor_name, Seen::Client))?;
    let to_itself = Conversations { port: 7025, ..Conversations::new(neighbor_service, 24) };
    let neighbor_asked = "Deployment shop/neighbor node=kn2 zone=b service=neighbor";
    shop.play(&to_itself, &neighbor, from_ref(&neighbor), (neighbor_name, neighbor_asked, Seen::Both))?;

    // Nobody listens there, and nobody is behind a Service.
    let refused = Conversations::new(at(&web[0], 7020), 2);
    shop.play_refused(&refused, &client, (CLIENT, WEB))?;
    let empty = Conversations::new(SocketAddr::new(EMPTY_SERVICE.parse()?, 7021), 3);
    shop.play_refused(&empty, &client, (CLIENT, "Service shop/empty service=empty"))?;

    // What ends.
    let of_job = Conversations { port: 7013, ..Conversations::new(service(7012), 13) };
    shop.play_job(&of_job, &web, "migrate", None, ("Job shop/migrate node=kn1 zone=a", WEB_BEHIND))?;
    let of_cron_job = Conversations { port: 7015, ..Conversations::new(service(7014), 15) };
    let tick = ("CronJob shop/tick node=kn1 zone=a", WEB_BEHIND);
    shop.play_job(&of_cron_job, &web, "tick-by-hand", Some("tick"), tick)?;

    // Other pods take the place of those that a client is talking to.
    let rolling = Conversations { port: ROLLING_PORT, ..Conversations::new(rolling_service, 0) };
    shop.play_during(&rolling, &client, (CLIENT, "Deployment shop/rolling service=rolling"), || {
        let before = pods(&cluster, "rolling")?;
        cluster.kubectl(&["-n", "shop", "rollout", "restart", "deployment/rolling"])?;
        cluster.await_rollout("shop", &["deployment/rolling"])?;
        let after = pods(&cluster, "rolling")?;
        ensure!(after.iter().all(|it| !before.contains(it)), "{after:?} are as before");
        Ok(())
    })?;
    shop.check()
}

/// Applies the manifests, and waits until there is an agent on every node.
fn deploy(cluster: &Cluster) -> anyhow::Result<()> {
    for name in ["namespace", "rbac", "configmap"] {
        let manifest = Path::new(MANIFESTS).join(format!("{name}.yaml"));
        cluster.apply(&fs::read_to_string(manifest).context("no manifest")?)?;
    }
    let settings = SETTINGS.iter().map(|it| {
        let path = "/spec/template/spec/containers/0/args/-";
        json!({ "op": "add", "path": path, "value": format!("--set={it}") })
    });
    let settings = settings.collect::<Value>().to_string();
    let file = format!("{MANIFESTS}/daemonset.yaml");
    let patch = ["patch", "--local", "-o", "yaml", "--type", "json", "-f", &file, "-p", &settings];
    cluster.apply(&cluster.kubectl(&patch)?)?;
    cluster
        .await_rollout("ridley", &["daemonset/ridley"])
        .with_context(|| agents_words(cluster).unwrap_or_default())
}

/// Where a peer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    host: Host,
    address: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In the pod of this name.
    Pod(String),
    /// On a node, in no pod.
    Node(usize),
    /// Outside of the cluster.
    Outside,
}

impl Site {
    fn on_node(node: usize) -> Self {
        Self { host: Host::Node(node), address: cluster::address(node).into() }
    }

    fn outside() -> Self {
        Self { host: Host::Outside, address: OUTSIDE.into() }
    }

    fn start(&self, cluster: &Cluster, plan: &Plan) -> anyhow::Result<Peer> {
        match &self.host {
            Host::Pod(name) => cluster.peer_in("shop", name, plan),
            Host::Node(node) => cluster.peer_on_node(*node, plan),
            Host::Outside => cluster.peer_outside(plan),
        }
    }
}

/// Returns the running pods of a workload that are to stay.
fn pods(cluster: &Cluster, app: &str) -> anyhow::Result<Vec<Site>> {
    let selector = format!("app={app}");
    let pods = cluster.get(&["pods", "-n", "shop", "-l", &selector])?;
    let pods = pods["items"].as_array().context("kubectl lists no pods")?;
    let stay = pods.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_null());
    stay.map(|it| {
        let name = it["metadata"]["name"].as_str().context("a pod has no name")?.to_owned();
        let address = it["status"]["podIP"].as_str().context("a pod has no address")?.parse()?;
        Ok(Site { host: Host::Pod(name), address })
    })
    .collect()
}

/// Connections one after the other, on each of which both ends write.
struct Conversations {
    /// Where the client connects to.
    dial: SocketAddr,
    /// Where the servers listen.
    port: u16,
    n: u64,
    request: u64,
    response: u64,
}

impl Conversations {
    fn new(dial: SocketAddr, n: u64) -> Self {
        Self { dial, port: dial.port(), n, request: 1000 + n, response: 50_000 + n }
    }

    fn plan(&self, side: Side) -> Plan {
        let Self { dial, port, n, request, response } = *self;
        let (address, connections) = match side {
            Side::Client => (dial, Some(n)),
            // How many each of several gets is not known before.
            Side::Server => (SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), None),
        };
        let traffic =
            Traffic { connections, script: vec![Step::Exchange { request, response }], ..Traffic::default() };
        Plan { name: "peer".to_owned(), control_group: None, side, address, onward: None, traffic }
    }
}

/// Whose record of a connection is shown.
#[derive(Clone, Copy)]
enum Seen {
    Client,
    Server,
    /// The client's, with what the server's record tells: one agent has both.
    Both,
}

/// What has been played in a cluster, and what must be counted.
struct Shop<'a> {
    cluster: &'a Cluster,
    expected: Edges,
    ports: Vec<u16>,
}

impl Shop<'_> {
    /// Has a client talk to servers, and takes note of the edge that must be there.
    fn play(
        &mut self,
        it: &Conversations,
        client: &Site,
        servers: &[Site],
        edge: (&str, &str, Seen),
    ) -> anyhow::Result<()> {
        let listening = self.listen(it, servers)?;
        let mut client = client.start(self.cluster, &it.plan(Side::Client))?;
        client.ready()?;
        let report = client.done()?;
        self.finish(it, listening, &report, edge)
    }

    /// Has a client try to connect where nobody answers.
    fn play_refused(
        &mut self,
        it: &Conversations,
        client: &Site,
        (client_name, server_name): (&str, &str),
    ) -> anyhow::Result<()> {
        self.ports.push(it.dial.port());
        let mut client = client.start(self.cluster, &it.plan(Side::Client))?;
        client.ready()?;
        let report = client.done()?;
        ensure!(report.failed == [("refused".to_owned(), it.n)].into(), "not refused: {report:?}");
        self.note(it, &report, (client_name, server_name, Seen::Client));
        Ok(())
    }

    /// Has a client talk to pods that listen by themselves, for as long as something takes.
    fn play_during(
        &mut self,
        it: &Conversations,
        client: &Site,
        (client_name, server_name): (&str, &str),
        during: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ports.extend([it.dial.port(), it.port]);
        let mut plan = it.plan(Side::Client);
        plan.traffic.connections = None;
        plan.traffic.per_second = Some(50);
        let mut client = client.start(self.cluster, &plan)?;
        client.ready()?;
        during()?;
        client.stop()?;
        let report = client.done()?;
        ensure!(report.opened > 50, "no traffic: {report:?}");
        self.note(it, &report, (client_name, server_name, Seen::Client));
        Ok(())
    }

    /// Has a Job talk to servers, which a CronJob may have made.
    fn play_job(
        &mut self,
        it: &Conversations,
        servers: &[Site],
        name: &str,
        cron_job: Option<&str>,
        (client, server): (&str, &str),
    ) -> anyhow::Result<()> {
        let listening = self.listen(it, servers)?;
        let spec = json!({
            "template": { "spec": {
                "nodeName": "kn1", "restartPolicy": "Never",
                "containers": [{
                    "name": "c", "image": PEER_IMAGE, "imagePullPolicy": "Never",
                    "command": ["/peer", serde_json::to_string(&it.plan(Side::Client))?],
                }],
            } },
        });
        let object = |kind: &str, name: &str, spec: Value| {
            let metadata = json!({ "name": name, "namespace": "shop" });
            json!({ "apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec })
        };
        match cron_job {
            None => self.cluster.apply(&object("Job", name, spec).to_string())?,
            Some(owner) => {
                // It has no turn of its own, so that there is one Job and no more.
                let spec =
                    json!({ "schedule": "* * * * *", "suspend": true, "jobTemplate": { "spec": spec } });
                self.cluster.apply(&object("CronJob", owner, spec).to_string())?;
                let from = format!("--from=cronjob/{owner}");
                self.cluster.kubectl(&["-n", "shop", "create", "job", name, &from])?;
            }
        }
        let job = format!("job/{name}");
        self.cluster
            .kubectl(&["-n", "shop", "wait", "--for=condition=complete", "--timeout=60s", &job])
            .with_context(|| self.cluster.in_its_words())?;
        let said = self.cluster.kubectl(&["-n", "shop", "logs", &job])?;
        let events = said.lines().filter_map(|line| serde_json::from_str(line).ok());
        let mut done = events.filter_map(|it| match it {
            Event::Done(report) => Some(report),
            _ => None,
        });
        let report = done.next().with_context(|| format!("the Job said:\n{said}"))?;
        self.finish(it, listening, &report, (client, server, Seen::Client))
    }

    fn listen(&mut self, it: &Conversations, servers: &[Site]) -> anyhow::Result<Vec<Peer>> {
        self.ports.extend([it.dial.port(), it.port]);
        let start = |server: &Site| {
            let mut peer = server.start(self.cluster, &it.plan(Side::Server))?;
            peer.ready()?;
            Ok(peer)
        };
        servers.iter().map(start).collect()
    }

    /// Checks that the peers agree with each other, and takes note of what they did.
    fn finish(
        &mut self,
        it: &Conversations,
        listening: Vec<Peer>,
        client: &Report,
        edge: (&str, &str, Seen),
    ) -> anyhow::Result<()> {
        let (mut opened, mut read, mut wrote) = (0, 0, 0);
        for mut server in listening {
            server.stop()?;
            let report = server.done()?;
            opened += report.opened;
            read += report.read;
            wrote += report.wrote;
        }
        let (request, response) = (it.n * it.request, it.n * it.response);
        let all = [client.opened, client.wrote, client.read];
        ensure!(
            all == [it.n, request, response] && all == [opened, read, wrote],
            "the peers contradict each other: {client:?}, and servers with {opened} connections that read {read} and wrote {wrote}"
        );
        self.note(it, client, edge);
        Ok(())
    }

    /// Takes note of what a client did.
    fn note(
        &mut self,
        it: &Conversations,
        client: &Report,
        (client_name, server_name, seen): (&str, &str, Seen),
    ) {
        let observed = |it: bool| if it { client.opened } else { 0 };
        let by_client = !matches!(seen, Seen::Server);
        let edge = Edge {
            client: name(client_name),
            server: name(server_name),
            port: if by_client { it.dial.port() } else { it.port },
            observer: if by_client { "client" } else { "server" }.to_owned(),
        };
        let closed = (client.opened > 0).then(|| ("normal".to_owned(), client.opened));
        let totals = Totals {
            request: client.wrote,
            response: client.read,
            opened: client.opened,
            failed: client.failed.clone(),
            closed: closed.into_iter().collect(),
            handshakes: observed(by_client),
            accepts: observed(!matches!(seen, Seen::Client)),
            lifetimes: client.opened,
            ..Totals::default()
        };
        self.expected.add(Edges([(edge, totals)].into()));
    }

    /// Waits until the agents of both nodes have together counted what must be counted, and nothing else.
    fn check(&self) -> anyhow::Result<()> {
        let workloads = [
            "web",
            "client",
            "neighbor",
            "host-client",
            "host-server",
            "migrate",
            "tick",
            "rolling",
            "empty",
        ];
        let interest = Interest {
            names: workloads.map(str::to_owned).into(),
            ports: self.ports.clone(),
            attributes: ATTRIBUTES.map(str::to_owned).into(),
        };
        poll::until_lasting(PATIENCE, CALM, || self.expected.compare(&counted(self.cluster, &interest)?))
            .with_context(|| agents_words(self.cluster).unwrap_or_default())?;
        let words = agents_words(self.cluster)?;
        ensure!(!words.contains("WARN"), "{words}");
        Ok(())
    }
}

/// Reads the name of an end as differences show it: kind, namespace, name, and what else is known.
fn name(text: &str) -> Name {
    let mut words = text.split(' ');
    let kind = words.next().unwrap_or_default();
    let name = if kind == "external" { kind } else { words.next().unwrap_or_default() };
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    let attributes = words.filter_map(|it| it.split_once('='));
    Name {
        name: name.to_owned(),
        namespace,
        kind: kind.to_owned(),
        attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// Returns what the agents of both nodes have counted together.
fn counted(cluster: &Cluster, interest: &Interest) -> anyhow::Result<Edges> {
    let mut all = Edges::default();
    for agent in agents(cluster)? {
        let path = format!("/api/v1/namespaces/ridley/pods/{agent}:9464/proxy/metrics");
        let scrape = Exposition::parse(&cluster.kubectl(&["get", "--raw", &path])?)?;
        all.add(Edges::of(&scrape, interest)?);
    }
    Ok(all)
}

fn agents(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let agents = cluster.kubectl(&["get", "pods", "-n", "ridley", "-o", "name"])?;
    let agents: Vec<_> = agents.lines().map(|it| it.trim_start_matches("pod/").to_owned()).collect();
    ensure!(agents.len() == 2, "the agents are {agents:?}");
    Ok(agents)
}

/// Returns what the agents logged.
fn agents_words(cluster: &Cluster) -> anyhow::Result<String> {
    let mut words = String::new();
    for agent in agents(cluster)? {
        words += &format!("{agent} logged:\n{}", cluster.kubectl(&["-n", "ridley", "logs", &agent])?);
    }
    Ok(words)
}

/// The workloads. Nothing runs in their pods but what the test starts there, and in those of `rolling`, which listen.
fn shop() -> Value {
    let deployment = |name: &str, node: &str, replicas: u32, host_network: bool, ports: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": {
                        "nodeName": node, "hostNetwork": host_network, "terminationGracePeriodSeconds": 1,
                        "containers": [
                            { "name": "c", "image": PEER_IMAGE, "imagePullPolicy": "Never", "ports": ports },
                        ],
                    },
                },
            },
        })
    };
    let service = |name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": "shop" });
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
    };
    let ports = [(7001, 7002), (7004, 7005), (7012, 7013), (7014, 7015), (7018, 7019)];
    let ports =
        ports.map(|(port, target)| json!({ "name": format!("p{port}"), "port": port, "targetPort": target }));
    let mut rolling = deployment("rolling", "kn2", 2, false, json!([]));
    let spec = &mut rolling["spec"]["template"]["spec"];
    let unspecified = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ROLLING_PORT);
    let plan = serde_json::to_string(&Conversations::new(unspecified, 0).plan(Side::Server));
    spec["containers"][0]["command"] = json!(["/peer", plan.expect("a plan is JSON")]);
    // Whoever has been told of the end of a pod has time to take it out of the Service.
    spec["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 5 } } });
    spec["terminationGracePeriodSeconds"] = 6.into();
    json!({
        "apiVersion": "v1", "kind": "List",
        "items": [
            { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } },
            deployment("web", "kn2", 2, false, json!([])),
            deployment("client", "kn1", 1, false, json!([])),
            deployment("neighbor", "kn2", 1, false, json!([{ "containerPort": 7023, "hostPort": 7022 }])),
            deployment("host-client", "kn1", 1, true, json!([])),
            deployment("host-server", "kn2", 1, true, json!([{ "containerPort": 7008 }])),
            rolling,
            service("rolling", json!({
                "clusterIP": ROLLING_SERVICE, "selector": { "app": "rolling" },
                "ports": [{ "port": 7016, "targetPort": ROLLING_PORT }],
            })),
            service("empty", json!({
                "clusterIP": EMPTY_SERVICE, "selector": { "app": "nobody" }, "ports": [{ "port": 7021 }],
            })),
            service("web", json!({ "clusterIP": SERVICE, "selector": { "app": "web" }, "ports": ports })),
            service("neighbor", json!({
                "clusterIP": NEIGHBOR_SERVICE, "selector": { "app": "neighbor" },
                "ports": [{ "port": 7024, "targetPort": 7025 }],
            })),
            service("front", json!({
                "type": "NodePort", "selector": { "app": "web" },
                "ports": [{ "port": 80, "targetPort": 7011, "nodePort": NODE_PORT }],
            })),
        ],
    })
}
