//! The service graph, counted naively: lists that are searched from end to end, in the words of
//! CONTRACT.md 8 and of reference/tempo.md 3. It knows nothing of slots, queues and eviction.

use std::collections::BTreeMap;

use super::traces::{CLIENT, CONSUMER, PRODUCER, Plain, SERVER};
use crate::batch::Table;
use crate::edges::{Connection, End};
use crate::ledger::Settings;

pub(super) type Labels = BTreeMap<String, String>;

/// The numbers of one label set.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sums {
    pub(super) calls: f64,
    pub(super) latency_ms: f64,
    pub(super) buckets: BTreeMap<usize, f64>,
}

/// What a run counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) series: BTreeMap<(Table, Labels), Sums>,
    pub(super) ended: BTreeMap<&'static str, u64>,
    pub(super) completed: BTreeMap<&'static str, u64>,
    pub(super) pending: usize,
    pub(super) received: u64,
    pub(super) no_edge_side: u64,
    pub(super) filtered: u64,
}

/// Trace and span.
type Place = (u8, u16);

/// What a span is to the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Calls,
    Answers,
    /// With `messaging_links` alone: its messages pair by links too.
    Sends,
    Receives,
    Database,
}

/// A side that has come.
#[derive(Debug, Clone)]
struct Side {
    span: Plain,
    part: Part,
    at: u64,
    until: u64,
    paired: bool,
    /// Told apart from every other side that came.
    number: usize,
    /// Contexts that it may still pair with, its parent apart.
    contexts: Vec<Place>,
    /// It has done with its parent, or with its child.
    met: bool,
}

#[derive(Debug)]
pub(super) struct Naive<'s> {
    settings: &'s Settings,
    prefix: bool,
    links: bool,
    /// Upper bounds, ms.
    bounds: Vec<u64>,
    wait: u64,
    now: u64,
    n_sides: usize,
    sides: Vec<Side>,
    /// Spans that completed a key: the span, the key (a root's span has none), until when.
    done: Vec<(Place, Option<Place>, u64)>,
    /// Where a filter left out a span that calls (or answers), and until when.
    refused: Vec<(Place, bool, u64)>,
    pub(super) totals: Totals,
}

fn calls(span: &Plain) -> bool {
    span.kind == CLIENT || span.kind == PRODUCER
}

fn own(span: &Plain) -> Place {
    (span.trace, span.id)
}

/// Where the two halves of a call meet; a root meets nobody.
fn key(span: &Plain, part: Part) -> Option<Place> {
    match part {
        Part::Receives if calls(span) => None,
        _ if calls(span) => Some(own(span)),
        _ if span.parent == 0 => None,
        _ => Some((span.trace, span.parent)),
    }
}

fn is_root(span: &Plain) -> bool {
    !calls(span) && span.parent == 0
}

impl<'s> Naive<'s> {
    pub(super) fn new(
        settings: &'s Settings,
        (prefix, links): (bool, bool),
        bounds: Vec<u64>,
    ) -> Self {
        Self {
            settings,
            prefix,
            links,
            bounds,
            wait: u64::try_from(settings.edges.wait.as_millis()).expect("short"),
            now: 0,
            n_sides: 0,
            sides: Vec::new(),
            done: Vec::new(),
            refused: Vec::new(),
            totals: Totals::default(),
        }
    }

    pub(super) fn request(&mut self, spans: &[Plain], now: u64) {
        self.expire(now);
        spans.iter().for_each(|span| self.span(span));
    }

    /// What is as old as `wait` ends.
    pub(super) fn expire(&mut self, now: u64) {
        self.now = now;
        let (over, rest) =
            std::mem::take(&mut self.sides).into_iter().partition(|side| side.until <= now);
        self.sides = rest;
        for side in Vec::<Side>::into_iter(over) {
            if !side.paired {
                self.in_vain(&side, true);
            } else if !is_called(&side) && self.settings.edges.remember_completed {
                self.remember(&side);
            }
        }
        self.done.retain(|(_, _, until)| *until > now);
        self.refused.retain(|(_, _, until)| *until > now);
    }

    /// Only roots still become virtual edges.
    pub(super) fn close(&mut self) {
        for side in std::mem::take(&mut self.sides) {
            if !side.paired {
                self.in_vain(&side, is_root(&side.span));
            }
        }
    }

    pub(super) fn settle(mut self) -> Totals {
        self.totals.pending = self.sides.iter().filter(|side| !side.paired).count();
        self.totals
    }

