//! A span becomes an edge side (reference/tempo.md 3.3 to 3.8, CONTRACT.md 8).

use ahash::RandomState;
use hashbrown::HashSet;

use super::graph_plan::GraphPlan;
use super::labels::{Pieces, push_repaired, repaired};
use super::names::{STATUS_ERROR, role_of};
use super::plan::max_bytes;
use super::policies::Attributes;
use super::raw_keys::push_raw_value;
use super::stager::{ORIGIN_TEXT_MAX, Place, SIDES_MAX, StageError, Walk};
use crate::batch::{Batch, Class, EdgeSide, Link, Origin, Range, Repaired, Repairs, Role};
use crate::otlp::{AnyValue, DecodeError, Span, Value, each_link};

/// Links of one span that are followed.
const LINKS_MAX: usize = 128;
/// Links of all spans of a request that are followed: each looks for its sender under the tenant's lock.
const LINKS_OF_REQUEST_MAX: usize = 16_384;

/// What the raw pieces of a span lead to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FoundOrigin {
    origin: u32,
    is_database: bool,
    repairs: Repairs,
}

impl<'a> Walk<'_, 'a> {
    /// Makes an edge side of the span, if it can be one side of a request. False where the service graph
    /// has no use for the span at all.
    #[inline]
    pub(super) fn side(
        &mut self,
        graph: &GraphPlan,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        bytes: &'a [u8],
        repairs: &mut Repairs,
    ) -> Result<bool, StageError> {
        let before = *repairs;
        let Some(mut side) = self.bare_side(place, span, repairs) else {
            self.no_edge_side += 1;
            return Ok(*repairs != before);
        };
        let filtered =
            !graph.policies.is_empty() && !graph.policies.keep(span, &self.pieces(place, span))?;
        side.class = self.class(graph, &side)?;
        let found = self.find_origin(graph, place, span, &side)?;
        side.origin = found.origin;
        if found.is_database {
            side.class = Class::Database;
        }
        if side.is_alone() {
            side.meets_at = side.span_id;
        }
        if filtered {
            self.filtered_sides += 1;
            side.class = Class::Filtered;
        } else {
            repairs.add(found.repairs);
            side.weight = graph.weights.weight(span, &self.pieces(place, span), repairs)?;
            if side.class == Class::Receives {
                self.links(span, bytes, &side, repairs)?;
            }
        }
        let sides = &mut self.stager.batch.sides;
        if sides.len() >= SIDES_MAX {
            return Err(StageError::TooManySides);
        }
        let grows = sides.len() == sides.capacity();
        sides.push(side);
        if grows {
            self.stager.check_room()?;
        }
        Ok(true)
    }

    /// What the span itself says; `None` where it has no service, no fitting kind, or odd ids.
    fn bare_side(
        &self,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        repairs: &mut Repairs,
    ) -> Option<EdgeSide> {
        let role = role_of(span.kind)?;
        if self.stager.resources.service(place.index).is_empty() {
            return None;
        }
        let root = !role.calls() && span.parent_span_id.is_empty();
        let meets_at = if role.calls() || root { span.span_id } else { span.parent_span_id };
        let (Some((trace_id, span_id)), Ok(meets_at)) = (self.ids, meets_at.try_into()) else {
            repairs.set(Repaired::Ids, true);
            return None;
        };
        Some(EdgeSide {
            trace_id: *trace_id,
            meets_at,
            span_id: *span_id,
            start_unix_nano: span.start_unix_nano,
            end_unix_nano: span.end_unix_nano,
            weight: None,
            origin: 0,
            role,
            class: Class::Plain,
            root,
            failed: span.status_code == STATUS_ERROR,
        })
    }

    /// Whether it sends or receives messages that links name.
    fn class(&self, graph: &GraphPlan, side: &EdgeSide) -> Result<Class, DecodeError> {
        let Some(operations) = graph.operations else { return Ok(Class::Plain) };
        Ok(match side.role {
            Role::Producer => Class::Sends,
            Role::Consumer => Class::Receives,
            Role::Server => Class::Plain,
            Role::Client => {
                let operation = operations.iter().find_map(|&key| self.values[key].as_ref());
                match operation.map(Value::read).transpose()? {
                    Some(AnyValue::String(text)) => match &*text {
                        b"send" | b"publish" | b"create" => Class::Sends,
                        b"receive" => Class::Receives,
                        _ => Class::Plain,
                    },
                    _ => Class::Plain,
                }
            }
        })
    }

    /// The origin of the span, by its raw pieces or, for the first of its kind, by its text.
    fn find_origin(
        &mut self,
        graph: &GraphPlan,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        side: &EdgeSide,
    ) -> Result<FoundOrigin, StageError> {
        let raw_key = &mut self.stager.raw_key;
        raw_key.clear();
        raw_key.extend_from_slice(&place.index.to_le_bytes());
        raw_key.push(u8::from(side.role.calls()) | u8::from(side.seeks_answer()) << 1);
        for &key in &graph.origin_keys {
            if let Some(value) = &self.values[key] {
                raw_key.extend_from_slice(&key.to_le_bytes());
                push_raw_value(raw_key, value);
            }
        }
        let hash = self.stager.raw_origins.hash(&self.stager.raw_key);
        if let Some(found) = self.stager.raw_origins.find(hash, &self.stager.raw_key) {
            return Ok(found);
        }
        let found = self.new_origin(graph, place, span, side)?;
        self.stager.raw_origins.insert(hash, &self.stager.raw_key, found);
        self.stager.check_label_sets()?;
        Ok(found)
    }

    fn new_origin(
        &mut self,
        graph: &GraphPlan,
        place: Place<'_, 'a>,
        span: &Span<'a>,
        side: &EdgeSide,
    ) -> Result<FoundOrigin, StageError> {
        let max = self.plan.settings.max_label_value_length;
        let mut repairs = Repairs::default();
        let pieces = self.pieces(place, span);
        let node = if side.role.calls() { pieces.database_node(graph)? } else { Vec::new() };
        let is_database = !node.is_empty();
        let peer = if is_database { node } else { pieces.peer(graph)? };
        let mut dimensions = Vec::new();
        let mut value = Vec::new();
        for (label, key) in &graph.dimensions[usize::from(!side.seeks_answer())] {
            value.clear();
            pieces.push_attribute(*key, &mut value)?;
            push_repaired(&mut dimensions, label, &value, max, &mut repairs);
        }
        let service = self.stager.resources.service(place.index);
        let origin = Origin {
            service: &repaired(service, max, &mut repairs),
            peer: &repaired(&peer, max, &mut repairs),
            dimensions: crate::batch::Labels::new(&dimensions),
        };
        let Batch { origin_text, origins, .. } = &mut self.stager.batch;
        let start = origin_text.len();
        origin.push(origin_text);
        if origin_text.len() > ORIGIN_TEXT_MAX {
            return Err(StageError::TooMuchOriginText);
        }
        origins.push(Range::of(start, origin_text.len()));
        let origin = u32::try_from(origins.len() - 1).expect("a request has fewer spans");
        self.stager.check_room()?;
        Ok(FoundOrigin { origin, is_database, repairs })
    }

    /// The contexts that the span's links name, each once, without itself and the parent where it is met
    /// anyway. A client that receives meets nobody there: its parent is one of them.
    #[cold]
    fn links(
        &mut self,
        span: &Span<'a>,
        bytes: &'a [u8],
        side: &EdgeSide,
        repairs: &mut Repairs,
    ) -> Result<(), StageError> {
        let batch = &mut self.stager.batch;
        let index = u32::try_from(batch.sides.len()).expect("a request has fewer spans");
        let mut contexts = Vec::new();
        // Of the many that a span may have each is looked up in the same time.
        let mut seen = HashSet::with_hasher(RandomState::new());
        if let (Role::Client, Ok(span_id)) = (side.role, span.parent_span_id.try_into()) {
            contexts.push(Link { side: index, trace_id: side.trace_id, span_id });
            seen.insert((side.trace_id, span_id));
        }
        let n_max = LINKS_MAX.min(LINKS_OF_REQUEST_MAX.saturating_sub(batch.links.len()));
        each_link(bytes, |trace_id, span_id| {
            let (Ok(trace_id), Ok(span_id)) = (trace_id.try_into(), span_id.try_into()) else {
                repairs.set(Repaired::Links, true);
                return;
            };
            let context = Link { side: index, trace_id, span_id };
            let parent = [side.meets_at, side.span_id].contains(&span_id);
            if (parent && trace_id == side.trace_id) || seen.contains(&(trace_id, span_id)) {
                return;
            }
            if contexts.len() < n_max {
                seen.insert((trace_id, span_id));
                contexts.push(context);
            } else {
                repairs.set(Repaired::Links, true);
            }
        })?;
        batch.links.extend(contexts);
        self.stager.check_room()
    }
}

