//! Complete edges become rows, folded per label set as spans are.

use ahash::RandomState;
use hashbrown::HashMap;

use super::admit::Placed;
use super::settings::EdgeSeries;
use crate::batch::{
    Batch, Bounds, Buckets, EdgeSide, Fold, Observation, Range, Table, Weight, push_label,
};
use crate::edges::{Connection, Edge, Store};

/// The rows of the edges that one batch or tick completes; which edges there are is known from one
/// batch to the next.
#[derive(Debug)]
pub(super) struct EdgeRows {
    series: EdgeSeries,
    virtual_caller: String,
    buckets: Buckets,
    n_buckets: [usize; Table::ALL.len()],
    index: HashMap<EdgeKey, usize, RandomState>,
    known: Vec<Known>,
    /// Label sets of those that are known.
    text: Vec<u8>,
    fold: Fold,
    /// For each row of `fold` the edge that it belongs to.
    of_rows: Vec<usize>,
    batch: Batch,
}

/// The origins of both sides and the kind of connection, which decide the label set.
type EdgeKey = u128;

/// An edge, and where it stands in each table.
#[derive(Debug, Clone, Copy)]
struct Known {
    labels: Range,
    slots: [Option<u32>; Table::ALL.len()],
    /// In `fold`, while there are any.
    rows: [Option<u32>; Table::ALL.len()],
    /// What a limit said to it, while there are any rows.
    limited: Option<Placed>,
}

/// Edges that are known at the same time.
const KNOWN_MAX: usize = 10_000;

/// Bytes of their label sets.
const TEXT_MAX: usize = 4 << 20;
/// Labels of an edge for which room is made at once.
const LABELS_USUAL: usize = 8;

// Labels, and values of the label `virtual_node`.
const CLIENT: &str = "client";
const SERVER: &str = "server";

impl EdgeRows {
    pub(super) fn new(series: EdgeSeries, virtual_caller: &str, bounds: &Bounds) -> Self {
        let mut fold = Fold::default();
        fold.clear(bounds.n_buckets());
        Self {
            series,
            virtual_caller: virtual_caller.to_owned(),
            buckets: Buckets::new(&bounds.service_graphs),
            n_buckets: bounds.n_buckets(),
            index: HashMap::default(),
            known: Vec::new(),
            text: Vec::new(),
            fold,
            of_rows: Vec::new(),
            batch: Batch::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fold.is_empty()
    }

    /// Whether the rows so far, or what is known, are to be given up before more edges come: one
    /// request may have many that differ only in what no label says.
    pub(super) fn is_large(&self) -> bool {
        self.known_is_large() || self.fold.text.len() > TEXT_MAX
    }

    fn known_is_large(&self) -> bool {
        self.known.len() > KNOWN_MAX || self.text.len() > TEXT_MAX
    }

    /// The rows so far; they are handed back with [`give_back`](Self::give_back).
    pub(super) fn take(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        self.fold.finish(&mut batch);
        self.fold.clear(self.n_buckets);
        batch
    }

    /// The slot of a row's label set, if it is known.
    pub(super) fn slot(&self, row: usize, table: Table) -> Option<u32> {
        self.known[self.of_rows[row]].slots[table as usize]
    }

    /// Whether another row of the edge has one.
    pub(super) fn has_slot(&self, row: usize) -> bool {
        self.known[self.of_rows[row]].slots.iter().any(Option::is_some)
    }

    pub(super) fn learn(&mut self, row: usize, table: Table, slot: u32) {
        self.known[self.of_rows[row]].slots[table as usize] = Some(slot);
    }

    /// What a limit said to an earlier row of the same edge.
    pub(super) fn limited(&self, row: usize) -> Option<Placed> {
        self.known[self.of_rows[row]].limited
    }

    pub(super) fn set_limited(&mut self, row: usize, placed: Placed) {
        self.known[self.of_rows[row]].limited = Some(placed);
    }

    /// Room that is kept, in bytes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.known.capacity() * (size_of::<Known>() + 2 * size_of::<(EdgeKey, usize)>())
            + self.text.capacity()
            + self.fold.kept_bytes()
            + self.batch.kept_bytes()
            + self.of_rows.capacity() * size_of::<usize>()
    }

    /// Gives back what is kept for the next batch.
    pub(super) fn give_up(&mut self) {
        self.forget();
        self.index.shrink_to_fit();
        (self.known, self.text, self.of_rows) = (Vec::new(), Vec::new(), Vec::new());
        self.batch = Batch::default();
        self.fold = Fold::default();
        self.fold.clear(self.n_buckets);
    }

    pub(super) fn give_back(&mut self, batch: Batch) {
        self.batch = batch;
        for edge in self.of_rows.drain(..) {
            self.known[edge].rows = [None; Table::ALL.len()];
            self.known[edge].limited = None;
        }
    }

    /// Gives up what is known where that is a lot.
    pub(super) fn shed(&mut self) {
        if self.known_is_large() {
            self.forget();
        }
    }

    /// Slots or ids of origins are used for others from now on.
    pub(super) fn forget(&mut self) {
        self.index.clear();
        self.known.clear();
        self.text.clear();
    }

