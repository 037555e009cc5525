//! The built-in rules of span names: one look from left to right, in time linear in the length of the
//! name. Ids become `<_>`, and those that stand side by side become one.

use core::net::Ipv6Addr;

use super::name_tokens::{self, LONG_NUMBER, RANDOM, Token, in_token};

/// What stands for an id.
pub(super) const MARK: &str = "<_>";

/// The shapes of a fixed length look at no more bytes than this.
const SHAPES_LOOKS: usize = 150;
/// The longest text of an IPv6 address.
const IPV6_LEN_MAX: usize = 45;
/// What a placeholder's own pattern may take: `{id:[0-9]+}`.
const PLACEHOLDER_LEN_MAX: usize = 128;

/// A name being written, with its ids marked.
#[derive(Debug, Default)]
pub(super) struct Template {
    pub(super) text: String,
    gap: Gap,
    /// Bytes that the rules looked at, each as often as they did: what shows that they are linear.
    pub(super) n_looks: usize,
}

/// What has been written behind the last mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Gap {
    /// Nothing, or what joins the parts of one id; where it began.
    Joins(usize),
    /// A comma, and perhaps spaces.
    Comma(usize),
    /// Something else, or there is no mark.
    #[default]
    Other,
}

impl Template {
    /// Parts of one id, and lists of ids, are one: `<_>-<_>`, `<_>, <_>`.
    pub(super) fn mark(&mut self) {
        match self.gap {
            Gap::Joins(end) | Gap::Comma(end) => self.text.truncate(end),
            Gap::Other => self.text.push_str(MARK),
        }
        self.gap = Gap::Joins(self.text.len());
    }

    pub(super) fn keep(&mut self, part: &str) {
        for byte in part.bytes() {
            self.gap = match (self.gap, byte) {
                (Gap::Joins(end) | Gap::Comma(end), b'-' | b'_' | b'.' | b':' | b'+') => {
                    Gap::Joins(end)
                }
                (Gap::Joins(end) | Gap::Comma(end), b',') => Gap::Comma(end),
                (Gap::Comma(end), b' ') => Gap::Comma(end),
                _ => Gap::Other,
            };
            if self.gap == Gap::Other {
                break;
            }
        }
        self.text.push_str(part);
    }

    fn follows_mark(&self) -> bool {
        matches!(self.gap, Gap::Joins(_))
    }
}

/// Whether there can be anything to mark: most names show in one look that there is not.
pub(super) fn may_have_ids(name: &str) -> bool {
    let mut n_same = 0;
    for byte in name.bytes() {
        if byte.is_ascii_digit() || matches!(byte, b'@' | b'<') {
            return true;
        }
        n_same = if byte.is_ascii_alphabetic() { n_same + 1 } else { 0 };
        if n_same >= HEX_OR_RANDOM {
            return true;
        }
    }
    false
}

/// Letters alone are no id below this.
const HEX_OR_RANDOM: usize = 12;

/// Writes the name with its ids marked.
pub(super) fn apply(name: &str, out: &mut Template) {
    Scan { name, bytes: name.as_bytes(), at: 0, run_end: 0, email: None, word: (0, 0) }.run(out);
}

struct Scan<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Up to here letters, digits and what joins them were looked at together.
    run_end: usize,
    email: Option<Email>,
    /// The last word that was kept.
    word: (usize, usize),
}

/// The next e-mail address, or that there is none up to `end`.
#[derive(Debug, Clone, Copy)]
struct Email {
    start: usize,
    end: usize,
    is_address: bool,
}

