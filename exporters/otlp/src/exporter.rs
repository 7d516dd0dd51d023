use component::{BoxError, BoxFuture, Context, Exporter, Input};
use delivery::{Delivery, Request, Send, Verdict, own_resource};
use flow_records::{encode_flows, encode_listeners};
use model::{Batch, Signal};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
    resource::v1::Resource,
};

use crate::{Config, Protocol, grpc::Grpc, http::Http};

/// Sends what comes in to one server.
#[derive(Debug)]
pub(crate) struct OtlpExporter {
    delivery: Delivery<Server>,
    /// Of whom is what this process made itself.
    own: Resource,
}

#[derive(Debug)]
enum Server {
    Grpc(Grpc),
    Http(Http),
}

impl OtlpExporter {
    pub(crate) async fn open(config: Config, context: &Context) -> Result<Self, BoxError> {
        let server = match config.protocol {
            Protocol::Grpc => Server::Grpc(Grpc::new(&config, &context.telemetry)?),
            Protocol::Http => Server::Http(Http::new(&config, &context.telemetry)?),
        };
        let Config { sending_queue, retry_on_failure, .. } = config;
        let delivery = Delivery::open(server, sending_queue, retry_on_failure, context).await?;
        Ok(Self { delivery, own: own_resource() })
    }
}

impl Exporter for OtlpExporter {
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(async move {
            let Self { delivery, own } = *self;
            let request = |batch: &Batch| {
                let (payload, space) = match batch {
                    Batch::Metrics(metrics) => (metrics.encode(&own), metrics.space()),
                    Batch::Traces(traces) => (traces.encode(&own), traces.space()),
                    Batch::Logs(logs) => (logs.encode(&own), logs.space()),
                    Batch::Flows(flows) => (encode_flows(flows).encode(&own), None),
                    Batch::Listeners(listeners) => (encode_listeners(listeners).encode(&own), None),
                };
                Some(Request {
                    signal: batch.signal(),
                    payload,
                    n_items: batch.n_items(),
                    space: space.cloned(),
                })
            };
            delivery.run(input, request).await;
            Ok(())
        })
    }
}

/// Returns the signal of OTLP that another travels as.
pub(crate) const fn carrier(signal: Signal) -> Signal {
    match signal {
        Signal::Flows => Signal::Logs,
        Signal::Metrics | Signal::Traces | Signal::Logs => signal,
    }
}

impl Send for Server {
    async fn send(&self, request: &Request) -> Verdict {
        match self {
            Self::Grpc(grpc) => grpc.send(request).await,
            Self::Http(http) => http.send(request).await,
        }
    }
}

/// An answer to an export request. Those of the signals are alike but for a field's name.
pub(crate) type Response = ExportTraceServiceResponse;

/// Reads what a server that took a request says that it did not take of it.
pub(crate) fn taken(response: Response) -> Verdict {
    let ExportTracePartialSuccess { rejected_spans, error_message } =
        response.partial_success.unwrap_or_default();
    Verdict::Taken { n_rejected: u64::try_from(rejected_spans).unwrap_or_default(), message: error_message }
}
