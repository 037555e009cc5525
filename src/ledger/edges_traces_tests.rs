//! Random traces for the model of the service graph, and when their spans come.

use std::fmt;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

const INTERNAL: i32 = 1;
pub(super) const SERVER: i32 = 2;
pub(super) const CLIENT: i32 = 3;
pub(super) const PRODUCER: i32 = 4;
pub(super) const CONSUMER: i32 = 5;

/// Small and fast: the state passes through all numbers, mixed (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(super) fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        let n = u64::try_from(all.len()).expect("short");
        all[usize::try_from(self.below(n)).expect("short")].clone()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            let other = usize::try_from(self.below(i as u64 + 1)).expect("short");
            all.swap(i, other);
        }
    }
}

/// One span, as much as the service graph knows of it.
#[derive(Clone, PartialEq, Default)]
pub(super) struct Plain {
    pub(super) trace: u8,
    pub(super) id: u16,
    /// 0 = none.
    pub(super) parent: u16,
    pub(super) kind: i32,
    pub(super) service: String,
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    pub(super) failed: bool,
    pub(super) peer: String,
    pub(super) database: String,
    /// Attributes by the names that the settings may ask for.
    pub(super) dimensions: Vec<(&'static str, String)>,
    /// Of sampling; 0 = not said.
    pub(super) ratio: f64,
    pub(super) operation: &'static str,
    /// Trace and span that its links name.
    pub(super) links: Vec<(u8, u16)>,
    pub(super) filtered: bool,
}

/// What is not as always.
impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = ["?", "internal", "server", "client", "producer", "consumer"]
            [usize::try_from(self.kind).expect("a kind")];
        let Self { trace, id, parent, service, .. } = self;
        write!(f, "[{service} {kind} {trace}/{id} under {parent}")?;
        write!(f, " {}..{}", self.start_ms, self.end_ms)?;
        let texts =
            [("peer", &*self.peer), ("database", &self.database), ("operation", self.operation)];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            write!(f, " {name} {text}")?;
        }
        let flags = [("failed", self.failed), ("filtered", self.filtered)];
        for (name, _) in flags.into_iter().filter(|(_, on)| *on) {
            write!(f, " {name}")?;
        }
        if self.ratio != 0.0 {
            write!(f, " ratio {}", self.ratio)?;
        }
        for (name, value) in &self.dimensions {
            write!(f, " {name}={value}")?;
        }
        for (trace, id) in &self.links {
            write!(f, " -> {trace}/{id}")?;
        }
        write!(f, "]")
    }
}

/// What traces may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kinds {
    pub(super) links: bool,
    pub(super) filtered: bool,
    pub(super) weights: bool,
    /// Seldom; where it is, some ends depend on what the contract leaves open.
    pub(super) mixed: bool,
    pub(super) n_traces: u64,
}

const SERVICES: [&str; 5] = ["web", "cart", "pay", "mail", "stock"];
/// Milliseconds, among them every bound of a bucket.
const LATENCIES: [u64; 8] = [0, 3, 99, 100, 101, 1000, 2500, 70_000];

/// Grows the traces of one run.
struct Grower<'r> {
    random: &'r mut Random,
    kinds: Kinds,
    spans: Vec<Plain>,
    trace: u8,
    n_ids: u16,
    /// Contexts of all traces that links may name.
    senders: Vec<(u8, u16)>,
}

/// All spans of one run.
pub(super) fn grow(random: &mut Random, kinds: Kinds) -> Vec<Plain> {
    let n_traces = 1 + random.below(kinds.n_traces);
    let (spans, senders) = (Vec::new(), Vec::new());
    let mut grower = Grower { random, kinds, spans, trace: 0, n_ids: 0, senders };
    for _ in 0..n_traces {
        // Ids count from 1 in every trace: only together with the trace's they are anybody's.
        (grower.trace, grower.n_ids) = (grower.trace + 1, 0);
        let service = grower.service();
        grower.root(&service);
    }
    grower.spans
}

