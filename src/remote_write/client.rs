//! One HTTP exchange with an endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER,
};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tokio::time::Instant;

use super::connection;
pub use super::connection::ClientError;
use super::{Auth, EndpointSettings, Secret};
use crate::clock::Clock;
use crate::telemetry::{RemoteWriteMetrics, Telemetry};
use crate::tenant::{TENANT_HEADER, TenantId};

/// What an endpoint made of a write request.
#[must_use = "what was not accepted is to be sent again or counted"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All of it is stored.
    Accepted,
    /// None of it is stored, because of something in it; the same again would be refused again.
    Final { code: u16, message: String },
    /// The endpoint takes nothing from us (address, credentials, protocol): nothing is stored, and it
    /// says nothing about the series in the request. Worth another try at the next tick.
    Unwelcome { code: u16, message: String },
    /// Worth another try soon.
    Recoverable {
        /// None without an answer.
        code: Option<u16>,
        /// Between 1 s and 5 min.
        retry_after: Option<Duration>,
        /// False only when the endpoint certainly did not take the request.
        maybe_stored: bool,
        message: String,
    },
}

/// Sends to one endpoint; shared by all that do.
pub struct Client {
    http: reqwest::Client,
    url: Url,
    name: String,
    /// All but those that differ between requests.
    headers: HeaderMap,
    auth: Auth,
    /// The tenant's id stands in a configured header.
    tenant_is_configured: bool,
    retry_on_http_429: bool,
    metrics: RemoteWriteMetrics,
    clock: Arc<Clock>,
}

const USER_AGENT: &str = concat!("spanmill/", env!("CARGO_PKG_VERSION"));
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const ATTEMPT_HEADER: HeaderName = HeaderName::from_static("retry-attempt");

/// Of an answer's body, in bytes: what goes into a message.
const MESSAGE_MAX: usize = 1024;
/// Of an answer's body, in bytes: what is read so that its connection can be used again.
const BODY_MAX: usize = 64 * 1024;

const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

impl Client {
    /// Reads certificates; opens no connection.
    pub fn new(
        settings: &EndpointSettings,
        telemetry: &Telemetry,
        clock: Arc<Clock>,
    ) -> Result<Self, ClientError> {
        let http = connection::open(settings, USER_AGENT)?;
        Ok(Self {
            http,
            url: connection::address(settings)?,
            name: settings.name.clone(),
            headers: headers(settings)?,
            auth: settings.auth.clone(),
            tenant_is_configured: settings
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(TENANT_HEADER)),
            retry_on_http_429: settings.retry_on_http_429,
            metrics: telemetry.remote_write.clone(),
            clock,
        })
    }

    /// Sends a write request (compressed) and tells what became of it. `attempt` counts from 0.
    pub async fn send(&self, body: Bytes, tenant: Option<&TenantId>, attempt: u32) -> Answer {
        self.send_with(body, tenant, &HeaderMap::new(), attempt).await
    }

    /// With headers that win over the endpoint's own.
    pub async fn send_with(
        &self,
        body: Bytes,
        tenant: Option<&TenantId>,
        own: &HeaderMap,
        attempt: u32,
    ) -> Answer {
        let mut headers = self.headers(tenant, attempt);
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        let request = self.http.post(self.url.clone()).headers(headers);
        let request = match authorize(request, &self.auth).await {
            Ok(request) => request.body(body),
            Err(message) => return Answer::not_sent(message),
        };
        if attempt > 0 {
            self.metrics.retries.with_label_values(&[&self.name]).inc();
        }
        let start = Instant::now();
        let (code, answer) = match request.send().await {
            Ok(response) => (response.status().as_str().to_owned(), self.judge(response).await),
            Err(e) => ("error".to_owned(), Answer::without_status(&e.without_url())),
        };
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.request_seconds.with_label_values(&[&self.name]).observe(seconds);
        self.metrics.requests.with_label_values(&[&self.name, &code]).inc();
        answer
    }

    fn headers(&self, tenant: Option<&TenantId>, attempt: u32) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(tenant) = tenant.filter(|_| !self.tenant_is_configured) {
            let id = HeaderValue::from_str(tenant.as_str());
            headers
                .insert(TENANT_HEADER, id.expect("a tenant's id has only characters of headers"));
        }
        if attempt > 0 {
            headers.insert(ATTEMPT_HEADER, attempt.into());
        }
        headers
    }

    /// By status alone; the body is for people.
    async fn judge(&self, response: Response) -> Answer {
        let status = response.status();
        let headers = response.headers().clone();
        let body = read_body(response).await;
        if status.is_success() {
            return Answer::Accepted;
        }
        let code = status.as_u16();
        if status.is_redirection() {
            let target = headers.get(LOCATION).map_or("nowhere", |v| v.to_str().unwrap_or("?"));
            let message = format!("redirected to {target}, set this as the endpoint's url");
            return Answer::Unwelcome { code, message: one_line(message.as_bytes()) };
        }
        let message = if body.is_empty() { status.to_string() } else { one_line(&body) };
        let recoverable = |maybe_stored| Answer::Recoverable {
            code: Some(code),
            retry_after: retry_after(&headers, self.clock.now()),
            maybe_stored,
            message: message.clone(),
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS if self.retry_on_http_429 => recoverable(false),
            StatusCode::REQUEST_TIMEOUT => recoverable(true),
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE => Answer::Unwelcome { code, message },
            _ if status.is_client_error() => Answer::Final { code, message },
            _ => recoverable(true),
        }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.name).finish_non_exhaustive()
    }
}

