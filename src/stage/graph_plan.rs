//! The settings of the service graph, worked out once.

use std::collections::BTreeMap;

use super::multiplier::WeightSource;
use super::names::edge_label;
use super::plan::{Keys, cut_name};
use super::policies::Policies;
use super::settings::{Settings, SettingsError};

/// How a span becomes an edge side; numbers are indexes into the keys.
#[derive(Debug)]
pub(super) struct GraphPlan {
    pub(super) policies: Policies,
    pub(super) weights: WeightSource,
    /// Label and key of each dimension, sorted by label: of calling sides, and of called ones.
    pub(super) dimensions: [Vec<(String, usize)>; 2],
    /// Asked in the span alone.
    pub(super) peers: Vec<usize>,
    pub(super) databases: Vec<usize>,
    /// Attributes that name the node of a database call, before the one that told of the database.
    pub(super) database_nodes: [usize; 2],
    pub(super) network_peer: [usize; 2],
    /// Attributes that tell sending from receiving; `None` where links are not followed.
    pub(super) operations: Option<[usize; 2]>,
    /// All keys that a side's origin depends on.
    pub(super) origin_keys: Vec<usize>,
}

impl GraphPlan {
    pub(super) fn new(settings: &Settings, keys: &mut Keys) -> Result<Self, Vec<SettingsError>> {
        let graph = &settings.service_graphs;
        let policies = Policies::new("processors.service_graphs", &graph.filter_policies, keys)?;
        let weights = WeightSource::new(&graph.multiplier, keys);
        let prefixes =
            if graph.enable_client_server_prefix { ["client_", "server_"] } else { ["", ""] };
        let dimensions = prefixes.map(|prefix| {
            // Of several keys with one label the last one counts, as in the span metrics.
            let named = graph.dimensions.iter().map(|key| {
                let label = cut_name(edge_label(prefix, key), settings.max_label_name_length);
                (label, keys.index_of(key))
            });
            named.collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>()
        });
        let mut indexes =
            |names: &[String]| names.iter().map(|key| keys.index_of(key)).collect::<Vec<_>>();
        let peers = indexes(&graph.peer_attributes);
        let databases = indexes(&graph.database_name_attributes);
        let database_nodes = ["peer.service", "server.address"].map(|key| keys.index_of(key));
        let network_peer =
            ["network.peer.address", "network.peer.port"].map(|key| keys.index_of(key));
        let operations = graph.messaging_links.then(|| {
            ["messaging.operation.type", "messaging.operation"].map(|key| keys.index_of(key))
        });
        let of_dimensions = dimensions.iter().flatten().map(|(_, key)| key);
        let mut origin_keys: Vec<usize> = of_dimensions
            .chain(peers.iter().chain(&databases))
            .chain(database_nodes.iter().chain(&network_peer))
            .copied()
            .collect();
        origin_keys.sort_unstable();
        origin_keys.dedup();
        Ok(Self {
            policies,
            weights,
            dimensions,
            peers,
            databases,
            database_nodes,
            network_peer,
            operations,
            origin_keys,
        })
    }
}
