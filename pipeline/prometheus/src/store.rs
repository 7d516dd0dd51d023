use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    mem,
    ops::{Bound, ControlFlow, Range},
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, DataPointFlags, Metric, metric::Data},
};

use crate::{
    DropReason, Drops,
    labels::LabelWriter,
    names::{self, FamilyName, Type},
    value::{Point, SharedBounds, Value},
};

/// The series that there are: families by name, in each the series in the order in which they came.
///
/// Of each series it keeps what `V` keeps of its last value.
#[derive(Debug)]
pub struct Store<V = Value> {
    limits: Limits,
    families: BTreeMap<Arc<str>, Held<V>>,
    /// Every name that a family uses for itself or its samples.
    reserved: HashSet<Box<str>>,
    labels: Labels,
    writer: LabelWriter,
    scratch: String,
    /// Series that count towards the limit.
    n_series: usize,
    n_families_made: u64,
    drops: Drops,
}

/// How much a [`Store`] may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most series.
    pub max_series: usize,
    /// How long one that is not updated is kept.
    pub expiration: Duration,
    /// In how many nanoseconds a series has one point at most; zero if only their order matters.
    pub resolution: u64,
}

/// What a [`Store`] holds at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Families of series.
    pub families: usize,
    /// Names that these have for themselves.
    pub names: usize,
    /// Sets of labels.
    pub labels: usize,
    /// Series that count towards the limit.
    pub series: usize,
}

/// What the series of one metric have in common.
#[derive(Debug)]
pub struct Family {
    /// The name, without the suffix of its type.
    pub name: Arc<str>,
    /// The type.
    pub kind: Type,
    /// The unit, if the name ends with it.
    pub unit: Option<String>,
    /// What the metric means.
    pub help: String,
}

/// Is told what becomes of series.
pub trait Follow<V> {
    /// A series has a new value, as of that time.
    fn point(&mut self, family: &Family, labels: &str, value: &Value, time: u64);

    /// A series has ended. `last` is the time of its last point, zero if there was none; `time` that which the sender says, if
    /// it was the sender who said it.
    fn end(&mut self, family: &Family, labels: &str, kept: Option<&V>, last: u64, time: Option<u64>);
}

/// Nobody.
impl<V> Follow<V> for () {
    fn point(&mut self, _family: &Family, _labels: &str, _value: &Value, _time: u64) {}

    fn end(&mut self, _family: &Family, _labels: &str, _kept: Option<&V>, _last: u64, _time: Option<u64>) {}
}

/// One series as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a, V> {
    /// What it has in common with others.
    pub family: &'a Family,
    /// Whether it is the first of its family.
    pub is_first: bool,
    /// Its labels: `name="value",...`.
    pub labels: &'a str,
    /// What is kept of its value.
    pub value: &'a V,
}

/// All series of one metric.
#[derive(Debug)]
struct Held<V> {
    family: Family,
    bounds: SharedBounds,
    /// Tells a family from one of the same name that came after it.
    number: u64,
    series: BTreeMap<LabelsId, Series<V>>,
}

#[derive(Debug)]
struct Series<V> {
    labels: Arc<str>,
    value: V,
    /// Time of the point in nanoseconds since 1970; zero if unknown.
    time: u64,
    updated: Instant,
    /// Whether it is this process's own telemetry, which does not count towards the limit.
    is_own: bool,
}

/// Rendered labels, each once: the series of a link have the same in most families.
///
/// To find a series its labels are looked up here, by their hash; families are searched by number. Comparing texts at
/// every step of the way through a sorted family would take most of the time that a point takes.
#[derive(Debug, Default)]
struct Labels {
    ids: HashMap<Arc<str>, LabelsId>,
    /// Never used twice: a scrape under way tells by it what came after it began.
    next: LabelsId,
}

type LabelsId = u64;

/// Where data points come from.
#[derive(Debug, Default)]
pub struct Source<'a> {
    /// Labels that every series of the source gets: `job` and `instance`, the scope's.
    pub labels: Vec<(&'static str, Cow<'a, str>)>,
    /// Whether the points are this process's own telemetry: few, of known names, and never counted as dropped.
    pub is_own: bool,
    /// The time of points that tell none, in nanoseconds since 1970; zero if it remains unknown.
    pub received: u64,
}

/// Where a scrape goes on.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The family with its number, and the labels of the last series that was written.
    last: Option<(Arc<str>, u64, LabelsId)>,
    /// Labels from here on are newer than the scrape. They wait for the next one: a series that went and came back must
    /// not be written a second time.
    end: Option<LabelsId>,
}

