use std::{net::IpAddr, sync::Arc, time::Duration};

use auth::Guard;
use axum::body::Body;
use bytes::Bytes;
use component::Output;
use flow_records::{Decoded, Decoder};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use model::{Batch, Logs, Malformed, Otlp, OtlpData, Receipt, Signal, Space};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{metrics::Instruments, records::batches};

/// How long a sender waits for its answer at most: clients wait for ten seconds, mostly.
const PATIENCE: Duration = Duration::from_secs(8);

/// After how long a sender that was refused for now may come back.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// What a request takes beside its bytes, at least.
const OVERHEAD: usize = 512;

/// How long a sender may take to send a request.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Most requests that are read at a time. Each may be as large as a request may be, and is in no budget yet.
const MAX_READING: usize = 8;

/// Takes requests into pipelines, as many as there is room for.
#[derive(Debug)]
pub(crate) struct Intake {
    output: Output,
    guard: Option<Guard>,
    pub(crate) max_request_size: usize,
    budget: Arc<Semaphore>,
    reading: Semaphore,
    /// Whoever has it is the one whose flow records are handed on.
    decoder: Arc<Mutex<Decoder>>,
    pub(crate) instruments: Arc<Instruments>,
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It does not say who may send; what it has to say.
    #[error("the header `authorization` is not of anybody who may send")]
    Unauthenticated(HeaderValue),
    /// It is no request of its kind.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is in another form.
    #[error("the content type is neither application/x-protobuf nor application/json")]
    WrongType,
    /// It takes too long.
    #[error("the request took too long to arrive")]
    Slow,
    /// It may never be that large.
    #[error("the request has more than {0} bytes after it was decompressed (`max_request_size`)")]
    TooLarge(usize),
    /// No pipeline begins here for it.
    #[error("no pipeline of {0} begins at this receiver")]
    NoPipeline(Signal),
    /// Others take up the room at present.
    #[error("there is no room at present (`max_in_flight`)")]
    NoRoom,
    /// What is behind the receiver takes nothing at present.
    #[error("the pipeline takes nothing at present")]
    Busy,
    /// Something behind the receiver could not take it for now.
    #[error("the pipeline has not taken it")]
    NotTaken,
}

impl Refusal {
    pub(crate) const WORDS: [&'static str; 10] = [
        "unauthenticated",
        "malformed",
        "unreadable",
        "wrong_type",
        "slow",
        "too_large",
        "no_pipeline",
        "no_room",
        "busy",
        "not_taken",
    ];

    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Malformed(_) => "malformed",
            Self::Unreadable(_) => "unreadable",
            Self::WrongType => "wrong_type",
            Self::Slow => "slow",
            Self::TooLarge(_) => "too_large",
            Self::NoPipeline(_) => "no_pipeline",
            Self::NoRoom => "no_room",
            Self::Busy => "busy",
            Self::NotTaken => "not_taken",
        }
    }

    /// Returns whether the sender should send it again.
    pub(crate) const fn is_for_now(&self) -> bool {
        matches!(self, Self::NoRoom | Self::Busy | Self::NotTaken)
    }
}

/// Room in the budget, until it is dropped.
struct Room {
    permit: OwnedSemaphorePermit,
    instruments: Arc<Instruments>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.instruments.in_flight.add(-(self.permit.num_permits() as i64));
    }
}

