//! Real servers of traces: a Jaeger on loopback, or a Tempo that somebody has.

use std::{collections::BTreeMap, env, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    command::{self, Running},
    metrics_server::program,
    poll,
    ports::free_address,
};

/// Names where a Tempo is queried, such as `http://tempo:3200`. Without it traces go to a Jaeger that the tests start.
const TEMPO: &str = "RIDLEY_TEMPO";
/// Names where that Tempo takes OTLP by gRPC; by default port 4317 of the same host.
const TEMPO_OTLP: &str = "RIDLEY_TEMPO_OTLP";
/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after it was sent a span may take until it is found: Tempo's search sees one after half a minute.
const VISIBLE: Duration = Duration::from_secs(90);

/// A server that takes spans by OTLP. One that the tests started ends with this value.
#[derive(Debug)]
pub struct TraceServer {
    kind: Kind,
    /// Where it is queried.
    api: String,
    otlp: String,
    _running: Option<Running>,
    // Removed at the end.
    folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Jaeger,
    Tempo,
}

/// A span as a server returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// The id of the span that it is a child of.
    pub parent: Option<String>,
    /// Whose it is: `service.name`.
    pub service: String,
    /// `client` or `server`.
    pub kind: String,
    /// Whether its status is ERROR.
    pub is_error: bool,
    /// Its attributes that are texts or whole numbers.
    pub attributes: BTreeMap<String, String>,
}

impl TraceServer {
    /// Returns the Tempo that the environment names, or starts a Jaeger.
    ///
    /// # Errors
    ///
    /// The program is not there, or does not answer; the message holds what it said.
    pub fn start() -> anyhow::Result<Self> {
        match env::var(TEMPO) {
            Ok(api) => Self::tempo(api),
            Err(_) => Self::jaeger(),
        }
    }

    fn tempo(api: String) -> anyhow::Result<Self> {
        let api = api.trim_end_matches('/').to_owned();
        let otlp = match env::var(TEMPO_OTLP) {
            Ok(otlp) => otlp,
            Err(_) => {
                let host = api.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
                format!("{}:4317", host.map_or(api.as_str(), |(host, _)| host))
            }
        };
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let server = Self { kind: Kind::Tempo, api, otlp, _running: None, folder };
        server.get("/api/echo").with_context(|| format!("{TEMPO} names no Tempo that answers"))?;
        Ok(server)
    }

