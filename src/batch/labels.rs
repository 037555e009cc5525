//! The byte form of a label set: (name length u16, name, value length u16, value)*, little endian,
//! sorted by name, without empty values. Equal sets have equal bytes, so the bytes are the identity.

/// A borrowed label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels<'a> {
    bytes: &'a [u8],
}

/// Keyed hashes of a label set as it is, and as it would be with the template of its span name: what
/// estimates count. The keys are this process's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    pub raw: u64,
    pub sanitized: u64,
}

/// Appends one label; the caller keeps the order by name and leaves empty values out.
///
/// Names and values longer than 65,535 bytes are cut by the settings before they come here.
pub fn push_label(text: &mut Vec<u8>, name: &str, value: &str) {
    push_part(text, name);
    push_part(text, value);
}

pub(super) fn push_part(text: &mut Vec<u8>, part: &str) {
    let len = u16::try_from(part.len()).expect("staging cuts labels to at most u16::MAX bytes");
    text.extend_from_slice(&len.to_le_bytes());
    text.extend_from_slice(part.as_bytes());
}

impl<'a> Labels<'a> {
    /// `bytes` come from [`push_label`], or from a log whose frames are checked.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let name = take_part(&mut rest)?;
            let value = take_part(&mut rest)?;
            Some((name, value))
        })
    }

    /// The value of one label; empty where the set does not have it.
    pub fn get(&self, name: &str) -> &'a str {
        self.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }
}

pub(super) fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (len, tail) = rest.split_first_chunk::<2>()?;
    let (part, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = tail;
    std::str::from_utf8(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_as_they_were_pushed() {
        let mut text = Vec::new();
        push_label(&mut text, "service", "cart");
        push_label(&mut text, "span_name", "GET /café");
        let labels = Labels::new(&text);
        let all: Vec<_> = labels.iter().collect();
        assert_eq!(all, [("service", "cart"), ("span_name", "GET /café")]);
        assert_eq!(labels.get("span_name"), "GET /café");
        assert_eq!(labels.get("span_kind"), "");
    }

    #[test]
    fn a_cut_off_set_ends_early_and_does_not_panic() {
        let mut text = Vec::new();
        push_label(&mut text, "service", "cart");
        for len in 0..text.len() {
            assert_eq!(Labels::new(&text[..len]).iter().count(), 0, "{len}");
        }
    }
}