impl Intake {
    pub(crate) fn new(
        output: Output,
        guard: Option<Guard>,
        max_request_size: usize,
        max_in_flight: usize,
        instruments: Instruments,
    ) -> Self {
        Self {
            output,
            guard,
            max_request_size,
            budget: Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS))),
            reading: Semaphore::new(MAX_READING),
            decoder: Arc::default(),
            instruments: Arc::new(instruments),
        }
    }

    /// Checks that a request says who may send, before any of it is read.
    ///
    /// # Errors
    ///
    /// It does not.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.guard {
            Some(guard) if !guard.admits(headers).await => {
                Err(Refusal::Unauthenticated(guard.challenge().clone()))
            }
            _ => Ok(()),
        }
    }

    /// Reads what a sender sends, when it is its turn; `more` bytes beyond the request itself.
    ///
    /// # Errors
    ///
    /// It cannot be read, has too many bytes before it is even decompressed, or takes too long.
    pub(crate) async fn read(&self, body: Body, more: usize) -> Result<Bytes, Refusal> {
        let _turn = self.reading.acquire().await.expect("it is never closed");
        let limited = Limited::new(body, self.max_request_size + more).collect();
        match timeout(READ_TIMEOUT, limited).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(self.max_request_size)),
            Ok(Err(error)) => Err(Refusal::Unreadable(error.to_string())),
            Err(_elapsed) => Err(Refusal::Slow),
        }
    }

    /// Hands a request on and waits until it was taken.
    ///
    /// # Errors
    ///
    /// It was not, and counts as refused.
    pub(crate) async fn take(
        self: &Arc<Self>,
        signal: Signal,
        request: Bytes,
        peer: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let taken = match signal {
            Signal::Metrics => self.hand_on(request, peer, Batch::Metrics).await,
            Signal::Traces => self.hand_on(request, peer, Batch::Traces).await,
            Signal::Logs => self.take_logs(request, peer).await,
            Signal::Flows => Err(Refusal::NoPipeline(signal)),
        };
        match &taken {
            Ok(()) => self.instruments.taken.add(1),
            Err(refusal) => self.instruments.refused(refusal),
        }
        taken
    }

    /// Hands log records on to a pipeline of logs, and what flow records are among them to one of flows.
    async fn take_logs(self: &Arc<Self>, request: Bytes, peer: Option<IpAddr>) -> Result<(), Refusal> {
        let has_both = self.output.takes(Signal::Flows) && self.output.takes(Signal::Logs);
        if has_both {
            // First, for it may not be taken: then all is sent again, and flow records must not count twice.
            self.hand_on(request.clone(), peer, Batch::Logs).await?;
        } else if !self.output.takes(Signal::Flows) {
            return self.hand_on(request, peer, Batch::Logs).await;
        }
        self.hand_on_records(request, has_both).await
    }

    /// Reads flow records and hands them on. The answer does not wait for that: a sender whose patience ends would send them
    /// again, and they would count twice.
    async fn hand_on_records(self: &Arc<Self>, request: Bytes, others_go_on: bool) -> Result<(), Refusal> {
        if request.len() > self.max_request_size {
            return Err(Refusal::TooLarge(self.max_request_size));
        }
        let size = request.len();
        let logs = Logs::from_encoded(request)?;
        let room = self.room(size + OVERHEAD)?;
        // One request after the other, for the order of a connection's records.
        let turn = timeout(PATIENCE, Arc::clone(&self.decoder).lock_owned()).await;
        let mut decoder = turn.map_err(|_elapsed| Refusal::Busy)?;
        if !self.output.has_room(Signal::Flows) {
            return Err(Refusal::Busy);
        }
        let decoded = match decoder.decode(&logs) {
            Ok(decoded) => decoded,
            // It was taken as it came.
            Err(_) if others_go_on => Decoded { n_malformed: logs.n_items(), ..Decoded::default() },
            Err(error) => return Err(Refusal::Unreadable(error.to_string())),
        };
        drop(logs);
        if !others_go_on {
            self.instruments.no_records.add(decoded.n_others);
        }
        self.instruments.malformed_records.add(decoded.n_malformed);
        let intake = Arc::clone(self);
        tokio::spawn(async move {
            for batch in batches(decoded) {
                // Whoever has stopped has counted it.
                if intake.output.send(batch).await.is_err() {
                    break;
                }
            }
            drop((decoder, room));
        });
        Ok(())
    }

    async fn hand_on<D: OtlpData>(
        self: &Arc<Self>,
        request: Bytes,
        peer: Option<IpAddr>,
        batch: impl Fn(Otlp<D>) -> Batch,
    ) -> Result<(), Refusal> {
        if !self.output.takes(D::SIGNAL) {
            return Err(Refusal::NoPipeline(D::SIGNAL));
        }
        if request.len() > self.max_request_size {
            return Err(Refusal::TooLarge(self.max_request_size));
        }
        let size = request.len();
        let mut payload = Otlp::<D>::from_encoded(request)?;
        if let Some(peer) = peer {
            payload = payload.from_peer(peer);
        }
        if payload.n_items() == 0 {
            return Ok(());
        }
        let room = self.room(size + OVERHEAD)?;
        if !self.output.has_room(D::SIGNAL) {
            return Err(Refusal::Busy);
        }
        let (tell, told) = oneshot::channel();
        let receipt = Receipt::new(move |is_taken| {
            // Its sender may have gone away.
            tell.send(is_taken).unwrap_or_default();
        });
        let batch = batch(payload.awaited(receipt, room));
        // A sender that goes away must not keep the batch from those behind that have not got it yet.
        let intake = Arc::clone(self);
        tokio::spawn(async move { intake.output.send(batch).await });
        match timeout(PATIENCE, told).await {
            Ok(Ok(true)) => Ok(()),
            Ok(_) | Err(_) => Err(Refusal::NotTaken),
        }
    }

    fn room(&self, size: usize) -> Result<Space, Refusal> {
        let n_permits = u32::try_from(size).map_err(|_too_many| Refusal::NoRoom)?;
        let permit =
            Arc::clone(&self.budget).try_acquire_many_owned(n_permits).map_err(|_none| Refusal::NoRoom)?;
        self.instruments.in_flight.add(size.try_into().unwrap_or(i64::MAX));
        Ok(Arc::new(Room { permit, instruments: Arc::clone(&self.instruments) }))
    }
}
