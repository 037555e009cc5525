//! Who lives: label sets, series, services, edges and label values of a tenant, counted at births and
//! deaths. All of it follows from the label sets that live; overflow sets are not counted.

use std::collections::BTreeMap;

use super::label_values::LabelValues;
use super::limits::Limits;
use super::overflow::{CLIENT, OVERFLOW, SERVICE};
use crate::batch::{Labels, Table};

#[derive(Debug, Default)]
pub struct Census {
    services: BTreeMap<Box<str>, Service>,
    /// Services that have span metrics.
    n_services: usize,
    n_series: usize,
    n_sets: usize,
    n_edges: usize,
    label_bytes: usize,
    /// Series of all services beyond what each has for itself, and of those that are of no service.
    n_shared_series: usize,
    label_values: LabelValues,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Service {
    /// Label sets of span metrics, overflow ones included: while there are any it is a known service.
    n_sets: usize,
    n_series: usize,
    /// Edges that it calls.
    n_edges: usize,
}

/// A label set that comes or goes.
#[derive(Debug, Clone, Copy)]
pub struct Resident<'a> {
    pub table: Table,
    pub labels: Labels<'a>,
    pub is_overflow: bool,
    /// Prometheus series that it counts as: of an edge all that it may have, with its first table.
    pub n_series: usize,
    /// No other table has the label set: of an edge the first that comes and the last that goes, of all
    /// else every one.
    pub is_alone: bool,
}

impl Census {
    pub fn n_services(&self) -> usize {
        self.n_services
    }

    pub fn n_series(&self) -> usize {
        self.n_series
    }

    /// As Tempo counts entities: an edge is one, whatever tables it has.
    pub fn n_sets(&self) -> usize {
        self.n_sets
    }

    pub fn n_edges(&self) -> usize {
        self.n_edges
    }

    pub fn label_bytes(&self) -> usize {
        self.label_bytes
    }

    pub fn n_shared_series(&self) -> usize {
        self.n_shared_series
    }

    pub fn label_values(&self) -> &LabelValues {
        &self.label_values
    }

    /// Series of a service; nothing where it has no span metrics.
    pub fn series_of(&self, service: &str) -> Option<usize> {
        let service = self.services.get(service)?;
        (service.n_sets > 0).then_some(service.n_series)
    }

    /// Whether it has span metrics or calls somebody.
    pub fn knows(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    pub fn birth(&mut self, who: &Resident<'_>, limits: &Limits) {
        self.count(who, limits, |n, by| *n += by);
        if limits.max_cardinality_per_label > 0 && !who.is_overflow && who.is_alone {
            self.label_values.birth(who.table, who.labels);
        }
    }

    pub fn death(&mut self, who: &Resident<'_>, limits: &Limits) {
        self.count(who, limits, |n, by| *n -= by);
        if limits.max_cardinality_per_label > 0 && !who.is_overflow && who.is_alone {
            self.label_values.death(who.table, who.labels);
        }
    }

    fn count(&mut self, who: &Resident<'_>, limits: &Limits, add: impl Fn(&mut usize, usize)) {
        let (n_series, bytes) = (who.n_series, who.labels.as_bytes().len());
        if !who.is_overflow {
            add(&mut self.label_bytes, bytes);
            if who.is_alone {
                add(&mut self.n_sets, 1);
                add(&mut self.n_series, n_series);
            }
        }
        match who.table {
            Table::SpanMetrics => {
                let name = who.labels.get(SERVICE);
                let service = self.service(name);
                let (was_known, before) = (service.n_sets > 0, service.n_series);
                add(&mut service.n_sets, 1);
                if !who.is_overflow {
                    add(&mut service.n_series, n_series);
                }
                let (is_known, after) = (service.n_sets > 0, service.n_series);
                let beyond = |n: usize| n.saturating_sub(limits.guaranteed_series_per_service);
                self.n_shared_series += beyond(after);
                self.n_shared_series -= beyond(before);
                if name != OVERFLOW {
                    self.n_services += usize::from(is_known);
                    self.n_services -= usize::from(was_known);
                }
                self.forget_if_gone(name);
            }
            Table::TargetInfo | Table::HostInfo => add(&mut self.n_shared_series, n_series),
            _ if who.is_alone && !who.is_overflow => {
                add(&mut self.n_edges, 1);
                add(&mut self.n_shared_series, n_series);
                let client = who.labels.get(CLIENT);
                add(&mut self.service(client).n_edges, 1);
                self.forget_if_gone(client);
            }
            _ => {}
        }
    }

    fn service(&mut self, name: &str) -> &mut Service {
        if !self.services.contains_key(name) {
            self.services.insert(name.into(), Service::default());
        }
        self.services.get_mut(name).expect("it was put there")
    }

    fn forget_if_gone(&mut self, name: &str) {
        if self.services.get(name) == Some(&Service::default()) {
            self.services.remove(name);
        }
    }
}
