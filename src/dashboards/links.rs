//! Variables that dashboards share, and links from a cell to another dashboard or to traces.

use super::model::Variable;

pub(super) const OVERVIEW: &str = "spanmill-red-overview";
pub(super) const SERVICE: &str = "spanmill-red-service";
pub(super) const GRAPH: &str = "spanmill-service-graph";
pub(super) const SLO: &str = "spanmill-slo";
pub(super) const COMPARE: &str = "spanmill-compare";
pub(super) const PIPELINE: &str = "spanmill-pipeline";
pub(super) const CARDINALITY: &str = "spanmill-cardinality";

/// Both data sources: one is asked, the other is where links to traces lead.
pub(super) fn sources() -> [Variable; 2] {
    [Variable::Datasource("prometheus"), Variable::Datasource("tempo")]
}

/// Also where there is no such label.
pub(super) const ANY: &str = ".*";
pub(super) const ONE: &str = "";

pub(super) fn query(
    name: &'static str,
    label: &'static str,
    query: impl Into<String>,
    all: &'static str,
) -> Variable {
    Variable::Query { name, label, query: query.into(), all }
}

fn custom(name: &'static str, label: &'static str, values: &[(&str, &str)]) -> Variable {
    let own = |(text, value): &(&str, &str)| ((*text).to_owned(), (*value).to_owned());
    Variable::Custom { name, label, values: values.iter().map(own).collect() }
}

/// Namespace, service (several at once or one) and kind of span.
pub(super) fn chosen(all: &'static str) -> [Variable; 3] {
    let services = r#"label_values(@calls{@namespace=~"$namespace"}, @service)"#;
    [
        query("namespace", "Namespace", "label_values(@calls, @namespace)", ANY),
        query("service", "Service", services, all),
        span_kind(),
    ]
}

fn span_kind() -> Variable {
    custom(
        "span_kind",
        "Spans",
        &[
            ("Entry (server and consumer)", "@SERVER|@CONSUMER"),
            ("Outgoing (client and producer)", "@CLIENT|@PRODUCER"),
            ("Internal", "@INTERNAL"),
            ("All (counts a request once a span)", ".*"),
        ],
    )
}

pub(super) fn baseline() -> Variable {
    custom("baseline", "Compare with", &[("1h ago", "1h"), ("1d ago", "1d"), ("1w ago", "1w")])
}

/// Bounds T of the default buckets of which 4 T is one too: the labels of both.
pub(super) fn apdex_t() -> Variable {
    custom(
        "apdex_t",
        "Apdex T",
        &[
            ("256 ms", "0.256|1.024"),
            ("32 ms", "0.032|0.128"),
            ("64 ms", "0.064|0.256"),
            ("128 ms", "0.128|0.512"),
            ("512 ms", "0.512|2.048"),
            ("1024 ms", "1.024|4.096"),
            ("4096 ms", "4.096|16.384"),
        ],
    )
}

pub(super) fn objective() -> Variable {
    custom(
        "slo",
        "Objective",
        &[("99.9 %", "0.999"), ("99 %", "0.99"), ("99.5 %", "0.995"), ("99.95 %", "0.9995")],
    )
}

pub(super) fn quantile() -> Variable {
    custom(
        "quantile",
        "Quantile",
        &[("p95", "0.95"), ("p50", "0.5"), ("p90", "0.9"), ("p99", "0.99")],
    )
}

pub(super) fn top() -> Variable {
    custom("top", "Top", &[("10", "10"), ("20", "20"), ("50", "50")])
}

/// A dashboard with the same time range and sources, and a variable from a field of the row.
pub(super) fn to_dashboard(uid: &str, variable: &str, field: &str) -> String {
    format!(
        "/d/{uid}?${{__url_time_range}}&${{prometheus_datasource:queryparam}}\
         &var-{variable}=${{__data.fields[\"{field}\"]:percentencode}}"
    )
}

/// Traces in Explore; `query` is TraceQL, in which `FIELD:KEY` stands for the row's field of that
/// name, and `VAR:name` for a variable.
pub(super) fn to_traces(query: &str) -> String {
    let panes = format!(
        "{{\"a\":{{\"datasource\":\"VAR:tempo_datasource\",\"queries\":[{{\"refId\":\"A\",\
         \"datasource\":{{\"type\":\"tempo\",\"uid\":\"VAR:tempo_datasource\"}},\
         \"queryType\":\"traceql\",\"query\":\"{}\"}}],\
         \"range\":{{\"from\":\"VAR:__from\",\"to\":\"VAR:__to\"}}}}}}",
        query.replace('"', "\\\"")
    );
    let mut encoded = percent_encoding::utf8_percent_encode(&panes, UNSAFE).to_string();
    for variable in ["tempo_datasource", "__from", "__to", "service"] {
        encoded = encoded.replace(&format!("VAR:{variable}"), &format!("${{{variable}}}"));
    }
    for field in ["service", "span", "server", "client"] {
        let value = format!("${{__data.fields[\"@{field}\"]:percentencode}}");
        encoded = encoded.replace(&format!("FIELD:{field}"), &value);
    }
    format!("/explore?schemaVersion=1&panes={encoded}")
}

/// What a URL's query may not hold, but for the colon of the marks above.
const UNSAFE: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b':').remove(b'_').remove(b'-').remove(b'.');
