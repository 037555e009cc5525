//! How a span becomes an edge side, each rule by an example, named as the claim that it makes.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use super::rules::{NOW, SECOND, attribute, settings, span, stage, text};
use super::{
    FilterPolicy, MatchType, PolicyAttribute, PolicyMatch, PolicyValue, ServiceGraphs, Settings,
};
use crate::batch::{Batch, Class, Discarded, EdgeSide, Origin, Processor, Repaired, Role, Weight};

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// Both processors.
fn graph(change: impl FnOnce(&mut ServiceGraphs)) -> Settings {
    let mut settings = settings();
    settings.processors.service_graphs = true;
    change(&mut settings.service_graphs);
    settings
}

fn of_kind(kind: i32, attributes: &[KeyValue]) -> Span {
    Span { kind, ..span(attributes) }
}

fn shop() -> [KeyValue; 1] {
    [text("service.name", "shop")]
}

fn sides(settings: &Settings, spans: &[Span]) -> Batch {
    stage(settings, &shop(), spans)
}

fn origin<'a>(batch: &'a Batch, side: &EdgeSide) -> Origin<'a> {
    Origin::read(batch.origins[side.origin as usize].slice(&batch.origin_text))
}

/// Class and peer of the only side.
#[track_caller]
fn peer_of(resource: &[KeyValue], kind: i32, attributes: &[KeyValue]) -> (Class, String) {
    let resource = [&shop(), resource].concat();
    let batch = stage(&graph(|_| {}), &resource, &[of_kind(kind, attributes)]);
    let [side] = batch.sides[..] else { panic!("{:?}", batch.sides) };
    (side.class, origin(&batch, &side).peer.to_owned())
}

#[test]
fn calling_and_called_spans_with_a_service_become_sides_and_no_others() {
    let spans: Vec<Span> = (0..7).map(|kind| of_kind(kind, &[])).collect();
    let batch = sides(&graph(|_| {}), &spans);
    let roles: Vec<Role> = batch.sides.iter().map(|side| side.role).collect();
    assert_eq!(roles, [Role::Server, Role::Client, Role::Producer, Role::Consumer]);
    let discarded =
        |batch: &Batch| batch.tallies.discarded(Processor::ServiceGraphs, Discarded::NoEdgeSide);
    assert_eq!(discarded(&batch), 3);
    assert_eq!(batch.rows.iter().map(|row| row.spans).sum::<u64>(), 7);

    for resource in [&[][..], &[text("service.name", "")]] {
        let batch = stage(&graph(|_| {}), resource, &spans);
        assert_eq!((batch.sides.len(), discarded(&batch)), (0, 7), "{resource:?}");
    }
    let off = stage(&settings(), &shop(), &spans);
    assert_eq!((off.sides.len(), discarded(&off)), (0, 0));
}

#[test]
fn a_side_has_what_the_span_says() {
    let spans = [
        Span { parent_span_id: vec![9; 8], ..of_kind(SERVER, &[]) },
        of_kind(SERVER, &[]),
        Span { parent_span_id: vec![0; 8], ..of_kind(CONSUMER, &[]) },
        Span {
            parent_span_id: vec![9; 8],
            status: Some(Status { code: 2, ..Status::default() }),
            ..of_kind(CLIENT, &[])
        },
    ];
    let batch = sides(&graph(|_| {}), &spans);
    let seen: Vec<_> = batch.sides.iter().map(|s| (s.meets_at, s.root, s.failed)).collect();
    let (own, parent) = ([2; 8], [9; 8]);
    let expected = [
        (parent, false, false),
        (own, true, false),
        // A parent id of zeros is one (D23 of the oracle).
        ([0; 8], false, false),
        (own, false, true),
    ];
    assert_eq!(seen, expected);
    for side in &batch.sides {
        assert_eq!((side.trace_id, side.span_id), ([1; 16], own));
        assert_eq!((side.start_unix_nano, side.end_unix_nano), (NOW - SECOND, NOW));
        assert_eq!(side.latency_nano(), SECOND);
        assert_eq!((origin(&batch, side).service, side.origin), ("shop", side.origin));
    }
    assert_eq!(batch.origins.len(), 2, "one for calling sides, one for called ones");
}

