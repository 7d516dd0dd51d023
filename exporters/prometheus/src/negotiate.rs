//! What a scraper accepts, by its request headers.
//!
//! <https://github.com/prometheus/docs/blob/main/docs/instrumenting/content_negotiation.md>

use axum::http::{HeaderMap, HeaderName, header};

/// A format that a scrape can be answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format that the request prefers, text if it does not say.
    ///
    /// Of two that are equally welcome the first that is named wins.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Self {
        let mut best: Option<(f32, Self)> = None;
        for range in elements(headers, header::ACCEPT) {
            if let Some(format) = Self::of(&range)
                && range.quality > best.map_or(0.0, |(quality, _)| quality)
            {
                best = Some((range.quality, format));
            }
        }
        best.map_or(Self::Text, |(_, format)| format)
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn of(range: &Element) -> Option<Self> {
        match (range.value.as_str(), range.version.as_deref()) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Some(Self::OpenMetrics),
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", None) => Some(Self::Text),
            _ => None,
        }
    }
}

/// Returns whether the answer may be compressed with gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let quality_of = |coding: &str| {
        let mut found = elements(headers, header::ACCEPT_ENCODING).filter(|it| it.value == coding);
        found.next().map(|it| it.quality)
    };
    quality_of("gzip").or_else(|| quality_of("*")).is_some_and(|it| it > 0.0)
}

/// One element of a list header.
struct Element {
    /// In lower case, without parameters.
    value: String,
    version: Option<String>,
    /// From 0 to 1; 0 means "not this".
    quality: f32,
}

fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Element> {
    let values = headers.get_all(name).into_iter().filter_map(|it| it.to_str().ok());
    values.flat_map(|it| it.split(',')).map(Element::parse)
}

impl Element {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let value = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut element = Self { value, version: None, quality: 1.0 };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => {
                    // A quality that cannot be read is none: rather the safe format than a wrong one.
                    let quality = value.parse().unwrap_or(0.0_f32);
                    element.quality = if (0.0..=1.0).contains(&quality) { quality } else { 0.0 };
                }
                "version" => element.version = Some(value.to_owned()),
                _ => {}
            }
        }
        element
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn prometheus_2_gets_openmetrics() {
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
    }

    #[test]
    fn prometheus_3_gets_openmetrics() {
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            Format::OpenMetrics,
        );
    }

    /// With native histograms on Prometheus asks for protobuf first, which there is none of.
    #[test]
    fn the_best_format_that_there_is_wins() {
        check(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            Format::OpenMetrics,
        );
    }

    #[test]
    fn whoever_does_not_ask_gets_text() {
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text);
        check("application/json", Format::Text);
    }

    #[test]
    fn the_quality_decides_and_then_the_order() {
        check("application/openmetrics-text;q=0.2, text/plain;q=0.3", Format::Text);
        check("application/openmetrics-text;q=0.5, text/plain;q=0.5", Format::OpenMetrics);
        check("text/plain, application/openmetrics-text", Format::Text);
        check("application/openmetrics-text;q=0", Format::Text);
        check("application/openmetrics-text;q=high, text/plain;q=0.1", Format::Text);
    }

    #[test]
    fn other_versions_are_not_promised() {
        check("application/openmetrics-text; version=2.0.0, text/plain; q=0.1", Format::Text);
        check("Application/OpenMetrics-Text ; Version=\"1.0.0\"", Format::OpenMetrics);
    }

    #[test]
    fn gzip_is_used_where_it_is_welcome() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
            ("gzip;q=0.0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    /// A list may be spread over several header lines.
    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, HeaderValue::from_static("text/plain;q=0.1"));
        headers.append(header::ACCEPT, HeaderValue::from_static("application/openmetrics-text"));
        assert_eq!(Format::negotiate(&headers), Format::OpenMetrics);
    }

    #[track_caller]
    fn check(accept: &'static str, expected: Format) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        assert_eq!(Format::negotiate(&headers), expected);
    }
}
