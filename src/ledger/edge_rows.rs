//! Complete edges become rows, folded per label set as spans are.

use ahash::RandomState;
use hashbrown::HashMap;

use super::settings::EdgeSeries;
use crate::batch::{
    Batch, Bounds, Buckets, EdgeSide, Fold, Observation, Range, Table, Weight, push_label,
};
use crate::edges::{Connection, Edge, Store};

/// The rows of the edges that one batch or tick completes.
#[derive(Debug)]
pub(super) struct EdgeRows {
    series: EdgeSeries,
    virtual_caller: String,
    buckets: Buckets,
    n_buckets: [usize; Table::ALL.len()],
    index: HashMap<Ends, Rows, RandomState>,
    /// Label sets of the edges in `index`.
    text: Vec<u8>,
    fold: Fold,
    batch: Batch,
}

/// The origins of both sides, which decide the label set.
type Ends = (Option<u32>, Option<u32>, Connection);

#[derive(Debug, Clone, Copy)]
struct Rows {
    labels: Range,
    /// Of each table, once the edge has a row there.
    of: [Option<u32>; Table::ALL.len()],
}

/// A name of the virtual node's place.
const CLIENT: &str = "client";
const SERVER: &str = "server";

impl EdgeRows {
    pub(super) fn new(series: EdgeSeries, virtual_caller: &str, bounds: &Bounds) -> Self {
        let mut rows = Self {
            series,
            virtual_caller: virtual_caller.to_owned(),
            buckets: Buckets::new(&bounds.service_graphs),
            n_buckets: bounds.n_buckets(),
            index: HashMap::default(),
            text: Vec::new(),
            fold: Fold::default(),
            batch: Batch::default(),
        };
        rows.clear();
        rows
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fold.is_empty()
    }

    /// The rows so far; they are handed back with [`give_back`](Self::give_back).
    pub(super) fn take(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        self.fold.finish(&mut batch);
        self.clear();
        batch
    }

    pub(super) fn give_back(&mut self, batch: Batch) {
        self.batch = batch;
    }

    fn clear(&mut self) {
        self.index.clear();
        self.text.clear();
        self.fold.clear(self.n_buckets);
    }

    pub(super) fn complete(&mut self, store: &Store, edge: &Edge) {
        let origin = |side: Option<EdgeSide>| side.map(|side| side.origin);
        let ends = (origin(edge.client), origin(edge.server), edge.connection);
        let mut rows = match self.index.get(&ends) {
            Some(rows) => *rows,
            None => self.labels(store, edge),
        };
        let before = rows.of;
        self.add(&mut rows, edge);
        if before != rows.of {
            self.index.insert(ends, rows);
        }
    }

    fn add(&mut self, rows: &mut Rows, edge: &Edge) {
        let series = self.series;
        let weight = edge.client.or(edge.server).map_or(Weight::ONE, |side| side.weight);
        let of = |latency_nano, side| Seen { latency_nano, weight, side };
        let nobody = of(0, None);
        if series.requests {
            self.observe(Table::EdgeRequests, rows, edge, nobody);
            if edge.failed {
                self.observe(Table::EdgeFailed, rows, edge, nobody);
            }
        }
        let own = |side: EdgeSide| of(side.latency_nano(), Some(side));
        let client = edge.client.map(own);
        let server = match edge.connection {
            // Nobody else knows how long a database took.
            Connection::Database => client,
            _ => edge.server.map(own),
        };
        for (on, table, side) in [
            (series.server_seconds, Table::EdgeServer, server),
            (series.client_seconds, Table::EdgeClient, client),
        ] {
            let missing = series.observe_missing_side.then_some(nobody);
            if let Some(seen) = side.or(missing).filter(|_| on) {
                self.observe(table, rows, edge, seen);
            }
        }
        if series.messaging_seconds
            && edge.connection == Connection::Messaging
            && let (Some(client), Some(server)) = (edge.client, edge.server)
            && let Some(delay) = server.start_unix_nano.checked_sub(client.end_unix_nano)
            && delay > 0
        {
            self.observe(Table::EdgeMessaging, rows, edge, of(delay, Some(server)));
        }
        if series.connection_info {
            self.row(Table::EdgeInfo, rows);
        }
    }

    fn observe(&mut self, table: Table, rows: &mut Rows, edge: &Edge, seen: Seen) {
        let row = self.row(table, rows);
        self.fold.observe(
            row,
            &Observation {
                bucket: self.buckets.index_of(seen.latency_nano),
                latency_nano: seen.latency_nano,
                size: 0,
                weight: seen.weight,
                error: edge.failed,
                end_unix_nano: seen.side.map_or(0, |side| side.end_unix_nano),
                ids: seen.side.as_ref().map(|side| (&side.trace_id, &side.span_id)),
            },
        );
    }

    fn row(&mut self, table: Table, rows: &mut Rows) -> u32 {
        let Self { fold, text, .. } = self;
        *rows.of[table as usize].get_or_insert_with(|| {
            let start = fold.text.len();
            fold.text.extend_from_slice(rows.labels.slice(text));
            fold.row(table, start)
        })
    }

    /// The label set of an edge: sorted by name, without empty values.
    fn labels(&mut self, store: &Store, edge: &Edge) -> Rows {
        let client = edge.client.map(|side| store.origin(side.origin));
        let server = edge.server.map(|side| store.origin(side.origin));
        let peer_of_client = client.map_or("", |client| client.peer);
        let caller = match server.map_or("", |server| server.peer) {
            "" => &self.virtual_caller,
            peer => peer,
        };
        let mut labels = vec![
            (CLIENT, client.map_or(caller, |client| client.service)),
            (SERVER, server.map_or(peer_of_client, |server| server.service)),
            ("connection_type", edge.connection.name()),
        ];
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
        let of = [None; Table::ALL.len()];
        Rows { labels: Range::of(start, self.text.len()), of }
    }
}

/// One side as it is observed; none where an edge lacks it.
#[derive(Clone, Copy)]
struct Seen {
    latency_nano: u64,
    weight: Weight,
    side: Option<EdgeSide>,
}
