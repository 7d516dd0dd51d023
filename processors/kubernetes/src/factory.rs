use component::{BoxError, Context, Factory, Processor, Stability};
use kube::{
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use model::Signal;
use tokio::time::Instant;

use crate::{
    Config, extract::Extraction, heard::Heard, metrics::Instruments, namer::Namer,
    processor::KubernetesProcessor, resources::Resources, view::Reading, watch::Watches,
};

/// Makes `kubernetes` processors.
pub fn factory() -> Factory {
    Factory::processor("kubernetes", &Signal::ALL, create)
        .with_summary("names both ends in a cluster, and whose data is: workload, namespace, pod, Service, node and zone")
        .with_stability(Stability::Alpha)
}

/// Where a pod finds the namespace of its service account.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

async fn create(mut config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    config.pod = config.pod.or_else(own_pod);
    let extraction = Extraction::new(&config.extract).map_err(|(path, error)| format!("{path}: {error}"))?;
    let heard = Heard::default();
    let client = ClientBuilder::try_from(server(&config).await?)?.with_layer(&heard).build();
    let watches = Watches::start(client, &config, Reading::new(&config, extraction));
    let namer = Namer::new(&config, Instant::now().into_std());
    let resources = Resources::new(&config);
    let instruments = Instruments::new(&context.telemetry);
    let max_held = config.max_held.get() as u64;
    Ok(Box::new(KubernetesProcessor::new(namer, resources, max_held, watches, heard, instruments)))
}

/// Returns the pod that this runs in, if it is one whose host name is the pod's: not if it uses the node's network.
fn own_pod() -> Option<String> {
    let namespace = std::fs::read_to_string(NAMESPACE).ok()?;
    let name = std::env::var("HOSTNAME").ok()?;
    Some(format!("{}/{name}", namespace.trim()))
}

/// Finds where the API server is and how to log in.
async fn server(config: &Config) -> Result<kube::Config, BoxError> {
    match &config.kubeconfig {
        None => Ok(kube::Config::infer().await?),
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
        }
    }
}
