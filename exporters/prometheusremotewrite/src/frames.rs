//! What waits to be sent: requests of remote write 2.0, one behind the other.

use bytes::{Buf, Bytes, BytesMut};
use hashbrown::HashMap;
use prometheus::{Family, Follow, Type, Value, parse};
use prost::Message;

use crate::{
    samples::{self, Sample, Shape},
    v2::{self, Metadata, Request, TimeSeries},
};

const NANOS_PER_MILLI: u64 = 1_000_000;
/// What a label takes of a request of version 1.0 beside its name and value, at most, if both are shorter than 16 KiB.
const LABEL_BYTES: usize = 12;
/// What a series with a sample takes beside its labels.
const SERIES_BYTES: usize = 26;

const NAME: &str = "__name__";

/// Makes requests of samples, none larger than it may be in version 1.0 before compression.
#[derive(Debug)]
pub(crate) struct Frames {
    max_bytes: usize,
    /// Labels that every series gets that has none of the name, by name.
    external: Vec<(String, String)>,
    /// When series end that nobody says when, in nanoseconds since 1970.
    pub(crate) now: u64,
    request: Request,
    symbols: HashMap<String, u32>,
    n_items: u64,
    n_samples: u64,
    size: usize,
    /// The labels of the series in hand, by name, as symbols.
    labels: Vec<Label>,
    scratch: String,
    done: BytesMut,
    n_items_done: u64,
}

/// A label of the series in hand.
#[derive(Clone, Copy, Debug)]
struct Label {
    name: u32,
    value: u32,
    /// Whether the metric's name and the label that a sample alone has come before it.
    is_after_name: bool,
    is_after_own: bool,
}

/// One request, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) n_items: u64,
    pub(crate) n_samples: u64,
    /// A request of version 2.0.
    pub(crate) request: Bytes,
}

impl Frames {
    pub(crate) fn new(max_bytes: usize, external: Vec<(String, String)>) -> Self {
        Self {
            max_bytes,
            external,
            now: 0,
            request: Request::default(),
            symbols: HashMap::new(),
            n_items: 0,
            n_samples: 0,
            size: 0,
            labels: Vec::new(),
            scratch: String::new(),
            done: BytesMut::new(),
            n_items_done: 0,
        }
    }

    /// Returns the requests that there are since the last call, and how many items are inside; `None` if there are none.
    pub(crate) fn take(&mut self) -> Option<(Bytes, u64)> {
        self.close();
        let n_items = std::mem::take(&mut self.n_items_done);
        (!self.done.is_empty()).then(|| (self.done.split().freeze(), n_items))
    }

    /// Ends the request in hand.
    fn close(&mut self) {
        if self.request.timeseries.is_empty() {
            return;
        }
        for n in [self.n_items, self.n_samples] {
            prost::encoding::encode_varint(n, &mut self.done);
        }
        self.request.encode_length_delimited(&mut self.done).expect("the buffer grows");
        self.n_items_done += self.n_items;
        self.request.timeseries.clear();
        self.request.symbols.clear();
        self.symbols.clear();
        (self.n_items, self.n_samples, self.size) = (0, 0, 0);
    }

    /// Begins the samples of one point.
    fn begin(&mut self, family: &Family, labels: &str) -> (Metadata, usize) {
        if self.size >= self.max_bytes {
            self.close();
        }
        let own = family.kind.reserved_label().unwrap_or_default();
        let mut external = std::mem::take(&mut self.external);
        let mut missing = external.iter().filter(|(it, _)| it != own).peekable();
        self.labels.clear();
        let mut size = SERIES_BYTES + NAME.len() + family.name.len() + LABEL_BYTES;
        for (name, value) in parse(labels) {
            while let Some((other, value)) = missing.next_if(|(it, _)| it.as_str() < name) {
                size += self.label(other, value, own);
            }
            // What the series says itself is what holds.
            missing.next_if(|(it, _)| it == name);
            size += self.label(name, &value, own);
        }
        for (name, value) in missing {
            size += self.label(name, value, own);
        }
        std::mem::swap(&mut self.external, &mut external);
        let unit = family.unit.as_deref().unwrap_or_default();
        let metadata = Metadata {
            kind: match family.kind {
                Type::Counter => v2::COUNTER,
                Type::Gauge => v2::GAUGE,
                Type::Histogram => v2::HISTOGRAM,
                Type::Summary => v2::SUMMARY,
                Type::Info => v2::INFO,
            },
            help_ref: self.symbol(&family.help),
            unit_ref: self.symbol(unit),
        };
        (metadata, size)
    }

