//! Edge sides: what the service graph needs of a client, server, producer or consumer span.

use super::encoding::{BadEncoding, Decoder, put_number};
use super::labels::{Labels, push_part, take_part};
use super::total::Weight;

/// A latency above this is a broken clock: 100 years.
const LATENCY_MAX_NANO: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

/// Nanoseconds; `None` for a span that ends before it starts, never started, or took a century.
#[inline]
pub fn latency_nano(start_unix_nano: u64, end_unix_nano: u64) -> Option<u64> {
    let latency = end_unix_nano.checked_sub(start_unix_nano)?;
    (latency <= LATENCY_MAX_NANO && start_unix_nano != 0).then_some(latency)
}

/// One side of a request between two services.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EdgeSide {
    pub trace_id: [u8; 16],
    /// Where the two sides meet: the id of the calling span, which is the parent id of the called one.
    /// A side that meets nobody there (a root, a client that receives) has its own id; roots have
    /// zeros where all of a trace are one, as in Tempo.
    pub meets_at: [u8; 8],
    pub span_id: [u8; 8],
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    /// `None` where the span tells none.
    pub weight: Option<Weight>,
    /// Index into the batch's origins; in the store of edge sides, the store's id of it.
    pub origin: u32,
    pub role: Role,
    pub class: Class,
    /// A called span without a parent.
    pub root: bool,
    pub failed: bool,
}

/// The span's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    // Kept stable: these numbers stand in logs, and are places in `ALL`.
    Client = 0,
    Producer = 1,
    Server = 2,
    Consumer = 3,
}

/// What is special about a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    // As above.
    Plain = 0,
    /// Calls a database: its origin's peer names the database, and nobody answers.
    Database = 1,
    /// Sends messages that span links may name (`messaging_links`).
    Sends = 2,
    /// Receives messages that its links name.
    Receives = 3,
    /// A filter policy leaves the span out: its other side makes no edge either.
    Filtered = 4,
}

/// A context that a link of a receiving span names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Index of the side in its batch.
    pub side: u32,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

/// Where a side comes from: what the labels of its edges are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Not empty.
    pub service: &'a str,
    /// What the span says of its other side; the node's name of a database call. May be empty.
    pub peer: &'a str,
    /// With the names that they have on the edge.
    pub dimensions: Labels<'a>,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Client, Self::Producer, Self::Server, Self::Consumer];

    pub fn calls(self) -> bool {
        matches!(self, Self::Client | Self::Producer)
    }

    pub fn is_messaging(self) -> bool {
        matches!(self, Self::Producer | Self::Consumer)
    }
}

impl Class {
    pub const ALL: [Self; 5] =
        [Self::Plain, Self::Database, Self::Sends, Self::Receives, Self::Filtered];
}

impl EdgeSide {
    /// What stands where there is no side.
    pub const NOBODY: Self = Self {
        trace_id: [0; 16],
        meets_at: [0; 8],
        span_id: [0; 8],
        start_unix_nano: 0,
        end_unix_nano: 0,
        weight: None,
        origin: 0,
        role: Role::Client,
        class: Class::Plain,
        root: false,
        failed: false,
    };

    /// Nanoseconds, as in the span metrics.
    pub fn latency_nano(&self) -> u64 {
        latency_nano(self.start_unix_nano, self.end_unix_nano).unwrap_or_default()
    }

    /// Whether it is the calling side of a request.
    pub fn seeks_answer(&self) -> bool {
        self.role.calls() && self.class != Class::Receives
    }

    /// Whether nobody can meet it at its own place.
    pub fn is_alone(&self) -> bool {
        self.root || (self.role.calls() && self.class == Class::Receives)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        for part in [&self.trace_id[..], &self.meets_at, &self.span_id] {
            out.extend_from_slice(part);
        }
        let weight = self.weight.map_or(0, |weight| weight.as_f64().to_bits());
        for n in [self.start_unix_nano, self.end_unix_nano, weight] {
            put_number(out, n.into());
        }
        put_number(out, self.origin.into());
        let flags = u8::from(self.root) | u8::from(self.failed) << 1;
        out.extend_from_slice(&[self.role as u8, self.class as u8, flags]);
    }

    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, BadEncoding> {
        let mut side = Self {
            trace_id: decoder.array("trace id")?,
            meets_at: decoder.array("meeting place")?,
            span_id: decoder.array("span id")?,
            start_unix_nano: decoder.int("start")?,
            end_unix_nano: decoder.int("end")?,
            weight: match decoder.int("weight")? {
                0 => None,
                bits => Some(Weight::new(f64::from_bits(bits)).ok_or(BadEncoding("weight"))?),
            },
            origin: decoder.int("origin")?,
            role: of(&Role::ALL, decoder.byte("role")?)?,
            class: of(&Class::ALL, decoder.byte("class")?)?,
            root: false,
            failed: false,
        };
        let flags = decoder.byte("flags")?;
        (side.root, side.failed) = (flags & 1 == 1, flags & 2 == 2);
        Ok(side)
    }
}

fn of<T: Copy>(all: &[T], byte: u8) -> Result<T, BadEncoding> {
    all.get(usize::from(byte)).copied().ok_or(BadEncoding("role or class"))
}

impl<'a> Origin<'a> {
    pub fn push(&self, out: &mut Vec<u8>) {
        push_part(out, self.service);
        push_part(out, self.peer);
        out.extend_from_slice(self.dimensions.as_bytes());
    }

    /// `bytes` come from [`push`](Self::push), or from a log whose frames are checked.
    pub fn read(mut bytes: &'a [u8]) -> Self {
        let service = take_part(&mut bytes).unwrap_or_default();
        let peer = take_part(&mut bytes).unwrap_or_default();
        Self { service, peer, dimensions: Labels::new(bytes) }
    }
}
