//! A real cluster on this machine: API server, controllers, scheduler, and two nodes with kubelet, containerd, runc and kube-proxy.
//!
//! ```text
//!   outside ---- control plane (bridge) ---- kn1 ---- bridge ---- pods 10.244.1.0/24
//!   192.0.2.2    10.250.0.1      |           10.250.0.11
//!                                +---------- kn2 ---- bridge ---- pods 10.244.2.0/24
//!                                            10.250.0.12
//! ```
//!
//! Each of the four has a network of its own, and each node (`cluster/node`) namespaces of its own for everything else. Both nodes
//! run on one kernel, as those of kind do. Services have addresses in 10.96.0.0/16; there is no DNS.

mod image;
mod settings;

use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

pub use self::image::Image;
use crate::{
    api_server::{self, ApiServer, User},
    command::{self, Running, run, run_with_input},
    peer::{self, Peer},
    plan::Plan,
    poll, world,
};

/// How long a node may take until it takes pods, and pods until they are ready, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The nodes, each with the zone that it is in.
pub const NODES: [(&str, &str); 2] = [("kn1", "a"), ("kn2", "b")];
/// Where `outside` is for the cluster.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The image that has the peers' program as `/peer`, and one that only waits as `/pause`.
pub const PEER_IMAGE: &str = "peer:test";

const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 1);
const PAUSE_IMAGE: &str = "pause:test";
const NODE_PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/node");

/// Which control groups nodes see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlGroups {
    /// Those of version 1, beside the tree of version 2 that systemd calls hybrid. The machine must have them.
    V1,
    /// Those of version 2 alone. Limits are set if the machine has its controllers there.
    V2,
}

/// A running cluster. It ends with this value, and leaves nothing behind.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they end.
    nodes: Vec<Running>,
    _controllers: Running,
    _scheduler: Running,
    server: ApiServer,
    traces: Traces,
}

/// What is made outside of this process: networks, control groups and files. They are removed with this value.
#[derive(Debug)]
struct Traces {
    name: String,
}