    /// Adds a label to the series in hand, and returns what it takes at most.
    fn label(&mut self, name: &str, value: &str, own: &str) -> usize {
        let (is_after_name, is_after_own) = (name > NAME, name > own);
        let size = LABEL_BYTES + name.len() + value.len();
        let label = Label { name: self.symbol(name), value: self.symbol(value), is_after_name, is_after_own };
        self.labels.push(label);
        size
    }

    /// Adds a sample of the series in hand.
    fn sample(&mut self, family: &Family, (suffix, own, value): Sample<'_>, time: u64, metadata: Metadata) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.push_str(&family.name);
        scratch.push_str(suffix);
        let mut name = Some([self.symbol(NAME), self.symbol(&scratch)]);
        self.scratch = scratch;
        let mut own = own.map(|(name, value)| [self.symbol(name), self.symbol(value)]);
        let mut refs = Vec::with_capacity(2 * self.labels.len() + 4);
        for Label { name: label, value, is_after_name, is_after_own } in &self.labels {
            // Both are after all that is before them: `__name__` is before `le` and `quantile`.
            if *is_after_name {
                refs.extend(name.take().into_iter().flatten());
            }
            if *is_after_own {
                refs.extend(own.take().into_iter().flatten());
            }
            refs.extend([*label, *value]);
        }
        refs.extend(name.into_iter().chain(own).flatten());
        let timestamp = i64::try_from(time / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        let samples = vec![v2::Sample { value, timestamp }];
        self.request.timeseries.push(TimeSeries { labels_refs: refs, samples, metadata: Some(metadata) });
        self.n_samples += 1;
    }

    fn symbol(&mut self, text: &str) -> u32 {
        if self.request.symbols.is_empty() {
            self.request.symbols.push(Bytes::new());
            self.symbols.insert(String::new(), 0);
        }
        let Self { request: Request { symbols, .. }, symbols: known, .. } = self;
        *known.entry_ref(text).or_insert_with(|| {
            symbols.push(Bytes::copy_from_slice(text.as_bytes()));
            u32::try_from(symbols.len() - 1).expect("a request is smaller")
        })
    }

    fn series(
        &mut self,
        family: &Family,
        labels: &str,
        time: u64,
        n_items: u64,
        each: impl FnOnce(&mut dyn FnMut(Sample<'_>)),
    ) {
        let (metadata, size) = self.begin(family, labels);
        each(&mut |sample| {
            self.size += size + sample.1.map_or(0, |(name, value)| LABEL_BYTES + name.len() + value.len());
            self.sample(family, sample, time, metadata);
        });
        self.n_items += n_items;
    }
}

impl Follow<Shape> for Frames {
    fn point(&mut self, family: &Family, labels: &str, value: &Value, time: u64) {
        // What is told of a resource is no point.
        let n_items = u64::from(family.kind != Type::Info);
        self.series(family, labels, time, n_items, |each| samples::of(family.kind, value, each));
    }

    fn end(&mut self, family: &Family, labels: &str, kept: Option<&Shape>, last: u64, time: Option<u64>) {
        // After the last sample, or there would be two of a time.
        let at = time.unwrap_or(self.now).max(last.saturating_add(NANOS_PER_MILLI));
        let n_items = u64::from(time.is_some());
        self.series(family, labels, at, n_items, |each| samples::ends(family.kind, kept, each));
    }
}

/// Returns the requests in a payload; what is none ends them.
pub(crate) fn read(mut payload: Bytes) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(move || {
        let mut number = || prost::encoding::decode_varint(&mut payload).ok();
        let (n_items, n_samples, len) = (number()?, number()?, number()?);
        let len = usize::try_from(len).ok().filter(|it| *it <= payload.remaining())?;
        Some(Frame { n_items, n_samples, request: payload.split_to(len) })
    })
}
