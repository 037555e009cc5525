//! `limits.memory` -> what each part may hold, and what a label set costs those who hold it.

use super::node::Node;
use super::problem::Problems;
use super::{Config, values};
use crate::budget::{Claims, Machine, Split};
use crate::ledger::Costs;
use crate::{collect, receiver, remote_write};

/// A connection with room for a body of a usual size on its way.
const WINDOWED: usize = 4 * receiver::CONNECTION_BYTES_MIN;

/// The parts of what was written, or of what the machine gives.
pub(super) fn split(tree: &Node, config: &Config, problems: &mut Problems) -> Split {
    let shards = config.remote_write.endpoints.iter().map(|endpoint| endpoint.max_shards);
    let claims = Claims {
        sent_requests: shards.fold(0, usize::saturating_add),
        endpoints: config.remote_write.endpoints.len(),
        connections: config.receiver.connections.max_connections.max(1).saturating_mul(WINDOWED),
    };
    let written = tree.at("limits.memory");
    let Some(total) = values::size(written.as_text()) else {
        return Split::found(Machine::read().auto(), claims);
    };
    Split::written(total, claims).unwrap_or_else(|error| {
        problems.add(written.place, "limits.memory", error);
        Split::found(0, claims)
    })
}

/// What a label set costs besides the state's own.
pub(super) fn costs(config: &Config) -> Costs {
    let endpoints = &config.remote_write.endpoints;
    let relabelled = endpoints.iter().filter(|e| !e.write_relabel_configs.is_empty()).count();
    Costs {
        // The state's, those of the tick that is made and of the newest, one that is read; and each
        // endpoint may still be sent an older tick.
        value_copies: 4 + endpoints.len(),
        slot: collect::SLOT_BYTES + endpoints.len() * remote_write::SLOT_BYTES,
        set: collect::SET_BYTES,
        label_copies: 1,
        series: relabelled * remote_write::RELABELLED_BYTES,
        series_label_copies: relabelled,
    }
}
