//! Rows while they are being added up: observations folded per distinct label set.

use ahash::RandomState;
use hashbrown::HashTable;

use super::{Batch, BucketCount, Exemplar, Range, Row, Table, Total, Weight};

/// Room that a table keeps from request to request; clearing costs what the table holds.
const KEPT_ENTRIES: usize = 8192;

/// Empties a table, and gives up the room of an outsized one.
pub fn reset_table(table: &mut HashTable<u32>) {
    if table.capacity() > KEPT_ENTRIES { *table = HashTable::new() } else { table.clear() }
}

/// The rows of a batch while they are being added up.
#[derive(Debug, Default)]
pub struct Fold {
    hasher: RandomState,
    table: HashTable<u32>,
    sums: Vec<Sum>,
    /// Label sets of the rows.
    pub text: Vec<u8>,
    /// Of the rows of each table.
    n_buckets: [usize; Table::ALL.len()],
    /// For each row as many as its table has buckets, dense.
    counts: Vec<u64>,
    /// Fractional rests of the counts; empty while all weights are 1.
    rests: Vec<f64>,
    /// For each row and bucket: 1 + index into `picked`, or 0.
    picks: Vec<u32>,
    picked: Vec<Exemplar>,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    table: Table,
    labels: Range,
    hash: u64,
    /// Its first one in the dense vectors.
    cell: usize,
    spans: u64,
    size: u64,
    /// Of the spans of weight 1: their number, and their nanoseconds.
    ones: u64,
    ones_latency: u128,
    /// Of all others.
    weighted_calls: Total,
    weighted_latency: Total,
}

/// What one span adds to its row. A table without a histogram counts it alone.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    pub bucket: usize,
    pub latency_nano: u64,
    pub size: u64,
    pub weight: Weight,
    pub error: bool,
    pub end_unix_nano: u64,
    /// Trace and span id, where both are well formed.
    pub ids: Option<(&'a [u8; 16], &'a [u8; 8])>,
}