impl Scan<'_> {
    fn run(&mut self, out: &mut Template) {
        while let Some(&byte) = self.bytes.get(self.at) {
            if in_token(byte) {
                self.token(out);
            } else if self.rest().starts_with(MARK.as_bytes()) {
                self.mark(MARK.len(), out);
            } else if let Some(len) = self.placeholder(out).or_else(|| escape(self.rest())) {
                self.keep(len, out);
            } else if let Some(len) = ipv6(self.rest()).filter(|_| byte == b':') {
                self.mark(len, out);
            } else {
                self.keep(1, out);
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn keep(&mut self, len: usize, out: &mut Template) {
        out.keep(&self.name[self.at..self.at + len]);
        self.at += len;
    }

    fn mark(&mut self, len: usize, out: &mut Template) {
        out.mark();
        self.at += len;
    }

    /// What begins with a letter or a digit: all shapes that span several tokens, then the token.
    fn token(&mut self, out: &mut Template) {
        out.n_looks += SHAPES_LOOKS;
        let shape = self.email(out).or_else(|| uuid(self.rest())).or_else(|| mac(self.rest()));
        if let Some(len) = shape.or_else(|| ipv6(self.rest())).or_else(|| self.random_run(out)) {
            return self.mark(len, out);
        }
        if let Some(len) = self.version() {
            return self.keep(len, out);
        }
        let len = token_len(self.rest());
        out.n_looks += 4 * len;
        let token = &self.bytes[self.at..self.at + len];
        if self.belongs_to_word(token) {
            return self.keep(len, out);
        }
        if name_tokens::is_of_timestamp(token, out.follows_mark()) {
            return self.mark(len, out);
        }
        match name_tokens::classify(token) {
            Token::Word => {
                self.word = (self.at, self.at + len);
                self.keep(len, out);
            }
            Token::Id => self.mark(len, out),
            Token::WithNumber => {
                let end = self.at + len;
                while self.at < end {
                    self.number_or_letters(end, out);
                }
            }
        }
    }

    /// The next part of a token that ends at `end`: a number, or up to the next long one.
    fn number_or_letters(&mut self, end: usize, out: &mut Template) {
        let n_digits = |part: &[u8]| part.iter().take_while(|b| b.is_ascii_digit()).count();
        let part = &self.bytes[self.at..end];
        let number = n_digits(part);
        if number >= LONG_NUMBER {
            return self.mark(number, out);
        }
        let letters = part[number..].iter().take_while(|b| !b.is_ascii_digit()).count();
        self.keep(number + letters, out);
    }

    /// The length of what is left of the e-mail address that `at` is within.
    fn email(&mut self, out: &mut Template) -> Option<usize> {
        let next = match self.email {
            Some(email) if self.at < email.end => email,
            _ => self.next_email(self.at, out),
        };
        self.email = Some(next);
        (next.is_address && self.at >= next.start).then(|| next.end - self.at)
    }

    /// The first at-sign from `from` on, and whether it is that of an address. Neither side of it goes
    /// beyond the at-sign before or behind, so that all of them together are linear.
    fn next_email(&self, from: usize, out: &mut Template) -> Email {
        let bytes = self.bytes;
        let signs = (from..bytes.len()).find_map(|i| at_sign(&bytes[i..]).map(|len| (i, len)));
        let Some((sign, len)) = signs else {
            out.n_looks += bytes.len() - from;
            return Email { start: bytes.len(), end: bytes.len(), is_address: false };
        };
        let in_local = |b: &u8| in_token(*b) || matches!(b, b'.' | b'_' | b'+' | b'-');
        let local = bytes[from..sign].iter().rev().take_while(|b| in_local(b)).count();
        let domain = &bytes[sign + len..];
        let in_domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        let domain = &domain[..domain.iter().take_while(in_domain).count()];
        out.n_looks += sign - from + local + 3 * domain.len();
        let n_trailing = domain.iter().rev().take_while(|b| !b.is_ascii_alphanumeric()).count();
        let domain = &domain[..domain.len() - n_trailing];
        let top = domain.iter().rev().take_while(|b| b.is_ascii_alphabetic()).count();
        let has_top = top >= 2 && domain.iter().rev().nth(top) == Some(&b'.');
        let is_address = has_top && domain.len() > top + 1 && local > 0;
        let end = sign + len + if is_address { domain.len() } else { 0 };
        Email { start: sign - local, end, is_address }
    }

    /// Long runs of letters, digits and what joins them, such as base64 for URLs.
    fn random_run(&mut self, out: &mut Template) -> Option<usize> {
        if self.at < self.run_end {
            return None;
        }
        let in_run = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+');
        let len = self.rest().iter().take_while(in_run).count();
        self.run_end = self.at + len.max(1);
        out.n_looks += 2 * len;
        let run = &self.rest()[..len];
        let n_padding = self.rest()[len..].iter().take(2).take_while(|&&b| b == b'=').count();
        (len >= RANDOM && name_tokens::is_random_run(run)).then_some(len + n_padding)
    }

    /// A version: `v1.2.3`, or `1.1` that stands alone.
    fn version(&self) -> Option<usize> {
        let rest = self.rest();
        if let [b'v' | b'V', numbers @ ..] = rest {
            let len = 1 + version_len(numbers)?;
            return (!rest.get(len).is_some_and(|&b| in_token(b))).then_some(len);
        }
        let is_joined = |b: &u8| matches!(b, b'.' | b'-' | b':' | b'_' | b',' | b'+' | b'>');
        let ends = match rest.get(3) {
            Some(&byte) if in_token(byte) => false,
            Some(byte) => !is_joined(byte) || !rest.get(4).is_some_and(|&b| in_token(b)),
            None => true,
        };
        let [major, b'.', minor, ..] = rest else { return None };
        let alone = self.at == 0 || !is_joined(&self.bytes[self.at - 1]);
        let are_digits = major.is_ascii_digit() && minor.is_ascii_digit();
        (are_digits && alone && ends).then_some(3)
    }

    /// A route's placeholder that has a pattern: `{id:[0-9]{3}}`. All others are words anyway.
    fn placeholder(&self, out: &mut Template) -> Option<usize> {
        let [b'{', first, ..] = self.rest() else { return None };
        if !first.is_ascii_alphabetic() {
            return None;
        }
        let rest = &self.rest()[..self.rest().len().min(PLACEHOLDER_LEN_MAX)];
        out.n_looks += rest.len();
        let in_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
        let n_name = rest[1..].iter().take_while(in_name).count();
        rest.get(1 + n_name).filter(|b| **b == b':')?;
        let mut depth = 0;
        for (i, byte) in rest.iter().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => return Some(i + 1),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// `8` behind `utf-`.
    fn belongs_to_word(&self, token: &[u8]) -> bool {
        let (start, end) = self.word;
        let is_next = end > start && end + 1 == self.at;
        let joins = is_next && matches!(self.bytes[end], b'-' | b'_' | b'/' | b' ');
        joins
            && token.iter().all(u8::is_ascii_digit)
            && name_tokens::is_known(&self.bytes[start..end], token)
    }
}

fn token_len(rest: &[u8]) -> usize {
    rest.iter().take_while(|b| in_token(**b)).count()
}

/// `@`, or what stands for it in a URL.
fn at_sign(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'@', ..] => Some(1),
        [b'%', b'4', b'0', ..] => Some(3),
        _ => None,
    }
}

/// `%2F` in a URL: its digits are no number.
fn escape(rest: &[u8]) -> Option<usize> {
    let [b'%', high, low, ..] = rest else { return None };
    (high.is_ascii_hexdigit() && low.is_ascii_hexdigit()).then_some(3)
}

/// Groups of 8, 4, 4, 4 and 12 hex digits.
fn uuid(rest: &[u8]) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    groups(rest, &GROUPS, b"-_")
}

