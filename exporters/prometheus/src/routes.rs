use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};

use hyper::body::Frame;

use crate::{
    exporter::Shared,
    negotiate::{self, Format},
};

/// Where the metrics are.
pub(crate) const METRICS_PATH: &str = "/metrics";

const INDEX: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Ridley</title></head>\n\
                     <body><p><a href=\"/metrics\">Metrics</a></p></body></html>\n";

/// Makes the service that answers requests.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(METRICS_PATH, get(metrics))
        .route("/", get(async || Html(INDEX)))
        .route("/-/healthy", get(async || "ok\n"))
        .fallback(async || (StatusCode::NOT_FOUND, "nothing is here; the metrics are at /metrics\n"))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>, method: Method, headers: HeaderMap) -> Response {
    let format = Format::negotiate(&headers);
    let gzip = negotiate::accepts_gzip(&headers);
    // A request for the headers alone is not a scrape: nothing is rendered for it, and so its length is not known.
    let body =
        if method == Method::HEAD { Body::new(Unrendered) } else { Body::new(shared.scrape(format, gzip)) };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A body whose length nobody knows: the default of [`HttpBody::size_hint`]. An empty one would be told as of length zero.
struct Unrendered;

impl HttpBody for Unrendered {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
