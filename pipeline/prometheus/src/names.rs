//! Names of metrics, by the specification's translation from OpenTelemetry to Prometheus.
//!
//! <https://github.com/open-telemetry/opentelemetry-specification/blob/v1.45.0/specification/compatibility/prometheus_and_openmetrics.md#metric-metadata-1>

/// What Prometheus calls the type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number that only goes up.
    Counter,
    /// A number.
    Gauge,
    /// Counts of what lies between bounds.
    Histogram,
    /// Quantiles that the sender computed.
    Summary,
    /// Nothing but its labels.
    Info,
}

impl Type {
    /// What is appended to the name of the family to name its samples, and what else the family may not share with
    /// another one: OpenMetrics reserves all of these.
    pub const fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge => &[""],
            Self::Histogram => &["", "_bucket", "_sum", "_count", "_created"],
            Self::Summary => &["", "_sum", "_count", "_created"],
            Self::Info => &["", "_info"],
        }
    }

    /// Returns what is appended to the name of the family to name its one sample; of those with several, the ones without a
    /// suffix of their own.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Summary => "",
        }
    }

    /// Returns the label that the samples of the type need for themselves.
    pub const fn reserved_label(self) -> Option<&'static str> {
        match self {
            Self::Histogram => Some("le"),
            Self::Summary => Some("quantile"),
            Self::Counter | Self::Gauge | Self::Info => None,
        }
    }
}

/// The name of a family of series, without the suffix of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FamilyName {
    /// The name, unit included.
    pub(crate) base: String,
    /// The unit, if the name ends with it: OpenMetrics wants the unit to be a suffix.
    pub(crate) unit: Option<String>,
}

/// Translates a metric's name and unit; `None` if the name has no letter or digit.
///
/// A unit that is a word of the name already is not repeated, wherever it stands: Prometheus' own OTLP receiver does the
/// same, and a scrape must not yield other names than a push.
pub(crate) fn translate(name: &str, unit: &str, kind: Type) -> Option<FamilyName> {
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    let mut words: Vec<&str> = name.split(is_separator).filter(|it| !it.is_empty()).collect();
    let Unit { main, per } = Unit::parse(unit);
    if !main.is_empty() && !words.contains(&main.as_str()) {
        words.push(&main);
    }
    if !per.is_empty() && !words.ends_with(&["per", per.as_str()]) {
        words.extend(["per", per.as_str()]);
    }
    match kind {
        Type::Counter => words.retain(|it| *it != "total"),
        Type::Gauge if unit == "1" => {
            words.retain(|it| *it != "ratio");
            words.push("ratio");
        }
        Type::Gauge | Type::Histogram | Type::Summary | Type::Info => {}
    }
    let mut base = words.join("_");
    if base.is_empty() {
        return None;
    }
    if base.starts_with(|c: char| c.is_ascii_digit()) {
        base.insert(0, '_');
    }
    let phrase = match (main.as_str(), per.as_str()) {
        ("", "") if words.ends_with(&["ratio"]) && unit == "1" => "ratio".to_owned(),
        (main, "") => main.to_owned(),
        ("", per) => format!("per_{per}"),
        (main, per) => format!("{main}_per_{per}"),
    };
    let is_suffix = base.strip_suffix(&phrase).is_some_and(|it| it.ends_with('_'));
    Some(FamilyName { base, unit: (is_suffix && !phrase.is_empty()).then_some(phrase) })
}

/// The words for a UCUM unit: `By/s` is bytes, per second.
#[derive(Debug, Default)]
struct Unit {
    main: String,
    per: String,
}

impl Unit {
    fn parse(unit: &str) -> Self {
        let (main, per) = match unit.split_once('/') {
            Some((main, per)) => (main.trim(), per.trim()),
            None => (unit.trim(), ""),
        };
        // What stands in braces only annotates.
        let word = |text: &str, known: fn(&str) -> Option<&'static str>| match text {
            _ if text.contains(['{', '}']) => String::new(),
            _ => known(text).map_or_else(|| clean(text), str::to_owned),
        };
        Self { main: word(main, plural), per: word(per, singular) }
    }
}

