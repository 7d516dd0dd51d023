use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use auth::Credentials;
use bytes::Bytes;
use component::{BoxError, ErrorChain, Telemetry};
use delivery::{Refusal, Request, Send, Verdict, header_map, read_answer, retry_after, words};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use tls::{Client, Versions};
use tokio::time::timeout;
use tracing::info;

use crate::{
    Config, Protocol,
    frames::{self, Frame},
    metrics::SampleInstruments,
    v1,
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("ridley/", env!("CARGO_PKG_VERSION")));
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
/// How many samples of the request were written: who answers with it has understood version 2.0.
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");

/// Sends requests to one server.
#[derive(Debug)]
pub(crate) struct Server {
    client: Client<Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    timeout: Duration,
    credentials: Option<Credentials>,
    /// Whether version 2.0 is sent, as long as the server shows that it takes it.
    speaks_v2: AtomicBool,
    /// What has become of requests that are on their way, as many as there can be.
    progress: Mutex<VecDeque<Progress>>,
    max_progress: usize,
    instruments: SampleInstruments,
}

/// What has become of the frames of a request. Those that are done are not sent again: one that is older than what the server
/// has would be refused.
#[derive(Clone, Debug)]
struct Progress {
    /// The request. It is kept, so that no other is at its place.
    payload: Bytes,
    n_done: usize,
    n_refused: usize,
    n_rejected: u64,
    /// What the server said of what it did not take.
    message: String,
}

/// What a server said to one frame.
#[derive(Debug)]
enum Answer {
    /// It took all samples but so many.
    Taken { n_rejected: u64, message: String },
    /// It will never take it.
    Refused(BoxError),
    /// It did not take it now, or nobody knows whether it did.
    Failed { error: BoxError, wait: Option<Duration> },
}