impl Fold {
    /// `n_buckets` of each table's histogram, with `+Inf`; 0 = it has none.
    pub fn clear(&mut self, n_buckets: [usize; Table::ALL.len()]) {
        reset_table(&mut self.table);
        self.sums.clear();
        self.text.clear();
        self.n_buckets = n_buckets;
        self.counts.clear();
        self.rests.clear();
        self.picks.clear();
        self.picked.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Room that is kept, in bytes.
    pub fn kept_bytes(&self) -> usize {
        let cells = self.counts.capacity() + self.rests.capacity() + self.picks.capacity();
        cells * size_of::<u64>()
            + self.text.capacity()
            + self.sums.capacity() * size_of::<Sum>()
            + self.picked.capacity() * size_of::<Exemplar>()
    }

    /// The row of the label set that was appended to `text` from `start` on; a set that is there
    /// already is taken off again.
    pub fn row(&mut self, table: Table, start: usize) -> u32 {
        let Self { hasher, table: rows, sums, text, .. } = self;
        let set = &text[start..];
        let hash = hasher.hash_one((table as u8, set));
        let same = |&i: &u32| {
            let sum = &sums[i as usize];
            sum.table == table && sum.labels.slice(text) == set
        };
        if let Some(&row) = rows.find(hash, same) {
            text.truncate(start);
            return row;
        }
        let row = next_index(sums);
        let labels = Range::of(start, text.len());
        self.push(table, labels, hash);
        let sums = &self.sums;
        self.table.insert_unique(hash, row, |&i| sums[i as usize].hash);
        row
    }

    /// A row of its own, for a label set that the caller knows to be another one than those before.
    pub fn distinct_row(&mut self, table: Table, labels: Range) -> u32 {
        let row = next_index(&self.sums);
        self.push(table, labels, 0);
        row
    }

    fn push(&mut self, table: Table, labels: Range, hash: u64) {
        let cell = self.counts.len();
        self.sums.push(Sum::new(table, labels, hash, cell));
        let dense = cell + self.n_buckets[table as usize];
        self.counts.resize(dense, 0);
        self.picks.resize(dense, 0);
    }

    #[inline]
    pub fn observe(&mut self, row: u32, seen: &Observation<'_>) {
        let sum = &mut self.sums[row as usize];
        let cell = sum.cell + seen.bucket;
        let counts_alone = self.n_buckets[sum.table as usize] == 0;
        sum.spans += 1;
        sum.size += seen.size;
        if seen.weight.is_one() {
            sum.ones += 1;
        } else {
            sum.weighted_calls.add_weighted(1, seen.weight);
        }
        if counts_alone {
            return;
        }
        if seen.weight.is_one() {
            sum.ones_latency += u128::from(seen.latency_nano);
            self.counts[cell] += 1;
        } else {
            sum.weighted_latency.add_weighted(seen.latency_nano, seen.weight);
            self.count_weighted(cell, seen.weight);
        }
        if let Some((trace_id, span_id)) = seen.ids {
            let pick = &mut self.picks[cell];
            if *pick == 0 || seen.beats(&self.picked[*pick as usize - 1]) {
                let exemplar = seen.exemplar(*trace_id, *span_id);
                if *pick == 0 {
                    self.picked.push(exemplar);
                    *pick = next_index(&self.picked);
                } else {
                    self.picked[*pick as usize - 1] = exemplar;
                }
            }
        }
    }

    #[cold]
    fn count_weighted(&mut self, cell: usize, weight: Weight) {
        self.rests.resize(self.counts.len(), 0.0);
        let mut total = Total { whole: u128::from(self.counts[cell]), rest: self.rests[cell] };
        total.add_weighted(1, weight);
        self.counts[cell] = u64::try_from(total.whole).unwrap_or(u64::MAX);
        self.rests[cell] = total.rest;
    }

    /// Moves the rows into `batch`, which is empty.
    pub fn finish(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut batch.text, &mut self.text);
        for sum in &self.sums {
            let first_bucket = batch.buckets.len();
            let first_exemplar = batch.exemplars.len();
            for bucket in 0..self.n_buckets[sum.table as usize] {
                let cell = sum.cell + bucket;
                let rest = self.rests.get(cell).copied().unwrap_or_default();
                let count = Total { whole: u128::from(self.counts[cell]), rest };
                if !count.is_zero() {
                    batch.buckets.push(BucketCount { bucket: bucket_u32(bucket), count });
                }
                if let Some(pick) = self.picks[cell].checked_sub(1) {
                    let picked = self.picked[pick as usize];
                    batch.exemplars.push(Exemplar { bucket: bucket_u32(bucket), ..picked });
                }
            }
            batch.rows.push(Row {
                table: sum.table,
                labels: sum.labels,
                spans: sum.spans,
                calls: sum.calls(),
                size: sum.size,
                latency: sum.latency(),
                buckets: Range::of(first_bucket, batch.buckets.len()),
                exemplars: Range::of(first_exemplar, batch.exemplars.len()),
            });
        }
    }
}

impl Sum {
    fn new(table: Table, labels: Range, hash: u64, cell: usize) -> Self {
        let (weighted_calls, weighted_latency) = (Total::default(), Total::default());
        let (spans, size, ones, ones_latency) = (0, 0, 0, 0);
        Self {
            table,
            labels,
            hash,
            cell,
            spans,
            size,
            ones,
            ones_latency,
            weighted_calls,
            weighted_latency,
        }
    }

    fn calls(&self) -> Total {
        let mut calls = Total::of(self.ones);
        calls.add(&self.weighted_calls);
        calls
    }

    fn latency(&self) -> Total {
        let mut latency = Total { whole: self.ones_latency, rest: 0.0 };
        latency.add(&self.weighted_latency);
        latency
    }
}

impl Observation<'_> {
    #[inline]
    fn beats(&self, other: &Exemplar) -> bool {
        (self.error, self.latency_nano) > other.rank()
    }

    fn exemplar(&self, trace_id: [u8; 16], span_id: [u8; 8]) -> Exemplar {
        Exemplar {
            bucket: 0,
            trace_id,
            span_id,
            latency_nano: self.latency_nano,
            end_unix_nano: self.end_unix_nano,
            error: self.error,
        }
    }
}

fn next_index<T>(entries: &[T]) -> u32 {
    u32::try_from(entries.len()).expect("a request has fewer than 2^32 bytes, so fewer entries")
}

fn bucket_u32(bucket: usize) -> u32 {
    u32::try_from(bucket).expect("a layout has few buckets")
}