    fn span(&mut self, span: &Plain) {
        self.totals.received += 1;
        if ![SERVER, CLIENT, PRODUCER, CONSUMER].contains(&span.kind) || span.service.is_empty() {
            self.totals.no_edge_side += 1;
            return;
        }
        let part = self.part(span);
        if span.filtered {
            self.totals.filtered += 1;
            self.filtered(span, part);
            return;
        }
        self.n_sides += 1;
        let side = Side {
            part,
            at: self.now,
            until: self.now + self.waits(span, part) * self.wait,
            paired: false,
            number: self.n_sides,
            contexts: if part == Part::Receives { contexts(span) } else { Vec::new() },
            met: false,
            span: span.clone(),
        };
        if self.settings.edges.remember_completed && self.is_copy(&side) {
            self.end(End::Duplicate);
        } else if self.is_refused(&side) {
            self.end(End::Expired);
        } else if part == Part::Database {
            self.database(&side);
        } else {
            self.meet(side);
        }
    }

    /// A calling side that would become a virtual edge is held for its real other half.
    fn waits(&self, span: &Plain, part: Part) -> u64 {
        let held = calls(span) && part != Part::Receives && self.becomes_virtual(span);
        if held { 1 + u64::from(self.settings.edges.hold_virtual) } else { 1 }
    }

    fn part(&self, span: &Plain) -> Part {
        if calls(span) && !(span.database.is_empty()) {
            return Part::Database;
        }
        match (self.links, span.kind, span.operation) {
            (true, PRODUCER, _) | (true, CLIENT, "send" | "publish" | "create") => Part::Sends,
            (true, CONSUMER, _) | (true, CLIENT, "receive") => Part::Receives,
            (_, CLIENT | PRODUCER, _) => Part::Calls,
            _ => Part::Answers,
        }
    }

    /// A filtered span takes its other half with it, whether that has come or is to come.
    fn filtered(&mut self, span: &Plain, part: Part) {
        let Some(key_of_it) = key(span, part) else { return };
        let other = |side: &Side| {
            key(&side.span, side.part) == Some(key_of_it) && calls(&side.span) != calls(span)
        };
        let (gone, rest) = std::mem::take(&mut self.sides)
            .into_iter()
            .partition(|side| other(side) && !side.paired);
        self.sides = rest;
        Vec::<Side>::into_iter(gone).for_each(|_| self.end(End::Expired));
        self.refused.push((key_of_it, calls(span), self.now + self.wait));
    }

    fn is_refused(&self, side: &Side) -> bool {
        let key = key(&side.span, side.part);
        let mut refused = self.refused.iter();
        refused.any(|(place, by_caller, _)| Some(*place) == key && *by_caller != calls(&side.span))
    }

    fn is_copy(&self, side: &Side) -> bool {
        let same = own(&side.span);
        self.sides.iter().any(|other| own(&other.span) == same)
            || self.done.iter().any(|(span, key, _)| {
                // Whoever completed the key of a calling span has seen it.
                *span == same || (!is_called(side) && *key == Some(same))
            })
    }

    fn database(&mut self, side: &Side) {
        let mut failed = side.span.failed;
        if self.settings.edges.remember_completed {
            self.remember(side);
        } else {
            // It takes the key with it.
            let below = |other: &Side| key(&other.span, other.part) == Some(own(&side.span));
            let (gone, rest) = std::mem::take(&mut self.sides).into_iter().partition(below);
            self.sides = rest;
            for other in Vec::<Side>::into_iter(gone) {
                failed |= other.span.failed;
                self.end(End::Overwritten);
            }
        }
        self.end(End::Database);
        self.edge(Connection::Database, (Some(&side.span), None), failed);
    }

    /// A side that is new finds those that it meets, and joins those that wait.
    fn meet(&mut self, mut side: Side) {
        if !self.settings.edges.remember_completed {
            self.overwrite(&mut side);
        }
        let mut others = std::mem::take(&mut self.sides);
        for other in &mut others {
            self.meet_one(&mut side, other);
        }
        let key_of_it = key(&side.span, side.part);
        others.retain(|other| {
            let same_key = key(&other.span, other.part) == key_of_it;
            !(self.is_over(other) || same_key && self.is_surplus(other))
        });
        self.sides = others;
        if !self.is_over(&side) && !self.is_surplus(&side) {
            self.sides.push(side);
        }
    }

    /// Another span under the same parent has made the edge.
    fn is_surplus(&mut self, side: &Side) -> bool {
        let key = key(&side.span, side.part);
        let waits_for_links = side.part == Part::Receives && !contexts(&side.span).is_empty();
        let surplus = is_called(side)
            && !side.paired
            && !waits_for_links
            && key.is_some()
            && self.settings.edges.remember_completed
            && self.done.iter().any(|(_, done, _)| *done == key);
        if surplus {
            self.end(End::Surplus);
        }
        surplus
    }

