use std::{fmt, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use figment::value::Value;
use model::Signal;
use serde::de::DeserializeOwned;

use crate::{BoxError, BoxFuture, Context, Created, Exporter, Processor, Receiver};

/// The role of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Brings data into pipelines.
    Receiver,
    /// Changes data inside a pipeline.
    Processor,
    /// Ends a pipeline of one signal and begins a pipeline of another.
    Connector,
    /// Delivers data.
    Exporter,
}

impl Kind {
    /// Every kind, in the order of the configuration's sections.
    pub const ALL: [Self; 4] = [Self::Receiver, Self::Processor, Self::Connector, Self::Exporter];

    /// Returns the word for one component of the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Connector => "connector",
            Self::Exporter => "exporter",
        }
    }

    /// Returns the section of the configuration that holds components of the kind.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Receiver => "receivers",
            Self::Processor => "processors",
            Self::Connector => "connectors",
            Self::Exporter => "exporters",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a component's settings and output may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// May change in any release.
    Alpha,
    /// Changes are announced in the changelog with what to do.
    Beta,
}

impl Stability {
    /// Returns the word that documents use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
        }
    }
}

/// A setting that parsed and still cannot be used. Displayed without its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    /// Where the setting is, inside the component's section: keys separated by dots.
    pub path: String,
    /// What is expected, as it follows this word.
    pub expected: String,
    /// What was found. Not shown if it came from a variable.
    pub found: String,
}

impl InvalidSetting {
    /// Longest time that an interval or a wait should be allowed to take.
    ///
    /// Points in time are computed from these, and time ends: what is added to now must have a ceiling.
    pub const MAX_INTERVAL: Duration = Duration::from_hours(24);

    /// Reports what is wrong with the setting at `path`.
    pub fn new(path: impl Into<String>, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { path: path.into(), expected: expected.into(), found: found.to_string() }
    }

    /// Checks that the name of a file is one.
    pub fn check_file(path: &str, actual: &Path) -> Option<Self> {
        let is_empty = actual.as_os_str().is_empty();
        is_empty.then(|| Self::new(path, "the name of a file", "an empty text"))
    }

    /// Checks that a duration is within bounds; says which one is passed, in the words of a configuration.
    pub fn check_duration(path: &str, actual: Duration, allowed: RangeInclusive<Duration>) -> Option<Self> {
        let (which, bound) = match actual {
            _ if actual < *allowed.start() => ("at least", *allowed.start()),
            _ if actual > *allowed.end() => ("at most", *allowed.end()),
            _ => return None,
        };
        let [actual, bound] = [actual, bound].map(humantime::format_duration);
        Some(Self::new(path, format!("{which} {bound}"), actual))
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path: _, expected, found } = self;
        write!(f, "expected {expected}, found {found}")
    }
}

/// Objects of Kubernetes that a component lists and watches, in all namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The API group; empty for Kubernetes' own objects.
    pub group: String,
    /// What the kind is called in paths of the API, such as `pods`.
    pub resource: String,
}

/// User settings of a component: plain data with defaults, unknown keys refused.
pub trait Config: Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static {
    /// Checks relations and floors that types cannot express; reports every failure. No side effects.
    fn validate(&self) -> Vec<InvalidSetting> {
        Vec::new()
    }

    /// Returns what the component must be allowed in a cluster. No side effects.
    fn permissions(&self) -> Vec<Permission> {
        Vec::new()
    }
}

/// Checked settings of one component, ready to create it.
pub trait Settings: fmt::Debug + Send + Sync {
    /// Reports settings that cannot be used. No side effects.
    fn validate(&self) -> Vec<InvalidSetting>;

    /// Returns what the component must be allowed in a cluster. No side effects.
    fn permissions(&self) -> Vec<Permission>;

    /// Creates the component: binds sockets, opens files, loads programs.
    ///
    /// What needs a privilege is done here, for it may be gone when the component runs. Tasks and blocking work have no
    /// privilege but those that running needs; a thread that the future itself starts keeps what there is for creating.
    fn create(&self, context: Context) -> BoxFuture<Result<Created, BoxError>>;
}

/// Makes components of one type. Each component crate exports one.
#[derive(Clone)]
pub struct Factory {
    kind: Kind,
    type_name: &'static str,
    summary: &'static str,
    stability: Stability,
    accepts: &'static [Signal],
    emits: &'static [Signal],
    parse: Arc<ParseFn>,
}

type ParseFn = dyn Fn(&Value) -> Result<Box<dyn Settings>, Box<figment::Error>> + Send + Sync;

