use std::{fmt::Debug, net::IpAddr, sync::Arc};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    logs::v1::{LogsData, ResourceLogs},
    metrics::v1::{Metric, MetricsData, ResourceMetrics, metric::Data as MetricData},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, TracesData},
};
use prost::{DecodeError, Message};

use crate::{
    MaxSize, Receipt, ResourceAttributes, ResourceView, Signal, Space, splice, split,
    wire::{self, Fields, Malformed},
};

/// A batch of OpenTelemetry metrics.
pub type Metrics = Otlp<MetricsData>;
/// A batch of OpenTelemetry spans.
pub type Traces = Otlp<TracesData>;
/// A batch of OpenTelemetry log records.
pub type Logs = Otlp<LogsData>;

/// The data of one signal of OTLP: the message that an export request is, too.
pub trait OtlpData: Message + Default + Clone + PartialEq + 'static {
    /// What it has one of for each resource; its first field tells of whom it is.
    type Resource: Message + Clone;

    /// The signal.
    const SIGNAL: Signal;
    /// Fields from the message to the items that are counted; at each step one of several.
    const ITEMS: &'static [&'static [u32]];

    /// Makes the message.
    fn of(resources: Vec<Self::Resource>) -> Self;

    /// Returns what the message has for each resource.
    fn resources(&self) -> &[Self::Resource];

    /// Returns what the message has for each resource, to be changed.
    fn resources_mut(&mut self) -> &mut [Self::Resource];

    /// Returns what tells of whom it is.
    fn identity(resource: &Self::Resource) -> Option<&Resource>;

    /// Returns whatever tells of whom something is.
    fn identities_mut(&mut self) -> impl Iterator<Item = &mut Resource>;

    /// Returns what tells of whom it is, to be changed.
    fn identity_mut(resource: &mut Self::Resource) -> Option<&mut Resource>;

    /// Returns how many spans, log records or data points are inside.
    fn n_items(&self) -> usize;
}

impl OtlpData for MetricsData {
    type Resource = ResourceMetrics;

    const SIGNAL: Signal = Signal::Metrics;
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];

    fn of(resource_metrics: Vec<ResourceMetrics>) -> Self {
        Self { resource_metrics }
    }

    fn resources(&self) -> &[ResourceMetrics] {
        &self.resource_metrics
    }

    fn resources_mut(&mut self) -> &mut [ResourceMetrics] {
        &mut self.resource_metrics
    }

    fn identity(resource: &ResourceMetrics) -> Option<&Resource> {
        resource.resource.as_ref()
    }

    fn identities_mut(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.resource_metrics.iter_mut().filter_map(|it| it.resource.as_mut())
    }

    fn identity_mut(resource: &mut ResourceMetrics) -> Option<&mut Resource> {
        resource.resource.as_mut()
    }

    fn n_items(&self) -> usize {
        let scopes = self.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
        scopes.flat_map(|it| &it.metrics).map(n_points).sum()
    }
}

impl OtlpData for TracesData {
    type Resource = ResourceSpans;

    const SIGNAL: Signal = Signal::Traces;
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2]];

    fn of(resource_spans: Vec<ResourceSpans>) -> Self {
        Self { resource_spans }
    }

    fn resources(&self) -> &[ResourceSpans] {
        &self.resource_spans
    }

    fn resources_mut(&mut self) -> &mut [ResourceSpans] {
        &mut self.resource_spans
    }

    fn identity(resource: &ResourceSpans) -> Option<&Resource> {
        resource.resource.as_ref()
    }

    fn identities_mut(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.resource_spans.iter_mut().filter_map(|it| it.resource.as_mut())
    }

    fn identity_mut(resource: &mut ResourceSpans) -> Option<&mut Resource> {
        resource.resource.as_mut()
    }

    fn n_items(&self) -> usize {
        self.resource_spans.iter().flat_map(|it| &it.scope_spans).map(|it| it.spans.len()).sum()
    }
}

impl OtlpData for LogsData {
    type Resource = ResourceLogs;

