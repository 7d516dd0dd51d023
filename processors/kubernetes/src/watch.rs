//! Watches objects of the API server. Only this file speaks to it.

use std::{pin::pin, sync::Arc, time::Duration};

use backon::ExponentialBuilder;
use component::Permission;
use futures_util::StreamExt;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, ExponentialBackoff, watcher},
    },
};
use model::cgroup::Uid;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Config,
    config::{OwnerKind, Scope},
    extract::{Extraction, Tags},
    object::{EndpointSlice, Node, ObjectName, Owner, Pod, Service},
    store::Change,
    view::{EndpointSliceView, NamespaceView, NodeView, OwnerView, PodView, Reading, ServiceView, View},
};

/// What was told and not taken yet: then the API server waits.
const CAPACITY: usize = 256;

/// How long a watch that failed waits until it is begun again, for the first time and at most: new pods must have names a few
/// seconds after the API server is back.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Something that the API server told, or that it does not answer.
#[derive(Debug)]
pub(crate) enum Told {
    Pod(Change<Uid, Arc<Pod>>),
    /// Of objects of one of the kinds that control others.
    Owner(usize, Change<Uid, Option<Owner>>),
    Service(Change<ObjectName, Arc<Service>>),
    Slice(Change<ObjectName, Arc<EndpointSlice>>),
    Node(Change<Arc<str>, Arc<Node>>),
    Namespace(Change<Arc<str>, Tags>),
    /// A watch of a resource failed; it is begun again by itself.
    Failed(String, watcher::Error),
}

/// Running watches. They end with this value.
#[derive(Debug)]
pub(crate) struct Watches {
    told: mpsc::Receiver<Told>,
    _tasks: JoinSet<()>,
}

/// Returns the kinds of objects that control others and are watched for it.
pub(crate) fn owner_kinds(config: &Config) -> Vec<OwnerKind> {
    let built_in = [("apps", "ReplicaSet", "replicasets"), ("batch", "Job", "jobs")];
    let built_in = built_in.map(|(group, kind, plural)| OwnerKind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    });
    built_in.into_iter().chain(config.owners.iter().cloned()).collect()
}

/// Returns what [`Watches::start`] watches.
pub(crate) fn permissions(config: &Config) -> Vec<Permission> {
    fn of<V: View>(kind: &V::DynamicType) -> Permission {
        Permission { group: V::group(kind).into_owned(), resource: V::plural(kind).into_owned() }
    }
    let mut all = vec![of::<PodView>(&()), of::<NodeView>(&())];
    if config.scope == Scope::Cluster {
        all.extend([of::<ServiceView>(&()), of::<EndpointSliceView>(&())]);
    }
    if Extraction::new(&config.extract).is_ok_and(|it| it.wants_namespaces()) {
        all.push(of::<NamespaceView>(&()));
    }
    all.extend(owner_kinds(config).iter().map(of::<OwnerView>));
    all
}

impl Watches {
    /// Begins to watch; [`permissions`] names what.
    pub(crate) fn start(client: Client, config: &Config, reading: Reading) -> Self {
        let (send, told) = mpsc::channel(CAPACITY);
        let wants_namespaces = reading.wants_namespaces();
        let mut starter = Starter { client, reading: Arc::new(reading), send, tasks: JoinSet::new() };
        let all = watcher::Config::default;
        match config.scope {
            Scope::Cluster => {
                starter.start::<PodView>((), all(), Told::Pod);
                starter.start::<NodeView>((), all(), Told::Node);
                starter.start::<ServiceView>((), all(), Told::Service);
                starter.start::<EndpointSliceView>((), all(), Told::Slice);
            }
            Scope::Node => {
                let node = config.node.as_deref().unwrap_or_default();
                starter.start::<PodView>((), all().fields(&format!("spec.nodeName={node}")), Told::Pod);
                starter.start::<NodeView>((), all().fields(&format!("metadata.name={node}")), Told::Node);
            }
        }
        if wants_namespaces {
            starter.start::<NamespaceView>((), all(), Told::Namespace);
        }
        for (idx, kind) in owner_kinds(config).into_iter().enumerate() {
            starter.start::<OwnerView>(kind, all(), move |it| Told::Owner(idx, it));
        }
        Self { told, _tasks: starter.tasks }
    }

    /// Waits for what is told next. Cancel-safe. `None` when all watches have ended, which they do not by themselves.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// Returns what was told already.
    pub(crate) fn next_ready(&mut self) -> Option<Told> {
        self.told.try_recv().ok()
    }
}

struct Starter {
    client: Client,
    reading: Arc<Reading>,
    send: mpsc::Sender<Told>,
    tasks: JoinSet<()>,
}

impl Starter {
    fn start<V: View<DynamicType: Clone>>(
        &mut self,
        kind: V::DynamicType,
        config: watcher::Config,
        told: impl Fn(Change<V::Key, V::Object>) -> Told + Send + Sync + 'static,
    ) {
        let resource = V::plural(&kind).into_owned();
        let api = Api::all_with(self.client.clone(), &kind);
        let (send, reading) = (self.send.clone(), Arc::clone(&self.reading));
        self.tasks.spawn(async move {
            watch::<V>(api, config, &reading, &resource, told, send).await;
        });
    }
}

/// Hands on what the API server tells of one kind of objects, until nobody takes it.
async fn watch<V: View>(
    api: Api<V>,
    config: watcher::Config,
    reading: &Reading,
    resource: &str,
    told: impl Fn(Change<V::Key, V::Object>) -> Told,
    send: mpsc::Sender<Told>,
) {
    // Objects come one by one where the server serves that: neither it nor we hold all of them in memory.
    let mut config = config.streaming_lists();
    loop {
        let pauses = ExponentialBuilder::default().with_min_delay(LEAST_PAUSE).with_max_delay(LONGEST_PAUSE);
        let backoff = ExponentialBackoff::from(pauses.without_max_times().with_jitter());
        let mut events = pin!(watcher(api.clone(), config.clone()).backoff(backoff));
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(event) => change(event, reading),
                Err(error) if is_streaming(&config) && refuses_streaming(&error) => {
                    config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    break;
                }
                Err(error) => {
                    if send.send(Told::Failed(resource.to_owned(), error)).await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            if let Some(change) = change
                && send.send(told(change)).await.is_err()
            {
                return;
            }
        }
    }
}

fn change<V: View>(event: Event<V>, reading: &Reading) -> Option<Change<V::Key, V::Object>> {
    Some(match event {
        Event::Init => Change::Begin,
        Event::InitDone => Change::End,
        Event::Delete(view) => Change::Gone(view.key()?),
        Event::Apply(view) | Event::InitApply(view) => {
            let key = view.key()?;
            // What no longer has what it needs, such as a slice whose Service was taken off, is as good as gone.
            match view.object(reading) {
                Some(object) => Change::Is(key, object),
                None => Change::Gone(key),
            }
        }
    })
}

fn is_streaming(config: &watcher::Config) -> bool {
    config.initial_list_strategy == watcher::InitialListStrategy::StreamingList
}

/// Returns whether a server does not know how to tell all objects in the form of a watch: before Kubernetes 1.27, or not
/// without a feature gate.
fn refuses_streaming(error: &watcher::Error) -> bool {
    let status = match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        _ => return false,
    };
    matches!(status.code, 400 | 422)
}
