//! A request becomes a `Batch`: filters, dimensions, weights, rows folded per distinct label set, and
//! edge sides.
//!
//! The rules are reference/tempo.md 1.6 to 2.8 with CONTRACT.md 4. A malformed request is refused
//! here and has changed nothing.

mod graph_plan;
mod labels;
mod multiplier;
mod name_rules;
mod name_tokens;
mod names;
mod plan;
mod policies;
mod raw_keys;
mod resource;
mod settings;
mod sides;
mod span_names;
mod stager;

pub use plan::Plan;
pub use settings::{
    DimensionMapping, FilterPolicy, HostInfo, IntrinsicDimensions, MatchType, Multiplier,
    PolicyAttribute, PolicyMatch, PolicyValue, Processors, Sanitization, ServiceGraphs, Settings,
    SettingsError, SpanMetrics, SpanNames, Window,
};
pub use stager::{StageError, Stager};

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;

#[cfg(test)]
#[path = "rules_tests.rs"]
mod rules;

#[cfg(test)]
#[path = "sides_tests.rs"]
mod side_rules;
