use std::{fmt::Write, ops::ControlFlow, time::Instant};

use prometheus::{Cursor, Family, Histogram, Shown, Store, Summary, Type, Value, append, write_float};

use crate::negotiate::Format;

/// What ends an answer in OpenMetrics; a scraper takes an answer without it for cut off.
pub(crate) const EOF: &str = "# EOF\n";

/// Writes series from the cursor on, until `out` is longer than `limit`. Returns whether there are more.
pub(crate) fn render(
    store: &Store,
    cursor: &mut Cursor,
    format: Format,
    now: Instant,
    limit: usize,
    out: &mut String,
) -> bool {
    store.show(cursor, now, |Shown { family, is_first, labels, value }| {
        let Family { name, kind, unit, help } = family;
        if is_first {
            header(name, *kind, unit.as_deref(), help, format, out);
        }
        series(name, *kind, labels, value, out);
        if out.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Writes what stands before the series of a family.
fn header(name: &str, kind: Type, unit: Option<&str>, help: &str, format: Format, out: &mut String) {
    // In the older format a family is called like its samples, in OpenMetrics without the suffix.
    let (suffix, word) = match (format, kind) {
        (Format::Text, Type::Counter) => ("_total", "counter"),
        (Format::Text, Type::Info) => ("_info", "gauge"),
        (Format::OpenMetrics, Type::Counter) => ("", "counter"),
        (Format::OpenMetrics, Type::Info) => ("", "info"),
        (_, Type::Gauge) => ("", "gauge"),
        (_, Type::Histogram) => ("", "histogram"),
        (_, Type::Summary) => ("", "summary"),
    };
    if !help.is_empty() {
        line(out, format_args!("# HELP {name}{suffix} "));
        escape_help(help, format, out);
        out.push('\n');
    }
    line(out, format_args!("# TYPE {name}{suffix} {word}\n"));
    if let (Format::OpenMetrics, Some(unit)) = (format, unit) {
        line(out, format_args!("# UNIT {name} {unit}\n"));
    }
}

/// Writes the samples of one series. They are the same in both formats.
fn series(name: &str, kind: Type, labels: &str, value: &Value, out: &mut String) {
    match value {
        Value::Int(value) => {
            sample_name(name, kind.suffix(), labels, out);
            line(out, format_args!("{value}\n"));
        }
        Value::Float(value) => {
            sample_name(name, kind.suffix(), labels, out);
            float_line(*value, out);
        }
        Value::Histogram(histogram) => {
            let Histogram { bounds, counts, sum } = &**histogram;
            let mut cumulative = 0;
            for (bound, count) in bounds.labels.iter().zip(counts) {
                cumulative += count;
                bucket_name(name, labels, bound, out);
                line(out, format_args!("{cumulative}\n"));
            }
            if let Some(sum) = sum {
                sample_name(name, "_sum", labels, out);
                float_line(*sum, out);
            }
            sample_name(name, "_count", labels, out);
            line(out, format_args!("{cumulative}\n"));
        }
        Value::Summary(summary) => {
            let Summary { quantiles, sum, count } = &**summary;
            for (quantile, value) in quantiles {
                let mut labels = labels.to_owned();
                append("quantile", quantile, &mut labels);
                sample_name(name, "", &labels, out);
                float_line(*value, out);
            }
            sample_name(name, "_sum", labels, out);
            float_line(*sum, out);
            sample_name(name, "_count", labels, out);
            line(out, format_args!("{count}\n"));
        }
    }
}

/// Writes the name and labels of a sample, and the space before its value.
fn sample_name(name: &str, suffix: &str, labels: &str, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        out.push('{');
        out.push_str(labels);
        out.push('}');
    }
    out.push(' ');
}

fn bucket_name(name: &str, labels: &str, bound: &str, out: &mut String) {
    out.push_str(name);
    out.push_str("_bucket{");
    out.push_str(labels);
    if !labels.is_empty() {
        out.push(',');
    }
    out.push_str("le=\"");
    out.push_str(bound);
    out.push_str("\"} ");
}

fn float_line(value: f64, out: &mut String) {
    write_float(value, out);
    out.push('\n');
}

/// Escapes backslash and line feed, in OpenMetrics also the quote.
fn escape_help(help: &str, format: Format, out: &mut String) {
    for c in help.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if format == Format::OpenMetrics => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
}

fn line(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
