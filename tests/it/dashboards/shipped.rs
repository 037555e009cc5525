//! Compose, provisioning and configurations name each other's ports, paths and uids: they agree.

use serde_json::Value;
use spanmill::dashboards::{TEMPO, Variable, all};

use super::{folder, promql, yaml};
use crate::support::command;
use yaml::{list, text};

/// `host` and `port` of `http://host:port/path` or `host:port`.
fn address(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let rest = rest.split('/').next().expect("a first part");
    let (host, port) = rest.split_once(':').unwrap_or_else(|| panic!("no port in {url}"));
    (host.to_owned(), port.to_owned())
}

/// Ports of a service inside the network, and on the host.
fn ports(compose: &Value, service: &str) -> Vec<(String, String)> {
    let published = list(compose, &format!("/services/{service}/ports")).iter();
    let pair = |port: &Value| {
        let mut parts = port.as_str().expect("text").rsplit(':').map(str::to_owned);
        let inside = parts.next().expect("a port");
        let outside = parts.next().expect("a port of the host");
        assert_eq!(parts.next().as_deref(), Some("127.0.0.1"), "{port} is open to everyone");
        (inside, outside)
    };
    published.map(pair).collect()
}

/// That the address is a service of the file, which has the port.
#[track_caller]
fn leads_to(compose: &Value, url: &str, service: &str) {
    let (host, port) = address(url);
    assert_eq!(host, service, "{url}");
    let ports = ports(compose, service);
    assert!(ports.iter().any(|(inside, _)| *inside == port), "{url}: {service} has {ports:?}");
}

/// Where a folder or file of ours is seen in a service.
fn mounted(compose: &Value, service: &str, ours: &str) -> String {
    let volumes = list(compose, &format!("/services/{service}/volumes")).iter();
    let volumes: Vec<Vec<&str>> =
        volumes.map(|v| v.as_str().expect("text").split(':').collect()).collect();
    let found = volumes.iter().find(|parts| parts[0] == ours);
    let parts = found.unwrap_or_else(|| panic!("{service} does not mount {ours}: {volumes:?}"));
    assert_eq!(parts.get(2), Some(&"ro"), "{ours}");
    parts[1].to_owned()
}

#[test]
fn images_are_pinned_and_what_is_mounted_is_there() {
    let compose = yaml::file("compose.yaml");
    let named = compose["volumes"].as_object().expect("volumes");
    let services = compose["services"].as_object().expect("services");
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["grafana", "prometheus", "spanmill", "tempo"]);
    let mut outside = Vec::new();
    for (name, service) in services {
        match service.get("image") {
            Some(image) => {
                let (_, tag) = image.as_str().expect("text").split_once(':').expect("a tag");
                let digits =
                    tag.trim_start_matches('v').split('.').all(|n| n.parse::<u32>().is_ok());
                assert!(digits && tag.matches('.').count() == 2, "{name}: {tag}");
            }
            None => assert!(!text(service, "/build/dockerfile_inline").is_empty(), "{name}"),
        }
        for volume in list(service, "/volumes") {
            let source = volume.as_str().expect("text").split(':').next().expect("a source");
            let there = match source.strip_prefix("./") {
                Some(path) => folder().join(path).exists(),
                None => named.contains_key(source),
            };
            assert!(there, "{name}: {source}");
        }
        outside.extend(ports(&compose, name).into_iter().map(|(_, outside)| outside));
    }
    let n_ports = outside.len();
    outside.sort_unstable();
    outside.dedup();
    assert_eq!(outside.len(), n_ports, "a port of the host twice: {outside:?}");
}

