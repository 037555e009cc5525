//! OTLP over gRPC and HTTP: a request is read whole, bounded, inflated once, and handed to the intake.

mod settings;
mod shares;

mod accept;
mod connections;
mod frames;
mod listeners;

mod grpc;
mod h2_settings;
mod http;

mod answer;
mod bodies;
mod body;
mod inflate;
mod json;
mod rates;
mod request;
mod stagings;
mod told;
mod work;

mod intake;

pub use intake::{Intake, Rulebook, TakeError, Taken, TenantRules};
pub use json::{JsonError, to_wire as json_to_wire};
pub use listeners::{BindError, Listeners};
pub use rates::{IngestOf, OverRate};
pub use settings::{BodyLimits, ConnectionLimits, IngestLimits, Memory, Settings};
pub use shares::{CONNECTION_BYTES_MIN, connection_bytes, max_connections};
