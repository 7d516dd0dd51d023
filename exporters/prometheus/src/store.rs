use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    mem,
    ops::{Bound, Range},
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{AggregationTemporality, DataPointFlags, Metric, metric::Data},
};

use crate::{
    encode,
    labels::LabelWriter,
    metrics::{DropReason, Drops},
    names::{self, FamilyName, Type},
    negotiate::Format,
    value::{Point, SharedBounds, Value},
};

/// The series that a scrape shows: families by name, in each the series in the order in which they came.
#[derive(Debug)]
pub(crate) struct Store {
    limits: Limits,
    families: BTreeMap<Arc<str>, Family>,
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
pub(crate) struct Limits {
    pub(crate) max_series: usize,
    pub(crate) expiration: Duration,
}

/// All series of one metric.
#[derive(Debug)]
struct Family {
    kind: Type,
    unit: Option<String>,
    help: String,
    bounds: SharedBounds,
    /// Tells a family from one of the same name that came after it.
    number: u64,
    series: BTreeMap<LabelsId, Series>,
}

#[derive(Debug)]
struct Series {
    labels: Arc<str>,
    value: Value,
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
pub(crate) struct Source<'a> {
    /// Labels that every series of the source gets: `job` and `instance`, the scope's.
    pub(crate) labels: Vec<(&'static str, Cow<'a, str>)>,
    /// Whether the points are this process's own telemetry: few, of known names, and never counted as dropped.
    pub(crate) is_own: bool,
}

/// Where a scrape goes on.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The family with its number, and the labels of the last series that was written.
    last: Option<(Arc<str>, u64, LabelsId)>,
    /// Labels from here on are newer than the scrape. They wait for the next one: a series that went and came back must
    /// not be written a second time.
    end: Option<LabelsId>,
}

/// Where a sweep goes on.
#[derive(Debug)]
pub(crate) struct Swept {
    name: Arc<str>,
    /// The last series that was looked at; none if that was the family's last.
    last: Option<LabelsId>,
}

