use std::{io, net::SocketAddr, sync::Arc};

use auth::Guard;
use component::{BoxError, BoxFuture, Context, Id, Output, Receiver, Shutdown, Telemetry};
use tls::Versions;
use tokio::net::TcpListener;

use crate::{
    Config, grpc, http,
    intake::Intake,
    metrics::Instruments,
    server::{Entrance, serve},
};

/// Listens for requests.
#[derive(Debug)]
pub(crate) struct OtlpReceiver {
    grpc: Option<Entrance>,
    http: Option<Entrance>,
    guard: Option<Guard>,
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
        let telemetry = &context.telemetry;
        let guard = config.auth.as_ref().map(|it| it.guard(telemetry)).transpose()?;
        let mut entrances = [None, None];
        let grpc =
            config.protocols.grpc.as_ref().map(|it| (it.endpoint, it.tls.as_ref(), "gRPC", Versions::Two));
        let http =
            config.protocols.http.as_ref().map(|it| (it.endpoint, it.tls.as_ref(), "HTTP", Versions::Any));
        for (entrance, protocol) in entrances.iter_mut().zip([grpc, http]) {
            let Some((endpoint, tls, form, versions)) = protocol else { continue };
            let tls = tls.map(|it| it.acceptor(versions, telemetry)).transpose()?.map(Arc::new);
            *entrance = Some(Entrance { listener: bind(endpoint, form, &context).await?, tls });
        }
        let [grpc, http] = entrances;
        Ok(Self {
            grpc,
            http,
            guard,
            max_request_size: config.max_request_size.get(),
            max_in_flight: config.max_in_flight.get(),
            telemetry: context.telemetry,
        })
    }
}

async fn bind(endpoint: SocketAddr, form: &str, context: &Context) -> Result<TcpListener, BoxError> {
    let bound = async {
        let listener = TcpListener::bind(endpoint).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let failed = |source| BindError { id: context.id.clone(), endpoint, source };
    let (listener, address) = bound.await.map_err(failed)?;
    context.notices.add(format!("OTLP over {form} at {address}"));
    Ok(listener)
}

impl Receiver for OtlpReceiver {
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(async move {
            let Self { grpc, http, guard, max_request_size, max_in_flight, telemetry } = *self;
            let instruments = Instruments::new(&telemetry);
            let intake = Arc::new(Intake::new(output, guard, max_request_size, max_in_flight, instruments));
            let listen = |entrance: Option<Entrance>, router| {
                let (shutdown, instruments) = (shutdown.clone(), Arc::clone(&intake.instruments));
                async move {
                    if let Some(entrance) = entrance {
                        serve(entrance, router, instruments, shutdown).await;
                    }
                }
            };
            let (grpc_router, http_router) =
                (grpc::router(Arc::clone(&intake)), http::router(Arc::clone(&intake)));
            tokio::join!(listen(grpc, grpc_router), listen(http, http_router));
            Ok(())
        })
    }
}
