//! The overrides file by itself: what is merged, and what is refused.

use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::tenant::TenantId;

const MAIN: &str = "
overrides: { file: overrides.yaml }
processors:
  span_metrics: { dimensions: [main.one, main.two] }
  service_graphs: { wait: 7s }
registry: { stale_duration: 7m, external_labels: { cluster: main, zone: main } }
limits: { max_active_series: 7000 }
";

pub(super) fn inputs(folder: &tempfile::TempDir, main: &str) -> Inputs {
    let file = folder.path().join("main.yaml");
    std::fs::write(&file, main).expect("a written file");
    Inputs { file: Some(file), ..Inputs::default() }
}

fn load_both(main: &str, overrides: &str) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let inputs = inputs(&folder, main);
    std::fs::write(folder.path().join("overrides.yaml"), overrides).expect("a written file");
    load(&inputs).map_err(|problems| {
        problems.to_string().replace(&format!("{}/", folder.path().display()), "") + "\n"
    })
}

fn merged(overrides: &str) -> Loaded {
    load_both(MAIN, overrides).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn refused(overrides: &str, expected: &Expect) {
    expected.assert_eq(&load_both(MAIN, overrides).map_or_else(|e| e, |_| "fine\n".to_owned()));
}

fn of<'a>(loaded: &'a Loaded, id: &str) -> &'a TenantSettings {
    loaded.tenants.of(&TenantId::parse(id).expect("a tenant"))
}

#[test]
fn a_tenants_own_lies_over_everyones_over_the_configuration_key_by_key() {
    let loaded = merged(
        "tenants:
  '*':
    processors: { service_graphs: { wait: 8s, hold_virtual: 2 } }
    registry: { external_labels: { cluster: every } }
    remote_write_headers: { X-One: every, X-Two: every }
  team-a:
    processors:
      span_metrics: { dimensions: [own] }
      service_graphs: { wait: 9s }
      ingestion_time_range_slack: 30s
    registry: { collection_interval: 1s }
    limits: { max_active_series: 9000, ingest_bytes_per_second: 1MiB }
    remote_write_headers: { X-Two: own }
  team-b:
",
    );
    let (a, b, other) = (of(&loaded, "team-a"), of(&loaded, "team-b"), of(&loaded, "other"));
    assert_eq!(b, other, "nothing of its own");
    assert_eq!(other.ledger.edges.wait, Duration::from_secs(8));
    assert_eq!(a.ledger.edges.wait, Duration::from_secs(9));
    assert_eq!(a.ledger.edges.hold_virtual, 2, "of everyone's section the other keys stay");
    assert_eq!(a.ledger.stale_duration, Duration::from_mins(7), "the configuration's");
    assert_eq!(a.stage.span_metrics.dimensions, ["own"], "a list replaces a list");
    assert_eq!(other.stage.span_metrics.dimensions, ["main.one", "main.two"]);
    assert_eq!(a.stage.window.map(|window| window.future), Some(Duration::from_secs(30)));
    assert_eq!(a.collect.collection_interval, Duration::from_secs(1));
    assert_eq!(other.collect.collection_interval, Duration::from_secs(15));
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(a.ledger.naming.external_labels, [text("cluster", "every"), text("zone", "main")]);
    assert_eq!((a.ledger.limits.max_active_series, a.ingest.bytes_per_second), (9000, 1 << 20));
    assert_eq!(a.ledger.limits.guaranteed_series_per_service, 2, "worked out anew");
    assert_eq!(other.ledger.limits.max_active_series, 7000);
    assert_eq!(a.remote_write_headers, [text("X-One", "every"), text("X-Two", "own")]);
    assert_eq!(other.remote_write_headers, [text("X-One", "every"), text("X-Two", "every")]);
    let config = &loaded.config;
    assert_eq!(config.ledger.edges.wait, Duration::from_secs(7), "the configuration is as it was");
}

