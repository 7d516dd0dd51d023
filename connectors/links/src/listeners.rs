//! Listening sockets, added up per server and port.

use std::{
    collections::{HashMap, hash_map::Entry},
    iter, mem,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{Entity, Listener, Metrics, Transport, UnixNanos, kind};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::{NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point::Value},
};

use crate::{
    identity::{integer, text},
    otlp::{NO_VALUE, sum},
};

/// A batch is full when it tells of so many, with four points each.
const MAX_PER_BATCH: usize = 250;

/// Adds reports on listening sockets up per server and port: several sockets may share one (`SO_REUSEPORT`).
#[derive(Debug)]
pub(crate) struct ListenerTotals {
    max: usize,
    expire_after: Duration,
    totals: HashMap<Key, Total>,
    // What there was no room to keep apart.
    other: Option<Total>,
    // What expired since totals were sent, with its attributes: whoever reads them is told that it has ended.
    ended: Vec<(Vec<KeyValue>, Total)>,
    n_overflowed: u64,
    sent: UnixNanos,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: Name,
    port: u16,
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    Entity {
        name: Arc<str>,
        namespace: Option<Arc<str>>,
        kind: Arc<str>,
    },
    /// Nobody named it.
    Address(IpAddr),
}

#[derive(Debug)]
struct Total {
    start: UnixNanos,
    touched: Instant,
    dropped: u64,
    cookies: Duration,
    // The last sample, which is of one time: its sockets' queues are added up, and the longest time of cookies is the server's.
    sampled_at: UnixNanos,
    queued: u64,
    limit: u64,
    sampled_cookies: Duration,
}

impl ListenerTotals {
    /// Keeps at most `max` apart; counts are zero at `start`.
    pub(crate) fn new(max: usize, expire_after: Duration, start: UnixNanos) -> Self {
        Self {
            max,
            expire_after,
            totals: HashMap::new(),
            other: None,
            ended: Vec::new(),
            n_overflowed: 0,
            sent: start,
        }
    }

    /// Counts a report.
    pub(crate) fn push(&mut self, listener: &Listener, now: Instant) {
        let Self { max, expire_after: _, totals, other, ended: _, n_overflowed, sent } = self;
        let is_full = totals.len() >= *max;
        let new = || Total::new(*sent, now);
        let total = match totals.entry(Key::of(listener)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if !is_full => entry.insert(new()),
            Entry::Vacant(_) => {
                *n_overflowed += 1;
                other.get_or_insert_with(new)
            }
        };
        total.add(listener, now);
    }

    /// Forgets what was not reported for long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Self { totals, other, ended, expire_after, .. } = self;
        let is_over = |it: &Total| now.saturating_duration_since(it.touched) >= *expire_after;
        ended.extend(totals.extract_if(|_, it| is_over(it)).map(|(key, it)| (key.attributes(), it)));
        ended.extend(other.take_if(|it| is_over(it)).map(|it| (other_attributes(), it)));
    }

    /// Returns how many servers are kept apart.
    pub(crate) fn len(&self) -> usize {
        self.totals.len()
    }

    /// Returns how many reports there was no room to keep apart since the last call.
    pub(crate) fn take_overflowed(&mut self) -> u64 {
        mem::take(&mut self.n_overflowed)
    }

    /// Notes that all was sent with the totals as of `time`.
    pub(crate) fn sent(&mut self, time: UnixNanos) {
        self.sent = time;
        self.ended.clear();
    }

    /// Encodes everything, in batches of reasonable size, each when it is asked for.
    pub(crate) fn encode(&self, time: UnixNanos) -> impl Iterator<Item = Metrics> {
        let known = self.totals.iter().map(|(key, total)| (key.attributes(), total, false));
        let other = self.other.iter().map(|total| (other_attributes(), total, false));
        let ended = self.ended.iter().map(|(attributes, total)| (attributes.clone(), total, true));
        let mut all = known.chain(other).chain(ended);
        iter::from_fn(move || {
            let some: Vec<_> = all.by_ref().take(MAX_PER_BATCH).collect();
            (!some.is_empty()).then(|| batch(&some, time))
        })
    }
}

impl Total {
    fn new(start: UnixNanos, now: Instant) -> Self {
        Self {
            start,
            touched: now,
            dropped: 0,
            cookies: Duration::ZERO,
            sampled_at: UnixNanos::default(),
            queued: 0,
            limit: 0,
            sampled_cookies: Duration::ZERO,
        }
    }

    fn add(&mut self, listener: &Listener, now: Instant) {
        let Self { start: _, touched, dropped, cookies, sampled_at, queued, limit, sampled_cookies } = self;
        *touched = now;
        *dropped = dropped.saturating_add(listener.dropped);
        if *sampled_at != listener.interval.end {
            (*sampled_at, *queued, *limit) = (listener.interval.end, 0, 0);
            *sampled_cookies = Duration::ZERO;
        }
        *cookies += listener.cookies.saturating_sub(*sampled_cookies);
        *sampled_cookies = listener.cookies.max(*sampled_cookies);
        *queued = queued.saturating_add(listener.queued.into());
        *limit = limit.saturating_add(listener.queue_limit.into());
    }
}

