//! The admin server: health, own metrics, what the generator makes.

mod generated;
mod server;
mod settings;
mod tenants;

pub use server::{Admin, Readiness};
pub use settings::Settings;
pub use tenants::{SeriesPerSet, TenantMetrics};