/// Reduces a unit that is not in the tables to letters and digits between single underscores.
fn clean(unit: &str) -> String {
    let is_separator = |c: char| !(c.is_ascii_alphanumeric() || c == ':');
    unit.split(is_separator).filter(|it| !it.is_empty()).collect::<Vec<_>>().join("_")
}

fn plural(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "1" => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        _ => return None,
    })
}

fn singular(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_become_underscores() {
        check(
            "ridley.link.connections.opened",
            "{connection}",
            Type::Counter,
            "ridley_link_connections_opened",
            None,
        );
    }

    #[test]
    fn the_unit_is_appended_as_a_word() {
        check("ridley.link.rtt", "s", Type::Histogram, "ridley_link_rtt_seconds", Some("seconds"));
        check("disk.speed", "By/s", Type::Gauge, "disk_speed_bytes_per_second", Some("bytes_per_second"));
        check("queue.drain", "{item}/s", Type::Gauge, "queue_drain_per_second", Some("per_second"));
        check("room.heat", "J/m2", Type::Gauge, "room_heat_joules_per_m2", Some("joules_per_m2"));
        check("odd", "furlongs", Type::Gauge, "odd_furlongs", Some("furlongs"));
    }

    #[test]
    fn a_unit_that_is_there_is_not_repeated() {
        check("ridley.link.bytes", "By", Type::Counter, "ridley_link_bytes", Some("bytes"));
        check(
            "http.requests_per_second",
            "{request}/s",
            Type::Gauge,
            "http_requests_per_second",
            Some("per_second"),
        );
    }

    /// OpenMetrics refuses a UNIT that is not the end of the name.
    #[test]
    fn a_unit_inside_the_name_is_not_declared() {
        check("bytes.sent", "By", Type::Counter, "bytes_sent", None);
        check("seconds", "s", Type::Gauge, "seconds", None);
    }

    /// The encoder appends `_total`, once.
    #[test]
    fn the_base_of_a_counter_has_no_total() {
        check("requests.total", "{request}", Type::Counter, "requests", None);
        check("requests_total", "1", Type::Counter, "requests", None);
        check("bytes.total", "", Type::Gauge, "bytes_total", None);
    }

    #[test]
    fn only_gauges_are_ratios() {
        check("cpu.utilization", "1", Type::Gauge, "cpu_utilization_ratio", Some("ratio"));
        check("hit.ratio", "1", Type::Gauge, "hit_ratio", Some("ratio"));
        check("requests", "1", Type::Histogram, "requests", None);
    }

    #[test]
    fn a_name_does_not_begin_with_a_digit() {
        check("5xx.responses", "{response}", Type::Counter, "_5xx_responses", None);
    }

    #[test]
    fn repeated_and_outer_separators_vanish() {
        check("__a..b--c__", "", Type::Gauge, "a_b_c", None);
    }

    #[test]
    fn a_name_without_letters_is_none() {
        for name in ["", "...", "total", "\u{e9}"] {
            assert_eq!(translate(name, "", Type::Counter), None, "{name}");
        }
    }

    proptest! {
        /// Whatever comes in, what comes out is a name, and a declared unit is its last part.
        #[test]
        fn every_name_is_valid(name in any_text(), unit in any_text(), gauge: bool) {
            let kind = if gauge { Type::Gauge } else { Type::Counter };
            if let Some(FamilyName { base, unit }) = translate(&name, &unit, kind) {
                prop_assert!(!base.starts_with(|c: char| c.is_ascii_digit()));
                prop_assert!(base.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'));
                prop_assert!(!base.contains("__"), "{base}");
                if let Some(unit) = unit {
                    prop_assert!(base.ends_with(&["_", unit.as_str()].concat()));
                }
            }
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z._]{0,12}",
            "[A-Za-z0-9_.:/{} -]{0,12}",
            any::<String>(),
            Just("By/s".to_owned()),
            Just("1".to_owned())
        ]
    }

    #[track_caller]
    fn check(name: &str, unit: &str, kind: Type, base: &str, suffix: Option<&str>) {
        let expected = FamilyName { base: base.to_owned(), unit: suffix.map(str::to_owned) };
        assert_eq!(translate(name, unit, kind), Some(expected));
    }
}