impl Key {
    fn of(listener: &Listener) -> Self {
        let name = match listener.server.entity.as_deref() {
            Some(Entity { name, namespace, kind, attributes: _ }) => {
                Name::Entity { name: name.clone(), namespace: namespace.clone(), kind: kind.clone() }
            }
            None => Name::Address(listener.server.address),
        };
        Self { name, port: listener.server.port, transport: listener.transport }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let Self { name, port, transport } = self;
        let mut attributes = match name {
            Name::Entity { name, namespace, kind } => {
                let mut attributes = vec![text("server.name", name), text("server.kind", kind)];
                attributes.extend(namespace.iter().map(|it| text("server.namespace", it)));
                attributes
            }
            Name::Address(address) => {
                vec![text("server.name", &address.to_string()), text("server.kind", kind::EXTERNAL)]
            }
        };
        attributes.push(integer("server.port", i64::from(*port)));
        attributes.push(text("network.transport", transport.as_str()));
        attributes
    }
}

fn other_attributes() -> Vec<KeyValue> {
    vec![
        text("server.name", kind::OTHER),
        text("server.kind", kind::OTHER),
        text("network.transport", Transport::Tcp.as_str()),
    ]
}

/// Makes a batch of totals, each with its attributes and whether it has ended.
fn batch(totals: &[(Vec<KeyValue>, &Total, bool)], time: UnixNanos) -> Metrics {
    let points = |value: fn(&Total) -> Value| -> Vec<NumberDataPoint> {
        let point = |(attributes, total, has_ended): &(Vec<KeyValue>, &Total, bool)| NumberDataPoint {
            attributes: attributes.clone(),
            start_time_unix_nano: total.start.0,
            time_unix_nano: time.0,
            value: (!has_ended).then(|| value(total)),
            flags: if *has_ended { NO_VALUE } else { 0 },
            ..Default::default()
        };
        totals.iter().map(point).collect()
    };
    let metrics = [
        sum(
            "ridley.listener.drops",
            "{segment}",
            "Segments of handshakes that a listening socket dropped, mostly because its queue was full.",
            true,
            points(|it| count(it.dropped)),
        ),
        sum(
            "ridley.listener.syn_cookies.time",
            "s",
            "For how long a listening socket answered handshakes by SYN cookies.",
            true,
            points(|it| Value::AsDouble(it.cookies.as_secs_f64())),
        ),
        sum(
            "ridley.listener.queue.length",
            "{connection}",
            "Connections that wait to be accepted.",
            false,
            points(|it| count(it.queued)),
        ),
        sum(
            "ridley.listener.queue.limit",
            "{connection}",
            "Connections that may wait to be accepted.",
            false,
            points(|it| count(it.limit)),
        ),
    ];
    let scope = InstrumentationScope { name: "ridley".to_owned(), ..Default::default() };
    let metrics = metrics.into_iter().flatten().collect();
    Metrics::new(vec![ResourceMetrics {
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }],
        ..Default::default()
    }])
}