impl Pieces<'_, '_> {
    /// The first peer attribute that the span has, even if it is empty.
    fn peer(&self, graph: &GraphPlan) -> Result<Vec<u8>, DecodeError> {
        let mut peer = Vec::new();
        if let Some(value) = graph.peers.iter().find_map(|&key| self.values[key].as_ref()) {
            value
                .read()?
                .render(max_bytes(self.plan.settings.max_label_value_length), &mut peer)?;
        }
        Ok(peer)
    }

    /// The name of the node that a database call goes to; empty where the span is none. An attribute
    /// that is there and empty gives an empty name.
    fn database_node(&self, graph: &GraphPlan) -> Result<Vec<u8>, DecodeError> {
        let mut node = Vec::new();
        let is_there =
            |key: &usize| Ok(self.of_resource(*key)?.is_some() || self.values[*key].is_some());
        let first = |keys: &[usize]| -> Result<Option<usize>, DecodeError> {
            for key in keys {
                if is_there(key)? {
                    return Ok(Some(*key));
                }
            }
            Ok(None)
        };
        let Some(database) = first(&graph.databases)? else { return Ok(node) };
        let [address, port] = graph.network_peer;
        if let Some(key) = first(&graph.database_nodes)? {
            self.push_attribute(key, &mut node)?;
        } else if is_there(&address)? {
            self.push_attribute(address, &mut node)?;
            if is_there(&port)? {
                node.push(b':');
                self.push_attribute(port, &mut node)?;
            }
        } else {
            self.push_attribute(database, &mut node)?;
        }
        Ok(node)
    }
}
