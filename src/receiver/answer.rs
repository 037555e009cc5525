//! What a sender is told: each refusal as a gRPC status and as an HTTP answer, and success likewise.
//!
//! Also the one place where requests are counted by how they ended.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use super::rates::OverRate;
use super::{TakeError, Taken};
use crate::ledger::TooManyTenants;
use crate::telemetry::{Protocol, Refused, Telemetry};
use crate::tenant::{InvalidTenant, TENANT_HEADER};

/// Why nothing was taken of a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Undecodable(String),
    /// gRPC's own framing was broken, whatever the message says.
    #[error("{0}")]
    Framing(String),
    #[error("media type is {found:?}, expected {expected}")]
    MediaType { found: String, expected: &'static str },
    #[error("encoding is {found:?}, expected identity, gzip or zstd")]
    Encoding { found: String },
    #[error(
        "body is larger than max_wire_bytes: found at least {found} bytes, expected at most {max}"
    )]
    WireTooLarge { found: usize, max: usize },
    #[error("body inflates to more than max_inflated_bytes: expected at most {max} bytes")]
    InflatedTooLarge { max: usize },
    #[error("{0}")]
    TooMuch(String),
    #[error("body did not arrive whole within body_timeout, {0:?}")]
    BodyTimeout(Duration),
    #[error(
        "body takes at least {found} bytes while it is read and inflated, expected at most {max}, \
         the part of limits.memory that bodies share: send smaller batches"
    )]
    NeverFits { found: usize, max: usize },
    #[error("no room for the body beside those in flight: expected another try later")]
    NoRoom,
    #[error("body gave way to others, it arrived slowly: expected another try later")]
    GaveWay,
    #[error(transparent)]
    OverRate(#[from] OverRate),
    #[error("no tenant: expected one {TENANT_HEADER} header")]
    TenantMissing,
    #[error("{0} tenants, expected one {TENANT_HEADER} header")]
    TenantRepeated(usize),
    #[error("malformed tenant: {0}")]
    TenantInvalid(#[from] InvalidTenant),
    #[error(transparent)]
    TooManyTenants(#[from] TooManyTenants),
    #[error("shutting down: expected another try later")]
    Draining,
    #[error("method is {0}, expected POST")]
    Method(http::Method),
    #[error("path is {0:?}, expected \"/v1/traces\"")]
    Path(String),
}

impl From<TakeError> for Refusal {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Undecodable(_) => Self::Undecodable(error.to_string()),
            TakeError::TooManyTenants(error) => Self::TooManyTenants(error),
            TakeError::Closed => Self::Draining,
            TakeError::OverRate(over) => Self::OverRate(over),
            TakeError::TooLarge(_) => Self::TooMuch(error.to_string()),
        }
    }
}

impl Refusal {
    /// `None` for what is no trace request at all.
    pub(super) fn reason(&self) -> Option<Refused> {
        match self {
            Self::Undecodable(_) | Self::Framing(_) => Some(Refused::Undecodable),
            Self::MediaType { .. } => Some(Refused::MediaType),
            Self::Encoding { .. } => Some(Refused::Encoding),
            Self::WireTooLarge { .. }
            | Self::InflatedTooLarge { .. }
            | Self::NeverFits { .. }
            | Self::TooMuch(_) => Some(Refused::TooLarge),
            Self::BodyTimeout(_) => Some(Refused::Timeout),
            Self::NoRoom | Self::GaveWay => Some(Refused::Overload),
            Self::OverRate(_) => Some(Refused::RateLimit),
            Self::TenantMissing
            | Self::TenantRepeated(_)
            | Self::TenantInvalid(_)
            | Self::TooManyTenants(_) => Some(Refused::Tenant),
            Self::Draining => Some(Refused::Draining),
            Self::Method(_) | Self::Path(_) => None,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Undecodable(_)
            | Self::MediaType { .. }
            | Self::TenantRepeated(_)
            | Self::TenantInvalid(_) => Code::InvalidArgument,
            Self::Framing(_) => Code::Internal,
            Self::WireTooLarge { .. }
            | Self::InflatedTooLarge { .. }
            | Self::NeverFits { .. }
            | Self::TooMuch(_)
            | Self::OverRate(_) => Code::ResourceExhausted,
            Self::BodyTimeout(_) => Code::DeadlineExceeded,
            Self::TenantMissing => Code::Unauthenticated,
            Self::Draining | Self::NoRoom | Self::GaveWay => Code::Unavailable,
            Self::TooManyTenants(_) => Code::PermissionDenied,
            Self::Encoding { .. } | Self::Method(_) | Self::Path(_) => Code::Unimplemented,
        }
    }