#[test]
fn odd_ids_make_no_side_and_are_counted_once() {
    let odd = [
        Span { trace_id: vec![1; 15], ..of_kind(CLIENT, &[]) },
        Span { span_id: vec![0; 8], ..of_kind(SERVER, &[]) },
        Span { parent_span_id: vec![1; 4], ..of_kind(SERVER, &[]) },
    ];
    let both = graph(|_| {});
    let mut alone = both.clone();
    (alone.processors.calls, alone.processors.latency, alone.processors.size) =
        (false, false, false);
    for settings in [&both, &alone] {
        let batch = sides(settings, &odd);
        assert_eq!((batch.sides.len(), batch.tallies.repaired(Repaired::Ids)), (0, 3));
    }
    // A calling span's parent is nobody's business.
    let fine = Span { parent_span_id: vec![1; 4], ..of_kind(CLIENT, &[]) };
    assert_eq!(sides(&graph(|_| {}), &[fine]).sides.len(), 1);
}

#[test]
fn the_peer_is_the_first_peer_attribute_of_the_span_even_if_empty() {
    let found = |attributes: &[KeyValue]| peer_of(&[], SERVER, attributes).1;
    assert_eq!(found(&[text("db.system", "b"), text("peer.service", "a")]), "a");
    assert_eq!(found(&[text("db.system", "b")]), "b");
    assert_eq!(found(&[text("peer.service", ""), text("db.system", "b")]), "");
    assert_eq!(found(&[text("other", "b")]), "");
    let of_resource = peer_of(&[text("peer.service", "r")], CLIENT, &[text("http.host", "h")]);
    assert_eq!(of_resource, (Class::Plain, String::new()));
}

#[test]
fn a_database_call_is_named_by_the_first_of_its_attributes_that_is_there() {
    let db = |more: &[KeyValue]| {
        let attributes = [&[text("db.system", "redis"), text("db.name", "orders")], more].concat();
        peer_of(&[], CLIENT, &attributes)
    };
    let node = |name: &str| (Class::Database, name.to_owned());
    assert_eq!(db(&[]), node("orders"), "db.name stands before db.system");
    let (address, port) = (text("network.peer.address", "10.0.0.7"), Any::IntValue(6379));
    let port = attribute("network.peer.port", port);
    assert_eq!(db(std::slice::from_ref(&address)), node("10.0.0.7"));
    assert_eq!(db(&[address.clone(), port.clone()]), node("10.0.0.7:6379"));
    let server = text("server.address", "db-1");
    assert_eq!(db(&[address.clone(), port.clone(), server.clone()]), node("db-1"));
    assert_eq!(db(&[server, text("peer.service", "stock"), address]), node("stock"));
    assert_eq!(db(&[port]), node("orders"), "a port is no address");
    // An empty name is none: the span is a client like any other.
    assert_eq!(db(&[text("server.address", "")]).0, Class::Plain);

    let resource = [text("db.namespace", "of-resource")];
    assert_eq!(peer_of(&resource, PRODUCER, &[text("db.system", "x")]), node("of-resource"));
    assert_eq!(peer_of(&resource, SERVER, &[text("db.system", "x")]).0, Class::Plain);
    assert_eq!(peer_of(&[], CONSUMER, &[text("db.system", "x")]), (Class::Plain, "x".to_owned()));
}

