//! What is held, for how long, and in which order it goes on.

use std::sync::Arc;

use component_test::{FlowBuilder, flow};
use model::cgroup::Uid;
use serde_json::json;

use super::*;
use crate::{
    extract::Extraction,
    store::Change,
    view::{PodView, Reading, View},
};

const WAIT: Duration = Duration::from_secs(2);
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn what_comes_before_all_objects_were_told_of_is_named_after() {
    let mut held = Holding::new();
    held.push(from(1));
    held.tell_pod(1);
    held.at(20_000).expect(&[]);
    held.tell_rest();
    held.expect(&["web-1"]);
    held.push(from(1)).expect(&["web-1"]);
}

#[test]
fn the_first_objects_are_waited_for_no_longer_than_configured() {
    let mut held = Holding::new();
    held.tell_pod(1);
    held.push(from(1)).at(29_999).expect(&[]);
    assert_eq!(held.namer.due(), Some(held.start + SYNC_TIMEOUT));
    held.at(30_000).expect(&["web-1"]);
    assert_eq!(held.namer.take_report(), Report::default());
}

#[test]
fn a_record_waits_for_a_pod_that_is_not_told_of_yet() {
    let mut held = Holding::synced();
    held.push(from(1)).at(1_000).expect(&[]);
    held.tell_pod(1);
    assert_eq!(held.namer.due(), Some(held.now + RETRY));
    held.at(1_050).expect(&["web-1"]);
    assert_eq!((held.namer.n_held(), held.namer.due()), (0, None));
}

#[test]
fn a_record_goes_on_without_a_name_when_its_time_is_over() {
    let mut held = Holding::synced();
    held.push(from(1)).at(1_999).expect(&[]);
    assert_eq!(held.namer.due(), Some(held.start + WAIT));
    held.at(2_000).expect(&["-"]);
    assert_eq!(held.namer.take_report(), Report { late: 1, full: 0 });
}

#[test]
fn the_oldest_goes_on_without_a_name_when_too_many_are_held() {
    let mut held = Holding::synced();
    held.push(from(1)).push(from(2)).expect(&[]);
    held.push(from(3)).expect(&["-"]);
    assert_eq!(held.namer.take_report(), Report { late: 0, full: 1 });
    held.tell_pod(2);
    held.tell_pod(3);
    held.at(100).expect(&["web-2", "web-3"]);
}

/// Whoever counts a connection's records needs them as they happened.
#[test]
fn records_of_one_connection_stay_in_order() {
    let mut held = Holding::synced();
    // The second could be named, the first cannot.
    held.tell_pod(2);
    held.push(from(1).id(7).request(1)).push(from(2).id(7).request(2)).at(100).expect(&[]);
    held.push(from(2).id(8)).expect(&["web-2"]);
    held.tell_pod(1);
    held.at(200).expect(&["web-1 1", "web-1 2"]);
}

/// News that change nothing for it do not bring a record before the one that it is behind.
#[test]
fn a_record_that_is_ready_stays_behind_one_that_is_not() {
    let mut held = Holding::synced();
    held.push(from(1).id(7).request(1)).push(from(2).id(7).request(2));
    held.tell_pod(2);
    held.at(100).expect(&[]);
    held.at(2_000).expect(&["- 1", "- 2"]);
}

#[test]
fn the_end_does_not_wait_for_the_first_objects() {
    let mut held = Holding::new();
    held.push(from(1));
    held.namer.close(held.now);
    held.at(1_999).expect(&[]);
    held.at(2_000).expect(&["-"]);
}

#[test]
fn reports_of_listening_sockets_wait_as_records_do() {
    let mut held = Holding::synced();
    held.push_listener(1).push_listener(2);
    held.tell_pod(1);
    held.at(100).expect_listeners(&["web-1"]);
    held.push_listener(3).push_listener(4).expect_listeners(&["-"]);
    held.at(2_100).expect_listeners(&["-", "-"]);
    assert_eq!(held.namer.take_report(), Report { late: 2, full: 1 });
}

