//! Label names out of attribute keys (reference/tempo.md 2.5, CONTRACT.md 4), and the words for
//! span kinds and status codes.

use crate::batch::Role;

/// Labels that the span metrics themselves carry: a dimension of such a name gets `__` in front,
/// whether or not the intrinsic dimension is switched on.
const INTRINSIC: [&str; 5] = ["service", "span_name", "span_kind", "status_code", "status_message"];
/// Taken besides in `traces_target_info`.
const IDENTITY: [&str; 2] = ["job", "instance"];
/// Labels that the edges of the service graph carry.
const OF_EDGES: [&str; 4] = ["client", "server", "connection_type", "virtual_node"];
/// Names that mean something to Prometheus in every family.
const RESERVED: [&str; 2] = ["le", "__name__"];

/// The label name of a dimension or a dimension mapping.
pub(super) fn dimension_label(key: &str) -> String {
    label(key, &INTRINSIC)
}

/// The label name of an edge's dimension; `prefix` tells whose it is, or is empty.
pub(super) fn edge_label(prefix: &str, key: &str) -> String {
    label(&format!("{prefix}{key}"), &OF_EDGES)
}

/// The label name of a resource attribute in `traces_target_info`.
pub(super) fn target_info_label(key: &str) -> String {
    let name = label(key, &INTRINSIC);
    if IDENTITY.contains(&name.as_str()) { format!("__{name}") } else { name }
}

fn label(key: &str, taken: &[&str]) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let mut name: String = key.chars().map(allowed).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if taken.contains(&name.as_str()) || RESERVED.contains(&name.as_str()) {
        name.insert_str(0, "__");
    }
    name
}

/// `None` for a number that the enum does not know: it is written as the number.
pub(super) fn kind_name(kind: i32) -> Option<&'static str> {
    Some(match kind {
        0 => "SPAN_KIND_UNSPECIFIED",
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => return None,
    })
}

pub(super) fn role_of(kind: i32) -> Option<Role> {
    Some(match kind {
        2 => Role::Server,
        3 => Role::Client,
        4 => Role::Producer,
        5 => Role::Consumer,
        _ => return None,
    })
}

pub(super) const STATUS_ERROR: i32 = 2;

/// As [`kind_name`].
pub(super) fn status_name(code: i32) -> Option<&'static str> {
    Some(match code {
        0 => "STATUS_CODE_UNSET",
        1 => "STATUS_CODE_OK",
        STATUS_ERROR => "STATUS_CODE_ERROR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_label_names() {
        for (key, name) in [
            ("http.route", "http_route"),
            ("größe", "gr__e"),
            ("span.kind", "__span_kind"),
            ("service", "__service"),
            ("le", "__le"),
            ("__name__", "____name__"),
            ("3scale", "_3scale"),
            ("job", "job"),
        ] {
            assert_eq!(dimension_label(key), name, "{key}");
        }
        assert_eq!(target_info_label("job"), "__job");
        assert_eq!(target_info_label("k8s.pod.name"), "k8s_pod_name");
    }
}
