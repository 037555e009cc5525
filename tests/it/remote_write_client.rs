//! One exchange with an endpoint, for each way in which it can end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use spanmill::clock::Clock;
use spanmill::remote_write::client::{Answer, Client, ClientError};
use spanmill::remote_write::{Auth, EndpointSettings, Pem, Secret, TlsVersion};
use spanmill::telemetry::Telemetry;
use spanmill::tenant::TenantId;

use crate::support::receiver::{
    Behaviour, Gate, Receiver, answer, close_unanswered, close_unread, compress, series, store,
    write_request,
};
use crate::support::settings;

fn client(settings: &EndpointSettings) -> Client {
    let clock = Arc::new(Clock::default());
    Client::new(settings, &Telemetry::new(), clock).expect("the settings are good")
}

fn body() -> Bytes {
    compress(&write_request([series("m", &[("a", "1")], &[(1, 1.0)])]))
}

async fn send(settings: &EndpointSettings) -> Answer {
    client(settings).send(body(), None, 0).await
}

/// What the client makes of a behaviour.
async fn outcome(behaviour: Behaviour) -> Answer {
    let receiver = Receiver::start().await;
    receiver.script([behaviour]);
    send(&settings(&receiver.url())).await
}

fn recoverable(code: Option<u16>, stored: bool) -> impl Fn(&Answer) -> bool {
    move |answer| matches!(answer, Answer::Recoverable { code: c, maybe_stored: s, .. } if (*c, *s) == (code, stored))
}

