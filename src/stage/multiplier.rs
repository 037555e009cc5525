//! How many spans a sampled span stands for (reference/tempo.md 1.9, CONTRACT.md 4).

use super::plan::Keys;
use super::policies::Attributes;
use super::settings::Multiplier;
use crate::batch::{Repaired, Repairs, Weight};
use crate::otlp::{AnyValue, DecodeError, Span};

/// Where the weights of a processor's spans are read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightSource {
    trace_state: bool,
    /// Index into the keys.
    key: Option<usize>,
}

impl WeightSource {
    pub(super) fn new(settings: &Multiplier, keys: &mut Keys) -> Self {
        let key = (!settings.key.is_empty()).then(|| keys.index_of(&settings.key));
        Self { trace_state: settings.tracestate, key }
    }

    /// `None` where neither span nor resource tells one; one that can't be is none, and put right. The
    /// ratio of the span comes before the resource's.
    #[inline]
    pub(super) fn weight(
        &self,
        span: &Span<'_>,
        attributes: &impl Attributes,
        repairs: &mut Repairs,
    ) -> Result<Option<Weight>, DecodeError> {
        let of_trace_state = if self.trace_state { of_trace_state(span.trace_state) } else { None };
        let weight = match (of_trace_state, self.key) {
            (Some(weight), _) => weight.ok(),
            (None, Some(key)) => {
                let of_span = attributes.of_span(key)?;
                let value =
                    if of_span.is_some() { of_span } else { attributes.of_resource(key)? };
                let Some(value) = value else { return Ok(None) };
                of_ratio(&value)
            }
            (None, None) => return Ok(None),
        };
        repairs.set(Repaired::Multiplier, weight.is_none());
        Ok(weight)
    }
}

/// 2^56: thresholds and random values of OpenTelemetry's probability sampling have 56 bits.
const THRESHOLD_MAX: u64 = 1 << 56;
const HEX_DIGITS: usize = 14;
/// Members of a trace state, by its specification.
const MEMBERS_MAX: usize = 32;

/// The weight that the trace state's `ot=th:..;rv:..` gives; `None` where it has no threshold, or one
/// of the two is malformed.
/// `Some(Err(()))` is a threshold whose weight is out of bounds.
fn of_trace_state(trace_state: &[u8]) -> Option<Result<Weight, ()>> {
    let text = std::str::from_utf8(trace_state).ok()?;
    let member =
        text.split(',').take(MEMBERS_MAX).find_map(|member| member.trim().strip_prefix("ot="))?;
    let field = |name: &str| member.split(';').find_map(|field| field.strip_prefix(name));
    let threshold = hex(field("th:")?)?;
    let random = match field("rv:") {
        Some(digits) => Some(random_value(digits)?),
        None => None,
    };
    let weight = weight_of(threshold, random);
    Some(Weight::new(weight).ok_or(()))
}

/// The weight that a sampling ratio gives: any number, or text that holds one.
fn of_ratio(value: &AnyValue<'_>) -> Option<Weight> {
    let ratio = match value {
        AnyValue::Double(n) => *n,
        #[expect(clippy::cast_precision_loss, reason = "ratios beyond 1e6 are refused anyway")]
        AnyValue::Int(n) => *n as f64,
        AnyValue::String(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
        _ => return None,
    };
    Weight::of_ratio(ratio)
}

/// Fractional weights are rounded up or down by chance where the trace carries a random value, so
/// that all its spans are rounded alike.
#[expect(clippy::cast_precision_loss, reason = "53 bits of a random value are enough")]
fn weight_of(threshold: u64, random: Option<u64>) -> f64 {
    let weight = THRESHOLD_MAX as f64 / (THRESHOLD_MAX - threshold) as f64;
    let fraction = weight.fract();
    match random {
        Some(random) if fraction > 0.0 => {
            let chance = (random >> 3) as f64 / (1_u64 << 53) as f64;
            weight.floor() + if chance < fraction { 1.0 } else { 0.0 }
        }
        _ => weight,
    }
}

/// Up to 14 digits; missing ones are zeros at the end.
fn hex(digits: &str) -> Option<u64> {
    if digits.is_empty()
        || digits.len() > HEX_DIGITS
        || !digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    let value = u64::from_str_radix(digits, 16).ok()?;
    Some(value << (4 * (HEX_DIGITS - digits.len())))
}

fn random_value(digits: &str) -> Option<u64> {
    if digits.len() == HEX_DIGITS { hex(digits) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(trace_state: &str) -> Option<Result<Weight, ()>> {
        of_trace_state(trace_state.as_bytes())
    }

    #[test]
    fn thresholds_give_the_weights_of_the_specification() {
        for (trace_state, expected) in [
            ("ot=th:0", 1.0),
            ("ot=th:8", 2.0),
            ("a=b, ot=rv:80000000000000;th:c", 4.0),
            ("ot=th:4", 4.0 / 3.0),
        ] {
            let expected = Weight::new(expected).expect("within bounds");
            assert_eq!(weight(trace_state), Some(Ok(expected)), "{trace_state}");
        }
        for odd in [
            "",
            "ot=rv:00000000000000",
            "ot=th:",
            "ot=th:xyz",
            "ot=th:123456789012345",
            "xot=th:8",
            "ot=th:8;rv:12",
        ] {
            assert_eq!(weight(odd), None, "{odd}");
        }
        assert_eq!(weight("ot=th:ffffffffffffff"), Some(Err(())));
    }

    #[test]
    fn a_random_value_rounds_a_fractional_weight() {
        let one = Weight::ONE;
        let two = Weight::new(2.0).expect("within bounds");
        assert_eq!(weight("ot=th:4;rv:00000000000000"), Some(Ok(two)));
        assert_eq!(weight("ot=th:4;rv:ffffffffffffff"), Some(Ok(one)));
    }

    #[test]
    fn ratios_of_any_numeric_type_count() {
        let four = Weight::new(4.0);
        assert_eq!(of_ratio(&AnyValue::Double(0.25)), four);
        assert_eq!(of_ratio(&AnyValue::String(b"0.25".into())), four);
        assert_eq!(of_ratio(&AnyValue::Int(1)), Some(Weight::ONE));
        for odd in [
            AnyValue::Int(0),
            AnyValue::Double(f64::NAN),
            AnyValue::String(b"x".into()),
            AnyValue::Empty,
        ] {
            assert_eq!(of_ratio(&odd), None, "{odd:?}");
        }
    }
}
