//! What one token of a span name is: a word, a number, an id. Rules alone: nothing is learned, so that
//! every replica answers the same at every time.

/// What becomes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A word, perhaps with a small number in it: `oauth2`, `k8s`, `v1beta1`, `2xx`.
    Word,
    /// A number, a hash, an id.
    Id,
    /// A word with a long number in it, of which only the number is an id: `order12345`.
    WithNumber,
}

/// Letters and digits, and whatever is not ASCII: it counts as a letter.
pub(super) fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// A number with so many digits is an id, also inside of a word.
pub(super) const LONG_NUMBER: usize = 3;

/// Words of letters a to f are shorter ("effaced", "fabaceae").
const HEX_LETTERS: usize = 12;
/// And with digits in it: `5f3a9c`.
const HEX_DIGITS: usize = 6;
/// Without a digit or with few of them, only as long a token can be told from words.
pub(super) const RANDOM: usize = 20;
/// So many changes between letters and digits make no word, from that length on.
const CHANGES: usize = 4;
const CHANGES_IN: usize = 5;

/// Words that the rules would take for ids, or the number behind a word for one: letters in lower
/// case, without what may stand between word and number (`SHA-256`, `x86_64`). Sorted.
const KNOWN: [&str; 69] = [
    "aes128", "aes192", "aes256", "amd64", "arm64", "b2b2c", "base16", "base32", "base58",
    "base64", "base85", "base91", "blake2", "blake3", "cp1252", "crc16", "crc32", "crc64", "ec2",
    "ed25519", "ed448", "es256", "es384", "es512", "float128", "float32", "float64", "h264",
    "h265", "hs256", "hs384", "hs512", "i386", "i686", "int128", "int16", "int32", "int64", "int8",
    "ipv4", "ipv6", "md4", "md5", "oauth1", "oauth2", "p256", "p2p2p", "p384", "p521", "ps256",
    "ps384", "ps512", "rs256", "rs384", "rs512", "rsa2048", "rsa3072", "rsa4096", "sha1", "sha224",
    "sha256", "sha3", "sha384", "sha512", "utf16", "utf32", "utf8", "x509", "x8664",
];
/// Words that a number of up to so many digits belongs to: `HTTP/2`, `http404`, `RFC 7231`.
const NUMBERED: [(&str, usize); 4] = [("curve", 5), ("http", 3), ("iso", 5), ("rfc", 4)];
const KNOWN_LEN_MAX: usize = 12;

/// Of a whole token, which is not empty.
pub(super) fn classify(token: &[u8]) -> Token {
    let shape = Shape::of(token);
    if shape.n_digits == token.len() {
        return Token::Id;
    }
    if shape.n_digits == 0 {
        let hex = shape.is_hex && token.len() >= HEX_LETTERS && !shape.is_mixed_case;
        let is_id = hex || token.len() >= RANDOM && shape.is_scrambled();
        return if is_id { Token::Id } else { Token::Word };
    }
    if is_known(token, b"") {
        return Token::Word;
    }
    let is_hex_literal =
        token.len() > 2 && token.starts_with(b"0x") && token[2..].iter().all(u8::is_ascii_hexdigit);
    let is_hash = shape.is_hex && token.len() >= HEX_DIGITS && !is_word_with_number(token, 4);
    let is_random = token.len() >= RANDOM && shape.is_random();
    let is_camel = shape.is_mixed_case && is_camel(token);
    let is_jumble = token.len() >= CHANGES_IN && shape.n_changes >= CHANGES && !is_camel;
    if is_hex_literal || is_hash || is_random || is_jumble {
        return Token::Id;
    }
    if shape.longest_number >= LONG_NUMBER { Token::WithNumber } else { Token::Word }
}

/// Whether letters, digits and what joins them look like chance: identifiers such as nanoid's, which
/// have `-` and `_` among their letters. `run` has at least [`RANDOM`] bytes.
pub(super) fn is_random_run(run: &[u8]) -> bool {
    let shape = Shape::of(run);
    shape.n_digits > 0 && shape.is_mixed_case && shape.is_scrambled()
}

/// Whether a number belongs to the word in front of it: `utf` and `8`.
pub(super) fn is_known(word: &[u8], number: &[u8]) -> bool {
    let len = word.len() + number.len();
    if len > KNOWN_LEN_MAX {
        return false;
    }
    let mut joined = [0; KNOWN_LEN_MAX];
    for (to, from) in joined.iter_mut().zip(word.iter().chain(number)) {
        *to = from.to_ascii_lowercase();
    }
    let joined = &joined[..len];
    let is_numbered = |&(name, most): &(&str, usize)| {
        let number = joined.strip_prefix(name.as_bytes());
        number.is_some_and(|n| n.len() <= most && n.iter().all(u8::is_ascii_digit))
    };
    KNOWN.binary_search_by(|known| known.as_bytes().cmp(joined)).is_ok()
        || NUMBERED.iter().any(is_numbered)
}