/// What a server sent back.
#[derive(Debug)]
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Server {
    pub(crate) fn new(config: &Config, telemetry: &Telemetry) -> Result<Self, BoxError> {
        let endpoint: Uri = config.endpoint.parse()?;
        let is_encrypted = endpoint.scheme() == Some(&http::uri::Scheme::HTTPS);
        let mut headers = header_map(&config.headers)?;
        headers.entry(USER_AGENT).or_insert(AGENT);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        Ok(Self {
            client: config.tls.client(Versions::Any, is_encrypted, telemetry)?,
            endpoint,
            headers,
            timeout: config.timeout,
            credentials: config.auth.as_ref().map(|it| it.credentials(telemetry)).transpose()?,
            speaks_v2: AtomicBool::new(config.protocol == Protocol::V2),
            progress: Mutex::new(VecDeque::new()),
            max_progress: config.sending_queue.num_consumers.get(),
            instruments: SampleInstruments::new(telemetry),
        })
    }

    /// Sends one frame, in version 1.0 if the server does not understand the other.
    async fn send_frame(&self, frame: &Frame) -> Answer {
        if self.speaks_v2.load(Ordering::Relaxed) {
            match self.post(frame, Protocol::V2).await {
                Ok(response) if response.has_understood_v2() => return response.answer_v2(frame),
                Ok(_) => {
                    info!("the server does not take remote write 2.0; it is sent 1.0 from now on");
                    self.speaks_v2.store(false, Ordering::Relaxed);
                }
                Err(answer) => return answer,
            }
        }
        self.post(frame, Protocol::V1).await.map_or_else(|answer| answer, |it| it.answer_v1())
    }

    /// Fails with the answer if there was no response.
    async fn post(&self, frame: &Frame, protocol: Protocol) -> Result<Response, Answer> {
        let request = frame.request.clone();
        let (content_type, version, message) = match protocol {
            Protocol::V1 => {
                let message = v1::from_v2(request).map_err(|error| Answer::Refused(error.into()))?;
                ("application/x-protobuf", "0.1.0", message.into())
            }
            Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0", request),
        };
        // The block format, not that of frames: <https://prometheus.io/docs/specs/prw/remote_write_spec/#protocol>
        let body = snap::raw::Encoder::new().compress_vec(&message);
        let body = Bytes::from(body.map_err(|error| Answer::Refused(error.into()))?);
        let mut post = http::Request::new(Full::new(body));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = self.endpoint.clone();
        *post.headers_mut() = self.headers.clone();
        post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        post.headers_mut().insert(VERSION, HeaderValue::from_static(version));
        if let Some(credentials) = &self.credentials {
            post.headers_mut().insert(AUTHORIZATION, credentials.header());
        }
        let exchange = async {
            let (parts, body) = self.client.request(post).await?.into_parts();
            let body = read_answer(body).await;
            Ok::<_, BoxError>(Response { status: parts.status, headers: parts.headers, body })
        };
        let result = timeout(self.timeout, exchange).await.map_err(BoxError::from).and_then(|it| it);
        result.map_err(|error| Answer::Failed { error, wait: None })
    }

    /// Returns what has become of a request, of which an earlier attempt may have sent a part.
    fn resume(&self, payload: &Bytes) -> Progress {
        let mut all = self.all_progress();
        let is_same =
            |it: &Progress| it.payload.as_ptr() == payload.as_ptr() && it.payload.len() == payload.len();
        match all.iter().position(is_same).and_then(|at| all.remove(at)) {
            Some(progress) => progress,
            None => Progress {
                payload: payload.clone(),
                n_done: 0,
                n_refused: 0,
                n_rejected: 0,
                message: String::new(),
            },
        }
    }

    /// Notes what has become of a request that will be sent again.
    fn pause(&self, progress: Progress) {
        let mut all = self.all_progress();
        // What has been given up is the oldest.
        if all.len() >= self.max_progress {
            all.pop_front();
        }
        all.push_back(progress);
    }

    fn all_progress(&self) -> MutexGuard<'_, VecDeque<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Send for Server {
    async fn send(&self, request: &Request) -> Verdict {
        let mut progress = self.resume(&request.payload);
        for frame in frames::read(request.payload.clone()).skip(progress.n_done) {
            let (n_rejected, message) = match self.send_frame(&frame).await {
                Answer::Taken { n_rejected, message } => (n_rejected, message),
                Answer::Refused(error) => {
                    progress.n_refused += 1;
                    progress.n_rejected += frame.n_items;
                    self.instruments.rejected.add(frame.n_samples);
                    progress.message = ErrorChain(&*error).to_string();
                    (0, String::new())
                }
                Answer::Failed { error, wait } => {
                    self.pause(progress);
                    return Verdict::Failed { error, wait };
                }
            };
            progress.n_done += 1;
            self.instruments.sent.add(frame.n_samples);
            if n_rejected > 0 {
                self.instruments.rejected.add(n_rejected);
                // The server tells samples, of which a histogram has several.
                progress.n_rejected += n_rejected.min(frame.n_items);
                progress.message = message;
            }
        }
        let Progress { n_done, n_refused, n_rejected, message, .. } = progress;
        if n_refused == n_done && n_refused > 0 {
            return Verdict::Refused(message.into());
        }
        Verdict::Taken { n_rejected, message }
    }
}

/// By <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/#protocol>.
impl Response {
    /// Returns whether the server has shown that it takes version 2.0: a success without a number of samples is of one that
    /// has found nothing that it knows.
    fn has_understood_v2(&self) -> bool {
        let is_silent = self.status.is_success() && !self.headers.contains_key(SAMPLES_WRITTEN);
        !is_silent && self.status != StatusCode::UNSUPPORTED_MEDIA_TYPE
    }

    fn answer_v1(self) -> Answer {
        if self.status.is_success() {
            Answer::Taken { n_rejected: 0, message: String::new() }
        } else {
            self.failure()
        }
    }

    fn answer_v2(self, frame: &Frame) -> Answer {
        let n_written =
            self.headers.get(SAMPLES_WRITTEN).and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        match n_written {
            // A part was written, if not all.
            Some(n_written) if self.status.is_success() || self.status.is_client_error() && n_written > 0 => {
                let n_rejected = frame.n_samples.saturating_sub(n_written);
                Answer::Taken { n_rejected, message: self.refusal().to_string() }
            }
            _ if self.status.is_success() => Answer::Taken { n_rejected: 0, message: String::new() },
            _ => self.failure(),
        }
    }

    fn failure(&self) -> Answer {
        let error = self.refusal().into();
        if self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS {
            Answer::Failed { error, wait: retry_after(&self.headers) }
        } else {
            Answer::Refused(error)
        }
    }

    fn refusal(&self) -> Refusal {
        Refusal { status: self.status, text: words(&self.body) }
    }
}