    fn http_status(&self) -> StatusCode {
        match self {
            Self::Undecodable(_)
            | Self::Framing(_)
            | Self::TenantRepeated(_)
            | Self::TenantInvalid(_) => StatusCode::BAD_REQUEST,
            Self::MediaType { .. } | Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WireTooLarge { .. }
            | Self::InflatedTooLarge { .. }
            | Self::NeverFits { .. }
            | Self::TooMuch(_)
            | Self::OverRate(OverRate::Never { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OverRate(OverRate::For { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TenantMissing => StatusCode::UNAUTHORIZED,
            Self::Draining | Self::NoRoom | Self::GaveWay => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyTenants(_) => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path(_) => StatusCode::NOT_FOUND,
        }
    }

    /// When the same request may come again; `None` = never.
    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Self::Draining | Self::NoRoom | Self::GaveWay => Some(jittered_delay()),
            Self::OverRate(OverRate::For { refill, .. }) => Some(*refill + jitter_of(*refill)),
            _ => None,
        }
    }

    /// The status with its details: when to come again, or what was wrong with the request.
    fn status(&self, retry: Option<Duration>) -> tonic::Status {
        let message = self.to_string();
        let details = match (self, retry) {
            (_, Some(delay)) => ErrorDetails::with_retry_info(Some(delay)),
            (Self::Undecodable(_), None) => {
                ErrorDetails::with_bad_request_violation("body", message.as_str())
            }
            _ => return tonic::Status::new(self.code(), message),
        };
        tonic::Status::with_error_details(self.code(), message, details)
    }
}

/// 0.5 to 5 s: refused senders do not return together.
fn jittered_delay() -> Duration {
    let random = RandomState::new().hash_one(());
    Duration::from_millis(500 + random % 4501)
}

/// A tenth at most, and at least up to 100 ms.
fn jitter_of(delay: Duration) -> Duration {
    let most = u64::try_from(delay.as_millis() / 10).unwrap_or(u64::MAX).max(100);
    Duration::from_millis(RandomState::new().hash_one(()) % most)
}

/// The media types of OTLP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Protobuf,
    Json,
}

impl Media {
    pub(super) const EXPECTED: &'static str = "application/x-protobuf or application/json";

    fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

pub(super) fn grpc(
    telemetry: &Telemetry,
    outcome: Result<Taken, Refusal>,
) -> Response<tonic::body::Body> {
    count(telemetry, Protocol::Grpc, &outcome);
    let refusal = match outcome {
        Ok(taken) => return grpc_success(taken),
        Err(refusal) => refusal,
    };
    let mut answer: Response<tonic::body::Body> = refusal.status(refusal.retry_delay()).into_http();
    match refusal {
        Refusal::Encoding { .. } => {
            let offer = HeaderValue::from_static("identity,gzip,zstd");
            answer.headers_mut().insert("grpc-accept-encoding", offer);
        }
        // What is not gRPC is told in HTTP's words, too.
        Refusal::MediaType { .. } => *answer.status_mut() = refusal.http_status(),
        _ => {}
    }
    answer
}

fn grpc_success(taken: Taken) -> Response<tonic::body::Body> {
    let message = response_message(taken).encode_to_vec();
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(0);
    frame.extend_from_slice(&len.to_be_bytes());
    frame.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut answer = Response::new(tonic::body::Body::new(body));
    let media = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(header::CONTENT_TYPE, media);
    answer
}

/// `media` is the request's, and so is the answer's; JSON for who sent neither.
pub(super) fn http(
    telemetry: &Telemetry,
    outcome: Result<Taken, Refusal>,
    media: Option<Media>,
) -> Response<Full<Bytes>> {
    count(telemetry, Protocol::Http, &outcome);
    let media = media.unwrap_or(Media::Json);
    let mut answer = match outcome {
        Ok(taken) => Response::new(Full::from(http_success(taken, media))),
        Err(refusal) => http_refusal(&refusal, media),
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media.name()));
    answer
}

fn http_success(taken: Taken, media: Media) -> Vec<u8> {
    match (media, response_message(taken).partial_success) {
        (Media::Protobuf, _) => response_message(taken).encode_to_vec(),
        (Media::Json, None) => b"{}".to_vec(),
        (Media::Json, Some(partial)) => {
            json!({"partialSuccess": {"errorMessage": partial.error_message}})
                .to_string()
                .into_bytes()
        }
    }
}

fn http_refusal(refusal: &Refusal, media: Media) -> Response<Full<Bytes>> {
    let retry = refusal.retry_delay();
    let body = match media {
        Media::Protobuf => http_status_message(&refusal.status(retry)),
        Media::Json => http_status_json(refusal, retry).into_bytes(),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = refusal.http_status();
    if let Some(delay) = retry {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(refusal, Refusal::Method(_)) {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    answer
}

/// `google.rpc.Status`, which is also what gRPC's details are.
fn http_status_message(status: &tonic::Status) -> Vec<u8> {
    if !status.details().is_empty() {
        return status.details().to_vec();
    }
    let plain = tonic_types::Status {
        code: i32::from(status.code()),
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    plain.encode_to_vec()
}

fn http_status_json(refusal: &Refusal, retry: Option<Duration>) -> String {
    let mut status = json!({"code": i32::from(refusal.code()), "message": refusal.to_string()});
    if let (Some(delay), Some(fields)) = (retry, status.as_object_mut()) {
        let info = json!([{
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{:.3}s", delay.as_secs_f64()),
        }]);
        fields.insert("details".to_owned(), info);
    }
    status.to_string()
}

/// Left empty when everything was taken, as the specification asks.
fn response_message(taken: Taken) -> ExportTraceServiceResponse {
    let partial_success = (taken.outside_window > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: 0,
        error_message: format!(
            "{} of {} spans are not counted: they end outside of ingestion_time_range_slack",
            taken.outside_window, taken.spans
        ),
    });
    ExportTraceServiceResponse { partial_success }
}

fn count(telemetry: &Telemetry, protocol: Protocol, outcome: &Result<Taken, Refusal>) {
    match outcome {
        Ok(taken) => telemetry.request_taken(protocol, taken.outside_window > 0),
        Err(refusal) => {
            if let Some(reason) = refusal.reason() {
                telemetry.request_refused(protocol, reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIAL: Taken = Taken { spans: 40, outside_window: 12 };
    const MESSAGE: &str =
        "12 of 40 spans are not counted: they end outside of ingestion_time_range_slack";

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn body_of<B>(answer: Response<B>) -> (Bytes, Option<HeaderMap>)
    where
        B: http_body::Body,
        B::Error: std::fmt::Debug,
    {
        let body = block_on(answer.into_body().collect()).expect("a body in memory");
        let trailers = body.trailers().cloned();
        (body.to_bytes(), trailers)
    }

    #[test]
    fn spans_outside_the_window_are_answered_with_a_message_and_none_rejected() {
        let telemetry = Telemetry::new();
        let expected =
            ExportTracePartialSuccess { rejected_spans: 0, error_message: MESSAGE.to_owned() };

        let (body, _) = body_of(http(&telemetry, Ok(PARTIAL), Some(Media::Protobuf)));
        let message = ExportTraceServiceResponse::decode(body).expect("a response");
        assert_eq!(message.partial_success.as_ref(), Some(&expected));

        let (body, _) = body_of(http(&telemetry, Ok(PARTIAL), Some(Media::Json)));
        let text: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(text, json!({"partialSuccess": {"errorMessage": MESSAGE}}));

        let (body, trailers) = body_of(grpc(&telemetry, Ok(PARTIAL)));
        assert_eq!(body[..5], [0, 0, 0, 0, u8::try_from(body.len() - 5).expect("short")]);
        let message = ExportTraceServiceResponse::decode(&body[5..]).expect("a response");
        assert_eq!(message.partial_success, Some(expected));
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");

        let count = |result| {
            let families = telemetry.registry.gather();
            let family = families.iter().find(|f| f.name() == "spanmill_requests_total");
            let metrics = family.expect("counted").get_metric();
            let of =
                |m: &&prometheus::proto::Metric| m.get_label().iter().any(|l| l.value() == result);
            metrics.iter().filter(of).map(|m| m.get_counter().get_value()).sum::<f64>()
        };
        assert_eq!((count("partial"), count("ok"), count("refused")), (3.0, 0.0, 0.0));
    }

    #[test]
    fn a_draining_receiver_says_when_to_come_again() {
        for _ in 0..100 {
            let answer = grpc(&Telemetry::new(), Err(Refusal::Draining));
            let status = tonic::Status::from_header_map(answer.headers()).expect("a status");
            assert_eq!(status.code(), Code::Unavailable);
            let delay = status.get_details_retry_info().and_then(|i| i.retry_delay);
            let millis = delay.expect("a delay").as_millis();
            assert!((500..=5000).contains(&millis), "{millis} ms");

            let answer = http(&Telemetry::new(), Err(Refusal::Draining), Some(Media::Protobuf));
            assert_eq!(answer.status(), 503);
            let seconds = answer.headers()[header::RETRY_AFTER].to_str().expect("text").parse();
            let seconds: u32 = seconds.expect("whole seconds");
            assert!((1..=5).contains(&seconds), "{seconds} s");
            let status = tonic_types::Status::decode(body_of(answer).0).expect("a status");
            assert_eq!(status.code, 14);
            assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
        }
    }
}
