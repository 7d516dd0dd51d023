use std::time::{Duration, Instant};

use bytes::Bytes;
use model::n_points;
use opentelemetry_proto::tonic::{metrics::v1::MetricsData, resource::v1::Resource};
use prometheus::{Drops, Identity, Limits, Source, Store, Swept, add_scope};

use crate::{frames::Frames, samples::Shape};

/// A series has one sample in a millisecond.
const RESOLUTION: u64 = 1_000_000;
/// How many series are looked at for expiration with one batch: about a millisecond.
const SERIES_PER_BATCH: usize = 20_000;

/// Makes requests of metrics, and knows which series there are.
#[derive(Debug)]
pub(crate) struct Translator {
    store: Store<Shape>,
    frames: Frames,
    /// Of whom is what this process made itself.
    own: Resource,
    options: Options,
    sweep: Sweep,
}

/// What labels are there beside those of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) without_scope_info: bool,
    pub(crate) has_target_info: bool,
}

/// When series are looked at for expiration.
#[derive(Debug)]
struct Sweep {
    interval: Duration,
    last: Option<Instant>,
    under_way: Option<Swept>,
}

impl Translator {
    pub(crate) fn new(
        max_series: usize,
        expiration: Duration,
        frames: Frames,
        own: Resource,
        options: Options,
    ) -> Self {
        Self {
            store: Store::new(Limits { max_series, expiration, resolution: RESOLUTION }),
            frames,
            own,
            options,
            sweep: Sweep {
                interval: (expiration / 4).max(Duration::from_secs(1)),
                last: None,
                under_way: None,
            },
        }
    }

    /// Makes requests of what came, at a time in nanoseconds since 1970, and of what has ended. Returns them with how many items
    /// are inside.
    pub(crate) fn translate(
        &mut self,
        data: &MetricsData,
        received: u64,
        now: Instant,
    ) -> Option<(Bytes, u64)> {
        let Self { store, frames, own, options, .. } = self;
        frames.now = received;
        for resource_metrics in &data.resource_metrics {
            let identity = Identity::of(Some(resource_metrics.resource.as_ref().unwrap_or(own)));
            let source = Source { labels: identity.labels, is_own: false, received };
            if options.has_target_info && !identity.others.is_empty() {
                store.put_target(&identity.others, &source, now, frames);
            }
            for scope_metrics in &resource_metrics.scope_metrics {
                let mut source = Source { labels: source.labels.clone(), ..source };
                if !options.without_scope_info {
                    add_scope(scope_metrics.scope.as_ref(), &scope_metrics.schema_url, &mut source.labels);
                }
                for metric in &scope_metrics.metrics {
                    store.put(metric, 0..n_points(metric), &source, now, frames);
                }
            }
        }
        self.expire(now);
        self.frames.take()
    }

    /// Returns what was dropped since the last call, and how many series there are.
    pub(crate) fn report(&mut self) -> (Drops, usize) {
        (self.store.take_drops(), self.store.n_series())
    }

    /// Ends series that have expired, a part of them if there are many.
    fn expire(&mut self, now: Instant) {
        let Self { store, frames, sweep: Sweep { interval, last, under_way }, .. } = self;
        let since = last.get_or_insert(now);
        if under_way.is_none() && now.saturating_duration_since(*since) < *interval {
            return;
        }
        *since = now;
        let mut left = SERIES_PER_BATCH;
        loop {
            let n = left.min(SERIES_PER_BATCH / 20);
            *under_way = store.expire_next(under_way.take(), now, n, frames);
            left -= n;
            if under_way.is_none() || left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "translator_tests.rs"]
mod tests;
