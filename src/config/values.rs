//! Scalars with a meaning: durations, sizes, endpoints, names, regexes.

use std::time::Duration;

use regex::Regex;

use crate::remote_write::relabel::compile_regex;

const NANOS: u128 = 1;
const SECOND: u128 = 1_000_000_000 * NANOS;
const DAY: u128 = 86_400 * SECOND;

/// Go's and Prometheus' units; the longer name stands before its prefix.
const DURATION_UNITS: [(&str, u128); 11] = [
    ("ns", NANOS),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", DAY),
    ("w", 7 * DAY),
    ("y", 365 * DAY),
];

const SIZE_UNITS: [(&str, u128); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// `1m30s`, `15s`, `1.5h`, `1d`, `100ms`, `0`; up to a hundred years.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0_u128;
    while !rest.is_empty() || text.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(number, *factor)?)?;
        rest = tail;
    }
    if nanos > 36_500 * DAY {
        return None;
    }
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// `16MiB`, `64KiB`, `1GB`, or bytes.
pub(crate) fn size(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    // one allocation can't be larger
    usize::try_from(scaled(number, *factor)?).ok().filter(|bytes| isize::try_from(*bytes).is_ok())
}

/// `number` * `factor` for a decimal fraction, without the error of floating point.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let n_digits = whole.len() + fraction.len();
    if n_digits == 0 || n_digits > 20 || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let unit = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(factor)?.checked_add(digits(fraction)?.checked_mul(factor)? / unit)
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// A whole number, without sign.
pub(crate) fn count(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit()))
}

pub(crate) fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `host:port`; `:port` is every interface of both protocols, as in Go.
pub(crate) fn endpoint(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|_| port.starts_with(|c: char| c.is_ascii_digit()))?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_fine = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.contains(|c: char| c.is_whitespace() || "/:[]@".contains(c)),
    };
    if host.is_empty() {
        // a kernel without IPv6 can't bind [::]
        let has_ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
        return Some(format!("{}:{port}", if has_ipv6 { "[::]" } else { "0.0.0.0" }));
    }
    is_fine.then(|| text.to_owned())
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub(crate) fn is_label_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub(crate) fn is_metric_name(text: &str) -> bool {
    is_label_name(&text.replace(':', "_"))
}

/// A label name that may hold `$1` or `${name}`, as Prometheus takes it for targets.
pub(crate) fn is_label_template(text: &str) -> bool {
    Regex::new(r"^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$").is_ok_and(|form| form.is_match(text))
}

/// A relabelling's regex, as the relabelling reads it.
pub(crate) fn relabel_regex(text: &str) -> Result<Regex, String> {
    compile_regex(text).map_err(|error| plain(&error))
}

pub(crate) fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| plain(&error))
}

/// A regex that matches at least one byte: one that matches nothing as well would do so everywhere.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    let pattern = regex(text)?;
    let parsed = regex_syntax::parse(text).map_err(|error| plain(&error))?;
    match parsed.properties().minimum_len() {
        Some(0) => Err("it also matches the empty text".to_owned()),
        _ => Ok(pattern),
    }
}

/// The crate draws a picture over several lines; its last line says what is wrong.
fn plain(error: &impl ToString) -> String {
    match error.to_string().lines().last() {
        Some(line) => line.trim().trim_start_matches("error: ").to_lowercase(),
        None => "not a regular expression".to_owned(),
    }
}

pub(crate) fn url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// A text for messages: in quotes, on one line, cut when long.
pub(crate) fn shown(text: &str) -> String {
    if text.chars().count() > 80 {
        return format!("{:?}...", text.chars().take(80).collect::<String>());
    }
    format!("{text:?}")
}

/// A URL without what may be secret in it: user, password and query.
pub(crate) fn masked_url(text: &str) -> String {
    let (text, query) = match text.split_once('?') {
        Some((text, _)) => (text, "?<secret>"),
        None => (text, ""),
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let masked = match (rest.rsplit_once('@'), scheme) {
        (None, _) => text.to_owned(),
        (Some((_, host)), "") => format!("<secret>@{host}"),
        (Some((_, host)), scheme) => format!("{scheme}://<secret>@{host}"),
    };
    masked + query
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
