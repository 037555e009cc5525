//! Edge sides between their arrival and their end: they meet, are remembered, wait in vain, give way.

mod settings;

pub use settings::Settings;
