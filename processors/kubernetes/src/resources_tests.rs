//! Whose data it is, and what is added to it, with objects as the API server writes them.

use model::Traces;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use serde_json::json;

use super::*;
use crate::{
    config::{Extract, From, Rule},
    told::{Cluster, LATER, controller, seconds, uid},
    view::PodView,
};

/// The pod `web-6f-1` of the Deployment `web`, as tests of names have it.
const WEB: &str = "10.244.1.5";
const WEB_NAMES: &str = "k8s.namespace.name=shop k8s.pod.name=web-6f-1 k8s.pod.uid=00000000-0000-0000-0000-000000000001 \
                         k8s.node.name=kn1 service.name=web service.namespace=shop k8s.deployment.name=web";

#[test]
fn a_pod_is_found_by_what_a_resource_says_of_itself_or_by_who_sent_it() {
    let mut resources = resources(Config::default());
    let uid = uid(1).to_string();
    for (said, peer) in [
        ([("k8s.pod.uid", uid.as_str())].as_slice(), "192.0.2.77"),
        (&[("k8s.pod.ip", WEB)], "192.0.2.77"),
        (&[("k8s.pod.ip", "::ffff:10.244.1.5")], "192.0.2.77"),
        (&[], WEB),
        // The first that finds a pod counts; what finds none, or is none, is passed by.
        (&[("k8s.pod.uid", uid.as_str()), ("k8s.pod.ip", "10.244.2.7")], "10.244.2.7"),
        (&[("k8s.pod.uid", "none"), ("k8s.pod.ip", "none")], WEB),
        (&[("k8s.pod.uid", "00000000-0000-0000-0000-0000000000ff")], WEB),
    ] {
        let (found, n_unknown) = resources.name(said, peer);
        let said: String = said.iter().map(|(key, value)| format!("{key}={value} ")).collect();
        let has = |name: &str| said.split(' ').any(|it| it.split('=').next() == name.split('=').next());
        let expected: Vec<_> = WEB_NAMES.split(' ').filter(|it| !has(it)).collect();
        assert_eq!((found, n_unknown), (format!("{said}{}", expected.join(" ")), 0), "{said} from {peer}");
    }
}

#[test]
fn of_what_no_pod_is_known_nothing_is_said() {
    let mut resources = resources(Config::default());
    // A node's address is that of every pod in its network.
    for peer in ["192.0.2.77", "192.0.2.1"] {
        assert_eq!(resources.name(&[("host.name", "h")], peer), ("host.name=h".to_owned(), 1), "{peer}");
    }
}

#[test]
fn what_an_application_says_of_itself_stays() {
    let mut resources = resources(Config::default());
    let (found, _) = resources.name(&[("service.name", "cart"), ("k8s.pod.name", "mine")], WEB);
    assert_eq!(
        found,
        "service.name=cart k8s.pod.name=mine k8s.namespace.name=shop \
         k8s.pod.uid=00000000-0000-0000-0000-000000000001 k8s.node.name=kn1 service.namespace=shop \
         k8s.deployment.name=web"
    );
}

/// Sidecars send over the connection of another pod, and ids of containers are those that an application reads in its own cgroup.
#[test]
fn a_pod_is_found_by_a_container_and_all_sources_must_agree() {
    let source = |name| Source { from: SourceKind::ResourceAttribute, name: Some(name) };
    let connection = Source { from: SourceKind::Connection, name: None };
    let config = Config {
        pod_association: vec![Association { sources: vec![source(PodAttribute::Container), connection] }],
        extract: Extract { metadata: vec![Metadata::PodName], ..Extract::default() },
        ..Config::default()
    };
    let mut resources = resources(config);
    let [first, second, other] = [1, 2, 3].map(|it: u8| format!("{it:064x}"));
    let mut restart = |id: &str| {
        resources.cluster.told::<PodView>(json!({
            "metadata": { "uid": uid(7).to_string(), "namespace": "shop", "name": "job-x" },
            "spec": { "nodeName": "kn1", "containers": [{}] },
            "status": { "phase": "Running", "podIPs": [{ "ip": "10.244.1.7" }],
                "containerStatuses": [{ "containerID": format!("containerd://{id}") }, {}],
                "initContainerStatuses": [{ "containerID": format!("cri-o://{other}") }] },
        }));
    };
    restart(&first);
    restart(&second);
    for (id, peer, expected) in [
        (&second, "10.244.1.7", "k8s.pod.name=job-x"),
        (&other, "10.244.1.7", "k8s.pod.name=job-x"),
        (&second, WEB, ""),
        (&first, "10.244.1.7", ""),
    ] {
        let (found, n_unknown) = resources.name(&[("container.id", id)], peer);
        assert_eq!(
            (found.as_str(), n_unknown),
            (format!("container.id={id} {expected}").trim(), u64::from(expected.is_empty()))
        );
    }
}

