//! The keys of an entry of `remote_write`: Prometheus' block.

use std::time::Duration;

use super::schema::{Key, Kind, MILLISECOND, block, key, refused, required};

pub(super) const REMOTE_WRITE: &[Key] = &[
    required("url", Kind::Url, "http:// or https://."),
    key("name", Kind::Text, "\"\"", "Unique; the label endpoint of own metrics. \"\" = host:port."),
    key("remote_timeout", Kind::Duration { least: MILLISECOND }, "30s", "Of one attempt."),
    key("headers", Kind::Headers, "{}", "Sent with each request, e.g. X-Scope-OrgID."),
    block("basic_auth", BASIC_AUTH, "At most one of basic_auth and authorization."),
    block("authorization", AUTHORIZATION, "A token."),
    block("tls_config", TLS, "For https://."),
    key(
        "write_relabel_configs",
        Kind::List(RELABEL),
        "[]",
        "Applied to each series of this endpoint, after external_labels.",
    ),
    key("send_exemplars", Kind::Bool, "true", "Whether trace ids go with the samples."),
    key("retry_on_http_429", Kind::Bool, "true", "Whether \"too many requests\" is tried again."),
    key("queue_config", Kind::Section(QUEUE), "{}", "How requests are cut and repeated."),
    refused("protobuf_message"),
    refused("send_native_histograms"),
    refused("round_robin_dns"),
    refused("failed_request_logging"),
    refused("metadata_config"),
    refused("oauth2"),
    refused("sigv4"),
    refused("azuread"),
    refused("google_iam"),
    refused("proxy_url"),
    refused("no_proxy"),
    refused("proxy_from_environment"),
    refused("proxy_connect_header"),
    refused("follow_redirects"),
    refused("enable_http2"),
    refused("http_headers"),
];

const BASIC_AUTH: &[Key] = &[
    unset("username", Kind::Text, "User."),
    unset("username_file", Kind::Text, "Or the file that holds it."),
    unset("password", Kind::Secret, "Password."),
    unset("password_file", Kind::Text, "Or the file that holds it, read for each request."),
];

const AUTHORIZATION: &[Key] = &[
    key("type", Kind::Name, "Bearer", "The scheme."),
    unset("credentials", Kind::Secret, "The token."),
    unset("credentials_file", Kind::Text, "Or the file that holds it, read for each request."),
];

const TLS: &[Key] = &[
    unset("ca", Kind::Text, "Certificates to trust, PEM. \"\" = the system's."),
    unset("ca_file", Kind::Text, "Or the file that holds them."),
    unset("cert", Kind::Text, "Own certificate, PEM."),
    unset("cert_file", Kind::Text, "Or the file that holds it."),
    unset("key", Kind::Secret, "Its key, PEM."),
    unset("key_file", Kind::Text, "Or the file that holds it."),
    unset("server_name", Kind::Text, "Name to expect instead of the URL's."),
    key("insecure_skip_verify", Kind::Bool, "false", "Trust any certificate. For tests."),
    unset("min_version", Kind::Choice(TLS_VERSIONS), "TLS12 or TLS13. \"\" = TLS12."),
    unset("max_version", Kind::Choice(TLS_VERSIONS), "TLS12 or TLS13. \"\" = TLS13."),
];

const TLS_VERSIONS: &[&str] = &["", "TLS12", "TLS13"];

pub(super) const RELABEL: &[Key] = &[
    key("source_labels", Kind::LabelNames, "[]", "Labels whose values are joined and matched."),
    key("separator", Kind::Text, ";", "What stands between their values."),
    key("regex", Kind::Regex, "(.*)", "Anchored at both ends."),
    key("modulus", Kind::Count { least: 0 }, "0", "For hashmod."),
    unset("target_label", Kind::Text, "The label that is set."),
    key("replacement", Kind::Text, "$1", "Its value; $1 is a group of the regex."),
    key("action", Kind::Choice(ACTIONS), "replace", "What is done."),
];

const ACTIONS: &[&str] = &[
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
];

const QUEUE: &[Key] = &[
    key("max_samples_per_send", Kind::Count { least: 1 }, "2000", "Samples of one request."),
    key("max_shards", Kind::Count { least: 1 }, "50", "Requests in flight at once."),
    key(
        "min_backoff",
        Kind::Duration { least: MILLISECOND },
        "30ms",
        "Wait before the first repetition; doubled with each.",
    ),
    key("max_backoff", Kind::Duration { least: Duration::ZERO }, "5s", "Longest wait."),
    refused("capacity"),
    refused("min_shards"),
    refused("batch_send_deadline"),
    refused("sample_age_limit"),
    key("retry_on_http_429", Kind::Bool, "true", "As above; false in either place turns it off."),
];

const fn unset(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    key(name, kind, "\"\"", doc)
}
