//! How many values labels had within the last hour: a sample every five minutes, of the labels with the
//! most values. Some 60 kB a tenant; a restart forgets it.

use std::cmp::Reverse;
use std::collections::VecDeque;

const HOUR_MS: i64 = 3_600_000;
const EVERY_MS: i64 = 300_000;
const LABELS_MAX: usize = 256;

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    at_ms: i64,
    /// Hash of service and label, admitted values; by hash.
    counts: Box<[(u64, u64)]>,
    /// It has every label that there was.
    is_complete: bool,
}

impl History {
    pub(super) fn is_due(&self, at_ms: i64) -> bool {
        self.samples.back().is_none_or(|newest| at_ms.saturating_sub(newest.at_ms) >= EVERY_MS)
    }

    pub(super) fn add(&mut self, at_ms: i64, mut counts: Vec<(u64, u64)>) {
        let is_complete = counts.len() <= LABELS_MAX;
        counts.sort_unstable_by_key(|(key, n)| (Reverse(*n), *key));
        counts.truncate(LABELS_MAX);
        counts.sort_unstable();
        self.samples.push_back(Sample { at_ms, counts: counts.into(), is_complete });
        // The newest one that is an hour old stays.
        while self.samples.get(1).is_some_and(|second| at_ms - second.at_ms >= HOUR_MS) {
            self.samples.pop_front();
        }
    }

    /// Values more than an hour ago, or than at the first sample while less than an hour is known;
    /// nothing where there is none to compare with.
    pub(super) fn growth(&self, at_ms: i64, key: u64, admitted: u64) -> Option<i64> {
        let before = self.samples.iter().take_while(|sample| sample.at_ms < at_ms);
        let an_hour_old = |sample: &&Sample| at_ms - sample.at_ms >= HOUR_MS;
        let sample = before.clone().filter(an_hour_old).last().or_else(|| before.clone().next())?;
        let found = sample.counts.binary_search_by_key(&key, |(key, _)| *key);
        let then = match found {
            Ok(place) => sample.counts[place].1,
            Err(_) if sample.is_complete => 0,
            Err(_) => return None,
        };
        Some(i64::try_from(admitted).ok()? - i64::try_from(then).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn growth_is_over_an_hour_or_over_what_is_known() {
        let mut history = History::default();
        assert_eq!(history.growth(0, 1, 5), None);
        for minute in 0..300_i64 {
            let at_ms = minute * MINUTE;
            if history.is_due(at_ms) {
                history.add(at_ms, vec![(1, minute.unsigned_abs()), (2, 7)]);
            }
            let expected = match minute {
                0 => None,
                1..60 => Some(minute),
                _ => Some(60 + minute % 5),
            };
            assert_eq!(
                history.growth(at_ms, 1, minute.unsigned_abs()),
                expected,
                "minute {minute}"
            );
        }
        let now = 299 * MINUTE;
        assert_eq!(history.growth(now, 2, 3), Some(-4));
        assert_eq!(history.growth(now, 3, 9), Some(9), "there was none");
        assert!(history.samples.len() <= 14, "{} samples", history.samples.len());
    }

    #[test]
    fn of_many_labels_those_with_the_most_values_are_known() {
        let mut history = History::default();
        history.add(0, (0..1000).map(|key| (key, key)).collect());
        assert_eq!(history.samples[0].counts.len(), LABELS_MAX);
        assert_eq!(history.growth(1, 999, 1000), Some(1));
        assert_eq!(history.growth(1, 1000 - LABELS_MAX as u64, 0), Some(LABELS_MAX as i64 - 1000));
        assert_eq!(history.growth(1, 0, 1), None, "not among them");
    }
}
