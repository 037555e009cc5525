//! What happened to the spans of a batch, counted in plain integers and published by others.
//!
//! One equation a processor: received = counted + discarded (by reason) + rejected.

/// Label value `processor` of the own metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    SpanMetrics,
    HostInfo,
    ServiceGraphs,
}

/// Why a span that was taken makes no metric: label value `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discarded {
    OutsideTimeWindow,
    Filtered,
    /// The service graph has no use for it: its kind, no service, odd ids.
    NoEdgeSide,
    /// The service graph has seen the same span.
    Duplicate,
}

/// Why a span is counted in an overflow series: label value `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    MaxActiveSeries,
    MaxActiveSeriesPerService,
    MaxActiveEntities,
    MaxServices,
    MaxEdges,
    MaxCardinalityPerLabel,
    MaxLabelBytes,
    Memory,
    /// Under pressure, and its label set was not seen before.
    Probation,
    /// An info gauge is not emitted.
    Info,
}

/// What of a span was put right: label value `what`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    Utf8,
    Ids,
    Duration,
    Multiplier,
    LabelLength,
    /// More span links than are followed.
    Links,
}

impl Processor {
    pub const ALL: [Self; 3] = [Self::SpanMetrics, Self::HostInfo, Self::ServiceGraphs];

    pub fn name(self) -> &'static str {
        match self {
            Self::SpanMetrics => "span-metrics",
            Self::HostInfo => "host-info",
            Self::ServiceGraphs => "service-graphs",
        }
    }
}

impl Discarded {
    pub const ALL: [Self; 4] =
        [Self::OutsideTimeWindow, Self::Filtered, Self::NoEdgeSide, Self::Duplicate];

    pub fn name(self) -> &'static str {
        match self {
            Self::OutsideTimeWindow => "outside_time_window",
            Self::Filtered => "filtered",
            Self::NoEdgeSide => "no_edge_side",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Limited {
    pub const ALL: [Self; 10] = [
        Self::MaxActiveSeries,
        Self::MaxActiveSeriesPerService,
        Self::MaxActiveEntities,
        Self::MaxServices,
        Self::MaxEdges,
        Self::MaxCardinalityPerLabel,
        Self::MaxLabelBytes,
        Self::Memory,
        Self::Probation,
        Self::Info,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MaxActiveSeries => "max_active_series",
            Self::MaxActiveSeriesPerService => "max_active_series_per_service",
            Self::MaxActiveEntities => "max_active_entities",
            Self::MaxServices => "max_services",
            Self::MaxEdges => "max_edges",
            Self::MaxCardinalityPerLabel => "max_cardinality_per_label",
            Self::MaxLabelBytes => "max_label_bytes",
            Self::Memory => "memory",
            Self::Probation => "probation",
            Self::Info => "info",
        }
    }
}

impl Repaired {
    pub const ALL: [Self; 6] =
        [Self::Utf8, Self::Ids, Self::Duration, Self::Multiplier, Self::LabelLength, Self::Links];

    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Ids => "ids",
            Self::Duration => "duration",
            Self::Multiplier => "multiplier",
            Self::LabelLength => "label_length",
            Self::Links => "links",
        }
    }
}

/// What of one span was put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs(u8);

impl Repairs {
    pub fn set(&mut self, what: Repaired, repaired: bool) {
        self.0 |= u8::from(repaired) << what as u8;
    }

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Spans, unweighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tallies {
    pub received: u64,
    /// Whose name became a template of another text, or would with a dry run.
    pub names_sanitized: u64,
    counted: [u64; Processor::ALL.len()],
    discarded: [[u64; Discarded::ALL.len()]; Processor::ALL.len()],
    /// A part of what is counted.
    limited: [[u64; Limited::ALL.len()]; Processor::ALL.len()],
    repaired: [u64; Repaired::ALL.len()],
}

impl Tallies {
    pub fn count(&mut self, processor: Processor, n: u64) {
        self.counted[processor as usize] += n;
    }

    pub fn discard(&mut self, processor: Processor, reason: Discarded, n: u64) {
        self.discarded[processor as usize][reason as usize] += n;
    }

    pub fn repair(&mut self, repairs: Repairs) {
        if repairs != Repairs::default() {
            for what in Repaired::ALL {
                self.repaired[what as usize] += u64::from(repairs.0 >> what as u8 & 1);
            }
        }
    }

    pub fn limit(&mut self, processor: Processor, limit: Limited, n: u64) {
        self.limited[processor as usize][limit as usize] += n;
    }

    pub fn limited(&self, processor: Processor, limit: Limited) -> u64 {
        self.limited[processor as usize][limit as usize]
    }

    pub fn counted(&self, processor: Processor) -> u64 {
        self.counted[processor as usize]
    }

    pub fn discarded(&self, processor: Processor, reason: Discarded) -> u64 {
        self.discarded[processor as usize][reason as usize]
    }

    pub fn repaired(&self, what: Repaired) -> u64 {
        self.repaired[what as usize]
    }

    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.names_sanitized += other.names_sanitized;
        add_all(&mut self.counted, &other.counted);
        for (mine, theirs) in self.discarded.iter_mut().zip(&other.discarded) {
            add_all(mine, theirs);
        }
        for (mine, theirs) in self.limited.iter_mut().zip(&other.limited) {
            add_all(mine, theirs);
        }
        add_all(&mut self.repaired, &other.repaired);
    }

    /// Whether that holds for every processor that has seen a span.
    pub fn are_settled(&self) -> bool {
        Processor::ALL.into_iter().all(|processor| {
            let discarded = self.discarded[processor as usize].iter().any(|n| *n > 0);
            let is_off = self.counted(processor) == 0 && !discarded;
            is_off || self.balances(processor)
        })
    }

    /// Whether every span of a processor that runs is accounted for.
    pub fn balances(&self, processor: Processor) -> bool {
        let discarded: u64 = self.discarded[processor as usize].iter().sum();
        self.received == self.counted(processor) + discarded
    }
}

fn add_all(mine: &mut [u64], theirs: &[u64]) {
    mine.iter_mut().zip(theirs).for_each(|(m, t)| *m += t);
}