    const SIGNAL: Signal = Signal::Logs;
    const ITEMS: &'static [&'static [u32]] = &[&[1], &[2], &[2]];

    fn of(resource_logs: Vec<ResourceLogs>) -> Self {
        Self { resource_logs }
    }

    fn resources(&self) -> &[ResourceLogs] {
        &self.resource_logs
    }

    fn resources_mut(&mut self) -> &mut [ResourceLogs] {
        &mut self.resource_logs
    }

    fn identity(resource: &ResourceLogs) -> Option<&Resource> {
        resource.resource.as_ref()
    }

    fn identities_mut(&mut self) -> impl Iterator<Item = &mut Resource> {
        self.resource_logs.iter_mut().filter_map(|it| it.resource.as_mut())
    }

    fn identity_mut(resource: &mut ResourceLogs) -> Option<&mut Resource> {
        resource.resource.as_mut()
    }

    fn n_items(&self) -> usize {
        self.resource_logs.iter().flat_map(|it| &it.scope_logs).map(|it| it.log_records.len()).sum()
    }
}

/// A batch of one OTLP signal; cloning it shares the payload.
///
/// What came from elsewhere stays encoded until a component looks inside, and what a component made is encoded when it
/// leaves. Two are equal if they have the same form.
#[derive(Clone, Debug)]
pub struct Otlp<D> {
    form: Form<D>,
    n_items: u64,
    receipt: Receipt,
    space: Option<Space>,
    peer: Option<IpAddr>,
}

impl<D: PartialEq> PartialEq for Otlp<D> {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Form<D> {
    Encoded(Bytes),
    Decoded(Arc<D>),
}

impl<D: OtlpData> Otlp<D> {
    /// Wraps what a component made, one entry for each resource.
    pub fn new(resources: Vec<D::Resource>) -> Self {
        let data = D::of(resources);
        let n_items = data.n_items() as u64;
        Self {
            form: Form::Decoded(Arc::new(data)),
            n_items,
            receipt: Receipt::default(),
            space: None,
            peer: None,
        }
    }

    /// Wraps an encoded export request.
    ///
    /// # Errors
    ///
    /// Its outer messages, down to what is counted, are none. What is inside of items is not looked at.
    pub fn from_encoded(request: Bytes) -> Result<Self, Malformed> {
        let n_items = wire::count(&request, D::ITEMS)?;
        Ok(Self {
            form: Form::Encoded(request),
            n_items,
            receipt: Receipt::default(),
            space: None,
            peer: None,
        })
    }

    /// Has somebody told whether it was taken, and takes room from a memory budget until it is gone.
    #[must_use]
    pub fn awaited(mut self, receipt: Receipt, space: Space) -> Self {
        self.receipt = receipt;
        self.space = Some(space);
        self
    }

    /// Notes the address of whoever sent it here.
    #[must_use]
    pub const fn from_peer(mut self, address: IpAddr) -> Self {
        self.peer = Some(address);
        self
    }

    /// Returns the address of whoever sent it here, if somebody did.
    pub const fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns who is told whether it was taken.
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Returns the room that it takes, for whoever keeps its bytes without it.
    pub const fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// Returns how many spans, log records or data points are inside.
    pub const fn n_items(&self) -> u64 {
        self.n_items
    }

    /// Returns the payload as an export request.
    ///
    /// What a component made without saying of whom it is, is of `own`, which is this process.
    pub fn encode(&self, own: &Resource) -> Bytes {
        match &self.form {
            Form::Encoded(request) => request.clone(),
            Form::Decoded(data) => encode(&**data, own).into(),
        }
    }

    /// Puts batches together, each of whose senders is told when all of them were taken. What came encoded stays so, apart from
    /// what was made here, so that there are two at most.
    pub fn merged(batches: Vec<Self>) -> Vec<Self> {
        let (encoded, decoded): (Vec<_>, Vec<_>) =
            batches.into_iter().partition(|it| matches!(it.form, Form::Encoded(_)));
        [encoded, decoded].into_iter().filter_map(Self::merged_of_a_form).collect()
    }