/// Where a sweep goes on.
#[derive(Debug)]
pub struct Swept {
    name: Arc<str>,
    /// The last series that was looked at; none if that was the family's last.
    last: Option<LabelsId>,
}

impl<V: From<Value>> Store<V> {
    /// Makes one without series.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            families: BTreeMap::new(),
            reserved: HashSet::new(),
            labels: Labels::default(),
            writer: LabelWriter::default(),
            scratch: String::new(),
            n_series: 0,
            n_families_made: 0,
            drops: Drops::default(),
        }
    }

    /// Takes some of a metric's points.
    ///
    /// # Panics
    ///
    /// If the metric has no points in the range.
    pub fn put(
        &mut self,
        metric: &Metric,
        range: Range<usize>,
        source: &Source<'_>,
        now: Instant,
        follow: &mut impl Follow<V>,
    ) {
        let is_cumulative = |temporality: i32| temporality == AggregationTemporality::Cumulative as i32;
        let is_delta = |temporality: i32| temporality == AggregationTemporality::Delta as i32;
        let n = range.len();
        let refused = match &metric.data {
            None => return,
            Some(Data::Gauge(data)) => {
                return self.put_points(metric, Type::Gauge, &data.data_points[range], source, now, follow);
            }
            Some(Data::Sum(data)) if is_cumulative(data.aggregation_temporality) => {
                let kind = if data.is_monotonic { Type::Counter } else { Type::Gauge };
                return self.put_points(metric, kind, &data.data_points[range], source, now, follow);
            }
            Some(Data::Histogram(data)) if is_cumulative(data.aggregation_temporality) => {
                return self.put_points(
                    metric,
                    Type::Histogram,
                    &data.data_points[range],
                    source,
                    now,
                    follow,
                );
            }
            Some(Data::Summary(data)) => {
                return self.put_points(metric, Type::Summary, &data.data_points[range], source, now, follow);
            }
            Some(Data::Sum(data)) if is_delta(data.aggregation_temporality) => DropReason::DeltaTemporality,
            Some(Data::Histogram(data)) if is_delta(data.aggregation_temporality) => {
                DropReason::DeltaTemporality
            }
            Some(Data::Sum(_) | Data::Histogram(_)) => DropReason::Malformed,
            Some(Data::ExponentialHistogram(_)) => DropReason::ExponentialHistogram,
        };
        self.drop_points(refused, n, source);
    }

    /// Shows what is known of a resource: `target_info`. Left out, and counted, if there is no room.
    pub fn put_target(
        &mut self,
        attributes: &[KeyValue],
        source: &Source<'_>,
        now: Instant,
        follow: &mut impl Follow<V>,
    ) {
        let name = FamilyName { base: "target".to_owned(), unit: None };
        let Ok(name) = self.open_family(name, Type::Info, "Attributes of the resource.", source) else {
            self.drops.n_targets += 1;
            return;
        };
        let Self { limits, families, labels, writer, scratch, n_series, drops, .. } = self;
        let Some(Held { family, series, .. }) = families.get_mut(&name) else { return };
        let (value, time) = (Value::Int(1), source.received);
        scratch.clear();
        writer.write(attributes, &source.labels, None, scratch);
        if let Some(known) = labels.id_of(scratch).and_then(|it| series.get_mut(&it)) {
            known.updated = now;
            if limits.is_late(time, known.time) {
                return;
            }
            known.time = time;
        } else if *n_series < limits.max_series {
            let (id, labels) = labels.intern(scratch);
            series.insert(
                id,
                Series { labels, value: value.clone().into(), time, updated: now, is_own: false },
            );
            *n_series += 1;
        } else {
            drops.n_targets += 1;
            return;
        }
        follow.point(family, scratch, &value, time);
    }

    /// Forgets what has expired among the next `limit` series of one family, and returns where to go on, if there is more.
    pub fn expire_next(
        &mut self,
        from: Option<Swept>,
        now: Instant,
        limit: usize,
        follow: &mut impl Follow<V>,
    ) -> Option<Swept> {
        let (name, after) = match &from {
            None => (Bound::Unbounded, None),
            Some(Swept { name, last: None }) => (Bound::Excluded(&**name), None),
            Some(Swept { name, last: Some(id) }) => (Bound::Included(&**name), Some((name, *id))),
        };
        let (name, held) = self.families.range_mut::<str, _>((name, Bound::Unbounded)).next()?;
        let after = match after {
            Some((it, id)) if it == name => Bound::Excluded(id),
            _ => Bound::Unbounded,
        };
        let (mut expired, mut n_seen, mut last) = (Vec::new(), 0, None);
        for (id, series) in held.series.range((after, Bound::Unbounded)).take(limit) {
            n_seen += 1;
            last = Some(*id);
            if series.is_expired(now, self.limits.expiration) {
                expired.push(*id);
            }
        }
        for series in expired.iter().filter_map(|it| held.series.remove(it)) {
            follow.end(&held.family, &series.labels, Some(&series.value), series.time, None);
            self.n_series -= usize::from(!series.is_own);
            self.labels.release(series.labels);
        }
        let name = Arc::clone(name);
        self.close_family_if_empty(&name);
        Some(Swept { name, last: last.filter(|_| n_seen == limit) })
    }

    /// Shows series from the cursor on, until `show` has enough. Returns whether there may be more.
    pub fn show(
        &self,
        cursor: &mut Cursor,
        now: Instant,
        mut show: impl FnMut(Shown<'_, V>) -> ControlFlow<()>,
    ) -> bool {
        let last = cursor.last.take();
        let end = *cursor.end.get_or_insert(self.labels.next);
        let from = last.as_ref().map_or(Bound::Unbounded, |(name, ..)| Bound::Included(&**name));
        for (name, Held { family, number, series, .. }) in
            self.families.range::<str, _>((from, Bound::Unbounded))
        {
            let resumed = last.as_ref().filter(|(it, ..)| it == name);
            let after = match resumed {
                // What came before it was another one's.
                Some((_, of, _)) if of != number => continue,
                Some((_, _, id)) => Bound::Excluded(*id),
                None => Bound::Unbounded,
            };
            let mut is_first = resumed.is_none();
            for (id, series) in series.range((after, Bound::Excluded(end))) {
                if series.is_expired(now, self.limits.expiration) {
                    continue;
                }
                let Series { labels, value, .. } = series;
                if show(Shown { family, is_first, labels, value }).is_break() {
                    cursor.last = Some((Arc::clone(name), *number, *id));
                    return true;
                }
                is_first = false;
            }
        }
        false
    }

    /// Returns how many series count towards the limit.
    pub fn n_series(&self) -> usize {
        self.n_series
    }

    /// Returns how much it holds.
    pub fn size(&self) -> Size {
        let Self { families, reserved, labels, n_series, .. } = self;
        Size { families: families.len(), names: reserved.len(), labels: labels.ids.len(), series: *n_series }
    }

    /// Returns what was dropped since the last call.
    pub fn take_drops(&mut self) -> Drops {
        mem::take(&mut self.drops)
    }

    fn put_points<P: Point>(
        &mut self,
        metric: &Metric,
        kind: Type,
        points: &[P],
        source: &Source<'_>,
        now: Instant,
        follow: &mut impl Follow<V>,
    ) {
        let opened = match names::translate(&metric.name, &metric.unit, kind) {
            Some(name) => self.open_family(name, kind, &metric.description, source),
            None => Err(DropReason::InvalidName),
        };
        match opened {
            Err(reason) => self.drop_points(reason, points.len(), source),
            Ok(name) => {
                self.put_into(&name, points, source, now, follow);
                self.close_family_if_empty(&name);
            }
        }
    }

    /// Finds or makes the family of that name, and returns its name as it is kept.
    fn open_family(
        &mut self,
        name: FamilyName,
        kind: Type,
        help: &str,
        source: &Source<'_>,
    ) -> Result<Arc<str>, DropReason> {
        let FamilyName { base, unit } = name;
        if let Some((name, held)) = self.families.get_key_value(base.as_str()) {
            return if held.family.kind == kind {
                Ok(Arc::clone(name))
            } else {
                Err(DropReason::NameConflict)
            };
        }
        if !source.is_own && self.n_series >= self.limits.max_series {
            return Err(DropReason::MaxSeries);
        }
        if reserved_names(&base, kind).any(|it| self.reserved.contains(it.as_str())) {
            return Err(DropReason::NameConflict);
        }
        let name: Arc<str> = base.as_str().into();
        self.reserved.extend(reserved_names(&base, kind).map(String::into_boxed_str));
        let number = self.n_families_made;
        self.n_families_made += 1;
        let bounds = SharedBounds::default();
        let family = Family { name: Arc::clone(&name), kind, unit, help: help.to_owned() };
        let held = Held { family, bounds, number, series: BTreeMap::new() };
        self.families.insert(Arc::clone(&name), held);
        Ok(name)
    }

    fn put_into(
        &mut self,
        name: &Arc<str>,
        points: &[impl Point],
        source: &Source<'_>,
        now: Instant,
        follow: &mut impl Follow<V>,
    ) {
        let Self { limits, families, labels, writer, scratch, n_series, drops, .. } = self;
        let Some(held) = families.get_mut(name) else { return };
        let reserved = held.family.kind.reserved_label();
        let Source { is_own, received, .. } = *source;
        let mut intake = Intake { held, labels, n_series, limits, is_own, received, now, follow };
        for point in points {
            scratch.clear();
            writer.write(point.attributes(), &source.labels, reserved, scratch);
            match intake.put(point, scratch) {
                Err(reason) if !is_own => drops.add(reason, 1),
                _ => {}
            }
        }
    }

    fn close_family_if_empty(&mut self, name: &Arc<str>) {
        if let Some(Held { family, series, .. }) = self.families.get(name)
            && series.is_empty()
        {
            for reserved in reserved_names(name, family.kind) {
                self.reserved.remove(reserved.as_str());
            }
            self.families.remove(name);
        }
    }

    fn drop_points(&mut self, reason: DropReason, n: usize, source: &Source<'_>) {
        if !source.is_own {
            self.drops.add(reason, n as u64);
        }
    }
}

