//! The admin server: health, own metrics, what the generator makes, and of which labels it has too many.

mod cardinality;
mod generated;
mod server;
mod settings;
mod tenants;

pub use cardinality::{Cardinality, CardinalityMetrics};
pub use server::{Admin, Readiness, ReloadRequest, Reloaded};
pub use settings::Settings;
pub use tenants::TenantMetrics;

#[cfg(test)]
mod test_view;