/// A [`Namer`] that holds two records at most, and a clock.
struct Holding {
    namer: Namer,
    named: Named,
    start: Instant,
    now: Instant,
}

impl Holding {
    fn new() -> Self {
        let max_held = std::num::NonZeroUsize::new(2).unwrap();
        let config = Config { wait: WAIT, sync_timeout: SYNC_TIMEOUT, max_held, ..Config::default() };
        let start = Instant::now();
        Self { namer: Namer::new(&config, start), named: Named::default(), start, now: start }
    }

    /// All objects have been told of, which are none.
    fn synced() -> Self {
        let mut this = Self::new();
        this.tell_rest();
        this.wake();
        this
    }

    fn at(&mut self, millis: u64) -> &mut Self {
        self.now = self.start + Duration::from_millis(millis);
        self
    }

    fn push(&mut self, flow: impl Into<Flow>) -> &mut Self {
        self.namer.push(flow.into(), self.now, &mut self.named);
        self
    }

    fn push_listener(&mut self, pod: u128) -> &mut Self {
        let flow = from(pod).build();
        let listener = Listener {
            transport: flow.transport,
            server: flow.client,
            interval: flow.interval,
            dropped: 0,
            cookies: Duration::ZERO,
            queued: 0,
            queue_limit: 0,
            local: flow.local,
        };
        self.namer.push_listener(listener, self.now, &mut self.named);
        self
    }

    fn tell_pod(&mut self, n: u128) {
        let pod = json!({
            "metadata": { "uid": uid(n).to_string(), "namespace": "shop", "name": format!("web-{n}") },
            "spec": { "containers": [{}] },
            "status": { "phase": "Running", "startTime": "1970-01-01T00:00:00Z" },
        });
        let pod: PodView = serde_json::from_value(pod).unwrap();
        let reading = Reading::new(&Config::default(), Extraction::default());
        self.tell(Told::Pod(Change::Is(uid(n), pod.object(&reading).unwrap())));
    }

    /// Tells that there is nothing but what was told of.
    fn tell_rest(&mut self) {
        // What was told of so far stays: a first telling has no end until here.
        self.tell(Told::Pod(Change::End));
        self.tell(Told::Service(Change::End));
        self.tell(Told::Slice(Change::End));
        self.tell(Told::Node(Change::End));
        for kind in 0..2 {
            self.tell(Told::Owner(kind, Change::End));
        }
    }

    fn tell(&mut self, told: Told) {
        self.namer.on_told(told, UnixNanos(0));
    }

    fn wake(&mut self) {
        self.namer.wake(self.now, UnixNanos(0), &mut self.named);
    }

    /// Wakes it, and compares what has gone on since: the clients' pods, and what they sent if they did.
    #[track_caller]
    fn expect(&mut self, expected: &[&str]) {
        self.wake();
        let flows: Vec<_> = std::mem::take(&mut self.named.flows);
        let texts = flows.iter().map(|it| match it.request.bytes {
            0 => pod(it.client.entity.as_ref()).to_owned(),
            sent => format!("{} {sent}", pod(it.client.entity.as_ref())),
        });
        assert_eq!(texts.collect::<Vec<_>>(), expected);
    }

    #[track_caller]
    fn expect_listeners(&mut self, expected: &[&str]) {
        self.wake();
        let listeners = std::mem::take(&mut self.named.listeners);
        let pods: Vec<_> = listeners.iter().map(|it| pod(it.server.entity.as_ref())).collect();
        assert_eq!(pods, expected);
    }
}

/// A connection of its own from a container of a pod.
fn from(pod: u128) -> FlowBuilder {
    let path = format!("/kubepods/burstable/pod{}/{pod:064x}", uid(pod));
    flow().no_id().client("10.244.1.1:40000").server("203.0.113.9:80").cgroup(&path).opened(1)
}

fn uid(n: u128) -> Uid {
    Uid::parse(&format!("{n:032x}")).unwrap()
}

fn pod(entity: Option<&Arc<model::Entity>>) -> &str {
    entity.and_then(|it| it.attribute(&model::Attribute::Pod)).map_or("-", |it| it)
}
