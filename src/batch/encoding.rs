//! The bytes of plain data: LEB128 numbers, prefixed slices. What the log will hold is made of these.

use super::{BucketCount, Exemplar, Total};

/// Bytes that do not decode: what was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cut off or malformed: {0}")]
pub struct BadEncoding(pub &'static str);

pub fn put_number(out: &mut Vec<u8>, mut n: u128) {
    loop {
        let low = n.to_le_bytes()[0] & 0x7f;
        n >>= 7;
        if n == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u128);
    out.extend_from_slice(bytes);
}

/// The rest follows only where there is one: the lowest bit says so.
pub fn put_total(out: &mut Vec<u8>, total: &Total) {
    let has_rest = total.rest != 0.0;
    put_number(out, total.whole << 1 | u128::from(has_rest));
    if has_rest {
        out.extend_from_slice(&total.rest.to_bits().to_le_bytes());
    }
}

pub fn put_buckets(out: &mut Vec<u8>, buckets: &[BucketCount]) {
    put_number(out, buckets.len() as u128);
    for bucket in buckets {
        put_number(out, bucket.bucket.into());
        put_total(out, &bucket.count);
    }
}

pub fn put_exemplars(out: &mut Vec<u8>, exemplars: &[Exemplar]) {
    put_number(out, exemplars.len() as u128);
    for exemplar in exemplars {
        put_number(out, u128::from(exemplar.bucket) << 1 | u128::from(exemplar.error));
        out.extend_from_slice(&exemplar.trace_id);
        out.extend_from_slice(&exemplar.span_id);
        put_number(out, exemplar.latency_nano.into());
        put_number(out, exemplar.end_unix_nano.into());
    }
}

/// Reads what the functions above wrote.
#[derive(Debug, Clone, Copy)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8, BadEncoding> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub fn number(&mut self, what: &'static str) -> Result<u128, BadEncoding> {
        let mut n = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte(what)?;
            let low = u128::from(byte & 0x7f);
            if low << shift >> shift != low {
                return Err(BadEncoding(what));
            }
            n |= low << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(BadEncoding(what))
    }

    /// A number that fits into a smaller type.
    pub fn int<T: TryFrom<u128>>(&mut self, what: &'static str) -> Result<T, BadEncoding> {
        T::try_from(self.number(what)?).map_err(|_| BadEncoding(what))
    }

    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], BadEncoding> {
        let len = self.int(what)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(BadEncoding(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub fn total(&mut self, what: &'static str) -> Result<Total, BadEncoding> {
        let n = self.number(what)?;
        let rest = match n & 1 {
            0 => 0.0,
            _ => f64::from_bits(u64::from_le_bytes(self.array(what)?)),
        };
        Ok(Total { whole: n >> 1, rest })
    }

    pub fn buckets(&mut self) -> Result<Vec<BucketCount>, BadEncoding> {
        self.list(|d| Ok(BucketCount { bucket: d.int("bucket")?, count: d.total("bucket count")? }))
    }

    pub fn exemplars(&mut self) -> Result<Vec<Exemplar>, BadEncoding> {
        self.list(|d| {
            let bucket: u64 = d.int("exemplar bucket")?;
            Ok(Exemplar {
                bucket: u32::try_from(bucket >> 1).map_err(|_| BadEncoding("exemplar bucket"))?,
                error: bucket & 1 == 1,
                trace_id: d.array("trace id")?,
                span_id: d.array("span id")?,
                latency_nano: d.int("exemplar latency")?,
                end_unix_nano: d.int("exemplar end")?,
            })
        })
    }

    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, BadEncoding>,
    ) -> Result<Vec<T>, BadEncoding> {
        let n: usize = self.int("list length")?;
        (0..n).map(|_| read(self)).collect()
    }

    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BadEncoding> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(BadEncoding(what))?;
        self.rest = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_totals_come_back() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, u128::from(u64::MAX), u128::MAX];
        numbers.iter().for_each(|&n| put_number(&mut out, n));
        let totals = [Total::of(0), Total::of(7), Total { whole: 3, rest: 0.25 }];
        totals.iter().for_each(|t| put_total(&mut out, t));
        let mut decoder = Decoder::new(&out);
        for n in numbers {
            assert_eq!(decoder.number("n"), Ok(n));
        }
        for total in totals {
            assert_eq!(decoder.total("t"), Ok(total));
        }
        assert!(decoder.is_empty());
    }

    #[test]
    fn cut_off_and_overlong_numbers_are_errors() {
        assert_eq!(Decoder::new(&[0x80]).number("n"), Err(BadEncoding("n")));
        assert_eq!(Decoder::new(&[0xff; 19]).number("n"), Err(BadEncoding("n")));
        assert_eq!(Decoder::new(&[5, 1]).bytes("b"), Err(BadEncoding("b")));
    }
}
