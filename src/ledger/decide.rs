//! Decisions: what a row, a tick, the end of everything mean for a state. Pure; nothing is changed.

use std::borrow::Cow;

use super::effects::{Add, Effect};
use super::settings::Settings;
use super::snapshot::ShownExemplar;
use super::state::State;
use crate::batch::{Batch, Row, Table};
use crate::series::Picked;

/// An exemplar of a span that ended longer ago carries the tick's time.
const EXEMPLAR_AGE_MAX_MS: i64 = 3_600_000;

/// What a row adds to a label set that has a slot.
pub(super) fn add<'a>(batch: &'a Batch, row: &Row, slot: u32, at_ms: i64) -> Effect<'a> {
    Effect::Add(Add {
        table: row.table,
        slot,
        at_ms,
        calls: row.calls,
        size: row.size,
        latency: row.latency,
        buckets: Cow::Borrowed(row.buckets.slice(&batch.buckets)),
        exemplars: Cow::Borrowed(row.exemplars.slice(&batch.exemplars)),
    })
}

/// Label sets that a tick finds without an update for the stale duration.
pub(super) fn deaths(state: &State, settings: &Settings, at_ms: i64) -> Vec<(Table, u32)> {
    let stale_ms = i64::try_from(settings.stale_duration.as_millis()).unwrap_or(i64::MAX);
    // What was added to since the last tick is collected first, however long this one was in coming.
    let oldest = at_ms.saturating_sub(stale_ms).min(state.last_tick_ms());
    all_live(state)
        .filter(|(_, _, updated_ms)| *updated_ms < oldest)
        .map(|(t, s, _)| (t, s))
        .collect()
}

/// Every label set that lives.
pub(super) fn all_live(state: &State) -> impl Iterator<Item = (Table, u32, i64)> {
    Table::ALL.into_iter().flat_map(|table| {
        state.table(table).live().map(move |(slot, entry)| (table, slot, entry.updated_ms))
    })
}

/// The exemplars that a tick shows. Their timestamps rise for each label set from tick to tick.
pub(super) fn exemplars(state: &State, at_ms: i64) -> Vec<ShownExemplar> {
    let slot_of = |table: Table, slot| state.table(table).slot(slot);
    let picked = state.pending().pick(|table, slot| slot_of(table, slot).shown_tick);
    let shown = |Picked { table, slot, exemplar, on_calls }| {
        let end_ms = i64::try_from(exemplar.end_unix_nano / 1_000_000).unwrap_or(i64::MAX);
        let of_span =
            if end_ms < at_ms.saturating_sub(EXEMPLAR_AGE_MAX_MS) { at_ms } else { end_ms };
        let at_least = slot_of(table, slot).exemplar_ms.saturating_add(1);
        let exemplar_ms = of_span.min(at_ms).max(at_least);
        ShownExemplar { table, slot, exemplar, on_calls, exemplar_ms }
    };
    picked.into_iter().map(shown).collect()
}
