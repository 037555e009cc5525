//! A connection to a running service, over HTTP/1.1 or HTTP/2, kept while it lasts.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Of a gRPC message: the compressed flag and the length.
const PREFIX: usize = 5;

/// Where `--to` points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Target {
    pub(super) protocol: Protocol,
    authority: String,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
}

impl Target {
    pub(in crate::cli) fn parse(url: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected http://HOST:PORT[/v1/traces] or grpc://HOST:PORT";
        let uri: Uri = url.parse().map_err(|e| format!("{url:?}: {e}, {EXPECTED}"))?;
        let (protocol, port, path) = match uri.scheme_str() {
            Some("http") => (Protocol::Http, 4318, "/v1/traces"),
            Some("grpc") => (Protocol::Grpc, 4317, EXPORT),
            _ => return Err(format!("{url:?}: unknown scheme, {EXPECTED}")),
        };
        let host = uri.host().ok_or_else(|| format!("{url:?}: no host, {EXPECTED}"))?;
        let after_host =
            uri.authority().and_then(|a| a.as_str().split_once(host)).map(|(_, port)| port);
        if uri.port_u16().is_none() && after_host.is_some_and(|port| !port.is_empty()) {
            return Err(format!("{url:?}: the port is not between 0 and 65535, {EXPECTED}"));
        }
        let own_path = uri.path().trim_end_matches('/');
        let path = match (own_path, protocol) {
            ("", _) => path,
            (own, Protocol::Http) => own,
            (own, Protocol::Grpc) => return Err(format!("{url:?}: has path {own}, {EXPECTED}")),
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        Ok(Self { protocol, authority, path: path.to_owned() })
    }
}

/// What came back for a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Headers and trailers.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ConnectionError {
    /// No byte was sent.
    #[error("can't reach {authority}: {reason}")]
    Unreachable { authority: String, reason: String },
    /// The service may have taken the request: sending it again could count it twice.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

pub(super) struct Connection {
    target: Target,
    open: Option<Open>,
}

enum Open {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    pub(super) fn new(target: Target) -> Self {
        Self { target, open: None }
    }

    /// Sends an `ExportTraceServiceRequest`; over a new connection if the last one has ended.
    pub(super) async fn exchange(&mut self, body: &Bytes) -> Result<Answer, ConnectionError> {
        let within = timeout(ANSWER_WITHIN, self.exchange_in_time(body)).await;
        let answer = within.unwrap_or_else(|_| {
            Err(ConnectionError::NoAnswer(format!("nothing came within {ANSWER_WITHIN:?}")))
        });
        if answer.is_err() {
            self.open = None;
        }
        answer
    }

    async fn exchange_in_time(&mut self, body: &Bytes) -> Result<Answer, ConnectionError> {
        if let Some(open) = &mut self.open {
            match open.send(request(&self.target, body)).await {
                Ok(answer) => return read(answer).await,
                Err(e) if e.message().is_none() => return Err(no_answer(e.error())),
                // It had been closed before anything was sent.
                Err(_) => self.open = None,
            }
        }
        let unreachable = |reason| ConnectionError::Unreachable {
            authority: self.target.authority.clone(),
            reason,
        };
        let opened = timeout(CONNECT_WITHIN, Open::connect(&self.target)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer in {CONNECT_WITHIN:?}")));
        let open = self.open.insert(opened.map_err(unreachable)?);
        match open.send(request(&self.target, body)).await {
            Ok(answer) => read(answer).await,
            Err(e) => Err(no_answer(e.error())),
        }
    }
}

impl Open {
    async fn connect(target: &Target) -> Result<Self, String> {
        let stream =
            TcpStream::connect(&target.authority).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = TokioIo::new(stream);
        Ok(match target.protocol {
            Protocol::Http => {
                let (sender, connection) =
                    http1::handshake(stream).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Protocol::Grpc => {
                let executor = TokioExecutor::new();
                let (sender, connection) =
                    http2::handshake(executor, stream).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
        })
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::Http1(sender) => {
                // A connection that has ended gives the request back.
                sender.ready().await.ok();
                sender.try_send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await.ok();
                sender.try_send_request(request).await
            }
        }
    }
}

fn request(target: &Target, body: &Bytes) -> Request<Full<Bytes>> {
    let Target { protocol, authority, path } = target;
    let request = Request::builder().method(http::Method::POST);
    let request = match protocol {
        Protocol::Http => request
            .uri(path)
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body.clone())),
        Protocol::Grpc => request
            .uri(format!("http://{authority}{path}"))
            .header(header::TE, "trailers")
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(Full::new(framed(body))),
    };
    request.expect("host and path have been part of a URL")
}

fn framed(body: &Bytes) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + body.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    framed.put_slice(body);
    framed.freeze()
}

async fn read(answer: Response<Incoming>) -> Result<Answer, ConnectionError> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|e| no_answer(&e))?;
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Ok(Answer { status: head.status, headers, body: body.to_bytes() })
}

fn no_answer(error: &hyper::Error) -> ConnectionError {
    ConnectionError::NoAnswer(error.to_string())
}

impl Answer {
    /// The message in it.
    pub(super) fn message(&self, protocol: Protocol) -> Bytes {
        match protocol {
            Protocol::Http => self.body.clone(),
            Protocol::Grpc => self.body.slice(self.body.len().min(PREFIX)..),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_scheme_a_host_and_a_port() {
        let parsed = |url: &str| {
            let target = Target::parse(url).unwrap();
            (target.protocol, format!("{}{}", target.authority, target.path))
        };
        let http = |text: &str| (Protocol::Http, text.to_owned());
        assert_eq!(parsed("http://127.0.0.1:4318"), http("127.0.0.1:4318/v1/traces"));
        assert_eq!(parsed("http://host:1/v1/traces"), http("host:1/v1/traces"));
        assert_eq!(parsed("http://host/other/v1/traces/"), http("host:4318/other/v1/traces"));
        let grpc = format!("[::1]:4317{EXPORT}");
        assert_eq!(parsed("grpc://[::1]:4317"), (Protocol::Grpc, grpc));
    }

    #[test]
    fn other_targets_are_told_with_what_was_expected() {
        const EXPECTED: &str = "expected http://HOST:PORT[/v1/traces] or grpc://HOST:PORT";
        for url in ["https://h:1", "h:4317", "h", "grpc://h:1/v1/traces", "http://", "ftp://h:1"] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.contains(&format!("{url:?}: ")) && error.ends_with(EXPECTED), "{error}");
        }
    }
}
