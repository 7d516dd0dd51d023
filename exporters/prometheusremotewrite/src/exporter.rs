use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use component::{BoxError, BoxFuture, Context, Exporter, Input};
use delivery::{Delivery, Request, own_resource};
use model::{Batch, Metrics, Signal, UnixNanos};
use prometheus::DropReason;
use tokio::time::Instant;

use crate::{
    Config,
    frames::Frames,
    metrics::Instruments,
    server::Server,
    translator::{Options, Translator},
};

/// Sends what comes in to one server.
#[derive(Debug)]
pub(crate) struct RemoteWriteExporter {
    delivery: Delivery<Server>,
    translator: Translator,
    instruments: Instruments,
}

impl RemoteWriteExporter {
    pub(crate) async fn open(config: Config, context: &Context) -> Result<Self, BoxError> {
        let server = Server::new(&config, &context.telemetry)?;
        let Config {
            external_labels,
            sending_queue,
            retry_on_failure,
            max_batch_size_bytes,
            max_series,
            metric_expiration,
            without_scope_info,
            target_info,
            ..
        } = config;
        let frames = Frames::new(max_batch_size_bytes, external_labels.into_iter().collect());
        let options = Options { without_scope_info, has_target_info: target_info.enabled };
        let max_series = max_series.get();
        Ok(Self {
            delivery: Delivery::open(server, sending_queue.into(), retry_on_failure, context).await?,
            translator: Translator::new(max_series, metric_expiration, frames, own_resource(), options),
            instruments: Instruments::new(&context.telemetry),
        })
    }
}

impl Exporter for RemoteWriteExporter {
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(async move {
            let Self { delivery, translator, instruments } = *self;
            let translator = Mutex::new(translator);
            let request = |batch: &Batch| match batch {
                Batch::Metrics(metrics) => {
                    let mut translator = translator.lock().unwrap_or_else(PoisonError::into_inner);
                    translate(metrics, &mut translator, &instruments)
                }
                other => {
                    instruments.refuse(DropReason::WrongSignal, other.n_items());
                    None
                }
            };
            delivery.run(input, request).await;
            Ok(())
        })
    }
}

fn translate(metrics: &Metrics, translator: &mut Translator, instruments: &Instruments) -> Option<Request> {
    let Ok(data) = metrics.decode() else {
        instruments.refuse(DropReason::Malformed, metrics.n_items());
        return None;
    };
    let UnixNanos(received) = SystemTime::now().into();
    let translated = translator.translate(&data, received, Instant::now().into_std());
    let (drops, n_series) = translator.report();
    instruments.add(drops, n_series);
    let (payload, n_items) = translated?;
    Some(Request { signal: Signal::Metrics, payload, n_items, space: metrics.space().cloned() })
}
