//! A real API server of Kubernetes with its etcd: alone on loopback, or that of a [`Cluster`](crate::cluster::Cluster).

use std::{
    env, fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{self, Running},
    poll,
    ports::free_address,
};

/// Names a folder whose `k8s/bin` has the programs of a cluster, instead of what `cargo xtask tools` builds.
const TOOLS: &str = "RIDLEY_TOOLS";
/// How long the server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// The user `ridley`, who may do nothing but what roles that are bound to him allow.
    Agent,
    /// A cluster's controllers.
    Controllers,
    /// A cluster's scheduler.
    Scheduler,
    /// What makes the addresses of Services lead to pods, on every node.
    Proxy,
    /// The kubelet of a node.
    Kubelet(&'static str),
}

impl User {
    fn id(self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Agent => "ridley".to_owned(),
            Self::Controllers => "system:kube-controller-manager".to_owned(),
            Self::Scheduler => "system:kube-scheduler".to_owned(),
            Self::Proxy => "system:kube-proxy".to_owned(),
            Self::Kubelet(node) => format!("system:node:{node}"),
        }
    }

    const fn group(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Kubelet(_) => "system:nodes",
            _ => "",
        }
    }

    fn token(self) -> String {
        format!("token-of-{}", self.id())
    }
}

/// Where a server is.
#[derive(Debug)]
struct Place {
    /// Another network than this machine's.
    network: Option<PathBuf>,
    address: Ipv4Addr,
    port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct ApiServer {
    folder: TempDir,
    programs: PathBuf,
    place: Place,
    _etcd: Running,
    server: Option<Running>,
}

/// Speaks to the server for the administrator, as whoever asks it by plain HTTP. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    _running: Running,
}

impl ApiServer {
    /// Starts a server that has no objects but those that it makes itself, and no controllers.
    ///
    /// # Errors
    ///
    /// Its programs are not there, or it does not become ready; the message holds what it said.
    pub fn start() -> anyhow::Result<Self> {
        let place = Place {
            network: None,
            address: Ipv4Addr::LOCALHOST,
            port: free_address()?.port(),
            etcd_port: free_address()?.port(),
            etcd_peer_port: free_address()?.port(),
        };
        let folder = tempfile::tempdir().context("cannot make a folder for the API server")?;
        Self::start_at(place, folder, &[User::Admin, User::Agent])
    }