/// Time of day behind a date, and what ends it: `15T10`, `00Z`, `123456Z`; a date and time without
/// anything between, `20240115T103000Z`.
pub(super) fn is_of_timestamp(token: &[u8], follows_number: bool) -> bool {
    let stem = token.strip_suffix(b"Z").unwrap_or(token);
    let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let Some(at) = stem.iter().position(|&b| b == b'T') else {
        return follows_number && stem.len() < token.len() && !stem.is_empty() && all_digits(stem);
    };
    let (date, time) = (&stem[..at], &stem[at + 1..]);
    let is_joined = date.len() == 8 && matches!(time.len(), 4 | 6);
    let is_part = follows_number && date.len() == 2 && matches!(time.len(), 2 | 4 | 6);
    (is_joined || is_part) && all_digits(date) && all_digits(time)
}

/// What one look over a token gathers.
#[derive(Debug, Default)]
struct Shape {
    n_digits: usize,
    n_letters: usize,
    /// Between letters and digits.
    n_changes: usize,
    /// Between lower case, upper case and digits, but for a capital in front of lower case.
    n_breaks: usize,
    longest_number: usize,
    is_hex: bool,
    is_mixed_case: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Digit,
}

impl Shape {
    fn of(token: &[u8]) -> Self {
        let mut shape = Self { is_hex: true, ..Self::default() };
        let (mut last, mut n_same) = (None, 0);
        let (mut has_lower, mut has_upper) = (false, false);
        for &byte in token {
            if !in_token(byte) {
                // what joins is neither
                (last, n_same) = (None, 0);
                continue;
            }
            let class = match byte {
                b'0'..=b'9' => Class::Digit,
                b'A'..=b'Z' => Class::Upper,
                _ => Class::Lower,
            };
            has_lower |= class == Class::Lower;
            has_upper |= class == Class::Upper;
            shape.is_hex &= byte.is_ascii_hexdigit();
            let is_digit = class == Class::Digit;
            shape.n_digits += usize::from(is_digit);
            shape.n_letters += usize::from(!is_digit);
            if let Some(last) = last.filter(|&last| last != class) {
                let is_capital = n_same == 1 && (last, class) == (Class::Upper, Class::Lower);
                shape.n_breaks += usize::from(!is_capital);
                shape.n_changes += usize::from(is_digit || last == Class::Digit);
                n_same = 0;
            }
            (last, n_same) = (Some(class), n_same + 1);
            if is_digit {
                shape.longest_number = shape.longest_number.max(n_same);
            }
        }
        shape.is_mixed_case = has_lower && has_upper;
        shape
    }

    /// Words have a break every five letters or so, chance has one in every other.
    fn is_scrambled(&self) -> bool {
        self.n_breaks * 3 >= self.n_letters + self.n_digits
    }

    fn is_random(&self) -> bool {
        let many_digits = self.n_digits * 5 >= self.n_letters + self.n_digits;
        self.is_scrambled() || many_digits && self.n_changes + 1 >= CHANGES
    }
}

/// At least so many letters and then one or two digits: `decade2` is no hash.
fn is_word_with_number(token: &[u8], letters: usize) -> bool {
    let n_letters = token.iter().take_while(|b| !b.is_ascii_digit()).count();
    let number = &token[n_letters..];
    n_letters >= letters && number.len() < LONG_NUMBER && number.iter().all(u8::is_ascii_digit)
}

/// Words of camel case, each with at most a small number behind it: `S3V2Client`, `k8sV1Beta1`.
fn is_camel(token: &[u8]) -> bool {
    let starts = |i: &usize| token[*i].is_ascii_uppercase() && !token[*i - 1].is_ascii_uppercase();
    let mut start = 0;
    let ends = (1..token.len()).filter(starts).chain([token.len()]);
    ends.into_iter().all(|end| {
        let word = &token[std::mem::replace(&mut start, end)..end];
        is_word_with_number(word, 1) || matches!(word, b"k8s" | b"i18n" | b"l10n" | b"a11y")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_words_are_in_order_and_found() {
        assert!(KNOWN.is_sorted(), "a binary search looks for them");
        assert!(KNOWN.iter().all(|word| word.len() <= KNOWN_LEN_MAX));
        for word in KNOWN {
            assert_eq!(classify(word.as_bytes()), Token::Word, "{word}");
            let upper = word.to_ascii_uppercase();
            assert_eq!(classify(upper.as_bytes()), Token::Word, "{upper}");
        }
    }

    #[test]
    fn a_number_belongs_to_some_words_only() {
        for (word, number) in [("utf", "8"), ("UTF", "16"), ("HTTP", "2"), ("sha", "256")] {
            assert!(is_known(word.as_bytes(), number.as_bytes()), "{word}-{number}");
        }
        for (word, number) in
            [("order", "8"), ("utf", "9"), ("HTTP", "12345"), ("x", "1234567890123")]
        {
            assert!(!is_known(word.as_bytes(), number.as_bytes()), "{word}-{number}");
        }
    }
}
