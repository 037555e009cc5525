//! OTLP over gRPC and HTTP: a request is read whole, bounded, inflated once, and handed to the intake.

mod intake;
mod settings;

pub use intake::{Intake, TakeError, Taken};
pub use settings::{BodyLimits, Settings};
