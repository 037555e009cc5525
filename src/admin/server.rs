//! The admin server's endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderName, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use super::cardinality::Cardinality;
use super::generated::{self, Page};
use crate::collect::Collections;
use crate::telemetry::COMMIT;
use crate::tenant::TenantId;

/// Prometheus needs one, people a few. A connection that says nothing is closed soon enough for others.
const CONNECTIONS_MAX: usize = 64;
/// Also between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER_MAX: usize = 16 << 10;
/// After an error that is the process' own (no descriptors left).
const BACK_OFF: Duration = Duration::from_millis(50);

/// What the endpoints show.
#[derive(Debug)]
pub struct Admin {
    pub registry: Registry,
    pub collections: Arc<Collections>,
    pub cardinality: Arc<Cardinality>,
    /// The effective configuration as YAML, secrets masked.
    pub effective_config: Arc<ArcSwap<String>>,
    pub multitenancy: bool,
    pub readiness: Arc<Readiness>,
    /// A page holds a tick for as long as it is read: one at a time.
    pub pages: Arc<Semaphore>,
    /// Who reads the configuration again.
    pub reload: mpsc::Sender<ReloadRequest>,
}

/// Asks for a reload, and for what came of it.
#[derive(Debug)]
pub struct ReloadRequest(pub oneshot::Sender<Reloaded>);

/// What changed, or what is wrong: plain lines.
pub type Reloaded = Result<String, String>;

/// Whether the service takes requests.
#[derive(Debug, Default)]
pub struct Readiness {
    phase: AtomicU8,
    /// Why the configuration on disk is not in force, though requests are taken.
    not_reloaded: ArcSwap<Vec<String>>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    pub fn ready(&self) {
        self.phase.store(READY, Ordering::Relaxed);
    }

    pub fn draining(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// What is wrong with the configuration on disk; nothing while it is in force.
    pub fn not_reloaded(&self, problems: Vec<String>) {
        self.not_reloaded.store(Arc::new(problems));
    }

    /// Why requests are not taken; nothing while they are.
    fn phase(&self) -> Option<&'static str> {
        match self.phase.load(Ordering::Relaxed) {
            STARTING => Some("starting: receivers are not bound yet"),
            DRAINING => Some("draining: the process is about to stop"),
            _ => None,
        }
    }
}

impl Admin {
    /// Serves until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let samples = Arc::clone(&self.cardinality).keep_samples();
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/generated", get(generated_text))
            .route("/-/healthy", get(|| async { "spanmill is healthy\n" }))
            .route("/-/ready", get(ready))
            .route("/-/reload", post(reload))
            .route("/status/config", get(config))
            .route("/status/buildinfo", get(build_info))
            .route("/api/v1/cardinality", get(cardinality))
            .fallback(not_found)
            .with_state(Arc::new(self));
        tokio::select! {
            () = serve_connections(listener, router) => {}
            () = samples => {}
        }
    }
}

