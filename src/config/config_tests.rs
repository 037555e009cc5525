//! Claims about whole configurations: what is refused and how, what comes out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::edges;
use crate::ledger::{EdgeSeries, Naming};
use crate::receiver::{ConnectionLimits, IngestLimits};
use crate::remote_write::relabel::Action;
use crate::remote_write::{Auth, Secret};
use crate::stage::{
    MatchType, Multiplier, PolicyValue, Processors, Sanitization, ServiceGraphs, Window,
};

/// The defaults as the contract states them, without what comes later.
const CONTRACT: &str = "
receivers:
  otlp:
    grpc: { endpoint: 127.0.0.1:4317 }
    http: { endpoint: 127.0.0.1:4318 }
    max_wire_bytes: 16MiB
    max_inflated_bytes: 64MiB
    header_timeout: 10s
    body_timeout: 15s
    duplicate_window: 0s
processors:
  enabled: [span-metrics, service-graphs]
  ingestion_time_range_slack: { past: 1h, future: 10m }
  span_metrics:
    histogram_buckets: [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384]
    intrinsic_dimensions: { service: true, span_name: true, span_kind: true, status_code: true, status_message: false }
    dimensions: []
    dimension_mappings: []
    enable_target_info: false
    target_info_excluded_dimensions: []
    enable_instance_label: true
    span_multiplier_key: \"\"
    enable_tracestate_span_multiplier: false
    filter_policies: []
  service_graphs:
    wait: 10s
    max_items: 1000000
    histogram_buckets: [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8]
    dimensions: []
    enable_client_server_prefix: false
    enable_messaging_system_latency_histogram: false
    peer_attributes: [peer.service, db.name, db.system, db.system.name]
    database_name_attributes: [db.namespace, db.name, db.system, db.system.name]
    span_multiplier_key: \"\"
    enable_tracestate_span_multiplier: false
    enable_virtual_node_label: false
    filter_policies: []
    histograms: [server, client]
    virtual_nodes: { caller: user, server: true }
    observe_missing_side: true
    remember_completed: true
    hold_virtual: 0
    count_every_pair: false
    messaging_links: false
  host_info: { host_identifiers: [k8s.node.name, host.id], metric_name: traces_host_info }
registry:
  collection_interval: 15s
  stale_duration: 15m
  stale_markers: expiry
  external_labels: {}
  inject_tenant_id_as: \"\"
  max_label_name_length: 1024
  max_label_value_length: 2048
  instance_label: __metrics_gen_instance
  instance: \"\"
  trace_id_label_name: traceID
  max_exemplars_per_tick: 1000
  span_name_sanitization: \"\"
  span_name_patterns: []
limits:
  memory: auto
  max_active_series: 500000
  guaranteed_series_per_service: auto
  max_active_series_per_service: 0
  max_active_entities: 0
  max_services: 2000
  max_edges: 10000
  max_cardinality_per_label: 0
  max_label_bytes: 64MiB
  max_tenants: 100
  ingest_bytes_per_second: 0
  ingest_burst_bytes: 0
  ingest_spans_per_second: 0
  max_connections: 1024
  max_connections_per_ip: 512
  max_streams_per_connection: 64