fn count(n: u64) -> Value {
    Value::AsInt(i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use component_test::listener;
    use model::Interval;
    use opentelemetry_proto::tonic::{common::v1::any_value, metrics::v1::metric::Data};

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    /// Drops add up over time, queues over the sockets of one sample.
    #[test]
    fn sockets_of_one_server_are_one() {
        let mut totals = totals(10);
        let now = Instant::now();
        for (second, dropped, queued) in [(1, 2, 5), (1, 3, 6), (2, 4, 7), (2, 0, 0)] {
            totals.push(&of("nginx", second, dropped, queued), now);
        }
        totals.push(&of("redis", 2, 0, 1), now);
        check(&totals, &[("nginx", 9, 7, 20), ("redis", 0, 1, 10)]);
        assert_eq!((totals.len(), totals.take_overflowed()), (2, 0));
    }

    /// Sockets that share a port answer by cookies at the same time, and their server for no longer than each of them.
    #[test]
    fn the_time_of_cookies_is_the_longest_of_one_sample() {
        let mut totals = totals(10);
        for (second, cookies) in [(1, 0), (1, 10), (1, 10), (2, 10), (2, 5), (3, 0)] {
            let cookies = Duration::from_secs(cookies);
            totals.push(&Listener { cookies, ..of("nginx", second, 0, 0) }, Instant::now());
        }
        check_value(&totals, "nginx", "syn_cookies.time", 20);
    }

    /// A server that drops nothing says so: what it drops later is an increase then.
    #[test]
    fn drops_begin_with_zero() {
        let mut totals = totals(10);
        totals.push(&of("nginx", 1, 0, 0), Instant::now());
        check(&totals, &[("nginx", 0, 0, 10)]);
    }

    #[test]
    fn further_servers_are_counted_as_other() {
        let mut totals = totals(1);
        let now = Instant::now();
        totals.push(&of("nginx", 1, 1, 0), now);
        totals.push(&of("redis", 1, 2, 0), now);
        totals.push(&of("mail", 1, 4, 0), now);
        check(&totals, &[("nginx", 1, 0, 10), ("other", 6, 0, 20)]);
        assert_eq!((totals.len(), totals.take_overflowed(), totals.take_overflowed()), (1, 2, 0));
    }

    #[test]
    fn what_is_gone_expires() {
        let mut totals = totals(1);
        let now = Instant::now();
        totals.push(&of("nginx", 1, 1, 0), now);
        totals.push(&of("redis", 1, 2, 0), now);
        totals.expire(now + IDLE / 2);
        check(&totals, &[("nginx", 1, 0, 10), ("other", 2, 0, 10)]);
        totals.push(&of("nginx", 2, 0, 0), now + IDLE / 2);
        totals.expire(now + IDLE);
        check(&totals, &[("nginx", 1, 0, 10)]);
        let n_points =
            |totals: &ListenerTotals| totals.encode(UnixNanos(9)).map(|it| it.n_items()).sum::<u64>();
        assert_eq!(n_points(&totals), 8, "the other's series are told to have ended");
        totals.sent(UnixNanos(9));
        assert_eq!(n_points(&totals), 4, "once");
        totals.expire(now + IDLE * 2);
        check(&totals, &[]);
    }

    /// Nobody named it: its address is its name.
    #[test]
    fn a_server_without_a_name_has_its_address() {
        let mut totals = totals(10);
        totals.push(&listener(), Instant::now());
        check(&totals, &[("0.0.0.0", 0, 0, 128)]);
    }

    /// However many servers there are, one batch at a time is in memory.
    #[test]
    fn many_servers_are_sent_in_several_batches() {
        let mut totals = totals(1_000);
        for n in 0..1_001 {
            totals.push(&of(&format!("server-{n}"), 1, 1, 0), Instant::now());
        }
        let sizes: Vec<_> = totals.encode(UnixNanos(9)).map(|it| it.n_items()).collect();
        assert_eq!(sizes, [1_000, 1_000, 1_000, 1_000, 4]);
    }

    fn totals(max: usize) -> ListenerTotals {
        ListenerTotals::new(max, IDLE, UnixNanos(0))
    }

    fn of(name: &str, second: u64, dropped: u64, queued: u32) -> Listener {
        let mut listener = Listener { dropped, queued, queue_limit: 10, ..listener() };
        listener.server.entity = Some(Entity::new(name, kind::UNIT).into());
        listener.interval = Interval { start: UnixNanos(0), end: UnixNanos(second) };
        listener
    }

    /// Compares name, drops, length and limit of the queue.
    #[track_caller]
    fn check(totals: &ListenerTotals, expected: &[(&str, i64, i64, i64)]) {
        let expected = expected.iter().flat_map(|(name, drops, length, limit)| {
            let of = |metric: &str, value: i64| {
                ((String::from(*name), format!("ridley.listener.{metric}")), value)
            };
            [
                of("drops", *drops),
                of("syn_cookies.time", 0),
                of("queue.length", *length),
                of("queue.limit", *limit),
            ]
        });
        assert_eq!(values(totals), expected.collect());
    }

    #[track_caller]
    fn check_value(totals: &ListenerTotals, name: &str, metric: &str, expected: i64) {
        let values = values(totals);
        assert_eq!(values.get(&(name.to_owned(), format!("ridley.listener.{metric}"))), Some(&expected));
    }

    /// Returns what is encoded, by name and metric; seconds are whole ones.
    fn values(totals: &ListenerTotals) -> BTreeMap<(String, String), i64> {
        let mut found = BTreeMap::new();
        let batches: Vec<_> = totals.encode(UnixNanos(9)).collect();
        let data: Vec<_> = batches.iter().map(|it| it.decode().unwrap()).collect();
        let resources = data.iter().flat_map(|it| &it.resource_metrics);
        for metric in resources.flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics) {
            let Some(Data::Sum(sum)) = &metric.data else { panic!("{}", metric.name) };
            assert_eq!(sum.is_monotonic, !metric.name.contains("queue"), "{}", metric.name);
            for point in sum.data_points.iter().filter(|it| it.flags == 0) {
                let value = match point.value {
                    Some(Value::AsInt(value)) => value,
                    #[expect(clippy::cast_possible_truncation, reason = "tests use whole seconds")]
                    Some(Value::AsDouble(value)) => value as i64,
                    None => panic!("no number"),
                };
                let before = found.insert((name(&point.attributes), metric.name.clone()), value);
                assert_eq!(before, None, "two points of one series");
            }
        }
        found
    }

    fn name(attributes: &[KeyValue]) -> String {
        let name = attributes.iter().find(|it| it.key == "server.name").and_then(|it| it.value.as_ref());
        match name.and_then(|it| it.value.as_ref()) {
            Some(any_value::Value::StringValue(name)) => name.clone(),
            other => panic!("{other:?}"),
        }
    }
}
