//! What an answer means for the request.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::connection::{Answer, Protocol};

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Taken(Taken),
    Later { after: Option<Duration>, why: String },
    Refused(String),
}

/// What the service says of a request that it took.
#[derive(Debug, PartialEq)]
pub(in crate::cli) struct Taken {
    pub(in crate::cli) message: String,
    pub(in crate::cli) n_rejected: u64,
}

pub(super) fn verdict(protocol: Protocol, answer: &Answer) -> Verdict {
    match protocol {
        Protocol::Http => http_verdict(answer),
        Protocol::Grpc => grpc_verdict(answer),
    }
}

fn http_verdict(answer: &Answer) -> Verdict {
    match answer.status {
        StatusCode::OK => taken(&answer.message(Protocol::Http)),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Verdict::Later { after: retry_after(&answer.headers), why: http_reason(answer) }
        }
        _ => Verdict::Refused(http_reason(answer)),
    }
}

fn http_reason(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let message = match tonic_types::Status::decode(answer.body.clone()) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(&answer.body).chars().take(200).collect(),
    };
    let message = message.trim();
    if message.is_empty() {
        format!("answer {status}")
    } else {
        format!("answer {status}, {message}")
    }
}

fn grpc_verdict(answer: &Answer) -> Verdict {
    let Some(status) = Status::from_header_map(&answer.headers) else {
        return match answer.status {
            StatusCode::OK => Verdict::Refused("an answer without grpc-status".to_owned()),
            _ => http_verdict(answer),
        };
    };
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let why = format!("answer {:?}, {}", status.code(), status.message());
    match status.code() {
        Code::Ok => taken(&answer.message(Protocol::Grpc)),
        Code::Unavailable => Verdict::Later { after, why },
        Code::ResourceExhausted if after.is_some() => Verdict::Later { after, why },
        _ => Verdict::Refused(why),
    }
}

fn taken(message: &[u8]) -> Verdict {
    match ExportTraceServiceResponse::decode(message) {
        Ok(response) => {
            let partial = response.partial_success.unwrap_or_default();
            let n_rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
            Verdict::Taken(Taken { message: partial.error_message, n_rejected })
        }
        Err(e) => Verdict::Refused(format!("an answer that is no OTLP: {e}")),
    }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = httpdate::parse_http_date(text).ok()?;
            let now = std::time::UNIX_EPOCH + crate::clock::Clock::default().now();
            Some(at.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    use tonic_types::ErrorDetails;

    use bytes::Bytes;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: Vec<u8>) -> Answer {
        let pair =
            |(name, value): &(&'static str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: headers.iter().map(pair).collect(), body: body.into() }
    }

    #[test]
    fn a_partial_success_is_taken_with_its_message() {
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "odd".into() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let taken = || Verdict::Taken(Taken { message: "odd".into(), n_rejected: 2 });
        assert_eq!(http_verdict(&answer(200, &[], body.clone())), taken());
        let framed = [&[0, 0, 0, 0, 0], &*body].concat();
        assert_eq!(grpc_verdict(&answer(200, &[("grpc-status", "0")], framed)), taken());
    }

    #[test]
    fn a_service_that_is_busy_is_asked_again_when_it_says() {
        let later = |status, headers: &[_]| match http_verdict(&answer(status, headers, Vec::new()))
        {
            Verdict::Later { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(later(503, &[("retry-after", "7")]), Some(Duration::from_secs(7)));
        let past = [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(later(429, &past), Some(Duration::ZERO));
        assert_eq!(later(503, &[]), None);
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::Unavailable, "busy", details);
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        let busy = Answer { status: StatusCode::OK, headers, body: Bytes::new() };
        let after = Some(Duration::from_secs(3));
        assert_eq!(
            grpc_verdict(&busy),
            Verdict::Later { after, why: "answer Unavailable, busy".to_owned() }
        );
    }

    #[test]
    fn other_answers_are_refusals_with_the_services_words() {
        let refused = |verdict| match verdict {
            Verdict::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        let status = tonic_types::Status { message: "bad tag".into(), ..Default::default() };
        let found = refused(http_verdict(&answer(400, &[], status.encode_to_vec())));
        assert_eq!(found, "answer 400, bad tag");
        assert_eq!(refused(http_verdict(&answer(404, &[], b"no\n".to_vec()))), "answer 404, no");
        let found = answer(200, &[("grpc-status", "3"), ("grpc-message", "bad%20tag")], Vec::new());
        assert_eq!(refused(grpc_verdict(&found)), "answer InvalidArgument, bad tag");
        let found = answer(200, &[("grpc-status", "8"), ("grpc-message", "too large")], Vec::new());
        assert_eq!(refused(grpc_verdict(&found)), "answer ResourceExhausted, too large");
    }
}