impl Cluster {
    /// Starts a cluster whose nodes have images beside those of the peers, and waits until both nodes take pods.
    ///
    /// # Errors
    ///
    /// Needs root and what `cargo xtask tools` builds; says what is missing, or what did not come up.
    pub fn start(groups: ControlGroups, images: &[Image<'_>]) -> anyhow::Result<Self> {
        let programs = api_server::programs()?;
        let traces = Traces { name: world::new_name()? };
        let folder = traces.folder();
        fs::create_dir_all(folder.join("images")).context("cannot make a folder for the cluster")?;
        build_network(&traces)?;
        let (peer, pause) = (peer::program()?, programs.join("pause"));
        let own = [
            Image { name: PAUSE_IMAGE, programs: &[("pause", &pause)] },
            Image { name: PEER_IMAGE, programs: &[("pause", &pause), ("peer", &peer)] },
        ];
        for (idx, image) in own.iter().chain(images).enumerate() {
            image.write(&folder.join(format!("images/{idx}.tar")))?;
        }
        let users =
            [User::Admin, User::Controllers, User::Scheduler, User::Proxy].into_iter().chain(kubelets());
        let users: Vec<_> = users.collect();
        let server = ApiServer::start_in(&traces.network("control"), CONTROL, &folder, &users)?;
        let control = |program: &str, user: User| -> anyhow::Result<Command> {
            let mut command = command::bound(Some(&traces.network("control")), &programs.join(program))?;
            let kubeconfig = server.kubeconfig(user);
            for option in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
                command.arg(option).arg(&kubeconfig);
            }
            command.args(["--bind-address", "127.0.0.1", "--leader-elect=false"]);
            command.args(["--kube-api-qps", "300", "--kube-api-burst", "600"]);
            Ok(command)
        };
        let scheduler =
            Running::start(&mut control("kube-scheduler", User::Scheduler)?, &folder.join("scheduler.log"))?;
        let controllers = Running::start(
            control("kube-controller-manager", User::Controllers)?
                .arg("--use-service-account-credentials")
                .arg("--service-account-private-key-file")
                .arg(server.service_account_key())
                .arg("--root-ca-file")
                .arg(server.certificate()),
            &folder.join("controllers.log"),
        )?;
        let nodes = NODES.iter().enumerate().map(|(idx, (node, zone))| {
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": node, "labels": { "topology.kubernetes.io/zone": zone } },
                "spec": { "podCIDR": pods(idx), "podCIDRs": [pods(idx)] },
            })
        });
        server.create(&nodes.collect::<Vec<_>>())?;
        let mut cluster =
            Self { nodes: Vec::new(), _controllers: controllers, _scheduler: scheduler, server, traces };
        for idx in 0..NODES.len() {
            let node = cluster.start_node(idx, groups, &programs)?;
            cluster.nodes.push(node);
        }
        cluster.await_nodes().with_context(|| cluster.in_its_words())?;
        Ok(cluster)
    }

    /// Runs `kubectl` as the administrator, and returns what it printed.
    ///
    /// # Errors
    ///
    /// It fails; the message holds what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.server.kubectl(arguments, "")
    }

    /// Creates objects, or changes them to what is given, in YAML or JSON.
    ///
    /// # Errors
    ///
    /// The server refuses one.
    pub fn apply(&self, objects: &str) -> anyhow::Result<()> {
        self.server.kubectl(&["apply", "-f", "-"], objects).map(drop)
    }

    /// Returns an object, or a list of objects.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Waits until all pods of workloads, such as `deployment/web`, are those that are wanted, and ready.
    ///
    /// # Errors
    ///
    /// They do not become so; the message holds what the cluster says.
    pub fn await_rollout(&self, namespace: &str, workloads: &[impl AsRef<str>]) -> anyhow::Result<()> {
        let limit = format!("--timeout={}s", poll::patient(PATIENCE).as_secs());
        for workload in workloads {
            self.kubectl(&["-n", namespace, "rollout", "status", workload.as_ref(), &limit])
                .with_context(|| self.in_its_words())?;
        }
        Ok(())
    }

    /// Starts a peer in a pod that runs, as one more process of its container.
    ///
    /// # Errors
    ///
    /// The command cannot be run.
    pub fn peer_in(&self, namespace: &str, pod: &str, plan: &Plan) -> anyhow::Result<Peer> {
        let mut command = self.server.kubectl_command()?;
        command.args(["-n", namespace, "exec", "-i", pod, "--", "/peer"]);
        Peer::start_by(command, plan)
    }

    /// Starts a peer as a process of a node, outside of all pods.
    ///
    /// # Errors
    ///
    /// The command cannot be run.
    pub fn peer_on_node(&self, node: usize, plan: &Plan) -> anyhow::Result<Peer> {
        let (name, _) = NODES[node];
        let group = world::cgroup_root()?.join(&self.traces.name).join(name).join("sys");
        let plan = Plan { control_group: Some(group), ..plan.clone() };
        let network = self.traces.network(name);
        Peer::start_by(command::bound(Some(&network), &peer::program()?)?, &plan)
    }

    /// Starts a peer at [`OUTSIDE`].
    ///
    /// # Errors
    ///
    /// The command cannot be run.
    pub fn peer_outside(&self, plan: &Plan) -> anyhow::Result<Peer> {
        let network = self.traces.network("outside");
        Peer::start_by(command::bound(Some(&network), &peer::program()?)?, plan)
    }

    /// Returns what the cluster says of itself, for who looks for a fault.
    #[must_use]
    pub fn in_its_words(&self) -> String {
        let mut words = String::new();
        for arguments in [
            &["get", "nodes,pods", "-A", "-o", "wide"][..],
            &["get", "events", "-A", "--field-selector", "type!=Normal"],
        ] {
            // Who does not answer has said enough.
            words += &self.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}\n"));
        }
        for (node, _) in NODES {
            for program in ["start", "containerd", "kubelet"] {
                let log = self.traces.folder().join(node).join(format!("{program}.log"));
                let text = fs::read_to_string(log).unwrap_or_default();
                let last: Vec<_> = text.lines().rev().take(8).collect();
                words += &format!("the last that {program} of {node} said:\n");
                for line in last.into_iter().rev() {
                    words += &format!("  {line}\n");
                }
            }
        }
        words
    }

    fn start_node(&self, idx: usize, groups: ControlGroups, programs: &Path) -> anyhow::Result<Running> {
        let (node, _) = NODES[idx];
        let folder = self.traces.folder().join(node);
        let etc = folder.join("etc");
        for it in ["etc/cni", "containerd", "kubelet"] {
            fs::create_dir_all(folder.join(it)).context("cannot make a node's folder")?;
        }
        let proxy = self.server.kubeconfig(User::Proxy);
        let group = match groups {
            ControlGroups::V1 => format!("/{}/{node}", self.traces.name),
            ControlGroups::V2 => "/".to_owned(),
        };
        for (name, text) in [
            ("containerd.toml", settings::containerd(programs, &etc.join("cni"), PAUSE_IMAGE)),
            ("kubelet.json", settings::kubelet(&group).to_string()),
            ("kube-proxy.json", settings::kube_proxy(node, &proxy).to_string()),
            ("cni/10-pods.conflist", settings::pod_network(&pods(idx)).to_string()),
        ] {
            fs::write(etc.join(name), text).context("cannot write a node's settings")?;
        }
        let path = env::var("PATH").unwrap_or_default();
        let begin: Vec<_> = self.make_groups(node, groups)?;
        let begin: Vec<_> = begin.iter().map(|it| it.display().to_string()).collect();
        let mut command = command::bound(None, Path::new("sh"))?;
        command
            .args([NODE_PROGRAM, "enter"])
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("FOLDER", &folder)
            .env("NETWORK", self.traces.network(node))
            .env("GROUPS_TO_JOIN", begin.join(" "))
            .env("SEES", if groups == ControlGroups::V2 { "v2" } else { "v1" })
            .env("KUBELET", self.server.kubeconfig(User::Kubelet(node)))
            .env("NODE", node)
            .env("ADDRESS", address(idx).to_string());
        Running::start(&mut command, &folder.join("start.log"))
    }

    /// Makes the control groups of a node, and returns those that its first process is to join.
    fn make_groups(&self, node: &str, groups: ControlGroups) -> anyhow::Result<Vec<PathBuf>> {
        let own = Path::new(&self.traces.name).join(node);
        let root = world::cgroup_root()?;
        if groups == ControlGroups::V2 {
            make_group(root, &own)?;
            return Ok(vec![root.join(own)]);
        }
        let mut hierarchies = world::first_version_hierarchies()?;
        ensure!(!hierarchies.is_empty(), "this machine has no control groups of version 1");
        hierarchies.push(root.to_owned());
        hierarchies
            .into_iter()
            .map(|hierarchy| {
                make_group(&hierarchy, &own.join("sys"))?;
                Ok(hierarchy.join(&own).join("sys"))
            })
            .collect()
    }

    fn await_nodes(&self) -> anyhow::Result<()> {
        poll::until(PATIENCE, || {
            let nodes = self.get(&["nodes"])?;
            let nodes = nodes["items"].as_array().context("kubectl lists no nodes")?;
            for node in nodes {
                let conditions = node["status"]["conditions"].as_array();
                let is_ready = conditions
                    .is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"));
                ensure!(is_ready, "{} is not ready", node["metadata"]["name"]);
            }
            Ok(())
        })
    }
}