impl Store {
    pub(crate) fn new(limits: Limits) -> Self {
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
    pub(crate) fn put(&mut self, metric: &Metric, range: Range<usize>, source: &Source<'_>, now: Instant) {
        let is_cumulative = |temporality: i32| temporality == AggregationTemporality::Cumulative as i32;
        let is_delta = |temporality: i32| temporality == AggregationTemporality::Delta as i32;
        let n = range.len();
        let refused = match &metric.data {
            None => return,
            Some(Data::Gauge(data)) => {
                return self.put_points(metric, Type::Gauge, &data.data_points[range], source, now);
            }
            Some(Data::Sum(data)) if is_cumulative(data.aggregation_temporality) => {
                let kind = if data.is_monotonic { Type::Counter } else { Type::Gauge };
                return self.put_points(metric, kind, &data.data_points[range], source, now);
            }
            Some(Data::Histogram(data)) if is_cumulative(data.aggregation_temporality) => {
                return self.put_points(metric, Type::Histogram, &data.data_points[range], source, now);
            }
            Some(Data::Summary(data)) => {
                return self.put_points(metric, Type::Summary, &data.data_points[range], source, now);
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
    pub(crate) fn put_target(&mut self, attributes: &[KeyValue], source: &Source<'_>, now: Instant) {
        let name = FamilyName { base: "target".to_owned(), unit: None };
        let Ok(name) = self.open_family(name, Type::Info, "Attributes of the resource.", source) else {
            self.drops.n_targets += 1;
            return;
        };
        let Self { limits, families, labels, writer, scratch, n_series, drops, .. } = self;
        let Some(family) = families.get_mut(&name) else { return };
        scratch.clear();
        writer.write(attributes, &source.labels, None, scratch);
        if let Some(known) = labels.id_of(scratch).and_then(|it| family.series.get_mut(&it)) {
            known.updated = now;
        } else if *n_series < limits.max_series {
            let (id, labels) = labels.intern(scratch);
            let series = Series { labels, value: Value::Int(1), time: 0, updated: now, is_own: false };
            family.series.insert(id, series);
            *n_series += 1;
        } else {
            drops.n_targets += 1;
        }
    }

    /// Forgets what has expired among the next `limit` series of one family, and returns where to go on, if there is more.
    pub(crate) fn expire_next(&mut self, from: Option<Swept>, now: Instant, limit: usize) -> Option<Swept> {
        let (name, after) = match &from {
            None => (Bound::Unbounded, None),
            Some(Swept { name, last: None }) => (Bound::Excluded(&**name), None),
            Some(Swept { name, last: Some(id) }) => (Bound::Included(&**name), Some((name, *id))),
        };
        let (name, family) = self.families.range_mut::<str, _>((name, Bound::Unbounded)).next()?;
        let after = match after {
            Some((it, id)) if it == name => Bound::Excluded(id),
            _ => Bound::Unbounded,
        };
        let (mut expired, mut n_seen, mut last) = (Vec::new(), 0, None);
        for (id, series) in family.series.range((after, Bound::Unbounded)).take(limit) {
            n_seen += 1;
            last = Some(*id);
            if series.is_expired(now, self.limits.expiration) {
                expired.push(*id);
            }
        }
        for series in expired.iter().filter_map(|it| family.series.remove(it)) {
            self.n_series -= usize::from(!series.is_own);
            self.labels.release(series.labels);
        }
        let name = Arc::clone(name);
        self.close_family_if_empty(&name);
        Some(Swept { name, last: last.filter(|_| n_seen == limit) })
    }

    /// Writes series from the cursor on, until `out` is longer than `limit`. Returns whether there are more.
    pub(crate) fn render(
        &self,
        cursor: &mut Cursor,
        format: Format,
        now: Instant,
        limit: usize,
        out: &mut String,
    ) -> bool {
        let last = cursor.last.take();
        let end = *cursor.end.get_or_insert(self.labels.next);
        let from = last.as_ref().map_or(Bound::Unbounded, |(name, ..)| Bound::Included(&**name));
        for (name, family) in self.families.range::<str, _>((from, Bound::Unbounded)) {
            let resumed = last.as_ref().filter(|(it, ..)| it == name);
            let after = match resumed {
                // Its header was another one's.
                Some((_, number, _)) if *number != family.number => continue,
                Some((_, _, id)) => Bound::Excluded(*id),
                None => Bound::Unbounded,
            };
            let mut has_header = resumed.is_some();
            for (id, series) in family.series.range((after, Bound::Excluded(end))) {
                if series.is_expired(now, self.limits.expiration) {
                    continue;
                }
                if !has_header {
                    let Family { kind, unit, help, .. } = family;
                    encode::header(name, *kind, unit.as_deref(), help, format, out);
                    has_header = true;
                }
                encode::series(name, family.kind, &series.labels, &series.value, out);
                if out.len() >= limit {
                    cursor.last = Some((Arc::clone(name), family.number, *id));
                    return true;
                }
            }
        }
        false
    }

    /// Returns how many series count towards the limit.
    pub(crate) fn n_series(&self) -> usize {
        self.n_series
    }

    /// Returns what was dropped since the last call.
    pub(crate) fn take_drops(&mut self) -> Drops {
        mem::take(&mut self.drops)
    }

    fn put_points<P: Point>(
        &mut self,
        metric: &Metric,
        kind: Type,
        points: &[P],
        source: &Source<'_>,
        now: Instant,
    ) {
        let opened = match names::translate(&metric.name, &metric.unit, kind) {
            Some(name) => self.open_family(name, kind, &metric.description, source),
            None => Err(DropReason::InvalidName),
        };
        match opened {
            Err(reason) => self.drop_points(reason, points.len(), source),
            Ok(name) => {
                self.put_into(&name, points, source, now);
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
        if let Some((name, family)) = self.families.get_key_value(base.as_str()) {
            return if family.kind == kind { Ok(Arc::clone(name)) } else { Err(DropReason::NameConflict) };
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
        let family = Family { kind, unit, help: help.to_owned(), bounds, number, series: BTreeMap::new() };
        self.families.insert(Arc::clone(&name), family);
        Ok(name)
    }

    fn put_into(&mut self, name: &Arc<str>, points: &[impl Point], source: &Source<'_>, now: Instant) {
        let Self { limits, families, labels, writer, scratch, n_series, drops, .. } = self;
        let Some(family) = families.get_mut(name) else { return };
        let reserved = family.kind.reserved_label();
        let is_own = source.is_own;
        let mut intake = Intake { family, labels, n_series, max_series: limits.max_series, is_own, now };
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
        if let Some(family) = self.families.get(name)
            && family.series.is_empty()
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
struct Intake<'a> {
    family: &'a mut Family,
    labels: &'a mut Labels,
    n_series: &'a mut usize,
    max_series: usize,
    is_own: bool,
    now: Instant,
}

impl Intake<'_> {
    /// Takes a point of the series with these labels.
    fn put(&mut self, point: &impl Point, text: &str) -> Result<(), DropReason> {
        let Self { family, labels, n_series, max_series, is_own, now } = self;
        let (is_own, now) = (*is_own, *now);
        let known = labels.id_of(text);
        if point.flags() & DataPointFlags::NoRecordedValueMask as u32 != 0 {
            // The sender says that the series has ended.
            if let Some(series) = known.and_then(|it| family.series.remove(&it)) {
                **n_series -= usize::from(!series.is_own);
                labels.release(series.labels);
            }
            return Ok(());
        }
        let value = point.value(family.kind, &mut family.bounds)?;
        let time = point.time();
        if let Some(known) = known.and_then(|it| family.series.get_mut(&it)) {
            if time != 0 && time < known.time {
                return Err(DropReason::OutOfOrder);
            }
            **n_series += usize::from(known.is_own && !is_own);
            **n_series -= usize::from(!known.is_own && is_own);
            (known.value, known.time, known.updated, known.is_own) = (value, time, now, is_own);
            return Ok(());
        }
        if !is_own && **n_series >= *max_series {
            return Err(DropReason::MaxSeries);
        }
        let (id, labels) = labels.intern(text);
        family.series.insert(id, Series { labels, value, time, updated: now, is_own });
        **n_series += usize::from(!is_own);
        Ok(())
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

impl Series {
    fn is_expired(&self, now: Instant, expiration: Duration) -> bool {
        now.saturating_duration_since(self.updated) >= expiration
    }
}

/// Returns every name that a family takes for itself and its samples.
fn reserved_names(base: &str, kind: Type) -> impl Iterator<Item = String> {
    kind.suffixes().iter().map(move |it| format!("{base}{it}"))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