#[test]
fn an_empty_text_and_an_empty_list_are_something_of_its_own() {
    let loaded = merged(
        "tenants: { a: { processors: { enabled: [], span_metrics: { dimensions: [] } },
          registry: { instance_label: \"\" } } }",
    );
    let a = of(&loaded, "a");
    assert!(a.stage.span_metrics.dimensions.is_empty() && !a.stage.processors.span_metrics());
    assert_eq!(a.ledger.naming.instance_label, "");
    assert!(loaded.effective.contains("instance_label: \"\""), "{}", loaded.effective);
}

#[test]
fn what_is_no_tenants_own_is_refused_by_name() {
    refused(
        "tenants:
  a:
    limits: { memory: 1GiB, max_tenants: 5, max_connections: 1, max_connections_per_ip: 1, max_streams_per_connection: 1, max_series: 7 }
    registry: { instance: x, span_name_sanitization: enabled }
    receivers: { otlp: {} }
    remote_write: []
    multitenancy: { enabled: true }
    remote_write_header: {}
  ../b: {}
  c: [x]
version: 1
",
        &expect![[r#"
            overrides.yaml:3:15: tenants.a.limits.memory: of the process, expected it in the configuration
            overrides.yaml:3:29: tenants.a.limits.max_tenants: of the process, expected it in the configuration
            overrides.yaml:3:45: tenants.a.limits.max_connections: of the process, expected it in the configuration
            overrides.yaml:3:65: tenants.a.limits.max_connections_per_ip: of the process, expected it in the configuration
            overrides.yaml:3:92: tenants.a.limits.max_streams_per_connection: of the process, expected it in the configuration
            overrides.yaml:3:123: tenants.a.limits.max_series: unknown key, did you mean tenants.a.limits.max_services
            overrides.yaml:4:17: tenants.a.registry.instance: of the process, expected it in the configuration
            overrides.yaml:5:5: tenants.a.receivers: of the process, expected it in the configuration
            overrides.yaml:6:5: tenants.a.remote_write: of the process, expected it in the configuration
            overrides.yaml:7:5: tenants.a.multitenancy: of the process, expected it in the configuration
            overrides.yaml:8:5: tenants.a.remote_write_header: unknown key, did you mean tenants.a.remote_write_headers
            overrides.yaml:9:3: tenants.../b: tenant id has the character '/', expected letters, digits and !-_.*'()
            overrides.yaml:10:6: tenants.c: found a list, expected a mapping of keys
            overrides.yaml:11:1: version: unknown key, expected tenants
        "#]],
    );
}

#[test]
fn values_are_checked_as_in_the_configuration_and_between_keys() {
    refused(
        "tenants:
  a:
    registry: { collection_interval: 1ms, trace_id_label_name: le }
    processors: { span_metrics: { histogram_buckets: [2, 1] } }
    remote_write_headers: { Authorization: x }
  b:
    limits: { guaranteed_series_per_service: 5000 }
    registry: { trace_id_label_name: span_id }
    processors: { ingestion_time_range_slack: { past: 0s } }
  d:
    processors:
      span_metrics:
        filter_policies: [{ include: { match_type: regex, attributes: [{ key: name, value: '(?=x)' }] } }]
",
        &expect![[r#"
            overrides.yaml:3:38: tenants.a.registry.collection_interval: found "1ms", expected a duration such as 15s or 1m30s, at least 1s
            overrides.yaml:3:64: tenants.a.registry.trace_id_label_name: found "le", expected a label's name other than __name__ and le
            overrides.yaml:4:58: tenants.a.processors.span_metrics.histogram_buckets[1]: found "1" after 2, expected rising bounds
            overrides.yaml:5:29: tenants.a.remote_write_headers.Authorization: reserved, expected the key basic_auth or authorization instead
            overrides.yaml:7:46: tenants.b.limits.guaranteed_series_per_service: found 5000, expected at most 1: half of max_active_series (7000) / max_services (2000)
            overrides.yaml:8:38: tenants.b.registry.trace_id_label_name: found "span_id", expected a label's name other than span_id
            overrides.yaml:9:47: tenants.b.processors.ingestion_time_range_slack: found past 0ns and future 600s, expected both above 0s or both 0s
            overrides.yaml:13:92: tenants.d.processors.span_metrics.filter_policies[0].include.attributes[0].value: found "(?=x)", expected a regex: look-around, including look-ahead and look-behind, is not supported
        "#]],
    );
    refused(
        "tenants:
  b:
    limits: { guaranteed_series_per_service: 5000 }
    registry: { trace_id_label_name: span_id }
    processors: { ingestion_time_range_slack: { past: 0s } }
",
        &expect![[r#"
            overrides.yaml:3:46: tenants.b.limits.guaranteed_series_per_service: found 5000, expected at most 1: half of max_active_series (7000) / max_services (2000)
            overrides.yaml:4:38: tenants.b.registry.trace_id_label_name: found "span_id", expected a label's name other than span_id
            overrides.yaml:5:47: tenants.b.processors.ingestion_time_range_slack: found past 0ns and future 600s, expected both above 0s or both 0s
        "#]],
    );
    refused(
        "tenants: { '*': { limits: { guaranteed_series_per_service: 5000 } }, b: {} }",
        &expect![[r#"
            overrides.yaml:1:60: tenants.*.limits.guaranteed_series_per_service: found 5000, expected at most 1: half of max_active_series (7000) / max_services (2000)
        "#]],
    );
}

#[test]
fn a_file_that_is_empty_or_cut_is_no_file_without_tenants() {
    for text in ["", "# nothing", "tenants:", "tenants: {}"] {
        let loaded = load_both(MAIN, text);
        assert_eq!(loaded.is_ok(), text == "tenants: {}", "{text:?}: {loaded:?}");
    }
    refused(
        "",
        &expect![[r#"
            overrides.yaml:1:1: tenants: found nothing, expected {} where no tenant has its own
        "#]],
    );
    refused(
        "- a",
        &expect![[r#"
            overrides.yaml:1:1: found a list, expected the key tenants
        "#]],
    );
    refused(
        "tenants: [a]",
        &expect![[r#"
            overrides.yaml:1:10: tenants: found a list, expected a mapping of tenants, or {}
        "#]],
    );
    refused(
        "tenants: { a: {",
        &expect![[r#"
            overrides.yaml:2:1: not YAML: while parsing a node, did not find expected node content
        "#]],
    );
    let many: String = (0..5001).map(|n| format!("  t{n}: {{}}\n")).collect();
    refused(
        &format!("tenants:\n{many}"),
        &expect![[r#"
            overrides.yaml:2:3: tenants: found 5001 tenants, expected at most 5000
        "#]],
    );
    refused(
        &format!("tenants: {{}} # {}", "x".repeat(4 << 20)),
        &expect![[r#"
            overrides.yaml: found more than 4194304 bytes, expected at most so many
        "#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_path() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in ["nowhere.yaml", "."] {
        let main = format!("overrides: {{ file: {path} }}");
        let problems = load(&inputs(&folder, &main)).expect_err("there is none").to_string();
        let found = folder.path().join(path);
        assert!(problems.starts_with(&format!("{}: can't be read", found.display())), "{problems}");
    }
}

#[test]
fn what_is_in_force_is_shown_without_secrets_and_can_be_read_again() {
    let loaded = merged(
        "tenants: { team-a: { remote_write_headers: { X-Key: hunter2, X-Scope-OrgID: a },
          limits: { max_edges: 5 } }, '*': { registry: { stale_duration: 1m } } }",
    );
    let shown = loaded.effective.split("# Of single tenants").nth(1).expect("they are shown");
    let shown: Vec<&str> = shown.lines().skip(2).collect();
    expect![[r##"
        # tenants:
        #   "*":
        #     registry:
        #       stale_duration: 1m
        #   team-a:
        #     limits:
        #       max_edges: 5
        #     remote_write_headers: { X-Key: <secret>, X-Scope-OrgID: a }
    "##]]
    .assert_eq(&(shown.join("\n") + "\n"));
    assert!(!loaded.effective.contains("hunter2"));
    let again = load_both(&loaded.effective, "tenants: {}").expect("in order");
    assert_eq!(of(&again, "x").ledger, loaded.config.ledger);
}

#[test]
fn the_example_is_in_order_beside_the_configuration_that_it_is_for() {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let overrides = format!("overrides.file={}", folder.join("overrides.yaml").display());
    let file = Some(folder.join("mimir-multi-tenant.yaml"));
    let loaded = load(&Inputs { file, set: vec![overrides], ..Inputs::default() });
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = loaded.tenants.named.keys().map(TenantId::as_str).collect();
    assert_eq!(names, ["batch-jobs", "checkout"]);
    assert_eq!(of(&loaded, "checkout").ledger.limits.max_active_series, 1_000_000);
    assert_eq!(of(&loaded, "batch-jobs").ledger.limits.max_active_series, 100_000);
}