    fn merged_of_a_form(mut batches: Vec<Self>) -> Option<Self> {
        if batches.len() < 2 {
            return batches.pop();
        }
        // Repeated fields of messages one behind the other are those of one message.
        let mut requests = Vec::new();
        let mut resources = Vec::new();
        for batch in &batches {
            match &batch.form {
                Form::Encoded(request) => requests.extend_from_slice(request),
                Form::Decoded(data) => resources.extend_from_slice(data.resources()),
            }
        }
        let form = match resources.is_empty() {
            true => Form::Encoded(requests.into()),
            false => Form::Decoded(Arc::new(D::of(resources))),
        };
        let n_items = batches.iter().map(|it| it.n_items).sum();
        let receipts: Vec<_> = batches.iter().map(|it| it.receipt.clone()).collect();
        let receipt = Receipt::new(move |is_taken| {
            if !is_taken {
                receipts.iter().for_each(Receipt::refuse);
            }
        });
        let spaces: Vec<_> = batches.iter().filter_map(|it| it.space.clone()).collect();
        let space = if spaces.is_empty() { None } else { Some(Arc::new(spaces) as Space) };
        // Who sent it is known only where all are of one.
        let peer = batches[0].peer.filter(|peer| batches.iter().all(|it| it.peer == Some(*peer)));
        Some(Self { form, n_items, receipt, space, peer })
    }

    /// Divides a batch into several of `max_items` at most. Its sender is told when all of them were taken.
    pub fn split(self, max_items: u64) -> Vec<Self> {
        if self.n_items <= max_items {
            return vec![self];
        }
        let (request, is_encoded) = match &self.form {
            Form::Encoded(request) => (request.clone(), true),
            Form::Decoded(data) => (data.encode_to_vec().into(), false),
        };
        let part = |(request, n_items): (Bytes, u64)| {
            let form = if is_encoded {
                Form::Encoded(request)
            } else {
                Form::Decoded(Arc::new(D::decode(request).expect("it was encoded here")))
            };
            Self { form, n_items, ..self.clone() }
        };
        let parts = split(D::SIGNAL, &request, MaxSize::Items(max_items)).expect("its items were counted");
        parts.into_iter().map(part).collect()
    }

    /// Changes of whom everything is. What came encoded stays so: nothing else is decoded. What a component made without saying of
    /// whom it is stays as it is.
    ///
    /// # Errors
    ///
    /// It came encoded, and what tells of whom it is is not as OTLP has it. Nothing is changed then.
    pub fn change_resources(&mut self, mut change: impl FnMut(&mut Resource)) -> Result<(), DecodeError> {
        match &mut self.form {
            Form::Encoded(request) => *request = changed(request, &mut change)?.into(),
            Form::Decoded(data) => Arc::make_mut(data).identities_mut().for_each(change),
        }
        Ok(())
    }