impl Traces {
    fn folder(&self) -> PathBuf {
        env::temp_dir().join(&self.name)
    }

    fn namespace(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    fn network(&self, of: &str) -> PathBuf {
        world::network(&self.namespace(of))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = world::remove(&self.name) {
            crate::note(&format!("cannot remove the cluster {}: {error:#}", self.name));
        }
    }
}

fn kubelets() -> impl Iterator<Item = User> {
    NODES.iter().map(|(node, _)| User::Kubelet(node))
}

/// Returns the address of a node.
pub fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 250, 0, 11 + u8::try_from(node).expect("there are two nodes"))
}

/// Returns the network of a node's pods.
fn pods(node: usize) -> String {
    format!("10.244.{}.0/24", node + 1)
}

fn build_network(traces: &Traces) -> anyhow::Result<()> {
    let nodes = NODES.map(|(node, _)| node);
    for it in ["control", "outside"].into_iter().chain(nodes) {
        run("ip", &["netns", "add", &traces.namespace(it)])?;
        in_network(traces, it, "ip", &["link", "set", "lo", "up"], "")?;
    }
    let mut control = format!(
        "link add nodes type bridge forward_delay 0
         address add {CONTROL}/24 dev nodes
         link set nodes up
         link add outside type veth peer name eth0 netns {}
         address add 192.0.2.1/24 dev outside
         link set outside up\n",
        traces.namespace("outside")
    );
    for (idx, node) in nodes.iter().enumerate() {
        control += &format!(
            "link add {node} type veth peer name eth0 netns {}
             link set {node} master nodes
             link set {node} up
             route add {} via {}\n",
            traces.namespace(node),
            pods(idx),
            address(idx)
        );
    }
    // The bridge takes packets for a node before it is there.
    let (routes, links): (Vec<_>, Vec<_>) =
        control.lines().map(str::trim).partition(|it| it.starts_with("route"));
    in_network(traces, "control", "ip", &["-batch", "-"], &(links.join("\n") + "\n"))?;
    in_network(traces, "control", "ip", &["-batch", "-"], &(routes.join("\n") + "\n"))?;
    let outside = format!(
        "address add {OUTSIDE}/24 dev eth0
         link set eth0 up
         route add default via 192.0.2.1"
    );
    in_network(traces, "outside", "ip", &["-batch", "-"], &outside)?;
    in_network(traces, "control", "sysctl", &["-qw", "net.ipv4.ip_forward=1"], "")?;
    for (idx, node) in nodes.iter().enumerate() {
        let other = 1 - idx;
        let own = format!(
            "address add {}/24 dev eth0
             link set eth0 up
             route add default via {CONTROL}
             route add {} via {}",
            address(idx),
            pods(other),
            address(other)
        );
        in_network(traces, node, "ip", &["-batch", "-"], &own)?;
        // Answers to pods of the same node take the way back through the rules of Services.
        let settings = ["-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1"];
        in_network(traces, node, "sysctl", &settings, "")?;
    }
    Ok(())
}

fn in_network(
    traces: &Traces,
    of: &str,
    tool: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<String> {
    let enter = format!("--net={}", traces.network(of).display());
    run_with_input("nsenter", &[&[enter.as_str(), "--", tool], arguments].concat(), input)
}

/// Makes a control group and those around it, with the controllers of version 2 and the processors and memory of version 1 that
/// the one around it has.
fn make_group(hierarchy: &Path, path: &Path) -> anyhow::Result<()> {
    let mut group = hierarchy.to_owned();
    for part in path {
        let outer = group.clone();
        group.push(part);
        // Fails where a group has processes, which then has no use for it.
        for controller in
            fs::read_to_string(outer.join("cgroup.controllers")).unwrap_or_default().split_whitespace()
        {
            drop(fs::write(outer.join("cgroup.subtree_control"), format!("+{controller}")));
        }
        fs::create_dir_all(&group)
            .with_context(|| format!("cannot make the control group {}", group.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.ends_with("cpuset") {
                let all = fs::read_to_string(outer.join(file)).with_context(|| format!("no {file}"))?;
                fs::write(group.join(file), all).with_context(|| format!("cannot set {file}"))?;
            }
        }
    }
    Ok(())
}