/// Where the points of one metric and source go.
struct Intake<'a, V, F> {
    held: &'a mut Held<V>,
    labels: &'a mut Labels,
    n_series: &'a mut usize,
    limits: &'a Limits,
    is_own: bool,
    received: u64,
    now: Instant,
    follow: &'a mut F,
}

impl<V: From<Value>, F: Follow<V>> Intake<'_, V, F> {
    /// Takes a point of the series with these labels.
    fn put(&mut self, point: &impl Point, text: &str) -> Result<(), DropReason> {
        let Self { held, labels, n_series, limits, is_own, received, now, follow } = self;
        let (is_own, now) = (*is_own, *now);
        let Held { family, bounds, series, .. } = &mut **held;
        let known = labels.id_of(text);
        let time = if point.time() == 0 { *received } else { point.time() };
        if point.flags() & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            // The sender says that the series has ended.
            let ended = known.and_then(|it| series.remove(&it));
            let last = ended.as_ref().map_or(0, |it| it.time);
            follow.end(family, text, ended.as_ref().map(|it| &it.value), last, Some(time));
            if let Some(ended) = ended {
                **n_series -= usize::from(!ended.is_own);
                labels.release(ended.labels);
            }
            return Ok(());
        }
        let value = point.value(family.kind, bounds)?;
        if let Some(known) = known.and_then(|it| series.get_mut(&it)) {
            if limits.is_late(time, known.time) {
                return Err(DropReason::OutOfOrder);
            }
            follow.point(family, text, &value, time);
            **n_series += usize::from(known.is_own && !is_own);
            **n_series -= usize::from(!known.is_own && is_own);
            (known.value, known.time, known.updated, known.is_own) = (value.into(), time, now, is_own);
            return Ok(());
        }
        if !is_own && **n_series >= limits.max_series {
            return Err(DropReason::MaxSeries);
        }
        follow.point(family, text, &value, time);
        let (id, labels) = labels.intern(text);
        series.insert(id, Series { labels, value: value.into(), time, updated: now, is_own });
        **n_series += usize::from(!is_own);
        Ok(())
    }
}

