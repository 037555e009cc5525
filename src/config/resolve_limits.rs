//! `limits` -> the settings of those who hold them, and what only shows between its keys.

use super::node::Node;
use super::problem::Problems;
use super::values;
use crate::admission::Limits;
use crate::receiver::{ConnectionLimits, IngestLimits};

/// A tenant's.
pub(super) fn limits(limits: &Node, problems: &mut Problems) -> Limits {
    let count = |key: &str| limits.at(key).count();
    let (max_active_series, max_services) = (count("max_active_series"), count("max_services"));
    let most = Limits::default_guarantee(max_active_series, max_services);
    let written = limits.at("guaranteed_series_per_service");
    let guaranteed_series_per_service = match values::count(written.as_text()) {
        None => most,
        Some(n) if n > most as u64 && max_active_series > 0 => {
            let message = format!(
                "found {n}, expected at most {most}: half of max_active_series ({max_active_series}) / \
                 max_services ({max_services})"
            );
            problems.add(written.place, "limits.guaranteed_series_per_service", message);
            most
        }
        Some(_) => written.count(),
    };
    Limits {
        max_active_series,
        guaranteed_series_per_service,
        max_active_series_per_service: count("max_active_series_per_service"),
        max_active_entities: count("max_active_entities"),
        max_services,
        max_edges: count("max_edges"),
        max_cardinality_per_label: count("max_cardinality_per_label"),
        max_label_bytes: limits.at("max_label_bytes").size(),
    }
}

/// Of the process.
pub(super) fn connections(limits: &Node) -> ConnectionLimits {
    let streams = limits.at("max_streams_per_connection").count();
    ConnectionLimits {
        max_connections: limits.at("max_connections").count(),
        max_connections_per_ip: limits.at("max_connections_per_ip").count(),
        max_streams_per_connection: u32::try_from(streams).unwrap_or(u32::MAX),
    }
}

/// A tenant's.
pub(super) fn ingest(limits: &Node) -> IngestLimits {
    IngestLimits {
        bytes_per_second: limits.at("ingest_bytes_per_second").size(),
        burst_bytes: limits.at("ingest_burst_bytes").size(),
        spans_per_second: limits.at("ingest_spans_per_second").count(),
    }
}