#[tokio::test]
async fn a_write_request_is_stored_and_accepted() {
    let receiver = Receiver::start().await;
    assert_eq!(send(&settings(&receiver.url())).await, Answer::Accepted);
    receiver.wait_until("the sample", |s| s.stored.last(&[("a", "1")]) == Some(1.0)).await;
    let state = receiver.state();
    let request = &state.requests[0];
    assert_eq!((request.status, request.stored, &request.wire), (Some(204), true, &body()));
    assert_eq!(request.n_inflated, request.write.encoded_len());
    assert_eq!(request.path, "/api/v1/write");
    assert_eq!(request.header("user-agent"), format!("spanmill/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("x-prometheus-remote-write-version"), "0.1.0");
    for absent in ["retry-attempt", "x-scope-orgid", "authorization", "referer"] {
        assert_eq!(request.header(absent), "", "{absent}");
    }
}

#[tokio::test]
async fn an_answer_is_judged_by_its_status() {
    for status in [200, 202, 204] {
        assert_eq!(outcome(answer(status)).await, Answer::Accepted, "{status}");
    }
    for status in [400, 402, 406, 409, 410, 413, 422, 431] {
        let message = "not so".to_owned();
        let found = outcome(answer(status).body(" not\nso ")).await;
        assert_eq!(found, Answer::Final { code: status, message }, "{status}");
    }
    for status in [401, 403, 404, 405, 407, 415] {
        let found = outcome(answer(status)).await;
        assert!(matches!(found, Answer::Unwelcome { code, .. } if code == status), "{found:?}");
    }
    for status in [408, 500, 501, 502, 503, 504, 529] {
        let found = outcome(answer(status)).await;
        assert!(recoverable(Some(status), true)(&found), "{found:?}");
    }
    let found = outcome(answer(429)).await;
    assert!(recoverable(Some(429), false)(&found), "{found:?}");
}

#[tokio::test]
async fn too_many_requests_is_final_when_configured() {
    let receiver = Receiver::start().await;
    receiver.otherwise(answer(429).header("retry-after", 7));
    let mut settings = settings(&receiver.url());
    settings.retry_on_http_429 = false;
    let found = send(&settings).await;
    assert!(matches!(found, Answer::Final { code: 429, .. }), "{found:?}");
}

#[tokio::test]
async fn messages_without_a_body_name_the_status_and_long_ones_are_cut() {
    let message = "500 Internal Server Error".to_owned();
    let expected =
        Answer::Recoverable { code: Some(500), retry_after: None, maybe_stored: true, message };
    assert_eq!(outcome(answer(500)).await, expected);
    let found = outcome(answer(400).body("x".repeat(1 << 20))).await;
    assert!(matches!(&found, Answer::Final { message, .. } if message.len() == 1024), "{found:?}");
}

#[tokio::test]
async fn retry_after_is_taken_as_seconds_and_as_a_date() {
    let after = |answer: Answer| match answer {
        Answer::Recoverable { retry_after, .. } => retry_after,
        _ => None,
    };
    let seconds = |s| Some(Duration::from_secs(s));
    assert_eq!(after(outcome(answer(503).header("retry-after", 7)).await), seconds(7));
    assert_eq!(after(outcome(answer(429).header("retry-after", 0)).await), seconds(1));
    assert_eq!(after(outcome(answer(500).header("retry-after", 86_400)).await), seconds(300));
    assert_eq!(after(outcome(answer(503).header("retry-after", "later")).await), None);
    let date = |seconds| {
        let now = Clock::default().now();
        let date = SystemTime::UNIX_EPOCH + now + Duration::from_secs(seconds);
        answer(503).header("retry-after", httpdate::fmt_http_date(date))
    };
    let wait = after(outcome(date(60)).await).expect("a date");
    assert!(wait > Duration::from_secs(40) && wait <= Duration::from_secs(60), "{wait:?}");
    assert_eq!(after(outcome(date(86_400)).await), seconds(300));
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_may_have_stored() {
    for behaviour in [close_unread(), close_unanswered(false), close_unanswered(true)] {
        let found = outcome(behaviour.clone()).await;
        assert!(recoverable(None, true)(&found), "{behaviour:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_late_answer_may_have_stored() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script([store().held(&gate), store().delayed(Duration::from_secs(60))]);
    let mut settings = settings(&receiver.url());
    settings.remote_timeout = Duration::from_millis(300);
    let client = client(&settings);
    for _ in 0..2 {
        let found = client.send(body(), None, 0).await;
        assert!(recoverable(None, true)(&found), "{found:?}");
    }
    gate.open();
    assert_eq!(client.send(body(), None, 1).await, Answer::Accepted);
    let state = receiver.state();
    let statuses: Vec<_> = state.requests.iter().map(|r| (r.stored, r.status)).collect();
    assert_eq!(statuses, [(true, None), (true, None), (true, Some(204))]);
}

#[tokio::test]
async fn an_answer_to_a_request_that_was_stored_nevertheless_may_have_stored() {
    let receiver = Receiver::start().await;
    receiver.script([answer(500).but_stores()]);
    let found = send(&settings(&receiver.url())).await;
    assert!(recoverable(Some(500), true)(&found), "{found:?}");
    assert_eq!(receiver.state().stored.n_series(), 1);
}

#[tokio::test]
async fn without_a_connection_nothing_is_stored() {
    let receiver = Receiver::start().await;
    let client = client(&settings(&receiver.url()));
    assert_eq!(client.send(body(), None, 0).await, Answer::Accepted);
    receiver.go_down().await;
    // The pooled connection may be found broken only in use, where it can't be known.
    drop(client.send(body(), None, 0).await);
    let found = client.send(body(), None, 1).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
    receiver.come_back();
    assert_eq!(client.send(body(), None, 2).await, Answer::Accepted);

    let found = send(&settings("http://no-such-host.invalid/")).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_ends_the_handshake_has_stored_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let mut settings = settings(&format!("https://{address}/"));
    settings.remote_timeout = Duration::from_millis(400);
    settings.tls.insecure_skip_verify = true;
    let found = send(&settings).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
}

#[tokio::test]
async fn series_that_are_refused_roll_the_request_back() {
    let receiver = Receiver::start().await;
    receiver.refuse_series(|labels| labels.iter().any(|(_, value)| value == "bad"));
    let client = client(&settings(&receiver.url()));
    let good = series("good", &[], &[(1, 1.0)]);
    let bad = series("bad", &[], &[(1, 1.0)]);
    let both = compress(&write_request([good.clone(), bad]));
    let found = client.send(both, None, 0).await;
    assert!(matches!(found, Answer::Final { code: 400, .. }), "{found:?}");
    assert_eq!(receiver.state().stored.n_series(), 0);
    let found = client.send(compress(&write_request([good])), None, 0).await;
    assert_eq!(found, Answer::Accepted);
    assert_eq!(receiver.state().stored.increase(&[("__name__", "good")]), 0.0);
}

#[tokio::test]
async fn a_body_that_is_no_write_request_is_noted_by_the_receiver() {
    let receiver = Receiver::start().await;
    let client = client(&settings(&receiver.url()));
    let found = client.send(Bytes::from_static(b"\xff\xff"), None, 0).await;
    assert!(matches!(found, Answer::Final { code: 400, .. }), "{found:?}");
    assert_eq!(receiver.take_violations().len(), 1);
}

#[tokio::test]
async fn redirects_that_keep_the_request_are_followed() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    for status in [307, 308] {
        first.script([answer(status).header("location", second.url())]);
        assert_eq!(send(&settings(&first.url())).await, Answer::Accepted);
    }
    let state = second.state();
    assert_eq!(state.requests.len(), 2);
    assert_eq!(state.requests[1].wire, body());
    assert_eq!(state.requests[1].header("x-prometheus-remote-write-version"), "0.1.0");
}

#[tokio::test]
async fn other_redirects_name_where_they_lead() {
    let target = Receiver::start().await;
    let found = |status: u16, location: String| async move {
        match outcome(answer(status).header("location", location)).await {
            Answer::Unwelcome { code, message } if code == status => message,
            other => format!("{other:?}"),
        }
    };
    for status in [301, 302, 303] {
        let message = found(status, target.url()).await;
        assert!(message.contains(&target.url()), "{status}: {message}");
    }
    // To another scheme, or in a circle.
    let message = found(308, "https://127.0.0.1:1/x".to_owned()).await;
    assert!(message.contains("https://127.0.0.1:1/x"), "{message}");
    let circle = Receiver::start().await;
    circle.otherwise(answer(307).header("location", circle.url()));
    let answer = send(&settings(&circle.url())).await;
    assert!(matches!(answer, Answer::Unwelcome { code: 307, .. }), "{answer:?}");
    assert_eq!(circle.state().requests.len(), 11);
    assert_eq!(target.state().requests.len(), 0);
}

#[tokio::test]
async fn the_tenant_and_the_attempt_are_sent() {
    let receiver = Receiver::start().await;
    let mut settings = settings(&receiver.url());
    let tenant = TenantId::parse("team-a").expect("a tenant");
    drop(client(&settings).send(body(), Some(&tenant), 3).await);
    settings.headers = vec![("X-Region".to_owned(), "eu".to_owned())];
    drop(client(&settings).send(body(), Some(&tenant), 0).await);
    settings.headers = vec![("X-SCOPE-orgid".to_owned(), "fixed".to_owned())];
    drop(client(&settings).send(body(), Some(&tenant), 0).await);
    let state = receiver.state();
    let headers = |name| state.requests.iter().map(|r| r.header(name)).collect::<Vec<_>>();
    assert_eq!(headers("x-scope-orgid"), ["team-a", "team-a", "fixed"]);
    assert_eq!(headers("retry-attempt"), ["3", "", ""]);
    assert_eq!(headers("x-region"), ["", "eu", ""]);
}

#[tokio::test]
async fn credentials_are_read_anew_for_each_request() {
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let write = |text: &str| std::fs::write(&file, text).expect("it is ours");
    let bearer = |credentials| Auth::Authorization { kind: "Bearer".to_owned(), credentials };

    let mut settings = settings(&receiver.url().replace("//", "//url:user@"));
    assert_eq!(send(&settings).await, Answer::Accepted);
    settings.auth = bearer(Secret::File(file.clone()));
    let client = client(&settings);
    let found = client.send(body(), None, 0).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
    for token in ["one\n", "two \n"] {
        write(token);
        assert_eq!(client.send(body(), None, 0).await, Answer::Accepted);
    }
    write("two\nlines");
    let found = client.send(body(), None, 0).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
    settings.auth = Auth::Basic {
        username: Secret::Value("me".to_owned()),
        password: Secret::Value("secret".to_owned()),
    };
    assert_eq!(send(&settings).await, Answer::Accepted);

    let state = receiver.state();
    let seen = |r: &_| crate::support::receiver::Received::header(r, "authorization").to_owned();
    let seen: Vec<String> = state.requests.iter().map(seen).collect();
    assert_eq!(seen, ["Basic dXJsOnVzZXI=", "Bearer one", "Bearer two", "Basic bWU6c2VjcmV0"]);
}

#[tokio::test]
async fn requests_are_counted_by_code() {
    let receiver = Receiver::start().await;
    let telemetry = Telemetry::new();
    let settings = settings(&receiver.url());
    let client = Client::new(&settings, &telemetry, Arc::new(Clock::default())).expect("good");
    receiver.script([answer(503), store(), close_unanswered(false)]);
    for attempt in 0..3 {
        drop(client.send(body(), None, attempt).await);
    }
    let metrics = &telemetry.remote_write;
    for code in ["503", "204", "error"] {
        assert_eq!(metrics.requests.with_label_values(&["test", code]).get(), 1, "{code}");
    }
    assert_eq!(metrics.retries.with_label_values(&["test"]).get(), 2);
    assert_eq!(metrics.request_seconds.with_label_values(&["test"]).get_sample_count(), 3);
}

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> Pem {
        Pem::Text(self.0.pem())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// A server of that name that asks for certificates of `clients`.
    async fn serve(
        &self,
        name: &str,
        clients: Option<&Self>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Receiver {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("ring knows the versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.0.der().clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let (cert, key) = self.issue(name);
        let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = builder.with_single_cert(chain, key).expect("a certificate with its key");
        Receiver::start_tls(config).await
    }
}

fn write(folder: &Path, name: &str, text: String) -> Option<Pem> {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("it is ours");
    Some(Pem::File(path))
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_no_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let receiver = ours.serve("127.0.0.1", None, rustls::ALL_VERSIONS).await;
    let mut settings = settings(&receiver.url());
    settings.tls.ca = Some(ours.pem());
    assert_eq!(send(&settings).await, Answer::Accepted);
    settings.tls.ca = Some(other.pem());
    let found = send(&settings).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
    settings.tls.insecure_skip_verify = true;
    assert_eq!(send(&settings).await, Answer::Accepted);
    settings.tls.ca = None;
    assert_eq!(send(&settings).await, Answer::Accepted);
}

#[tokio::test]
async fn the_server_name_is_what_the_certificate_must_name() {
    let ours = Authority::new();
    let receiver = ours.serve("prometheus.example", None, rustls::ALL_VERSIONS).await;
    let mut settings = settings(&receiver.url());
    settings.tls.ca = Some(ours.pem());
    let found = send(&settings).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
    settings.tls.server_name = Some("prometheus.example".to_owned());
    assert_eq!(send(&settings).await, Answer::Accepted);
    assert_eq!(receiver.state().requests[0].header("host"), receiver.address().to_string());
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let receiver = ours.serve("127.0.0.1", Some(&clients), rustls::ALL_VERSIONS).await;
    let mut settings = settings(&receiver.url());
    settings.tls.ca = Some(ours.pem());
    let found = send(&settings).await;
    assert!(matches!(found, Answer::Recoverable { code: None, .. }), "{found:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = clients.issue("spanmill");
    settings.tls.cert = write(folder.path(), "cert.pem", cert.pem());
    settings.tls.key = write(folder.path(), "key.pem", key.serialize_pem());
    assert_eq!(send(&settings).await, Answer::Accepted);
    settings.tls.insecure_skip_verify = true;
    assert_eq!(send(&settings).await, Answer::Accepted);
}

#[tokio::test]
async fn versions_of_tls_are_bounded() {
    let ours = Authority::new();
    let receiver = ours.serve("127.0.0.1", None, &[&rustls::version::TLS12]).await;
    let mut settings = settings(&receiver.url());
    settings.tls.ca = Some(ours.pem());
    settings.tls.max_version = Some(TlsVersion::Tls12);
    assert_eq!(send(&settings).await, Answer::Accepted);
    settings.tls.max_version = None;
    settings.tls.min_version = Some(TlsVersion::Tls13);
    let found = send(&settings).await;
    assert!(recoverable(None, false)(&found), "{found:?}");
}

#[tokio::test]
async fn settings_that_can_not_work_are_named() {
    let check = |change: &dyn Fn(&mut EndpointSettings), expected: &str| {
        let mut settings = settings("https://127.0.0.1:1/");
        settings.tls.ca = Some(Authority::new().pem());
        change(&mut settings);
        let clock = Arc::new(Clock::default());
        let found: Option<ClientError> = Client::new(&settings, &Telemetry::new(), clock).err();
        let found = found.map_or_else(|| "no error".to_owned(), |e| e.to_string());
        assert!(found.starts_with(expected), "{found}, expected {expected}");
    };
    let text = |text: &str| Some(Pem::Text(text.to_owned()));
    check(&|_| {}, "no error");
    check(
        &|s| s.tls.ca = Some(Pem::File("/no/ca.pem".into())),
        "tls_config: can't read /no/ca.pem",
    );
    check(&|s| s.tls.ca = text("nonsense"), "tls_config: ca holds no usable PEM");
    check(&|s| s.tls.cert = text("x"), "tls_config: cert is set without key");
    check(&|s| s.tls.key = text("x"), "tls_config: key is set without cert");
    check(
        &|s| (s.tls.cert, s.tls.key) = (text("x"), text("x")),
        "tls_config: cert or key holds no usable PEM",
    );
    check(&|s| s.tls.server_name = Some("10.0.0.1".to_owned()), "tls_config: server_name");
    check(&|s| s.tls.server_name = Some("a b".to_owned()), "tls_config: server_name");
    check(&|s| s.headers = vec![("a b".to_owned(), String::new())], "header \"a b\" is not valid");
    check(
        &|s| {
            s.tls.min_version = Some(TlsVersion::Tls13);
            s.tls.max_version = Some(TlsVersion::Tls12);
        },
        "can't set up connections",
    );
}
