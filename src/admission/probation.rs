//! Label sets that were sighted lately and not let in: under pressure the second sighting counts.
//!
//! Two generations of fingerprints of a fixed size: when the newer one is full or old, the older one is
//! forgotten. A fingerprint has 48 bits besides the place where it stands, so that a set that was never
//! seen is taken for another one less than once in 10^9 times, however many come.

/// A sighting counts for so long.
const SIGHTED_MS: i64 = 60_000;
/// Places of a generation, of which half are taken: a look is short.
const PLACES: usize = 1 << 15;

/// What both generations hold, in bytes.
pub const BYTES: usize = 2 * PLACES * size_of::<u64>();

#[derive(Debug, Default)]
pub struct Probation {
    newer: Generation,
    older: Generation,
}

/// Words of a fingerprint and the second in which it was sighted last, found by the hash; 0 = empty.
#[derive(Debug, Default)]
struct Generation {
    /// Empty until the first sighting.
    words: Vec<u64>,
    n: usize,
    since_ms: i64,
}

impl Probation {
    /// Whether a label set of this hash was sighted within the last minute. It is now.
    pub fn sight(&mut self, hash: u64, at_ms: i64) -> bool {
        let is_full = self.newer.words.is_empty() || self.newer.n >= PLACES / 2;
        if is_full || at_ms.saturating_sub(self.newer.since_ms) >= SIGHTED_MS {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear(at_ms);
        }
        let second = second_of(at_ms);
        let before = self.newer.find(hash).or_else(|| self.older.find(hash));
        self.newer.insert(hash, second);
        before.is_some_and(|then| i64::from(second.wrapping_sub(then)) * 1000 <= SIGHTED_MS)
    }

    /// Gives up its memory where nothing was sighted of late.
    pub fn forget(&mut self, at_ms: i64) {
        if self.is_held() && at_ms.saturating_sub(self.newer.since_ms) > 2 * SIGHTED_MS {
            *self = Self::default();
        }
    }

    /// Whether its memory is held.
    pub fn is_held(&self) -> bool {
        !self.newer.words.is_empty()
    }
}

/// Seconds as far as a minute can be told by them.
fn second_of(at_ms: i64) -> u16 {
    u16::try_from(at_ms.div_euclid(1000).rem_euclid(1 << 16)).unwrap_or_default()
}

impl Generation {
    fn clear(&mut self, at_ms: i64) {
        self.words.clear();
        self.words.resize(PLACES, 0);
        self.n = 0;
        self.since_ms = at_ms;
    }

    /// The second in which it was sighted last.
    fn find(&self, hash: u64) -> Option<u16> {
        let word = *self.words.get(self.place(hash)?)?;
        (word != 0).then(|| u16::try_from(word & 0xffff).unwrap_or_default())
    }

    fn insert(&mut self, hash: u64, second: u16) {
        let Some(place) = self.place(hash) else { return };
        self.n += usize::from(self.words[place] == 0);
        self.words[place] = fingerprint(hash) << 16 | u64::from(second);
    }

    /// Where a hash stands, or may be put.
    fn place(&self, hash: u64) -> Option<usize> {
        if self.words.is_empty() {
            return None;
        }
        let mut place = usize::try_from(hash >> 49).unwrap_or_default() % PLACES;
        while self.words[place] != 0 && self.words[place] >> 16 != fingerprint(hash) {
            place = (place + 1) % PLACES;
        }
        Some(place)
    }
}

/// 48 bits, never 0.
fn fingerprint(hash: u64) -> u64 {
    (hash & 0xffff_ffff_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use ahash::RandomState;

    use super::*;

    #[test]
    fn the_second_sighting_within_a_minute_counts() {
        let mut probation = Probation::default();
        assert!(!probation.sight(7, 1_000_000));
        assert!(!probation.sight(8, 1_000_000));
        assert!(probation.sight(7, 1_060_000));
        assert!(!probation.sight(8, 1_061_000), "more than a minute ago");
        assert!(probation.sight(8, 1_121_000));
        assert!(!probation.sight(7, 10_000_000));
    }

    #[test]
    fn what_was_sighted_long_ago_is_given_up() {
        let mut probation = Probation::default();
        probation.sight(7, 1_000_000);
        probation.forget(1_120_000);
        assert!(probation.is_held());
        probation.forget(1_120_001);
        assert!(!probation.is_held());
        assert!(!probation.sight(7, 1_120_002));
    }

    #[test]
    fn one_shot_sets_are_not_let_in_and_memory_stays() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut probation = Probation::default();
        let admitted =
            (0..3_000_000_u64).filter(|n| probation.sight(hasher.hash_one(n), 5_000)).count();
        assert_eq!(admitted, 0);
        let held = probation.newer.words.capacity() + probation.older.words.capacity();
        assert_eq!(held * size_of::<u64>(), BYTES);
    }

    #[test]
    fn a_set_that_comes_again_is_known_unless_a_flood_came_between() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut probation = Probation::default();
        let mut flood = 0_u64..;
        let mut sight = |n: u64| probation.sight(hasher.hash_one(n), 5_000);
        assert!(!sight(u64::MAX));
        flood.by_ref().take(PLACES / 2).for_each(|n| assert!(!sight(n)));
        assert!(sight(u64::MAX), "the generation before is still known");
        flood.by_ref().take(2 * PLACES).for_each(|n| assert!(!sight(n)));
        assert!(!sight(u64::MAX));
    }
}