    fn jaeger() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for Jaeger")?;
        let [otlp, api, grpc_api, own] = [(); 4].map(|()| free_address());
        let (otlp, api, grpc_api, own) = (otlp?, api?, grpc_api?, own?);
        let config = include_str!("../configs/jaeger.yaml")
            .replace("@OTLP@", &otlp.to_string())
            .replace("@API@", &api.to_string())
            .replace("@GRPC_API@", &grpc_api.to_string())
            .replace("@HEALTH@", &own.to_string());
        let (path, log) = (folder.path().join("jaeger.yaml"), folder.path().join("log"));
        fs::write(&path, config).context("cannot write Jaeger's configuration")?;
        let mut program = command::bound(None, &program("jaeger"))?;
        let running = Running::start(program.arg("--config").arg(&path), &log)?;
        let url = |it: SocketAddr| format!("http://{it}");
        let server =
            Self { kind: Kind::Jaeger, api: url(api), otlp: url(otlp), _running: Some(running), folder };
        poll::until(PATIENCE, || server.get("/api/services").map(drop))
            .with_context(|| server.in_its_words())?;
        Ok(server)
    }

    /// Returns where it takes OTLP by gRPC.
    pub fn otlp_endpoint(&self) -> &str {
        &self.otlp
    }

    /// Waits until the trace of a connection is as expected, and returns its spans in the order of their ids.
    ///
    /// # Errors
    ///
    /// Says what `check` says, or that the server does not answer.
    pub fn await_trace(
        &self,
        trace: &str,
        check: impl Fn(&[Span]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Span>> {
        poll::until(VISIBLE, || {
            let spans = self.trace(trace)?;
            check(&spans).with_context(|| format!("trace {trace} has {spans:#?}"))?;
            Ok(spans)
        })
        .with_context(|| self.in_its_words())
    }

    /// Waits until a search for the spans of a service returns at least so many traces, and returns their ids.
    ///
    /// # Errors
    ///
    /// It returns fewer, or the server does not answer.
    pub fn await_traces_of(&self, service: &str, n_least: usize) -> anyhow::Result<Vec<String>> {
        poll::until(VISIBLE, || {
            let found = self.search(service)?;
            ensure!(found.len() >= n_least, "{service} has the traces {found:?}, expected {n_least}");
            Ok(found)
        })
        .with_context(|| self.in_its_words())
    }

    fn trace(&self, trace: &str) -> anyhow::Result<Vec<Span>> {
        let answer = self.get(&format!("/api/traces/{trace}"))?;
        let mut spans = match self.kind {
            Kind::Jaeger => spans_of_jaeger(&answer),
            Kind::Tempo => spans_of_tempo(&answer),
        }
        .context("an answer without what a trace has")?;
        spans.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(spans)
    }

    fn search(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let (answer, list, id) = match self.kind {
            Kind::Jaeger => {
                let query = [("service", service), ("limit", "1000"), ("lookback", "1h")];
                (self.query("/api/traces", &query)?, "data", "traceID")
            }
            Kind::Tempo => {
                let language = format!("{{resource.service.name=\"{service}\"}}");
                (self.query("/api/search", &[("q", &language), ("limit", "1000")])?, "traces", "traceID")
            }
        };
        let found = answer[list].as_array().context("a search without a result")?;
        // Tempo leaves out zeros in front.
        Ok(found.iter().filter_map(|it| Some(format!("{:0>32}", it[id].as_str()?))).collect())
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.query(path, &[])
    }

    fn query(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let call = ureq::get(format!("{}{path}", self.api)).header("Accept", "application/json");
        let mut response = call.query_pairs(query.iter().copied()).call().context("cannot query it")?;
        let text = response.body_mut().read_to_string()?;
        // Some answers are a word.
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn in_its_words(&self) -> String {
        let log = self.folder.path().join("log");
        format!("{:?} said last:\n{}", self.kind, command::last_lines(&log))
    }
}

/// Returns the trace of a connection, as the README of `connectors/spans` says it.
///
/// # Panics
///
/// It is no connection's id.
#[must_use]
pub fn trace_of(connection: &str) -> String {
    let id = u64::from_str_radix(connection, 16).expect("an id is sixteen hexadecimal digits");
    let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    format!("{connection}{:016x}", mixed ^ mixed >> 33)
}

fn spans_of_jaeger(answer: &Value) -> Option<Vec<Span>> {
    let mut spans = Vec::new();
    for trace in answer["data"].as_array()? {
        for span in trace["spans"].as_array()? {
            let process = &trace["processes"][span["processID"].as_str()?];
            let of = |it: &Value| Some((it["key"].as_str()?.to_owned(), text(&it["value"])?));
            let attributes: BTreeMap<_, _> = span["tags"].as_array()?.iter().filter_map(of).collect();
            let parent = span["references"].as_array()?.iter().find(|it| it["refType"] == "CHILD_OF");
            spans.push(Span {
                id: span["spanID"].as_str()?.to_owned(),
                parent: parent.and_then(|it| it["spanID"].as_str()).map(str::to_owned),
                service: process["serviceName"].as_str()?.to_owned(),
                kind: attributes.get("span.kind")?.clone(),
                is_error: attributes.get("otel.status_code").is_some_and(|it| it == "ERROR"),
                attributes,
            });
        }
    }
    Some(spans)
}

/// Reads OTLP as JSON, in which Tempo writes ids as base64 and enumerations as words.
fn spans_of_tempo(answer: &Value) -> Option<Vec<Span>> {
    let attributes = |it: &Value| -> BTreeMap<String, String> {
        let all = it["attributes"].as_array().cloned().unwrap_or_default();
        let of = |it: &Value| {
            Some((it["key"].as_str()?.to_owned(), text(it["value"].as_object()?.values().next()?)?))
        };
        all.iter().filter_map(of).collect()
    };
    let id = |it: &Value| it.as_str().filter(|it| !it.is_empty()).and_then(hexadecimal);
    let mut spans = Vec::new();
    for resource in answer["batches"].as_array().or_else(|| answer["resourceSpans"].as_array())? {
        let service = attributes(&resource["resource"]).remove("service.name")?;
        for scope in resource["scopeSpans"].as_array()? {
            for span in scope["spans"].as_array()? {
                spans.push(Span {
                    id: id(&span["spanId"])?,
                    parent: id(&span["parentSpanId"]),
                    service: service.clone(),
                    kind: span["kind"].as_str()?.strip_prefix("SPAN_KIND_")?.to_lowercase(),
                    is_error: span["status"]["code"] == "STATUS_CODE_ERROR",
                    attributes: attributes(span),
                });
            }
        }
    }
    Some(spans)
}

/// Returns the sixteen digits of a span id that is written in hexadecimal or base64.
fn hexadecimal(id: &str) -> Option<String> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if id.len() == 16 {
        return Some(id.to_lowercase());
    }
    let mut bits: u128 = 0;
    let digits = id.trim_end_matches('=');
    for digit in digits.chars() {
        bits = bits << 6 | u128::try_from(DIGITS.find(digit)?).ok()?;
    }
    // Eleven digits are 66 bits, of which the last two are none.
    (digits.len() == 11).then(|| format!("{:016x}", bits >> 2))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// There is no Tempo to ask where this is written: its answer is that of its documentation.
    #[test]
    fn an_answer_of_tempo_is_read() {
        let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
        let answer = json!({ "batches": [{
            "resource": { "attributes": [attribute("service.name", json!({ "stringValue": "cart" }))] },
            "scopeSpans": [{ "spans": [{
                "traceId": "CtDxFavV5QcmQNZiiOZdvw==", "spanId": "eRocIKhJX40=", "parentSpanId": "56lknj10b8M=",
                "kind": "SPAN_KIND_SERVER", "status": { "message": "timeout", "code": "STATUS_CODE_ERROR" },
                "attributes": [attribute("server.port", json!({ "intValue": "80" }))],
            }] }],
        }] });
        let expected = Span {
            id: "791a1c20a8495f8d".to_owned(),
            parent: Some("e7a9649e3d746fc3".to_owned()),
            service: "cart".to_owned(),
            kind: "server".to_owned(),
            is_error: true,
            attributes: BTreeMap::from([("server.port".to_owned(), "80".to_owned())]),
        };
        assert_eq!(spans_of_tempo(&answer), Some(vec![expected]));
        assert_eq!(hexadecimal("791A1C20A8495F8D").as_deref(), Some("791a1c20a8495f8d"));
        assert_eq!(hexadecimal("eRocIKhJX40"), hexadecimal("791a1c20a8495f8d"));
        assert_eq!(hexadecimal("eRoc"), None);
    }

    #[test]
    fn a_trace_is_as_documented() {
        assert_eq!(trace_of("0123456789abcdef"), "0123456789abcdef10fb162319e1a485");
    }
}
