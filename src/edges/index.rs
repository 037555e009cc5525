//! Where entries stand, found by the hash of the place where they meet: one array of words, probed
//! from the place that the hash says onward, so that a look costs one line of memory.

/// Several entries may have one hash; whether they are the same is for the caller to say.
#[derive(Debug)]
pub(super) struct Index {
    /// The upper half of the hash, and 1 + slot; 0 = empty. Its length is a power of two.
    words: Vec<u64>,
    len: usize,
}

/// Words at least; more than 5 of 8 are never taken.
const WORDS_MIN: usize = 64;

impl Index {
    pub(super) fn new() -> Self {
        Self { words: vec![0; WORDS_MIN], len: 0 }
    }

    /// The first slot of this hash that is wanted.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut wanted: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let word = self.words[at];
            if word == 0 {
                return None;
            }
            if same_hash(word, hash) && wanted(slot_of(word)) {
                return Some(slot_of(word));
            }
            at = self.next(at);
        }
    }

    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        if (self.len + 1) * 8 > self.words.len() * 5 {
            let words = std::mem::take(&mut self.words);
            self.words = vec![0; words.len() * 2];
            words.into_iter().filter(|word| *word != 0).for_each(|word| self.put(word));
        }
        self.put(hash >> 32 << 32 | (u64::from(slot) + 1));
        self.len += 1;
    }

    /// Takes a slot out that is there. What stands behind it moves up, so that no gap is left.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let mut gap = self.home(hash);
        while slot_of(self.words[gap]) != slot {
            assert!(self.words[gap] != 0, "an entry that leaves is in the index");
            gap = self.next(gap);
        }
        let mask = self.words.len() - 1;
        let mut at = self.next(gap);
        while self.words[at] != 0 {
            let from_home = at.wrapping_sub(self.home(self.words[at])) & mask;
            if from_home >= at.wrapping_sub(gap) & mask {
                self.words[gap] = self.words[at];
                gap = at;
            }
            at = self.next(at);
        }
        self.words[gap] = 0;
        self.len -= 1;
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.words.len()
    }

    fn put(&mut self, word: u64) {
        let mut at = self.home(word);
        while self.words[at] != 0 {
            at = self.next(at);
        }
        self.words[at] = word;
    }

    /// By the uppermost bits, which hash and word have in common.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fewer bits than the length has")]
    fn home(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.words.len().trailing_zeros())) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.words.len() - 1)
    }
}

#[inline]
fn same_hash(word: u64, hash: u64) -> bool {
    (word ^ hash) >> 32 == 0
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn slot_of(word: u64) -> u32 {
    (word as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few homes, many alike: the last ones of the array among them.
    fn hash() -> impl Strategy<Value = u64> {
        (0..4_u64, 0..3_u64).prop_map(|(home, other)| home.wrapping_sub(2) << 56 | other << 32)
    }

    proptest! {
        /// forall steps: what was inserted and not removed is found, and nothing else.
        #[test]
        fn the_index_finds_what_a_plain_map_has(
            steps in prop::collection::vec((any::<bool>(), hash(), 0..40_u32), 0..200)
        ) {
            let (mut index, mut model) = (Index::new(), BTreeMap::new());
            for (insert, hash, slot) in steps {
                match model.get(&slot) {
                    None if insert => {
                        index.insert(hash, slot);
                        model.insert(slot, hash);
                    }
                    Some(&hash) if !insert => {
                        index.remove(hash, slot);
                        model.remove(&slot);
                    }
                    _ => {}
                }
                for slot in 0..40 {
                    let hash = model.get(&slot).copied();
                    let found = index.find(hash.unwrap_or_default(), |found| found == slot);
                    prop_assert_eq!(found, hash.map(|_| slot));
                }
                prop_assert_eq!(index.words.iter().filter(|word| **word != 0).count(), model.len());
            }
        }
    }

    #[test]
    fn the_index_grows_and_keeps_what_it_has() {
        let mut index = Index::new();
        let hash = |slot: u32| u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..10_000).for_each(|slot| index.insert(hash(slot), slot));
        assert!((0..10_000).all(|slot| index.find(hash(slot), |found| found == slot).is_some()));
        assert!(index.words.len() * 5 / 8 >= 10_000);
        (0..10_000).for_each(|slot| index.remove(hash(slot), slot));
        assert!(index.words.iter().all(|word| *word == 0));
    }
}
