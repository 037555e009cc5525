//! What metrics, labels and values are called: a table a naming; expressions have `@KEY`.

/// One naming. A histogram is named by its family: classic series have a suffix, native ones none.
#[derive(Debug, Clone, Copy)]
pub struct Names(&'static [(&'static str, &'static str)]);

/// Tempo's, which are Spanmill's own.
pub const TEMPO: Names = Names(&[
    ("calls", "traces_spanmetrics_calls_total"),
    ("latency", "traces_spanmetrics_latency"),
    ("size", "traces_spanmetrics_size_total"),
    ("target", "traces_target_info"),
    ("requests", "traces_service_graph_request_total"),
    ("failed", "traces_service_graph_request_failed_total"),
    ("serverside", "traces_service_graph_request_server_seconds"),
    ("clientside", "traces_service_graph_request_client_seconds"),
    ("messaging", "traces_service_graph_request_messaging_system_seconds"),
    ("all", "traces_.+"),
    // Labels.
    ("service", "service"),
    ("span", "span_name"),
    ("kind", "span_kind"),
    ("status", "status_code"),
    ("namespace", "service_namespace"),
    ("version", "service_version"),
    ("http", "http_response_status_code"),
    ("client", "client"),
    ("server", "server"),
    ("type", "connection_type"),
    // Values.
    ("ERROR", "STATUS_CODE_ERROR"),
    ("SERVER", "SPAN_KIND_SERVER"),
    ("CLIENT", "SPAN_KIND_CLIENT"),
    ("PRODUCER", "SPAN_KIND_PRODUCER"),
    ("CONSUMER", "SPAN_KIND_CONSUMER"),
    ("INTERNAL", "SPAN_KIND_INTERNAL"),
]);

/// Of the series of a classic histogram.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

impl Names {
    /// The text with a name for each `@KEY`; a key that is not in the table stays as it is.
    pub fn fill(&self, text: &str) -> String {
        let mut parts = text.split('@');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let is_key = |c: char| c.is_ascii_alphabetic() || c == '_';
            let end = part.find(|c| !is_key(c)).unwrap_or(part.len());
            let (key, rest) = part.split_at(end);
            match self.name(key) {
                Some(name) => filled.push_str(&name),
                None => filled.extend(["@", key]),
            }
            filled.push_str(rest);
        }
        filled
    }

    fn name(&self, key: &str) -> Option<String> {
        let of = |key: &str| self.0.iter().find(|(known, _)| *known == key).map(|(_, name)| *name);
        let suffixed = |suffix: &&str| Some(format!("{}{suffix}", of(key.strip_suffix(suffix)?)?));
        of(key).map(str::to_owned).or_else(|| SUFFIXES.iter().find_map(suffixed))
    }
}