overrides: { file: \"\", poll_interval: 10s }
remote_write: []
storage: { path: \"\" }
admin: { endpoint: 127.0.0.1:4319 }
multitenancy: { enabled: false }
";

fn load_all(text: Option<&str>, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    if let Some(text) = text {
        std::fs::write(&file, text).unwrap();
    }
    let inputs = Inputs {
        file: text.map(|_| file),
        environment: env
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        ..Inputs::default()
    };
    load(&inputs).map_err(|problems| {
        problems.to_string().replace(&format!("{}/", folder.path().display()), "") + "\n"
    })
}

fn load_text(text: &str) -> Loaded {
    load_all(Some(text), &[], &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&load_all(Some(text), &[], &[]).map_or_else(|e| e, |_| "fine\n".to_owned()));
}

fn check_layers(env: &[(&str, &str)], set: &[&str], expected: &Expect) {
    expected.assert_eq(&load_all(None, env, set).map_or_else(|e| e, |_| "fine\n".to_owned()));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let defaults = load(&Inputs::default()).unwrap();
    let written = load_text(CONTRACT);
    assert_eq!(format!("{:?}", defaults.config), format!("{:?}", written.config));
    assert_eq!(defaults.effective, written.effective);
    let config = defaults.config;
    assert_eq!(config.receiver.grpc.as_deref(), Some("127.0.0.1:4317"));
    assert_eq!(config.receiver.limits.max_wire_bytes, 16 << 20);
    assert_eq!(config.receiver.body_timeout, Duration::from_secs(15));
    let processors = Processors {
        calls: true,
        latency: true,
        size: true,
        service_graphs: true,
        host_info: false,
    };
    assert_eq!(config.stage.processors, processors);
    assert_eq!(config.stage.service_graphs, ServiceGraphs::default());
    let window = Window { past: Duration::from_secs(3_600), future: Duration::from_secs(600) };
    assert_eq!(config.stage.window, Some(window));
    assert_eq!(config.stage.span_metrics.histogram_buckets.len(), 14);
    assert_eq!(config.stage.max_label_value_length, 2_048);
    // The instance is the host's name.
    let naming = Naming { instance: config.ledger.naming.instance.clone(), ..Naming::default() };
    let expected = ledger::Settings { naming: naming.into(), ..ledger::Settings::default() };
    assert_eq!(config.ledger, expected);
    assert_eq!(config.ledger.stale_duration, Duration::from_secs(900));
    assert_eq!(config.ledger.max_exemplars_per_tick, 1_000);
    assert_eq!(config.collect, collect::Settings::default());
    assert!(!config.ledger.naming.instance.is_empty());
    assert_eq!(config.admin.endpoint.as_deref(), Some("127.0.0.1:4319"));
    assert!(config.remote_write.endpoints.is_empty());
    assert_eq!(config.receiver.connections, ConnectionLimits::default());
    assert_eq!(config.receiver.ingest, IngestLimits::default());
    assert_eq!(config.max_tenants, 100);
}

#[test]
fn a_byte_zero_is_no_end_of_a_file() {
    check(
        "registry: {}\nlimits:\n  max_edges: 5\n\0  max_services: oops\n",
        &expect![[r#"
            f.yaml:4:1: found a byte 0, expected text: the file may be torn
        "#]],
    );
}

#[test]
fn limits_are_read_and_checked_against_each_other() {
    let limits = |text: &str| load_text(text).config.ledger.limits;
    let of_tempo = limits("limits: { max_active_series: 0, max_active_entities: 1000 }");
    assert_eq!((of_tempo.max_active_series, of_tempo.max_active_entities), (0, 1000));
    assert_eq!(of_tempo.guaranteed_series_per_service, 0);
    let own = limits("limits: { max_active_series: 1000, max_services: 10 }");
    assert_eq!(own.guaranteed_series_per_service, 50);
    let less = limits("limits: { guaranteed_series_per_service: 100 }");
    assert_eq!(less.guaranteed_series_per_service, 100);
    check(
        "limits:
  memory: some
  guaranteed_series_per_service: 126
  max_label_bytes: -1
  max_streams_per_connection: 0
  max_active_serie: 5
",
        &expect![[r#"
            f.yaml:2:11: limits.memory: found "some", expected a size such as 512MiB, or auto
            f.yaml:3:34: limits.guaranteed_series_per_service: found 126, expected at most 125: half of max_active_series (500000) / max_services (2000)
            f.yaml:4:20: limits.max_label_bytes: found "-1", expected a size such as 16MiB, or 0
            f.yaml:5:31: limits.max_streams_per_connection: found "0", expected a whole number, at least 1
            f.yaml:6:3: limits.max_active_serie: unknown key, did you mean limits.max_active_series
        "#]],
    );
}

/// Every key of the contract's block is a key of the schema, and the other way round.
#[test]
fn each_default_of_the_schema_is_written_in_the_contract() {
    fn compare(keys: &'static [schema::Key], contract: &Node, path: &str) {
        let names: Vec<&String> = contract.entries().map(|(name, _)| name).collect();
        for key in keys {
            assert!(names.iter().any(|name| *name == key.name), "{path}.{}", key.name);
            if let schema::Kind::Section(keys) = key.kind {
                compare(keys, contract.at(key.name), &format!("{path}.{}", key.name));
            }
        }
        for name in names {
            assert!(keys.iter().any(|key| key.name == name), "{path}.{name}");
        }
    }
    let contract = yaml::parse(CONTRACT, 0, &mut Problems::default()).unwrap();
    compare(schema::ROOT, &contract, "");
}

#[test]
fn default_yaml_is_what_the_program_prints() {
    let printed = load(&Inputs::default()).unwrap().effective;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/default.yaml");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), printed, "{}", path.display());
}

#[test]
fn every_file_in_config_loads_and_prints_itself() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = Some(entry.unwrap().path());
        // No configuration by itself; another test reads it.
        if file.as_ref().is_some_and(|path| path.ends_with("overrides.yaml")) {
            continue;
        }
        let loaded = load(&Inputs { file, ..Inputs::default() });
        let printed = loaded.unwrap_or_else(|problems| panic!("{problems}")).effective;
        assert_eq!(load_text(&printed).effective, printed);
        n_files += 1;
    }
    assert!(n_files >= 4);
}

#[test]
fn three_mistakes_in_one_file_are_three_lines_in_its_order() {
    check(
        "registry:\n  collection_interval: 15 bananas\n  stale_duratoin: 5m\nadmin: { endpoint: 4319 }\n",
        &expect![[r#"
            f.yaml:2:24: registry.collection_interval: found "15 bananas", expected a duration such as 15s or 1m30s, at least 1s
            f.yaml:3:3: registry.stale_duratoin: unknown key, did you mean registry.stale_duration
            f.yaml:4:20: admin.endpoint: found "4319", expected host:port, or "" for off
        "#]],
    );
}

#[test]
fn values_of_a_wrong_kind_are_refused() {
    check(
        "receivers: 5
processors:
  enabled: span-metrics
  span_metrics:
    histogram_buckets: [1, 0.5, x, [], -1]
    dimensions: { a: b }
    intrinsic_dimensions: { service: yes }
    dimension_mappings: [a, { name: '' }]
    enable_target_info: [true]
  host_info: { host_identifiers: [], metric_name: 9x }
registry:
  collection_interval: 999ms
  max_exemplars_per_tick: -1
  stale_markers: always
  external_labels: { 1a: x, le: y, __name__: z, ok: [1] }
  instance_label: a-b
  trace_id_label_name: span_id
  instance: { a: b }
",
        &expect![[r#"
            f.yaml:1:12: receivers: found "5", expected a mapping of keys
            f.yaml:3:12: processors.enabled: found "span-metrics", expected a list such as [span-metrics]
            f.yaml:5:28: processors.span_metrics.histogram_buckets[1]: found "0.5" after 1, expected rising bounds
            f.yaml:5:33: processors.span_metrics.histogram_buckets[2]: found "x", expected a number
            f.yaml:5:36: processors.span_metrics.histogram_buckets[3]: found an empty list, expected a number
            f.yaml:5:40: processors.span_metrics.histogram_buckets[4]: found "-1", expected no bound below 0: no latency is
            f.yaml:6:17: processors.span_metrics.dimensions: found a mapping, expected a list such as [a, b]
            f.yaml:7:38: processors.span_metrics.intrinsic_dimensions.service: found "yes", expected true or false
            f.yaml:8:26: processors.span_metrics.dimension_mappings[0]: found "a", expected a mapping of keys
            f.yaml:8:29: processors.span_metrics.dimension_mappings[1].source_labels: found nothing, expected a list such as [a, b], not empty
            f.yaml:8:37: processors.span_metrics.dimension_mappings[1].name: found "", expected text that is not empty
            f.yaml:9:25: processors.span_metrics.enable_target_info: found a list, expected true or false
            f.yaml:10:34: processors.host_info.host_identifiers: found an empty list, expected a list such as [a, b], not empty
            f.yaml:10:51: processors.host_info.metric_name: found "9x", expected a metric's name
            f.yaml:12:24: registry.collection_interval: found "999ms", expected a duration such as 15s or 1m30s, at least 1s
            f.yaml:13:27: registry.max_exemplars_per_tick: found "-1", expected a whole number, at least 0
            f.yaml:14:18: registry.stale_markers: found "always", expected one of expiry, shutdown, off
            f.yaml:15:22: registry.external_labels.1a: found "1a", expected a label's name other than __name__ and le
            f.yaml:15:29: registry.external_labels.le: found "le", expected a label's name other than __name__ and le
            f.yaml:15:36: registry.external_labels.__name__: found "__name__", expected a label's name other than __name__ and le
            f.yaml:15:53: registry.external_labels.ok: found a list, expected text
            f.yaml:16:19: registry.instance_label: found "a-b", expected a label's name other than __name__ and le
            f.yaml:17:24: registry.trace_id_label_name: found "span_id", expected a label's name other than span_id
            f.yaml:18:13: registry.instance: found a mapping, expected text
        "#]],
    );
}

#[test]
fn unknown_keys_are_refused_at_every_level_with_the_nearest_known_one() {
    check(
        "recievers: {}
collection_interval: 5s
receivers: { otlp: { grpc: { endpont: x:1 } }, kafka: {} }
metrics_ingestion_time_range_slack: 30s
processors:
  span_metrics:
    dimension_mappings: [{ name: a, source_label: [b], source_labels: [b] }]
    filter_policies:
      - exclude: { match_type: strict, attribute: [], attributes: [{ key: name, valeu: x, value: y }] }
remote_write:
  - url: http://h
    basic_auth: { user_name: x }
    queue_config: { retry_on_http_492: true }
    write_relabel_configs: [{ regexp: x, target_label: y }]
zzz: 1
",
        &expect![[r#"
            f.yaml:1:1: recievers: unknown key, did you mean receivers
            f.yaml:2:1: collection_interval: unknown key, did you mean registry.collection_interval
            f.yaml:3:30: receivers.otlp.grpc.endpont: unknown key, did you mean receivers.otlp.grpc.endpoint
            f.yaml:3:48: receivers.kafka: unknown key, expected one of otlp
            f.yaml:4:1: metrics_ingestion_time_range_slack: unknown key, did you mean processors.ingestion_time_range_slack
            f.yaml:7:37: processors.span_metrics.dimension_mappings[0].source_label: unknown key, did you mean processors.span_metrics.dimension_mappings[0].source_labels
            f.yaml:9:40: processors.span_metrics.filter_policies[0].exclude.attribute: unknown key, did you mean processors.span_metrics.filter_policies[0].exclude.attributes
            f.yaml:9:81: processors.span_metrics.filter_policies[0].exclude.attributes[0].valeu: unknown key, did you mean processors.span_metrics.filter_policies[0].exclude.attributes[0].value
            f.yaml:12:19: remote_write[0].basic_auth.user_name: unknown key, did you mean remote_write[0].basic_auth.username
            f.yaml:13:21: remote_write[0].queue_config.retry_on_http_492: unknown key, did you mean remote_write[0].queue_config.retry_on_http_429
            f.yaml:14:31: remote_write[0].write_relabel_configs[0].regexp: unknown key, did you mean remote_write[0].write_relabel_configs[0].regex
            f.yaml:15:1: zzz: unknown key, expected one of receivers, processors, registry, limits, overrides, remote_write, storage, admin, multitenancy
        "#]],
    );
}

#[test]
fn keys_of_a_later_version_are_refused_by_name() {
    check(
        "receivers: { otlp: { duplicate_window: 10m } }
processors:
  enabled: [spam-metrics, service-graph, drain]
storage: { path: /d, durability: disk }
remote_write:
  - url: http://h
    oauth2: { client_secret: hunter2 }
    follow_redirects: true
    queue_config: { capacity: 5, min_shards: 1 }
",
        &expect![[r#"
            f.yaml:1:22: receivers.otlp.duplicate_window: not in this version: found "10m", expected "0s" or nothing
            f.yaml:3:13: processors.enabled[0]: found "spam-metrics", did you mean span-metrics
            f.yaml:3:27: processors.enabled[1]: found "service-graph", did you mean service-graphs
            f.yaml:3:42: processors.enabled[2]: found "drain", expected one of span-metrics, span-metrics-latency, span-metrics-count, span-metrics-size, service-graphs, service-graphs-request, service-graphs-latency, service-graphs-connection-info, host-info
            f.yaml:4:12: storage.path: not in this version: found "/d", expected "" or nothing
            f.yaml:4:22: storage.durability: not in this version
            f.yaml:7:5: remote_write[0].oauth2: not in this version
            f.yaml:8:5: remote_write[0].follow_redirects: not in this version
            f.yaml:9:21: remote_write[0].queue_config.capacity: not in this version
            f.yaml:9:34: remote_write[0].queue_config.min_shards: not in this version
        "#]],
    );
}

#[test]
fn templates_of_span_names_are_checked() {
    check(
        "registry:
  span_name_sanitization: on
  span_name_patterns: ['tenant-([a-z]+)', 'b(', 'x*', '\\b', '', { a: b }]
",
        &expect![[r#"
            f.yaml:2:27: registry.span_name_sanitization: found "on", expected one of dry_run, enabled
            f.yaml:3:43: registry.span_name_patterns[1]: found "b(", expected a regex that matches some text: unclosed group
            f.yaml:3:49: registry.span_name_patterns[2]: found "x*", expected a regex that matches some text: it also matches the empty text
            f.yaml:3:55: registry.span_name_patterns[3]: found "\\b", expected a regex that matches some text: it also matches the empty text
            f.yaml:3:61: registry.span_name_patterns[4]: found "", expected a regex that matches some text: it also matches the empty text
            f.yaml:3:65: registry.span_name_patterns[5]: found a mapping, expected text
        "#]],
    );
    check(
        "registry: { span_name_patterns: x }",
        &expect![[r#"
        f.yaml:1:33: registry.span_name_patterns: found "x", expected a list such as [a, b]
    "#]],
    );
    let config = load_all(
        Some("registry: { span_name_sanitization: DRY_RUN, span_name_patterns: ['a+', 'b(c)'] }"),
        &[],
        &[],
    );
    let names = config.unwrap().config.stage.span_names;
    assert_eq!(names.sanitization, Sanitization::DryRun);
    assert_eq!(names.patterns, ["a+", "b(c)"]);
}

#[test]
fn policies_and_mappings_are_checked() {
    check(
        "processors:
  span_metrics:
    intrinsic_dimensions: { span_kind: false }
    dimensions: [http.method]
    dimension_mappings:
      - { name: http-method, source_labels: [a] }
      - { name: service, source_labels: [a] }
      - { name: span_kind, source_labels: [a] }
      - { name: span.kind, source_labels: [a] }
    filter_policies:
      - {}
      - include: { match_type: glob }
        exclude:
          match_type: strict
          attributes:
            - { key: kind, value: SERVER }
            - { key: status, value: STATUS_CODE_BAD }
            - { key: http.method, value: GET }
      - include_any: { match_type: regex, attributes: [{ key: span.x, value: 'a(' }, { key: name }] }
",
        &expect![[r#"
            f.yaml:6:17: processors.span_metrics.dimension_mappings[0].name: found "http-method", expected another label than that of the dimension http.method
            f.yaml:7:17: processors.span_metrics.dimension_mappings[1].name: found "service", expected another label than that of the intrinsic dimension
            f.yaml:9:17: processors.span_metrics.dimension_mappings[3].name: found "span.kind", expected another label than that of dimension_mappings[2]
            f.yaml:11:9: processors.span_metrics.filter_policies[0]: found none of include, include_any, exclude, expected at least one
            f.yaml:12:32: processors.span_metrics.filter_policies[1].include.match_type: found "glob", expected one of strict, regex
            f.yaml:16:35: processors.span_metrics.filter_policies[1].exclude.attributes[0].value: found "SERVER", expected one of SPAN_KIND_UNSPECIFIED, SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, SPAN_KIND_CLIENT, SPAN_KIND_PRODUCER, SPAN_KIND_CONSUMER
            f.yaml:17:37: processors.span_metrics.filter_policies[1].exclude.attributes[1].value: found "STATUS_CODE_BAD", expected one of STATUS_CODE_UNSET, STATUS_CODE_OK, STATUS_CODE_ERROR
            f.yaml:18:22: processors.span_metrics.filter_policies[1].exclude.attributes[2].key: found "http.method", expected resource.KEY, span.KEY, kind, name or status
            f.yaml:19:78: processors.span_metrics.filter_policies[2].include_any.attributes[0].value: found "a(", expected a regex: unclosed group
            f.yaml:19:86: processors.span_metrics.filter_policies[2].include_any.attributes[1].value: found nothing, expected text
        "#]],
    );
}

#[test]
fn policy_values_keep_their_yaml_type() {
    let text = "processors: { span_metrics: { filter_policies: [{ exclude: { match_type: strict, attributes: [
        { key: span.a, value: 200 }, { key: span.a, value: '200' }, { key: span.a, value: 0.5 },
        { key: span.a, value: true }, { key: span.a, value: infinity }, { key: name, value: 7 }] } }] } }";
    let policies = load_text(text).config.stage.span_metrics.filter_policies;
    let exclude = policies[0].exclude.clone().unwrap();
    assert_eq!(exclude.match_type, MatchType::Strict);
    let values: Vec<PolicyValue> = exclude.attributes.into_iter().map(|a| a.value).collect();
    let text = |text: &str| PolicyValue::Text(text.to_owned());
    let expected = [
        PolicyValue::Int(200),
        text("200"),
        PolicyValue::Double(0.5),
        PolicyValue::Bool(true),
        text("infinity"),
        text("7"),
    ];
    assert_eq!(values, expected);
}

#[test]
fn remote_write_is_checked_as_prometheus_checks_it() {
    check(
        "remote_write:
  - {}
  - url: ftp://h
  - url: http://u:hunter2@h:x/
  - url: http://h/a
    headers: { Authorization: x, host: y, 'a b': z, X-A: \"a\\nb\" }
    basic_auth: { username: u, password: p, password_file: f }
    authorization: { type: Basic, credentials: c }
    queue_config: { min_backoff: 10s, max_shards: 0 }
    tls_config: { cert_file: c, min_version: TLS13, max_version: tls12, ca: x, ca_file: y }
  - url: http://h:80/b
    authorization: {}
    write_relabel_configs:
      - { action: hashmod, target_label: a }
      - { action: labelmap, replacement: 'a b' }
      - { action: labeldrop, regex: a, source_labels: [b], replacement: $1 }
      - { action: replace, regex: 'a(' }
      - { action: replace }
      - { action: keepequal, target_label: a, separator: '-' }
      - { action: keep-it }
      - { source_labels: [a-b], target_label: '${1}x' }
      - { action: Lowercase, target_label: '$1' }
",
        &expect![[r#"
            f.yaml:2:5: remote_write[0].url: found nothing, expected http:// or https:// and a host
            f.yaml:3:10: remote_write[1].url: found "ftp://h", expected http:// or https:// and a host
            f.yaml:4:10: remote_write[2].url: found "http://<secret>@h:x/", expected http:// or https:// and a host
            f.yaml:5:5: remote_write[3]: found several, expected at most one of basic_auth, authorization, user in the url
            f.yaml:6:16: remote_write[3].headers.Authorization: reserved, expected the key basic_auth or authorization instead
            f.yaml:6:34: remote_write[3].headers.host: reserved for the protocol, expected another name
            f.yaml:6:43: remote_write[3].headers.a b: found "a b", expected a header's name
            f.yaml:6:58: remote_write[3].headers.X-A: found another value, expected text that a header can hold
            f.yaml:7:60: remote_write[3].basic_auth.password_file: found password too, expected one of the two
            f.yaml:9:34: remote_write[3].queue_config.min_backoff: found 10s, expected at most max_backoff, 5s
            f.yaml:9:51: remote_write[3].queue_config.max_shards: found "0", expected a whole number, at least 1
            f.yaml:10:17: remote_write[3].tls_config: found cert without key, expected both or none
            f.yaml:10:66: remote_write[3].tls_config.max_version: found it below min_version, expected at least that
            f.yaml:10:89: remote_write[3].tls_config.ca_file: found ca too, expected one of the two
            f.yaml:11:10: remote_write[4].name: found "h:80" a second time, expected unique names
            f.yaml:12:20: remote_write[4].authorization: found nothing, expected credentials or credentials_file
            f.yaml:14:9: remote_write[4].write_relabel_configs[0].modulus: found "0", expected a number above 0 for hashmod
            f.yaml:15:42: remote_write[4].write_relabel_configs[1].replacement: found "a b", expected a label's name for labelmap
            f.yaml:16:55: remote_write[4].write_relabel_configs[2].source_labels: found a list, expected nothing, labeldrop does not use it
            f.yaml:17:9: remote_write[4].write_relabel_configs[3].target_label: found "", expected a label's name for replace
            f.yaml:17:35: remote_write[4].write_relabel_configs[3].regex: found "a(", expected a regex: unclosed group
            f.yaml:18:9: remote_write[4].write_relabel_configs[4].target_label: found "", expected a label's name for replace
            f.yaml:19:58: remote_write[4].write_relabel_configs[5].separator: found "-", expected nothing, keepequal does not use it
            f.yaml:20:19: remote_write[4].write_relabel_configs[6].action: found "keep-it", expected one of replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase
            f.yaml:21:27: remote_write[4].write_relabel_configs[7].source_labels[0]: found "a-b", expected a label's name
            f.yaml:22:44: remote_write[4].write_relabel_configs[8].target_label: found "$1", expected a label's name for Lowercase
        "#]],
    );
}

#[test]
fn an_endpoint_has_prometheus_defaults_but_for_exemplars_and_429() {
    let text = "remote_write: [{ url: 'https://u:p%40@h/x', write_relabel_configs: [{ target_label: a }] }]";
    let endpoint = load_text(text).config.remote_write.endpoints.remove(0);
    assert_eq!(endpoint.url.as_str(), "https://h/x");
    assert_eq!(endpoint.name, "h:443");
    let Auth::Basic { username, password } = endpoint.auth else { panic!("no user") };
    assert!(
        username == Secret::Value("u".to_owned()) && password == Secret::Value("p@".to_owned())
    );
    assert_eq!(endpoint.remote_timeout, Duration::from_secs(30));
    assert!(endpoint.send_exemplars && endpoint.retry_on_http_429);
    assert_eq!((endpoint.max_samples_per_send, endpoint.max_shards), (2_000, 50));
    assert_eq!(endpoint.min_backoff, Duration::from_millis(30));
    assert_eq!(endpoint.max_backoff, Duration::from_secs(5));
    let step = &endpoint.write_relabel_configs[0];
    assert_eq!(step.action, Action::Replace);
    assert_eq!((step.separator.as_str(), step.replacement.as_str()), (";", "$1"));
    assert!(step.regex.is_match("") && step.source_labels.is_empty());
}

#[test]
fn files_of_secrets_are_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    let text = "remote_write: [{ url: http://h, authorization: { credentials_file: token } }]";
    std::fs::write(&file, text).unwrap();
    let mut loaded = load(&Inputs { file: Some(file), ..Inputs::default() }).unwrap();
    let Auth::Authorization { kind, credentials } =
        loaded.config.remote_write.endpoints.remove(0).auth
    else {
        panic!("no authorization")
    };
    assert_eq!(kind, "Bearer");
    assert!(credentials == Secret::File(folder.path().join("token")));
}

#[test]
fn set_wins_over_the_environment_which_wins_over_the_file() {
    let file = "registry: { collection_interval: 1s, stale_duration: 1m, instance: file }\n";
    let env = [
        ("SPANMILL__REGISTRY__STALE_DURATION", "2m"),
        ("SPANMILL__REGISTRY__INSTANCE", "env"),
        ("SPANMILL__REGISTRY__INSTANCE_LABEL", ""),
        ("SPANMILL__PROCESSORS__SPAN_METRICS__DIMENSIONS", "[a.b, c]"),
        ("SPANMILL_COMMIT", "x"),
    ];
    let set = ["registry.instance=first", "registry.instance=set", "admin.endpoint=''"];
    let config = load_all(Some(file), &env, &set).unwrap().config;
    assert_eq!(config.collect.collection_interval, Duration::from_secs(1));
    assert_eq!(config.ledger.stale_duration, Duration::from_secs(120));
    assert_eq!(config.ledger.naming.instance, "set");
    assert_eq!(config.ledger.naming.instance_label, "");
    assert_eq!(config.stage.span_metrics.dimensions, ["a.b", "c"]);
    assert_eq!(config.admin.endpoint, None);
}

#[test]
fn mistakes_of_environment_and_set_name_their_origin() {
    check_layers(
        &[("SPANMILL__REGISTRY__STALE_DURATON", "2m"), ("SPANMILL__A__B", "[")],
        &["registry.instance", "registry.collection_interval=x", "a[99999999999999].b=1", "=1"],
        &expect![[r#"
            environment SPANMILL__A__B: not YAML: while parsing a node, did not find expected node content
            environment SPANMILL__REGISTRY__STALE_DURATON: registry.stale_duraton: unknown key, did you mean registry.stale_duration
            --set registry.instance: found "registry.instance", expected key=value
            --set registry.collection_interval: registry.collection_interval: found "x", expected a duration such as 15s or 1m30s, at least 1s
            --set a[99999999999999].b: a[99999999999999]: unknown key, expected one of receivers, processors, registry, limits, overrides, remote_write, storage, admin, multitenancy
            --set : found "=1", expected key=value
        "#]],
    );
}

#[test]
fn endpoints_of_the_command_line_come_on_top_of_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "remote_write: [{ url: http://a }]").unwrap();
    let mut inputs = Inputs {
        file: Some(file),
        remote_write: vec!["http://b:9".to_owned()],
        ..Inputs::default()
    };
    let endpoints = load(&inputs).unwrap().config.remote_write.endpoints;
    let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["a:80", "b:9"]);
    inputs.remote_write.push("b".to_owned());
    expect![[
        r#"--remote-write: remote_write[0].url: found "b", expected http:// or https:// and a host"#
    ]]
    .assert_eq(&load(&inputs).unwrap_err().to_string());
}

#[test]
fn scalars_keep_the_text_that_was_written() {
    let text =
        "registry: { external_labels: { a: 1.10, b: 007, c: true, d: 'x y', e: 1e3, null: on } }";
    let env = [("SPANMILL__REGISTRY__EXTERNAL_LABELS__F", "2.50")];
    let loaded = load_all(Some(text), &env, &["registry.external_labels.G=0x10"]);
    assert!(loaded.is_err_and(|problems| problems.contains("a key that is not text")));
    let text = text.replace("null", "\"null\"");
    let loaded = load_all(Some(&text), &env, &["registry.external_labels.G=0x10"]).unwrap();
    let labels = loaded.config.ledger.naming.external_labels.clone();
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels.join(" "), "G=0x10 a=1.10 b=007 c=true d=x y e=1e3 f=2.50 null=on");
    assert_eq!(load_text(&loaded.effective).config.collect, loaded.config.collect);
}

#[test]
fn one_duration_is_the_window_in_both_directions_and_0s_is_none() {
    let window = |text: &str| {
        let text = format!("processors: {{ ingestion_time_range_slack: {text} }}");
        load_text(&text).config.stage.window
    };
    let secs = |past, future| {
        Some(Window { past: Duration::from_secs(past), future: Duration::from_secs(future) })
    };
    assert_eq!(window("30s"), secs(30, 30));
    assert_eq!(window("{ past: 2h }"), secs(7_200, 600));
    assert_eq!(window("{ past: 1m, future: 2s }"), secs(60, 2));
    assert_eq!(window("0s"), None);
    assert_eq!(window("0"), None);
    check(
        "processors: { ingestion_time_range_slack: { past: 0s, futrue: 1h } }",
        &expect![[r#"
            f.yaml:1:55: processors.ingestion_time_range_slack.futrue: unknown key, expected past or future
        "#]],
    );
}

#[test]
fn parts_of_a_processor_can_be_enabled_alone_and_the_bare_name_wins() {
    let enabled = |text: &str| {
        load_text(&format!("processors: {{ enabled: [{text}] }}")).config.stage.processors
    };
    let parts = |calls, latency, size, host_info| Processors {
        calls,
        latency,
        size,
        service_graphs: false,
        host_info,
    };
    assert_eq!(enabled(""), parts(false, false, false, false));
    assert_eq!(enabled("span-metrics-latency"), parts(false, true, false, false));
    assert_eq!(enabled("span-metrics-count, host-info"), parts(true, false, false, true));
    assert_eq!(enabled("span-metrics-size, span-metrics"), parts(true, true, true, false));
}

#[test]
fn parts_of_the_service_graph_can_be_enabled_alone_and_only_its_info_has_to_be_named() {
    let enabled = |names: &str| {
        let config = load_text(&format!("processors: {{ enabled: [{names}] }}")).config;
        let EdgeSeries { requests, server_seconds, client_seconds, connection_info, .. } =
            config.ledger.edge_series;
        assert_eq!(server_seconds, client_seconds, "{names}");
        let runs = config.stage.processors.service_graphs;
        assert_eq!(runs, requests || server_seconds || connection_info, "{names}");
        (requests, server_seconds, connection_info)
    };
    let [bare, request, latency, info] = ["", "-request", "-latency", "-connection-info"]
        .map(|part| format!("service-graphs{part}"));
    assert_eq!(enabled("span-metrics, host-info"), (false, false, false));
    assert_eq!(enabled(&bare), (true, true, false));
    assert_eq!(enabled(&request), (true, false, false));
    assert_eq!(enabled(&latency), (false, true, false));
    assert_eq!(enabled(&info), (false, false, true));
    assert_eq!(enabled(&format!("{request}, {latency}")), (true, true, false));
    assert_eq!(enabled(&format!("{request}, {info}")), (true, false, true));
    assert_eq!(enabled(&format!("{latency}, {info}")), (false, true, true));
    assert_eq!(enabled(&format!("{latency}, {bare}")), (true, true, false));
    assert_eq!(enabled(&format!("{info}, {bare}")), (true, true, true));
}

#[test]
fn histograms_of_edges_are_those_that_are_listed_while_the_latency_is_on() {
    let seconds = |enabled: &str, histograms: &str| {
        let text = format!(
            "processors: {{ enabled: [{enabled}], service_graphs: {{ histograms: [{histograms}], \
             enable_messaging_system_latency_histogram: true }} }}"
        );
        let series = load_text(&text).config.ledger.edge_series;
        (series.server_seconds, series.client_seconds, series.messaging_seconds)
    };
    assert_eq!(seconds("service-graphs", "client, server"), (true, true, true));
    assert_eq!(seconds("service-graphs", "server"), (true, false, true));
    assert_eq!(seconds("service-graphs-latency", "Client"), (false, true, true));
    assert_eq!(seconds("service-graphs", ""), (false, false, true));
    assert_eq!(seconds("service-graphs-request", "server, client"), (false, false, false));
}

#[test]
fn every_key_of_the_service_graph_has_its_place() {
    let text = "processors:
  enabled: [service-graphs]
  service_graphs:
    wait: 1m30s
    max_items: 5
    histogram_buckets: [1, 2.5]
    dimensions: [a.b]
    enable_client_server_prefix: true
    peer_attributes: []
    database_name_attributes: [db]
    span_multiplier_key: weight
    enable_tracestate_span_multiplier: true
    enable_virtual_node_label: true
    filter_policies: [{ exclude: { match_type: regex, attributes: [{ key: name, value: x }] } }]
    virtual_nodes: { caller: '', server: false }
    observe_missing_side: false
    remember_completed: false
    hold_virtual: 2
    count_every_pair: true
    messaging_links: true
";
    let loaded = load_text(text);
    let config = &loaded.config;
    let graphs = &config.stage.service_graphs;
    assert_eq!(graphs.filter_policies.len(), 1);
    let expected = ServiceGraphs {
        histogram_buckets: vec![1.0, 2.5],
        dimensions: vec!["a.b".to_owned()],
        enable_client_server_prefix: true,
        peer_attributes: Vec::new(),
        database_name_attributes: vec!["db".to_owned()],
        multiplier: Multiplier { key: "weight".to_owned(), tracestate: true },
        filter_policies: graphs.filter_policies.clone(),
        messaging_links: true,
    };
    assert_eq!(*graphs, expected);
    let expected = edges::Settings {
        wait: Duration::from_secs(90),
        max_items: 5,
        remember_completed: false,
        hold_virtual: 2,
        count_every_pair: true,
        virtual_caller: String::new(),
        virtual_server: false,
        budget: edges::Budget::default(),
    };
    assert_eq!(config.ledger.edges, expected);
    let expected = EdgeSeries {
        observe_missing_side: false,
        virtual_node_label: true,
        ..EdgeSeries::default()
    };
    assert_eq!(config.ledger.edge_series, expected);
    assert!(config.stage.span_metrics.filter_policies.is_empty());
    assert_eq!(config.stage.span_metrics.multiplier, Multiplier::default());
    let again = load_text(&loaded.effective);
    assert_eq!(again.effective, loaded.effective);
    assert_eq!(format!("{:?}", again.config), format!("{config:?}"));
}

#[test]
fn three_mistakes_in_the_service_graph_are_three_lines() {
    check(
        "processors:
  service_graphs:
    dimensions: team
    wait: soon
    filter_policies:
      - include: { match_type: regex, attributes: [{ key: span.x, value: 'a(' }] }
",
        &expect![[r#"
            f.yaml:3:17: processors.service_graphs.dimensions: found "team", expected a list such as [a, b]
            f.yaml:4:11: processors.service_graphs.wait: found "soon", expected a duration such as 15s or 1m30s, at least 1ms
            f.yaml:6:74: processors.service_graphs.filter_policies[0].include.attributes[0].value: found "a(", expected a regex: unclosed group
        "#]],
    );
}

#[test]
fn values_of_the_service_graph_are_checked_and_keys_of_others_refused() {
    check(
        "processors:
  service_graphs:
    wait: 0s
    max_items: 0
    hold_virtual: -1
    histograms: [server, both, Server, [x]]
    histogram_buckets: []
    virtual_nodes: { caler: x, server: 1 }
    remember_completed: 10s
    peer_attributes: [a, '']
    filter_policies:
      - {}
      - exclude: { match_type: strict, attributes: [{ key: kind, value: SERVER }] }
    workers: 10
    database_name_attribute: [a]
    collection_interval: 5s
",
        &expect![[r#"
            f.yaml:3:11: processors.service_graphs.wait: found "0s", expected a duration such as 15s or 1m30s, at least 1ms
            f.yaml:4:16: processors.service_graphs.max_items: found "0", expected a whole number, at least 1
            f.yaml:5:19: processors.service_graphs.hold_virtual: found "-1", expected a whole number, at least 0
            f.yaml:6:26: processors.service_graphs.histograms[1]: found "both", expected one of server, client
            f.yaml:6:32: processors.service_graphs.histograms[2]: found "Server" a second time, expected it once
            f.yaml:6:40: processors.service_graphs.histograms[3]: found a list, expected text
            f.yaml:7:24: processors.service_graphs.histogram_buckets: found an empty list, expected a list of rising numbers, not empty
            f.yaml:8:22: processors.service_graphs.virtual_nodes.caler: unknown key, did you mean processors.service_graphs.virtual_nodes.caller
            f.yaml:8:40: processors.service_graphs.virtual_nodes.server: found "1", expected true or false
            f.yaml:9:25: processors.service_graphs.remember_completed: found "10s", expected true or false
            f.yaml:10:26: processors.service_graphs.peer_attributes[1]: found "", expected text that is not empty
            f.yaml:12:9: processors.service_graphs.filter_policies[0]: found none of include, include_any, exclude, expected at least one
            f.yaml:13:73: processors.service_graphs.filter_policies[1].exclude.attributes[0].value: found "SERVER", expected one of SPAN_KIND_UNSPECIFIED, SPAN_KIND_INTERNAL, SPAN_KIND_SERVER, SPAN_KIND_CLIENT, SPAN_KIND_PRODUCER, SPAN_KIND_CONSUMER
            f.yaml:14:5: processors.service_graphs.workers: unknown key, expected one of wait, max_items, histogram_buckets, dimensions, enable_client_server_prefix, enable_messaging_system_latency_histogram, peer_attributes, database_name_attributes, span_multiplier_key, enable_tracestate_span_multiplier, enable_virtual_node_label, filter_policies, histograms, virtual_nodes, observe_missing_side, remember_completed, hold_virtual, count_every_pair, messaging_links
            f.yaml:15:5: processors.service_graphs.database_name_attribute: unknown key, did you mean processors.service_graphs.database_name_attributes
            f.yaml:16:5: processors.service_graphs.collection_interval: unknown key, did you mean registry.collection_interval
        "#]],
    );
    check(
        "processors: { service_graphs: { hold_virtual: 70000 } }",
        &expect![[r#"
            f.yaml:1:47: processors.service_graphs.hold_virtual: found "70000", expected at most 65535
        "#]],
    );
    check(
        "processors: { service_graphs: { histograms: server } }",
        &expect![[r#"
        f.yaml:1:45: processors.service_graphs.histograms: found "server", expected a list such as [server, client]
    "#]],
    );
    check(
        "processors: { service_graphs: { virtual_nodes: user } }",
        &expect![[r#"
        f.yaml:1:48: processors.service_graphs.virtual_nodes: found "user", expected a mapping of keys
    "#]],
    );
}

#[test]
fn secrets_are_never_shown() {
    let text = "remote_write:
  - url: http://h1
    basic_auth: { username: u, password: hunter2 }
    headers: { X-Token: hunter2, X-Scope-OrgID: team-a }
  - url: http://h2
    authorization: { credentials: hunter2 }
    tls_config: { cert: c, key: hunter2 }
  - url: http://u:hunter2@h3/?token=hunter2
";
    let loaded = load_text(text);
    assert!(!loaded.effective.contains("hunter2"), "{}", loaded.effective);
    assert!(loaded.effective.contains("X-Scope-OrgID: team-a"));
    assert_eq!(loaded.effective.matches("<secret>").count(), 6);
    for text in [
        "remote_write: [{ url: 'http://u:hunter2@/' }]",
        "remote_write: [{ url: http://h, authorization: { credentials: \"hunter2\\n\" } }]",
        "remote_write: [{ url: http://h, headers: { a: \"hunter2\\n\" } }]",
        "remote_write: [{ url: http://h, basic_auth: { password: [hunter2] } }]",
        "remote_write: [{ url: http://h, basic_auth: { passwort: hunter2 } }]",
    ] {
        let problems = load_all(Some(text), &[], &[]).unwrap_err();
        assert!(!problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn what_is_not_yaml_is_one_line() {
    let texts = [
        "a: [",
        "registry:\n\tinstance: a\n",
        "registry: a: b\n",
        "- a\n",
        "a\n",
        "admin: {}\n---\nadmin: {}\n",
        "admin: { endpoint: ':1', endpoint: ':2' }\nadmin: {}\n",
        "admin: &a { endpoint: *a }\n",
        "admin: { endpoint: *a }\n",
        "? [a]\n: b\n",
        "\u{feff}# only a comment\n",
        "",
        "admin:\nregistry: ~\n",
    ];
    let answers = texts.map(|text| match load_all(Some(text), &[], &[]) {
        Ok(_) => "fine\n".to_owned(),
        Err(problems) => problems,
    });
    expect![[r#"
        f.yaml:2:1: not YAML: while parsing a node, did not find expected node content
        f.yaml:2:2: not YAML: tabs disallowed within this context (block indentation)
        f.yaml:1:12: not YAML: mapping values are not allowed in this context
        f.yaml:1:1: found a list, expected a mapping of keys
        f.yaml:1:1: found "a", expected a mapping of keys
        f.yaml:2:1: found a second document, expected one
        f.yaml:1:26: endpoint: found the key twice, first at 1:10
        f.yaml:2:1: admin: found the key twice, first at 1:1
        f.yaml:1:23: found an alias inside its own anchor
        f.yaml:1:20: not YAML: while parsing node, found unknown anchor
        f.yaml:1:3: found a key that is not text
        fine
        fine
        fine
    "#]]
    .assert_eq(&answers.concat());
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..9 {
        let alias = format!("*a{},", n - 1).repeat(10);
        bomb += &format!("a{n}: &a{n} [{alias}]\n");
    }
    let problems = load_all(Some(&bomb), &[], &[]).unwrap_err();
    assert!(problems.contains("more than 100000 values, aliases included"), "{problems}");
    for text in ["[".repeat(200), "- ".repeat(10_000), "a:\n".to_owned() + &"? ".repeat(9_000)] {
        let problems = load_all(Some(&text), &[], &[]).unwrap_err();
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
    let deep = format!("a{}=1", ".a".repeat(100_000));
    let problems = load_all(None, &[], &[&deep]).unwrap_err();
    assert!(problems.contains("too many parts"));
}

#[test]
fn an_anchor_can_be_used_again() {
    let text = "remote_write:
  - { url: http://a, queue_config: &queue { max_shards: 2 } }
  - { url: http://b, queue_config: *queue }
";
    let endpoints = load_text(text).config.remote_write.endpoints;
    assert_eq!(endpoints[1].max_shards, 2);
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let line = |path: PathBuf| {
        let problems = load(&Inputs { file: Some(path), ..Inputs::default() }).unwrap_err();
        problems.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    let bad = folder.path().join("bad.yaml");
    std::fs::write(&bad, b"admin:\n  endpoint: \xff\n").unwrap();
    expect!["DIR/bad.yaml:2:13: found bytes that are not UTF-8"].assert_eq(&line(bad));
    expect!["DIR: can't be read: is a directory (os error 21)"]
        .assert_eq(&line(folder.path().to_owned()));
    expect!["DIR/none.yaml: can't be read: no such file or directory (os error 2)"]
        .assert_eq(&line(folder.path().join("none.yaml")));
}

/// Text that is often nearly a configuration.
fn texts() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("registry:"),
        Just("remote_write:"),
        Just("processors:"),
        Just("url: http://h"),
        Just("external_labels:"),
        Just("filter_policies:"),
        Just("span_metrics:"),
        Just("a: b"),
        Just("\n"),
        Just("\n  "),
        Just("\n    "),
        Just("- "),
        Just("? "),
        Just(": "),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just("&a "),
        Just("*a"),
        Just("'"),
        Just("\""),
        Just("|"),
        Just(">-"),
        Just("!!str "),
        Just("%TAG ! x"),
        Just("---"),
        Just("..."),
        Just("#"),
        Just("\t"),
        Just("\r"),
        Just("\u{0}"),
        Just("\u{85}"),
        Just("\u{e4}"),
        Just("<<: "),
        Just("@"),
    ];
    prop_oneof![".{0,60}", prop::collection::vec(token, 0..24).prop_map(|parts| parts.concat())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text is a configuration or is refused in lines; it never panics.
    #[test]
    fn any_text_loads_or_is_refused(text in texts(), set in "[a-z_.]{0,20}=.{0,20}") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f.yaml");
        std::fs::write(&file, &text).unwrap();
        let inputs = Inputs { file: Some(file), set: vec![set], ..Inputs::default() };
        match load(&inputs) {
            Ok(loaded) => prop_assert!(!loaded.effective.is_empty()),
            Err(problems) => prop_assert!(problems.iter().count() > 0),
        }
    }
}