    #[cfg(test)]
    pub(super) fn n_known(&self) -> (usize, usize) {
        (self.known.len(), self.text.capacity())
    }

    pub(super) fn complete(&mut self, store: &Store, edge: &Edge) {
        let origin = |side: &Option<EdgeSide>| {
            u128::from(side.as_ref().map_or(u32::MAX, |side| side.origin))
        };
        let key =
            (edge.connection as u128) << 64 | origin(&edge.client) << 32 | origin(&edge.server);
        let known = self.index.get(&key).copied().unwrap_or_else(|| {
            let labels = self.labels(store, edge);
            let none = [None; Table::ALL.len()];
            self.known.push(Known { labels, slots: none, rows: none, limited: None });
            self.index.insert(key, self.known.len() - 1);
            self.known.len() - 1
        });
        self.add(known, edge);
    }

    fn add(&mut self, known: usize, edge: &Edge) {
        let series = self.series;
        let told = |side: &Option<EdgeSide>| side.as_ref().and_then(|side| side.weight);
        let weight = told(&edge.client).or_else(|| told(&edge.server)).unwrap_or(Weight::ONE);
        let of = |latency_nano, side| Seen { latency_nano, weight, side };
        let nobody = of(0, None);
        if series.requests {
            self.observe(Table::EdgeRequests, known, edge, nobody);
            if edge.failed {
                self.observe(Table::EdgeFailed, known, edge, nobody);
            }
        }
        let own = |side| Seen { side: Some(side), ..of(EdgeSide::latency_nano(side), None) };
        let client = edge.client.as_ref().map(own);
        let server = match edge.connection {
            // Nobody else knows how long a database took.
            Connection::Database => client,
            _ => edge.server.as_ref().map(own),
        };
        for (on, table, side) in [
            (series.server_seconds, Table::EdgeServer, server),
            (series.client_seconds, Table::EdgeClient, client),
        ] {
            let missing = series.observe_missing_side.then_some(nobody);
            if let Some(seen) = side.or(missing).filter(|_| on) {
                self.observe(table, known, edge, seen);
            }
        }
        if series.messaging_seconds
            && edge.connection == Connection::Messaging
            && let (Some(client), Some(server)) = (&edge.client, &edge.server)
            && let Some(delay) = server.start_unix_nano.checked_sub(client.end_unix_nano)
            && delay > 0
        {
            self.observe(Table::EdgeMessaging, known, edge, of(delay, Some(server)));
        }
        if series.connection_info {
            self.row(Table::EdgeInfo, known);
        }
    }

    fn observe(&mut self, table: Table, known: usize, edge: &Edge, seen: Seen<'_>) {
        let row = self.row(table, known);
        self.fold.observe(
            row,
            &Observation {
                bucket: self.buckets.index_of(seen.latency_nano),
                latency_nano: seen.latency_nano,
                size: 0,
                weight: seen.weight,
                error: edge.failed,
                end_unix_nano: seen.side.map_or(0, |side| side.end_unix_nano),
                ids: seen.side.map(|side| (&side.trace_id, &side.span_id)),
            },
        );
    }

    fn row(&mut self, table: Table, known: usize) -> u32 {
        let Self { fold, text, of_rows, known: all, .. } = self;
        let Known { labels, slots, rows, .. } = &mut all[known];
        *rows[table as usize].get_or_insert_with(|| {
            of_rows.push(known);
            // A row whose slot is known goes without its labels.
            let start = fold.text.len();
            if slots[table as usize].is_none() {
                fold.text.extend_from_slice(labels.slice(text));
            }
            fold.distinct_row(table, Range::of(start, fold.text.len()))
        })
    }

    /// The label set of an edge: sorted by name, without empty values.
    fn labels(&mut self, store: &Store, edge: &Edge) -> Range {
        let client = edge.client.map(|side| store.origin(side.origin));
        let server = edge.server.map(|side| store.origin(side.origin));
        let peer_of_client = client.map_or("", |client| client.peer);
        let caller = match server.map_or("", |server| server.peer) {
            "" => &self.virtual_caller,
            peer => peer,
        };
        let mut labels = Vec::with_capacity(LABELS_USUAL);
        labels.extend([
            (CLIENT, client.map_or(caller, |client| client.service)),
            (SERVER, server.map_or(peer_of_client, |server| server.service)),
            ("connection_type", edge.connection.name()),
        ]);
        if self.series.virtual_node_label && edge.connection == Connection::VirtualNode {
            labels.push(("virtual_node", if client.is_none() { CLIENT } else { SERVER }));
        }
        // Of a dimension that both have, the server's value.
        for dimension in [server, client].into_iter().flatten().flat_map(|o| o.dimensions.iter()) {
            if labels.iter().all(|(name, _)| *name != dimension.0) {
                labels.push(dimension);
            }
        }
        labels.sort_unstable();
        let start = self.text.len();
        for (name, value) in labels.into_iter().filter(|(_, value)| !value.is_empty()) {
            push_label(&mut self.text, name, value);
        }
        Range::of(start, self.text.len())
    }
}

/// One side as it is observed; none where an edge lacks it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    latency_nano: u64,
    weight: Weight,
    side: Option<&'a EdgeSide>,
}
