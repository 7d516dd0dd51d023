//! The text that Prometheus scrapes (version 0.0.4), read strictly: what a lenient reader would pass over is an error.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};

/// The labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, BTreeMap<Labels, f64>>,
}

impl Exposition {
    /// Reads a scrape.
    ///
    /// # Errors
    ///
    /// Names the line that is malformed, that repeats a series, that has an empty label or a timestamp, or that belongs
    /// to no declared type.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut exposition = Self::default();
        let mut helped = BTreeSet::new();
        for (idx, line) in text.lines().enumerate() {
            exposition
                .line(line, &mut helped)
                .with_context(|| format!("line {} of the scrape is wrong: {line}", idx + 1))?;
        }
        ensure!(text.is_empty() || text.ends_with('\n'), "the scrape is cut off: its last line has no end");
        Ok(exposition)
    }

    /// Returns the series of a name with their values.
    pub fn series(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        self.samples.get(name).into_iter().flatten().map(|(labels, value)| (labels, *value))
    }

    /// Returns the names of all series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    /// Returns the sum over all series of a name that have a label's value.
    pub fn sum(&self, name: &str, label: (&str, &str)) -> f64 {
        let matching =
            self.series(name).filter(|(labels, _)| labels.get(label.0).is_some_and(|it| it == label.1));
        matching.map(|(_, value)| value).sum()
    }

    fn line(&mut self, line: &str, helped: &mut BTreeSet<String>) -> anyhow::Result<()> {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').unwrap_or((help, ""));
            ensure!(helped.insert(name.to_owned()), "a second HELP");
            return Ok(());
        }
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').context("a TYPE without a type")?;
            ensure!(
                ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind),
                "an unknown type"
            );
            ensure!(self.types.insert(name.to_owned(), kind.to_owned()).is_none(), "a second TYPE");
            return Ok(());
        }
        if line.starts_with('#') {
            return Ok(());
        }
        self.sample(line)
    }

    fn sample(&mut self, line: &str) -> anyhow::Result<()> {
        let end = line.find(['{', ' ']).context("neither labels nor a value")?;
        let (name, rest) = line.split_at(end);
        ensure!(is_name(name, ":"), "the name is malformed");
        ensure!(self.is_declared(name), "no TYPE came before");
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Labels::new(), rest),
        };
        let value = value.strip_prefix(' ').context("no space before the value")?;
        ensure!(!value.contains(' '), "a timestamp, or something else after the value");
        let value = match value {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            other => other.parse().context("the value is no number")?,
        };
        let former = self.samples.entry(name.to_owned()).or_default().insert(labels, value);
        ensure!(former.is_none(), "the series came before");
        Ok(())
    }

    fn is_declared(&self, name: &str) -> bool {
        let of_histogram =
            ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
        self.types.contains_key(name)
            || of_histogram
                .into_iter()
                .any(|name| self.types.get(name).is_some_and(|kind| kind == "histogram"))
    }
}

/// Reads labels behind the opening brace, and returns what follows the closing one.
fn labels(text: &str) -> anyhow::Result<(Labels, &str)> {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name, ""), "the label `{name}` is malformed");
        let (value, behind) = quoted(behind)?;
        ensure!(!value.is_empty(), "the label `{name}` is empty");
        ensure!(labels.insert(name.to_owned(), value).is_none(), "the label `{name}` comes twice");
        ensure!(behind.starts_with([',', '}']), "something else than a comma behind the label `{name}`");
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
}

/// Reads a value behind its opening quote, and returns what follows the closing one.
fn quoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((idx, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[idx + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => bail!("an unknown escape"),
            },
            other => value.push(other),
        }
    }
    bail!("a label without an end")
}

fn is_name(text: &str, also: &str) -> bool {
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || it == '_' || also.contains(it);
    !text.is_empty() && !text.starts_with(|it: char| it.is_ascii_digit()) && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() {
        let text = "# HELP x_total What.\n# TYPE x_total counter\nx_total{a=\"1\",b=\"\\\"\\n,}\"} 3\nx_total 4\n\
                    # TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\nh_count 1\n";
        let exposition = Exposition::parse(text).unwrap();
        let series: Vec<_> = exposition.series("x_total").collect();
        let labels = Labels::from([("a".into(), "1".into()), ("b".into(), "\"\n,}".into())]);
        assert_eq!(series, [(&Labels::new(), 4.0), (&labels, 3.0)]);
        assert_eq!(exposition.sum("x_total", ("a", "1")), 3.0);
        assert_eq!(exposition.names().collect::<Vec<_>>(), ["h_bucket", "h_count", "h_sum", "x_total"]);
    }

    /// Each is something that a lenient reader would pass over.
    #[test]
    fn what_is_not_as_specified_is_an_error() {
        for (line, expected) in [
            ("x_total{a=\"1\"} 3\nx_total{a=\"1\"} 3", "the series came before"),
            ("x_total{a=\"1\"} 3 1700000000000", "a timestamp"),
            ("x_total{a=\"\"} 3", "the label `a` is empty"),
            ("x_total{a=\"1\",a=\"2\"} 3", "the label `a` comes twice"),
            ("x_total{a=\"1} 3", "a label without an end"),
            ("x_total{a=\"\\t\"} 3", "an unknown escape"),
            ("x_total{a=\"1\";b=\"2\"} 3", "something else than a comma"),
            ("x_total{1a=\"1\"} 3", "the label `1a` is malformed"),
            ("x_total three", "the value is no number"),
            ("x_total", "neither labels nor a value"),
            ("y_total 3", "no TYPE came before"),
            ("x_total_sum 3", "no TYPE came before"),
            ("# TYPE x_total counter", "a second TYPE"),
        ] {
            let text = format!("# TYPE x_total counter\n{line}\n");
            let error = format!("{:#}", Exposition::parse(&text).unwrap_err());
            assert!(error.contains(expected), "{expected} is missing in: {error}");
        }
    }

    #[test]
    fn a_cut_off_scrape_is_an_error() {
        Exposition::parse("# TYPE x_total counter\nx_total 3").unwrap_err();
    }
}