#[test]
fn what_is_wanted_is_added_of_pod_namespace_and_node() {
    let rule = |key: &str, from| Rule { key: Some(key.to_owned()), key_regex: None, tag_name: None, from };
    use Metadata::{CronJob, Deployment, Job, PodIp, Region, ReplicaSet, Zone};
    let extract = Extract {
        metadata: vec![PodIp, Zone, Region, Deployment, ReplicaSet, Job, CronJob],
        labels: vec![rule("tier", From::Pod), rule("topology.kubernetes.io/region", From::Node)],
        ..Extract::default()
    };
    let mut resources = resources(Config { extract, ..Config::default() });
    resources.cluster.told::<PodView>(json!({
        "metadata": { "uid": uid(8).to_string(), "namespace": "shop", "name": "web-6f-2", "labels": { "tier": "front" },
            "ownerReferences": [controller("apps/v1", "ReplicaSet", "web-6f", 10)] },
        "spec": { "nodeName": "kn2", "containers": [{}] },
        "status": { "phase": "Running", "podIPs": [{ "ip": "10.244.2.8" }] },
    }));
    assert_eq!(
        resources.name(&[], "10.244.2.8").0,
        "k8s.pod.ip=10.244.2.8 cloud.availability_zone=b cloud.region=eu k8s.deployment.name=web \
         k8s.replicaset.name=web-6f k8s.pod.label.tier=front k8s.node.label.topology.kubernetes.io/region=eu"
    );
}

/// What was made of a pod is kept; not beyond its changes.
#[test]
fn what_changes_of_a_pod_is_added_to_what_comes_after() {
    let extract = Extract { metadata: vec![Metadata::PodName, Metadata::Node], ..Extract::default() };
    let mut resources = resources(Config { extract, ..Config::default() });
    let by_uid =
        |resources: &mut Tested| resources.name(&[("k8s.pod.uid", &uid(9).to_string())], "192.0.2.77").0;
    let mut expected = format!("k8s.pod.uid={} k8s.pod.name=late", uid(9));
    for node in [None, Some("kn1")] {
        resources.cluster.told::<PodView>(json!({
            "metadata": { "uid": uid(9).to_string(), "namespace": "shop", "name": "late" },
            "spec": { "nodeName": node, "containers": [{}] },
            "status": { "phase": "Pending" },
        }));
        if let Some(node) = node {
            expected += &format!(" k8s.node.name={node}");
        }
        assert_eq!(by_uid(&mut resources), expected);
    }
    resources.cluster.gone::<PodView>(uid(9));
    assert_eq!(by_uid(&mut resources), expected, "its last data may come late");
}

/// The shop, and what adds its names.
struct Tested {
    cluster: Cluster,
    resources: Resources,
}

fn resources(config: Config) -> Tested {
    let resources = Resources::new(&config);
    let mut cluster = Cluster::new(config);
    cluster.fill();
    Tested { cluster, resources }
}

impl Tested {
    /// Names the resource of an encoded request that comes from somewhere. Returns its attributes then, and how many resources are
    /// of no pod.
    fn name(&mut self, said: &[(&str, &str)], peer: &str) -> (String, u64) {
        let attributes = said.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue((*value).to_owned())) }),
            ..KeyValue::default()
        });
        let resource = Some(Resource { attributes: attributes.collect(), ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() }];
        let made = Traces::new(vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }]);
        let encoded = made.encode(&Resource::default());
        let mut came = Traces::from_encoded(encoded).unwrap().from_peer(peer.parse().unwrap());
        let index = &mut self.cluster.naming.index;
        let n_unknown = self.resources.name(&mut came, index, seconds(LATER)).unwrap();
        assert_eq!(came.n_items(), 1);
        let data = came.decode().unwrap();
        let attributes = data.resource_spans[0].resource.iter().flat_map(|it| &it.attributes);
        let texts = attributes.map(|it| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text}", it.key),
            other => panic!("{} is {other:?}", it.key),
        });
        (texts.collect::<Vec<_>>().join(" "), n_unknown)
    }
}
