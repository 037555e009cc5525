//! OTLP as senders send it: over gRPC and HTTP, as protobuf and JSON, in every encoding.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::corpus::Form;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Protocol {
    pub(crate) fn form(self) -> Form {
        match self {
            Self::Grpc | Self::HttpProtobuf => Form::Protobuf,
            Self::HttpJson => Form::Json,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::HttpProtobuf => "application/x-protobuf",
            Self::HttpJson => "application/json",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    pub(crate) const ALL: [Self; 3] = [Self::Identity, Self::Gzip, Self::Zstd];

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    pub(crate) fn encode(self, body: &Bytes) -> Bytes {
        match self {
            Self::Identity => body.clone(),
            Self::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                gzip.write_all(body).expect("into memory");
                gzip.finish().expect("into memory").into()
            }
            Self::Zstd => zstd::encode_all(&body[..], 1).expect("into memory").into(),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Of HTTP.
    pub(crate) status: u16,
    /// Of gRPC, from the trailers or an answer without a body.
    pub(crate) grpc_status: Option<String>,
    pub(crate) headers: HeaderMap,
    /// Without gRPC's frame.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Taken, and nothing to say about it.
    pub(crate) fn is_ok(&self) -> bool {
        let ok = self.status == 200 && self.grpc_status.as_deref().is_none_or(|code| code == "0");
        ok && (self.body.is_empty() || &self.body[..] == b"{}")
    }
}

/// One connection, one request after the other.
#[derive(Debug)]
pub(crate) struct Sender {
    protocol: Protocol,
    encoding: Encoding,
    addr: SocketAddr,
    connection: Connection,
    /// Sent with each request, besides those of the protocol.
    headers: Vec<(&'static str, String)>,
    /// Whether bodies are encoded as the headers say.
    encoded: bool,
    /// In place of one of the protocol's.
    instead: Option<(&'static str, HeaderValue)>,
}

#[derive(Debug)]
enum Connection {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    pub(crate) async fn connect(addr: SocketAddr, protocol: Protocol, encoding: Encoding) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap_or_else(|e| panic!("{addr}: {e}"));
        stream.set_nodelay(true).expect("a socket");
        let stream = TokioIo::new(stream);
        let connection = if protocol == Protocol::Grpc {
            let handshake = http2::handshake(TokioExecutor::new(), stream).await;
            let (sender, connection) = handshake.expect("HTTP/2 begins");
            tokio::spawn(connection);
            Connection::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1 begins");
            tokio::spawn(connection);
            Connection::Http1(sender)
        };
        Self {
            protocol,
            encoding,
            addr,
            connection,
            headers: Vec::new(),
            encoded: true,
            instead: None,
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends bodies as they are, under the headers of the encoding.
    pub(crate) fn without_encoding(self) -> Self {
        Self { encoded: false, ..self }
    }

    /// In place of the header that the protocol has.
    pub(crate) fn with_instead(mut self, name: &'static str, value: &[u8]) -> Self {
        self.instead = Some((name, HeaderValue::from_bytes(value).expect("a header's value")));
        self
    }

    /// `Err` when the connection ended without an answer.
    pub(crate) async fn send(&mut self, body: &Bytes) -> Result<Answer, String> {
        let mut request = self.request(body);
        if let Some((name, value)) = &self.instead {
            request.headers_mut().insert(*name, value.clone());
        }
        let sent = async {
            let answer = match &mut self.connection {
                Connection::Http1(sender) => {
                    sender.ready().await.map_err(|error| error.to_string())?;
                    sender.send_request(request).await
                }
                Connection::Http2(sender) => {
                    sender.ready().await.map_err(|error| error.to_string())?;
                    sender.send_request(request).await
                }
            };
            let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((head, body.trailers().cloned().unwrap_or_default(), body.to_bytes()))
        };
        let sent = tokio::time::timeout(DEADLINE, sent).await;
        let (head, trailers, body) = sent.map_err(|_| format!("no answer in {DEADLINE:?}"))??;
        let grpc_status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
        let framed = self.protocol == Protocol::Grpc && body.len() >= 5;
        Ok(Answer {
            status: head.status.as_u16(),
            grpc_status: grpc_status.map(|code| code.to_str().expect("digits").to_owned()),
            headers: head.headers,
            body: if framed { body.slice(5..) } else { body },
        })
    }

    /// Every body must be taken, and answered in its own media type.
    pub(crate) async fn send_all(&mut self, bodies: &[Bytes]) {
        for (at, body) in bodies.iter().enumerate() {
            let answer = self.send(body).await;
            let taken = answer.as_ref().is_ok_and(|answer| {
                let media_type = answer.headers.get("content-type");
                answer.is_ok() && media_type.is_some_and(|name| name == self.protocol.media_type())
            });
            let (protocol, encoding) = (self.protocol, self.encoding);
            assert!(taken, "request {at} over {protocol:?} {encoding:?}: {answer:?}");
        }
    }

    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let encoded = if self.encoded { self.encoding.encode(body) } else { body.clone() };
        let request = Request::post(match self.protocol {
            Protocol::Grpc => format!("http://{}{EXPORT}", self.addr),
            Protocol::HttpProtobuf | Protocol::HttpJson => "/v1/traces".to_owned(),
        });
        let coded = self.encoding != Encoding::Identity;
        let request = request.header("content-type", self.protocol.media_type());
        let request = self.headers.iter().fold(request, |r, (name, value)| r.header(*name, value));
        if self.protocol == Protocol::Grpc {
            let mut framed = BytesMut::with_capacity(encoded.len() + 5);
            framed.put_u8(u8::from(coded));
            framed.put_u32(u32::try_from(encoded.len()).expect("a frame's length has 32 bits"));
            framed.put(encoded);
            let request =
                request.header("te", "trailers").header("grpc-encoding", self.encoding.name());
            return request.body(Full::new(framed.freeze())).expect("well-formed");
        }
        let request = request.header("host", self.addr.to_string());
        let request =
            if coded { request.header("content-encoding", self.encoding.name()) } else { request };
        request.body(Full::new(encoded)).expect("well-formed")
    }
}

mod tests {
    use std::convert::Infallible;
    use std::io::Read;
    use std::sync::{Arc, Mutex};

    use flate2::read::GzDecoder;
    use http::Response;
    use http_body_util::combinators::BoxBody;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;
    use tokio::net::TcpListener;

    use super::*;

    const BODY: &[u8] = b"a body, a body, a body, a body";
    const SUITE: [Protocol; 3] = [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson];

    type Arrived = Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>;

    #[tokio::test]
    async fn a_body_arrives_framed_and_encoded_as_its_headers_say() {
        let (addr, arrived) = serve().await;
        let suite = SUITE.into_iter().flat_map(|p| Encoding::ALL.map(|e| (p, e)));
        for (protocol, encoding) in suite {
            let mut sender = Sender::connect(addr, protocol, encoding).await;
            sender.send_all(&[Bytes::from_static(BODY), Bytes::from_static(BODY)]).await;
            let requests = std::mem::take(&mut *arrived.lock().expect("not poisoned"));
            assert_eq!(requests.len(), 2);
            requests.into_iter().for_each(|(head, body)| check(protocol, encoding, &head, body));
        }
    }

    fn check(protocol: Protocol, encoding: Encoding, head: &http::request::Parts, body: Bytes) {
        let header = |name| head.headers.get(name).map(|value| value.to_str().expect("text"));
        let (path, media_type, named) = match protocol {
            Protocol::Grpc => (EXPORT, "application/grpc", "grpc-encoding"),
            Protocol::HttpProtobuf => ("/v1/traces", "application/x-protobuf", "content-encoding"),
            Protocol::HttpJson => ("/v1/traces", "application/json", "content-encoding"),
        };
        assert_eq!((head.uri.path(), header("content-type")), (path, Some(media_type)));
        let body = if protocol == Protocol::Grpc {
            let len = u32::from_be_bytes(body[1..5].try_into().expect("4 bytes"));
            assert_eq!(len as usize, body.len() - 5);
            assert_eq!(body[0], u8::from(encoding != Encoding::Identity));
            body.slice(5..)
        } else {
            body
        };
        let inflated = match header(named).unwrap_or("identity") {
            "gzip" => {
                let mut inflated = Vec::new();
                GzDecoder::new(&body[..]).read_to_end(&mut inflated).expect("whole gzip");
                inflated
            }
            "zstd" => zstd::decode_all(&body[..]).expect("whole zstd"),
            _ => body.to_vec(),
        };
        assert_eq!(header(named).unwrap_or("identity"), encoding.name());
        assert_eq!(inflated, BODY);
    }

    /// Takes everything, answers as a receiver does.
    async fn serve() -> (SocketAddr, Arrived) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let arrived = Arrived::default();
        let kept = Arc::clone(&arrived);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request| answer(request, Arc::clone(&kept)));
                let builder = auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    let served = builder.serve_connection(TokioIo::new(stream), service).await;
                    drop(served);
                });
            }
        });
        (addr, arrived)
    }

    async fn answer(
        request: Request<Incoming>,
        arrived: Arrived,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let media_type = head.headers["content-type"].clone();
        let grpc = media_type == "application/grpc";
        let body = body.collect().await?.to_bytes();
        arrived.lock().expect("not poisoned").push((head, body));
        let body = Full::new(Bytes::from_static(if grpc { &[0; 5] } else { b"" }));
        let trailers = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let trailers = async move { grpc.then_some(Ok(trailers)) };
        let mut answer = Response::new(body.with_trailers(trailers).boxed());
        answer.headers_mut().insert("content-type", media_type);
        Ok(answer)
    }
}