/// A few at a time, each with a header in time: whoever reaches the port can't hold much.
async fn serve_connections(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(BUFFER_MAX);
    loop {
        // Those beyond wait in the system's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't accept admin connections, trying on");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let served = builder.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.cardinality.refresh().await;
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => typed(encoder.format_type(), text),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

#[derive(Deserialize)]
struct TenantQuery {
    tenant: Option<String>,
}

impl Admin {
    /// The tenant that is asked for, or what is wrong with it.
    fn tenant(&self, query: Option<&str>, path: &str) -> Result<TenantId, String> {
        match (query, self.multitenancy) {
            (None, true) => {
                Err(format!("tenant is missing, expected {path}?tenant=ID as multi-tenancy is on"))
            }
            (None, false) => Ok(TenantId::single()),
            (Some(id), _) => TenantId::parse(id).map_err(|e| e.to_string()),
        }
    }
}

async fn generated_text(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<TenantQuery>,
) -> Response {
    let tenant = match admin.tenant(query.tenant.as_deref(), "/generated") {
        Ok(tenant) => tenant,
        Err(wrong) => return bad_request(&wrong),
    };
    let place = timeout(PIECE_TIMEOUT, Arc::clone(&admin.pages).acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        let text = "another page is being read, expected one at a time: try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    match admin.collections.view(&tenant) {
        Some(view) => typed(generated::CONTENT_TYPE, streamed(Page::new(view), place)),
        None if admin.multitenancy => nothing_collected(&tenant),
        None => typed(generated::CONTENT_TYPE, "# EOF\n"),
    }
}

/// Made piece by piece as the client reads, off the reactor: a page may have hundreds of MB. The task ends,
/// and with it the page, when the client reads nothing of it any more.
fn streamed(mut page: Page, place: OwnedSemaphorePermit) -> Body {
    let (sender, pieces) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    tokio::spawn(async move {
        let _place = place;
        let end = Instant::now() + PAGE_TIMEOUT;
        loop {
            let Ok((piece, back)) = spawn_blocking(move || (page.next_chunk(), page)).await else {
                return;
            };
            page = back;
            let Some(piece) = piece else { return };
            let until = end.min(Instant::now() + PIECE_TIMEOUT);
            if !matches!(timeout_at(until, sender.send(Ok(piece.into()))).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(pieces))
}

/// A client that reads nothing of a page for so long, or not all of it within that, gets no more.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
const PAGE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct CardinalityQuery {
    tenant: Option<String>,
    service: Option<String>,
    top: Option<String>,
}

/// Values of each label that an answer names where nothing else is asked for.
const TOP: usize = 10;

async fn cardinality(
    State(admin): State<Arc<Admin>>,
    Query(query): Query<CardinalityQuery>,
) -> Response {
    let tenant = match admin.tenant(query.tenant.as_deref(), "/api/v1/cardinality") {
        Ok(tenant) => tenant,
        Err(wrong) => return bad_request(&wrong),
    };
    let Ok(top) = query.top.as_deref().map_or(Ok(TOP), str::parse) else {
        let found = query.top.unwrap_or_default();
        return bad_request(&format!("top is {found:?}, expected a whole number"));
    };
    let service = query.service.filter(|service| !service.is_empty());
    let made = Arc::clone(&admin.cardinality).json(tenant.clone(), service, top).await;
    let json = match made {
        None if admin.multitenancy => return nothing_collected(&tenant),
        made => made.unwrap_or_else(|| admin.cardinality.nothing()),
    };
    ([(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], typed("application/json", json)).into_response()
}

fn nothing_collected(tenant: &TenantId) -> Response {
    let text = format!("nothing has been collected for tenant {tenant} yet\n");
    (StatusCode::NOT_FOUND, text).into_response()
}

fn bad_request(line: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{line}\n")).into_response()
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let phase = admin.readiness.phase();
    let status = if phase.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let not_reloaded = admin.readiness.not_reloaded.load();
    let not_reloaded = not_reloaded.iter().map(|problem| format!("not reloaded: {problem}"));
    let reasons: Vec<String> = phase.map(str::to_owned).into_iter().chain(not_reloaded).collect();
    (status, Json(json!({ "ready": phase.is_none(), "reasons": reasons }))).into_response()
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    let (answer, reloaded) = oneshot::channel();
    // Neither is answered once the process stops.
    let sent = admin.reload.send(ReloadRequest(answer)).await;
    let (status, text) = match (sent, reloaded.await) {
        (Ok(()), Ok(Ok(text))) => (StatusCode::OK, text),
        (Ok(()), Ok(Err(text))) => (StatusCode::INTERNAL_SERVER_ERROR, text),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the process is about to stop".to_owned()),
    };
    (status, format!("{text}\n")).into_response()
}

async fn config(State(admin): State<Arc<Admin>>) -> Response {
    typed("application/yaml", admin.effective_config.load().to_string())
}

async fn build_info() -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "commit": COMMIT })).into_response()
}

async fn not_found() -> Response {
    let text = "not found, expected /metrics, /generated, /-/healthy, /-/ready, /-/reload (POST), \
                /status/config, /status/buildinfo or /api/v1/cardinality\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

fn typed(content_type: &str, body: impl IntoResponse) -> Response {
    let content_type: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, content_type)];
    (content_type, body).into_response()
}
