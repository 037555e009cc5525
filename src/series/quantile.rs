//! Quantiles of a classic histogram, as PromQL's `histogram_quantile` has them.

/// The quantile `q` from 0 to 1 of a histogram: `bounds` rise and leave `+Inf` out, `counts` are what
/// each bucket alone holds, with that of `+Inf` as the last. `None` for a histogram without a count.
///
/// Within a bucket values are taken to be spread evenly, in the first one from 0; of what lies beyond
/// the last bound nothing is known but that bound.
pub fn histogram_quantile(q: f64, bounds: &[f64], counts: &[f64]) -> Option<f64> {
    let total: f64 = counts.iter().sum();
    let last = *bounds.last()?;
    if total <= 0.0 {
        return None;
    }
    let rank = q * total;
    let (mut below, mut start) = (0.0, 0.0);
    for (i, (&bound, &count)) in bounds.iter().zip(counts).enumerate() {
        if below + count >= rank {
            // A first bucket of 0 and less has no inside, and a rank of 0 may meet an empty one.
            let flat = (i == 0 && bound <= 0.0) || count <= 0.0;
            return Some(if flat {
                bound
            } else {
                start + (bound - start) * (rank - below) / count
            });
        }
        (below, start) = (below + count, bound);
    }
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.1, 0.2, 0.4];

    fn check(q: f64, counts: [f64; 4], expected: f64) {
        let found = histogram_quantile(q, &BOUNDS, &counts).expect("there are counts");
        assert!((found - expected).abs() < 1e-12, "{q} of {counts:?}: {found}, not {expected}");
    }

    #[test]
    fn values_are_spread_evenly_within_a_bucket() {
        check(0.5, [4.0, 0.0, 0.0, 0.0], 0.05);
        check(0.5, [2.0, 2.0, 0.0, 0.0], 0.1);
        check(0.75, [2.0, 2.0, 0.0, 0.0], 0.15);
        check(0.95, [0.0, 0.0, 100.0, 0.0], 0.2 + 0.2 * 0.95);
    }

    #[test]
    fn beyond_the_last_bound_the_last_bound_is_the_answer() {
        check(0.99, [1.0, 0.0, 0.0, 1.0], 0.4);
        check(0.5, [0.0, 0.0, 0.0, 7.0], 0.4);
    }

    #[test]
    fn a_rank_on_the_edge_belongs_to_the_lower_bucket() {
        check(0.25, [1.0, 1.0, 1.0, 1.0], 0.1);
        check(0.5, [1.0, 0.0, 0.0, 1.0], 0.1);
    }

    #[test]
    fn a_histogram_without_a_count_has_no_quantile() {
        assert_eq!(histogram_quantile(0.5, &BOUNDS, &[0.0; 4]), None);
        assert_eq!(histogram_quantile(0.5, &[], &[3.0]), None);
    }
}