#[test]
fn dimensions_have_the_prefix_of_their_side_and_never_hide_a_label_of_the_edge() {
    let keys = ["k8s.ns", "server", "client_k8s_ns"].map(str::to_owned).to_vec();
    let dimensions = |prefix: bool, kind| {
        let settings = graph(|graph| {
            graph.dimensions.clone_from(&keys);
            graph.enable_client_server_prefix = prefix;
        });
        let resource = [text("service.name", "shop"), text("k8s.ns", "prod")];
        let span = of_kind(kind, &[text("server", "s"), text("k8s.ns", "hidden")]);
        let batch = stage(&settings, &resource, &[span]);
        let labels = origin(&batch, &batch.sides[0]).dimensions;
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    assert_eq!(dimensions(false, CLIENT), ["__server=s", "k8s_ns=prod"]);
    assert_eq!(dimensions(false, SERVER), ["__server=s", "k8s_ns=prod"]);
    assert_eq!(dimensions(true, PRODUCER), ["client_k8s_ns=prod", "client_server=s"]);
    assert_eq!(dimensions(true, CONSUMER), ["server_k8s_ns=prod", "server_server=s"]);
}

#[test]
fn each_processor_has_filters_and_a_multiplier_of_its_own() {
    let health = PolicyMatch {
        match_type: MatchType::Strict,
        attributes: vec![PolicyAttribute {
            key: "name".to_owned(),
            value: PolicyValue::Text("health".to_owned()),
        }],
    };
    let settings = graph(|graph| {
        graph.filter_policies = vec![FilterPolicy { exclude: Some(health), ..Default::default() }];
        graph.multiplier.key = "share".to_owned();
    });
    let filtered = Span { name: "health".to_owned(), ..of_kind(SERVER, &[]) };
    let internal = Span { name: "health".to_owned(), ..of_kind(INTERNAL, &[]) };
    let share = attribute("share", Any::DoubleValue(0.25));
    let batch = sides(&settings, &[filtered, internal, of_kind(CLIENT, &[share])]);
    let classes: Vec<Class> = batch.sides.iter().map(|side| side.class).collect();
    assert_eq!(classes, [Class::Filtered, Class::Plain]);
    assert_eq!(batch.sides[1].weight, Weight::new(4.0));
    let calls: f64 = batch.rows.iter().map(|row| row.calls.as_f64()).sum();
    assert_eq!(calls, 3.0, "the span metrics have neither");
    let discarded = |reason| batch.tallies.discarded(Processor::ServiceGraphs, reason);
    assert_eq!(discarded(Discarded::Filtered), 1);
    assert_eq!(discarded(Discarded::NoEdgeSide), 1);
}

fn link(trace: u8, span: u8) -> Link {
    Link { trace_id: vec![trace; 16], span_id: vec![span; 8], ..Link::default() }
}

#[test]
fn links_name_each_context_once_without_parent_and_self_and_128_at_most() {
    let with_links = graph(|graph| graph.messaging_links = true);
    let mut consumer = Span { parent_span_id: vec![9; 8], ..of_kind(CONSUMER, &[]) };
    consumer.links = [(5, 5), (1, 9), (5, 5), (1, 2), (5, 9)].map(|(t, s)| link(t, s)).to_vec();
    consumer.links.push(Link { trace_id: vec![5; 3], ..link(5, 5) });
    let batch = sides(&with_links, &[of_kind(PRODUCER, &[]), consumer.clone()]);
    let links: Vec<_> = batch.links.iter().map(|l| (l.side, l.trace_id[0], l.span_id[0])).collect();
    assert_eq!(links, [(1, 5, 5), (1, 5, 9)]);
    assert_eq!(batch.tallies.repaired(Repaired::Links), 1, "odd ids lead nowhere");
    let classes: Vec<Class> = batch.sides.iter().map(|side| side.class).collect();
    assert_eq!(classes, [Class::Sends, Class::Receives]);
    assert_eq!(sides(&graph(|_| {}), &[consumer.clone()]).links.len(), 0);

    let operation = text("messaging.operation.type", "receive");
    let receives = Span {
        parent_span_id: vec![9; 8],
        links: vec![link(1, 9), link(5, 5)],
        ..of_kind(CLIENT, &[operation])
    };
    let batch = sides(&with_links, &[receives]);
    let links: Vec<_> = batch.links.iter().map(|l| (l.trace_id[0], l.span_id[0])).collect();
    assert_eq!(links, [(1, 9), (5, 5)], "nobody is met at the parent of a client");

    consumer.links = (1..=200).map(|n| link(n, n)).collect();
    let batch = sides(&with_links, &[consumer.clone(), consumer]);
    assert_eq!((batch.links.len(), batch.tallies.repaired(Repaired::Links)), (256, 2));
}

#[test]
fn a_client_sends_or_receives_by_its_operation() {
    let with_links = graph(|graph| graph.messaging_links = true);
    for (attributes, class) in [
        (vec![text("messaging.operation.type", "send")], Class::Sends),
        (vec![text("messaging.operation", "publish")], Class::Sends),
        (vec![text("messaging.operation", "receive")], Class::Receives),
        (
            vec![text("messaging.operation", "send"), text("messaging.operation.type", "receive")],
            Class::Receives,
        ),
        (vec![text("messaging.operation.type", "settle")], Class::Plain),
        (vec![text("db.system", "redis"), text("messaging.operation", "send")], Class::Database),
        (vec![], Class::Plain),
    ] {
        let batch = sides(&with_links, &[of_kind(CLIENT, &attributes)]);
        assert_eq!(batch.sides[0].class, class, "{attributes:?}");
    }
}

#[test]
fn text_of_a_side_is_put_right_like_any_label() {
    let mut settings = graph(|_| {});
    settings.max_label_value_length = 5;
    let batch = stage(
        &settings,
        &[text("service.name", "a-long-service")],
        &[of_kind(CLIENT, &[text("peer.service", "a-long-peer")])],
    );
    let found = origin(&batch, &batch.sides[0]);
    assert_eq!((found.service, found.peer), ("a-lon", "a-lon"));
    assert_eq!(batch.tallies.repaired(Repaired::LabelLength), 1, "one span");
}
