//! The values of a label that were refused most: a space-saving count of a few of them, in fixed room.

/// Values that are counted.
pub(super) const VALUES: usize = 8;
/// A text is kept up to this length, cut on a character boundary; its hash is that of all of it.
pub(super) const TEXT_BYTES_MAX: usize = 95;

/// A value that is new takes the place of the one with the fewest spans and goes on from its count, so
/// that whatever comes often stays: a count is too high by at most what it took over.
#[derive(Debug, Clone, Default)]
pub(super) struct Heavy {
    len: usize,
    keys: [u64; VALUES],
    spans: [u64; VALUES],
    taken_over: [u64; VALUES],
    /// The generation that saw it last.
    seen: [u32; VALUES],
    texts: [Text; VALUES],
}

impl Heavy {
    /// `key` is the hash of the value.
    pub(super) fn add(&mut self, (key, value): (u64, &str), spans: u64, generation: u32) {
        if let Some(i) = self.keys[..self.len].iter().position(|known| *known == key) {
            self.spans[i] = self.spans[i].saturating_add(spans);
            self.seen[i] = generation;
            return;
        }
        let i = if self.len < VALUES {
            self.len += 1;
            self.len - 1
        } else {
            (0..VALUES).min_by_key(|i| self.spans[*i]).unwrap_or_default()
        };
        self.taken_over[i] = self.spans[i];
        self.spans[i] = self.spans[i].saturating_add(spans);
        self.keys[i] = key;
        self.seen[i] = generation;
        self.texts[i] = Text::new(value);
    }

    /// A generation is over: counts weigh half, and what `oldest` and later have not seen goes.
    pub(super) fn age(&mut self, oldest: u32) {
        let mut kept = Self::default();
        for i in 0..self.len {
            if self.seen[i] >= oldest && self.spans[i] > 1 {
                let to = kept.len;
                kept.len += 1;
                kept.keys[to] = self.keys[i];
                kept.spans[to] = self.spans[i] / 2;
                kept.taken_over[to] = self.taken_over[i] / 2;
                kept.seen[to] = self.seen[i];
                kept.texts[to] = self.texts[i];
            }
        }
        *self = kept;
    }

    /// Hash, text and the least number of spans of each.
    pub(super) fn values(&self) -> impl Iterator<Item = (u64, &str, u64)> {
        (0..self.len)
            .map(|i| (self.keys[i], self.texts[i].as_str(), self.spans[i] - self.taken_over[i]))
    }
}

/// A short text without room of its own.
#[derive(Debug, Clone, Copy)]
struct Text {
    len: u8,
    bytes: [u8; TEXT_BYTES_MAX],
}

impl Default for Text {
    fn default() -> Self {
        Self { len: 0, bytes: [0; TEXT_BYTES_MAX] }
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let text = cut(text).as_bytes();
        let mut new = Self::default();
        new.bytes[..text.len()].copy_from_slice(text);
        new.len = u8::try_from(text.len()).expect("a cut text is shorter than 256 bytes");
        new
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len.into()]).unwrap_or_default()
    }
}

/// The beginning of a text that is kept.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_stays_through_a_flood_and_is_not_counted_too_high() {
        let mut heavy = Heavy::default();
        for i in 0..100_000_u64 {
            heavy.add((1_000_000 + i, "once"), 1, 0);
            if i % 5 == 0 {
                heavy.add((7, "often"), 1, 0);
            }
        }
        let often = heavy.values().find(|(key, ..)| *key == 7).expect("it came every fifth time");
        assert_eq!(often.1, "often");
        assert!((10_000..=20_000).contains(&often.2), "{often:?}");
        let once: Vec<u64> =
            heavy.values().filter(|(key, ..)| *key != 7).map(|(.., n)| n).collect();
        assert_eq!(once, [1; VALUES - 1]);
    }

    #[test]
    fn what_is_not_seen_any_more_is_forgotten_however_often_it_was() {
        let mut heavy = Heavy::default();
        heavy.add((1, "old"), 1 << 60, 0);
        heavy.add((2, "new"), 6, 2);
        heavy.age(1);
        assert_eq!(heavy.values().collect::<Vec<_>>(), [(2, "new", 3)]);
        heavy.age(1);
        heavy.age(1);
        assert_eq!(heavy.values().count(), 0);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "é".repeat(TEXT_BYTES_MAX);
        assert_eq!(Text::new(&long).as_str(), "é".repeat(TEXT_BYTES_MAX / 2));
        assert_eq!(Text::new("short").as_str(), "short");
    }
}