    /// Starts the server of a cluster in a network of its own, with its files below a folder.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub(crate) fn start_in(
        network: &Path,
        address: Ipv4Addr,
        folder: &Path,
        users: &[User],
    ) -> anyhow::Result<Self> {
        let network = Some(network.to_owned());
        let place = Place { network, address, port: 6443, etcd_port: 2379, etcd_peer_port: 2380 };
        let folder = tempfile::tempdir_in(folder).context("cannot make a folder for the API server")?;
        Self::start_at(place, folder, users)
    }

    fn start_at(place: Place, folder: TempDir, users: &[User]) -> anyhow::Result<Self> {
        let programs = programs()?;
        let file = |name: &str| folder.path().join(name);
        let line = |it: &User| format!("{0},{1},{1},\"{2}\"\n", it.token(), it.id(), it.group());
        fs::write(file("tokens"), users.iter().map(line).collect::<String>())
            .context("cannot write the tokens")?;
        let key = file("service-accounts.key");
        let key = key.to_str().context("the folder's name is no text")?;
        command::run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])?;
        let etcd_url = format!("http://127.0.0.1:{}", place.etcd_port);
        let peer_url = format!("http://127.0.0.1:{}", place.etcd_peer_port);
        let etcd = Running::start(
            command::bound(place.network.as_deref(), &programs.join("etcd"))?
                .arg("--data-dir")
                .arg(file("etcd"))
                .args(["--name", "e", "--unsafe-no-fsync", "--log-level", "warn"])
                // Who was away for longer cannot go on where he was.
                .args(["--auto-compaction-mode", "periodic", "--auto-compaction-retention", "2s"])
                .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
                .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
                .args(["--initial-cluster", &format!("e={peer_url}")]),
            &file("etcd.log"),
        )?;
        let mut this = Self { folder, programs, place, _etcd: etcd, server: None };
        this.start_server()?;
        for user in users {
            fs::write(this.kubeconfig(*user), this.kubeconfig_text(&user.token())?)
                .context("cannot write a kubeconfig")?;
        }
        Ok(this)
    }

    /// Starts the server again after [`stop_server`](Self::stop_server), with what it knew.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn start_server(&mut self) -> anyhow::Result<()> {
        let file = |name: &str| self.folder.path().join(name);
        let (key, log) = (self.service_account_key(), file("api-server.log"));
        let mut command =
            command::bound(self.place.network.as_deref(), &self.programs.join("kube-apiserver"))?;
        command
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.place.etcd_port)])
            .args(["--bind-address", &self.place.address.to_string()])
            .args(["--secure-port", &self.place.port.to_string()])
            .arg("--cert-dir")
            .arg(file("certificates"))
            .arg("--token-auth-file")
            .arg(file("tokens"))
            .args(["--service-cluster-ip-range", "10.96.0.0/16,fd00:96::/108"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .arg("--service-account-key-file")
            .arg(&key)
            .arg("--service-account-signing-key-file")
            .arg(&key);
        if self.place.network.is_some() {
            command.args([
                "--authorization-mode",
                "Node,RBAC",
                "--enable-admission-plugins",
                "NodeRestriction",
            ]);
            // There is no DNS.
            command.args(["--kubelet-preferred-address-types", "InternalIP"]);
        } else {
            command.args(["--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount"]);
            // Nobody can reach it by the Service `kubernetes`.
            command.args(["--endpoint-reconciler-type", "none"]);
        }
        self.server = Some(Running::start(&mut command, &log)?);
        let ready = poll::until(PATIENCE, || {
            let mut kubectl = command::bound(self.place.network.as_deref(), &self.programs.join("kubectl"))?;
            kubectl.args(["--server", &self.url(), "--insecure-skip-tls-verify"]);
            kubectl.args(["--token", &User::Admin.token(), "get", "--raw", "/readyz"]);
            let answer = kubectl.output().context("cannot run kubectl")?;
            ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr).trim());
            Ok(())
        });
        ready.with_context(|| {
            format!("the API server said:\n{}", fs::read_to_string(&log).unwrap_or_default())
        })
    }

    /// Ends the server as a crash would; etcd goes on.
    pub fn stop_server(&mut self) {
        self.server = None;
    }

    /// Starts a proxy on loopback, for those who ask more than `kubectl` should be started for.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn proxy(&self) -> anyhow::Result<Proxy> {
        let address = free_address()?;
        let mut kubectl = command::bound(None, &self.programs.join("kubectl"))?;
        kubectl.args(["proxy", "--port", &address.port().to_string()]);
        kubectl.arg("--kubeconfig").arg(self.kubeconfig(User::Admin));
        let running = Running::start(&mut kubectl, &self.folder.path().join("proxy.log"))?;
        poll::until(PATIENCE, || TcpStream::connect(address).map(drop).context("nobody listens"))?;
        Ok(Proxy { url: format!("http://{address}"), _running: running })
    }

    /// Returns the path of a kubeconfig with which somebody speaks to the server.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(format!("{}.kubeconfig", user.id().replace(':', "-")))
    }

    /// Returns the port at which it is asked.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.place.port
    }

    /// Returns the path of the certificate by which the server is known.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificates/apiserver.crt")
    }

    /// Returns the path of the key that signs the tokens of service accounts.
    pub(crate) fn service_account_key(&self) -> PathBuf {
        self.folder.path().join("service-accounts.key")
    }

    /// Runs `kubectl` as the administrator, and returns what it printed.
    ///
    /// # Errors
    ///
    /// It fails; the message holds what it said.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        command::finish(self.kubectl_command()?.args(arguments), input)
    }

    /// Returns the command that runs `kubectl` as the administrator.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn kubectl_command(&self) -> anyhow::Result<Command> {
        let mut command = command::bound(self.place.network.as_deref(), &self.programs.join("kubectl"))?;
        command.arg("--kubeconfig").arg(self.kubeconfig(User::Admin));
        Ok(command)
    }

    /// Creates objects, and returns them as the server has them. The status that one has is set afterwards, as its controller
    /// would.
    ///
    /// # Errors
    ///
    /// The server refuses one.
    pub fn create(&self, objects: &[Value]) -> anyhow::Result<Vec<Value>> {
        let created = self.kubectl(&["create", "-f", "-", "-o", "json"], &documents(objects)?)?;
        let created = serde_json::Deserializer::from_str(&created).into_iter::<Value>();
        let mut all = Vec::new();
        for it in created {
            let it = it.context("kubectl printed no JSON")?;
            match it.get("items").and_then(Value::as_array) {
                Some(items) => all.extend(items.iter().cloned()),
                None => all.push(it),
            }
        }
        ensure!(all.len() == objects.len(), "{} of {} objects were created", all.len(), objects.len());
        let mut with_status = Vec::new();
        for (created, object) in all.iter_mut().zip(objects) {
            if let Some(status) = object.get("status") {
                created["status"] = status.clone();
                with_status.push(created.clone());
            }
        }
        self.set_status(&with_status)?;
        Ok(all)
    }

    /// Sets the status of objects to what they say, as their controllers would.
    ///
    /// # Errors
    ///
    /// The server refuses one.
    pub fn set_status(&self, objects: &[Value]) -> anyhow::Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        self.kubectl(&["replace", "--subresource=status", "-f", "-"], &documents(objects)?).map(drop)
    }

    fn kubeconfig_text(&self, token: &str) -> anyhow::Result<String> {
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": {
                "server": self.url(), "certificate-authority": self.certificate(),
            } }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "c",
        });
        Ok(serde_json::to_string(&config)?)
    }

    fn url(&self) -> String {
        format!("https://{}:{}", self.place.address, self.place.port)
    }
}

impl Proxy {
    /// Returns what paths are appended to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Returns the folder of the programs of a cluster.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    if let Some(tools) = env::var_os(TOOLS) {
        return Ok(Path::new(&tools).join("k8s/bin"));
    }
    let own = env::current_exe().context("cannot tell where this program is")?;
    let built = own.ancestors().map(|it| it.join("tools/k8s/bin")).find(|it| it.is_dir());
    built.context(
        "the programs of a cluster are not built; run `cargo xtask tools` (without them `cargo xtask test` leaves these tests out)",
    )
}

fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let texts = objects.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    Ok(texts.context("an object cannot be written")?.join("\n---\n"))
}
