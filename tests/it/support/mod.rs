//! What the tests share.

use std::time::Duration;

use spanmill::remote_write::{Auth, EndpointSettings, TlsSettings};

pub(crate) mod prometheus;
pub(crate) mod receiver;
pub(crate) mod stored;

/// An endpoint with the defaults.
pub(crate) fn settings(url: &str) -> EndpointSettings {
    EndpointSettings {
        url: url.parse().expect("a url"),
        name: "test".to_owned(),
        remote_timeout: Duration::from_secs(10),
        headers: Vec::new(),
        auth: Auth::None,
        tls: TlsSettings::default(),
        write_relabel_configs: Vec::new(),
        send_exemplars: true,
        retry_on_http_429: true,
        max_samples_per_send: 2000,
        max_shards: 4,
        min_backoff: Duration::from_millis(30),
        max_backoff: Duration::from_secs(5),
    }
}
