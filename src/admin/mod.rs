//! The admin server: health, own metrics, what the generator makes.

mod generated;
mod server;
mod settings;
mod tenants;

pub use server::{Admin, Readiness, ReloadRequest, Reloaded};
pub use settings::Settings;
pub use tenants::{Form, SeriesPerSet, TenantMetrics};
