//! Measures what it costs to add attributes to requests: `cargo run --release -p ridley-model --example splice_speed`.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{ResourceAttributes, Traces};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData},
};
use prost::Message;

const REQUESTS: u32 = 20_000;

fn main() {
    let added = Arc::new(ResourceAttributes::new([
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "checkout-6f5d8c7b9-x2x4z"),
        ("k8s.pod.uid", "12345678-1234-1234-1234-123456789abc"),
        ("k8s.node.name", "ip-10-0-12-34.eu-west-1.compute.internal"),
        ("service.name", "checkout"),
        ("service.namespace", "shop"),
        ("k8s.deployment.name", "checkout"),
        ("cloud.availability_zone", "eu-west-1a"),
        ("cloud.region", "eu-west-1"),
    ]));
    for (n_resources, n_spans) in [(1, 1), (1, 100), (1, 500), (50, 10)] {
        let request = Traces::new(vec![resource_spans(n_spans); n_resources]).encode(&Resource::default());
        let traces = Traces::from_encoded(request.clone()).expect("it was encoded");
        let spliced = each(REQUESTS, || {
            let mut traces = traces.clone();
            traces.add_attributes(|_| Some(Arc::clone(&added))).expect("it was encoded");
            traces
        });
        let counted = each(REQUESTS, || Traces::from_encoded(request.clone()).expect("it was encoded"));
        let decoded = each(REQUESTS / 100, || {
            let data = TracesData::decode(request.clone()).expect("it was encoded");
            data.encode_to_vec()
        });
        println!(
            "{n_resources} resources with {n_spans} spans each, {} bytes: {spliced:?} to add nine attributes to each, {:?} for \
             each resource; {counted:?} to count the spans, {decoded:?} to decode and encode all",
            request.len(),
            spliced / u32::try_from(n_resources).expect("there are few"),
        );
    }
}

/// Returns how long something takes, after it has been done for a while.
fn each<T>(times: u32, mut act: impl FnMut() -> T) -> Duration {
    (0..times / 4).for_each(|_| drop(black_box(act())));
    let began = Instant::now();
    (0..times).for_each(|_| drop(black_box(act())));
    began.elapsed() / times
}

fn resource_spans(n_spans: usize) -> ResourceSpans {
    let own = [
        ("service.name", "checkout"),
        ("telemetry.sdk.language", "java"),
        ("host.name", "checkout-6f5d8c7b9-x2x4z"),
    ];
    let resource = Some(Resource { attributes: own.map(attribute).into(), ..Resource::default() });
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        parent_span_id: vec![9; 8],
        name: "POST /api/checkout".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_050_000_000,
        attributes: [
            ("http.request.method", "POST"),
            ("url.path", "/api/checkout"),
            ("http.route", "/api/checkout"),
            ("server.address", "checkout.shop.svc"),
            ("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        ]
        .map(attribute)
        .into(),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span; n_spans], ..ScopeSpans::default() }];
    ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
}

fn attribute((key, text): (&str, &str)) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
