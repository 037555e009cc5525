//! OTLP over HTTP: `POST /v1/traces`, in protobuf or JSON, over HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming as IncomingBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio_stream::StreamExt;

use super::accept::Incoming;
use super::answer::{self, Media, Refusal};
use super::body::{self, Encoding};
use super::connections::{Busy, Peer};
use super::request::{Head, Receiver};
use super::{Settings, Taken, h2_settings as h2, shares};
use crate::telemetry::Protocol;

const PATH: &str = "/v1/traces";

/// A header must fit into it; for bodies more gains little.
const HTTP1_BUFFER_MAX: usize = 256 << 10;

/// Serves until `receiver.draining`, then until the last connection is closed.
pub(super) async fn serve(receiver: Arc<Receiver>, mut incoming: Incoming) {
    let builder = connection_builder(&receiver.settings);
    let connections = GracefulShutdown::new();
    loop {
        let conn = tokio::select! {
            conn = incoming.next() => conn,
            () = receiver.draining.cancelled() => break,
        };
        let Some(Ok(conn)) = conn else { break };
        let service = {
            let (receiver, peer) = (Arc::clone(&receiver), conn.peer());
            service_fn(move |request| {
                let (receiver, peer) = (Arc::clone(&receiver), Arc::clone(&peer));
                async move { Ok::<_, Infallible>(respond(&receiver, &peer, request).await) }
            })
        };
        let served = builder.serve_connection(TokioIo::new(conn), service).into_owned();
        let served = connections.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "http connection ended");
            }
        });
    }
    drop(incoming);
    connections.shutdown().await;
}

fn connection_builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let window = h2::window(settings);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(shares::window(settings).min(HTTP1_BUFFER_MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_frame_size(h2::MAX_FRAME)
        .max_concurrent_streams(settings.connections.max_streams_per_connection.max(1))
        .max_header_list_size(h2::MAX_HEADER_LIST)
        .keep_alive_interval(h2::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(h2::KEEPALIVE_TIMEOUT);
    builder
}

async fn respond(
    receiver: &Arc<Receiver>,
    peer: &Arc<Peer>,
    request: Request<IncomingBody>,
) -> Response<Full<Bytes>> {
    let busy = Busy::new(Some(peer));
    let media = media_type(request.headers());
    let version = request.version();
    let (parts, mut body) = request.into_parts();
    let outcome = export(receiver, parts, &mut body, media, &busy).await;
    receiver.tell(&outcome);
    if version >= Version::HTTP_2 {
        body::discard(body);
    }
    let mut answer = answer::http(&receiver.telemetry, outcome, media);
    // The rest of a body that was not read to its end is not waited for.
    if answer.status() != StatusCode::OK && version < Version::HTTP_2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

async fn export(
    receiver: &Arc<Receiver>,
    parts: Parts,
    body: &mut IncomingBody,
    media: Option<Media>,
    busy: &Busy,
) -> Result<Taken, Refusal> {
    if parts.uri.path() != PATH {
        return Err(Refusal::Path(parts.uri.path().to_owned()));
    }
    if parts.method != Method::POST {
        return Err(Refusal::Method(parts.method));
    }
    let tenant = receiver.admit(&parts.headers)?;
    let media = media.ok_or_else(|| Refusal::MediaType {
        found: text_of(&parts.headers, header::CONTENT_TYPE),
        expected: Media::EXPECTED,
    })?;
    let encoding = content_encoding(&parts.headers)?;
    // Not held while the body is waited for.
    drop(parts);
    let max = receiver.settings.limits.max_wire_bytes;
    let declared = body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let check = |seen: &[u8]| {
        let found = seen.len().max(declared.unwrap_or_default());
        if found > max {
            return Err(Refusal::WireTooLarge { found, max });
        }
        receiver.bodies.check(found)?;
        Ok(declared)
    };
    let head = Head { protocol: Protocol::Http, tenant, media, encoding };
    receiver.take(receiver.read(head, body, busy, check).await?).await
}

/// `None` for any other media type, and for text that is not UTF-8.
fn media_type(headers: &HeaderMap) -> Option<Media> {
    let text = text_of(headers, header::CONTENT_TYPE);
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?;
    let foreign = parts.filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset") && !value.eq_ignore_ascii_case("utf-8")
    });
    if foreign {
        None
    } else if name.eq_ignore_ascii_case("application/x-protobuf") {
        Some(Media::Protobuf)
    } else if name.eq_ignore_ascii_case("application/json") {
        Some(Media::Json)
    } else {
        None
    }
}

/// More than one header is more than one encoding.
fn content_encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let found = text_of(headers, header::CONTENT_ENCODING);
    Encoding::parse(&found).ok_or(Refusal::Encoding { found })
}

/// All values of a header, joined as HTTP has it.
fn text_of(headers: &HeaderMap, name: header::HeaderName) -> String {
    let values = headers.get_all(name);
    let values: Vec<_> = values.iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
    values.join(", ")
}