/// Six pairs of hex digits.
fn mac(rest: &[u8]) -> Option<usize> {
    groups(rest, &[2; 6], b":-")
}

/// Groups of so many hex digits with one of the separators between.
fn groups(rest: &[u8], lens: &[usize], separators: &[u8]) -> Option<usize> {
    let mut at = 0;
    let separator = *rest.get(lens[0]).filter(|b| separators.contains(b))?;
    for (i, &len) in lens.iter().enumerate() {
        if i > 0 {
            rest.get(at).filter(|b| **b == separator)?;
            at += 1;
        }
        let group = rest.get(at..at + len)?;
        if !group.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        at += len;
    }
    (!rest.get(at).is_some_and(|&b| in_token(b))).then_some(at)
}

/// An address that begins here. `db::add` is none: the first group has a digit, or is empty.
fn ipv6(rest: &[u8]) -> Option<usize> {
    let n_first = rest.iter().take(5).take_while(|b| b.is_ascii_hexdigit()).count();
    let first = &rest[..n_first];
    if n_first > 4 || rest.get(n_first) != Some(&b':') {
        return None;
    }
    if n_first > 0 && !first.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let in_address = |b: &&u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let len = rest.iter().take(IPV6_LEN_MAX + 1).take_while(in_address).count();
    if rest.get(len).is_some_and(|&b| in_token(b)) || !rest[..len].iter().any(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(&rest[..len]).ok()?.trim_end_matches(['.', ':']);
    text.parse::<Ipv6Addr>().ok().map(|_| text.len())
}

/// Up to three numbers of up to three digits, at least two: `1.2`, `1.22.333`.
fn version_len(rest: &[u8]) -> Option<usize> {
    let (mut len, mut n_numbers) = (0, 0);
    loop {
        let number = rest[len..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        if !(1..=3).contains(&number) {
            return None;
        }
        len += number;
        n_numbers += 1;
        let has_more =
            rest.get(len) == Some(&b'.') && rest.get(len + 1).is_some_and(u8::is_ascii_digit);
        if !has_more || n_numbers == 3 {
            return (n_numbers > 1).then_some(len);
        }
        len += 1;
    }
}
