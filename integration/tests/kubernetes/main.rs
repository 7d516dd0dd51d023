//! Names of ends in a cluster: objects in a real API server, and records of connections between them.

mod cases;
mod posing;
mod shop;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::Rights,
    api_server::{ApiServer, User},
    poll,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cases::{CASES, Case, DB_NAME, id, server, text},
    shop::{Pod, create_shop},
};

/// Names the records of a file as they happen.
const LIVE: &str = include_str!("../../configs/kubernetes.yaml");

/// Longer than a run of the agent takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// How soon after it is back new pods have names.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);

#[test]
fn ends_have_the_names_that_their_objects_give_them() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    let config = "networks: { corp: [10.0.0.0/8], corp-vpn: [10.8.0.0/16] }\n    owners: []";
    let now = nanos()?;
    let flows: Vec<_> = CASES.iter().enumerate().map(|(idx, case)| case.flow(idx, now, &uids)).collect();
    let Run { named, log: _ } = run(&server, User::Admin, config, &flows)?;
    let mut wrong = Vec::new();
    for (idx, case) in CASES.iter().enumerate() {
        let flow = named.get(&id(idx)).with_context(|| format!("{} is missing", case.name))?;
        let found = ["client", "server"].map(|end| text(&flow[end]["entity"]));
        if found != case.expected {
            wrong.push(format!("{}: {found:#?} instead of {:#?}", case.name, case.expected));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    Ok(())
}

/// What the processor's README tells administrators to allow is enough, and nothing of it is in vain.
#[test]
fn the_rules_of_the_readme_are_enough_and_needed() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    server.create(&[json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "ridley" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ridley" },
        "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ridley" }],
    })])?;
    let allow = |rules: &[(String, String)]| -> anyhow::Result<()> {
        let rules = rules.iter().map(|(group, resource)| {
            json!({ "apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"] })
        });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "ridley" },
            "rules": rules.collect::<Vec<_>>(),
        });
        server.kubectl(&["apply", "-f", "-"], &role.to_string()).map(drop)
    };
    let idx = CASES.iter().position(|it| it.name == "cluster_ip").context("no such case")?;
    let flows = [CASES[idx].flow(idx, nanos()?, &uids)];
    let rules = documented_rules()?;
    allow(&rules)?;
    let Run { named, log } = run(&server, User::Agent, "sync_timeout: 20s", &flows)?;
    let found = ["client", "server"].map(|end| text(&named[&id(idx)][end]["entity"]));
    ensure!(found == CASES[idx].expected && !log.contains("WARN"), "with all rules: {found:?}\n{log}");
    for left_out in &rules {
        let others: Vec<_> = rules.iter().filter(|it| *it != left_out).cloned().collect();
        allow(&others)?;
        let Run { named: _, log } = run(&server, User::Agent, "sync_timeout: 1s", &flows)?;
        ensure!(log.contains("forbidden") && log.contains(&left_out.1), "without {left_out:?}:\n{log}");
    }
    Ok(())
}

/// Names go on being given while the API server is away for a minute, and a new pod has its own within seconds after it came back
/// with a history that has been compacted.
#[test]
fn an_outage_of_the_api_server_costs_no_names() -> anyhow::Result<()> {
    let mut server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    let known = CASES.iter().find(|it| it.name == "cluster_ip").context("no such case")?;
    let late = server_of_late_pod();
    // A connection of each in every second, told of as it begins.
    let began = nanos()?;
    let mut flows = Vec::new();
    for second in 0..2 * OUTAGE.as_secs() {
        let (idx, at) = (2 * usize::try_from(second)?, began + 1_000_000_000 * second);
        flows.extend([known.flow(idx, at, &uids), late.flow(idx + 1, at, &uids)]);
    }
    let live = Live::start(&server, &flows)?;
    live.await_named(&id(0))?;
    server.stop_server();
    // The next second that is all after a time from now.
    let second_after = |wait: Duration| -> anyhow::Result<usize> {
        let passed = Duration::from_nanos(nanos()? - began) + wait;
        Ok(usize::try_from(passed.as_secs())? + 1)
    };
    live.await_named(&id(2 * second_after(OUTAGE)?))?;
    let age = live.age()?;
    ensure!(age > OUTAGE.as_secs_f64() / 2.0, "after the outage what is known is {age} s old");
    server.start_server()?;
    server.create(&[Pod::new("late", "kn1", "10.244.1.99").of(("apps/v1", "DaemonSet", "late", None)).0])?;
    let first = 2 * second_after(AFTER_OUTAGE)?;
    live.await_named(&id(first + 1))?;
    poll::until(LIMIT, || {
        let age = live.age()?;
        ensure!(age == 0.0, "what is known is {age} s old");
        Ok(())
    })?;
    let (named, log) = (live.named()?, live.agent.log());
    let check = |idx: usize, case: &Case| -> anyhow::Result<()> {
        let found = ["client", "server"].map(|end| text(&named[&id(idx)][end]["entity"]));
        ensure!(found == case.expected, "second {}: {found:?}; the agent said:\n{log}", idx / 2);
        Ok(())
    };
    (0..=first).step_by(2).try_for_each(|idx| check(idx, known))?;
    check(first + 1, &late)?;
    ensure!(log.contains("the API server does not tell of all objects"), "{log}");
    Ok(())
}