impl Limits {
    /// Returns whether a point of that time cannot follow the one before. One whose time is unknown always can.
    const fn is_late(&self, time: u64, before: u64) -> bool {
        match self.resolution {
            0 => time != 0 && time < before,
            step => time / step <= before / step,
        }
    }
}

impl Labels {
    fn id_of(&self, text: &str) -> Option<LabelsId> {
        self.ids.get(text).copied()
    }

    /// Returns the number of labels and their one copy.
    fn intern(&mut self, text: &str) -> (LabelsId, Arc<str>) {
        if let Some((labels, id)) = self.ids.get_key_value(text) {
            return (*id, Arc::clone(labels));
        }
        let (id, labels) = (self.next, Arc::from(text));
        self.next += 1;
        self.ids.insert(Arc::clone(&labels), id);
        (id, labels)
    }

    /// Forgets the labels of a series that is gone, if no other one has them.
    fn release(&mut self, labels: Arc<str>) {
        // The copy that was given, and the one that finds them.
        if Arc::strong_count(&labels) == 2 {
            self.ids.remove(&labels);
        }
    }
}

impl<V> Series<V> {
    fn is_expired(&self, now: Instant, expiration: Duration) -> bool {
        now.saturating_duration_since(self.updated) >= expiration
    }
}

/// Returns every name that a family takes for itself and its samples.
fn reserved_names(base: &str, kind: Type) -> impl Iterator<Item = String> {
    kind.suffixes().iter().map(move |it| format!("{base}{it}"))
}
