//! Build, bind, run, drain: the only folder that knows every module.

mod pipelines;
mod reload;
mod service;

pub use service::{App, Bound, Reading};
