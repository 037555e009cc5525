//! The merged layers -> the settings of each module, and what only shows between keys.
//!
//! Every scalar was checked in its layer; a getter's fallback is therefore only met together with a
//! problem that was reported there.

use std::sync::LazyLock;
use std::time::Duration;

use super::node::Node;
use super::overrides;
use super::problem::Problems;
use super::tenants::TenantSettings;
use super::{
    Config, resolve_limits, resolve_memory, resolve_processors, resolve_remote_write, values,
};
use crate::budget::Split;
use crate::ledger::Costs;
use crate::{admin, collect, ledger, receiver, remote_write, stage};

/// Runes that an exemplar's labels may hold in all, names included (Prometheus drops more).
const MAX_EXEMPLAR_RUNES: usize = 128;
const SPAN_ID_LABEL: &str = "span_id";
const TRACE_AND_SPAN_ID_RUNES: usize = 32 + 16;

pub(crate) fn resolve(tree: &Node, problems: &mut Problems) -> Config {
    let TenantSettings { stage, ledger, collect, .. } = tenant(tree, problems);
    let mut config = Config {
        receiver: receiver(tree),
        stage,
        ledger,
        collect,
        overrides: overrides::Settings::of(tree, problems),
        remote_write: remote_write::Settings {
            endpoints: resolve_remote_write::endpoints(tree.at("remote_write"), problems),
            send_tenant_id: tree.at("multitenancy.enabled").boolean(),
        },
        admin: admin::Settings { endpoint: values::endpoint(tree.at("admin.endpoint").as_text()) },
        max_tenants: tree.at("limits.max_tenants").count(),
        memory: Split::default(),
        costs: Costs::default(),
    };
    config.memory = resolve_memory::split(tree, &config, problems);
    let Split { bodies, staging, connections, .. } = config.memory;
    config.receiver.memory = receiver::Memory { bodies, staging, connections };
    config.costs = resolve_memory::costs(&config);
    config
}

/// What may differ from tenant to tenant; also checks what only compiling it shows.
pub(super) fn tenant(tree: &Node, problems: &mut Problems) -> TenantSettings {
    let n_before = problems.len();
    let stage = resolve_processors::stage(tree, problems);
    if problems.len() == n_before
        && let Err(faults) = stage::Plan::new(&stage, 0)
    {
        for stage::SettingsError { key, message } in faults {
            let list = key.split('[').next().unwrap_or_default();
            let place = tree.at(&format!("processors.{list}")).place;
            problems.add(place, &format!("processors.{key}"), message);
        }
    }
    let naming = naming(tree);
    let headers = tree.at("remote_write_headers").entries();
    TenantSettings {
        ledger: ledger::Settings {
            stale_duration: tree.at("registry.stale_duration").duration(),
            max_exemplars_per_tick: tree.at("registry.max_exemplars_per_tick").count(),
            edges: resolve_processors::edges(tree.at("processors.service_graphs"), problems),
            edge_series: resolve_processors::edge_series(tree.at("processors")),
            limits: resolve_limits::limits(tree.at("limits"), problems),
            series_per_set: collect::series_per_set(&naming, &stage.bounds()),
            naming: naming.into(),
        },
        collect: collect(tree, problems),
        ingest: resolve_limits::ingest(tree.at("limits")),
        remote_write_headers: headers
            .map(|(name, value)| (name.clone(), value.as_text().to_owned()))
            .collect(),
        stage,
    }
}

fn receiver(tree: &Node) -> receiver::Settings {
    let otlp = tree.at("receivers.otlp");
    receiver::Settings {
        grpc: values::endpoint(otlp.at("grpc.endpoint").as_text()),
        http: values::endpoint(otlp.at("http.endpoint").as_text()),
        limits: receiver::BodyLimits {
            max_wire_bytes: otlp.at("max_wire_bytes").size(),
            max_inflated_bytes: otlp.at("max_inflated_bytes").size(),
        },
        header_timeout: otlp.at("header_timeout").duration(),
        body_timeout: otlp.at("body_timeout").duration(),
        connections: resolve_limits::connections(tree.at("limits")),
        ingest: resolve_limits::ingest(tree.at("limits")),
        memory: receiver::Memory::default(),
        multitenancy: tree.at("multitenancy.enabled").boolean(),
    }
}

fn collect(tree: &Node, problems: &mut Problems) -> collect::Settings {
    let registry = tree.at("registry");
    let label = registry.at("trace_id_label_name");
    let n_runes = label.as_text().len() + SPAN_ID_LABEL.len() + TRACE_AND_SPAN_ID_RUNES;
    let key = "registry.trace_id_label_name";
    let found = values::shown(label.as_text());
    if label.as_text().is_empty() || label.as_text() == SPAN_ID_LABEL {
        let message = format!("found {found}, expected a label's name other than {SPAN_ID_LABEL}");
        problems.add(label.place, key, message);
    } else if n_runes > MAX_EXEMPLAR_RUNES {
        let most = MAX_EXEMPLAR_RUNES - SPAN_ID_LABEL.len() - TRACE_AND_SPAN_ID_RUNES;
        problems.add(label.place, key, format!("found {found}, expected at most {most} letters"));
    }
    collect::Settings {
        collection_interval: registry.at("collection_interval").duration(),
        stale_markers: match registry.at("stale_markers").as_text().to_lowercase().as_str() {
            "shutdown" => collect::StaleMarkers::Shutdown,
            "off" => collect::StaleMarkers::Off,
            _ => collect::StaleMarkers::Expiry,
        },
        trace_id_label_name: label.as_text().to_owned(),
    }
}

fn naming(tree: &Node) -> ledger::Naming {
    let registry = tree.at("registry");
    let external_labels = registry.at("external_labels").entries();
    let stage::Processors { calls, latency, size, .. } =
        resolve_processors::enabled(tree.at("processors.enabled"));
    ledger::Naming {
        external_labels: external_labels
            .map(|(name, value)| (name.clone(), value.as_text().to_owned()))
            .collect(),
        inject_tenant_id_as: registry.at("inject_tenant_id_as").as_text().to_owned(),
        instance_label: registry.at("instance_label").as_text().to_owned(),
        instance: match registry.at("instance").as_text() {
            "" => HOST_NAME.clone(),
            instance => instance.to_owned(),
        },
        host_info_metric_name: tree.at("processors.host_info.metric_name").as_text().to_owned(),
        families: ledger::Families { calls, latency, size },
    }
}

/// As it was when it was asked for first: a host that is renamed keeps its series.
static HOST_NAME: LazyLock<String> = LazyLock::new(|| {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "localhost".to_owned())
});

impl Node {
    pub(super) fn boolean(&self) -> bool {
        values::boolean(self.as_text()).unwrap_or_default()
    }

    pub(super) fn duration(&self) -> Duration {
        values::duration(self.as_text()).unwrap_or_default()
    }

    pub(super) fn size(&self) -> usize {
        values::size(self.as_text()).unwrap_or_default()
    }

    pub(super) fn count(&self) -> usize {
        let count = values::count(self.as_text()).unwrap_or_default();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.list().iter().map(|node| node.as_text().to_owned()).collect()
    }
}
