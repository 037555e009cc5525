//! Sends the newest snapshot of each tenant to each endpoint.

pub mod backoff;
pub mod client;
mod connection;
pub mod relabel;
mod settings;

pub use settings::{Auth, EndpointSettings, Pem, Secret, Settings, TlsSettings, TlsVersion};

/// The messages of remote write 1.0, for tests and tools; the service writes the bytes itself.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}
