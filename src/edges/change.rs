//! Changes of the store: what was decided about a side, as plain data with its bytes.

use super::store::Phase;
use crate::batch::EdgeSide;
use crate::batch::encoding::{BadEncoding, Decoder, put_bytes, put_number};

/// One change of the store. Slots and ids are those that were decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'a> {
    /// An origin takes an id; in the form of [`Origin`](crate::batch::Origin).
    Origin { id: u32, bytes: &'a [u8] },
    /// Origins that nobody refers to are forgotten.
    Sweep,
    /// A side takes a slot, at the end of the queue.
    Enter { slot: u32, phase: Phase, at_ms: i64, receiver: u32, side: EdgeSide },
    /// It goes to the end of the queue again: what is remembered is the span of this id.
    Again { slot: u32, phase: Phase, at_ms: i64, span_id: [u8; 8] },
    /// It goes to the end of the queue again, held so often by now for its real other side.
    Hold { slot: u32, at_ms: i64, n_held: u16 },
    /// It has paired, and stays where it is for others that come.
    Keep { slot: u32 },
    /// It has paired through a link, and still waits for its parent.
    Paired { slot: u32 },
    /// Another span of its kind takes its place, and what was left of its time.
    Replace { slot: u32, side: EdgeSide },
    /// It leaves the store.
    Leave { slot: u32 },
    /// It leaves the store, as the oldest of its service.
    Yield { slot: u32 },
}

// Kept stable: these numbers stand in logs.
const ORIGIN: u8 = 1;
const SWEEP: u8 = 2;
const ENTER: u8 = 3;
const AGAIN: u8 = 4;
const KEEP: u8 = 5;
const PAIRED: u8 = 6;
const REPLACE: u8 = 7;
const LEAVE: u8 = 8;
const YIELD: u8 = 9;
const HOLD: u8 = 10;

impl<'a> Change<'a> {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, what: u8, n: u32| {
            out.push(what);
            put_number(out, n.into());
        };
        match self {
            Self::Origin { id, bytes } => {
                put(out, ORIGIN, *id);
                put_bytes(out, bytes);
            }
            Self::Sweep => put(out, SWEEP, 0),
            Self::Enter { slot, phase, at_ms, receiver, side } => {
                put(out, ENTER, *slot);
                out.push(*phase as u8);
                out.extend_from_slice(&at_ms.to_le_bytes());
                put_number(out, (*receiver).into());
                side.encode(out);
            }
            Self::Again { slot, phase, at_ms, span_id } => {
                put(out, AGAIN, *slot);
                out.push(*phase as u8);
                out.extend_from_slice(&at_ms.to_le_bytes());
                out.extend_from_slice(span_id);
            }
            Self::Hold { slot, at_ms, n_held } => {
                put(out, HOLD, *slot);
                out.extend_from_slice(&at_ms.to_le_bytes());
                put_number(out, (*n_held).into());
            }
            Self::Keep { slot } => put(out, KEEP, *slot),
            Self::Paired { slot } => put(out, PAIRED, *slot),
            Self::Replace { slot, side } => {
                put(out, REPLACE, *slot);
                side.encode(out);
            }
            Self::Leave { slot } => put(out, LEAVE, *slot),
            Self::Yield { slot } => put(out, YIELD, *slot),
        }
    }

    /// Reads the next change.
    pub fn decode(decoder: &mut Decoder<'a>) -> Result<Self, BadEncoding> {
        let what = decoder.byte("change")?;
        let slot: u32 = decoder.int("slot")?;
        Ok(match what {
            ORIGIN => Self::Origin { id: slot, bytes: decoder.bytes("origin")? },
            SWEEP => Self::Sweep,
            ENTER => Self::Enter {
                slot,
                phase: Phase::of(decoder.byte("phase")?)?,
                at_ms: i64::from_le_bytes(decoder.array("time")?),
                receiver: decoder.int("receiver")?,
                side: EdgeSide::decode(decoder)?,
            },
            AGAIN => Self::Again {
                slot,
                phase: Phase::of(decoder.byte("phase")?)?,
                at_ms: i64::from_le_bytes(decoder.array("time")?),
                span_id: decoder.array("span id")?,
            },
            HOLD => Self::Hold {
                slot,
                at_ms: i64::from_le_bytes(decoder.array("time")?),
                n_held: decoder.int("holds")?,
            },
            KEEP => Self::Keep { slot },
            PAIRED => Self::Paired { slot },
            REPLACE => Self::Replace { slot, side: EdgeSide::decode(decoder)? },
            LEAVE => Self::Leave { slot },
            YIELD => Self::Yield { slot },
            _ => return Err(BadEncoding("change")),
        })
    }
}
