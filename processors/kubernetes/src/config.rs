use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use component::{InvalidSetting, Permission};
use ipnet::IpNet;
use serde::Deserialize;

use crate::{extract::Extraction, object::ObjectName, watch};

/// Longest name of a network: it becomes part of a label.
const MAX_NAME_LEN: usize = 63;

/// Settings of the `kubernetes` processor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which pods are known.
    pub scope: Scope,

    /// The node that the agent is on: `${env:NODE_NAME}`, which the pod's `fieldRef` to `spec.nodeName` sets.
    ///
    /// Needed with `scope: node`. With `scope: cluster` it is found by the first pod of the node that has a connection.
    pub node: Option<String>,

    /// The pod that the agent runs in, as `namespace/name`: pods that the same DaemonSet controls are agents, too, and what they
    /// report is left to them.
    ///
    /// Without it the pod is known by its host name, in the namespace of its service account.
    pub pod: Option<String>,

    /// A file that tells where the API server is and how to log in, as `kubectl` reads it.
    ///
    /// Without it the pod's service account is used, or what `KUBECONFIG` names.
    pub kubeconfig: Option<std::path::PathBuf>,

    /// How long the start waits for the API server to tell of all objects. Records that come meanwhile are held and named
    /// after; when the time is over names are given by what is known. From `0s` to `10m`.
    #[serde(with = "humantime_serde")]
    pub sync_timeout: Duration,

    /// How long a record is held whose ends are of a pod that the API server has not told of yet. From `0s` to `1m`.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,

    /// Most records held at a time. Those beyond are named by what is known, the oldest first.
    pub max_held: NonZeroUsize,

    /// Most objects of each kind that are known. Those beyond are counted in `ridley.kubernetes.refused.objects` each time that the
    /// API server tells of them, and give no names.
    pub max_objects: NonZeroUsize,

    /// How long objects that are deleted are remembered, for records that come late. From `0s` to an hour.
    #[serde(with = "humantime_serde")]
    pub keep_deleted: Duration,

    /// Names of networks outside of the cluster: `corp-vpn: [10.8.0.0/16]`. The smallest that contains an address counts.
    /// What is in none is `external`. There are none by default.
    pub networks: BTreeMap<String, Vec<IpNet>>,

    /// Kinds of objects that control others and are controlled themselves, beside ReplicaSets and Jobs.
    pub owners: Vec<OwnerKind>,

    /// Labels and annotations that become attributes.
    pub extract: Extract,

    /// How the pod is found that metrics, spans and log records are of: by the first of these that finds one. By default by the
    /// resource's `k8s.pod.uid`, else by its `k8s.pod.ip`, else by the connection.
    pub pod_association: Vec<Association>,

    /// Most connections whose names are remembered. When there are more, the oldest is forgotten, and named anew if it
    /// goes on.
    pub max_connections: NonZeroUsize,

    /// Most names kept for reuse.
    pub max_entities: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scope: Scope::Cluster,
            node: None,
            pod: None,
            kubeconfig: None,
            sync_timeout: Duration::from_secs(30),
            wait: Duration::from_secs(2),
            max_held: NonZeroUsize::new(20_000).expect("20 000 is not zero"),
            max_objects: NonZeroUsize::new(200_000).expect("200 000 is not zero"),
            keep_deleted: Duration::from_mins(2),
            networks: BTreeMap::new(),
            owners: Vec::new(),
            extract: Extract::default(),
            pod_association: [
                Source::attribute(PodAttribute::Uid),
                Source::attribute(PodAttribute::Ip),
                Source { from: SourceKind::Connection, name: None },
            ]
            .map(|it| Association { sources: vec![it] })
            .into(),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
            max_entities: NonZeroUsize::new(20_000).expect("20 000 is not zero"),
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self {
            scope,
            node,
            pod,
            kubeconfig,
            sync_timeout,
            wait,
            max_held: _,
            max_objects: _,
            keep_deleted,
            networks,
            owners: _,
            extract,
            pod_association,
            max_connections: _,
            max_entities: _,
        } = self;
        let mut invalid = Vec::new();
        if *scope == Scope::Node && node.as_deref().is_none_or(str::is_empty) {
            let expected = "the name of the agent's node with `scope: node`, such as ${env:NODE_NAME}";
            invalid.push(InvalidSetting::new("node", expected, "none"));
        }
        if let Some(pod) = pod
            && ObjectName::parse(pod).is_none()
        {
            invalid.push(InvalidSetting::new("pod", "`namespace/name`", format!("{pod:?}")));
        }
        invalid.extend(kubeconfig.iter().filter_map(|it| InvalidSetting::check_file("kubeconfig", it)));
        for (path, actual, most) in [
            ("sync_timeout", *sync_timeout, Duration::from_mins(10)),
            ("wait", *wait, Duration::from_mins(1)),
            ("keep_deleted", *keep_deleted, Duration::from_hours(1)),
        ] {
            invalid.extend(InvalidSetting::check_duration(path, actual, Duration::ZERO..=most));
        }
        for name in networks.keys() {
            let is_unusable =
                name.is_empty() || name.chars().count() > MAX_NAME_LEN || name.chars().any(char::is_control);
            if is_unusable {
                let expected = format!("a name of 1 to {MAX_NAME_LEN} printable characters");
                invalid.push(InvalidSetting::new(format!("networks.{name}"), expected, format!("{name:?}")));
            }
        }
        if let Err((path, error)) = Extraction::new(extract) {
            invalid.push(InvalidSetting::new(path, "a rule", error));
        }
        for (idx, Association { sources }) in pod_association.iter().enumerate() {
            let path = format!("pod_association.{idx}.sources");
            if sources.is_empty() {
                invalid.push(InvalidSetting::new(path.clone(), "at least one", "none"));
            }
            for (idx, source) in sources.iter().enumerate() {
                let expected = match source {
                    Source { from: SourceKind::ResourceAttribute, name: None } => "the attribute's `name`",
                    Source { from: SourceKind::Connection, name: Some(_) } => "no `name` of a connection",
                    _ => continue,
                };
                let found = if source.name.is_some() { "one" } else { "none" };
                invalid.push(InvalidSetting::new(format!("{path}.{idx}"), expected, found));
            }
        }
        invalid
    }

    fn permissions(&self) -> Vec<Permission> {
        watch::permissions(self)
    }
}

