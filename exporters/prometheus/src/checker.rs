//! A strict reader of the formats that the exporter writes, for tests: it accepts nothing that the formats forbid.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::Type;

use crate::negotiate::Format;

/// Samples by name and labels, as they were written.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Reads a whole answer.
///
/// Checks the grammar of every line; that each family is declared once, before its samples, which stand together; that
/// no sample is there twice; that labels are unique; that counters are not negative; that buckets are cumulative, in
/// ascending order, and end with the count; in OpenMetrics the end and the units.
pub(crate) fn check(text: &str, format: Format) -> Result<Samples, String> {
    let text = match format {
        Format::Text => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").ok_or("the end is missing")?,
    };
    let mut checker = Checker { format, families: BTreeSet::new(), family: None, samples: Samples::new() };
    for line in text.split_inclusive('\n') {
        let read = match line.strip_suffix('\n') {
            None => Err("no line feed".to_owned()),
            Some(line) => checker.line(line),
        };
        read.map_err(|err| format!("{err}: {line:?}"))?;
    }
    checker.end_family()?;
    Ok(checker.samples)
}

struct Checker {
    format: Format,
    families: BTreeSet<String>,
    family: Option<Family>,
    samples: Samples,
}

#[derive(Default)]
struct Family {
    name: String,
    kind: Option<Type>,
    /// Histograms by their labels.
    histograms: BTreeMap<String, Histogram>,
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
}

impl Checker {
    fn line(&mut self, line: &str) -> Result<(), String> {
        match line.strip_prefix("# ") {
            Some(comment) => self.comment(comment),
            None => self.sample(line),
        }
    }

    fn comment(&mut self, comment: &str) -> Result<(), String> {
        let mut words = comment.splitn(3, ' ');
        let (Some(keyword), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return Err("a comment has three parts".to_owned());
        };
        if !is_name(name, true) {
            return Err("not a name".to_owned());
        }
        if self.family.as_ref().is_none_or(|it| it.name != name) {
            self.end_family()?;
            if !self.families.insert(name.to_owned()) {
                return Err("a family is declared twice".to_owned());
            }
            self.family = Some(Family { name: name.to_owned(), ..Family::default() });
        }
        let Some(family) = &mut self.family else { return Err("no family".to_owned()) };
        match (keyword, self.format) {
            ("HELP", _) if family.kind.is_some() => Err("the help comes after the type".to_owned()),
            ("HELP", Format::Text) => unescape(rest, "\\n").map(drop),
            ("HELP", Format::OpenMetrics) => unescape(rest, "\\n\"").map(drop),
            ("TYPE", _) if family.kind.is_some() => Err("the type is declared twice".to_owned()),
            ("TYPE", format) => {
                family.kind = Some(match (rest, format) {
                    ("counter", _) => Type::Counter,
                    ("gauge", _) => Type::Gauge,
                    ("histogram", _) => Type::Histogram,
                    ("summary", _) => Type::Summary,
                    ("info", Format::OpenMetrics) => Type::Info,
                    _ => return Err("no such type".to_owned()),
                });
                Ok(())
            }
            ("UNIT", Format::OpenMetrics) => match name.strip_suffix(rest) {
                Some(stem) if stem.ends_with('_') => Ok(()),
                _ => Err("the unit is not the end of the name".to_owned()),
            },
            _ => Err("no such comment".to_owned()),
        }
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line.rsplit_once(' ').ok_or("no value")?;
        let value: f64 = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            "NaN" => f64::NAN,
            number if number.contains(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e')) => {
                return Err("not a number".to_owned());
            }
            number => number.parse().map_err(|_error| "not a number")?,
        };
        let (name, labels) = match key.split_once('{') {
            None => (key, Vec::new()),
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').ok_or("no closing brace")?)?),
        };
        if !is_name(name, true) {
            return Err("not a name".to_owned());
        }
        let Some(family) = &mut self.family else { return Err("a sample without a family".to_owned()) };
        family.sample(name, &labels, value, self.format)?;
        if self.samples.insert(key.to_owned(), value).is_some() {
            return Err("the sample is there twice".to_owned());
        }
        Ok(())
    }

    fn end_family(&mut self) -> Result<(), String> {
        let Some(Family { name, kind, histograms }) = self.family.take() else { return Ok(()) };
        if kind.is_none() {
            return Err(format!("{name} has no type"));
        }
        for Histogram { buckets, count } in histograms.values() {
            let ascend = buckets.windows(2).all(|it| it[0].0 < it[1].0 && it[0].1 <= it[1].1);
            let last = buckets.last().ok_or_else(|| format!("{name} has no bucket"))?;
            if !ascend || last.0 != f64::INFINITY || Some(last.1) != *count {
                return Err(format!("{name} is no cumulative histogram: {buckets:?}, {count:?}"));
            }
        }
        Ok(())
    }
}

