use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use component::{BoxError, BoxFuture, Context, Exporter, Input, Registry, Shutdown};
use model::{Batch, UnixNanos, n_points};
use opentelemetry_proto::tonic::metrics::v1::{Metric, MetricsData};
use prometheus::{DropReason, Drops, Identity, Limits, Source, Store, add_scope};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task,
    time::{self, Instant as TokioInstant, MissedTickBehavior},
};

use crate::{
    Config,
    error::BindError,
    metrics::Instruments,
    negotiate::Format,
    routes::{METRICS_PATH, router},
    scrape::Scrape,
    server::serve,
    watched::now,
};

/// How many points are taken in while the store is locked: about a millisecond.
const POINTS_PER_LOCK: usize = 1_000;

/// How many series are looked at for expiration while the store is locked.
const SERIES_PER_LOCK: usize = 1_000;

/// Keeps the latest value of every series, and serves them.
#[derive(Debug)]
pub(crate) struct PrometheusExporter {
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    without_scope_info: bool,
    final_scrape_wait: Duration,
    sweep_interval: Duration,
}

/// What the run loop and the answers to scrapes have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    registry: Arc<Registry>,
    started: UnixNanos,
    pub(crate) instruments: Instruments,
    input_has_ended: AtomicBool,
    final_scrape: Notify,
}

impl PrometheusExporter {
    /// Listens on the configured address.
    pub(crate) async fn bind(config: Config, context: Context) -> Result<Self, BindError> {
        let Config { endpoint, max_series, metric_expiration, final_scrape_wait, without_scope_info } =
            config;
        let Context { id, telemetry, registry, shutdown, notices } = context;
        let bind = async {
            let listener = TcpListener::bind(endpoint).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = bind.await.map_err(|source| BindError { endpoint, id, source })?;
        notices.add(format!("metrics at http://{bound}{METRICS_PATH}"));
        let shared = Shared {
            store: Mutex::new(Store::new(Limits {
                max_series: max_series.get(),
                expiration: metric_expiration,
                resolution: 0,
            })),
            registry,
            started: SystemTime::now().into(),
            instruments: Instruments::new(&telemetry),
            input_has_ended: AtomicBool::new(false),
            final_scrape: Notify::new(),
        };
        Ok(Self {
            listener,
            shared: Arc::new(shared),
            shutdown,
            without_scope_info,
            final_scrape_wait,
            sweep_interval: (metric_expiration / 4).max(Duration::from_secs(1)),
        })
    }

    async fn drive(self, mut input: Input) -> Result<(), BoxError> {
        let Self { listener, shared, shutdown, without_scope_info, final_scrape_wait, sweep_interval } = self;
        let (stop, stopped) = watch::channel(false);
        let connections = shared.instruments.connections().clone();
        let server = task::spawn(serve(listener, router(Arc::clone(&shared)), connections, stopped));
        let mut sweeps = time::interval(sweep_interval);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = input.recv() => match batch {
                    Some(Batch::Metrics(metrics)) => match metrics.decode() {
                        Ok(data) => shared.take(&data, without_scope_info).await,
                        Err(_undecodable) => shared.refuse(DropReason::Malformed, metrics.n_items()),
                    },
                    Some(other) => shared.refuse(DropReason::WrongSignal, other.n_items()),
                    None => break,
                },
                _ = sweeps.tick() => shared.sweep().await,
            }
        }
        shared.wait_for_final_scrape(final_scrape_wait, &shutdown).await;
        stop.send_replace(true);
        Ok(server.await?)
    }
}

impl Exporter for PrometheusExporter {
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input))
    }
}

impl Shared {
    /// Begins the answer to a scrape, with this process's own telemetry as of now.
    pub(crate) fn scrape(self: Arc<Self>, format: Format, gzip: bool) -> Scrape {
        let now = now();
        let own = self.registry.collect(self.started, SystemTime::now().into());
        let source = Source { is_own: true, ..Source::default() };
        let mut store = self.store();
        let scopes = own.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
        for metric in scopes.flat_map(|it| &it.metrics) {
            store.put(metric, 0..n_points(metric), &source, now, &mut ());
        }
        drop(store);
        Scrape::new(self, format, gzip, now)
    }

    /// Notes that an answer was rendered to its end.
    pub(crate) fn scrape_completed(&self, is_final: bool) {
        self.instruments.scrape_completed();
        if is_final {
            self.final_scrape.notify_one();
        }
    }

    pub(crate) fn input_has_ended(&self) -> bool {
        self.input_has_ended.load(Ordering::Acquire)
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // Nothing inside can panic half-way through a change that the next reader would trip over.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, data: &MetricsData, without_scope_info: bool) {
        for resource_metrics in &data.resource_metrics {
            let identity = Identity::of(resource_metrics.resource.as_ref());
            if !identity.others.is_empty() {
                let source = Source { labels: identity.labels.clone(), ..Source::default() };
                self.store().put_target(&identity.others, &source, now(), &mut ());
            }
            for scope_metrics in &resource_metrics.scope_metrics {
                let mut labels = identity.labels.clone();
                if !without_scope_info {
                    add_scope(scope_metrics.scope.as_ref(), &scope_metrics.schema_url, &mut labels);
                }
                let source = Source { labels, ..Source::default() };
                for metric in &scope_metrics.metrics {
                    self.take_metric(metric, &source).await;
                }
            }
        }
        let mut store = self.store();
        let (drops, n_series) = (store.take_drops(), store.n_series());
        drop(store);
        self.instruments.add(drops, n_series);
    }

    async fn take_metric(&self, metric: &Metric, source: &Source<'_>) {
        let n = n_points(metric);
        for from in (0..n).step_by(POINTS_PER_LOCK) {
            if from > 0 {
                task::yield_now().await;
            }
            let to = n.min(from + POINTS_PER_LOCK);
            self.store().put(metric, from..to, source, now(), &mut ());
        }
    }

    /// Counts items of a batch that the exporter cannot take.
    fn refuse(&self, reason: DropReason, n_items: u64) {
        let mut drops = Drops::default();
        drops.add(reason, n_items);
        self.instruments.add(drops, self.store().n_series());
    }

    /// Forgets what has expired.
    async fn sweep(&self) {
        let mut swept = None;
        loop {
            swept = self.store().expire_next(swept, now(), SERIES_PER_LOCK, &mut ());
            if swept.is_none() {
                break;
            }
            task::yield_now().await;
        }
        let n_series = self.store().n_series();
        self.instruments.add(Drops::default(), n_series);
    }

    /// Goes on serving until the totals have been scraped, if anyone scrapes at all.
    async fn wait_for_final_scrape(&self, wait: Duration, shutdown: &Shutdown) {
        self.input_has_ended.store(true, Ordering::Release);
        if self.instruments.n_completed_scrapes() == 0 {
            return;
        }
        let until = TokioInstant::now() + wait;
        let until = shutdown.deadline().map_or(until, |it| it.min(until));
        // Nobody came: what they miss is in the metrics of the pipeline's other exporters, or lost.
        drop(time::timeout_at(until, self.final_scrape.notified()).await);
    }
}
