//! Whether a new label set gets a slot of its own, and if not, which limit says so.

use super::census::{Census, Resident};
use super::limits::Limits;
use super::overflow::{OVERFLOW, SERVICE};
use crate::batch::{Limited, Table};

/// Above so many hundredths of a budget a label set that was never seen has to come again first.
const PRESSURE_PERCENT: usize = 80;

/// Where a new label set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its service still has room that others can't take.
    Guaranteed,
    /// There is room.
    Free,
    /// There is room, but little.
    Pressed,
}

/// Where a new label set would stand by the limits on numbers; the limit that refuses it, if one does.
pub fn standing(census: &Census, limits: &Limits, who: &Resident<'_>) -> Result<Standing, Limited> {
    let is_span = who.table == Table::SpanMetrics;
    let service = if is_span { who.labels.get(SERVICE) } else { "" };
    let known = census.series_of(service);
    if is_span && known.is_none() && !has_place(census, limits, service) {
        return Err(Limited::MaxServices);
    }
    let of_service = known.unwrap_or_default();
    let guaranteed = limits.guaranteed_series_per_service;
    let is_guaranteed = is_span && service != OVERFLOW && of_service + who.n_series <= guaranteed;
    let beyond = |n: usize| n.saturating_sub(guaranteed);
    let shared = match who.table {
        Table::SpanMetrics => beyond(of_service + who.n_series) - beyond(of_service),
        _ => who.n_series,
    };
    let is_edge = !is_span && !matches!(who.table, Table::TargetInfo | Table::HostInfo);
    let reserved = guaranteed.saturating_mul(limits.max_services);
    let budgets = [
        (
            Limited::MaxActiveSeriesPerService,
            if is_span { limits.max_active_series_per_service } else { 0 },
            of_service + who.n_series,
        ),
        (
            Limited::MaxActiveSeries,
            if is_guaranteed { 0 } else { limits.max_active_series.saturating_sub(reserved) },
            census.n_shared_series() + shared,
        ),
        (Limited::MaxActiveEntities, limits.max_active_entities, census.n_sets() + 1),
        (Limited::MaxEdges, if is_edge { limits.max_edges } else { 0 }, census.n_edges() + 1),
        (
            Limited::MaxLabelBytes,
            limits.max_label_bytes,
            census.label_bytes() + who.labels.as_bytes().len(),
        ),
    ];
    let mut standing = if is_guaranteed { Standing::Guaranteed } else { Standing::Free };
    for (limit, max, n) in budgets.into_iter().filter(|(_, max, _)| *max > 0) {
        if n > max {
            return Err(limit);
        }
        if !is_guaranteed && is_pressed(n, max) {
            standing = Standing::Pressed;
        }
    }
    Ok(standing)
}

/// Whether so much of a budget is above what is taken without question.
pub fn is_pressed(n: usize, max: usize) -> bool {
    n > max / 100 * PRESSURE_PERCENT + max % 100 * PRESSURE_PERCENT / 100
}

/// Whether the service is known or may become so.
pub fn has_place(census: &Census, limits: &Limits, service: &str) -> bool {
    limits.max_services == 0
        || service == OVERFLOW
        || census.series_of(service).is_some()
        || census.n_services() < limits.max_services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn above_four_fifths_of_a_budget_it_is_pressed_however_large_it_is() {
        for (max, most) in [
            (1, 0),
            (10, 8),
            (99, 79),
            (100, 80),
            (1250, 1000),
            (usize::MAX, usize::MAX / 100 * 80 + 12),
        ] {
            assert!(!is_pressed(most, max) && is_pressed(most + 1, max), "{most} of {max}");
        }
    }
}
