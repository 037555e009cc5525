//! What one request adds, as plain data: a row for each distinct label set, an edge side for each span
//! that may be one side of a request between services.
//!
//! A batch is staged in parallel and without a lock, and holds all that the ledger needs: it has no
//! reference into the request. Positions (`TextRange`, `Range`) point into the batch's own arenas, so
//! that a batch is a handful of flat vectors that can be reused, encoded and compared.

mod buckets;
mod edge_side;
pub mod encoding;
mod fold;
mod labels;
mod table;
mod tallies;
mod total;

pub use buckets::{Bounds, Buckets};
pub use edge_side::{Class, EdgeSide, Link, Origin, Role, latency_nano};
pub use fold::{Fold, Observation, reset_table};
pub use labels::{Demand, Labels, push_label};
pub use table::{Shape, Table};
pub use tallies::{Discarded, Limited, Processor, Repaired, Repairs, Tallies};
pub use total::{Total, Weight};

/// Start and length in one of the batch's arenas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    pub start: u32,
    pub len: u32,
}

impl Range {
    /// From `start` up to `end`; arenas hold less than 4 GiB.
    pub fn of(start: usize, end: usize) -> Self {
        let u32_of = |n| u32::try_from(n).expect("an arena of a batch holds less than 4 GiB");
        Self { start: u32_of(start), len: u32_of(end - start) }
    }

    pub fn indexes(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    pub fn slice<T>(self, arena: &[T]) -> &[T] {
        &arena[self.indexes()]
    }
}

/// One request, folded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The settings it was staged under.
    pub generation: u64,
    /// Label sets, in the form of [`Labels`].
    pub text: Vec<u8>,
    /// In the order in which the label sets were first seen.
    pub rows: Vec<Row>,
    pub buckets: Vec<BucketCount>,
    pub exemplars: Vec<Exemplar>,
    /// In the order of the spans.
    pub sides: Vec<EdgeSide>,
    /// In the order of their sides; nearly always empty.
    pub links: Vec<Link>,
    /// Where the sides come from, each distinct one once: into `origin_text`.
    pub origins: Vec<Range>,
    /// In the form of [`Origin`].
    pub origin_text: Vec<u8>,
    /// One for each label set of the span metrics with a dry run of name templates; else empty.
    pub demand: Vec<Demand>,
    pub tallies: Tallies,
}

/// What a request adds to one label set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub table: Table,
    /// Into `Batch::text`.
    pub labels: Range,
    /// Spans, unweighted.
    pub spans: u64,
    /// Spans, weighted: equal to `spans` while all weights are 1.
    pub calls: Total,
    /// Bytes of the spans as encoded in the request, unweighted.
    pub size: u64,
    /// Nanoseconds, weighted.
    pub latency: Total,
    /// Into `Batch::buckets`: rising by index, without empty ones.
    pub buckets: Range,
    /// Into `Batch::exemplars`: at most one a bucket, rising by bucket.
    pub exemplars: Range,
}

/// Observations in one bucket of the row's layout, not cumulative; the last index is `+Inf`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BucketCount {
    pub bucket: u32,
    pub count: Total,
}

/// A span that stands for a bucket: the failed one before the slowest before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    pub bucket: u32,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub latency_nano: u64,
    pub end_unix_nano: u64,
    pub error: bool,
}

impl Exemplar {
    /// The failed one first, then the slowest, then the first that came.
    pub fn rank(&self) -> (bool, u64) {
        (self.error, self.latency_nano)
    }
}

impl Batch {
    pub fn labels(&self, row: &Row) -> Labels<'_> {
        Labels::new(row.labels.slice(&self.text))
    }

    /// Room that the batch keeps, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.text.capacity()
            + self.rows.capacity() * size_of::<Row>()
            + self.buckets.capacity() * size_of::<BucketCount>()
            + self.exemplars.capacity() * size_of::<Exemplar>()
            + self.sides.capacity() * size_of::<EdgeSide>()
            + self.links.capacity() * size_of::<Link>()
            + self.origins.capacity() * size_of::<Range>()
            + self.origin_text.capacity()
            + self.demand.capacity() * size_of::<Demand>()
    }

    /// Empties the batch and keeps its room.
    pub fn clear(&mut self) {
        self.generation = 0;
        self.text.clear();
        self.rows.clear();
        self.buckets.clear();
        self.exemplars.clear();
        self.sides.clear();
        self.links.clear();
        self.origins.clear();
        self.origin_text.clear();
        self.demand.clear();
        self.tallies = Tallies::default();
    }
}