impl Grower<'_> {
    fn service(&mut self) -> String {
        if self.random.percent(2) {
            String::new()
        } else {
            self.random.one_of(&SERVICES).to_owned()
        }
    }

    fn span(&mut self, kind: i32, service: &str, parent: u16) -> Plain {
        self.n_ids += 1;
        let random = &mut *self.random;
        let start_ms = 1_000_000 + random.below(5000);
        let mut dimensions = Vec::new();
        for key in ["zone", "server"] {
            if random.percent(40) {
                dimensions.push((key, random.one_of(&["a", "b", ""]).to_owned()));
            }
        }
        let has_ratio = self.kinds.weights && random.percent(50);
        Plain {
            trace: self.trace,
            id: self.n_ids,
            parent,
            kind,
            service: service.to_owned(),
            start_ms,
            end_ms: start_ms + random.one_of(&LATENCIES),
            failed: random.percent(20),
            dimensions,
            ratio: if has_ratio { random.one_of(&[1.0, 0.5, 0.25, 0.4]) } else { 0.0 },
            filtered: self.kinds.filtered && random.percent(15),
            peer: if random.percent(5) { "peer-of-any".to_owned() } else { String::new() },
            ..Plain::default()
        }
    }

    fn root(&mut self, service: &str) {
        let kind = self.random.one_of(&[SERVER, SERVER, SERVER, CONSUMER, INTERNAL, CLIENT]);
        // Now and then the parent is a span that nobody sends.
        let parent = if self.random.percent(10) { 999 } else { 0 };
        let mut root = self.span(kind, service, parent);
        if kind == CONSUMER {
            self.link(&mut root);
        }
        let id = root.id;
        self.spans.push(root);
        self.children(service, id, 3);
        if self.random.percent(10) {
            let other = self.span(SERVER, service, 0);
            self.spans.push(other);
        }
    }

    fn children(&mut self, service: &str, parent: u16, depth: u64) {
        for _ in 0..self.random.below(depth + 1) {
            match self.random.below(12) {
                0..=4 => self.call(service, parent, depth),
                5 | 6 => self.message(service, parent, depth),
                7 => self.database(service, parent),
                8 => self.nobody_answers(service, parent),
                9 => self.below_internal(service, parent, depth),
                10 if self.kinds.mixed => self.mixed(service, parent),
                // Called by what is no caller.
                10 => self.answer(SERVER, parent, 0),
                _ => self.fan_out(service, parent),
            }
        }
    }

    fn call(&mut self, service: &str, parent: u16, depth: u64) {
        let mut call = self.span(CLIENT, service, parent);
        if self.random.percent(30) {
            call.peer = self.random.one_of(&["pay.example", "cart"]).to_owned();
        }
        let id = call.id;
        self.spans.push(call);
        self.answer(SERVER, id, depth.saturating_sub(1));
    }

    fn answer(&mut self, kind: i32, parent: u16, depth: u64) {
        let service = self.service();
        let answer = self.span(kind, &service, parent);
        let id = answer.id;
        self.spans.push(answer);
        if depth > 0 {
            self.children(&service, id, depth);
        }
    }

    fn message(&mut self, service: &str, parent: u16, depth: u64) {
        let as_client = self.kinds.links && self.random.percent(30);
        let mut sends = self.span(if as_client { CLIENT } else { PRODUCER }, service, parent);
        if as_client {
            sends.operation = self.random.one_of(&["send", "publish", "create"]);
        }
        if self.random.percent(30) {
            sends.peer = "broker".to_owned();
        }
        let id = sends.id;
        self.spans.push(sends);
        self.senders.push((self.trace, id));
        for _ in 0..self.random.below(4) {
            let service = self.service();
            if self.kinds.links && self.random.percent(20) {
                // It polls: a client whose links alone say what it received.
                let mut receives = self.span(CLIENT, &service, 0);
                receives.operation = "receive";
                self.link(&mut receives);
                self.spans.push(receives);
                continue;
            }
            let by_parent = !self.kinds.links || self.random.percent(60);
            let mut takes = self.span(CONSUMER, &service, if by_parent { id } else { 0 });
            self.link(&mut takes);
            let id = takes.id;
            self.spans.push(takes);
            self.children(&service, id, depth.saturating_sub(1));
        }
    }

    fn link(&mut self, span: &mut Plain) {
        // Also where links are not followed.
        for _ in 0..self.random.below(4) {
            if !self.senders.is_empty() {
                span.links.push(self.random.one_of(&self.senders));
            }
        }
        if self.random.percent(10) {
            span.links.push((span.trace, span.parent.max(1)));
        }
    }

    fn database(&mut self, service: &str, parent: u16) {
        let mut call = self.span(CLIENT, service, parent);
        call.database = self.random.one_of(&["orders", "users"]).to_owned();
        let id = call.id;
        self.spans.push(call);
        if self.random.percent(10) {
            self.answer(SERVER, id, 0);
        }
    }

    fn nobody_answers(&mut self, service: &str, parent: u16) {
        let kind = self.random.one_of(&[CLIENT, CLIENT, PRODUCER]);
        let mut call = self.span(kind, service, parent);
        if self.random.percent(60) {
            call.peer = self.random.one_of(&["pay.example", "mail.example"]).to_owned();
        }
        self.spans.push(call);
    }

    fn below_internal(&mut self, service: &str, parent: u16, depth: u64) {
        let internal = self.span(INTERNAL, service, parent);
        let id = internal.id;
        self.spans.push(internal);
        self.answer(SERVER, id, 0);
        self.children(service, id, depth.saturating_sub(1));
    }

    fn mixed(&mut self, service: &str, parent: u16) {
        let (calls, answers) = self.random.one_of(&[(CLIENT, CONSUMER), (PRODUCER, SERVER)]);
        let call = self.span(calls, service, parent);
        let id = call.id;
        self.spans.push(call);
        self.answer(answers, id, 0);
    }

    fn fan_out(&mut self, service: &str, parent: u16) {
        let mut call = self.span(CLIENT, service, parent);
        if self.random.percent(30) {
            call.peer = "cart".to_owned();
        }
        let id = call.id;
        self.spans.push(call);
        for _ in 0..self.random.below(5) {
            self.answer(SERVER, id, 0);
        }
    }
}

