//! Sends the newest snapshot of each tenant to each endpoint.

pub mod client;
pub mod relabel;
mod settings;

pub use settings::{Auth, EndpointSettings, Pem, Secret, Settings, TlsSettings, TlsVersion};
