//! Spans whose raw pieces are the same are found by one hash: only the first of them has its text
//! built and looked up.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::batch::{Range, reset_table};
use crate::otlp::Value;

/// What the raw pieces of a span led to, for the spans behind it.
#[derive(Debug, Default)]
pub(super) struct RawKeys<T> {
    hasher: RandomState,
    table: HashTable<u32>,
    entries: Vec<RawEntry<T>>,
    keys: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct RawEntry<T> {
    hash: u64,
    key: Range,
    found: T,
}

impl<T: Copy> RawKeys<T> {
    pub(super) fn clear(&mut self) {
        reset_table(&mut self.table);
        self.entries.clear();
        self.keys.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.keys.capacity() + self.entries.capacity() * size_of::<RawEntry<T>>()
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<T> {
        let entry = |i: &u32| &self.entries[*i as usize];
        let same = |i: &u32| entry(i).hash == hash && entry(i).key.slice(&self.keys) == key;
        self.table.find(hash, same).map(|i| entry(i).found)
    }

    pub(super) fn insert(&mut self, hash: u64, key: &[u8], found: T) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        let key = Range::of(start, self.keys.len());
        let index = u32::try_from(self.entries.len()).expect("a request has fewer than 2^32 bytes");
        self.entries.push(RawEntry { hash, key, found });
        let entries = &self.entries;
        self.table.insert_unique(hash, index, |&i| entries[i as usize].hash);
    }
}

pub(super) fn push_piece(raw_key: &mut Vec<u8>, piece: &[u8]) {
    raw_key.extend_from_slice(&piece.len().to_le_bytes());
    raw_key.extend_from_slice(piece);
}

/// A value that is there. It is read, and refused if it is malformed, for the first span of its kind and
/// where the label set or the origin says it.
pub(super) fn push_raw_value(raw_key: &mut Vec<u8>, value: &Value<'_>) {
    let (raw, in_pieces) = value.raw();
    raw_key.push(1 + u8::from(in_pieces));
    push_piece(raw_key, raw);
}