    /// Tempo keeps one span a side and key; all roots of a trace have one key.
    fn overwrite(&mut self, side: &mut Side) {
        let key_of = |side: &Side| match key(&side.span, side.part) {
            None if is_root(&side.span) => (side.span.trace, 0),
            None => own(&side.span),
            Some(place) => place,
        };
        // A caller that is kept makes room for its copy.
        let (it, here) = (key_of(side), calls(&side.span));
        self.sides
            .retain(|other| !(other.paired && here && calls(&other.span) && key_of(other) == it));
        let same = |other: &Side| {
            !other.paired
                && key_of(other) == key_of(side)
                && calls(&other.span) == calls(&side.span)
        };
        if is_called(side) && self.settings.edges.count_every_pair {
            return;
        }
        let Some(found) = self.sides.iter().position(same) else { return };
        let before = self.sides.remove(found);
        side.span.failed |= before.span.failed;
        if side.span.peer.is_empty() {
            side.span.peer = before.span.peer;
        }
        let own = std::mem::take(&mut side.span.dimensions);
        let told = own.into_iter().filter(|(_, value)| !value.is_empty());
        side.span.dimensions = before.span.dimensions.into_iter().chain(told).collect();
        side.at = before.at;
        side.until = side.at + self.waits(&side.span, side.part) * self.wait;
        self.end(End::Overwritten);
    }

    fn meet_one(&mut self, side: &mut Side, other: &mut Side) {
        let (calling, called) = if is_called(side) { (other, side) } else { (side, other) };
        if is_called(calling) || !is_called(called) {
            return;
        }
        let by_parent = key(&called.span, called.part) == Some(own(&calling.span));
        let by_link = called.contexts.contains(&own(&calling.span)) && calling.part == Part::Sends;
        if by_link {
            called.contexts.retain(|context| *context != own(&calling.span));
            self.pair(calling, called, false);
        } else if by_parent && !called.met {
            let message = calling.part == Part::Sends && called.part == Part::Receives;
            if !message && calling.met && !self.settings.edges.count_every_pair {
                return;
            }
            called.met = true;
            calling.met |= !message;
            self.pair(calling, called, true);
        }
    }

    fn pair(&mut self, calling: &mut Side, called: &mut Side, by_parent: bool) {
        for side in [&mut *calling, &mut *called] {
            if !side.paired {
                self.end(End::Paired);
            }
            side.paired = true;
            // For the rest of its wait, be it held or not.
            while side.until > self.now + self.wait {
                side.until -= self.wait;
            }
        }
        let last = if calling.number > called.number { &calling } else { &called };
        let followed = calling.part == Part::Sends && called.span.kind == CONSUMER;
        let messages = !by_parent || followed || [PRODUCER, CONSUMER].contains(&last.span.kind);
        let connection = if messages { Connection::Messaging } else { Connection::Plain };
        let failed = calling.span.failed || called.span.failed;
        self.edge(connection, (Some(&calling.span), Some(&called.span)), failed);
        if self.settings.edges.remember_completed {
            // One that still waits for its parent is known while it does.
            let waits = called.part == Part::Receives && !called.met;
            if !(waits && key(&called.span, called.part).is_some()) {
                self.remember(called);
            }
        }
    }

    fn remember(&mut self, side: &Side) {
        let key = key(&side.span, side.part);
        self.done.push((own(&side.span), key, self.now + self.wait));
    }

    /// Whether a side that has paired has nothing more to wait for.
    fn is_over(&self, side: &Side) -> bool {
        if !side.paired {
            return false;
        }
        match side.part {
            Part::Sends => false,
            Part::Receives => side.contexts.is_empty() && side.met,
            Part::Calls => !self.settings.edges.count_every_pair,
            Part::Answers | Part::Database => true,
        }
    }

    fn becomes_virtual(&self, span: &Plain) -> bool {
        let edges = &self.settings.edges;
        if calls(span) {
            edges.virtual_server && !span.peer.is_empty()
        } else {
            is_root(span) && !edges.virtual_caller.is_empty()
        }
    }

    fn in_vain(&mut self, side: &Side, may_be_virtual: bool) {
        let span = &side.span;
        if !may_be_virtual || !self.becomes_virtual(span) {
            self.end(End::Expired);
            return;
        }
        self.end(End::Virtual);
        if self.settings.edges.remember_completed {
            self.remember(side);
        }
        let sides = if calls(span) { (Some(span), None) } else { (None, Some(span)) };
        self.edge(Connection::VirtualNode, sides, span.failed);
    }

