//! Label blocks: the encoded labels of a label set, made once at its birth.
//!
//! Labels are sorted by name, so that the metric name and `le`, which differ between the series of a
//! label set, go between three parts that do not:
//! `before __name__ | between __name__ and le | after le`.

use crate::ledger::Labels;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    bytes: Box<[u8]>,
    name_at: u32,
    le_at: u32,
}

const NAME: &str = "__name__";
const LE: &str = "le";

impl Block {
    /// `common`: labels that every series gets, sorted by name; they win over the set's own.
    pub fn new(labels: Labels<'_>, common: &[(String, String)]) -> Self {
        let own = labels.iter().filter(|(name, _)| !common.iter().any(|(c, _)| c == name));
        let common = common.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut all: Vec<(&str, &str)> = own.chain(common).collect();
        all.sort_unstable();
        let mut bytes = Vec::new();
        let (mut name_at, mut le_at) = (0, 0);
        for (name, value) in all {
            push_label(&mut bytes, name, value);
            if name < NAME {
                name_at = bytes.len();
            }
            if name < LE {
                le_at = bytes.len();
            }
        }
        let at = |n| u32::try_from(n).expect("a label set is far below 4 GiB");
        Self { name_at: at(name_at), le_at: at(le_at.max(name_at)), bytes: bytes.into() }
    }

    /// The three parts that surround name and `le`.
    pub fn parts(&self) -> [&[u8]; 3] {
        let (name_at, le_at) = (self.name_at as usize, self.le_at as usize);
        [&self.bytes[..name_at], &self.bytes[name_at..le_at], &self.bytes[le_at..]]
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The labels in their order, without name and `le`.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest: &[u8] = &self.bytes;
        std::iter::from_fn(move || {
            let mut label = take(&mut rest)?;
            Some((take_text(&mut label)?, take_text(&mut label)?))
        })
    }
}

/// Appends field 1 (`labels`) of a remote-write time series.
pub fn push_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let field_len = |text: &str| 1 + varint_len(text.len() as u64) + text.len();
    out.push(0x0a);
    put_varint(out, (field_len(name) + field_len(value)) as u64);
    for (tag, text) in [(0x0a, name), (0x12, value)] {
        out.push(tag);
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

#[inline]
pub fn varint_len(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (_tag, mut tail) = rest.split_first()?;
    let mut len = 0_usize;
    for shift in (0..).step_by(7) {
        let (&byte, after) = tail.split_first()?;
        tail = after;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    let (part, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some(part)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(own: &[(&str, &str)], common: &[(&str, &str)]) -> Block {
        let mut text = Vec::new();
        own.iter().for_each(|(n, v)| crate::batch::push_label(&mut text, n, v));
        let common: Vec<_> = common.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Block::new(Labels::new(&text), &common)
    }

    #[test]
    fn common_labels_win_and_everything_is_sorted() {
        let block = block(
            &[("Env", "own"), ("cluster", "own"), ("service", "cart")],
            &[
                ("__metrics_gen_instance", "host"),
                ("cluster", "common"),
                ("zone", &"z".repeat(300)),
            ],
        );
        let names: Vec<_> = block.labels().map(|(n, _)| n).collect();
        assert_eq!(names, ["Env", "__metrics_gen_instance", "cluster", "service", "zone"]);
        assert_eq!(block.labels().nth(2), Some(("cluster", "common")));
        let count =
            |part: &[u8]| Block { bytes: part.into(), name_at: 0, le_at: 0 }.labels().count();
        assert_eq!(block.parts().map(count), [2, 1, 2]);
    }

    #[test]
    fn varints_are_as_long_as_they_say() {
        for n in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            assert_eq!(out.len(), varint_len(n), "{n}");
        }
    }
}