impl Family {
    fn sample(
        &mut self,
        name: &str,
        labels: &[(&str, String)],
        value: f64,
        format: Format,
    ) -> Result<(), String> {
        let Some(kind) = self.kind else { return Err("a sample before the type".to_owned()) };
        let base = match (format, kind) {
            (Format::Text, Type::Counter) => {
                self.name.strip_suffix("_total").ok_or("a counter without _total")?
            }
            _ => &self.name,
        };
        let suffix = name.strip_prefix(base).ok_or("a sample of another family")?;
        let label = |name: &str| labels.iter().find(|(it, _)| *it == name).map(|(_, value)| value.as_str());
        let others = || {
            let others = labels.iter().filter(|(it, _)| *it != "le");
            others.map(|(name, value)| format!("{name}={value:?},")).collect::<String>()
        };
        match (kind, suffix) {
            (Type::Counter, "_total") if value >= 0.0 => Ok(()),
            (Type::Gauge, "") | (Type::Histogram | Type::Summary, "_sum") => Ok(()),
            (Type::Info, "_info") if value == 1.0 => Ok(()),
            (Type::Summary, "_count") if value >= 0.0 => Ok(()),
            (Type::Summary, "") => number_of(label("quantile")).map(drop),
            (Type::Histogram, "_bucket") => {
                let bound = number_of(label("le"))?;
                self.histograms.entry(others()).or_default().buckets.push((bound, value));
                Ok(())
            }
            (Type::Histogram, "_count") => {
                self.histograms.entry(others()).or_default().count = Some(value);
                Ok(())
            }
            _ => Err(format!("not a sample of a {kind:?}")),
        }
    }
}

/// Reads the value of `le` or `quantile`, which is canonical: it has a point or an exponent.
fn number_of(text: Option<&str>) -> Result<f64, String> {
    match text {
        None => Err("the label with the number is missing".to_owned()),
        Some("+Inf") => Ok(f64::INFINITY),
        Some(text) if text.contains(['.', 'e']) => {
            text.parse().map_err(|_error| format!("{text} is no number"))
        }
        Some(text) => Err(format!("{text} is not canonical")),
    }
}

fn labels(text: &str) -> Result<Vec<(&str, String)>, String> {
    let mut labels = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, false) {
            return Err(format!("{name:?} is no label"));
        }
        if labels.iter().any(|(it, _)| *it == name) {
            return Err(format!("{name} is there twice"));
        }
        let mut escaped = false;
        let end = after.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let end = end.ok_or("a value without an end")?;
        let value = unescape(&after[..end], "\\n\"")?;
        if value.is_empty() {
            return Err(format!("{name} is empty"));
        }
        labels.push((name, value));
        rest = match &after[end + 1..] {
            "" => "",
            more => more.strip_prefix(',').filter(|it| !it.is_empty()).ok_or("no comma between labels")?,
        };
    }
    Ok(labels)
}

fn unescape(text: &str, allowed: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(c) if allowed.contains(c) => out.push(c),
                _ => return Err("an escape that does not exist".to_owned()),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

fn is_name(text: &str, colons: bool) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

#[test]
fn what_the_formats_forbid_is_refused() {
    for text in [
        "a 1\n",
        "# TYPE a gauge\na 1",
        "# TYPE a gauge\na 1\na 2\n",
        "# TYPE a gauge\nb 1\n",
        "# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n",
        "# TYPE a gauge\na{x=\"\"} 1\n",
        "# TYPE a gauge\na{x=\"\\t\"} 1\n",
        "# TYPE a gauge\na{x=\"1\"y=\"2\"} 1\n",
        "# TYPE a gauge\na one\n",
        "# TYPE a gauge\na infinity\n",
        "# TYPE a gauge\n# TYPE a gauge\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n",
        "# TYPE a counter\na 1\n",
        "# TYPE a_total counter\na_total -1\n",
        "# TYPE a histogram\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 0\na_count 0\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"1.0\"} 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 2\n",
        "# HELP a \\x\n# TYPE a gauge\n",
        "# HELP a text\na 1\n",
    ] {
        assert!(check(text, Format::Text).is_err(), "{text}");
    }
    assert!(check("# TYPE a gauge\n", Format::OpenMetrics).is_err());
    assert!(check("# TYPE a_b gauge\n# UNIT a_b c\n# EOF\n", Format::OpenMetrics).is_err());
    let good = "# TYPE a histogram\na_bucket{le=\"1.0\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 2\n";
    assert_eq!(check(good, Format::Text).map(|it| it.len()), Ok(4));
}
