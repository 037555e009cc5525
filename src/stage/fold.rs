//! Spans of one request folded per distinct label set, in two steps: spans whose raw pieces are the
//! same find their row by one hash; only the first of them has its label set built and looked up.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::batch::{Batch, BucketCount, Exemplar, Range, Row, Table, Total, Weight};

/// Room that a table keeps from request to request; clearing costs what the table holds.
const KEPT_ENTRIES: usize = 8192;

pub(super) fn reset_table(table: &mut HashTable<u32>) {
    if table.capacity() > KEPT_ENTRIES { *table = HashTable::new() } else { table.clear() }
}

/// The rows of a batch while they are being added up.
#[derive(Debug, Default)]
pub(super) struct Fold {
    hasher: RandomState,
    raw_table: HashTable<u32>,
    raw_entries: Vec<RawEntry>,
    raw_keys: Vec<u8>,
    set_table: HashTable<u32>,
    sums: Vec<Sum>,
    /// Label sets of the rows.
    pub(super) text: Vec<u8>,
    n_buckets: usize,
    /// `n_buckets` for each row, dense.
    counts: Vec<u64>,
    /// Fractional rests of the counts; empty while all weights are 1.
    rests: Vec<f64>,
    /// For each row and bucket: 1 + index into `picked`, or 0.
    picks: Vec<u32>,
    picked: Vec<Exemplar>,
}

#[derive(Debug, Clone, Copy)]
struct RawEntry {
    hash: u64,
    key: Range,
    found: Found,
}

/// What the raw pieces of a span lead to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) row: u32,
    pub(super) repairs: Repairs,
}

/// What had to be put right in a row's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Repairs {
    pub(super) utf8: bool,
    pub(super) length: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sum {
    table: Table,
    labels: Range,
    hash: u64,
    spans: u64,
    size: u64,
    /// Of the spans of weight 1: their number, and their nanoseconds.
    ones: u64,
    ones_latency: u128,
    /// Of all others.
    weighted_calls: Total,
    weighted_latency: Total,
}

/// What one span adds to its row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation<'a> {
    pub(super) bucket: usize,
    pub(super) latency_nano: u64,
    pub(super) size: u64,
    pub(super) weight: Weight,
    pub(super) error: bool,
    pub(super) end_unix_nano: u64,
    /// Trace and span id, where both are well formed.
    pub(super) ids: Option<(&'a [u8; 16], &'a [u8; 8])>,
}

impl Fold {
    pub(super) fn clear(&mut self, n_buckets: usize) {
        reset_table(&mut self.raw_table);
        reset_table(&mut self.set_table);
        self.raw_entries.clear();
        self.raw_keys.clear();
        self.sums.clear();
        self.text.clear();
        self.n_buckets = n_buckets;
        self.counts.clear();
        self.rests.clear();
        self.picks.clear();
        self.picked.clear();
    }

    pub(super) fn kept_bytes(&self) -> usize {
        let cells = self.counts.capacity() + self.rests.capacity() + self.picks.capacity();
        cells * size_of::<u64>()
            + self.raw_keys.capacity()
            + self.text.capacity()
            + self.raw_entries.capacity() * size_of::<RawEntry>()
            + self.sums.capacity() * size_of::<Sum>()
            + self.picked.capacity() * size_of::<Exemplar>()
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn find_raw(&self, hash: u64, key: &[u8]) -> Option<Found> {
        let entry = |i: &u32| &self.raw_entries[*i as usize];
        let same = |i: &u32| entry(i).hash == hash && entry(i).key.slice(&self.raw_keys) == key;
        self.raw_table.find(hash, same).map(|i| entry(i).found)
    }

    pub(super) fn insert_raw(&mut self, hash: u64, key: &[u8], found: Found) {
        let start = self.raw_keys.len();
        self.raw_keys.extend_from_slice(key);
        let key = Range::of(start, self.raw_keys.len());
        let index = next_index(&self.raw_entries);
        self.raw_entries.push(RawEntry { hash, key, found });
        let entries = &self.raw_entries;
        self.raw_table.insert_unique(hash, index, |&i| entries[i as usize].hash);
    }

    /// The row of the label set that was appended to `text` from `start` on; a set that is there
    /// already is taken off again.
    pub(super) fn row(&mut self, table: Table, start: usize) -> u32 {
        let Self { hasher, set_table, sums, text, .. } = self;
        let set = &text[start..];
        let hash = hasher.hash_one((table as u8, set));
        let same = |&i: &u32| {
            let sum = &sums[i as usize];
            sum.table == table && sum.labels.slice(text) == set
        };
        if let Some(&row) = set_table.find(hash, same) {
            text.truncate(start);
            return row;
        }
        let row = next_index(sums);
        let labels = Range::of(start, text.len());
        sums.push(Sum::new(table, labels, hash));
        set_table.insert_unique(hash, row, |&i| sums[i as usize].hash);
        let dense = sums.len() * self.n_buckets;
        self.counts.resize(dense, 0);
        self.picks.resize(dense, 0);
        row
    }

    #[inline]
    pub(super) fn observe(&mut self, row: u32, seen: &Observation<'_>) {
        let sum = &mut self.sums[row as usize];
        let cell = row as usize * self.n_buckets + seen.bucket;
        sum.spans += 1;
        sum.size += seen.size;
        if seen.weight.is_one() {
            sum.ones += 1;
            sum.ones_latency += u128::from(seen.latency_nano);
            self.counts[cell] += 1;
        } else {
            sum.weighted_calls.add_weighted(1, seen.weight);
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
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut batch.text, &mut self.text);
        for (row, sum) in self.sums.iter().enumerate() {
            let first_bucket = batch.buckets.len();
            let first_exemplar = batch.exemplars.len();
            for bucket in 0..self.n_buckets {
                let cell = row * self.n_buckets + bucket;
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
    fn new(table: Table, labels: Range, hash: u64) -> Self {
        let (weighted_calls, weighted_latency) = (Total::default(), Total::default());
        let (spans, size, ones, ones_latency) = (0, 0, 0, 0);
        Self {
            table,
            labels,
            hash,
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
