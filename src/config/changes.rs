//! What differs between two configurations, and what of it has to wait for the next start.

use std::fmt;

use super::node::{Body, Node};
use super::overrides::SHARED;
use super::schema::{self, Key, Kind};
use super::tenants::TenantSettings;
use crate::collect;

/// What a reload has done, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// In force now.
    pub applied: Vec<String>,
    /// Left as it was.
    pub at_next_start: Vec<String>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.applied.is_empty() {
            true => f.write_str("reloaded: nothing has changed")?,
            false => write!(f, "reloaded: {}", self.applied.join(", "))?,
        }
        if !self.at_next_start.is_empty() {
            write!(f, "\ntakes effect at the next start: {}", self.at_next_start.join(", "))?;
        }
        Ok(())
    }
}

/// Built once, before the first socket is bound.
const FIXED: [&str; 5] = ["receivers", "remote_write", "storage", "admin", "multitenancy"];

/// Compares two trees key by key; in the new one, what is fixed is put back as it was.
pub(super) fn pin(old: &Node, new: &mut Node, changes: &mut Changes) {
    pin_keys(schema::ROOT, old, new, "", changes);
}

fn pin_keys(keys: &[Key], old: &Node, new: &mut Node, path: &str, changes: &mut Changes) {
    let Body::Map(map) = &mut new.body else { return };
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
        let path = super::check::join(path, key.name);
        let Some((_, new)) = map.get_mut(key.name) else { continue };
        let old = old.at(key.name);
        if let Kind::Section(keys) = key.kind {
            pin_keys(keys, old, new, &path, changes);
        } else if !is_same(&old.body, &new.body) {
            if is_fixed(&path) {
                *new = old.clone();
                changes.at_next_start.push(path);
            } else {
                changes.applied.push(path);
            }
        }
    }
}

fn is_fixed(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or_default();
    FIXED.contains(&section) || SHARED.contains(&path)
}

/// Whether two values are written alike, wherever they stand.
fn is_same(left: &Body, right: &Body) -> bool {
    match (left, right) {
        (Body::List(left), Body::List(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| is_same(&left.body, &right.body))
        }
        (Body::Map(left), Body::Map(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((left_key, left), (right_key, right))| {
                    left_key == right_key && is_same(&left.1.body, &right.1.body)
                })
        }
        (left, right) => left == right,
    }
}

/// Of a tenant's settings, what decides which series a label set has, and their names: that is put
/// back as it was. Answers the keys.
pub(super) fn pin_series(old: &TenantSettings, new: &mut TenantSettings) -> Vec<&'static str> {
    let mut pinned = Vec::new();
    let (of, to) = (&old.collect, &mut new.collect);
    let mut pin = |key, differs: bool| {
        if differs {
            pinned.push(key);
        }
    };
    pin("registry.external_labels", put_back(&of.external_labels, &mut to.external_labels));
    pin(
        "registry.inject_tenant_id_as",
        put_back(&of.inject_tenant_id_as, &mut to.inject_tenant_id_as),
    );
    pin("registry.instance_label", put_back(&of.instance_label, &mut to.instance_label));
    pin("registry.instance", put_back(&of.instance, &mut to.instance));
    pin(
        "processors.host_info.metric_name",
        put_back(&of.host_info_metric_name, &mut to.host_info_metric_name),
    );
    let (of, to) = (&old.stage, &mut new.stage);
    pin(
        "processors.span_metrics.histogram_buckets",
        put_back(&of.span_metrics.histogram_buckets, &mut to.span_metrics.histogram_buckets),
    );
    pin(
        "processors.service_graphs.histogram_buckets",
        put_back(&of.service_graphs.histogram_buckets, &mut to.service_graphs.histogram_buckets),
    );
    to.host_info.metric_name.clone_from(&of.host_info.metric_name);
    pin("processors.enabled", pin_families(old, new));
    new.ledger.series_per_set = collect::series_per_set(&new.collect, &new.stage.bounds());
    pinned
}

/// Which families the span metrics have, once they have any; all of them may be switched off and on.
fn pin_families(old: &TenantSettings, new: &mut TenantSettings) -> bool {
    let had = old.collect.families;
    if !(had.calls || had.latency || had.size) {
        return false;
    }
    let wants = new.collect.families;
    new.collect.families = had;
    let processors = &mut new.stage.processors;
    if !processors.span_metrics() {
        return false;
    }
    (processors.calls, processors.latency, processors.size) = (had.calls, had.latency, had.size);
    wants != had
}

fn put_back<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
    let differs = old != new;
    new.clone_from(old);
    differs
}
