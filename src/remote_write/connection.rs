//! How an endpoint is reached: addresses, TLS, redirects.

use std::error::Error;
use std::path::PathBuf;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderValue;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, ClientBuilder, Identity, StatusCode, Url, tls};

use super::{Auth, EndpointSettings, Pem, TlsSettings, TlsVersion};

/// Why nothing can be sent to an endpoint as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "header {name:?} is not valid, expected a name of letters, digits and - and a value of one line"
    )]
    Header { name: String },
    #[error("tls_config: can't read {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("tls_config: {key} holds no usable PEM text: {reason}")]
    Pem { key: &'static str, reason: String },
    #[error("tls_config: {found} is set without {missing}, set both or neither")]
    HalfIdentity { found: &'static str, missing: &'static str },
    #[error("tls_config: server_name {0:?} is not a host name")]
    ServerName(String),
    #[error("can't set up connections to the endpoint: {0}")]
    Setup(String),
}

/// Redirects followed within one request.
const REDIRECTS_MAX: usize = 10;

pub(super) fn open(
    settings: &EndpointSettings,
    user_agent: &str,
) -> Result<reqwest::Client, ClientError> {
    // The process' TLS provider; another part of it may have been here first.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a TLS provider is installed already");
    }
    let builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .http1_only()
        .no_proxy()
        .referer(false)
        .redirect(redirects(settings))
        .pool_max_idle_per_host(settings.max_shards)
        .timeout(settings.remote_timeout)
        // Before the whole time is over, so that a dead address is told from a lost answer: without a
        // connection nothing can have been stored.
        .connect_timeout(settings.remote_timeout / 2);
    let builder = with_tls(builder, settings)?;
    let builder = match &settings.tls.server_name {
        Some(name) => builder.dns_resolver(ServerName {
            name: name.clone(),
            host: settings.url.host_str().unwrap_or_default().to_owned(),
        }),
        None => builder,
    };
    builder.build().map_err(|e| ClientError::Setup(chain(&e)))
}

/// The URL to send to: with `server_name`, this is the host for TLS, and [`ServerName`] finds the way
/// to the configured one. Credentials in the URL give way to configured ones.
pub(super) fn address(settings: &EndpointSettings) -> Result<Url, ClientError> {
    let mut url = settings.url.clone();
    let has_auth = !matches!(settings.auth, Auth::None);
    if has_auth && (url.set_username("").is_err() || url.set_password(None).is_err()) {
        return Err(ClientError::Setup(format!("{url} has no host")));
    }
    if let Some(name) = &settings.tls.server_name {
        // An IP address would be connected to without asking the resolver.
        if url.set_host(Some(name)).is_err() || url.domain().is_none() {
            return Err(ClientError::ServerName(name.clone()));
        }
    }
    Ok(url)
}

/// `Host` of the configured URL, where [`address`] has another.
pub(super) fn host_header(settings: &EndpointSettings) -> Result<Option<HeaderValue>, ClientError> {
    if settings.tls.server_name.is_none() {
        return Ok(None);
    }
    let host = settings.url.host_str().unwrap_or_default();
    let host = match settings.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let value = HeaderValue::try_from(host).map_err(|e| ClientError::Setup(e.to_string()))?;
    Ok(Some(value))
}

/// Only those that keep the method and the body, within one scheme: to follow others would send a GET
/// without a body, or the series unencrypted.
fn redirects(settings: &EndpointSettings) -> Policy {
    let scheme = settings.url.scheme().to_owned();
    let one_name = settings.tls.server_name.is_some();
    Policy::custom(move |attempt: Attempt<'_>| {
        let keeps_request = matches!(
            attempt.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        let n_followed = attempt.previous().len().saturating_sub(1);
        let follow = keeps_request
            && !one_name
            && attempt.url().scheme() == scheme
            && n_followed < REDIRECTS_MAX;
        if follow { attempt.follow() } else { attempt.stop() }
    })
}

fn with_tls(
    builder: ClientBuilder,
    settings: &EndpointSettings,
) -> Result<ClientBuilder, ClientError> {
    let TlsSettings { ca, cert, key, insecure_skip_verify, min_version, max_version, .. } =
        &settings.tls;
    let mut builder = builder.tls_danger_accept_invalid_certs(*insecure_skip_verify);
    if let Some(ca) = ca {
        let roots = Certificate::from_pem_bundle(&read(ca)?)
            .map_err(|e| ClientError::Pem { key: "ca", reason: chain(&e) })?;
        if roots.is_empty() {
            return Err(ClientError::Pem { key: "ca", reason: "no certificate in it".to_owned() });
        }
        builder = builder.tls_certs_only(roots);
    } else if settings.url.scheme() == "http" {
        // Else the system's roots are read, which fails where there are none (a bare container).
        builder = builder.tls_certs_only([]);
    }
    match (cert, key) {
        (Some(cert), Some(key)) => {
            let mut pem = read(key)?;
            pem.push(b'\n');
            pem.extend(read(cert)?);
            let identity = Identity::from_pem(&pem)
                .map_err(|e| ClientError::Pem { key: "cert or key", reason: chain(&e) })?;
            builder = builder.identity(identity);
        }
        (Some(_), None) => {
            return Err(ClientError::HalfIdentity { found: "cert", missing: "key" });
        }
        (None, Some(_)) => {
            return Err(ClientError::HalfIdentity { found: "key", missing: "cert" });
        }
        (None, None) => {}
    }
    if let Some(min) = min_version {
        builder = builder.tls_version_min(version(*min));
    }
    if let Some(max) = max_version {
        builder = builder.tls_version_max(version(*max));
    }
    Ok(builder)
}

fn version(version: TlsVersion) -> tls::Version {
    match version {
        TlsVersion::Tls12 => tls::Version::TLS_1_2,
        TlsVersion::Tls13 => tls::Version::TLS_1_3,
    }
}

fn read(pem: &Pem) -> Result<Vec<u8>, ClientError> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => {
            std::fs::read(path).map_err(|source| ClientError::File { path: path.clone(), source })
        }
    }
}

/// Errors with their causes, from the outermost inwards.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Resolves the name in the certificate to where the configured host is.
struct ServerName {
    name: String,
    host: String,
}

impl Resolve for ServerName {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str().eq_ignore_ascii_case(&self.name) {
            self.host.trim_matches(['[', ']']).to_owned()
        } else {
            name.as_str().to_owned()
        };
        Box::pin(async move {
            // Port 0: that of the URL.
            let addrs: Addrs = Box::new(tokio::net::lookup_host((host, 0)).await?);
            Ok(addrs)
        })
    }
}
