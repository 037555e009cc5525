//! What remote write needs to know of the configuration: Prometheus' block, one value an endpoint.

use std::path::PathBuf;
use std::time::Duration;

use super::relabel::RelabelConfig;

#[derive(Debug, Clone)]
pub struct Settings {
    pub endpoints: Vec<EndpointSettings>,
    /// Whether requests carry the tenant's id in `X-Scope-OrgID` (multi-tenancy is on).
    pub send_tenant_id: bool,
}

#[derive(Debug, Clone)]
pub struct EndpointSettings {
    pub url: reqwest::Url,
    /// `name`, else host:port; unique among the endpoints. The `endpoint` label of own metrics.
    pub name: String,
    pub remote_timeout: Duration,
    /// Never a reserved name (reference/remote-write.md 1.2).
    pub headers: Vec<(String, String)>,
    pub auth: Auth,
    pub tls: TlsSettings,
    pub write_relabel_configs: Vec<RelabelConfig>,
    pub send_exemplars: bool,
    pub retry_on_http_429: bool,
    pub max_samples_per_send: usize,
    /// Requests in flight at once.
    pub max_shards: usize,
    pub min_backoff: Duration,
    pub max_backoff: Duration,
}

#[derive(Clone, Default)]
pub enum Auth {
    #[default]
    None,
    Basic {
        username: Secret,
        password: Secret,
    },
    /// `Authorization: TYPE CREDENTIALS`
    Authorization {
        kind: String,
        credentials: Secret,
    },
}

/// A value, or the file that holds it (read anew for each request, trailing white space cut).
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Value(String),
    File(PathBuf),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM text or file, as Prometheus' `ca` / `ca_file`, `cert` / `cert_file`, `key` / `key_file`.
    pub ca: Option<Pem>,
    pub cert: Option<Pem>,
    pub key: Option<Pem>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    /// `TLS12` (the default) or `TLS13`.
    pub min_version: Option<TlsVersion>,
    pub max_version: Option<TlsVersion>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    Text(String),
    File(PathBuf),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(_) => f.write_str("<secret>"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("<pem>"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Basic { .. } => "basic",
            Self::Authorization { .. } => "authorization",
        })
    }
}