#[test]
fn the_services_find_each_other() {
    let compose = yaml::file("compose.yaml");
    let spanmill = yaml::file("spanmill.yaml");
    leads_to(&compose, text(&spanmill, "/remote_write/0/url"), "prometheus");
    let endpoints =
        ["/receivers/otlp/grpc/endpoint", "/receivers/otlp/http/endpoint", "/admin/endpoint"];
    for endpoint in endpoints.map(|path| text(&spanmill, path)) {
        leads_to(&compose, &format!("spanmill{endpoint}"), "spanmill");
    }
    let config = mounted(&compose, "spanmill", "./spanmill.yaml");
    assert!(list(&compose, "/services/spanmill/command").contains(&config.into()));

    let prometheus = yaml::file("prometheus/prometheus.yml");
    let scraped = text(&prometheus, "/scrape_configs/0/static_configs/0/targets/0");
    leads_to(&compose, scraped, "spanmill");
    let (_, admin) = address(&format!("spanmill{}", text(&spanmill, "/admin/endpoint")));
    assert_eq!(address(scraped).1, admin);
    assert_eq!(text(&prometheus, "/scrape_configs/0/job_name"), "spanmill");
    for file in list(&prometheus, "/rule_files") {
        let path = file.as_str().expect("text");
        assert!(folder().join("prometheus").join(path).exists(), "{path}");
    }
    let flags = list(&compose, "/services/prometheus/command");
    let config = mounted(&compose, "prometheus", "./prometheus") + "/prometheus.yml";
    for flag in [
        format!("--config.file={config}"),
        "--web.enable-remote-write-receiver".to_owned(),
        "--enable-feature=exemplar-storage".to_owned(),
    ] {
        assert!(flags.contains(&flag.clone().into()), "{flag}");
    }

    let tempo = yaml::file("tempo.yaml");
    for protocol in ["grpc", "http"] {
        let path = format!("/distributor/receivers/otlp/protocols/{protocol}/endpoint");
        let (_, port) = address(text(&tempo, &path));
        leads_to(&compose, &format!("tempo:{port}"), "tempo");
    }
    leads_to(&compose, &format!("tempo:{}", text(&tempo, "/server/http_listen_port")), "tempo");
}

#[test]
fn the_data_sources_are_those_that_the_services_and_the_metrics_have() {
    let compose = yaml::file("compose.yaml");
    let provisioned = yaml::file("provisioning/datasources/spanmill.yaml");
    let [prometheus, tempo] = list(&provisioned, "/datasources") else { panic!("two sources") };
    for (source, kind) in [(prometheus, "prometheus"), (tempo, "tempo")] {
        assert_eq!((text(source, "/uid"), text(source, "/type")), (kind, kind));
        leads_to(&compose, text(source, "/url"), kind);
    }
    let interval = text(&yaml::file("spanmill.yaml"), "/registry/collection_interval").to_owned();
    assert_eq!(text(prometheus, "/jsonData/timeInterval"), interval);
    let exemplars = &list(prometheus, "/jsonData/exemplarTraceIdDestinations")[0];
    assert_eq!(text(exemplars, "/datasourceUid"), text(tempo, "/uid"));
    let defaults = yaml::parse(include_str!("../../../config/default.yaml"));
    assert_eq!(text(exemplars, "/name"), text(&defaults, "/registry/trace_id_label_name"));
    for path in ["/jsonData/serviceMap/datasourceUid", "/jsonData/tracesToMetrics/datasourceUid"] {
        assert_eq!(text(tempo, path), text(prometheus, "/uid"), "{path}");
    }
    let queries = list(tempo, "/jsonData/tracesToMetrics/queries");
    assert_eq!(queries.len(), 3);
    for query in queries {
        // As Grafana has it once the file is read and a span's tags are filled in.
        let expr = text(query, "/query").replace("$$__tags", "service=\"cart\"");
        promql::parse(&expr.replace("$$__rate_interval", "1m")).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_provider_looks_where_the_dashboards_are() {
    let compose = yaml::file("compose.yaml");
    let provider = yaml::file("provisioning/dashboards/spanmill.yaml");
    let path = text(&provider, "/providers/0/options/path");
    assert_eq!(mounted(&compose, "grafana", "./dashboards"), path);
    assert_eq!(mounted(&compose, "grafana", "./provisioning"), "/etc/grafana/provisioning");
    let kinds = all(&TEMPO).into_iter().flat_map(|dashboard| dashboard.variables);
    for kind in kinds {
        if let Variable::Datasource(kind) = kind {
            assert!(["prometheus", "tempo"].contains(&kind), "{kind} is not provisioned");
        }
    }
}

#[tokio::test]
async fn spanmill_takes_its_configuration() {
    let path = folder().join("spanmill.yaml");
    let checked = command::spanmill(&["check-config", path.to_str().expect("a path")]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
}
