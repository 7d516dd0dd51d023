//! A real API server of Kubernetes with its etcd, on loopback.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{command, poll};

/// Names the folder whose `k8s/bin` has `etcd`, `kube-apiserver` and `kubectl`.
const TOOLS: &str = "RIDLEY_TOOLS";
/// How long the server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const ADMIN_TOKEN: &str = "admin-token";
const AGENT_TOKEN: &str = "agent-token";

/// Who speaks to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// The user `ridley`, who may do nothing but what roles that are bound to him allow.
    Agent,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct ApiServer {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    etcd_port: u16,
    _etcd: Running,
    server: Option<Running>,
}

/// A process that is killed with this value.
#[derive(Debug)]
struct Running(Child);

impl ApiServer {
    /// Starts a server that has no objects but those that it makes itself, and no controllers.
    ///
    /// # Errors
    ///
    /// Its programs are not there, or it does not become ready; the message holds what it said.
    pub fn start() -> anyhow::Result<Self> {
        let tools = env::var_os(TOOLS).with_context(|| {
            format!("{TOOLS} does not name the folder of Kubernetes' programs: `cargo xtask test` builds and names it")
        })?;
        let programs = Path::new(&tools).join("k8s/bin");
        let folder = tempfile::tempdir().context("cannot make a folder for the API server")?;
        let file = |name: &str| folder.path().join(name);
        let tokens = format!("{ADMIN_TOKEN},admin,1,system:masters\n{AGENT_TOKEN},ridley,2,\n");
        fs::write(file("tokens"), tokens).context("cannot write the tokens")?;
        let key = file("service-accounts.key");
        let key = key.to_str().context("the folder's name is no text")?;
        command::run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])?;
        let [etcd_port, peer_port, port] = free_ports()?;
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let peer_url = format!("http://127.0.0.1:{peer_port}");
        let etcd = Running::start(
            Command::new(programs.join("etcd"))
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
        let mut this = Self { folder, programs, port, etcd_port, _etcd: etcd, server: None };
        this.start_server()?;
        for (user, token) in [(User::Admin, ADMIN_TOKEN), (User::Agent, AGENT_TOKEN)] {
            fs::write(this.kubeconfig(user), this.kubeconfig_text(token)?)
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
        let (key, log) = (file("service-accounts.key"), file("api-server.log"));
        let server = Running::start(
            Command::new(self.programs.join("kube-apiserver"))
                .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port)])
                .args(["--bind-address", "127.0.0.1", "--endpoint-reconciler-type", "none"])
                .args(["--secure-port", &self.port.to_string()])
                .arg("--cert-dir")
                .arg(file("certificates"))
                .arg("--token-auth-file")
                .arg(file("tokens"))
                .args(["--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount"])
                .args(["--service-cluster-ip-range", "10.96.0.0/16,fd00:96::/108"])
                .args(["--service-account-issuer", "https://kubernetes.default.svc"])
                .arg("--service-account-key-file")
                .arg(&key)
                .arg("--service-account-signing-key-file")
                .arg(&key),
            &log,
        )?;
        self.server = Some(server);
        let ready = poll::until(PATIENCE, || {
            let mut kubectl = Command::new(self.programs.join("kubectl"));
            let server = format!("https://127.0.0.1:{}", self.port);
            kubectl.args(["--server", &server, "--insecure-skip-tls-verify", "--token", ADMIN_TOKEN]);
            let answer = kubectl.args(["get", "--raw", "/readyz"]).output().context("cannot run kubectl")?;
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

    /// Returns the path of a kubeconfig with which somebody speaks to the server.
    #[must_use]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.folder.path().join(match user {
            User::Admin => "admin.kubeconfig",
            User::Agent => "agent.kubeconfig",
        })
    }

    /// Runs `kubectl` as the administrator, and returns what it printed.
    ///
    /// # Errors
    ///
    /// It fails; the message holds what it said.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let program = self.programs.join("kubectl");
        let program = program.to_str().context("the folder's name is no text")?;
        let kubeconfig = self.kubeconfig(User::Admin);
        let kubeconfig = kubeconfig.to_str().context("the folder's name is no text")?;
        let arguments = [&["--kubeconfig", kubeconfig], arguments].concat();
        command::run_with_input(program, &arguments, input)
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
        let authority = self.folder.path().join("certificates/apiserver.crt");
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port), "certificate-authority": authority,
            } }],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "c",
        });
        Ok(serde_json::to_string(&config)?)
    }
}

impl Running {
    /// Starts a program that writes what it says to a file.
    fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let copy = file.try_clone().context("cannot share a file")?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        child.map(Self).with_context(|| format!("cannot run {}", command.get_program().display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let texts = objects.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    Ok(texts.context("an object cannot be written")?.join("\n---\n"))
}

/// Returns ports at which nobody listened a moment ago.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
        *port = listener.local_addr().context("a listener has no address")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
