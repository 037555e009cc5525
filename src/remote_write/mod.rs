//! Sends the newest snapshot of each tenant to each endpoint.

pub mod backoff;
mod births;
pub mod client;
mod connection;
pub mod encode_v1;
mod inbox;
pub mod relabel;
mod requests;
mod sender;
mod settings;

pub use sender::{Endpoint, Outlet};
pub use settings::{Auth, EndpointSettings, Pem, Secret, Settings, TlsSettings, TlsVersion};

/// The messages of remote write 1.0, for tests and tools; the service writes the bytes itself.
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}
