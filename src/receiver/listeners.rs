//! The two sockets: bound first, so that a port in use is found before anything starts; then served,
//! and drained at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::accept::Incoming;
use super::connections::Connections;
use super::request::Receiver;
use super::{IngestOf, Intake, Settings, grpc, http};
use crate::telemetry::Telemetry;

/// After the shutdown begins, bodies may go on arriving for this long;
const BODY_GRACE: Duration = Duration::from_millis(1500);
/// and this much later connections that are still open are left behind.
const CLOSE_GRACE: Duration = Duration::from_millis(1500);

/// Sockets that are bound, but not served yet.
#[derive(Debug)]
pub struct Listeners {
    settings: Settings,
    ingest: Arc<dyn IngestOf>,
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
#[error("{key}: can't listen on {endpoint}: {reason}")]
pub struct BindError {
    /// The configuration's key.
    pub key: &'static str,
    pub endpoint: String,
    pub reason: io::Error,
}

impl Listeners {
    pub async fn bind(settings: &Settings) -> Result<Self, BindError> {
        let grpc = bind("receivers.otlp.grpc.endpoint", settings.grpc.as_deref()).await?;
        let http = bind("receivers.otlp.http.endpoint", settings.http.as_deref()).await?;
        let ingest = Arc::new(settings.ingest);
        Ok(Self { settings: settings.clone(), ingest, grpc, http })
    }

    /// What each tenant may send, where that is not the same for all.
    pub fn with_ingest_of(self, ingest: Arc<dyn IngestOf>) -> Self {
        Self { ingest, ..self }
    }

    /// Where gRPC is served, with the port that the system chose for port 0.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves until `shutdown`, then answers what is in flight; at most 3 s after `shutdown`.
    pub async fn run(self, intake: Arc<Intake>, telemetry: Telemetry, shutdown: CancellationToken) {
        let connections = Connections::new(&self.settings, telemetry.connections.clone());
        let incoming = |listener| Incoming::new(listener, Arc::clone(&connections), &self.settings);
        let (grpc, http) = (self.grpc.map(incoming), self.http.map(incoming));
        let (settings, ingest) = (self.settings, self.ingest);
        let receiver = Receiver::new(settings, ingest, intake, telemetry, shutdown.clone());
        let receiver = Arc::new(receiver);
        let serve_grpc = async {
            match grpc {
                Some(incoming) => grpc::serve(Arc::clone(&receiver), incoming).await,
                None => shutdown.cancelled().await,
            }
        };
        let serve_http = async {
            match http {
                Some(incoming) => http::serve(Arc::clone(&receiver), incoming).await,
                None => shutdown.cancelled().await,
            }
        };
        let drain = async {
            shutdown.cancelled().await;
            tokio::time::sleep(BODY_GRACE).await;
            receiver.cut.cancel();
            tokio::time::sleep(CLOSE_GRACE).await;
        };
        tokio::select! {
            _ = async { tokio::join!(serve_grpc, serve_http) } => {}
            () = drain => tracing::warn!("connections were still open at the end of the drain"),
        }
    }
}

async fn bind(key: &'static str, endpoint: Option<&str>) -> Result<Option<TcpListener>, BindError> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    match TcpListener::bind(endpoint).await {
        Ok(listener) => Ok(Some(listener)),
        Err(reason) => Err(BindError { key, endpoint: endpoint.to_owned(), reason }),
    }
}