impl Factory {
    /// Describes a receiver: which signals it emits, and how it is created.
    pub fn receiver<C, F, Fut>(type_name: &'static str, emits: &'static [Signal], create: F) -> Self
    where
        C: Config,
        F: Fn(C, Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Box<dyn Receiver>, BoxError>> + Send + 'static,
    {
        Self::new(Kind::Receiver, type_name, &[], emits, create, Created::Receiver)
    }

    /// Describes a processor: which signals pass through it, and how it is created.
    pub fn processor<C, F, Fut>(type_name: &'static str, signals: &'static [Signal], create: F) -> Self
    where
        C: Config,
        F: Fn(C, Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Box<dyn Processor>, BoxError>> + Send + 'static,
    {
        Self::new(Kind::Processor, type_name, signals, signals, create, Created::Processor)
    }

    /// Describes a connector: which signals it ends, which it begins, and how it is created.
    pub fn connector<C, F, Fut>(
        type_name: &'static str,
        accepts: &'static [Signal],
        emits: &'static [Signal],
        create: F,
    ) -> Self
    where
        C: Config,
        F: Fn(C, Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Box<dyn Processor>, BoxError>> + Send + 'static,
    {
        Self::new(Kind::Connector, type_name, accepts, emits, create, Created::Processor)
    }

    /// Describes an exporter: which signals it delivers, and how it is created.
    pub fn exporter<C, F, Fut>(type_name: &'static str, accepts: &'static [Signal], create: F) -> Self
    where
        C: Config,
        F: Fn(C, Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Box<dyn Exporter>, BoxError>> + Send + 'static,
    {
        Self::new(Kind::Exporter, type_name, accepts, &[], create, Created::Exporter)
    }

    fn new<C, F, Fut, T>(
        kind: Kind,
        type_name: &'static str,
        accepts: &'static [Signal],
        emits: &'static [Signal],
        create: F,
        wrap: fn(T) -> Created,
    ) -> Self
    where
        C: Config,
        F: Fn(C, Context) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
        T: 'static,
    {
        let parse = move |value: &Value| -> Result<Box<dyn Settings>, Box<figment::Error>> {
            let config: C = value.deserialize()?;
            Ok(Box::new(Parsed { config, create: create.clone(), wrap }))
        };
        Self {
            kind,
            type_name,
            summary: "",
            stability: Stability::Alpha,
            accepts,
            emits,
            parse: Arc::new(parse),
        }
    }

    /// Says in one line what the component is for: shown by `ridley components`.
    #[must_use]
    pub const fn with_summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Declares how much the component may still change; alpha unless declared.
    #[must_use]
    pub const fn with_stability(mut self, stability: Stability) -> Self {
        self.stability = stability;
        self
    }

    /// Returns the role of the components this makes.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the type that ids in the configuration begin with.
    pub const fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Returns what the component is for, in one line.
    pub const fn summary(&self) -> &'static str {
        self.summary
    }

    /// Returns how much the component may still change.
    pub const fn stability(&self) -> Stability {
        self.stability
    }

    /// Returns the signals the component takes from a pipeline; none for receivers.
    pub const fn accepts(&self) -> &'static [Signal] {
        self.accepts
    }

    /// Returns the signals the component puts into a pipeline; none for exporters.
    pub const fn emits(&self) -> &'static [Signal] {
        self.emits
    }

    /// Reads a component's section of the configuration.
    ///
    /// # Errors
    ///
    /// Fails with the path inside the section for unknown keys and for values of a wrong type.
    pub fn parse(&self, section: &Value) -> Result<Box<dyn Settings>, Box<figment::Error>> {
        (self.parse)(section)
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, type_name, summary: _, stability: _, accepts: _, emits: _, parse: _ } = self;
        f.debug_struct("Factory").field("kind", kind).field("type_name", type_name).finish_non_exhaustive()
    }
}

struct Parsed<C, F, T> {
    config: C,
    create: F,
    wrap: fn(T) -> Created,
}

impl<C: fmt::Debug, F, T> fmt::Debug for Parsed<C, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl<C, F, Fut, T> Settings for Parsed<C, F, T>
where
    C: Config,
    F: Fn(C, Context) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
    T: 'static,
{
    fn validate(&self) -> Vec<InvalidSetting> {
        self.config.validate()
    }

    fn permissions(&self) -> Vec<Permission> {
        self.config.permissions()
    }

    fn create(&self, context: Context) -> BoxFuture<Result<Created, BoxError>> {
        let created = (self.create)(self.config.clone(), context);
        let wrap = self.wrap;
        Box::pin(async move { created.await.map(wrap) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who wrote `0s` must not read `0ns`.
    #[test]
    fn a_duration_out_of_bounds_is_told_as_it_is_written() {
        let allowed = Duration::from_millis(100)..=InvalidSetting::MAX_INTERVAL;
        for (actual, expected) in [
            (Duration::ZERO, Some("expected at least 100ms, found 0s")),
            (Duration::from_millis(99), Some("expected at least 100ms, found 99ms")),
            (Duration::from_millis(100), None),
            (Duration::from_hours(24), None),
            (Duration::from_hours(25), Some("expected at most 1day, found 1day 1h")),
        ] {
            let invalid = InvalidSetting::check_duration("wait", actual, allowed.clone());
            assert_eq!(invalid.map(|it| it.to_string()).as_deref(), expected);
        }
    }
}