/// Which pods are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those of the whole cluster, so that both ends are named.
    #[default]
    Cluster,
    /// Those of the agent's node, so that only its ends are named.
    Node,
}

/// A kind of objects that control others and may be controlled themselves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerKind {
    /// The API group, such as `argoproj.io`.
    pub group: String,
    /// The version, such as `v1alpha1`.
    pub version: String,
    /// The kind, such as `Rollout`.
    pub kind: String,
    /// The kind's name in paths of the API, such as `rollouts`.
    pub plural: String,
}

/// Labels and annotations that become attributes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extract {
    /// What else is added to metrics, spans and log records, of what is known. Flows have all of it.
    pub metadata: Vec<Metadata>,
    /// Labels.
    pub labels: Vec<Rule>,
    /// Annotations.
    pub annotations: Vec<Rule>,
    /// Whether `app.kubernetes.io/instance` and `app.kubernetes.io/name` name the service (`service.name`) of a pod that no
    /// annotation names.
    pub well_known_labels: bool,
}

impl Default for Extract {
    fn default() -> Self {
        Self {
            metadata: vec![
                Metadata::Namespace,
                Metadata::PodName,
                Metadata::PodUid,
                Metadata::Node,
                Metadata::ServiceName,
                Metadata::ServiceNamespace,
                Metadata::Deployment,
                Metadata::StatefulSet,
                Metadata::DaemonSet,
                Metadata::Job,
                Metadata::CronJob,
            ],
            labels: Vec::new(),
            annotations: Vec::new(),
            well_known_labels: false,
        }
    }
}

/// An attribute of a resource that tells something of its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Metadata {
    /// Its namespace.
    #[serde(rename = "k8s.namespace.name")]
    Namespace,
    /// Its name.
    #[serde(rename = "k8s.pod.name")]
    PodName,
    /// Its uid.
    #[serde(rename = "k8s.pod.uid")]
    PodUid,
    /// Its first address, if it has one of its own.
    #[serde(rename = "k8s.pod.ip")]
    PodIp,
    /// Its node.
    #[serde(rename = "k8s.node.name")]
    Node,
    /// The zone of its node.
    #[serde(rename = "cloud.availability_zone")]
    Zone,
    /// The region of its node.
    #[serde(rename = "cloud.region")]
    Region,
    /// The Deployment that it is of.
    #[serde(rename = "k8s.deployment.name")]
    Deployment,
    /// The ReplicaSet.
    #[serde(rename = "k8s.replicaset.name")]
    ReplicaSet,
    /// The StatefulSet.
    #[serde(rename = "k8s.statefulset.name")]
    StatefulSet,
    /// The DaemonSet.
    #[serde(rename = "k8s.daemonset.name")]
    DaemonSet,
    /// The Job.
    #[serde(rename = "k8s.job.name")]
    Job,
    /// The CronJob.
    #[serde(rename = "k8s.cronjob.name")]
    CronJob,
    /// The service by OpenTelemetry's rules for Kubernetes.
    #[serde(rename = "service.name")]
    ServiceName,
    /// Its namespace by these.
    #[serde(rename = "service.namespace")]
    ServiceNamespace,
}