/// A pod that is created late connects to one that is there from the beginning.
const fn server_of_late_pod() -> Case {
    server(
        "late",
        "db-0",
        "10.244.1.99:5",
        "10.244.2.7:8080",
        ["DaemonSet shop/late pod=late node=kn1 zone=a", DB_NAME],
    )
}

/// An agent that is told of connections at the times when they begin.
struct Live {
    agent: Agent,
    folder: TempDir,
}

impl Live {
    fn start(server: &ApiServer, flows: &[Value]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [path, named] = ["flows.jsonl", "named.jsonl"].map(|it| folder.path().join(it));
        write_flows(&path, flows)?;
        let kubeconfig = server.kubeconfig(User::Admin);
        let variables: [(&str, &Path); 3] =
            [("RIDLEY_FLOWS", &path), ("RIDLEY_NAMED", &named), ("RIDLEY_KUBECONFIG", &kubeconfig)];
        Ok(Self { agent: Agent::launch(LIVE, Rights::All, &variables)?, folder })
    }

    fn named(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        read_named(&self.folder.path().join("named.jsonl"))
    }

    /// Waits until a connection has names.
    fn await_named(&self, id: &str) -> anyhow::Result<()> {
        poll::until(OUTAGE + LIMIT, || {
            ensure!(self.named()?.contains_key(id), "{id} has no names yet");
            Ok(())
        })
        .with_context(|| format!("the agent said:\n{}", self.agent.log()))
    }

    /// Returns how long ago the agent heard of what it hears of no more, in seconds.
    fn age(&self) -> anyhow::Result<f64> {
        let scraped = self.agent.scrape()?;
        scraped.series("ridley_kubernetes_age_seconds").next().map(|(_, value)| value).context("no age")
    }
}

/// Returns API group and resource of every rule in the processor's README; each allows to list and to watch.
fn documented_rules() -> anyhow::Result<Vec<(String, String)>> {
    let readme = include_str!("../../../processors/kubernetes/README.md");
    let (_, block) = readme.split_once("```yaml\nrules:\n").context("the README has no rules")?;
    let (block, _) = block.split_once("```").context("the rules have no end")?;
    let mut rules = Vec::new();
    for line in block.lines() {
        let list = |key: &str| -> anyhow::Result<Vec<String>> {
            let (_, rest) =
                line.split_once(&format!("{key}: [")).with_context(|| format!("no {key} in {line}"))?;
            let (inside, _) = rest.split_once(']').with_context(|| format!("no end of {key} in {line}"))?;
            Ok(inside.split(", ").map(|it| it.trim_matches('"').to_owned()).collect())
        };
        ensure!(list("verbs")? == ["list", "watch"], "other verbs: {line}");
        let groups = list("apiGroups")?;
        for resource in list("resources")? {
            rules.extend(groups.iter().map(|group| (group.clone(), resource.clone())));
        }
    }
    Ok(rules)
}

/// What a run of the agent gave.
struct Run {
    /// Records with names, by id.
    named: BTreeMap<String, Value>,
    log: String,
}

/// Has the agent name records.
fn run(server: &ApiServer, user: User, settings: &str, flows: &[Value]) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    write_flows(&file("flows.jsonl"), flows)?;
    fs::write(file("ridley.yaml"), configuration(server, user, settings, folder.path()))?;
    let ended = Command::new("timeout")
        .arg(LIMIT.as_secs().to_string())
        .arg(agent()?)
        .arg("run")
        .arg("--config")
        .arg(file("ridley.yaml"))
        .output()
        .context("cannot run the agent")?;
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success(), "the agent said:\n{log}");
    Ok(Run { named: read_named(&file("named.jsonl"))?, log })
}

/// A configuration that names the records of `flows.jsonl` in a folder, and writes them to `named.jsonl`.
fn configuration(server: &ApiServer, user: User, settings: &str, folder: &Path) -> String {
    let (folder, kubeconfig) = (folder.display(), server.kubeconfig(user));
    format!(
        "\
receivers:
  replay: {{ path: {folder}/flows.jsonl, speed: 0, times: keep }}
processors:
  kubernetes:
    kubeconfig: {}
    {settings}
exporters:
  file: {{ path: {folder}/named.jsonl }}
service:
  pipelines:
    flows: {{ receivers: [replay], processors: [kubernetes], exporters: [file] }}
",
        kubeconfig.display()
    )
}

fn agent() -> anyhow::Result<OsString> {
    env::var_os("RIDLEY_BIN").context("RIDLEY_BIN does not name the agent")
}

fn write_flows(path: &Path, flows: &[Value]) -> anyhow::Result<()> {
    let lines: Vec<_> = flows.iter().map(Value::to_string).collect();
    fs::write(path, lines.join("\n")).context("cannot write the records")
}

/// Reads what the agent wrote, by id; a line that it has not finished is left out.
fn read_named(path: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let text = fs::read_to_string(path).context("nothing has names yet")?;
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut named = BTreeMap::new();
    for line in complete.lines() {
        let flow: Value = serde_json::from_str(line)?;
        let id = flow["id"].as_str().context("a record has no id")?.to_owned();
        named.insert(id, flow);
    }
    Ok(named)
}

fn nanos() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
