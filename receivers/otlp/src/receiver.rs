use std::{io, net::SocketAddr, sync::Arc};

use component::{BoxError, BoxFuture, Context, Id, Output, Receiver, Shutdown, Telemetry};
use tokio::net::TcpListener;

use crate::{Config, grpc, http, intake::Intake, metrics::Instruments, server::serve};

/// Listens for requests.
#[derive(Debug)]
pub(crate) struct OtlpReceiver {
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
    max_request_size: usize,
    max_in_flight: usize,
    telemetry: Telemetry,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("receiver `{id}` cannot listen at {endpoint}")]
struct BindError {
    id: Id,
    endpoint: SocketAddr,
    source: io::Error,
}

impl OtlpReceiver {
    pub(crate) async fn bind(config: &Config, context: Context) -> Result<Self, BoxError> {
        let grpc = config.protocols.grpc.as_ref().map(|it| it.endpoint);
        let http = config.protocols.http.as_ref().map(|it| it.endpoint);
        Ok(Self {
            grpc: bind(grpc, "gRPC", &context).await?,
            http: bind(http, "HTTP", &context).await?,
            max_request_size: config.max_request_size.get(),
            max_in_flight: config.max_in_flight.get(),
            telemetry: context.telemetry,
        })
    }
}

async fn bind(
    endpoint: Option<SocketAddr>,
    form: &str,
    context: &Context,
) -> Result<Option<TcpListener>, BoxError> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let bound = async {
        let listener = TcpListener::bind(endpoint).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let failed = |source| BindError { id: context.id.clone(), endpoint, source };
    let (listener, address) = bound.await.map_err(failed)?;
    context.notices.add(format!("OTLP over {form} at {address}"));
    Ok(Some(listener))
}

impl Receiver for OtlpReceiver {
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(async move {
            let Self { grpc, http, max_request_size, max_in_flight, telemetry } = *self;
            let instruments = Instruments::new(&telemetry);
            let intake = Arc::new(Intake::new(output, max_request_size, max_in_flight, instruments));
            let listen = |listener: Option<TcpListener>, router| {
                let shutdown = shutdown.clone();
                async move {
                    if let Some(listener) = listener {
                        serve(listener, router, shutdown).await;
                    }
                }
            };
            let (grpc_router, http_router) = (grpc::router(Arc::clone(&intake)), http::router(intake));
            tokio::join!(listen(grpc, grpc_router), listen(http, http_router));
            Ok(())
        })
    }
}
