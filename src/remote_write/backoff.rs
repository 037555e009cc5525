//! How long to wait before a write request is repeated.

use std::time::Duration;

/// Doubles from the shortest wait to the longest; what the endpoint asked for comes first.
///
/// Each wait is made up to 10 % longer, so that instances that failed together do not come back
/// together.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    /// State of the jitter.
    seed: u64,
}

impl Backoff {
    /// `seed` should differ between endpoints and instances; nothing else depends on it.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), next: min, seed }
    }

    /// When to try again after a recoverable answer that came at `now`, in the time base of `now`.
    pub fn retry_at(&mut self, now: Duration, retry_after: Option<Duration>) -> Duration {
        let wait = retry_after.unwrap_or(self.next);
        self.next = wait.saturating_mul(2).clamp(self.min, self.max);
        now.saturating_add(wait).saturating_add(wait.mul_f64(self.jitter()))
    }

    /// After an answer that was not recoverable: the next trouble starts from the shortest wait.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// In [0, 0.1): one step of SplitMix64.
    fn jitter(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64 / 10.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn wait(backoff: &mut Backoff, retry_after: Option<Duration>) -> Duration {
        backoff.retry_at(NOW, retry_after) - NOW
    }

    fn assert_about(wait: Duration, expected: Duration) {
        assert!(
            wait >= expected && wait < expected.mul_f64(1.1),
            "{wait:?}, expected {expected:?}"
        );
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(ms(30), ms(200), 1);
        for expected in [30, 60, 120, 200, 200] {
            assert_about(wait(&mut backoff, None), ms(expected));
        }
        backoff.reset();
        assert_about(wait(&mut backoff, None), ms(30));
    }

    #[test]
    fn what_the_endpoint_asks_for_is_taken_instead() {
        let mut backoff = Backoff::new(ms(30), ms(5000), 1);
        assert_about(wait(&mut backoff, Some(ms(1000))), ms(1000));
        assert_about(wait(&mut backoff, None), ms(2000));
        assert_about(wait(&mut backoff, Some(ms(60_000))), ms(60_000));
        assert_about(wait(&mut backoff, None), ms(5000));
    }

    #[test]
    fn instances_with_different_seeds_do_not_wait_alike() {
        let first = |seed| wait(&mut Backoff::new(ms(1000), ms(5000), seed), None);
        assert_ne!(first(1), first(2));
        assert_eq!(first(1), first(1));
    }

    #[test]
    fn a_longest_wait_below_the_shortest_is_raised_to_it() {
        let mut backoff = Backoff::new(ms(100), ms(10), 1);
        assert_about(wait(&mut backoff, None), ms(100));
        assert_about(wait(&mut backoff, None), ms(100));
    }
}