/// A way to find a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Association {
    /// What tells of the pod; all of them must tell of the same.
    pub sources: Vec<Source>,
}

/// What tells of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is told.
    pub from: SourceKind,
    /// The attribute.
    #[serde(default)]
    pub name: Option<PodAttribute>,
}

impl Source {
    const fn attribute(name: PodAttribute) -> Self {
        Self { from: SourceKind::ResourceAttribute, name: Some(name) }
    }
}

/// Where something is told of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// By an attribute of the resource.
    ResourceAttribute,
    /// By the address of whoever sent it here.
    Connection,
}

/// An attribute by which a pod is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PodAttribute {
    /// Its uid.
    #[serde(rename = "k8s.pod.uid")]
    Uid,
    /// One of its addresses.
    #[serde(rename = "k8s.pod.ip")]
    Ip,
    /// The id of one of its containers.
    #[serde(rename = "container.id")]
    Container,
}

/// Which labels or annotations become which attribute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The key.
    #[serde(default)]
    pub key: Option<String>,
    /// Or a regular expression that the whole key must match.
    #[serde(default)]
    pub key_regex: Option<String>,
    /// The attribute, which has a dot in its name; `$1` stands for the first group of `key_regex`. By default
    /// `k8s.pod.label.<key>`, or what corresponds.
    #[serde(default)]
    pub tag_name: Option<String>,
    /// Whose; the pod's unless it is set.
    #[serde(default)]
    pub from: From,
}

/// Whose labels or annotations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The pod's.
    #[default]
    Pod,
    /// The namespace's.
    Namespace,
    /// The node's.
    Node,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let size = |it| NonZeroUsize::new(it).unwrap();
        let text = |it: &str| Some(it.to_owned());
        let expected = Config {
            scope: Scope::Node,
            node: text("kn1"),
            pod: text("monitoring/ridley-x"),
            kubeconfig: Some("/etc/ridley/kubeconfig".into()),
            sync_timeout: Duration::from_secs(10),
            wait: Duration::from_secs(1),
            max_held: size(500),
            max_objects: size(7_000),
            keep_deleted: Duration::from_mins(1),
            networks: [(
                "corp-vpn".to_owned(),
                ["10.8.0.0/16", "2001:db8::/32"].map(|it| it.parse().unwrap()).into(),
            )]
            .into(),
            owners: vec![OwnerKind {
                group: "argoproj.io".to_owned(),
                version: "v1alpha1".to_owned(),
                kind: "Workflow".to_owned(),
                plural: "workflows".to_owned(),
            }],
            extract: Extract {
                metadata: vec![Metadata::PodIp, Metadata::Zone],
                labels: vec![
                    Rule { key: text("team"), key_regex: None, tag_name: text("shop.team"), from: From::Pod },
                    Rule {
                        key: None,
                        key_regex: text("shop/(.*)"),
                        tag_name: text("shop.$1"),
                        from: From::Namespace,
                    },
                ],
                annotations: vec![Rule {
                    key: text("example.com/tier"),
                    key_regex: None,
                    tag_name: None,
                    from: From::Node,
                }],
                well_known_labels: true,
            },
            pod_association: vec![Association {
                sources: vec![
                    Source::attribute(PodAttribute::Container),
                    Source { from: SourceKind::Connection, name: None },
                ],
            }],
            max_connections: size(5_000),
            max_entities: size(1_000),
        };
        assert_eq!(config, expected);
        assert_eq!(component::Config::validate(&config), []);
        let permissions = component::Config::permissions(&config);
        let resources: Vec<_> = permissions.iter().map(|it| it.resource.as_str()).collect();
        assert_eq!(resources, ["pods", "nodes", "namespaces", "replicasets", "jobs", "workflows"]);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(component::Config::validate(&Config::default()), []);
    }
}