    /// Adds attributes to resources: those that `of` gives, but none that a resource has. What is encoded stays so, and what is
    /// inside beside resources is not looked at. It takes no more room from a memory budget than before.
    ///
    /// # Errors
    ///
    /// It came encoded, and something on the way to the attributes of a resource is not as OTLP has it. Then nothing is added.
    pub fn add_attributes(
        &mut self,
        mut of: impl FnMut(&ResourceView<'_>) -> Option<Arc<ResourceAttributes>>,
    ) -> Result<(), Malformed> {
        match &mut self.form {
            Form::Encoded(request) => {
                if let Some(spliced) = splice::splice(request, of)? {
                    *request = spliced.into();
                }
            }
            Form::Decoded(data) => {
                // What says not of whom it is, is of this process.
                let identities = data.resources().iter().map(D::identity);
                let added: Vec<_> = identities.map(|it| of(&ResourceView::of_decoded(it?))).collect();
                if added.iter().any(Option::is_some) {
                    for (resource, added) in Arc::make_mut(data).resources_mut().iter_mut().zip(added) {
                        if let (Some(identity), Some(added)) = (D::identity_mut(resource), added) {
                            added.add_to(identity);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns what is inside.
    ///
    /// # Errors
    ///
    /// It came encoded, and something within an item is not as OTLP has it.
    pub fn decode(&self) -> Result<Arc<D>, DecodeError> {
        match &self.form {
            Form::Encoded(request) => D::decode(request.clone()).map(Arc::new),
            Form::Decoded(data) => Ok(Arc::clone(data)),
        }
    }
}

/// Makes a request of one, in which other resources stand. Of each, they are the first field of the first field.
fn changed(request: &[u8], change: &mut impl FnMut(&mut Resource)) -> Result<Vec<u8>, DecodeError> {
    let mut result: Vec<u8> = Vec::with_capacity(request.len() + request.len() / 8);
    for (whole, payload) in firsts(request) {
        let Some(payload) = payload else {
            result.extend(whole);
            continue;
        };
        let mut resource = Resource::default();
        let mut rest: Vec<u8> = Vec::with_capacity(payload.len());
        for (whole, payload) in firsts(payload) {
            match payload {
                // A message that is there twice is one with the fields of both.
                Some(payload) => resource.merge(payload)?,
                None => rest.extend(whole),
            }
        }
        change(&mut resource);
        let identity = resource.encode_length_delimited_to_vec();
        result.push(FIRST);
        prost::encode_length_delimiter(1 + identity.len() + rest.len(), &mut result).expect("a vector grows");
        result.push(FIRST);
        result.extend(identity);
        result.extend(rest);
    }
    Ok(result)
}

/// The fields of a message that was counted, each with what the message in it has if it is the first.
fn firsts(message: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut fields = Fields::of(message);
    let mut rest = message;
    std::iter::from_fn(move || {
        let field = fields.next()?.ok()?;
        let (whole, behind) = rest.split_at(rest.len() - fields.rest().len());
        rest = behind;
        Some((whole, field.payload.filter(|_| field.number == 1)))
    })
}

/// Key of the first field, which is a message: of a request its resources, and of these whom they are of.
const FIRST: u8 = 1 << 3 | 2;

fn encode<D: OtlpData>(data: &D, own: &Resource) -> Vec<u8> {
    let mut identity = vec![FIRST];
    identity.extend(own.encode_length_delimited_to_vec());
    let mut request = Vec::with_capacity(data.encoded_len() + identity.len());
    for resource in data.resources() {
        let missing = if D::identity(resource).is_none() { identity.as_slice() } else { &[] };
        request.push(FIRST);
        let len = missing.len() + resource.encoded_len();
        prost::encode_length_delimiter(len, &mut request).expect("a vector grows");
        request.extend(missing);
        resource.encode(&mut request).expect("a vector grows");
    }
    request
}

/// Returns how many data points a metric has.
pub fn n_points(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(MetricData::Gauge(data)) => data.data_points.len(),
        Some(MetricData::Sum(data)) => data.data_points.len(),
        Some(MetricData::Histogram(data)) => data.data_points.len(),
        Some(MetricData::ExponentialHistogram(data)) => data.data_points.len(),
        Some(MetricData::Summary(data)) => data.data_points.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use opentelemetry_proto::tonic::{
        common::v1::KeyValue,
        logs::v1::{LogRecord, ScopeLogs},
        metrics::v1::{
            ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
            NumberDataPoint, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        },
        trace::v1::{ScopeSpans, Span},
    };

    use super::*;

    #[test]
    fn items_are_counted_in_either_form() {
        let spans = vec![Span { name: "GET".to_owned(), ..Span::default() }; 3];
        let scopes = vec![ScopeSpans { spans, ..ScopeSpans::default() }; 2];
        check::<TracesData>(vec![ResourceSpans { scope_spans: scopes, ..ResourceSpans::default() }; 4], 24);

        let scopes = vec![ScopeLogs { log_records: vec![LogRecord::default(); 5], ..ScopeLogs::default() }];
        check::<LogsData>(vec![ResourceLogs { scope_logs: scopes, ..ResourceLogs::default() }], 5);

        let metrics = [
            MetricData::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] }),
            MetricData::Sum(Sum { data_points: vec![NumberDataPoint::default(); 2], ..Sum::default() }),
            MetricData::Histogram(Histogram {
                data_points: vec![HistogramDataPoint::default(); 4],
                ..Histogram::default()
            }),
            MetricData::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint::default(); 8],
                ..ExponentialHistogram::default()
            }),
            MetricData::Summary(Summary { data_points: vec![SummaryDataPoint::default(); 16] }),
        ];
        let metrics = metrics.map(|it| Metric { name: "m".to_owned(), data: Some(it), ..Metric::default() });
        let scopes = vec![ScopeMetrics { metrics: metrics.into(), ..ScopeMetrics::default() }];
        check::<MetricsData>(
            vec![ResourceMetrics { scope_metrics: scopes, ..ResourceMetrics::default() }],
            31,
        );
    }

    /// Whoever is told apart by nothing would overwrite each other's series.
    #[test]
    fn what_says_not_of_whom_it_is_is_of_this_process() {
        let spans = |n, resource| {
            let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); n], ..ScopeSpans::default() }];
            ResourceSpans { scope_spans, resource, schema_url: "schema".to_owned() }
        };
        let other = Resource { dropped_attributes_count: 1, ..Resource::default() };
        let made = Traces::new(vec![spans(200, None), spans(1, Some(other.clone())), spans(0, None)]);
        let came = Traces::from_encoded(made.encode(&own())).unwrap().decode().unwrap();
        let expected = [spans(200, Some(own())), spans(1, Some(other)), spans(0, Some(own()))];
        assert_eq!(came.resource_spans, expected);
    }

    /// Whoever adds attributes need not know in which form a batch is; of this process nothing is said that is not its own.
    #[test]
    fn attributes_are_added_in_either_form() {
        let spans = |attributes: &[&str]| {
            let attributes =
                attributes.iter().map(|it| KeyValue { key: (*it).to_owned(), ..KeyValue::default() });
            let resource = Some(Resource { attributes: attributes.collect(), ..Resource::default() });
            ResourceSpans { resource, ..ResourceSpans::default() }
        };
        let added = Arc::new(ResourceAttributes::new([("a", "x"), ("b", "y")]));
        let of = |seen: &ResourceView<'_>| (!seen.has("left")).then(|| Arc::clone(&added));
        let made = Traces::new(vec![spans(&["b"]), spans(&["left"]), ResourceSpans::default()]);
        let mut came = Traces::from_encoded(made.encode(&own())).unwrap();
        let mut changed = made.clone();
        came.add_attributes(of).unwrap();
        changed.add_attributes(of).unwrap();
        let keys = |traces: &Traces| -> Vec<Vec<String>> {
            let data = traces.decode().unwrap();
            let each = data.resource_spans.iter().flat_map(|it| &it.resource);
            each.map(|it| it.attributes.iter().map(|it| it.key.clone()).collect()).collect()
        };
        assert_eq!(keys(&changed), [vec!["b", "a"], vec!["left"]]);
        assert_eq!(keys(&came), [vec!["b", "a"], vec!["left"], vec!["a", "b"]]);
        assert_eq!(keys(&made), [vec!["b"], vec!["left"]], "a clone is its own");
    }

    #[test]
    fn nothing_is_a_request_without_items() {
        let traces = Traces::from_encoded(Bytes::new()).unwrap();
        assert_eq!((traces.n_items(), traces.encode(&Resource::default())), (0, Bytes::new()));
        assert_eq!(*traces.decode().unwrap(), TracesData::default());
    }

    /// What a component does not look into is passed on as it came, also what this version of OTLP has no name for.
    #[test]
    fn what_came_encoded_is_not_changed() {
        let request = Bytes::from_static(&[0x0a, 0x00, 0xf8, 0x07, 0x2a]);
        assert_eq!(Logs::from_encoded(request.clone()).unwrap().encode(&own()), request);
    }

    /// Whoever sent one of several is told what became of all.
    #[test]
    fn batches_that_are_put_together_have_all_items_and_tell_all_senders() {
        let (told, results) = mpsc::channel();
        let batch = |n: u8, form: fn(Logs) -> Logs| {
            let record = |n: u8| LogRecord { flags: n.into(), ..LogRecord::default() };
            let scope_logs =
                vec![ScopeLogs { log_records: vec![record(n); n.into()], ..ScopeLogs::default() }];
            let told = told.clone();
            let receipt = Receipt::new(move |is_taken| told.send((n, is_taken)).expect("the test listens"));
            let made = Logs::new(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }]);
            form(made).awaited(receipt, Arc::new(()))
        };
        let encoded: fn(Logs) -> Logs = |it| Logs::from_encoded(it.encode(&Resource::default())).unwrap();
        let decoded: fn(Logs) -> Logs = |it| it;
        for (is_refused, forms) in [(false, [encoded, encoded]), (true, [decoded, decoded])] {
            let merged = Logs::merged(vec![batch(1, forms[0]), batch(2, forms[1])]);
            let [merged] = <[_; 1]>::try_from(merged).unwrap();
            assert_eq!(merged.n_items(), 3);
            let resources = merged.decode().unwrap().resource_logs.clone();
            let flags = resources.iter().flat_map(|it| &it.scope_logs[0].log_records).map(|it| it.flags);
            assert_eq!(flags.collect::<Vec<_>>(), [1, 2, 2]);
            let mut parts = merged.split(2);
            assert_eq!(parts.iter().map(Logs::n_items).collect::<Vec<_>>(), [2, 1]);
            if is_refused {
                parts[0].receipt().refuse();
            }
            drop(parts.pop());
            assert!(results.try_recv().is_err(), "one is left");
            drop(parts);
            let mut told: Vec<_> = results.try_iter().collect();
            told.sort_unstable();
            assert_eq!(told, [(1, !is_refused), (2, !is_refused)]);
        }
        let forms = Logs::merged(vec![batch(1, encoded), batch(2, decoded), batch(3, encoded)]);
        assert_eq!(forms.iter().map(Logs::n_items).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(Logs::merged(Vec::new()), []);
    }

    /// What says not of whom it is says so also when it was divided.
    #[test]
    fn what_is_divided_stays_what_it_was() {
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 5], ..ScopeSpans::default() }];
        let made = Traces::new(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }]);
        assert_eq!(made.clone().split(5), vec![made.clone()]);
        let parts = made.split(2);
        assert_eq!(parts.iter().map(Traces::n_items).collect::<Vec<_>>(), [2, 2, 1]);
        for part in parts {
            assert_eq!(part.decode().unwrap().resource_spans[0].resource, None);
            let came = Traces::from_encoded(part.encode(&own())).unwrap();
            assert_eq!(came.decode().unwrap().resource_spans[0].resource, Some(own()));
        }
    }

    /// "decode(change(x)) == change(decode(x))", whatever the order of the fields, and also what nobody knows stays.
    #[test]
    fn of_whom_it_is_can_be_changed_without_a_look_at_the_rest() {
        let change = |it: &mut Resource| it.dropped_attributes_count += 10;
        let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 200], ..ScopeSpans::default() }];
        let spans = |n| ResourceSpans {
            resource: Some(Resource { dropped_attributes_count: n, ..Resource::default() }),
            scope_spans: scope_spans.clone(),
            schema_url: "schema".to_owned(),
        };
        let made = Traces::new(vec![spans(1), spans(2)]);
        let came = Traces::from_encoded(made.encode(&own())).unwrap();
        for mut traces in [made, came] {
            traces.change_resources(change).unwrap();
            assert_eq!(traces.decode().unwrap().resource_spans, [spans(11), spans(12)]);
            assert_eq!(traces.n_items(), 400);
        }
        // Scopes first, the resource in two parts, a field of a later version in each message.
        let unknown = [0xf8, 0x07, 0x2a];
        let inner = [&[0x12, 2, 0x12, 0][..], &[0x0a, 2, 0x10, 7], &unknown, &[0x0a, 0]].concat();
        let request = [&[0x0a, u8::try_from(inner.len()).unwrap()], &inner[..], &unknown].concat();
        let mut logs = Logs::from_encoded(request.into()).unwrap();
        logs.change_resources(change).unwrap();
        let inner = [&[0x0a, 2, 0x10, 17][..], &[0x12, 2, 0x12, 0], &unknown].concat();
        let expected = [&[0x0a, u8::try_from(inner.len()).unwrap()], &inner[..], &unknown].concat();
        assert_eq!(logs.encode(&own()), expected);
        // What says nothing of whom it is, and was made here, is of this process.
        let mut own = Traces::new(vec![ResourceSpans { resource: None, ..spans(1) }]);
        own.change_resources(change).unwrap();
        assert_eq!(own.decode().unwrap().resource_spans[0].resource, None);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(Metrics::from_encoded(Bytes::from_static(b"not a message")).is_err());
    }

    #[track_caller]
    fn check<D: OtlpData>(resources: Vec<D::Resource>, expected: u64) {
        let made = Otlp::<D>::new(resources);
        let came = Otlp::<D>::from_encoded(made.encode(&own())).unwrap();
        assert_eq!((made.n_items(), came.n_items()), (expected, expected));
    }

    fn own() -> Resource {
        Resource { dropped_attributes_count: 7, ..Resource::default() }
    }
}
