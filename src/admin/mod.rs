//! The admin server: health, own metrics, what the generator makes.

mod settings;

pub use settings::Settings;