    fn end(&mut self, end: End) {
        *self.totals.ended.entry(end.name()).or_default() += 1;
    }

    fn edge(
        &mut self,
        connection: Connection,
        (client, server): (Option<&Plain>, Option<&Plain>),
        failed: bool,
    ) {
        *self.totals.completed.entry(connection.name()).or_default() += 1;
        let series = self.settings.edge_series;
        let labels = self.labels(connection, client, server);
        let told = |span: Option<&Plain>| span.map(|span| span.ratio).filter(|ratio| *ratio != 0.0);
        let ratio = told(client).or_else(|| told(server)).unwrap_or_default();
        let weight = if ratio == 0.0 { 1.0 } else { 1.0 / ratio };
        let mut add = |on: bool, table, ms: Option<u64>| {
            if !on {
                return;
            }
            let sums = self.totals.series.entry((table, labels.clone())).or_default();
            if table == Table::EdgeInfo {
                return;
            }
            sums.calls += weight;
            if let Some(ms) = ms {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let seconds = ms as f64;
                sums.latency_ms += weight * seconds;
                let bucket = self.bounds.iter().filter(|bound| **bound < ms).count();
                *sums.buckets.entry(bucket).or_default() += weight;
            }
        };
        let took = |span: &Plain| span.end_ms - span.start_ms;
        add(series.requests, Table::EdgeRequests, None);
        add(series.requests && failed, Table::EdgeFailed, None);
        let of_client = client.map(took);
        let of_server =
            if connection == Connection::Database { of_client } else { server.map(took) };
        let missing = series.observe_missing_side.then_some(0);
        for (on, table, ms) in [
            (series.server_seconds, Table::EdgeServer, of_server.or(missing)),
            (series.client_seconds, Table::EdgeClient, of_client.or(missing)),
        ] {
            add(on && ms.is_some(), table, ms);
        }
        if let (Connection::Messaging, Some(client), Some(server)) = (connection, client, server)
            && server.start_ms > client.end_ms
        {
            let delay = server.start_ms - client.end_ms;
            add(series.messaging_seconds, Table::EdgeMessaging, Some(delay));
        }
        add(series.connection_info, Table::EdgeInfo, None);
    }

    fn labels(
        &self,
        connection: Connection,
        client: Option<&Plain>,
        server: Option<&Plain>,
    ) -> Labels {
        let mut labels = Labels::new();
        for (side, prefix) in [(client, "client_"), (server, "server_")] {
            for (key, value) in side.iter().flat_map(|span| &span.dimensions) {
                let name = match *key {
                    key if self.prefix => format!("{prefix}{key}"),
                    "server" => "__server".to_owned(),
                    key => key.to_owned(),
                };
                if !value.is_empty() {
                    labels.insert(name, value.clone());
                }
            }
        }
        let node = |span: &Plain| match connection {
            Connection::Database if span.peer.is_empty() => span.database.clone(),
            _ => span.peer.clone(),
        };
        let caller = |span: &Plain| match node(span) {
            node if node.is_empty() => self.settings.edges.virtual_caller.clone(),
            node => node,
        };
        let name_of_client = match (client, server) {
            (None, Some(server)) => caller(server),
            (client, _) => client.map(|span| span.service.clone()).unwrap_or_default(),
        };
        let name_of_server = match (client, server) {
            (Some(client), None) => node(client),
            (_, server) => server.map(|span| span.service.clone()).unwrap_or_default(),
        };
        labels.insert("client".to_owned(), name_of_client);
        labels.insert("server".to_owned(), name_of_server);
        if connection != Connection::Plain {
            labels.insert("connection_type".to_owned(), connection.name().to_owned());
        }
        if self.settings.edge_series.virtual_node_label && connection == Connection::VirtualNode {
            let which = if client.is_none() { "client" } else { "server" };
            labels.insert("virtual_node".to_owned(), which.to_owned());
        }
        labels
    }
}

fn is_called(side: &Side) -> bool {
    matches!(side.part, Part::Answers | Part::Receives)
}

/// The distinct contexts that a receiving span's links name, its parent being one of them; but for
/// itself, and for the parent of a called span: that it has anyway.
fn contexts(span: &Plain) -> Vec<Place> {
    let mut contexts = Vec::new();
    if calls(span) && span.parent != 0 {
        contexts.push((span.trace, span.parent));
    }
    for link in &span.links {
        let parent = *link == (span.trace, span.parent) && !calls(span);
        if !parent && *link != own(span) && !contexts.contains(link) {
            contexts.push(*link);
        }
    }
    contexts
}
