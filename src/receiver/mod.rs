//! OTLP over gRPC and HTTP: a request is read whole, bounded, inflated once, and handed to the intake.

mod settings;

mod accept;
mod listeners;

mod grpc;
mod h2_settings;
mod http;

mod answer;
mod body;
mod json;
mod request;

mod intake;

pub use intake::{Intake, TakeError, Taken};
pub use json::{JsonError, to_wire as json_to_wire};
pub use listeners::{BindError, Listeners};
pub use settings::{BodyLimits, ConnectionLimits, IngestLimits, Settings};
