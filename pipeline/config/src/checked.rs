use std::{collections::BTreeMap, fmt, num::NonZeroUsize, time::Duration};

use component::{Id, InvalidSetting, Kind, Settings};
use model::Signal;
use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};

use crate::{Diagnostic, Place};

/// A configuration that can be run: every reference leads somewhere, every component accepted its settings.
#[derive(Debug)]
pub struct Checked {
    /// The components to create: those that a pipeline uses, each once.
    pub components: BTreeMap<Reference, Component>,
    /// How the components are connected, ordered by signal and name.
    pub pipelines: Vec<Pipeline>,
    /// Settings of the whole.
    pub service: Service,
    /// What is probably not meant, and does not prevent running.
    pub warnings: Vec<Diagnostic>,
}

/// Names one component of a configuration.
///
/// Ids are unique only within a kind: the receiver `otlp` is not the exporter `otlp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The section that defines the component.
    pub kind: Kind,
    /// The key in that section.
    pub id: Id,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id } = self;
        write!(f, "{kind} `{id}`")
    }
}

/// A component with checked settings.
#[derive(Debug)]
pub struct Component {
    /// Creates the component; may be asked several times.
    pub settings: Box<dyn Settings>,
    /// Where the configuration defines it, for errors that appear only when it is created.
    pub place: Place,
}

/// A path of one signal from receivers through processors to exporters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// What is unique among the pipelines.
    pub name: PipelineName,
    /// What feeds the pipeline: receivers, and connectors that other pipelines feed. At least one.
    pub receivers: Vec<Reference>,
    /// What batches pass through, in this order.
    pub processors: Vec<Reference>,
    /// What the pipeline feeds: exporters, and connectors that feed other pipelines. At least one.
    pub exporters: Vec<Reference>,
}

/// Names a pipeline in the configuration: `signal` or `signal/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineName {
    /// The signal that every batch in the pipeline belongs to.
    pub signal: Signal,
    /// Tells pipelines of one signal apart.
    pub name: Option<String>,
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signal, name } = self;
        match name {
            Some(name) => write!(f, "{signal}/{name}"),
            None => write!(f, "{signal}"),
        }
    }
}

/// Settings of the whole, from the section `service`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// Time that draining may take after a request to stop. What remains then is dropped and counted.
    ///
    /// At most an hour: whoever stops the process, an init system or a kubelet, kills it long before.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,

    /// Most batches that wait in front of each component. From 1 to 1024: a batch may be a hundred kilobytes.
    #[serde(deserialize_with = "queue_size")]
    pub queue_size: NonZeroUsize,
}

impl Service {
    const MAX_SHUTDOWN_TIMEOUT: Duration = Duration::from_hours(1);
    const MAX_QUEUE_SIZE: usize = 1024;

    /// Checks bounds that types cannot express.
    pub(crate) fn validate(&self) -> Vec<InvalidSetting> {
        let Self { shutdown_timeout, queue_size } = self;
        let allowed = Duration::ZERO..=Self::MAX_SHUTDOWN_TIMEOUT;
        let mut invalid =
            Vec::from_iter(InvalidSetting::check_duration("shutdown_timeout", *shutdown_timeout, allowed));
        if queue_size.get() > Self::MAX_QUEUE_SIZE {
            invalid.push(InvalidSetting::new("queue_size", Self::queue_sizes(), queue_size));
        }
        invalid
    }

    fn queue_sizes() -> String {
        format!("a whole number from 1 to {}", Self::MAX_QUEUE_SIZE)
    }
}

/// Reads the size of a queue; whatever is none is told what one is.
fn queue_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroUsize, D::Error> {
    struct QueueSize;

    impl Visitor<'_> for QueueSize {
        type Value = NonZeroUsize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&Service::queue_sizes())
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<NonZeroUsize, E> {
            let size = NonZeroUsize::new(usize::try_from(number).unwrap_or(usize::MAX));
            size.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    deserializer.deserialize_u64(QueueSize)
}

impl Default for Service {
    fn default() -> Self {
        Self {
            shutdown_timeout: Duration::from_secs(10),
            queue_size: NonZeroUsize::new(16).expect("16 is not zero"),
        }
    }
}
