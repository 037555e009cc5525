//! OTLP over gRPC: tonic's transport and router with our own unary service behind them.
//!
//! The service reads the frame itself, since tonic's codec knows one limit, applies it to inflated
//! bytes only, and answers OUT_OF_RANGE, which OTLP senders retry for ever.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, header};
use tonic::body::Body;
use tonic::server::NamedService;

use super::accept::Incoming;
use super::answer::{self, Media, Refusal};
use super::body::{self, Encoding};
use super::connections::{Busy, Peer};
use super::request::{Head, Receiver};
use super::{Taken, h2_settings as h2};
use crate::telemetry::Protocol;

const EXPORT_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Compressed flag and length.
const PREFIX_LEN: usize = 5;

/// Serves until `receiver.draining`, then until the last connection is closed.
pub(super) async fn serve(receiver: Arc<Receiver>, incoming: Incoming) {
    let draining = receiver.draining.clone();
    let window = h2::window(&receiver.settings);
    let max_streams = receiver.settings.connections.max_streams_per_connection.max(1);
    let served = tonic::transport::Server::builder()
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_frame_size(h2::MAX_FRAME)
        .max_concurrent_streams(max_streams)
        .http2_max_header_list_size(h2::MAX_HEADER_LIST)
        .http2_keepalive_interval(Some(h2::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(h2::KEEPALIVE_TIMEOUT))
        .add_service(TraceService { receiver })
        .serve_with_incoming_shutdown(incoming, draining.cancelled())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "grpc listener ended");
    }
}

#[derive(Debug, Clone)]
struct TraceService {
    receiver: Arc<Receiver>,
}

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl tower::Service<Request<Body>> for TraceService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let receiver = Arc::clone(&self.receiver);
        Box::pin(async move {
            let path = request.uri().path();
            if path != EXPORT_PATH {
                let text = format!("method is {path:?}, expected {EXPORT_PATH:?}");
                return Ok(tonic::Status::unimplemented(text).into_http());
            }
            let (parts, mut body) = request.into_parts();
            let busy = Busy::new(parts.extensions.get::<Arc<Peer>>());
            let outcome = export(&receiver, parts.headers, &mut body, &busy).await;
            receiver.tell(&outcome);
            body::discard(body);
            Ok(answer::grpc(&receiver.telemetry, outcome))
        })
    }
}

async fn export(
    receiver: &Arc<Receiver>,
    headers: HeaderMap,
    body: &mut Body,
    busy: &Busy,
) -> Result<Taken, Refusal> {
    let tenant = receiver.admit(&headers)?;
    check_media_type(&headers)?;
    let encoding = message_encoding(&headers)?;
    // Not held while the body is waited for.
    drop(headers);
    let head = Head { protocol: Protocol::Grpc, tenant, media: Media::Protobuf, encoding };
    let max = receiver.settings.limits.max_wire_bytes;
    let check = |seen: &[u8]| {
        let whole = check_frame(seen, max)?;
        receiver.bodies.check(whole.unwrap_or_default())?;
        Ok(whole)
    };
    let mut whole = receiver.read(head, body, busy, check).await?;
    let compressed = compressed_flag(&whole.wire)?;
    whole.wire.advance(PREFIX_LEN);
    whole.head.encoding = match (compressed, encoding) {
        (false, _) => Encoding::Identity,
        (true, Encoding::Identity) => {
            let text = "message has the compressed flag, expected a grpc-encoding with it";
            return Err(Refusal::Framing(text.to_owned()));
        }
        (true, encoding) => encoding,
    };
    receiver.take(whole).await
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let found = String::from_utf8_lossy(found);
    let media = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/grpc" | "application/grpc+proto" => Ok(()),
        _ => Err(Refusal::MediaType {
            found: found.into_owned(),
            expected: "application/grpc or application/grpc+proto",
        }),
    }
}

fn message_encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let Some(value) = headers.get("grpc-encoding") else { return Ok(Encoding::Identity) };
    let text = String::from_utf8_lossy(value.as_bytes());
    Encoding::parse(&text).ok_or_else(|| Refusal::Encoding { found: text.into_owned() })
}

/// Length of the message that a prefix announces, once the prefix is there.
fn announced(seen: &[u8]) -> Option<usize> {
    let (_, rest) = seen.split_first()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*len)).ok()
}

/// Refuses a message for its announced length, before its bytes are read, and a second message; says
/// how long the whole is, once that is known.
fn check_frame(seen: &[u8], max: usize) -> Result<Option<usize>, Refusal> {
    let Some(len) = announced(seen) else { return Ok(None) };
    if len > max {
        return Err(Refusal::WireTooLarge { found: len, max });
    }
    let whole = len.saturating_add(PREFIX_LEN);
    if seen.len() > whole {
        let extra = seen.len() - whole;
        let text = format!("{extra} bytes after a message of {len} bytes, expected one message");
        return Err(Refusal::Framing(text));
    }
    Ok(Some(whole))
}

fn compressed_flag(frame: &Bytes) -> Result<bool, Refusal> {
    let len = frame.len();
    match announced(frame) {
        None => {
            let text = format!("truncated message: {len} bytes, expected a prefix of {PREFIX_LEN}");
            return Err(Refusal::Undecodable(text));
        }
        Some(announced) if len - PREFIX_LEN < announced => {
            let found = len - PREFIX_LEN;
            let text = format!("truncated message: {found} bytes, expected {announced}");
            return Err(Refusal::Undecodable(text));
        }
        Some(_) => {}
    }
    match frame.first() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        flag => {
            let found = flag.copied().unwrap_or_default();
            Err(Refusal::Framing(format!("compressed flag is {found}, expected 0 or 1")))
        }
    }
}
