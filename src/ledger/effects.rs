//! Effects: what was decided, with the slots that were found, and its bytes.

use std::borrow::Cow;

use crate::batch::encoding::{
    BadEncoding, Decoder, put_buckets, put_bytes, put_exemplars, put_number, put_total,
};
use crate::batch::{BucketCount, Exemplar, Labels, Table, Total};
use crate::edges::Change;
use crate::series::Parts;

/// One change of a tenant's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    /// A label set takes a slot; an overflow one counts in place of those that a limit kept out.
    Birth { table: Table, slot: u32, labels: Labels<'a>, is_overflow: bool },
    /// A row is added to a label set; an info label set is kept alive by one without numbers.
    Add(Add<'a>),
    /// A label set has ended and its slot is free.
    Death { table: Table, slot: u32 },
    /// A tick showed exemplars of a label set, the newest with this timestamp.
    Shown { table: Table, slot: u32, exemplar_ms: i64 },
    /// A tick was taken: what waited for it has gone out.
    Tick { at_ms: i64 },
    /// The store of edge sides changes.
    Edge(Change<'a>),
    /// Parts of the totals of all label sets of a table begin anew from zero, the histogram with these
    /// bounds. Comes right after a tick, so that no exemplar waits.
    Restart { table: Table, parts: Parts, bounds: Cow<'a, [f64]> },
    /// The store of edge sides, and a tick's exemplars, may be so many from now on.
    Resize { max_items: usize, max_exemplars: usize },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Add<'a> {
    pub table: Table,
    pub slot: u32,
    pub at_ms: i64,
    pub calls: Total,
    pub size: u64,
    pub latency: Total,
    pub buckets: Cow<'a, [BucketCount]>,
    pub exemplars: Cow<'a, [Exemplar]>,
}

// Kept stable: these numbers stand in logs.
const BIRTH: u8 = 1;
const ADD: u8 = 2;
const DEATH: u8 = 3;
const SHOWN: u8 = 4;
const TICK: u8 = 5;
const EDGE: u8 = 6;
const RESTART: u8 = 7;
const RESIZE: u8 = 8;

impl<'a> Effect<'a> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Birth { table, slot, labels, is_overflow } => {
                put_place(out, BIRTH, *table, *slot);
                put_bytes(out, labels.as_bytes());
                out.push(u8::from(*is_overflow));
            }
            Self::Add(add) => {
                put_place(out, ADD, add.table, add.slot);
                put_ms(out, add.at_ms);
                put_total(out, &add.calls);
                put_number(out, add.size.into());
                put_total(out, &add.latency);
                put_buckets(out, &add.buckets);
                put_exemplars(out, &add.exemplars);
            }
            Self::Death { table, slot } => put_place(out, DEATH, *table, *slot),
            Self::Shown { table, slot, exemplar_ms } => {
                put_place(out, SHOWN, *table, *slot);
                put_ms(out, *exemplar_ms);
            }
            Self::Tick { at_ms } => {
                out.push(TICK);
                put_ms(out, *at_ms);
            }
            Self::Edge(change) => {
                out.push(EDGE);
                change.encode(out);
            }
            Self::Restart { table, parts, bounds } => {
                out.extend_from_slice(&[RESTART, *table as u8, parts_byte(*parts)]);
                put_number(out, bounds.len() as u128);
                bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
            }
            Self::Resize { max_items, max_exemplars } => {
                out.push(RESIZE);
                put_number(out, *max_items as u128);
                put_number(out, *max_exemplars as u128);
            }
        }
    }

    /// Reads the next effect.
    pub fn decode(decoder: &mut Decoder<'a>) -> Result<Self, BadEncoding> {
        let what = decoder.byte("effect")?;
        if what == TICK {
            return Ok(Self::Tick { at_ms: get_ms(decoder)? });
        }
        if what == EDGE {
            return Change::decode(decoder).map(Self::Edge);
        }
        if what == RESIZE {
            let (max_items, max_exemplars) = (decoder.int("items")?, decoder.int("exemplars")?);
            return Ok(Self::Resize { max_items, max_exemplars });
        }
        let table = table_of(decoder.byte("table")?)?;
        if what == RESTART {
            let parts = parts_of(decoder.byte("parts")?);
            let n: usize = decoder.int("bounds")?;
            let bounds = (0..n).map(|_| decoder.array("bound").map(f64::from_le_bytes));
            return Ok(Self::Restart { table, parts, bounds: bounds.collect::<Result<_, _>>()? });
        }
        let slot = decoder.int("slot")?;
        Ok(match what {
            BIRTH => Self::Birth {
                table,
                slot,
                labels: Labels::new(decoder.bytes("labels")?),
                is_overflow: decoder.byte("overflow")? == 1,
            },
            ADD => Self::Add(Add {
                table,
                slot,
                at_ms: get_ms(decoder)?,
                calls: decoder.total("calls")?,
                size: decoder.int("size")?,
                latency: decoder.total("latency")?,
                buckets: decoder.buckets()?.into(),
                exemplars: decoder.exemplars()?.into(),
            }),
            DEATH => Self::Death { table, slot },
            SHOWN => Self::Shown { table, slot, exemplar_ms: get_ms(decoder)? },
            _ => return Err(BadEncoding("effect")),
        })
    }
}

fn put_place(out: &mut Vec<u8>, what: u8, table: Table, slot: u32) {
    out.extend_from_slice(&[what, table as u8]);
    put_number(out, slot.into());
}

fn table_of(byte: u8) -> Result<Table, BadEncoding> {
    Table::ALL.get(usize::from(byte)).copied().ok_or(BadEncoding("table"))
}

fn parts_byte(parts: Parts) -> u8 {
    u8::from(parts.calls) | u8::from(parts.size) << 1 | u8::from(parts.latency) << 2
}

fn parts_of(byte: u8) -> Parts {
    Parts { calls: byte & 1 != 0, size: byte & 2 != 0, latency: byte & 4 != 0 }
}

/// Times may lie before 1970 where a test says so.
fn put_ms(out: &mut Vec<u8>, ms: i64) {
    out.extend_from_slice(&ms.to_le_bytes());
}

fn get_ms(decoder: &mut Decoder<'_>) -> Result<i64, BadEncoding> {
    decoder.array("time").map(i64::from_le_bytes)
}