impl Answer {
    fn not_sent(message: String) -> Self {
        Self::Recoverable { code: None, retry_after: None, maybe_stored: false, message }
    }

    fn without_status(error: &reqwest::Error) -> Self {
        let certainly_not_taken = error.is_connect() || error.is_builder();
        Self::Recoverable {
            code: None,
            retry_after: None,
            maybe_stored: !certainly_not_taken,
            message: one_line(connection::chain(error).as_bytes()),
        }
    }
}

/// Those that all requests to an endpoint have. Reserved names were refused by the configuration, so
/// none of the user's replaces one of ours.
/// A tenant's own; the configuration has checked them.
pub(super) fn own_headers(headers: &[(String, String)]) -> HeaderMap {
    let parsed = headers.iter().filter_map(|(name, value)| {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    });
    parsed.collect()
}

fn headers(settings: &EndpointSettings) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let invalid = || ClientError::Header { name: name.clone() };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(VERSION_HEADER, HeaderValue::from_static("0.1.0"));
    if let Some(host) = connection::host_header(settings)? {
        headers.insert(HOST, host);
    }
    Ok(headers)
}

/// Adds the credentials, read anew from their files.
async fn authorize(request: RequestBuilder, auth: &Auth) -> Result<RequestBuilder, String> {
    match auth {
        Auth::None => Ok(request),
        Auth::Basic { username, password } => {
            let (username, password) = (reveal(username).await?, reveal(password).await?);
            Ok(request.basic_auth(username, Some(password)))
        }
        Auth::Authorization { kind, credentials } => {
            let text = format!("{kind} {}", reveal(credentials).await?);
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| "the credentials have a control character, write them on one line")?;
            value.set_sensitive(true);
            Ok(request.header(AUTHORIZATION, value))
        }
    }
}

async fn reveal(secret: &Secret) -> Result<String, String> {
    let path = match secret {
        Secret::Value(value) => return Ok(value.clone()),
        Secret::File(path) => path.clone(),
    };
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
    match read {
        Ok(Ok(text)) => Ok(text.trim_end().to_owned()),
        Ok(Err(e)) => Err(format!("can't read the credentials in {shown}: {e}")),
        Err(e) => Err(format!("can't read the credentials in {shown}: {e}")),
    }
}

/// As much as a message may hold; the rest is read, within bounds, and forgotten. What was sent counts
/// by its status, so trouble in the body is none.
async fn read_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    let mut n_read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MESSAGE_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        n_read += chunk.len();
        if n_read >= BODY_MAX {
            break;
        }
    }
    body
}

/// Without control characters, so that it can't forge a line in a log; cut on a character's border.
fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    line.truncate(line.floor_char_boundary(MESSAGE_MAX));
    line
}

/// Whole seconds or an HTTP date; anything else is as if absent.
fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now)
        }
    };
    Some(wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("a header"));
        // Sun, 06 Nov 1994 08:49:37 GMT
        retry_after(&headers, Duration::from_secs(784_111_777)).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_within_bounds() {
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("86400", Some(300)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(1)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(300)),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_are_one_line_of_bounded_length() {
        assert_eq!(one_line(b"out of\r\norder \x1b[31m sample\n"), "out of order [31m sample");
        let long = "\u{e4}".repeat(MESSAGE_MAX);
        assert_eq!(one_line(&long.as_bytes()[1..]).len(), MESSAGE_MAX - 1);
        assert_eq!(one_line(b"\xff"), "\u{fffd}");
    }
}