/// What happens at one time.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Spans of one request, in its order.
    Request(Vec<Plain>),
    Tick,
    /// The last tick of a process that keeps nothing.
    LastTick,
}

/// The spans in requests, each at its time in ms, with ticks between them.
/// With `punctual` the ledger is asked whenever the time of a side may be over.
pub(super) fn schedule(
    random: &mut Random,
    spans: &[Plain],
    (wait_ms, punctual): (u64, bool),
) -> Vec<(u64, Event)> {
    let mut arrivals = Vec::new();
    let n_traces = u64::from(spans.iter().map(|span| span.trace).max().unwrap_or_default());
    let starts: Vec<u64> = (0..=n_traces).map(|_| random.below(wait_ms * n_traces)).collect();
    let copied = random.one_of(&[0, 10, 60]);
    for span in spans {
        let start = starts[usize::from(span.trace)];
        let late = random.one_of(&[0, 0, 1, wait_ms / 2, wait_ms - 1, wait_ms, 3 * wait_ms]);
        let at = start + random.below(late + 1);
        arrivals.push((at, span.clone()));
        while random.percent(copied) {
            arrivals.push((at + random.below(5 * wait_ms / 2), span.clone()));
        }
    }
    // Of those that come at the same time any may be the first.
    random.shuffle(&mut arrivals);
    arrivals.sort_by_key(|(at, _)| *at);
    let (mut events, mut request) = (Vec::new(), Vec::new());
    let (together, ticks) = (random.one_of(&[0, 50, 90]), random.one_of(&[0, 5, 40]));
    let n_arrivals = arrivals.len();
    if punctual {
        let due = |(at, _): &(u64, Plain)| {
            [1, 2, 3].map(|n| (at + n * wait_ms, Event::Request(Vec::new())))
        };
        events.extend(arrivals.iter().flat_map(due));
    }
    for (i, (at, span)) in arrivals.into_iter().enumerate() {
        request.push(span);
        if i + 1 < n_arrivals && random.percent(together) {
            continue;
        }
        random.shuffle(&mut request);
        events.push((at, Event::Request(std::mem::take(&mut request))));
        if random.percent(ticks) {
            let later = random.one_of(&[0, 2, wait_ms / 3]);
            events.push((at + later, Event::Tick));
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let end = events.last().map_or(0, |(at, _)| *at);
    match random.below(3) {
        // What waits stays.
        0 => {}
        1 => events.push((end + 10 * wait_ms, Event::Tick)),
        _ => events.push((end + random.below(2 * wait_ms), Event::LastTick)),
    }
    events
}

pub(super) fn trace_id(trace: u8) -> [u8; 16] {
    [trace; 16]
}

pub(super) fn span_id(id: u16) -> [u8; 8] {
    u64::from(id).to_be_bytes()
}

/// As an SDK would send it, a resource for each run of spans of one service.
pub(super) fn encode(spans: &[Plain]) -> Vec<u8> {
    let runs = spans.chunk_by(|a, b| a.service == b.service);
    let resource_spans = runs.map(|run| ResourceSpans {
        resource: Some(Resource {
            attributes: texts(&[("service.name", &run[0].service)]),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans: run.iter().map(span).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}

fn span(plain: &Plain) -> Span {
    let mut attributes = texts(&[
        ("peer.service", &plain.peer),
        ("db.name", &plain.database),
        ("messaging.operation.type", plain.operation),
        ("drop", if plain.filtered { "yes" } else { "" }),
    ]);
    for (key, value) in &plain.dimensions {
        attributes.push(attribute(key, Any::StringValue(value.clone())));
    }
    if plain.ratio != 0.0 {
        attributes.push(attribute("ratio", Any::DoubleValue(plain.ratio)));
    }
    let link = |&(trace, id): &(u8, u16)| Link {
        trace_id: trace_id(trace).to_vec(),
        span_id: span_id(id).to_vec(),
        ..Link::default()
    };
    let parent = if plain.parent == 0 { Vec::new() } else { span_id(plain.parent).to_vec() };
    let code = if plain.failed { 2 } else { i32::from(plain.id % 2) };
    Span {
        trace_id: trace_id(plain.trace).to_vec(),
        span_id: span_id(plain.id).to_vec(),
        parent_span_id: parent,
        kind: plain.kind,
        start_time_unix_nano: plain.start_ms * 1_000_000,
        end_time_unix_nano: plain.end_ms * 1_000_000,
        attributes,
        links: plain.links.iter().map(link).collect(),
        status: Some(Status { code, ..Status::default() }),
        ..Span::default()
    }
}

/// Those that are not empty.
fn texts(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let full = pairs.iter().filter(|(_, value)| !value.is_empty());
    full.map(|(key, value)| attribute(key, Any::StringValue((*value).to_owned()))).collect()
}

fn attribute(key: &str, value: Any) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
