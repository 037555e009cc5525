//! What counts in place of a label set that is not let in (CONTRACT.md 7).

use crate::batch::{Labels, push_label};

/// Stands for all values that were too many.
pub const OVERFLOW: &str = "__cardinality_overflow__";

pub(super) const SERVICE: &str = "service";
pub(super) const CLIENT: &str = "client";
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUSES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Appends the overflow set of a span's label set: that of its service, or of all services together.
/// Sorted by name, as every label set.
pub fn push_span_overflow(labels: Labels<'_>, keeps_service: bool, out: &mut Vec<u8>) {
    push_label(out, "metric_overflow", "true");
    for (name, value) in labels.iter() {
        match name {
            SERVICE => push_label(out, name, if keeps_service { value } else { OVERFLOW }),
            "span_kind" => push_label(out, name, known_or_overflow(&KINDS, value)),
            "status_code" => push_label(out, name, known_or_overflow(&STATUSES, value)),
            _ => {}
        }
    }
}

/// Appends the overflow set of an edge's label set: who called is kept where it is known, whom it called
/// is not, and its dimensions are dropped.
pub fn push_edge_overflow(labels: Labels<'_>, keeps_client: bool, out: &mut Vec<u8>) {
    let client = labels.get(CLIENT);
    if !client.is_empty() {
        push_label(out, CLIENT, if keeps_client { client } else { OVERFLOW });
    }
    let connection = labels.get("connection_type");
    if !connection.is_empty() {
        push_label(out, "connection_type", connection);
    }
    push_label(out, "server", OVERFLOW);
}

fn known_or_overflow<'a>(known: &[&str], value: &'a str) -> &'a str {
    if known.contains(&value) { value } else { OVERFLOW }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> Vec<u8> {
        let mut text = Vec::new();
        all.iter().for_each(|(name, value)| push_label(&mut text, name, value));
        text
    }

    fn check(push: impl Fn(Labels<'_>, &mut Vec<u8>), from: &[(&str, &str)], to: &[(&str, &str)]) {
        let mut out = Vec::new();
        push(Labels::new(&labels(from)), &mut out);
        assert_eq!(Labels::new(&out).iter().collect::<Vec<_>>(), to);
    }

    #[test]
    fn a_service_keeps_what_error_ratios_need() {
        let set = [
            ("http_route", "/u/1"),
            ("service", "cart"),
            ("span_kind", "SPAN_KIND_SERVER"),
            ("span_name", "GET /u/1"),
            ("status_code", "STATUS_CODE_ERROR"),
        ];
        let kept = [("metric_overflow", "true"), ("service", "cart"), set[2], set[4]];
        check(|labels, out| push_span_overflow(labels, true, out), &set, &kept);
        let all = [("metric_overflow", "true"), ("service", OVERFLOW), set[2], set[4]];
        check(|labels, out| push_span_overflow(labels, false, out), &set, &all);
        let odd = [("service", "cart"), ("span_kind", "99"), ("status_code", "77")];
        let numbers = [
            ("metric_overflow", "true"),
            ("service", "cart"),
            ("span_kind", OVERFLOW),
            ("status_code", OVERFLOW),
        ];
        check(|labels, out| push_span_overflow(labels, true, out), &odd, &numbers);
        check(
            |labels, out| push_span_overflow(labels, true, out),
            &[("span_name", "x")],
            &[("metric_overflow", "true")],
        );
    }

    #[test]
    fn an_edge_keeps_who_called() {
        let set = [
            ("client", "shop"),
            ("connection_type", "database"),
            ("region", "eu"),
            ("server", "db-1"),
            ("virtual_node", "server"),
        ];
        let kept = [("client", "shop"), set[1], ("server", OVERFLOW)];
        check(|labels, out| push_edge_overflow(labels, true, out), &set, &kept);
        let unknown = [("client", OVERFLOW), set[1], ("server", OVERFLOW)];
        check(|labels, out| push_edge_overflow(labels, false, out), &set, &unknown);
    }
}
