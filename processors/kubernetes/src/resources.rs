use std::{collections::HashMap, net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;
use model::{Malformed, Otlp, OtlpData, ResourceAttributes, ResourceView, UnixNanos, cgroup::Uid};

use crate::{
    Config,
    config::{Association, Metadata, PodAttribute, Source, SourceKind},
    index::{Index, Workload},
    object::{ContainerId, Pod},
};

/// Adds to metrics, spans and log records what is known of the pods that they are of.
#[derive(Debug)]
pub(crate) struct Resources {
    associations: Vec<Association>,
    metadata: Vec<Metadata>,
    known: HashMap<Uid, Known, RandomState>,
    max_known: usize,
}

/// What is added to the resources of a pod, and what it was made of.
#[derive(Debug)]
struct Known {
    pod: Arc<Pod>,
    workload: Arc<Workload>,
    edition: u64,
    attributes: Arc<ResourceAttributes>,
}

impl Resources {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            associations: config.pod_association.clone(),
            metadata: config.extract.metadata.clone(),
            known: HashMap::default(),
            max_known: config.max_entities.get(),
        }
    }

    /// Adds what is known of the pods that the resources of a batch are of, and returns how many are of none that is known.
    ///
    /// # Errors
    ///
    /// A resource is not as OTLP has it. Then nothing is added.
    pub(crate) fn name<D: OtlpData>(
        &mut self,
        batch: &mut Otlp<D>,
        index: &mut Index,
        at: UnixNanos,
    ) -> Result<u64, Malformed> {
        let (peer, mut n_unknown) = (batch.peer(), 0);
        batch.add_attributes(|seen| {
            let pod = self.associations.iter().find_map(|it| it.pod(index, seen, peer, at)).cloned();
            n_unknown += u64::from(pod.is_none());
            pod.map(|it| self.attributes(index, it))
        })?;
        Ok(n_unknown)
    }

    fn attributes(&mut self, index: &mut Index, pod: Arc<Pod>) -> Arc<ResourceAttributes> {
        let workload = index.workload(&pod).unwrap_or_else(|_untold| index.best_workload(&pod));
        let edition = index.edition();
        if let Some(known) = self.known.get(&pod.uid)
            && Arc::ptr_eq(&known.pod, &pod)
            && known.edition == edition
            && known.workload == workload
        {
            return Arc::clone(&known.attributes);
        }
        if self.known.len() >= self.max_known {
            self.known.clear();
        }
        let texts: Vec<_> = self
            .metadata
            .iter()
            .filter_map(|it| Some((it.key(), it.value(index, &pod, &workload)?)))
            .collect();
        let texts = texts.iter().map(|(key, value)| (*key, &**value));
        let node = pod.node.as_ref().and_then(|it| index.node(it));
        let tags = index.tags_of_namespace(&pod.name.namespace).iter().chain(&pod.tags);
        let tags = tags.chain(node.iter().flat_map(|it| &it.tags)).map(|(key, value)| (&**key, &**value));
        let attributes = Arc::new(ResourceAttributes::new(texts.chain(tags)));
        let known = Known { pod: Arc::clone(&pod), workload, edition, attributes: Arc::clone(&attributes) };
        self.known.insert(pod.uid, known);
        attributes
    }
}

impl Association {
    /// Returns the pod that all sources tell of.
    fn pod<'a>(
        &self,
        index: &'a Index,
        seen: &ResourceView<'_>,
        peer: Option<IpAddr>,
        at: UnixNanos,
    ) -> Option<&'a Arc<Pod>> {
        let mut pods = self.sources.iter().map(|it| it.pod(index, seen, peer, at));
        let first = pods.next()??;
        pods.all(|it| it.is_some_and(|it| it.uid == first.uid)).then_some(first)
    }
}

impl Source {
    fn pod<'a>(
        &self,
        index: &'a Index,
        seen: &ResourceView<'_>,
        peer: Option<IpAddr>,
        at: UnixNanos,
    ) -> Option<&'a Arc<Pod>> {
        let Self { from, name } = self;
        match (from, name) {
            (SourceKind::Connection, _) => index.pod_at(peer?, at),
            (SourceKind::ResourceAttribute, Some(name)) => {
                let text = seen.text(name.key())?;
                match name {
                    PodAttribute::Uid => index.pod_of_cgroup(Uid::parse(text)?),
                    PodAttribute::Ip => index.pod_at(text.parse::<IpAddr>().ok()?.to_canonical(), at),
                    PodAttribute::Container => index.pod_of_container(ContainerId::parse(text)?),
                }
            }
            (SourceKind::ResourceAttribute, None) => None,
        }
    }
}

impl PodAttribute {
    const fn key(self) -> &'static str {
        match self {
            Self::Uid => "k8s.pod.uid",
            Self::Ip => "k8s.pod.ip",
            Self::Container => "container.id",
        }
    }
}

impl Metadata {
    const fn key(self) -> &'static str {
        match self {
            Self::Namespace => "k8s.namespace.name",
            Self::PodName => "k8s.pod.name",
            Self::PodUid => "k8s.pod.uid",
            Self::PodIp => "k8s.pod.ip",
            Self::Node => "k8s.node.name",
            Self::Zone => "cloud.availability_zone",
            Self::Region => "cloud.region",
            Self::Deployment => "k8s.deployment.name",
            Self::ReplicaSet => "k8s.replicaset.name",
            Self::StatefulSet => "k8s.statefulset.name",
            Self::DaemonSet => "k8s.daemonset.name",
            Self::Job => "k8s.job.name",
            Self::CronJob => "k8s.cronjob.name",
            Self::ServiceName => "service.name",
            Self::ServiceNamespace => "service.namespace",
        }
    }

    fn value(self, index: &Index, pod: &Pod, workload: &Workload) -> Option<Arc<str>> {
        let node = || index.node(pod.node.as_ref()?);
        match self {
            Self::Namespace => Some(Arc::clone(&pod.name.namespace)),
            Self::PodName => Some(Arc::clone(&pod.name.name)),
            Self::PodUid => Some(pod.uid.to_string().into()),
            Self::PodIp => pod.addresses.first().map(|it| it.to_string().into()),
            Self::Node => pod.node.clone(),
            Self::Zone => node()?.zone.clone(),
            Self::Region => node()?.region.clone(),
            Self::Deployment => controller("Deployment", pod, workload),
            Self::ReplicaSet => controller("ReplicaSet", pod, workload),
            Self::StatefulSet => controller("StatefulSet", pod, workload),
            Self::DaemonSet => controller("DaemonSet", pod, workload),
            Self::Job => controller("Job", pod, workload),
            Self::CronJob => controller("CronJob", pod, workload),
            Self::ServiceName => Some(pod.service.name.as_ref().unwrap_or(&workload.name.name).clone()),
            Self::ServiceNamespace => {
                Some(pod.service.namespace.as_ref().unwrap_or(&pod.name.namespace).clone())
            }
        }
    }
}

/// Returns the name of who controls a pod, itself or in the end, if it is of a kind.
fn controller(kind: &str, pod: &Pod, workload: &Workload) -> Option<Arc<str>> {
    let own = pod.owner.iter().map(|it| (&it.kind, &it.name));
    let mut all = own.chain([(&workload.kind, &workload.name.name)]);
    all.find(|(it, _)| ***it == *kind).map(|(_, name)| Arc::clone(name))
}

#[cfg(test)]
#[path = "resources_tests.rs"]
mod tests;
